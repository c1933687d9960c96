//! Spoofing: whose word counts, and how an entry is read.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn trusting(cidrs: &[&str], header: ForwardingHeader) -> TrustedProxies {
    TrustedProxies { cidrs: cidrs.iter().map(|cidr| cidr.parse().expect("a network")).collect(), header }
}

fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
    }
    headers
}

fn walked(peer: &str, lines: &[&str]) -> String {
    let trusted = trusting(&["10.0.0.0/8", "fd00::/8"], ForwardingHeader::XForwardedFor);
    client_addr(peer.parse().expect("an address"), &headers("x-forwarded-for", lines), &trusted).to_string()
}

fn walked_forwarded(lines: &[&str]) -> String {
    let trusted = trusting(&["10.0.0.0/8", "fd00::/8"], ForwardingHeader::Forwarded);
    client_addr("10.0.0.1".parse().expect("an address"), &headers("forwarded", lines), &trusted).to_string()
}

#[test]
fn r71_the_rightmost_untrusted_hop_is_the_client() {
    for (peer, lines, client) in [
        ("10.0.0.1", &[][..], "10.0.0.1"),
        ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("10.0.0.1", &["1.1.1.1,198.51.100.7\t,\t10.9.9.9 , 10.1.1.1"], "198.51.100.7"),
        // All lines are one list, in order.
        ("10.0.0.1", &["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["1.1.1.1, 198.51.100.7", "10.2.2.2"], "198.51.100.7"),
        // Nobody but trusted hops: the leftmost is as far as one can see.
        ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        // The client's own text has no influence, however broken.
        ("10.0.0.1", &["junk, <script>, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["\"unclosed, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &[",,,", "198.51.100.7"], "198.51.100.7"),
        ("fd00::1", &["2001:db8::9"], "2001:db8::9"),
        ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", &["198.51.100.7, ::ffff:10.2.2.2"], "198.51.100.7"),
    ] {
        assert_eq!(walked(peer, lines), client, "{peer} {lines:?}");
    }
}

#[test]
fn r71_ports_and_brackets_are_understood() {
    for (entry, client) in [
        ("198.51.100.7:443", "198.51.100.7"),
        ("198.51.100.7:0", "198.51.100.7"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:65535", "2001:db8::9"),
        ("2001:DB8::9", "2001:db8::9"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("[::ffff:198.51.100.7]:1", "198.51.100.7"),
    ] {
        assert_eq!(walked("10.0.0.1", &[entry]), client, "{entry}");
    }
}

#[test]
fn r71_an_entry_that_a_trusted_proxy_cannot_have_written_leaves_the_peer() {
    for entry in [
        "",
        " ",
        ",",
        "198.51.100.7,",
        "198.51.100.256",
        "198.51.100",
        "0198.51.100.7",
        "198.51.100.7:",
        "198.51.100.7:65536",
        "198.51.100.7:+1",
        "198.51.100.7:8a",
        "[2001:db8::9",
        "2001:db8::9]",
        "[2001:db8::9]x",
        "[2001:db8::9]:",
        "[198.51.100.7]",
        "fe80::1%eth0",
        "localhost",
        "example.org",
        "198.51.100.7 198.51.100.8",
        "\"198.51.100.7\"",
        "for=198.51.100.7",
        "_hidden",
        "0x7f.1",
        "2130706433",
        "unknown",
    ] {
        assert_eq!(walked("10.0.0.1", &[entry]), "10.0.0.1", "{entry:?}");
    }
    // Also when a proxy further left wrote it.
    assert_eq!(walked("10.0.0.1", &["198.51.100.7, junk, 10.2.2.2"]), "10.0.0.1");
    // A proxy that does not tell is as far as one can see.
    assert_eq!(walked("10.0.0.1", &["198.51.100.7, unknown, 10.2.2.2"]), "10.2.2.2");
    let obs_text = HeaderMap::from_iter([(
        HeaderName::from_static("x-forwarded-for"),
        HeaderValue::from_bytes(b"198.51.100.7\xff").expect("a value"),
    )]);
    let trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::XForwardedFor);
    assert_eq!(client_addr("10.0.0.1".parse().expect("an address"), &obs_text, &trusted).to_string(), "10.0.0.1");
}

#[test]
fn r71_forwarded_is_read_as_its_rfc_says() {
    for (lines, client) in [
        (&["for=198.51.100.7"][..], "198.51.100.7"),
        (&["For=198.51.100.7;proto=https;by=10.0.0.1;host=a.example"], "198.51.100.7"),
        (&["proto=https; for=198.51.100.7"], "198.51.100.7"),
        (&["for=\"198.51.100.7:80\""], "198.51.100.7"),
        (&["for=\"[2001:db8::9]\""], "2001:db8::9"),
        (&["for=\"[2001:db8::9]:443\";proto=https"], "2001:db8::9"),
        (&["for=\"198.51\\.100.7\""], "198.51.100.7"),
        (&["for=1.1.1.1, for=198.51.100.7", "for=10.2.2.2"], "198.51.100.7"),
        (&["host=\"a, for=1.1.1.1\";for=198.51.100.7"], "198.51.100.7"),
        // A quote that the client opens and never closes swallows nothing.
        (&["for=\", for=198.51.100.7"], "198.51.100.7"),
        (&["for=\"1.1.1.1\\, for=198.51.100.7"], "198.51.100.7"),
        // Hidden: the hop that hides it is as far as one can see.
        (&["for=unknown"], "10.0.0.1"),
        (&["for=198.51.100.7, for=unknown, for=10.2.2.2"], "10.2.2.2"),
        (&["for=198.51.100.7, for=_gazonk, for=10.2.2.2"], "10.2.2.2"),
        (&["for=198.51.100.7, for=\"_a.b-c:80\", for=10.2.2.2"], "10.2.2.2"),
        (&["for=198.51.100.7, proto=http, for=10.2.2.2"], "10.2.2.2"),
        // A quote may be escaped in a quoted string, and a comma there separates nothing.
        (&[r#"for=203.0.113.9, for=198.51.100.7;x="a\",b""#], "198.51.100.7"),
        (&[r#"for=203.0.113.9, for=198.51.100.7;x="a,\\", for=10.2.2.2"#], "198.51.100.7"),
        // Malformed where a trusted proxy wrote: the peer.
        (&["for=198.51.100.7, for=10.2.2.2;for=10.3.3.3"], "10.0.0.1"),
        (&["198.51.100.7"], "10.0.0.1"),
        (&["for="], "10.0.0.1"),
        (&["for=198.51.100.7;"], "10.0.0.1"),
        (&["for=198.51.100.7 x"], "10.0.0.1"),
        (&["for=[2001:db8::9]"], "10.0.0.1"),
        (&["for=2001:db8::9"], "10.0.0.1"),
        (&["for=\"2001:db8::9\""], "10.0.0.1"),
        (&["for=198.51.100.7:80"], "10.0.0.1"),
        (&["for=\"198.51.100.7"], "10.0.0.1"),
        (&["=198.51.100.7"], "10.0.0.1"),
        (&["f or=198.51.100.7"], "10.0.0.1"),
        (&["for=_"], "10.0.0.1"),
    ] {
        assert_eq!(walked_forwarded(lines), client, "{lines:?}");
    }
}

#[test]
fn r71_only_the_configured_header_is_believed() {
    let trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::Forwarded);
    let both = headers("x-forwarded-for", &["198.51.100.7"]);
    assert_eq!(client_addr("10.0.0.1".parse().expect("an address"), &both, &trusted).to_string(), "10.0.0.1");
}

#[test]
fn without_trusted_proxies_nobody_is_trusted() {
    let trusted = trusting(&[], ForwardingHeader::XForwardedFor);
    assert!(!is_trusted("127.0.0.1".parse().expect("an address"), &trusted));
    let spoofed = headers("x-forwarded-for", &["198.51.100.7"]);
    assert_eq!(client_addr("127.0.0.1".parse().expect("an address"), &spoofed, &trusted).to_string(), "127.0.0.1");
}

fn hostile_line() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "[0-9.,\": ]{0,40}", "(for=[0-9.\"]{0,16}[;,]?){0,4}"]
}

fn header_kind() -> impl Strategy<Value = (&'static str, ForwardingHeader)> {
    prop_oneof![
        Just(("x-forwarded-for", ForwardingHeader::XForwardedFor)),
        Just(("forwarded", ForwardingHeader::Forwarded))
    ]
}

proptest! {
    #[test]
    fn r71_an_untrusted_peers_headers_never_matter(
        peer in any::<Ipv4Addr>().prop_filter("untrusted", |addr| addr.octets()[0] != 10),
        lines in proptest::collection::vec(hostile_line(), 0..4),
        (name, header) in header_kind(),
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let trusted = trusting(&["10.0.0.0/8"], header);
        let client = client_addr(peer.into(), &headers(name, &lines), &trusted);
        prop_assert_eq!(client.ip(), IpAddr::V4(peer));
    }

    #[test]
    fn r71_what_a_client_writes_never_outweighs_what_a_trusted_proxy_appends(
        spoofed in proptest::collection::vec(hostile_line(), 0..3),
        same_line in any::<bool>(),
        client in any::<Ipv4Addr>().prop_filter("untrusted", |addr| addr.octets()[0] != 10),
        (name, header) in header_kind(),
    ) {
        let appended = match header {
            ForwardingHeader::XForwardedFor => client.to_string(),
            ForwardingHeader::Forwarded => format!("for=\"{client}:80\";proto=http"),
        };
        let mut lines = spoofed;
        match lines.last_mut() {
            Some(last) if same_line => { last.push_str(", "); last.push_str(&appended); }
            _ => lines.push(appended),
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = client_addr("10.0.0.1".parse().expect("an address"), &headers(name, &lines), &trusting(&["10.0.0.0/8"], header));
        prop_assert_eq!(found.ip(), IpAddr::V4(client));
    }
}
