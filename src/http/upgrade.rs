//! WebSockets (RFC 6455) through the proxy: which requests ask for one, which answers grant it, and the tunnel afterwards. No other
//! upgrade is ever forwarded, HTTP/2 in clear text least of all (R9). Called by [`super::forward`].

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::{Connection, Order};
use crate::net::{Switched, hop_by_hop};

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's wish for a WebSocket, taken out of its request.
pub(super) struct Wish {
    client: OnUpgrade,
    /// The only `Sec-WebSocket-Accept` that grants it.
    accept: String,
}

/// Takes the wish for a WebSocket out of a request, if it is one (RFC 6455 section 4.1). [`super::framing`] holds back what follows any such
/// request. The request's own upgrade headers are left
/// for the caller to strip, as those of every other upgrade.
pub(super) fn wish<B: Body>(request: &mut Request<B>) -> Option<Wish> {
    // What stands behind a body would not be held back until there is an answer.
    if request.method() != Method::GET || request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
        return None;
    }
    let headers = request.headers();
    let asks = has_option(headers, b"upgrade") && is_websocket(headers);
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    let accept = BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), ACCEPT_GUID].concat()));
    let client = request.extensions_mut().remove::<OnUpgrade>()?;
    Some(Wish { client, accept })
}

/// Asks the next hop for a WebSocket, or grants one to the client.
pub(super) fn offer(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

impl Wish {
    /// Whether an answer's headers grant it. A 101 that switches to anything else opens no tunnel.
    pub(super) fn is_granted_by(&self, headers: &HeaderMap) -> bool {
        let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
        has_option(headers, b"upgrade")
            && is_websocket(headers)
            && accept.is_some_and(|accept| accept.as_bytes() == self.accept.as_bytes())
    }

    /// Copies bytes both ways until both ends are done, or the drain's time is up. What waits in between is bounded by the copy's two
    /// buffers. Whatever the client sent before the 101 reaches the upstream only now.
    pub(super) fn tunnel(self, mut upstream: Switched, connection: &Arc<Connection>) {
        let (own, under_way) = (connection.clone(), connection.in_flight());
        connection.is_a_tunnel();
        connection.spawn(async move {
            let _until_the_end = under_way;
            // Until the 101 is written the connection is its driver's, who hears its orders; ended by one, he takes the client along.
            let client = match self.client.await {
                Ok(client) => client,
                Err(error) => return tracing::debug!(%error, "a tunnel was not opened"),
            };
            let mut client = TokioIo::new(client);
            let mut copying = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
            let ended = std::future::poll_fn(|cx| match own.poll_order(cx) {
                Order::Run | Order::Linger | Order::Drain => copying.as_mut().poll(cx).map(Some),
                Order::Cut => Poll::Ready(None),
            });
            if let Some(Err(error)) = ended.await {
                tracing::debug!(%error, "a tunnel broke off");
            }
        });
    }
}

fn has_option(headers: &HeaderMap, option: &[u8]) -> bool {
    headers.get_all(CONNECTION).iter().any(|line| hop_by_hop::has_option(line, option))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(UPGRADE).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    only.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
