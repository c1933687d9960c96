//! What goes on to the app: with the headers that say who is logged in, where a session of ours is valid, and otherwise as the gate let
//! it through. Its answer comes back unseen.
//!
//! The hot path: nearly every request comes here straight from the route table.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::{Interceptor, Traffic, whole};
use crate::domain::mode::Mode;
use crate::domain::proof::UserView;
use crate::http::forward::ForwardContext;
use crate::http::problem::problem;
use crate::net::ProxyBody;
use crate::service::ports::Tokens;
use crate::template;

impl Interceptor {
    /// Sends a request on to the app and streams its answer back, with `identity_headers` where its session is valid.
    pub(super) async fn send_on(&self, traffic: Traffic<'_>, body: ProxyBody) -> Response<ProxyBody> {
        let identity = match self.session_of(&traffic) {
            None => Vec::new(),
            Some((tokens, token)) => match Box::pin(self.identity(tokens, token)).await {
                Ok(identity) => identity,
                Err(retry_after) => return whole(unavailable(retry_after)),
            },
        };
        let Traffic { mut head, target, client, connection, peer_is_trusted } = traffic;
        let context = ForwardContext { connection, client, peer_is_trusted, identity: &identity };
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target.path_and_query().clone());
        match http::Uri::from_parts(uri) {
            Ok(canonical) => head.uri = canonical,
            Err(_impossible) => {
                return whole(problem(StatusCode::BAD_REQUEST, "bad_target", "The request target is not acceptable"));
            }
        }
        self.parts.forwarder.forward(Request::from_parts(head, body), &context).await
    }

    /// What may be the token of a session that a request bears, where `identity_headers` are made of it.
    fn session_of<'a>(&'a self, traffic: &'a Traffic<'_>) -> Option<(&'a dyn Tokens, &'a str)> {
        let tokens = self.parts.sessions.tokens.as_deref()?;
        if self.parts.sessions.identity_headers.is_empty() || self.parts.service.mode().current() == Mode::Passthrough {
            return None;
        }
        Some((tokens, self.token_of(&traffic.head.headers)?))
    }

    /// `identity_headers` of the user whose session this is; none if it is not valid.
    async fn identity(&self, tokens: &dyn Tokens, token: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Duration> {
        let templates = &self.parts.sessions.identity_headers;
        let user = match self.parts.service.user_of(tokens, token).await {
            Ok(Some(user)) => user,
            Ok(None) => return Ok(Vec::new()),
            // An app that trusts these headers would take him for logged out.
            Err(error) => return Err(self.parts.service.unanswered(&error)),
        };
        let view = UserView::of(&user);
        let login = view.username.as_deref().or(view.email.as_deref()).or(view.phone.as_deref());
        let context = template::context(IdentityContext { user: IdentityUser { view: &view, login } });
        let rendered = templates.iter().map(|(name, value)| {
            let value = value.render(&context).ok().and_then(|value| HeaderValue::from_str(&value).ok());
            value.map(|value| (name.clone(), value))
        });
        // All or none: half an identity is not one.
        Ok(rendered.collect::<Option<Vec<_>>>().unwrap_or_else(|| {
            self.parts.metrics.alarm("template");
            Vec::new()
        }))
    }
}

/// What `identity_headers` see: the user, and the name he would log in with.
#[derive(serde::Serialize)]
struct IdentityContext<'a> {
    user: IdentityUser<'a>,
}

#[derive(serde::Serialize)]
struct IdentityUser<'a> {
    #[serde(flatten)]
    view: &'a UserView,
    login: Option<&'a str>,
}

fn unavailable(retry_after: Duration) -> Response<Bytes> {
    let mut response =
        problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This cannot be answered now, try again");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
    response
}
