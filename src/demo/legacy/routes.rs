//! The legacy's requests and answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::accounts::{Account, Unregistered};
use super::{Legacy, pages, session};
use crate::telemetry::WithCauses;

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The fewest characters of a new password.
const MIN_PASSWORD: usize = 8;

type Shared = State<Arc<Legacy>>;

/// What a browser and a client of the app see.
pub(super) fn of_the_app(legacy: &Arc<Legacy>) -> Router {
    let pages = Router::new()
        .route("/", get(landing))
        .route("/login", get(login_page))
        .route("/app", get(app))
        .route("/users/sign_out", post(sign_out))
        .route("/style.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], pages::STYLE)))
        .fallback(async || (StatusCode::NOT_FOUND, "There is nothing here.\n"));
    pages.merge(logins(legacy)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(Arc::clone(legacy))
}

/// The same logins, and what only services of the house may ask.
pub(super) fn of_the_auth_backend(legacy: &Arc<Legacy>) -> Router {
    let internal = Router::new()
        .route("/internal/login", post(internal_login))
        .route("/internal/users/{login}", get(internal_user));
    internal.merge(logins(legacy)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(Arc::clone(legacy))
}

fn logins(legacy: &Arc<Legacy>) -> Router<Arc<Legacy>> {
    Router::new()
        .route("/api/login", post(api_login))
        .route("/api/register", post(api_register))
        .route("/users/sign_in", post(sign_in))
        .route_layer(from_fn_with_state(Arc::clone(legacy), only_while_on))
}

/// The app cannot log anybody in without its auth backend, and says so.
async fn only_while_on(State(legacy): Shared, request: Request, next: Next) -> Response {
    if legacy.auth_is_on.load(Ordering::Acquire) {
        next.run(request).await
    } else {
        failure(StatusCode::SERVICE_UNAVAILABLE, "the auth backend is switched off")
    }
}

#[derive(serde::Deserialize)]
struct Credentials {
    login: String,
    password: String,
}

#[derive(serde::Deserialize)]
struct Registration {
    email: String,
    password: String,
    name: Option<String>,
}

/// Devise's names for the fields.
#[derive(serde::Deserialize)]
struct SignIn {
    #[serde(rename = "user[login]")]
    login: String,
    #[serde(rename = "user[password]")]
    password: String,
}

async fn api_login(State(legacy): Shared, body: Result<Json<Credentials>, JsonRejection>) -> Response {
    let Ok(Json(Credentials { login, password })) = body else {
        return failure(StatusCode::BAD_REQUEST, "login and password are needed");
    };
    match legacy.judge(&login, &password) {
        Some(account) => legacy.signed_in(StatusCode::OK, &account),
        None => failure(StatusCode::UNAUTHORIZED, "invalid credentials"),
    }
}

async fn api_register(State(legacy): Shared, body: Result<Json<Registration>, JsonRejection>) -> Response {
    let invalid = || failure(StatusCode::BAD_REQUEST, "an email and a password of at least 8 characters are needed");
    let Ok(Json(Registration { email, password, name })) = body else { return invalid() };
    if !email.contains('@') || email.trim() != email || password.chars().count() < MIN_PASSWORD {
        return invalid();
    }
    let name = name.unwrap_or_else(|| email.clone());
    match legacy.accounts.register(&email, &name, &password) {
        Ok(account) => legacy.signed_in(StatusCode::CREATED, &account),
        Err(Unregistered::Exists) => failure(StatusCode::CONFLICT, "user already exists"),
        Err(Unregistered::Full) => failure(StatusCode::SERVICE_UNAVAILABLE, "there is no room for another user"),
        Err(Unregistered::NoHash(error)) => {
            tracing::error!(error = %WithCauses(&error), "the demo's legacy could not register a user");
            failure(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong")
        }
    }
}

/// Both outcomes are redirects, as with Passport: only where to, and the cookie, tell them apart.
async fn sign_in(State(legacy): Shared, form: Result<Form<SignIn>, FormRejection>) -> Response {
    let Ok(Form(SignIn { login, password })) = form else { return see("/login?failed=1") };
    let Some(account) = legacy.judge(&login, &password) else { return see("/login?failed=1") };
    match session::mint(&account, legacy.clock.wall()) {
        Ok(token) => ([(SET_COOKIE, session::cookie(&token))], see("/app")).into_response(),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong"),
    }
}

async fn sign_out() -> Response {
    ([(SET_COOKIE, session::no_cookie())], see("/")).into_response()
}

async fn internal_login(State(legacy): Shared, body: Result<Json<Credentials>, JsonRejection>) -> Response {
    let Ok(Json(Credentials { login, password })) = body else {
        return failure(StatusCode::BAD_REQUEST, "login and password are needed");
    };
    match legacy.judge(&login, &password) {
        Some(account) => Json(json!({ "user": account })).into_response(),
        None => failure(StatusCode::UNAUTHORIZED, "invalid credentials"),
    }
}

async fn internal_user(State(legacy): Shared, Path(login): Path<String>) -> Response {
    match legacy.accounts.find(&login) {
        Some(account) => Json(account).into_response(),
        None => failure(StatusCode::NOT_FOUND, "no such user"),
    }
}

#[derive(serde::Deserialize)]
struct LoginPage {
    failed: Option<String>,
}

async fn landing(State(legacy): Shared, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    pages::landing(host, session::of(&headers, legacy.clock.wall()).as_ref())
}

async fn login_page(Query(LoginPage { failed }): Query<LoginPage>) -> Response {
    pages::login(failed.as_deref())
}

/// The page behind the login; an API client gets its session as JSON.
async fn app(State(legacy): Shared, headers: HeaderMap) -> Response {
    let wants_json = headers.get("accept").is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    match (session::of(&headers, legacy.clock.wall()), wants_json) {
        (Some(claims), true) => Json(claims).into_response(),
        (Some(claims), false) => pages::app(&claims),
        (None, true) => failure(StatusCode::UNAUTHORIZED, "sign in first"),
        (None, false) => see("/login"),
    }
}

impl Legacy {
    /// Counts and judges a login. Hashing takes the thread for some milliseconds, which a demo can afford.
    fn judge(&self, login: &str, password: &str) -> Option<Account> {
        self.logins.fetch_add(1, Ordering::Relaxed);
        self.accounts.verify(login, password)
    }

    /// The answer that a client of the API is used to.
    fn signed_in(&self, status: StatusCode, account: &Account) -> Response {
        let Ok(token) = session::mint(account, self.clock.wall()) else {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong");
        };
        let cookie = [(SET_COOKIE, session::cookie(&token))];
        let user = json!({ "id": account.id, "email": account.email, "name": account.name });
        (status, cookie, Json(json!({ "token": token, "user": user }))).into_response()
    }
}

fn failure(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn see(place: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}
