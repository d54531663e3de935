//! End-to-end scenarios: the real weir with real and bad peers, one file for each thing that must be true.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::large_futures,
    clippy::let_underscore_must_use,
    clippy::too_many_lines,
    clippy::indexing_slicing,
    reason = "scenarios fail by panicking and misuse sockets on purpose"
)]

mod a_cut_hello_arrives_whole;
mod a_dead_backend_is_replaced;
mod a_full_disk_is_no_success;
mod a_half_close_is_kept;
mod a_hopeless_file_changes_nothing;
mod a_live_admin_socket_is_never_taken;
mod a_reset_is_passed_on;
mod a_self_signed_backend_is_trusted_when_listed;
mod a_server_may_speak_first;
mod a_truncated_end_is_no_clean_end;
mod addresses_in_use_are_refused;
mod an_unread_log_stops_nothing;
mod backends_come_and_go;
mod backends_fall_under_load;
mod bad_configurations_never_start;
mod bad_hellos_reach_no_backend;
mod big_configurations;
mod bridging_encrypts_anew;
mod bridging_verifies_backends;
mod bulk_arrives_unchanged;
mod bulk_needs_no_splice;
mod bulk_takes_few_calls;
mod bulks_share_few_pipes;
mod certificates_follow_the_name;
mod connections_leave_nothing_behind;
mod connections_take_few_calls;
mod debug_lines_name_their_connection;
mod descriptors_may_run_out;
mod documented_settings_exist;
mod early_signals_are_handled;
mod every_outcome_is_produced;
mod every_worker_accepts;
mod examples_run_as_they_stand;
mod explain_tells_the_truth;
mod failed_handshakes_name_their_cause;
mod health_checks_decide;
mod health_tells_probes_the_truth;
mod idle_connections_are_cheap;
mod limits_hold;
mod nagle_clients_do_not_wait;
mod names_are_followed;
mod offload_decrypts;
mod operators_can_see;
mod others_do_not_notice;
mod passthrough_decrypts_nothing;
mod pools_stay_up;
mod records_never_block;
mod reloads;
mod routes_choose_the_backend;
mod sessions_are_resumed;
mod splice_moves_bulk_alone;
mod strangers_pages_reach_no_admin_server;
mod the_configuration_is_found;
mod the_demo_fits_its_terminal;
mod the_demo_shows_three_modes;
mod the_drain_finishes_what_runs;
mod threads_may_run_out;
mod timeouts_hold;
mod weir_never_dials_itself;
mod workers_share_evenly;
