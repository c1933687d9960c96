//! `[[route]]`: which requests are taken, and where their parts are.

use std::collections::BTreeMap;

use http::Method;

use super::Resolver;
use super::reply::{self, Shows};
use crate::config::document::join;
use crate::config::raw::{RawFields, RawMatch, RawRoute};
use crate::http::settings::{Action, BodyFormat, FieldRef, LegacyWay, RequestShape, Route, RouteMatch, Session};

/// What routes have to know of the rest.
pub(super) struct Around {
    /// Whether there is a `[token]`.
    pub(super) token: bool,
    /// The `[tokens.NAME]`.
    pub(super) tokens: Vec<String>,
}

/// How legacy is asked where a route does not say.
pub(super) fn legacy_way(action: Action, said: Option<LegacyWay>) -> LegacyWay {
    match (said, action) {
        (Some(way), _) => way,
        (None, Action::Login | Action::Register | Action::Logout | Action::GetUser | Action::Refresh) => {
            LegacyWay::Call
        }
        (None, Action::ChangePassword | Action::ResetPassword | Action::DeleteUser) => LegacyWay::Forward,
    }
}

pub(super) fn resolve(raw: &[RawRoute], around: &Around, resolver: &mut Resolver<'_>) -> Option<Vec<Route>> {
    let routes = raw.iter().enumerate();
    let routes: Vec<_> = routes.map(|(index, raw)| route(&format!("route[{index}]"), raw, around, resolver)).collect();
    routes.into_iter().collect()
}

fn route(key: &str, raw: &RawRoute, around: &Around, resolver: &mut Resolver<'_>) -> Option<Route> {
    check_name(key, raw, resolver);
    let action = raw.action?;
    let format = if raw.request.form { BodyFormat::Form } else { BodyFormat::Json };
    let matcher = raw.matcher.as_ref().and_then(|raw| matcher(&join(key, "match"), raw, action, format, resolver));
    let request = fields(&join(key, "request"), &raw.request, format, resolver);
    check_fields(&join(key, "request"), &raw.request, action, resolver);
    let legacy = legacy_way(action, raw.legacy);
    check_ways(key, raw, action, legacy, resolver);
    if action == Action::Refresh && around.token && !around.tokens.contains(&raw.refreshes) {
        let message = format!("there is no `[tokens.{}]` that this route could take", raw.refreshes);
        resolver.problem(&join(key, "refreshes"), message, "write `[tokens.refresh]` with `ttl` and `claims`");
    }
    let shows = Shows { action, token: around.token, tokens: &around.tokens };
    let replies = reply::resolve(&join(key, "reply"), &raw.reply, &shows, resolver);
    Some(Route {
        name: raw.name.as_deref()?.into(),
        action,
        matcher: matcher?,
        request: request?,
        legacy,
        write: raw.write,
        session: raw.session,
        refreshes: raw.refreshes.clone(),
        replies: replies?,
    })
}

fn check_name(key: &str, raw: &RawRoute, resolver: &mut Resolver<'_>) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if let Some(name) = &raw.name
        && (name.is_empty() || name.len() > 64 || !name.chars().all(is_plain))
    {
        let help = "letters, digits, `-`, `_`, `.`, at most 64: it is a label in metrics";
        resolver.problem(&join(key, "name"), "this cannot be the name of a route", help);
    }
}

fn check_ways(key: &str, raw: &RawRoute, action: Action, legacy: LegacyWay, resolver: &mut Resolver<'_>) {
    let is_change = match action {
        Action::ChangePassword | Action::ResetPassword | Action::DeleteUser => true,
        Action::Login | Action::Register | Action::Logout | Action::GetUser | Action::Refresh => false,
    };
    if is_change && legacy == LegacyWay::Call {
        let message = "a change goes to legacy as the client's own request: there is no `call` for it";
        resolver.problem(&join(key, "legacy"), message, "write `legacy = \"forward\"`, or leave it out");
    }
    if raw.session == Session::Forward {
        let key = join(key, "session");
        if action == Action::Login {
            let message = "the app makes the session of this login, so legacy cannot be retired behind it";
            resolver.warning(
                &key,
                message,
                "hand out a `[token]` or `identity_headers` that the app accepts, if it can",
            );
        } else {
            resolver.problem(&key, "only a login can leave its session to the app", "");
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ matching

fn matcher(
    key: &str,
    raw: &RawMatch,
    action: Action,
    format: BodyFormat,
    resolver: &mut Resolver<'_>,
) -> Option<RouteMatch> {
    let method_key = join(key, "method");
    let method = method(&method_key, &raw.method, resolver);
    let takes_a_body = match action {
        Action::Logout | Action::GetUser => false,
        Action::Login
        | Action::Register
        | Action::ChangePassword
        | Action::ResetPassword
        | Action::DeleteUser
        | Action::Refresh => true,
    };
    if takes_a_body && matches!(method, Some(Method::GET)) {
        let message = "a request of this method has no body, and credentials do not belong into a URL";
        resolver.problem(&method_key, message, "write `method = \"POST\"`");
    }
    let path_key = join(key, "path");
    let path = raw.path.clone()?;
    if let Some(fault) = path_fault(&path) {
        resolver.problem(&path_key, fault, "write the path as clients send it, as `/api/login`");
    }
    let mut fields = Vec::new();
    for (index, name) in raw.fields.iter().enumerate() {
        fields.push(
            field(&format!("{key}.fields[{index}]"), name, format, resolver).map(|field| field.text().to_owned()),
        );
    }
    let query: BTreeMap<String, String> = raw.query.0.iter().cloned().collect();
    Some(RouteMatch {
        method: method?,
        path,
        exact: raw.exact,
        query,
        fields: fields.into_iter().collect::<Option<Vec<_>>>()?,
    })
}

/// What makes a path one that the strict gate would never let through (R28).
fn path_fault(path: &str) -> Option<&'static str> {
    let segment_is_dots = |segment: &str| segment == "." || segment == "..";
    if !path.starts_with('/') {
        Some("a path begins with `/`")
    } else if path.contains(['?', '#']) {
        Some("a path has no query and no fragment: query values go under `match.query`")
    } else if !path.chars().all(|c| c.is_ascii_graphic())
        || path.contains(['\\', '%', '"', '<', '>', '^', '`', '{', '|', '}'])
    {
        Some("a path here is plain ASCII without encoded bytes, which are decoded before it is compared")
    } else if path.contains("//") || path.split('/').any(segment_is_dots) {
        Some("a path with empty or dotted segments is refused before it comes to a route")
    } else {
        None
    }
}

/// A method that a route or a question may have.
pub(super) fn method(key: &str, text: &str, resolver: &mut Resolver<'_>) -> Option<Method> {
    let known = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::GET];
    let method = known.into_iter().find(|method| method.as_str() == text);
    if method.is_none() {
        resolver.problem(
            key,
            "this method is none of those that are handled",
            "GET, POST, PUT, PATCH or DELETE, in capitals",
        );
    }
    method
}

// -------------------------------------------------------------------------------------------------------------- fields

fn fields(key: &str, raw: &RawFields, format: BodyFormat, resolver: &mut Resolver<'_>) -> Option<RequestShape> {
    let all = [
        ("login", &raw.login),
        ("password", &raw.password),
        ("new_password", &raw.new_password),
        ("token", &raw.token),
        ("email", &raw.email),
        ("username", &raw.username),
        ("phone", &raw.phone),
    ];
    let resolved = all.map(|(name, text)| match text {
        Some(text) => field(&join(key, name), text, format, resolver).map(Some),
        None => Some(None),
    });
    for (index, (name, text)) in all.iter().enumerate() {
        let earlier = all.iter().take(index).find(|(_, other)| text.is_some() && other == text);
        // One field may well be the login and the email of a registration, never a password and anything else.
        let secret = |name: &str| matches!(name, "password" | "new_password" | "token");
        if let Some((other, _)) = earlier
            && (secret(name) || secret(other))
        {
            resolver.problem(&join(key, name), format!("`{other}` is the same field already"), "");
        }
    }
    // The whole body is a profile, and nothing else.
    let profile = match raw.profile.as_deref() {
        Some("") => Some(Some(FieldRef::new(""))),
        Some(text) => field(&join(key, "profile"), text, format, resolver).map(Some),
        None => Some(None),
    };
    let [login, password, new_password, token, email, username, phone] = resolved;
    Some(RequestShape {
        format,
        login: login?,
        password: password?,
        new_password: new_password?,
        token: token?,
        email: email?,
        username: username?,
        phone: phone?,
        profile: profile?,
    })
}

/// A JSON pointer (RFC 6901) or a form field's name.
fn field(key: &str, text: &str, format: BodyFormat, resolver: &mut Resolver<'_>) -> Option<FieldRef> {
    let (fits, help) = match format {
        BodyFormat::Json => (is_pointer(text), "write `/email` or `/user/email`; for a form write `form = true`"),
        BodyFormat::Form => (!text.is_empty() && !text.starts_with('/'), "write the field's name, as `user[email]`"),
    };
    if !fits {
        let what = match format {
            BodyFormat::Json => "this is not a JSON pointer (RFC 6901)",
            BodyFormat::Form => "this is not the name of a form field",
        };
        resolver.problem(key, what, help);
    }
    fits.then(|| FieldRef::new(text))
}

/// `~` stands before 0 or 1 only.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn check_fields(key: &str, raw: &RawFields, action: Action, resolver: &mut Resolver<'_>) {
    let mut need = |name: &str, there: bool, why: &str| {
        if !there {
            let help =
                if raw.form { format!("write `{name} = \"{name}\"`") } else { format!("write `{name} = \"/{name}\"`") };
            resolver.problem(&join(key, name), why, &help);
        }
    };
    match action {
        Action::Login => {
            need("login", raw.login.is_some(), "a login has to say where the name is");
            need("password", raw.password.is_some(), "a login has to say where the password is");
        }
        Action::Register => {
            need("login", raw.login.is_some(), "a registration has to say where the name is");
            need("password", raw.password.is_some(), "a registration has to say where the password is");
        }
        Action::ChangePassword => {
            need("new_password", raw.new_password.is_some(), "a change has to say where the new password is");
        }
        Action::ResetPassword => {
            if raw.login.is_none() {
                let message = "where a reset does not show who, his old password opens the account here until he logs in with the new one";
                resolver.warning(
                    key,
                    message,
                    "write `login` if the request has it, or `forward.user` if the answer tells",
                );
            } else if raw.new_password.is_none() {
                let message = "where a reset does not show what, the local password is dropped and legacy asked next";
                resolver.warning(key, message, "write `new_password`, if the request has it");
            }
        }
        Action::Refresh => need("token", raw.token.is_some(), "a refresh has to say where its token is"),
        Action::DeleteUser | Action::Logout | Action::GetUser => {}
    }
}
