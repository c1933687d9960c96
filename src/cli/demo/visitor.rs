//! A visitor of the demo: somebody with a browser, who knows the proxy's address and his password, and nothing else. Speaks HTTP
//! over a real socket, as everybody does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::Value;

use crate::domain::clock::{Clock, SystemClock};
use crate::net::{BodyError, Client, ClientSettings, ProxyBody, SendError, Target, read_bounded, tls};

/// How long a visitor waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that a visitor reads, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Where the demo's app takes a login.
pub(super) const LOGIN: &str = "/api/login";

/// The page behind the login.
pub(super) const APP: &str = "/app";

/// Somebody with a browser. Cheap to clone.
#[derive(Clone)]
pub(super) struct Visitor {
    client: Client,
}

/// What he got.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Visit {
    /// The status.
    pub(super) status: StatusCode,
    /// The body, if it is JSON.
    pub(super) json: Value,
    /// When trying again makes sense, in seconds.
    pub(super) retry_after: Option<String>,
}

impl Visit {
    /// The token that opens the app.
    pub(super) fn token(&self) -> Option<&str> {
        self.json.get("token").and_then(Value::as_str)
    }
}

/// Why he got nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVisit {
    #[error("the proxy cannot be reached")]
    Send(#[source] SendError),
    #[error("the proxy's answer broke off")]
    Body(#[source] BodyError),
    #[error("the proxy did not answer in time")]
    Late,
}

impl Visitor {
    /// Of the site at this address.
    pub(super) fn of(site: Target) -> Result<Self, tls::TlsError> {
        let settings = ClientSettings {
            connect_timeout: PATIENCE,
            tls: tls::client_config_trusting_nobody()?,
            max_idle_per_thread: 1,
            idle_timeout: Duration::from_secs(4),
        };
        Ok(Self { client: Client::new(site, settings) })
    }

    /// Logs in.
    pub(super) async fn log_in(&self, login: &str, password: &str) -> Result<Visit, NoVisit> {
        let body = serde_json::json!({ "login": login, "password": password }).to_string();
        let mut request = Request::new(ProxyBody::full(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(LOGIN);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.visit(request).await
    }

    /// Opens the page behind the login, with the token that a login gave.
    pub(super) async fn open_app(&self, token: &str) -> Result<Visit, NoVisit> {
        let mut request = Request::new(ProxyBody::empty());
        *request.uri_mut() = http::Uri::from_static(APP);
        if let Ok(cookie) = HeaderValue::from_str(&format!("session={token}")) {
            request.headers_mut().insert(COOKIE, cookie);
        }
        self.visit(request).await
    }

    async fn visit(&self, request: Request<ProxyBody>) -> Result<Visit, NoVisit> {
        let response = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        let (head, body) = response.map_err(|_elapsed| NoVisit::Late)?.map_err(NoVisit::Send)?.into_parts();
        let deadline = SystemClock.monotonic() + PATIENCE;
        let body: Bytes = read_bounded(body, MAX_ANSWER_BYTES, deadline).await.map_err(NoVisit::Body)?;
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Visit { status: head.status, json: serde_json::from_slice(&body).unwrap_or_default(), retry_after })
    }
}
