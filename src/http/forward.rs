//! Forwarding: what no route takes is streamed to the upstream and its answer back, neither of them buffered. Called by the edge's
//! handler with a request that the gate has let through; the request's URI is canonical and goes on as it stands (R27). Never
//! retries, caches or changes a body.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use tokio::time::Instant;

use super::access;
use super::connection::Connection;
use super::headers::{HeaderFault, HeaderRules, Provenance};
use super::problem::problem;
use super::upgrade::{self, Wish};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::net::body::{LeastPace, Progress};
use crate::net::{Client, ProxyBody, SendError, SendErrorKind};
use crate::telemetry::metrics::Forwarded;
use crate::telemetry::{Metrics, WithCauses};

/// How often a body that is arriving is looked after at most.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Sends requests to the upstream.
pub struct Forwarder {
    client: Client,
    rules: Arc<HeaderRules>,
    response_timeout: Duration,
    least_pace: LeastPace,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    websockets: WebSockets,
}

/// Whether the one upgrade that is ever forwarded is (R9).
#[derive(Clone, Copy, PartialEq, Eq)]
enum WebSockets {
    GoThrough,
    /// The request goes on without its wish.
    StayOut,
}

/// What is known of a request besides itself.
#[derive(Clone, Copy)]
pub struct ForwardContext<'a> {
    /// The connection it came on.
    pub connection: &'a Arc<Connection>,
    /// The client, by the trusted-proxy walk.
    pub client: ClientAddr,
    /// Whether the other end of the connection is a trusted proxy.
    pub peer_is_trusted: bool,
    /// Headers of ours for the upstream: who is logged in. Their names are among those stripped from clients.
    pub identity: &'a [(HeaderName, HeaderValue)],
}

/// A request that is not sent on: status, code, sentence.
type Refusal = (StatusCode, &'static str, &'static str);

/// Why a request got no answer of the upstream's.
enum Failure {
    /// It could not be sent, or no head came back.
    Send(SendError),
    /// No head in time.
    TooSlow,
    /// The client stopped sending its body.
    ClientStalled,
    /// An answer that no proxy may hand on.
    BadAnswer(&'static str),
}

impl Forwarder {
    /// `response_timeout` is how long the head of an answer may take after the last part of the request's body has been sent;
    /// `least_pace` is how fast that body has to come.
    #[must_use]
    pub fn new(
        client: Client,
        rules: Arc<HeaderRules>,
        response_timeout: Duration,
        least_pace: LeastPace,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, rules, response_timeout, least_pace, metrics, clock, websockets: WebSockets::GoThrough }
    }

    /// Offers the upstream no upgrade whatever.
    #[must_use]
    pub fn without_websockets(self) -> Self {
        Self { websockets: WebSockets::StayOut, ..self }
    }

    /// Sends a request on and brings its answer back. Every failure is an answer too: 502 for an upstream that is down or talks
    /// nonsense, 504 for one that is slow (R20).
    pub async fn forward(&self, request: Request<ProxyBody>, context: &ForwardContext<'_>) -> Response<ProxyBody> {
        let since = self.clock.monotonic();
        let logged = access::is_on().then(|| (request.method().clone(), request.uri().clone()));
        let response = self.answer(request, context, since).await;
        if let Some((method, uri)) = logged {
            let took = self.clock.monotonic().saturating_duration_since(since);
            access::log(&method, uri.path(), response.status(), took, (context.client, context.connection), "upstream");
        }
        response
    }

    async fn answer(
        &self,
        mut request: Request<ProxyBody>,
        context: &ForwardContext<'_>,
        since: std::time::Instant,
    ) -> Response<ProxyBody> {
        let wish = match self.websockets {
            WebSockets::GoThrough => upgrade::wish(&mut request),
            WebSockets::StayOut => None,
        };
        if let Err((status, code, title)) = self.prepare(&mut request, context, wish.is_some()) {
            self.metrics.refused(code);
            return problem(status, code, title).map(ProxyBody::full);
        }
        // What is written wakes whom it is for. Requests that come together are got ready together, then sent together, and so are their
        // answers: the others are still awake from the first one then. Waking takes as long as all of our own work on a request.
        let among = context.connection.exchanges();
        among.give_way().await;
        let answered = self.exchange(request, context.connection, since).await;
        among.give_way().await;
        drop(among);
        match answered.and_then(|response| self.finish(response, wish, context)) {
            Ok(response) => {
                self.metrics.forwarded(class(response.status()));
                response
            }
            Err(failure) => {
                self.metrics.forwarded(Forwarded::Unanswered);
                failure.answer()
            }
        }
    }

    /// Makes a request ready for the upstream.
    fn prepare(
        &self,
        request: &mut Request<ProxyBody>,
        context: &ForwardContext<'_>,
        websocket: bool,
    ) -> Result<(), Refusal> {
        // A yes to CONNECT would turn the connection into a tunnel. The gate refuses it too; this must hold without the gate.
        if request.method() == Method::CONNECT {
            return Err((StatusCode::NOT_IMPLEMENTED, "bad_method", "The method is not supported"));
        }
        // HTTP/2 has the host in the URI.
        if let Some(authority) = request.uri().authority()
            && !request.headers().contains_key(HOST)
        {
            match HeaderValue::from_str(authority.as_str()) {
                Ok(host) => request.headers_mut().insert(HOST, host),
                Err(_) => return Err((StatusCode::BAD_REQUEST, "bad_host", "The host is not acceptable")),
            };
        }
        let from = Provenance {
            connection: context.connection,
            client: context.client,
            peer_is_trusted: context.peer_is_trusted,
            version: request.version(),
        };
        self.rules.request(request.headers_mut(), from).map_err(HeaderFault::answer)?;
        if let Some(uri) = origin_form(request.uri(), &self.client.target().base_path) {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        for (name, value) in context.identity {
            headers.append(name, value.clone());
        }
        if websocket {
            upgrade::offer(headers);
        }
        Ok(())
    }

    /// Sends the request and waits for the head of an answer. The wait starts anew with every part of the body that is sent: a long
    /// upload is no slow upstream. How slow it may be is bounded by the client's least pace (R22).
    async fn exchange(
        &self,
        mut request: Request<ProxyBody>,
        connection: &Connection,
        since: std::time::Instant,
    ) -> Result<Response<ProxyBody>, Failure> {
        let upload = request.body_mut().watch(self.least_pace);
        if let Some(upload) = &upload {
            connection.note_upload(upload);
        }
        let mut sending = std::pin::pin!(self.client.send(request));
        // On HTTP/1 this is polled in the connection's own task, whom a reminder wakes: the gate, the routes and all between call it without
        // a task or a waker of their own. HTTP/2 sets a timer.
        if upload.is_none() && connection.remind(self.response_timeout) {
            let due = since + self.response_timeout;
            let sent = std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(sent) => Poll::Ready(sent.map_err(Failure::Send)),
                Poll::Pending if connection.is_reminded() && self.clock.monotonic() >= due => {
                    Poll::Ready(Err(Failure::TooSlow))
                }
                Poll::Pending => Poll::Pending,
            })
            .await;
            connection.forget();
            return sent;
        }
        let began = Instant::now();
        let mut now = began;
        loop {
            let look_again = self.patience(began, now, upload.as_deref())?;
            if let Ok(sent) = tokio::time::timeout_at(look_again, &mut sending).await {
                return sent.map_err(Failure::Send);
            }
            now = Instant::now();
        }
    }

    /// Until when to wait, or who has kept us waiting for too long.
    fn patience(&self, began: Instant, now: Instant, upload: Option<&Progress>) -> Result<Instant, Failure> {
        let is_starved = upload.is_some_and(Progress::is_starved);
        let answer_due = upload.map_or(began, Progress::last) + self.response_timeout;
        let client_due = upload.and_then(Progress::patience_ends);
        if is_starved && client_due.is_some_and(|due| due <= now) {
            return Err(Failure::ClientStalled);
        }
        if answer_due <= now {
            return Err(if is_starved { Failure::ClientStalled } else { Failure::TooSlow });
        }
        Ok(client_due.map_or(answer_due, |due| answer_due.min(due.max(now + LOOK_AGAIN))))
    }

    /// Makes an answer ready for the client.
    fn finish(
        &self,
        mut response: Response<ProxyBody>,
        wish: Option<Wish>,
        context: &ForwardContext<'_>,
    ) -> Result<Response<ProxyBody>, Failure> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(wish) = wish.filter(|wish| wish.is_granted_by(response.headers())) else {
                return Err(Failure::BadAnswer("it switches to a protocol that nobody asked for"));
            };
            let Some(upstream) = std::mem::take(response.body_mut()).into_switched() else {
                return Err(Failure::BadAnswer("it switches protocols and does not"));
            };
            self.rules.response(response.headers_mut());
            upgrade::offer(response.headers_mut());
            wish.tunnel(upstream, context.connection);
            return Ok(response);
        }
        self.rules.response(response.headers_mut());
        Ok(response)
    }
}

impl Failure {
    fn answer(self) -> Response<ProxyBody> {
        use SendErrorKind::{Broken, Cancelled, Connect, NoRoom, RequestBody, Timeout, Tls};
        const UNREACHABLE: &str = "The app behind this proxy cannot be reached";
        const BUSY: &str = "The app behind this proxy is asked as much as it can be";
        const BAD: &str = "The app behind this proxy gave no usable answer";
        const SLOW: &str = "The app behind this proxy took too long to answer";
        let (status, code, title) = match &self {
            Self::Send(error) => match error.kind {
                Connect | Tls => (StatusCode::BAD_GATEWAY, "upstream_unreachable", UNREACHABLE),
                NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "upstream_busy", BUSY),
                Broken | Cancelled => (StatusCode::BAD_GATEWAY, "upstream_broken", BAD),
                Timeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", SLOW),
                RequestBody => (StatusCode::BAD_REQUEST, "bad_body", "The body broke off"),
            },
            Self::BadAnswer(_) => (StatusCode::BAD_GATEWAY, "upstream_broken", BAD),
            Self::TooSlow => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", SLOW),
            Self::ClientStalled => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body took too long"),
        };
        match &self {
            Self::Send(error) => {
                tracing::warn!(
                    error = %WithCauses(error),
                    code,
                    "a request got no answer from the upstream"
                );
            }
            Self::BadAnswer(why) => tracing::warn!(why, code, "an answer of the upstream was not handed on"),
            Self::TooSlow | Self::ClientStalled => tracing::warn!(code, "a request got no answer from the upstream"),
        }
        let mut answer = problem(status, code, title).map(ProxyBody::full);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The URI as HTTP/1.1 has it, under the upstream's base path; `None` if it is so already.
fn origin_form(uri: &Uri, base_path: &str) -> Option<Uri> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if !base_path.is_empty() && path.starts_with('/') {
        // Two valid paths in a row make one.
        return PathAndQuery::try_from([base_path, path].concat()).ok().map(Uri::from);
    }
    if uri.authority().is_none() && uri.scheme().is_none() {
        return None;
    }
    Some(uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from))
}

fn class(status: StatusCode) -> Forwarded {
    match status.as_u16() {
        100..200 => Forwarded::Informational,
        200..300 => Forwarded::Successful,
        300..400 => Forwarded::Redirected,
        400..500 => Forwarded::ClientError,
        _ => Forwarded::ServerError,
    }
}
