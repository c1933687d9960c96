//! Which headers go on, in both directions: hop-by-hop ones stay here (RFC 9110 section 7.6.1, R8), forwarding headers say what this
//! proxy knows and not what a client claims (R125), `Via` marks the way and finds loops (R16). Pure; used by forwarding, by
//! requests that are sent on to the legacy backend, and by answers that are relayed.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use http::header::{EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, VIA};
use http::{StatusCode, Version};

use super::connection::{Connection, address_value};
use super::router::claims_a_path;
use super::settings::ForwardingHeader;
use crate::domain::client_addr::ClientAddr;
use crate::net::hop_by_hop;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// A client's certificate and its chain, as a proxy tells the app of them (RFC 9440). Where a listener asks for certificates these are
/// among the identity headers: whatever a client itself writes there is stripped, on every listener.
pub const CLIENT_CERTIFICATE: [HeaderName; 2] =
    [HeaderName::from_static("client-cert"), HeaderName::from_static("client-cert-chain")];

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

/// A number for [`HeaderRules::new`] that no other process is likely to have. It tells loops, it is no secret.
#[must_use]
pub fn random_instance() -> u32 {
    let [first, second, third, fourth, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([first, second, third, fourth])
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
    /// `identity_headers`, and [`CLIENT_CERTIFICATE`] where clients are asked for one. `instance` tells this process from every other authferry on a request's way, so that only a real
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
        if let Some(expectation) = headers.remove(EXPECT)
            && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
        {
            return Err(HeaderFault::Expectation);
        }
        // A trusted proxy vouches for the kind of header it was configured to write. The other kind it may hand on just as a client
        // wrote it.
        let kept = from.peer_is_trusted.then_some(self.trusted);
        hop_by_hop::remove_where(headers, |name| self.ends_here(name, kept));
        if let Some(certificate) = from.connection.client_certificate() {
            headers.insert(CLIENT_CERTIFICATE[0].clone(), certificate.clone());
        }
        forwarding(headers, from, kept);
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
        hop_by_hop::strip(headers);
        headers.append(VIA, self.via_http1.clone());
    }

    /// Whether our own name is among those the request has passed. Names compare without regard to case.
    fn has_passed(&self, headers: &HeaderMap) -> bool {
        headers.get_all(VIA).iter().filter_map(|via| via.to_str().ok()).flat_map(|via| via.split(',')).any(|hop| {
            hop.split_ascii_whitespace().nth(1).is_some_and(|name| name.eq_ignore_ascii_case(&self.pseudonym))
        })
    }

    /// Whether a header of a request is for us alone, or none that a client may set. `kept` is the kind that a trusted proxy vouches for.
    fn ends_here(&self, name: &HeaderName, kept: Option<ForwardingHeader>) -> bool {
        // A path in a header would take a request past the route that its own path is judged by (R30).
        hop_by_hop::is_fixed(name)
            || claims_a_path(name)
            || self.identity.contains(name)
            // All of the family go, also those that we set no value for: apps build redirects and trust from any of them.
            || kept != Some(ForwardingHeader::XForwardedFor) && name.as_str().starts_with("x-forwarded-")
    }
}

/// Says what the app may believe about who sent the request, and how.
fn forwarding(headers: &mut HeaderMap, from: Provenance<'_>, kept: Option<ForwardingHeader>) {
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
    headers.insert(X_FORWARDED_FOR, chain.unwrap_or_else(|| client.clone()));
    let introduction = |of| from.connection.introduced(of, host.as_ref());
    match kept {
        Some(ForwardingHeader::Forwarded) => {
            headers.append(FORWARDED, introduction(from.connection.peer_ip()).forwarded);
        }
        Some(ForwardingHeader::XForwardedFor) => {
            let introduction = introduction(Some(from.client.ip()));
            headers.insert(FORWARDED, introduction.forwarded);
            x_forwarded(headers, host.zip(introduction.port), scheme, Already::Kept);
        }
        None => {
            let introduction = introduction(Some(from.client.ip()));
            headers.insert(FORWARDED, introduction.forwarded);
            x_forwarded(headers, host.zip(introduction.port), scheme, Already::Replaced);
        }
    }
    headers.insert(X_REAL_IP, client);
}

/// What the app is told of a client in words that take a while to put together. A connection keeps the last ones: its next request is
/// nearly always of the same client for the same host.
#[derive(Clone)]
pub(super) struct Introduction {
    of: Option<IpAddr>,
    host: Option<HeaderValue>,
    forwarded: HeaderValue,
    port: Option<HeaderValue>,
}

impl Introduction {
    pub(super) fn new(of: Option<IpAddr>, host: Option<&HeaderValue>, scheme: &'static str) -> Self {
        let (forwarded, port) = (forwarded(of, host, scheme), host.map(|host| port_of(host, scheme)));
        // A copy of its own: what is a part of the request's head would keep all of its buffer for as long as the connection lives.
        let host = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok());
        Self { of, host, forwarded, port }
    }

    /// Whether it is of this client, on the same connection, for this host.
    pub(super) fn is_of(&self, client: Option<IpAddr>, host: Option<&HeaderValue>) -> bool {
        self.of == client && self.host.as_ref() == host
    }
}

/// What becomes of a forwarding header that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Already {
    Kept,
    Replaced,
}

/// `host` is the host with its port.
fn x_forwarded(
    headers: &mut HeaderMap,
    host: Option<(HeaderValue, HeaderValue)>,
    scheme: &'static str,
    already: Already,
) {
    let mut set = |name: HeaderName, value: HeaderValue| {
        if already == Already::Replaced || !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    };
    if let Some((host, port)) = host {
        set(X_FORWARDED_PORT, port);
        set(X_FORWARDED_HOST, host);
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

fn strip_request_connection(headers: &mut HeaderMap) -> Result<(), HeaderFault> {
    for line in hop_by_hop::take_connection(headers) {
        for option in hop_by_hop::options(&line) {
            let name = option.map_err(|_| HeaderFault::Connection)?;
            if is_protected_in_request(&name) {
                return Err(HeaderFault::Connection);
            }
            headers.remove(name);
        }
    }
    Ok(())
}

/// Headers that a client could want removed on the way so that the app sees another request than the one that was judged (R8).
fn is_protected_in_request(name: &HeaderName) -> bool {
    hop_by_hop::is_end_to_end(name)
        || *name == FORWARDED
        || *name == VIA
        || *name == X_REAL_IP
        || name.as_str().starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::connection::Roster;
    use super::super::places::tests::places;
    use super::super::router::{PATH_HINTS, PATH_OVERRIDES};
    use super::*;

    const SPOOFS: [(&str, &str); 12] = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "203.0.113.10, 203.0.113.11"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "444"),
        ("x-forwarded-server", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-ssl", "on"),
        ("x-forwarded-scheme", "https"),
        ("x-forwarded-user", "admin"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
    ];

    fn connection(peer: Option<&str>, tls: bool) -> Arc<Connection> {
        let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
        let peer: Option<SocketAddr> = peer.map(|peer| peer.parse().expect("an address"));
        let place = places(1, 1).take().expect("a place");
        Connection::new(peer, None, tls, &Roster::new(), place)
    }

    fn rules(trusted: ForwardingHeader) -> HeaderRules {
        HeaderRules::new(None, vec![HeaderName::from_static("x-remote-user")], trusted, 7)
    }

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
            })
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    fn seen(
        lines: &[(&str, &str)],
        connection: &Connection,
        client: &str,
        trusted: Option<ForwardingHeader>,
    ) -> HeaderMap {
        let from = Provenance {
            connection,
            client: ClientAddr::assert_by_trusted_walk(client.parse().expect("an address")),
            peer_is_trusted: trusted.is_some(),
            version: Version::HTTP_11,
        };
        let rules = rules(trusted.unwrap_or(ForwardingHeader::XForwardedFor));
        rules.forwardable(&map(lines), from).expect("forwardable")
    }

    fn refused(lines: &[(&str, &str)]) -> Option<HeaderFault> {
        let connection = connection(Some("192.0.2.1:5000"), false);
        let client = ClientAddr::assert_by_trusted_walk([192, 0, 2, 1].into());
        let from = Provenance { connection: &connection, client, peer_is_trusted: false, version: Version::HTTP_11 };
        rules(ForwardingHeader::XForwardedFor).forwardable(&map(lines), from).err()
    }

    fn line(headers: &HeaderMap, name: &str) -> String {
        let lines: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
        lines.join(" | ")
    }

    /// R30.
    #[test]
    fn r30_what_claims_another_path_is_never_sent_on() {
        let connection = connection(Some("198.51.100.1:4000"), false);
        let claims: Vec<(&str, &str)> =
            PATH_OVERRIDES.iter().chain(&PATH_HINTS).map(|name| (*name, "/api/login")).collect();
        for trusted in [None, Some(ForwardingHeader::XForwardedFor), Some(ForwardingHeader::Forwarded)] {
            let seen = seen(&claims, &connection, "198.51.100.1", trusted);
            assert!(claims.iter().all(|(name, _)| !seen.contains_key(*name)), "{seen:?}");
        }
    }

    #[test]
    fn r8_headers_of_one_hop_stay_here_and_so_does_what_connection_names() {
        let connection = connection(Some("192.0.2.1:5000"), false);
        let sent = [
            ("connection", "keep-alive, X-Hop, te"),
            ("connection", "close,, x-other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-Continue"),
            ("x-remote-user", "admin"),
            ("x-end", "stays"),
        ];
        let headers = seen(&sent, &connection, "192.0.2.1", None);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let ours = ["forwarded", "via", "x-end", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"];
        assert_eq!(names, ours);
    }

    #[test]
    fn r8_a_client_may_not_have_headers_removed_that_the_app_relies_on() {
        for named in [
            "Host",
            "content-length",
            "COOKIE",
            "X-Forwarded-For",
            "x-forwarded-host",
            "forwarded",
            "via",
            "x-real-ip",
            "authorization",
            "content-type",
        ] {
            assert_eq!(
                refused(&[("connection", &format!("close, {named}"))]),
                Some(HeaderFault::Connection),
                "{named}"
            );
        }
        assert_eq!(refused(&[("connection", "not a name")]), Some(HeaderFault::Connection));
        assert_eq!(refused(&[("connection", "close, upgrade, Keep-Alive, x-hop")]), None);
    }

    #[test]
    fn r12_expectations_other_than_to_continue_are_refused() {
        assert_eq!(refused(&[("expect", "100-continue, x")]), Some(HeaderFault::Expectation));
        assert_eq!(refused(&[("expect", "200-ok")]), Some(HeaderFault::Expectation));
        assert_eq!(refused(&[("expect", "100-continue")]), None);
    }

    #[test]
    fn r16_only_our_own_name_in_via_is_a_loop() {
        assert_eq!(refused(&[("via", "1.1 authferry-00000008, 1.0 nginx"), ("via", "2 authferry")]), None);
        for via in ["1.1 authferry-00000007", "1.0 a, 2 AUTHFERRY-00000007 (comment), 1.1 b"] {
            assert_eq!(refused(&[("via", "1.1 x"), ("via", via)]), Some(HeaderFault::Loop), "{via}");
        }
    }

    #[test]
    fn r125_what_a_client_says_about_itself_is_replaced() {
        let connection = connection(Some("192.0.2.1:5000"), false);
        let sent = [&SPOOFS[..], &[("host", "app.example:8080")]].concat();
        let headers = seen(&sent, &connection, "192.0.2.1", None);
        for (name, expected) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "app.example:8080"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1;host=\"app.example:8080\";proto=http"),
            ("x-forwarded-server", ""),
            ("x-forwarded-prefix", ""),
            ("x-forwarded-ssl", ""),
            ("x-forwarded-scheme", ""),
            ("x-forwarded-user", ""),
        ] {
            assert_eq!(line(&headers, name), expected, "{name}");
        }
        assert!(!format!("{headers:?}").contains("evil") && !format!("{headers:?}").contains("203.0.113"));
    }

    #[test]
    fn r125_a_trusted_proxy_is_believed_in_the_header_it_is_trusted_with_and_no_other() {
        let connection = connection(Some("10.0.0.1:5000"), false);
        let sent = [&SPOOFS[..], &[("host", "app.example")]].concat();
        let kept = seen(&sent, &connection, "203.0.113.11", Some(ForwardingHeader::XForwardedFor));
        assert_eq!(line(&kept, "x-forwarded-for"), "203.0.113.9, 203.0.113.10, 203.0.113.11, 10.0.0.1");
        assert_eq!(line(&kept, "x-forwarded-host"), "evil.example");
        assert_eq!(line(&kept, "x-forwarded-proto"), "https");
        assert_eq!(line(&kept, "x-real-ip"), "203.0.113.11");
        assert_eq!(line(&kept, "forwarded"), "for=203.0.113.11;host=\"app.example\";proto=http");
        let kept = seen(&sent, &connection, "203.0.113.9", Some(ForwardingHeader::Forwarded));
        let expected = "for=203.0.113.9;host=evil.example;proto=https | for=10.0.0.1;host=\"app.example\";proto=http";
        assert_eq!(line(&kept, "forwarded"), expected);
        assert_eq!(line(&kept, "x-forwarded-for"), "203.0.113.9");
        assert_eq!(line(&kept, "x-forwarded-host"), "");
    }

    #[test]
    fn the_port_is_the_one_the_client_meant() {
        for (host, tls, port) in [
            ("a.example", false, "80"),
            ("a.example", true, "443"),
            ("a.example:8443", true, "8443"),
            ("[::1]", false, "80"),
            ("[::1]:81", false, "81"),
            ("8080", false, "80"),
            ("a:", false, "80"),
        ] {
            let connection = connection(Some("192.0.2.1:5000"), tls);
            let headers = seen(&[("host", host)], &connection, "192.0.2.1", None);
            assert_eq!(line(&headers, "x-forwarded-port"), port, "{host}");
        }
    }

    #[test]
    fn addresses_are_written_as_each_header_wants_them() {
        let v6 = connection(Some("[2001:db8::1]:5000"), true);
        let headers = seen(&[("host", "a\"b")], &v6, "2001:db8::1", None);
        assert_eq!(line(&headers, "x-forwarded-for"), "2001:db8::1");
        assert_eq!(line(&headers, "forwarded"), "for=\"[2001:db8::1]\";proto=https");
        let mapped = connection(Some("[::ffff:192.0.2.1]:5000"), false);
        assert_eq!(line(&seen(&[], &mapped, "192.0.2.1", None), "x-forwarded-for"), "192.0.2.1");
        let unix = connection(None, false);
        assert_eq!(
            line(&seen(&[], &unix, "192.0.2.7", Some(ForwardingHeader::XForwardedFor)), "x-forwarded-for"),
            "192.0.2.7"
        );
    }

    #[test]
    fn r126_an_answer_keeps_its_cookies_one_by_one_and_in_order() {
        let mut headers = map(&[
            ("set-cookie", "a=1; path=/"),
            ("connection", "close, set-cookie, x-hop, bad name"),
            ("set-cookie", "a=2; path=/b"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("date", "then"),
            ("keep-alive", "timeout=5"),
        ]);
        rules(ForwardingHeader::XForwardedFor).response(&mut headers);
        assert_eq!(line(&headers, "set-cookie"), "a=1; path=/ | a=2; path=/b");
        assert_eq!(line(&headers, "via"), "1.1 authferry-00000007");
        assert_eq!(
            (headers.len(), line(&headers, "date"), line(&headers, "content-length")),
            (5, "then".into(), "5".into())
        );
    }

    proptest! {
        #[test]
        fn r125_no_spelling_of_forwarding_headers_survives(
            lines in prop::collection::vec(("x-forwarded-[a-z]{1,9}|forwarded|x-real-ip|connection|via", "evil[ -~]{0,20}"), 0..12),
        ) {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
            let connection = connection(Some("192.0.2.1:5000"), false);
            let client = ClientAddr::assert_by_trusted_walk([192, 0, 2, 1].into());
            let from = Provenance { connection: &connection, client, peer_is_trusted: false, version: Version::HTTP_2 };
            if let Ok(mut headers) = rules(ForwardingHeader::XForwardedFor).forwardable(&map(&lines), from) {
                headers.remove(VIA);
                prop_assert!(headers.values().all(|value| !value.as_bytes().starts_with(b"evil")), "{:?}", headers);
            }
        }
    }
}
