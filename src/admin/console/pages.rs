//! The console's pages: templates beside this file, compiled into the binary, every value escaped as HTML (R111).

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::people_view::{ConflictList, ExplainView};
use super::super::problem::Problem;
use super::super::roster::{REMEDY, RosterView, StragglerList};
use super::super::view::{Progress, Status, UserDetail, UserList};
use crate::domain::mode::Mode;
use crate::domain::roster::Bucket;
use crate::domain::user::Origin;
use crate::service::explain::Ending;
use crate::telemetry::WithCauses;
use crate::telemetry::logging::is_active;

const LAYOUT: &str = "layout.html";
const SIGN_IN: &str = "sign_in.html";
const OVERVIEW: &str = "overview.html";
const USERS: &str = "users.html";
const USER: &str = "user.html";
const NO_USER: &str = "no_user.html";
const CONFLICTS: &str = "conflicts.html";
const EXPLAIN: &str = "explain.html";
const STRAGGLERS: &str = "stragglers.html";
const BUCKETS: &str = "buckets.html";

const SOURCES: &[(&str, &str)] = &[
    (LAYOUT, include_str!("layout.html")),
    (SIGN_IN, include_str!("sign_in.html")),
    (OVERVIEW, include_str!("overview.html")),
    (USERS, include_str!("users.html")),
    (USER, include_str!("user.html")),
    (NO_USER, include_str!("no_user.html")),
    (CONFLICTS, include_str!("conflicts.html")),
    (EXPLAIN, include_str!("explain.html")),
    (STRAGGLERS, include_str!("stragglers.html")),
    (BUCKETS, include_str!("buckets.html")),
];

/// Templates of ours, so without the fuel that an operator's have; strict, so that a misspelt name fails a test.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("number", grouped);
    templates.add_filter("in_url", in_url);
    templates.add_filter("when", when);
    templates.add_filter("visible", visible);
    for (name, source) in SOURCES {
        if let Err(error) = templates.add_template(name, source) {
            tracing::error!(
                template = name,
                error = %WithCauses(&error),
                "a page of ours does not compile"
            );
        }
    }
    templates
});

/// The form to sign in, or why nobody can.
pub(super) fn sign_in(status: StatusCode, can_sign_in: bool, failed: bool) -> Response {
    page(status, "Sign in", "", SIGN_IN, context! { can_sign_in, failed })
}

/// Mode, progress and counters. `refused` is why a change of mode was not made.
pub(super) fn overview(status: &Status, live: bool, refused: Option<&str>) -> Response {
    let progress = status.progress();
    let (done, total) = progress.parts();
    let of_users = matches!(progress, Progress::OfKnownUsers { .. });
    let origins: Vec<Value> = status
        .users
        .iter()
        .flat_map(|users| {
            Origin::ALL.map(|origin| {
                context! { name => origin.as_str(), count => users.of(origin) }
            })
        })
        .collect();
    let current = Mode::ALL.iter().position(|mode| *mode == status.mode).unwrap_or(0);
    let modes: Vec<Value> = Mode::ALL.iter().enumerate().map(|(at, mode)| {
        context! { name => mode.as_str(), meaning => meaning(*mode), current => at == current, past => at < current }
    }).collect();
    let code = if refused.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    let context = context! {
        status => Value::from(Serde(status)),
        progress => context! { of_users, done, total, percent => progress.percent() },
        total_users => status.users.map(|users| users.total()),
        buckets => buckets(status.roster.as_ref(), None),
        forecast => status.roster.as_ref().map(forecast),
        denied => status.roster.as_ref().and_then(RosterView::denied_by_retiring),
        origins, modes, live, refused,
    };
    page(code, "Overview", "overview", OVERVIEW, context)
}

/// A table with a row for each bucket; none where nobody is known to be missing.
fn buckets(roster: Option<&RosterView>, listed: Option<Bucket>) -> Option<Value> {
    let rows = roster.filter(|roster| roster.tells())?.buckets.iter().map(|row| {
        context! {
            name => row.bucket.as_str(), title => row.bucket.title(), over => row.over, stragglers => row.stragglers,
            percent => row.percent(), percent_of_value => row.percent_of_value(), listed => listed == Some(row.bucket),
        }
    });
    let rendered =
        TEMPLATES.get_template(BUCKETS).and_then(|table| table.render(context! { rows => rows.collect::<Vec<_>>() }));
    rendered
        .inspect_err(|error| tracing::error!(error = %WithCauses(error), "a table of ours does not render"))
        .ok()
        .map(Value::from_safe_string)
}

fn forecast(roster: &RosterView) -> Value {
    let (who, forecast) = roster.forecast();
    context! { who, sentence => forecast.sentence(), act => forecast.calls_for_action(), remedy => REMEDY }
}

/// One page of stragglers of a bucket, below the sums of all buckets.
pub(super) fn stragglers(roster: Option<&RosterView>, list: &StragglerList, bucket: Bucket, further: bool) -> Response {
    let context = context! {
        buckets => buckets(roster, Some(bucket)),
        list => Value::from(Serde(list)),
        listed_bucket => bucket.as_str(),
        title => bucket.title(),
        further,
    };
    page(StatusCode::OK, "Stragglers", "stragglers", STRAGGLERS, context)
}

/// One page of users.
pub(super) fn users(list: &UserList, search: &str, further: bool) -> Response {
    page(StatusCode::OK, "Users", "users", USERS, context! { list => Value::from(Serde(list)), search, further })
}

/// One user. `said` tells what was just done to him, `refused` why it was not.
pub(super) fn user(code: StatusCode, user: &UserDetail, said: &[&str], refused: Option<&str>) -> Response {
    let profile = serde_json::to_string_pretty(&user.profile).unwrap_or_default();
    let title = user.summary.identifiers.first().map_or("User", |alias| alias.value.as_str());
    let (credential, hash) = (user.summary.credential.as_str(), user.hash.remark());
    let context = context! { user => Value::from(Serde(user)), title, profile, credential, hash, said => Value::from_iter(said.iter().map(|line| (*line).to_owned())), refused };
    page(code, title, "users", USER, context)
}

/// Conflicts, each with both sides and the choices.
pub(super) fn conflicts(code: StatusCode, list: &ConflictList, decided: bool, refused: Option<&str>) -> Response {
    page(code, "Conflicts", "conflicts", CONFLICTS, context! { list => Value::from(Serde(list)), decided, refused })
}

/// Which login is to be explained.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) identifier: &'a str,
    /// As it was typed; empty for none.
    pub(super) from: &'a str,
}

/// The form to ask what a login would do, and the answer if it was asked. Asked without an answer, the address was none.
pub(super) fn explain(code: StatusCode, asked: Asked<'_>, told: Option<&ExplainView>) -> Response {
    let logins: Vec<Value> = told
        .iter()
        .flat_map(|told| &told.explanation.logins)
        .map(|login| {
            let class = match login.outcome {
                Ending::Ok => "ok",
                Ending::Denied => "denied",
                Ending::Unavailable => "unavailable",
                Ending::SentOn => "sent",
            };
            context! {
                password => login.password.as_str(), legacy => login.legacy.as_str(), class,
                outcome => login.outcome.as_str(), by => login.by.as_str(), keeps => login.keeps.as_str(),
                path => Value::from(login.path.clone()),
            }
        })
        .collect();
    let told = told.map(|told| Value::from(Serde(told)));
    let Asked { identifier, from } = asked;
    let bad_address = told.is_none() && !identifier.is_empty();
    page(code, "Explain", "explain", EXPLAIN, context! { identifier, from, bad_address, told, logins })
}

/// None of this id.
pub(super) fn no_such_user(id: &str) -> Response {
    page(StatusCode::NOT_FOUND, "No such user", "users", NO_USER, context! { id })
}

fn page(status: StatusCode, title: &str, section: &str, template: &str, context: Value) -> Response {
    let render = || {
        let body = TEMPLATES.get_template(template)?.render(context)?;
        let body = Value::from_safe_string(body);
        TEMPLATES.get_template(LAYOUT)?.render(context! { title, section, body, version => env!("CARGO_PKG_VERSION") })
    };
    match render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            let error: minijinja::Error = error;
            tracing::error!(template, error = %WithCauses(&error), "a page of ours does not render");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "This is a bug; the log says more.").into_response()
        }
    }
}

fn meaning(mode: Mode) -> &'static str {
    match mode {
        Mode::Passthrough => "Everything goes to the app; nothing is read or saved.",
        Mode::Observe => "Legacy answers. What it proves is saved, and our answer is compared with its own.",
        Mode::Migrate => "We answer the users we have. Legacy is asked for everyone else.",
        Mode::Retired => "We answer alone. Legacy is never called.",
    }
}

/// 1234567 as 1 234 567, with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// As one segment of a path or one value of a query: all but RFC 3986's unreserved characters are encoded.
fn in_url(text: &str) -> String {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ENCODED).to_string()
}

/// An id or a profile of legacy's, which may hold anything: what would turn the direction of the text around it, or be seen by nobody, is
/// written out. Names need none of that: none is taken that holds such characters (R46).
fn visible(value: Value) -> Value {
    let Some(text) = value.as_str() else { return value };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_active(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Value::from(shown)
}

/// A time of the API, for people: minutes, UTC.
fn when(time: &str) -> String {
    let parsed = time.parse::<Timestamp>();
    parsed.map_or_else(|_| time.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_compiles() {
        for (name, source) in SOURCES {
            assert!(
                TEMPLATES.get_template(name).is_ok(),
                "{name}: {:?}",
                Environment::new().template_from_str(source).err()
            );
        }
    }

    #[test]
    fn r111_what_turns_the_direction_of_text_is_written_out_and_the_rest_stays_as_it_is() {
        for (value, shown) in [
            (Value::from("8\u{202e}gpj.exe"), Value::from("8\\u{202e}gpj.exe")),
            (Value::from("a\nb\u{7f}"), Value::from("a\nb\\u{7f}")),
            (Value::from("<b>é</b>"), Value::from("<b>é</b>")),
            (Value::from(7), Value::from(7)),
        ] {
            assert_eq!(visible(value), shown);
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number).replace('\u{202f}', " "), shown);
        }
    }
}
