//! The app's pages: templates beside this file, every value escaped as HTML.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Response};

use super::DEMO_USERS;
use super::session::Claims;
use crate::telemetry::WithCauses;
use crate::template::{Escape, Template, TemplateError, Value, context};

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("pages/style.css");

type Page = LazyLock<Result<Template, TemplateError>>;

macro_rules! page {
    ($file:literal) => {
        LazyLock::new(|| {
            let (head, foot) = (include_str!("pages/head.html"), include_str!("pages/foot.html"));
            Template::compile(&format!("{head}{}{foot}", include_str!(concat!("pages/", $file))), Escape::Html)
        })
    };
}

static LANDING: Page = page!("landing.html");
static LOGIN: Page = page!("login.html");
static APP: Page = page!("app.html");

/// Where a visitor arrives; `host` is where he found us, the proxy that stands before us included.
pub(super) fn landing(host: &str, session: Option<&Claims>) -> Response {
    let name = session.map(|claims| claims.name.as_str());
    render(&LANDING, &context! { title => "Harbour", signed_in => name.is_some(), name, host })
}

/// The form; `failed` is why the last attempt did not work.
pub(super) fn login(failed: Option<&str>) -> Response {
    let message = failed.map(|why| match why {
        "later" => "We cannot check passwords right now. Please try again later.",
        "often" => "Too many attempts. Please wait a little.",
        _ => "Wrong name or password.",
    });
    let users: Vec<Value> = DEMO_USERS
        .iter()
        .map(|user| context! { name => user.name, login => user.email, password => user.password })
        .collect();
    render(&LOGIN, &context! { title => "Sign in · Harbour", message, users, signed_in => false })
}

/// The page behind the login.
pub(super) fn app(claims: &Claims) -> Response {
    let claims = Value::from(minijinja::value::Serde(claims));
    render(&APP, &context! { title => "Your account · Harbour", claims, signed_in => true })
}

fn render(page: &Page, context: &Value) -> Response {
    let rendered = page.as_ref().map_err(Clone::clone).and_then(|template| template.render(context));
    match rendered {
        // A page shows who is signed in: never another visitor's copy.
        Ok(html) => ([(CACHE_CONTROL, "no-store")], Html(html)).into_response(),
        Err(error) => {
            tracing::error!(error = %WithCauses(&error), "a page of the demo's legacy does not render");
            (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong.\n").into_response()
        }
    }
}
