//! The public side: `[[listener]]`, `[upstream]`, `[trusted_proxies]`, `[server]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::names::{Sees, sample_user, tell_who_fails};
use super::{Resolver, non_zero, reply, tls};
use crate::config::document::join;
use crate::config::raw::{
    RawForwardingHeader, RawListener, RawPaths, RawServer, RawTrustedProxies, RawUnderscores, RawUpstream,
};
use crate::http::gate::{GatePolicy, Underscores};
use crate::http::hosts::AllowedHosts;
use crate::http::path::PathPolicy;
use crate::http::settings::{
    Bind, EdgeBounds, EdgeSettings, ForwardingHeader, ListenerSettings, Route, TrustedProxies, UpstreamSettings,
};
use crate::template::{Escape, Value};

/// Where we listen if nobody says where.
const DEFAULT_LISTENER: &str = "127.0.0.1:8080";

/// What the edge is made of.
pub(super) struct Parts<'a> {
    pub(super) listeners: Vec<RawListener>,
    pub(super) upstream: Option<UpstreamSettings>,
    pub(super) routes: Option<Vec<Route>>,
    pub(super) trusted_proxies: &'a RawTrustedProxies,
    pub(super) server: &'a RawServer,
    pub(super) ipv6_prefix: u8,
}

pub(super) fn resolve(parts: Parts<'_>, resolver: &mut Resolver<'_>) -> Option<EdgeSettings> {
    let trusted_proxies = trusted_proxies(parts.trusted_proxies, resolver);
    let listeners = listeners(parts.listeners, &trusted_proxies, resolver);
    let bounds = bounds(parts.server, parts.ipv6_prefix, resolver);
    let hosts = hosts(&parts.server.hosts, resolver);
    Some(EdgeSettings {
        listeners: listeners?,
        upstream: parts.upstream?,
        routes: parts.routes?,
        trusted_proxies,
        bounds,
        gate: gate(parts.server),
        hosts,
    })
}

// ----------------------------------------------------------------------------------------------------------- listeners

fn listeners(
    raw: Vec<RawListener>,
    trusted: &TrustedProxies,
    resolver: &mut Resolver<'_>,
) -> Option<Vec<ListenerSettings>> {
    if raw.is_empty() {
        let bind = DEFAULT_LISTENER.parse().ok().map(Bind::Tcp)?;
        return Some(vec![ListenerSettings { bind, proxy_protocol: false, tls: None }]);
    }
    let (mut listeners, mut complete) = (Vec::<ListenerSettings>::new(), true);
    for (index, raw) in raw.into_iter().enumerate() {
        let key = format!("listener[{index}]");
        match listener(&key, raw, trusted, resolver) {
            Some(listener) => {
                if listeners.iter().any(|other| other.bind == listener.bind && !is_any_port(&other.bind)) {
                    resolver.problem(&join(&key, "bind"), "another listener has this address already", "");
                }
                listeners.push(listener);
            }
            None => complete = false,
        }
    }
    complete.then_some(listeners)
}

fn is_any_port(bind: &Bind) -> bool {
    matches!(bind, Bind::Tcp(addr) if addr.port() == 0)
}

fn listener(
    key: &str,
    raw: RawListener,
    trusted: &TrustedProxies,
    resolver: &mut Resolver<'_>,
) -> Option<ListenerSettings> {
    let tls = raw.tls.map(|raw| tls::listener(&join(key, "tls"), &raw, resolver));
    let key = join(key, "bind");
    let bind = bind(&key, &raw.bind?, resolver)?;
    let is_public = matches!(bind, Bind::Tcp(addr) if !addr.ip().is_loopback());
    if is_public && tls.is_none() && trusted.cidrs.is_empty() && !raw.proxy_protocol {
        let message = "passwords come in over plain HTTP here, and no proxy with TLS is named in front";
        resolver.warning(&key, message, "give the listener `tls`, or name the proxy under `[trusted_proxies]`");
    }
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    Some(ListenerSettings { bind, proxy_protocol: raw.proxy_protocol, tls })
}

fn bind(key: &str, text: &str, resolver: &mut Resolver<'_>) -> Option<Bind> {
    let bind = if let Some(path) = text.strip_prefix("unix:") {
        path.starts_with('/').then(|| Bind::Unix(PathBuf::from(path)))
    } else if let Some(name) = text.strip_prefix("systemd:") {
        (!name.is_empty()).then(|| Bind::Systemd(name.to_owned()))
    } else {
        text.parse::<SocketAddr>().ok().map(Bind::Tcp)
    };
    if bind.is_none() {
        let help = "write \"127.0.0.1:8080\", \"[::]:8080\", \"unix:/run/authferry.sock\" or \"systemd:public\"";
        resolver.problem(key, "this is not a place to listen at", help);
    }
    bind
}

// ------------------------------------------------------------------------------------------------------------ upstream

pub(super) fn upstream(raw: Option<RawUpstream>, resolver: &mut Resolver<'_>) -> Option<UpstreamSettings> {
    let raw = raw?;
    let target = raw.url.as_deref().and_then(|url| resolver.target("upstream.url", url));
    let (mut identity_headers, mut complete) = (Vec::new(), true);
    for (name, source) in &raw.identity_headers.0 {
        let key = join("upstream.identity_headers", name);
        let header = resolver.header(&key, name);
        if header.as_ref().is_some_and(is_the_proxys) {
            resolver.problem(
                &key,
                "this header is a proxy's own, and cannot tell who a user is",
                "write `X-Remote-User`",
            );
        }
        match (header, resolver.template(&key, source, Escape::None, Sees::User)) {
            (Some(header), Some(template)) => {
                match template.render(&Value::from_pairs([("user", sample_user())])) {
                    Ok(_) => {
                        let then = "the app is told nothing of who he is";
                        tell_who_fails(&key, &template, &[], then, resolver);
                    }
                    Err(error) => reply::failed(&key, &template, &error.to_string(), resolver),
                }
                identity_headers.push((header, template));
            }
            (None, _) | (_, None) => complete = false,
        }
    }
    let tls = tls::outbound("upstream.tls", raw.tls.as_ref(), target.as_ref(), resolver);
    let connect_timeout = resolver.duration("upstream.connect_timeout", &raw.connect_timeout);
    let response_timeout = resolver.duration("upstream.response_timeout", &raw.response_timeout);
    complete.then_some(())?;
    Some(UpstreamSettings {
        target: target?,
        tls: tls?,
        connect_timeout,
        response_timeout,
        preserve_host: raw.preserve_host,
        websocket: raw.websocket,
        identity_headers,
    })
}

/// Headers that a proxy writes or that frame a message.
fn is_the_proxys(name: &http::HeaderName) -> bool {
    const OWN: [&str; 15] = [
        "client-cert",
        "client-cert-chain",
        "host",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-real-ip",
    ];
    OWN.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-")
}

// -------------------------------------------------------------------------------------------------------------- others

fn trusted_proxies(raw: &RawTrustedProxies, resolver: &mut Resolver<'_>) -> TrustedProxies {
    let mut cidrs = Vec::new();
    for (index, text) in raw.cidrs.iter().enumerate() {
        let key = format!("trusted_proxies.cidrs[{index}]");
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        match text.parse::<IpNet>().ok().or_else(address) {
            Some(network) => {
                if network.prefix_len() == 0 {
                    let message = "everybody is trusted to say who they are: limits by address can be walked around";
                    resolver.warning(&key, message, "name the networks of your own proxies only");
                }
                cidrs.push(network);
            }
            None => resolver.problem(&key, "this is not a network", "write \"10.0.0.0/8\" or \"2001:db8::1\""),
        }
    }
    let header = match raw.header {
        RawForwardingHeader::XForwardedFor => ForwardingHeader::XForwardedFor,
        RawForwardingHeader::Forwarded => ForwardingHeader::Forwarded,
    };
    TrustedProxies { cidrs, header }
}

fn gate(raw: &RawServer) -> GatePolicy {
    let paths = match raw.paths {
        RawPaths::Strict => PathPolicy::Strict,
        RawPaths::Lenient => PathPolicy::Tolerant,
    };
    let underscores = match raw.underscores {
        RawUnderscores::Refuse => Underscores::Refuse,
        RawUnderscores::Allow => Underscores::Allow,
    };
    GatePolicy { paths, underscores }
}

fn hosts(raw: &[String], resolver: &mut Resolver<'_>) -> AllowedHosts {
    let mut hosts = AllowedHosts::default();
    for (index, text) in raw.iter().enumerate() {
        if let Err(error) = hosts.add(text) {
            let help = "write \"app.example.com\", \"*.example.com\" or \"[2001:db8::1]\"";
            resolver.problem(&format!("server.hosts[{index}]"), error.to_string(), help);
        }
    }
    hosts
}

fn bounds(raw: &RawServer, ipv6_prefix: u8, resolver: &mut Resolver<'_>) -> EdgeBounds {
    EdgeBounds {
        head_bytes: resolver.size("server.max_head", &raw.max_head, "1KiB", "1MiB"),
        uri_bytes: resolver.size("server.max_uri", &raw.max_uri, "256B", "64KiB"),
        auth_body_bytes: resolver.size("server.max_auth_body", &raw.max_auth_body, "1KiB", "1MiB"),
        head_timeout: resolver.duration("server.head_timeout", &raw.head_timeout),
        body_timeout: resolver.duration("server.body_timeout", &raw.body_timeout),
        min_body_rate: resolver.size("server.min_body_rate", &raw.min_body_rate, "1B", "1GiB"),
        tls_timeout: resolver.duration("server.tls_timeout", &raw.tls_timeout),
        idle_timeout: resolver.duration("server.idle_timeout", &raw.idle_timeout),
        drain_timeout: resolver.duration("server.drain_timeout", &raw.drain_timeout),
        linger: resolver.duration("server.linger", &raw.linger),
        drain_tunnels: resolver.duration("server.drain_tunnels", &raw.drain_tunnels),
        max_connections: non_zero(raw.max_connections).get(),
        max_connections_per_ip: non_zero(raw.max_connections_per_ip).get(),
        ipv6_prefix,
        max_requests: non_zero(raw.max_requests).get(),
        workers: resolver.count(raw.workers).get(),
    }
}
