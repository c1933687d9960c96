//! The access log: one line for each request, under the target `authferry::access`. Never shows a query, a header or a body: any of
//! them may hold a secret (R39, R116).

use std::time::Duration;

use http::{Method, StatusCode};

use crate::domain::client_addr::ClientAddr;

/// Where its lines go.
pub const TARGET: &str = "authferry::access";

/// Whether anybody reads it: what it takes to write a line is spared otherwise.
#[must_use]
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// Writes the line of one answered request. `path` is without its query. The path is the client's own text: the log's writer
/// encodes what could break a line (R115).
pub fn log(method: &Method, path: &str, status: StatusCode, took: Duration, client: ClientAddr, by: &'static str) {
    tracing::info!(
        target: TARGET,
        method = method.as_str(),
        path,
        status = status.as_u16(),
        // To the microsecond, which is short to read and to write.
        took_ms = took.as_micros() as f64 / 1000.0,
        client = %client,
        by,
    );
}
