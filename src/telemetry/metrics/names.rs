//! Every metric by name, with the help that `/metrics` shows beside it: the one list that registration, tests and docs go by. Counts nothing.

/// The name and help of each metric as `/metrics` shows it (`_total` is appended to counters there).
pub const NAMES: &[(&str, &str)] = &[
    ("authferry_logins", "Logins on a route, by who had the word and how it ended"),
    ("authferry_registrations", "Registrations on a route, by who had the word and how it ended"),
    (
        "authferry_changes",
        "Password changes, resets, deletions, logouts, `get_user` and refreshes on a route, and how they ended",
    ),
    ("authferry_users", "Users in the store by origin, tombstones left out"),
    (
        "authferry_known_users",
        "Users who may log in, by side (over, or straggler: not without legacy) and when last seen",
    ),
    ("authferry_known_value", "What a roster says that these users are worth, by side and when last seen"),
    ("authferry_migrations", "Users or passwords saved durably, by reason"),
    ("authferry_migration_failures", "Proven users that were not saved, by reason"),
    ("authferry_comparisons", "Logins in which a local check stood beside legacy's word: the four cells"),
    ("authferry_shape_differences", "Fields in which our rendered answer differs from legacy's own"),
    ("authferry_legacy_requests", "Requests to the legacy backend"),
    ("authferry_legacy_request_duration_seconds", "How long the legacy backend took"),
    ("authferry_legacy_in_flight", "Requests to the legacy backend under way"),
    ("authferry_legacy_breaker_open", "1 while the breaker keeps requests from the legacy backend"),
    ("authferry_password_queue_depth", "Passwords that wait to be hashed"),
    ("authferry_password_duration_seconds", "How long hashing took, without the wait"),
    ("authferry_password_shed", "Passwords refused by the hash queue, by standing of the client and reason"),
    ("authferry_password_implementation", "1 for what computes Argon2: avx512, avx2, or the crate as reference"),
    ("authferry_forwarded_requests", "Requests forwarded to the upstream, by the class of the answer"),
    ("authferry_rate_limited", "Requests refused by a limit"),
    (
        "authferry_password_attempts",
        "Passwords that were tried at an account, by how that ended; the rest were refused by a limit",
    ),
    ("authferry_attack_signals", "Signs of credential stuffing, each once in ten minutes"),
    ("authferry_refused_requests", "Requests refused as malformed before any use was made of them"),
    ("authferry_connections", "Open downstream connections"),
    ("authferry_connections_parked", "Those of them that idle and hold no more memory than they must; HTTP/1 only"),
    ("authferry_tls_reloads", "Times that the TLS files of the listeners were read again, by result"),
    ("authferry_tls_not_after_seconds", "When a certificate in use expires, in seconds since the epoch"),
    ("authferry_requests", "Requests under way, up to the last byte of the answer"),
    ("authferry_alarms", "Things that an operator has to look at"),
    ("authferry_panics", "Bugs that ended one request with 500"),
    ("authferry_log_lines_dropped", "Lines of the log that nobody read fast enough"),
    ("authferry_login_times_dropped", "Logins whose time was not kept, since too many waited for the store"),
    ("authferry_store_ready", "1 while the store takes writes"),
    ("authferry_store_damaged_reads", "Reads of blocks of the store's file that are not what was written there"),
    ("authferry_store_commit_duration_seconds", "How long a durable commit took"),
    ("authferry_mode", "1 for the migration mode in force"),
    ("authferry_start_time_seconds", "When the process started, in seconds since the epoch"),
    ("authferry_build", "What is running"),
];

/// The help of a metric; empty for one that is not in the list.
pub(super) fn help(name: &str) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help)
}
