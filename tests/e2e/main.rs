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

mod a_fleet_resumes_its_sessions;
mod a_full_disk_is_no_success;
mod a_hopeless_file_changes_nothing;
mod a_live_admin_socket_is_never_taken;
mod acme_clients_renew_certificates;
mod addresses_in_use_are_refused;
mod alerts_name_their_sender;
mod alerts_on_requests_fire;
mod an_unread_log_stops_nothing;
mod applications_see_the_client;
mod backends_fall_under_load;
mod backends_hear_of_the_client;
mod bad_answers_become_502;
mod bad_answers_of_http2_become_502;
mod bad_configurations_never_start;
mod bad_hellos_reach_no_backend;
mod bandwidth_is_kept;
mod big_configurations;
mod bridging_verifies_backends;
mod bulk_arrives_unchanged;
mod bulk_needs_no_splice;
mod bulk_takes_few_calls;
mod bulks_share_few_pipes;
mod bystanders_hardly_notice_floods;
mod certificates_are_listed;
mod certificates_rotate_under_load;
mod clients_and_backends_in_other_networks;
mod clients_stay_with_their_backend;
mod connections_leave_nothing_behind;
mod connections_take_few_calls;
mod debug_lines_name_their_connection;
mod descriptors_may_run_out;
mod documented_settings_exist;
mod early_signals_are_handled;
mod every_handshake_reason_arises;
mod every_outcome_is_produced;
mod examples_run_as_they_stand;
mod explain_tells_the_truth;
mod explain_tells_where_requests_go;
mod failed_handshakes_name_their_cause;
mod failures_are_explained;
mod floods_of_http2_are_ended;
mod handshake_storms_delay_no_bytes;
mod health_checks_decide;
mod health_tells_probes_the_truth;
mod heavy_clients_are_no_flood;
mod idle_connections_are_cheap;
mod limits_of_requests_hold;
mod malformed_requests_keep_their_meaning;
mod memory_is_bounded;
mod names_are_followed;
mod only_valid_ocsp_responses_are_stapled;
mod operators_can_see;
mod plain_http_is_redirected;
mod pools_stay_up;
mod post_quantum_certificates_are_served;
mod proxy_headers_of_real_programs;
mod records_go_to_a_file;
mod records_never_block;
mod refused_requests_go_to_another_backend;
mod reloads;
mod requests_bodies_arrive_or_fail_openly;
mod requests_drain;
mod requests_end_in_time;
mod requests_end_with_their_client;
mod requests_follow_their_backends;
mod requests_of_grpc;
mod requests_of_http2_end_in_time;
mod requests_of_real_programs;
mod requests_survive_their_backends;
mod requests_take_few_calls;
mod requests_take_their_route;
mod scanners_find_nothing;
mod secrets_are_logged_by_the_flag_alone;
mod splice_moves_bulk_alone;
mod starttls_of_real_programs;
mod strangers_do_not_slow_others;
mod strangers_pages_reach_no_admin_server;
mod systemd_knows_the_service;
mod the_admin_server_asks_for_certificates;
mod the_configuration_is_found;
mod the_demo_fits_its_terminal;
mod the_demo_shows_three_modes;
mod the_drain_finishes_what_runs;
mod the_metrics_server_changes_nothing;
mod the_migration_page_is_right;
mod threads_may_run_out;
mod two_nodes_share_an_address;
mod unix_sockets_of_real_programs;
mod upgrades_hand_over;
mod upgrades_that_fail_change_nothing;
mod violations_of_http2_end_rightly;
mod websockets_work;
mod weir_and_backends_prove_who_they_are;
mod weir_never_dials_itself;
mod workers_share_evenly;
