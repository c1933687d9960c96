//! The access log: one line for each request, under the target `authferry::access`. Never shows a query, a header or a body: any of
//! them may hold a secret (R39, R116).

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};

use super::connection::Connection;
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
pub fn log(
    method: &Method,
    path: &str,
    status: StatusCode,
    took: Duration,
    (client, connection): (ClientAddr, &Connection),
    by: &'static str,
) {
    // Nearly always it is the other end of the connection, whose text is there already.
    let of_connection = connection.peer_text().filter(|_| connection.peer_ip() == Some(client.ip()));
    let text =
        of_connection.map_or_else(|| Cow::Owned(client.to_string()), |text| String::from_utf8_lossy(text.as_bytes()));
    tracing::info!(
        target: TARGET,
        method = method.as_str(),
        path,
        status = status.as_u16(),
        // To the microsecond, which is short to read and to write.
        took_ms = took.as_micros() as f64 / 1000.0,
        client = &*text,
        by,
    );
}
