//! Scenarios on a weir of this process, which need no signal, no command line and no process of their own.
//! One file for each thing that must be true, with real and bad peers, as in `tests/e2e`.
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
mod a_half_close_is_kept;
mod a_reset_is_passed_on;
mod a_self_signed_backend_is_trusted_when_listed;
mod a_server_may_speak_first;
mod a_truncated_end_is_no_clean_end;
mod backends_come_and_go;
mod bridging_encrypts_anew;
mod certificates_are_rotated;
mod certificates_follow_the_name;
mod client_certificates_are_not_walked_around;
mod clients_are_let_in_or_not;
mod connections_come_from_their_source;
mod connections_end_at_idle_moments;
mod every_worker_accepts;
mod limits_hold;
mod long_answers_arrive_whole;
mod mptcp_clients_are_served;
mod nagle_clients_do_not_wait;
mod offload_decrypts;
mod others_do_not_notice;
mod paced_connections_are_whole;
mod passthrough_decrypts_nothing;
mod proxy_headers_tell_who_the_client_is;
mod records_tell_of_open_connections;
mod routes_choose_the_backend;
mod sessions_are_resumed;
mod starttls_begins_tls;
mod timeouts_hold;
mod unix_sockets_are_spoken;
mod upgrades_leave_http;
