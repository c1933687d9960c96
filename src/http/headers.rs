//! Which headers go on, in both directions: hop-by-hop ones stay here (RFC 9110 section 7.6.1, R8), forwarding headers say what this
//! proxy knows and not what a client claims (R125), `Via` marks the way and finds loops (R16). Pure; used by forwarding, by
//! requests that are sent on to the legacy backend, and by answers that are relayed.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT,
    FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName, LOCATION, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{StatusCode, Version};

use super::connection::{Connection, address_value};
use super::router::PATH_OVERRIDES;
use super::settings::ForwardingHeader;
use crate::domain::client_addr::ClientAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// What may not go on whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 9] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Why a request's headers cannot be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderFault {
    /// `Connection` names a header that is not of one hop, to have it removed on the way, or is no list of names.
    #[error("the Connection header names what it may not")]
    Connection,
    /// An expectation other than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// The request has been here before.
    #[error("the request goes round in a loop")]
    Loop,
}

impl HeaderFault {
    /// How the client is answered: status, code, sentence.
    #[must_use]
    pub fn answer(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Connection => {
                (StatusCode::BAD_REQUEST, "bad_connection_header", "The Connection header names what it may not")
            }
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "bad_expectation", "The expectation cannot be met"),
            Self::Loop => (StatusCode::LOOP_DETECTED, "loop", "The request goes round in a loop"),
        }
    }
}

/// Where a request comes from, as far as headers tell it on.
#[derive(Clone, Copy)]
pub struct Provenance<'a> {
    /// The connection it came on.
    pub connection: &'a Connection,
    /// The client, by the trusted-proxy walk.
    pub client: ClientAddr,
    /// Whether the other end of the connection is a trusted proxy: then its forwarding headers are kept and added to.
    pub peer_is_trusted: bool,
    /// The version the request came in.
    pub version: Version,
}

/// What this proxy does with headers. Made once from the configuration.
pub struct HeaderRules {
    /// `1.1 authferry-…`, see [`HeaderRules::new`].
    via_http1: HeaderValue,
    via_http2: HeaderValue,
    pseudonym: String,
    /// The upstream's own `Host` where the client's does not go on.
    replace_host: Option<HeaderValue>,
    /// Set by us alone, stripped from every client's request.
    identity: Vec<HeaderName>,
    trusted: ForwardingHeader,
}

impl HeaderRules {
    /// `replace_host` is the `Host` that every request gets; without it the client's goes on. `identity` are the names of
    /// `identity_headers`. `instance` tells this process from every other authferry on a request's way, so that only a real
    /// loop is taken for one: several in a row are no loop.
    #[must_use]
    pub fn new(
        replace_host: Option<HeaderValue>,
        identity: Vec<HeaderName>,
        trusted: ForwardingHeader,
        instance: u32,
    ) -> Self {
        let pseudonym = format!("authferry-{instance:08x}");
        let via = |version| {
            HeaderValue::try_from(format!("{version} {pseudonym}")).unwrap_or(HeaderValue::from_static("1.1 authferry"))
        };
        Self { via_http1: via("1.1"), via_http2: via("2"), replace_host, identity, trusted, pseudonym }
    }

    /// A copy of a request's headers as they may be sent on; see [`HeaderRules::request`].
    pub fn forwardable(&self, headers: &HeaderMap, from: Provenance<'_>) -> Result<HeaderMap, HeaderFault> {
        let mut copy = headers.clone();
        self.request(&mut copy, from)?;
        Ok(copy)
    }

    /// Makes a request's headers those that are sent on. Leaves `Content-Length` alone: it belongs to the body. `Host` has to be
    /// there already where the request came with `:authority`.
    pub fn request(&self, headers: &mut HeaderMap, from: Provenance<'_>) -> Result<(), HeaderFault> {
        if self.has_passed(headers) {
            return Err(HeaderFault::Loop);
        }
        strip_request_connection(headers)?;
        strip_hop_by_hop(headers);
        if let Some(expectation) = headers.remove(EXPECT)
            && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
        {
            return Err(HeaderFault::Expectation);
        }
        for name in &self.identity {
            headers.remove(name);
        }
        // A path in a header would take a request past the route that its own path is judged by (R30).
        for name in PATH_OVERRIDES {
            headers.remove(name);
        }
        self.forwarding(headers, from);
        if let Some(host) = &self.replace_host {
            headers.insert(HOST, host.clone());
        }
        let via = if from.version == Version::HTTP_2 { &self.via_http2 } else { &self.via_http1 };
        headers.append(VIA, via.clone());
        Ok(())
    }

    /// Makes an answer's headers those that the client gets. `Set-Cookie` lines stay as they are (R126), and so do `Date` and
    /// `Server`.
    pub fn response(&self, headers: &mut HeaderMap) {
        strip_response(headers);
        headers.append(VIA, self.via_http1.clone());
    }

    /// Whether our own name is among those the request has passed. Names compare without regard to case.
    fn has_passed(&self, headers: &HeaderMap) -> bool {
        headers.get_all(VIA).iter().filter_map(|via| via.to_str().ok()).flat_map(|via| via.split(',')).any(|hop| {
            hop.split_ascii_whitespace().nth(1).is_some_and(|name| name.eq_ignore_ascii_case(&self.pseudonym))
        })
    }

    /// What the app may believe about who sent the request, and how.
    fn forwarding(&self, headers: &mut HeaderMap, from: Provenance<'_>) {
        let kept = from.peer_is_trusted.then_some(self.trusted);
        let host = headers.get(HOST).cloned();
        let scheme = from.connection.scheme();
        let client = match from.connection.peer_text() {
            Some(text) if from.connection.peer_ip() == Some(from.client.ip()) => text.clone(),
            Some(_) | None => address_value(from.client.ip()),
        };
        let chain = match kept {
            Some(ForwardingHeader::XForwardedFor) => joined(headers, &X_FORWARDED_FOR, from.connection.peer_text()),
            Some(ForwardingHeader::Forwarded) | None => None,
        };
        // A trusted proxy vouches for the kind of header it was configured to write. The other kind it may hand on just as a client
        // wrote it.
        match kept {
            Some(ForwardingHeader::XForwardedFor) => {}
            Some(ForwardingHeader::Forwarded) | None => strip_x_forwarded(headers),
        }
        headers.insert(X_FORWARDED_FOR, chain.unwrap_or_else(|| client.clone()));
        match kept {
            Some(ForwardingHeader::Forwarded) => {
                let peer = from.connection.peer_ip();
                headers.append(FORWARDED, forwarded(peer, host.as_ref(), scheme));
            }
            Some(ForwardingHeader::XForwardedFor) => {
                headers.insert(FORWARDED, forwarded(Some(from.client.ip()), host.as_ref(), scheme));
                x_forwarded(headers, host.as_ref(), scheme, Already::Kept);
            }
            None => {
                headers.insert(FORWARDED, forwarded(Some(from.client.ip()), host.as_ref(), scheme));
                x_forwarded(headers, host.as_ref(), scheme, Already::Replaced);
            }
        }
        headers.insert(X_REAL_IP, client);
    }
}

/// What becomes of a forwarding header that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Already {
    Kept,
    Replaced,
}

fn x_forwarded(headers: &mut HeaderMap, host: Option<&HeaderValue>, scheme: &'static str, already: Already) {
    let mut set = |name: HeaderName, value: HeaderValue| {
        if already == Already::Replaced || !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    if let Some(host) = host {
        set(X_FORWARDED_PORT, port_of(host, scheme));
        set(X_FORWARDED_HOST, host.clone());
    }
    set(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
}

/// The port that the client meant: an app that builds a link needs it, not the port that we happen to listen on.
fn port_of(host: &HeaderValue, scheme: &str) -> HeaderValue {
    let port = host.as_bytes().rsplit(|byte| *byte == b':').next().unwrap_or_default();
    // Without a colon this is the whole host; with one inside brackets it ends in `]`: both are no number.
    let is_port = port.len() < host.len() && !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    match HeaderValue::from_bytes(port) {
        Ok(port) if is_port => port,
        Ok(_) | Err(_) if scheme == "https" => HeaderValue::from_static("443"),
        Ok(_) | Err(_) => HeaderValue::from_static("80"),
    }
}

/// One element of `Forwarded` (RFC 7239 section 4).
fn forwarded(client: Option<IpAddr>, host: Option<&HeaderValue>, scheme: &str) -> HeaderValue {
    let mut element = match client {
        Some(IpAddr::V4(v4)) => format!("for={v4}"),
        Some(IpAddr::V6(v6)) => format!("for=\"[{v6}]\""),
        None => "for=unknown".to_owned(),
    };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(byte);
    if let Some(host) = host.filter(|host| host.as_bytes().iter().all(is_plain)).and_then(|host| host.to_str().ok()) {
        element.push_str(";host=\"");
        element.push_str(host);
        element.push('"');
    }
    element.push_str(";proto=");
    element.push_str(scheme);
    HeaderValue::try_from(element).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// All lines of a list header as one, with one more element.
fn joined(headers: &HeaderMap, name: &HeaderName, last: Option<&HeaderValue>) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().chain(last).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok().filter(|_| !lines.is_empty())
}

/// All of the family go, also those that we set no value for: apps build redirects and trust from any of them.
fn strip_x_forwarded(headers: &mut HeaderMap) {
    let family = |name: &&HeaderName| name.as_str().starts_with("x-forwarded-");
    while let Some(name) = headers.keys().find(family).cloned() {
        headers.remove(name);
    }
}

/// Strips from an answer what belongs to the hop it came over.
pub fn strip_response(headers: &mut HeaderMap) {
    for line in take_connection(headers) {
        for name in options(&line).flatten() {
            if !is_end_to_end(&name) {
                headers.remove(name);
            }
        }
    }
    strip_hop_by_hop(headers);
}

fn strip_request_connection(headers: &mut HeaderMap) -> Result<(), HeaderFault> {
    for line in take_connection(headers) {
        for option in options(&line) {
            let name = option.map_err(|_| HeaderFault::Connection)?;
            if is_protected_in_request(&name) {
                return Err(HeaderFault::Connection);
            }
            headers.remove(name);
        }
    }
    Ok(())
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn take_connection(headers: &mut HeaderMap) -> Vec<HeaderValue> {
    let lines = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    lines
}

/// The headers that a `Connection` line names. Its own options are no headers.
fn options(line: &HeaderValue) -> impl Iterator<Item = Result<HeaderName, InvalidHeaderName>> {
    let own = |option: &&[u8]| {
        [&b""[..], b"keep-alive", b"close", b"upgrade"].iter().any(|own| own.eq_ignore_ascii_case(option))
    };
    let options = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.filter(move |option| !own(option)).map(HeaderName::from_bytes)
}

/// Headers that a client could want removed on the way so that the app sees another request than the one that was judged (R8).
fn is_protected_in_request(name: &HeaderName) -> bool {
    is_end_to_end(name)
        || *name == FORWARDED
        || *name == VIA
        || *name == X_REAL_IP
        || name.as_str().starts_with("x-forwarded-")
}

/// Headers that no hop may remove, whoever asks.
fn is_end_to_end(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 10] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        COOKIE,
        HOST,
        LOCATION,
        ORIGIN,
        SET_COOKIE,
    ];
    NAMES.contains(name)
}
