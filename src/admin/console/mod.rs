//! The console: plain pages rendered here, without a script. Signing in with the token begins a session; every other page
//! needs one.
//!
//! All of it lives under `/console`, and so does its cookie: cookies do not tell ports apart, and the app in front of which
//! this proxy stands is often another port of the same host. Where a browser comes over TLS, the cookie has the `__Host-`
//! prefix instead (with `Path=/`, as RFC 6265bis section 4.1.3.2 asks), and no neighbouring host can plant one. Over plain HTTP
//! that prefix is refused, by some browsers on loopback too, and operators could not sign in at all.

mod pages;
mod people;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, FromRequestParts, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use zeroize::Zeroizing;

use super::gate::{CameFrom, Scheme, came_from, host};
use super::operate::{self, ListRequest, OperateError};
use super::permit::{AdminPermit, Peer, TokenVerdict};
use super::problem::Problem;
use super::roster::{self, StragglersRequest};
use super::session::SESSION_LIFETIME;
use super::state::AdminState;
use super::view::ModeChange;
use crate::domain::mode::Mode;
use crate::domain::roster::Bucket;
use crate::telemetry::WithCauses;

/// Where the console begins, and how far its plain cookie goes.
const HOME: &str = "/console";

const SIGN_IN: &str = "/console/sign-in";

/// The cookie's name over plain HTTP.
const PLAIN_COOKIE: &str = "authferry-console";

/// The cookie's name over TLS.
const HOST_COOKIE: &str = "__Host-authferry-console";

type Shared = State<Arc<AdminState>>;

pub(super) fn routes() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/", get(async || see(HOME)))
        .route(HOME, get(overview))
        .route("/console/users", get(users))
        .route("/console/stragglers", get(stragglers))
        .route("/console/stragglers.csv", get(download))
        .route("/console/mode", post(set_mode))
        .route(SIGN_IN, get(sign_in_page).post(sign_in))
        .route("/console/sign-out", post(sign_out))
        .route("/console/style.css", get(style))
        .merge(people::routes())
}

/// An open session. The console's counterpart of the bearer token.
struct Session {
    permit: AdminPermit,
    id: String,
}

impl FromRequestParts<Arc<AdminState>> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Response> {
        let now = state.clock.monotonic();
        let open = session_ids(&parts.headers).find_map(|id| {
            let permit = state.sessions.permit(id, now)?;
            Some(Self { permit, id: id.to_owned() })
        });
        open.ok_or_else(|| see(SIGN_IN))
    }
}

/// A writing request that a page of this console sent, and over which scheme (R109). The gate has turned foreign pages away;
/// here a request of which no browser says anything is turned away too, since this door is for browsers.
struct FromThisConsole(Scheme);

impl FromRequestParts<Arc<AdminState>> for FromThisConsole {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<AdminState>) -> Result<Self, Problem> {
        match host(parts).map(|host| came_from(&parts.headers, host)) {
            Some(CameFrom::Here(scheme)) => Ok(Self(scheme)),
            Some(CameFrom::Elsewhere | CameFrom::Unsaid) | None => {
                let detail = "The console takes forms from its own pages only. Scripts use /api/v1 with the token.";
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct SignIn {
    token: String,
}

#[derive(serde::Deserialize)]
struct OverviewRequest {
    live: Option<String>,
}

async fn sign_in_page(State(state): Shared) -> Response {
    pages::sign_in(StatusCode::OK, state.has_token(), false)
}

async fn sign_in(
    State(state): Shared,
    FromThisConsole(scheme): FromThisConsole,
    peer: Option<Extension<Peer>>,
    form: Result<Form<SignIn>, FormRejection>,
) -> Result<Response, Problem> {
    let token = Zeroizing::new(form?.0.token);
    let from = peer.map(|Extension(Peer(address))| address);
    let permit = match state.check_token(from, token.trim()) {
        TokenVerdict::Right(permit) => permit,
        TokenVerdict::Wrong => return Ok(pages::sign_in(StatusCode::FORBIDDEN, true, true)),
        TokenVerdict::TooManyWrong => return Err(Problem::too_many_wrong_tokens()),
        TokenVerdict::NoneConfigured => return Ok(pages::sign_in(StatusCode::FORBIDDEN, false, true)),
    };
    let id = state.sessions.open(permit, state.clock.monotonic()).map_err(|error| {
        tracing::error!(error = %WithCauses(&error), "no session could begin");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "No session can begin now.")
    })?;
    let from = from.map(tracing::field::display);
    tracing::info!(target: "authferry::audit", by = "operator", via = "console", from, "an operator signed in to the console");
    Ok(with_cookie(see(HOME), &cookie(scheme, &id, SESSION_LIFETIME.as_secs())))
}

async fn sign_out(State(state): Shared, FromThisConsole(scheme): FromThisConsole, session: Session) -> Response {
    state.sessions.close(&session.id);
    with_cookie(see(SIGN_IN), &cookie(scheme, "", 0))
}

async fn overview(
    State(state): Shared,
    session: Session,
    query: Result<Query<OverviewRequest>, QueryRejection>,
) -> Response {
    let live = query.is_ok_and(|Query(request)| request.live.is_some());
    let status = operate::status(&state, &session.permit).await;
    let mut response = pages::overview(&status, live, None);
    if live {
        response.headers_mut().insert(HeaderName::from_static("refresh"), HeaderValue::from_static("2"));
    }
    response
}

async fn users(
    State(state): Shared,
    session: Session,
    query: Result<Query<ListRequest>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(request) = query?;
    let search = request.search.clone();
    let further = request.after.is_some();
    let list = operate::list_users(&state, &session.permit, request).await?;
    Ok(pages::users(&list, &search, further))
}

async fn stragglers(
    State(state): Shared,
    session: Session,
    query: Result<Query<StragglersRequest>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(request) = query?;
    let (bucket, further) = (request.bucket.unwrap_or(Bucket::All), request.after.is_some());
    let sums = roster::view(&state, &session.permit).await;
    let list = roster::stragglers(&state, &session.permit, request).await.map_err(OperateError::from)?;
    Ok(pages::stragglers(sums.as_ref(), &list, bucket, further))
}

/// Every straggler of a bucket as CSV, page after page as fast as the browser takes them.
async fn download(
    State(state): Shared,
    session: Session,
    query: Result<Query<StragglersRequest>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(request) = query?;
    let bucket = request.bucket.unwrap_or(Bucket::All);
    let name = format!("attachment; filename=\"stragglers-{}.csv\"", bucket.as_str());
    let rows = roster::csv(state, session.permit, request);
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)], Body::from_stream(rows))
        .into_response())
}

async fn set_mode(
    State(state): Shared,
    FromThisConsole(_): FromThisConsole,
    session: Session,
    form: Result<Form<ModeForm>, FormRejection>,
) -> Result<Response, Problem> {
    let Form(ModeForm { mode, confirm }) = form?;
    match operate::set_mode(&state, &session.permit, &ModeChange { mode, confirm: Some(confirm) }).await {
        Ok(_) => Ok(see(HOME)),
        Err(OperateError::Unconfirmed(needs)) => {
            let status = operate::status(&state, &session.permit).await;
            Ok(pages::overview(&status, false, Some(&needs.to_string())))
        }
        Err(
            other @ (OperateError::Store(_)
            | OperateError::NoSuchUser
            | OperateError::NotDone(_)
            | OperateError::TooManyAtOnce(_)),
        ) => Err(other.into()),
    }
}

#[derive(serde::Deserialize)]
struct ModeForm {
    mode: Mode,
    #[serde(default)]
    confirm: String,
}

async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"))
}

/// 303: the browser asks for this with GET, whatever it sent here.
fn see(place: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static(place))]).into_response()
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    // Our names and attributes and a base64url id: always a valid header value.
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// The session's cookie (OWASP ASVS 3.3): out of reach for scripts, never sent along by another site's link or form.
fn cookie(scheme: Scheme, id: &str, seconds: u64) -> String {
    match scheme {
        Scheme::Http => format!("{PLAIN_COOKIE}={id}; Path={HOME}; Max-Age={seconds}; HttpOnly; SameSite=Strict"),
        Scheme::Https => format!("{HOST_COOKIE}={id}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"),
    }
}

/// The ids that a request's cookies bear under either name; a browser may have kept both.
fn session_ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| match pair.trim().split_once('=') {
        Some((HOST_COOKIE | PLAIN_COOKIE, id)) => Some(id),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r109_the_cookie_is_out_of_reach_for_scripts_other_sites_and_the_app_next_door() {
        let plain = cookie(Scheme::Http, "id", 60);
        assert!(
            plain.contains("; Path=/console;") && plain.contains("; HttpOnly") && plain.contains("; SameSite=Strict")
        );
        assert!(!plain.contains("Secure") && !plain.contains("__Host-"));
        let tls = cookie(Scheme::Https, "id", 60);
        assert!(tls.starts_with("__Host-") && tls.contains("; Path=/;") && tls.contains("; Secure"));
        assert!(tls.contains("; HttpOnly") && tls.contains("; SameSite=Strict") && !tls.contains("Domain"));
    }

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; authferry-console=one;x"));
        headers.append(COOKIE, HeaderValue::from_static("__Host-authferry-console=two; not-authferry-console=three"));
        assert_eq!(session_ids(&headers).collect::<Vec<_>>(), ["one", "two"]);
    }
}
