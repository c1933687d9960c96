//! `[legacy]`: the composed requests, the rules by which answers are judged, and the `forward.*` rules of the routes.

use std::num::NonZeroU32;

use super::names::Sees;
use super::route::{legacy_way, method};
use super::token::has_template;
use super::{Resolver, non_zero, tls};
use crate::config::document::join;
use crate::config::raw::{
    RawCall, RawForward, RawGetUser, RawLegacy, RawRequest, RawRoute, RawUser, RawUserFrom, Table,
};
use crate::domain::identifier::IdentifierRules;
use crate::http::settings::{Action, LegacyWay};
use crate::legacy::LegacySettings;
use crate::legacy::settings::{
    BreakerSettings, CallRules, ForwardRules, JsonTemplate, RequestBody, RequestTemplate, UserMapping, UserRules,
    UserSource, VerdictRules,
};
use crate::net::Target;
use crate::net::tls::TlsSettings;
use crate::template::{Escape, Template};

pub(super) fn resolve(
    raw: &RawLegacy,
    upstream: Option<(Target, TlsSettings)>,
    routes: Option<Vec<Option<ForwardRules>>>,
    identifiers: IdentifierRules,
    resolver: &mut Resolver<'_>,
) -> Option<LegacySettings> {
    let target = match &raw.url {
        Some(url) => resolver.target("legacy.url", url),
        None => upstream.as_ref().map(|(target, _)| target.clone()),
    };
    let tls = match (&raw.tls, &target, &upstream) {
        (None, Some(target), Some((app, tls))) if is_same_server(target, app) => Some(tls.clone()),
        (tls, _, _) => tls::outbound("legacy.tls", tls.as_ref(), target.as_ref(), resolver),
    };
    let login = optional(raw.login.as_ref(), |raw| call("legacy.login", raw, Name::Needed, resolver));
    let register = optional(raw.register.as_ref(), |raw| call("legacy.register", raw, Name::Optional, resolver));
    let get_user = optional(raw.get_user.as_ref(), |raw| user_rules(raw, resolver));
    let timeout = resolver.duration("legacy.timeout", &raw.timeout);
    let connect_timeout = resolver.duration("legacy.connect_timeout", &raw.connect_timeout);
    let open_for = resolver.duration("legacy.breaker.open_for", &raw.breaker.open_for);
    let max_answer_bytes = resolver.size("legacy.max_answer", &raw.max_answer, "1KiB", "16MiB");
    let max_relay_bytes = resolver.size("legacy.max_relay", &raw.max_relay, "1KiB", "64MiB");
    Some(LegacySettings {
        target: target?,
        tls: tls?,
        upstream: upstream?.0,
        timeout,
        connect_timeout,
        max_in_flight: non_zero(raw.max_in_flight),
        breaker: BreakerSettings {
            failures: NonZeroU32::new(raw.breaker.failures).unwrap_or(NonZeroU32::MIN),
            open_for,
        },
        max_answer_bytes,
        max_relay_bytes,
        login: login?,
        get_user: get_user?,
        register: register?,
        routes: routes?,
        identifiers,
    })
}

/// Whether two URLs lead to one server: what it may be trusted by and asks of us is then the same.
fn is_same_server(one: &Target, other: &Target) -> bool {
    (one.https, &one.host, one.port) == (other.https, &other.host, other.port)
}

/// `Some(None)` for what is not there, `None` for what could not be resolved.
fn optional<R, T>(raw: Option<&R>, resolve: impl FnOnce(&R) -> Option<T>) -> Option<Option<T>> {
    match raw {
        Some(raw) => resolve(raw).map(Some),
        None => Some(None),
    }
}

fn call(key: &str, raw: &RawCall, name: Name, resolver: &mut Resolver<'_>) -> Option<CallRules> {
    let request =
        raw.request.as_ref().and_then(|raw| request(&join(key, "request"), raw, "POST", Sees::Credentials, resolver));
    let verdict = verdict(key, raw.success.as_ref(), raw.denied.as_ref(), raw.challenge.as_ref(), resolver);
    let user = raw.user.as_ref().and_then(|raw| user(&join(key, "user"), raw, name, resolver));
    Some(CallRules { request: request?, verdict: verdict?, user: user? })
}

fn user_rules(raw: &RawGetUser, resolver: &mut Resolver<'_>) -> Option<UserRules> {
    let key = "legacy.get_user";
    let request = raw.request.as_ref().and_then(|raw| request(&join(key, "request"), raw, "GET", Sees::Name, resolver));
    let found = raw.found.as_ref().and_then(|source| resolver.expression(&join(key, "found"), source));
    let not_found = raw.not_found.as_ref().and_then(|source| resolver.expression(&join(key, "not_found"), source));
    let user_key = join(key, "user");
    let mapping = raw.user.as_ref().and_then(|raw| match user(&user_key, raw, Name::Needed, resolver)? {
        UserSource::Answer(mapping) => Some(mapping),
        UserSource::GetUser => {
            resolver.problem(
                &join(&user_key, "from"),
                "this is `[legacy.get_user]` itself",
                "say which parts of its answer",
            );
            None
        }
    });
    let needs_answer = raw.request.as_ref().is_some_and(needs_answer);
    Some(UserRules { request: request?, found: found?, not_found: not_found?, user: mapping?, needs_answer })
}

/// Whether a request of `get_user` is made with a login and its answer: then nobody can be asked about by name.
pub(super) fn needs_answer(raw: &RawRequest) -> bool {
    let mut sources: Vec<&str> = raw.path.iter().chain(&raw.body).map(String::as_str).collect();
    let form = raw.form.iter().flat_map(|form| &form.0);
    sources.extend(raw.headers.0.iter().chain(form).map(|(_, source)| source.as_str()));
    let json = raw.json.as_ref().map(serde_json::Value::to_string);
    let names_it = |source: &str| {
        let template = Template::compile(source, Escape::None);
        template.is_ok_and(|template| template.variables().iter().any(|name| name == "answer" || name == "fields"))
    };
    sources.iter().any(|source| names_it(source)) || json.is_some_and(|json| names_it(&json))
}

// ------------------------------------------------------------------------------------------------------------ requests

fn request(
    key: &str,
    raw: &RawRequest,
    default_method: &str,
    sees: Sees,
    resolver: &mut Resolver<'_>,
) -> Option<RequestTemplate> {
    let method = method(&join(key, "method"), raw.method.as_deref().unwrap_or(default_method), resolver);
    let path_key = join(key, "path");
    let path = raw.path.as_ref().and_then(|path| {
        if !path.starts_with('/') {
            resolver.problem(&path_key, "a path begins with `/`", "the host stands in `legacy.url`");
        }
        if has_bare_placeholder(path) {
            let message = "what a user typed could lead to another path here";
            resolver.problem(&path_key, message, "write `{{ login | urlencode }}`");
        }
        resolver.template(&path_key, path, Escape::None, sees)
    });
    let headers = named_templates(&join(key, "headers"), &raw.headers, sees, resolver).and_then(|headers| {
        let named = headers.into_iter().map(|(name, template)| {
            resolver.header(&join(&join(key, "headers"), &name), &name).map(|name| (name, template))
        });
        named.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    });
    let body = body(key, raw, sees, resolver);
    Some(RequestTemplate { method: method?, path: path?, headers: headers?, body: body? })
}

/// Whether a placeholder in a path goes through no filter at all.
fn has_bare_placeholder(path: &str) -> bool {
    let placeholders = path.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    placeholders.map(|(inside, _)| inside).any(|inside| !inside.contains('|'))
}

fn named_templates(
    key: &str,
    raw: &Table<String>,
    sees: Sees,
    resolver: &mut Resolver<'_>,
) -> Option<Vec<(String, Template)>> {
    let all = raw.0.iter().map(|(name, source)| {
        let template = resolver.template(&join(key, name), source, Escape::None, sees)?;
        Some((name.clone(), template))
    });
    // Every one is looked at before the first that failed ends it.
    let all: Vec<_> = all.collect();
    all.into_iter().collect()
}

fn body(key: &str, raw: &RawRequest, sees: Sees, resolver: &mut Resolver<'_>) -> Option<RequestBody> {
    match (&raw.json, &raw.form, &raw.body) {
        (None, None, None) => Some(RequestBody::Empty),
        (Some(json), None, None) => {
            let key = join(key, "json");
            if json.is_string() {
                let help = "write a table, as `{ email = \"{{ login }}\" }`, or put the text under `body`";
                resolver.problem(&key, "a text here would be sent as one JSON string", help);
                return None;
            }
            json_template(&key, json, sees, resolver).map(RequestBody::Json)
        }
        (None, Some(form), None) => named_templates(&join(key, "form"), form, sees, resolver).map(RequestBody::Form),
        (None, None, Some(text)) => {
            resolver.template(&join(key, "body"), text, Escape::None, sees).map(RequestBody::Text)
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            resolver.problem(key, "a request has one body", "write `json`, `form` or `body`");
            None
        }
    }
}

fn json_template(
    key: &str,
    value: &serde_json::Value,
    sees: Sees,
    resolver: &mut Resolver<'_>,
) -> Option<JsonTemplate> {
    match value {
        serde_json::Value::String(source) if has_template(source) => {
            resolver.template(key, source, Escape::None, sees).map(JsonTemplate::Text)
        }
        serde_json::Value::Array(items) => {
            let items = items.iter().enumerate();
            let items: Vec<_> =
                items.map(|(index, item)| json_template(&format!("{key}[{index}]"), item, sees, resolver)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(JsonTemplate::Array)
        }
        serde_json::Value::Object(entries) => {
            let entries = entries.iter();
            let entries: Vec<_> = entries
                .map(|(name, value)| Some((name.clone(), json_template(&join(key, name), value, sees, resolver)?)))
                .collect();
            entries.into_iter().collect::<Option<Vec<_>>>().map(JsonTemplate::Object)
        }
        serde_json::Value::String(_)
        | serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_) => Some(JsonTemplate::Fixed(value.clone())),
    }
}

// --------------------------------------------------------------------------------------------------------------- rules

fn verdict(
    key: &str,
    success: Option<&String>,
    denied: Option<&String>,
    challenge: Option<&String>,
    resolver: &mut Resolver<'_>,
) -> Option<VerdictRules> {
    let success = success.and_then(|source| resolver.expression(&join(key, "success"), source));
    let denied = denied.and_then(|source| resolver.expression(&join(key, "denied"), source));
    let challenge = resolver.optional_expression(&join(key, "challenge"), challenge);
    Some(VerdictRules { success: success?, denied: denied?, challenge: challenge? })
}

/// Whether a user's name is needed beside his id: a login is saved only under the name that was typed (R42).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Needed,
    Optional,
}

fn user(key: &str, raw: &RawUser, name: Name, resolver: &mut Resolver<'_>) -> Option<UserSource> {
    let RawUser { from, id, email, username, phone, profile, email_verified, phone_verified } = raw;
    if *from == Some(RawUserFrom::GetUser) {
        let others = [id, email, username, phone, profile, email_verified, phone_verified];
        if others.iter().any(|other| other.is_some()) {
            let message = "either `[legacy.get_user]` says who it is, or these expressions do";
            resolver.problem(key, message, "write `{ from = \"get_user\" }` alone");
        }
        return Some(UserSource::GetUser);
    }
    let email = resolver.optional_expression(&join(key, "email"), email.as_ref());
    let username = resolver.optional_expression(&join(key, "username"), username.as_ref());
    let phone = resolver.optional_expression(&join(key, "phone"), phone.as_ref());
    let profile = resolver.optional_expression(&join(key, "profile"), profile.as_ref());
    let email_verified = resolver.optional_expression(&join(key, "email_verified"), email_verified.as_ref());
    let phone_verified = resolver.optional_expression(&join(key, "phone_verified"), phone_verified.as_ref());
    let id_key = join(key, "id");
    if id.is_none() {
        let help = "write `id = \"json.user.id\"`, or `{ from = \"get_user\" }`";
        resolver.problem(&id_key, "without a stable id nobody can be recognised when his name changes", help);
    }
    let id = id.as_ref().and_then(|source| resolver.expression(&id_key, source));
    if name == Name::Needed && raw.email.is_none() && raw.username.is_none() && raw.phone.is_none() {
        let message = "without a name in legacy's answer nobody can tell whether it is the user who was asked about";
        resolver.problem(
            key,
            message,
            "say where `email`, `username` or `phone` is: a login is saved only under its own name",
        );
    }
    Some(UserSource::Answer(UserMapping {
        id: id?,
        email: email?,
        username: username?,
        phone: phone?,
        profile: profile?,
        email_verified: email_verified?,
        phone_verified: phone_verified?,
    }))
}

/// `forward.*` of every route, by its index.
pub(super) fn forward_rules(routes: &[RawRoute], resolver: &mut Resolver<'_>) -> Option<Vec<Option<ForwardRules>>> {
    let rules = routes.iter().enumerate();
    let rules: Vec<_> = rules.map(|(index, route)| of_route(&format!("route[{index}]"), route, resolver)).collect();
    rules.into_iter().collect()
}

/// `Some(None)` for a route that needs no rules.
fn of_route(key: &str, route: &RawRoute, resolver: &mut Resolver<'_>) -> Option<Option<ForwardRules>> {
    let key = join(key, "forward");
    let Some(action) = route.action else { return Some(None) };
    match (legacy_way(action, route.legacy), &route.forward) {
        (LegacyWay::Call, None) => Some(None),
        (LegacyWay::Call, Some(raw)) => {
            let message = "these rules are for `legacy = \"forward\"`, and this route asks by `call`";
            resolver.warning(&key, message, "the rules of a call stand under `[legacy.login]`");
            rules(&key, raw, action, resolver).map(|_checked| None)
        }
        (LegacyWay::Forward, Some(raw)) => rules(&key, raw, action, resolver).map(Some),
        (LegacyWay::Forward, None) if !is_judged(action) => Some(None),
        (LegacyWay::Forward, None) => {
            let message = "a route with `legacy = \"forward\"` has to say how legacy's answer is read";
            resolver.problem(&key, message, "write `forward.success` and `forward.denied`");
            None
        }
    }
}

/// Whether anything is learnt from legacy's answer to this.
fn is_judged(action: Action) -> bool {
    match action {
        Action::Login | Action::Register | Action::ChangePassword | Action::ResetPassword | Action::DeleteUser => true,
        Action::Logout | Action::GetUser | Action::Refresh => false,
    }
}

fn rules(key: &str, raw: &RawForward, action: Action, resolver: &mut Resolver<'_>) -> Option<ForwardRules> {
    let verdict = verdict(key, raw.success.as_ref(), raw.denied.as_ref(), raw.challenge.as_ref(), resolver);
    let user_key = join(key, "user");
    if raw.user.is_none() && action == Action::Login {
        let help = "write `{ id = \"json.user.id\", email = \"json.user.email\" }` or `{ from = \"get_user\" }`";
        resolver.problem(&user_key, "a login has to say who logged in", help);
    }
    let name = if action == Action::Login { Name::Needed } else { Name::Optional };
    let user = optional(raw.user.as_ref(), |raw| user(&user_key, raw, name, resolver));
    Some(ForwardRules { verdict: verdict?, user: user? })
}
