//! A decoded request and its use case: what is asked of the service, and how its reply goes back - rendered, relayed, or as the
//! request's going on to the app. Decides nothing about users.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::render::Asked;
use super::shape::differences;
use super::taken::Taken;
use super::{Interceptor, whole};
use crate::domain::identifier::IdentifierKind;
use crate::domain::mode::Mode;
use crate::domain::password_life::Change;
use crate::http::decode::{Credentials, Decoded, reserialize, strip_credential_cookies};
use crate::http::gate::Refusal;
use crate::http::headers::{HeaderFault, Provenance};
use crate::http::settings::{Action, Session};
use crate::net::ProxyBody;
use crate::service::changes::ChangeRequest;
use crate::service::login::LoginRequest;
use crate::service::ports::ClientRequest;
use crate::service::registration::RegisterRequest;
use crate::service::reply::{Answer, Ours, Reply};

/// What an action asks of the service, by where its credentials are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UseCase {
    /// In a body.
    OfBody(BodyCase),
    /// In the head alone: it needs nothing of a body.
    OfHead(HeadCase),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyCase {
    Login,
    Register,
    Change(Change),
    Refresh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadCase {
    Logout,
    WhoAmI,
}

impl Action {
    pub(super) fn use_case(self) -> UseCase {
        match self {
            Self::Login => UseCase::OfBody(BodyCase::Login),
            Self::Register => UseCase::OfBody(BodyCase::Register),
            Self::ChangePassword => UseCase::OfBody(BodyCase::Change(Change::ChangePassword)),
            Self::ResetPassword => UseCase::OfBody(BodyCase::Change(Change::ResetPassword)),
            Self::DeleteUser => UseCase::OfBody(BodyCase::Change(Change::DeleteUser)),
            Self::Refresh => UseCase::OfBody(BodyCase::Refresh),
            Self::Logout => UseCase::OfHead(HeadCase::Logout),
            Self::GetUser => UseCase::OfHead(HeadCase::WhoAmI),
        }
    }
}

/// The body of a request that was decoded: as it may be sent on, and as it came.
struct Bodies {
    canonical: Arc<ClientRequest>,
    received: Bytes,
}

impl Interceptor {
    /// Hands the decoded request to its use case and renders what it comes to.
    pub(super) async fn perform(
        &self,
        taken: Taken<'_>,
        decoded: &Decoded,
        credentials: Credentials,
        received: Bytes,
    ) -> Response<ProxyBody> {
        let canonical = match self.client_request(&taken, decoded) {
            Ok(request) => Arc::new(request),
            Err(fault) => {
                let (status, reason, title) = fault.answer();
                return self.refuse(&Refusal { status, reason, title });
            }
        };
        let login = credentials.login.clone().unwrap_or_default();
        let reply = self.ask(&taken, credentials, Arc::clone(&canonical)).await;
        self.conclude(taken, reply, &login, Bodies { canonical, received }).await
    }

    async fn ask(&self, taken: &Taken<'_>, credentials: Credentials, request: Arc<ClientRequest>) -> Reply {
        let (service, tokens, route) = (&self.parts.service, self.parts.sessions.tokens.as_deref(), taken.route);
        match route.action.use_case() {
            UseCase::OfBody(BodyCase::Login) => service.login(taken.login(credentials, request)).await,
            UseCase::OfBody(BodyCase::Register) => service.register(taken.registration(credentials, request)).await,
            UseCase::OfBody(BodyCase::Change(change)) => {
                let token = self.token_of(&taken.traffic.head.headers).map(ToOwned::to_owned);
                service.change(tokens, taken.change(change, token, credentials, request)).await
            }
            UseCase::OfBody(BodyCase::Refresh) => {
                let token = credentials.token.as_ref().map(|token| token.as_str());
                service.refresh(&route.name, tokens, &route.refreshes, token).await
            }
            // Another route at the same place asked for the body, and this one has no use for it.
            UseCase::OfHead(_) => Reply::send_on(),
        }
    }

    /// Turns a use case's reply into a response.
    async fn conclude(&self, taken: Taken<'_>, reply: Reply, login: &str, bodies: Bodies) -> Response<ProxyBody> {
        let Taken { index, route, mut traffic, .. } = taken;
        match reply.answer {
            Answer::Ours(Ours::Ok(_)) if route.action == Action::Login && route.session == Session::Forward => {
                // Verified here; the app makes its own session out of what was verified, not out of what was received (R41).
                for name in [CONTENT_TYPE, CONTENT_LENGTH] {
                    if let Some(value) = bodies.canonical.headers.get(&name) {
                        traffic.head.headers.insert(name, value.clone());
                    }
                }
                self.send_on(traffic, ProxyBody::full(bodies.canonical.body.clone())).await
            }
            Answer::Ours(ours) => {
                whole(self.renderer.answer(route, &ours, Asked { login, headers: &traffic.head.headers }))
            }
            Answer::Legacys { relay, shadow } => {
                if let (Some(who), Mode::Observe) = (shadow, self.parts.service.mode().current())
                    && let Some(ours) =
                        self.renderer.shadow(route, &who, Asked { login, headers: &traffic.head.headers })
                    && let Some(fields) = self.fields.get(index.0)
                {
                    for field in differences(&ours, &relay) {
                        self.parts.metrics.shape_difference(&route.name, &fields.label(&field));
                    }
                }
                whole(relay)
            }
            Answer::SendOn => self.send_on(traffic, ProxyBody::full(bodies.received)).await,
        }
    }

    /// The request as legacy gets it: made anew from what was parsed, so that what legacy judges is what we save (R41).
    fn client_request(&self, taken: &Taken<'_>, decoded: &Decoded) -> Result<ClientRequest, HeaderFault> {
        let Taken { route, traffic, .. } = taken;
        let from = Provenance {
            connection: traffic.connection,
            client: traffic.client,
            peer_is_trusted: traffic.peer_is_trusted,
            version: traffic.head.version,
        };
        let mut headers = self.parts.headers.forwardable(&traffic.head.headers, from)?;
        strip_credential_cookies(&mut headers, &[&route.request]);
        let body = reserialize(decoded);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(content_type) = decoded.content_type() {
            headers.insert(CONTENT_TYPE, content_type);
        }
        let (method, path_and_query) = (traffic.head.method.clone(), traffic.target.path_and_query().clone());
        Ok(ClientRequest { method, path_and_query, headers, body })
    }
}

impl Taken<'_> {
    fn login(&self, credentials: Credentials, request: Arc<ClientRequest>) -> LoginRequest {
        LoginRequest {
            client: self.traffic.client,
            route: self.index,
            route_name: Arc::clone(&self.route.name),
            login: credentials.login.unwrap_or_default(),
            password: credentials.password.unwrap_or_default(),
            fields: credentials.fields,
            asked_by: self.route.legacy.asked_by(),
            request,
        }
    }

    fn registration(&self, credentials: Credentials, request: Arc<ClientRequest>) -> RegisterRequest {
        let names = [
            (IdentifierKind::Email, credentials.email),
            (IdentifierKind::Username, credentials.username),
            (IdentifierKind::Phone, credentials.phone),
        ];
        RegisterRequest {
            client: self.traffic.client,
            route: self.index,
            route_name: Arc::clone(&self.route.name),
            login: credentials.login.unwrap_or_default(),
            names: names.into_iter().filter_map(|(kind, name)| Some((kind, name?))).collect(),
            password: credentials.password.unwrap_or_default(),
            // Without `request.profile` nothing but the names: a body may say `"role": "admin"` (R37).
            profile: credentials.profile.unwrap_or_else(|| serde_json::json!({})),
            fields: credentials.fields,
            asked_by: self.route.legacy.asked_by(),
            write: self.route.write,
            request,
        }
    }

    /// `token` is the one that the client is logged in with.
    fn change(
        &self,
        change: Change,
        token: Option<String>,
        credentials: Credentials,
        request: Arc<ClientRequest>,
    ) -> ChangeRequest {
        ChangeRequest {
            client: self.traffic.client,
            route: self.index,
            route_name: Arc::clone(&self.route.name),
            change,
            login: credentials.login,
            password: credentials.password,
            new_password: credentials.new_password,
            token,
            fields: credentials.fields,
            request,
        }
    }
}
