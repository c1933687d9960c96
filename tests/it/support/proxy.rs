//! The edge alone: a server on port 0 whose handler forwards everything. Tests of the whole proxy start the application instead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authferry::domain::client_addr::ClientAddr;
use authferry::domain::clock::SystemClock;
use authferry::http::connection::Connection;
use authferry::http::forward::{ForwardContext, Forwarder};
use authferry::http::headers::HeaderRules;
use authferry::http::listener::BoundAddress;
use authferry::http::server::{Drained, Handler, ServeError, bind_all};
use authferry::http::settings::{Bind, EdgeBounds, ForwardingHeader, ListenerSettings};
use authferry::net::body::LeastPace;
use authferry::net::{Client, ClientSettings, ProxyBody, Received, Target, tls};
use authferry::telemetry::Metrics;
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::soon;

/// How a test wants its proxy.
pub(crate) struct Wanted {
    pub(crate) upstream: String,
    pub(crate) listeners: Vec<ListenerSettings>,
    pub(crate) bounds: EdgeBounds,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) preserve_host: bool,
    pub(crate) peer_is_trusted: bool,
    pub(crate) identity: Vec<(HeaderName, HeaderValue)>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) instance: u32,
}

/// A listener on any port of the loopback.
pub(crate) fn on_any_port() -> ListenerSettings {
    let bind = Bind::Tcp("127.0.0.1:0".parse().expect("an address"));
    ListenerSettings { bind, proxy_protocol: false, tls: None }
}

impl Wanted {
    pub(crate) fn before(upstream: impl Into<String>) -> Self {
        let long = Duration::from_secs(30);
        Self {
            upstream: upstream.into(),
            listeners: vec![on_any_port()],
            bounds: EdgeBounds {
                head_bytes: 16 * 1024,
                uri_bytes: 8 * 1024,
                auth_body_bytes: 16 * 1024,
                head_timeout: long,
                body_timeout: long,
                min_body_rate: 500,
                tls_timeout: long,
                idle_timeout: long,
                drain_timeout: long,
                linger: Duration::from_millis(100),
                drain_tunnels: long,
                max_connections: 1000,
                max_connections_per_ip: 1000,
                ipv6_prefix: 64,
                max_requests: 1000,
                workers: 2,
            },
            connect_timeout: long,
            response_timeout: long,
            preserve_host: true,
            peer_is_trusted: false,
            identity: Vec::new(),
            tls: tls::client_config_trusting_nobody().expect("a configuration"),
            instance: 1,
        }
    }

    pub(crate) async fn start(self) -> Proxy {
        let metrics = Arc::new(Metrics::new());
        let target = Target::parse(&self.upstream).expect("a URL");
        let settings = ClientSettings {
            connect_timeout: self.connect_timeout,
            tls: self.tls,
            max_idle_per_thread: 64,
            idle_timeout: Duration::from_secs(30),
        };
        let client = Client::new(target, settings);
        let host = (!self.preserve_host).then(|| client.authority().clone());
        let names = self.identity.iter().map(|(name, _)| name.clone()).collect();
        let rules = Arc::new(HeaderRules::new(host, names, ForwardingHeader::XForwardedFor, self.instance));
        let clock = Arc::new(SystemClock);
        let least_pace = LeastPace { patience: self.bounds.body_timeout, rate: self.bounds.min_body_rate };
        let forwarder = Forwarder::new(client, rules, self.response_timeout, least_pace, metrics.clone(), clock);
        let handler = ForwardAll { forwarder, peer_is_trusted: self.peer_is_trusted, identity: self.identity };
        Proxy::serving(&self.listeners, self.bounds, handler, metrics)
    }
}

struct ForwardAll {
    forwarder: Forwarder,
    peer_is_trusted: bool,
    identity: Vec<(HeaderName, HeaderValue)>,
}

impl Handler for ForwardAll {
    async fn handle(&self, request: Request<Incoming>, connection: &Arc<Connection>) -> Response<ProxyBody> {
        let peer = connection.peer_ip().unwrap_or([127, 0, 0, 1].into());
        let context = ForwardContext {
            connection,
            client: ClientAddr::assert_by_trusted_walk(peer),
            peer_is_trusted: self.peer_is_trusted,
            identity: &self.identity,
        };
        let version = request.version();
        let request = request.map(|body| ProxyBody::from(Received::new(body, version)));
        self.forwarder.forward(request, &context).await
    }
}

/// A running edge. Dropped, it stops.
pub(crate) struct Proxy {
    pub(crate) addresses: Vec<BoundAddress>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: CancellationToken,
    ended: Option<JoinHandle<Result<Drained, ServeError>>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Proxy {
    /// A server with a handler of the test's own.
    pub(crate) fn serving<H: Handler>(
        listeners: &[ListenerSettings],
        bounds: EdgeBounds,
        handler: H,
        metrics: Arc<Metrics>,
    ) -> Self {
        let server = bind_all(listeners, bounds).expect("bound");
        let (addresses, shutdown) = (server.addresses(), CancellationToken::new());
        let run = server.run(Arc::new(handler), metrics.clone(), shutdown.clone());
        Self { addresses, metrics, shutdown, ended: Some(tokio::spawn(run)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0].tcp().expect("TCP")
    }

    /// Waits for the drain to be over.
    pub(crate) async fn drained(&mut self) -> Drained {
        let ended = self.ended.take().expect("asked once");
        soon("the drain", ended).await.expect("no panic").expect("served")
    }

    /// Waits until a line of `/metrics` has a value.
    pub(crate) async fn until_metric(&self, line: &str, value: &str) {
        soon(line, async {
            while self.metric(line).as_deref() != Some(value) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// One line of `/metrics`, its value.
    pub(crate) fn metric(&self, line: &str) -> Option<String> {
        let text = self.metrics.encode();
        text.lines().find_map(|known| known.strip_prefix(line)).map(|value| value.trim().to_owned())
    }
}
