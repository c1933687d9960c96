//! Rules across sections: what one key asks of another.

use std::net::SocketAddr;

use super::Resolver;
use super::legacy::needs_answer;
use super::route::legacy_way;
use crate::config::raw::{RawConfig, RawMatch, RawRoute, RawTokenKind, RawUser, RawUserFrom};
use crate::domain::mode::Mode;
use crate::domain::registration::WriteTo;
use crate::http::router::{Meeting, meeting};
use crate::http::settings::{Action, LegacyWay};
use crate::net::Target;

pub(super) fn check(raw: &RawConfig, resolver: &mut Resolver<'_>) {
    names(&raw.route, resolver);
    overlaps(&raw.route, resolver);
    coverage(&raw.route, resolver);
    addresses(raw, resolver);
    users(raw, resolver);
    tokens(raw, resolver);
    for (index, route) in raw.route.iter().enumerate() {
        legacy_needs(&format!("route[{index}]"), route, raw, resolver);
    }
}

fn names(routes: &[RawRoute], resolver: &mut Resolver<'_>) {
    for (index, route) in routes.iter().enumerate() {
        let taken = routes.iter().take(index).any(|other| route.name.is_some() && other.name == route.name);
        if taken {
            let message = "another route has this name already: metrics and logs could not tell them apart";
            resolver.problem(&format!("route[{index}].name"), message, "");
        }
    }
}

/// A route that an earlier one always takes the requests of.
fn overlaps(routes: &[RawRoute], resolver: &mut Resolver<'_>) {
    for (index, route) in routes.iter().enumerate() {
        let Some(later) = &route.matcher else { continue };
        let earlier = routes
            .iter()
            .take(index)
            .find(|route| route.matcher.as_ref().is_some_and(|earlier| covers(earlier, later)));
        if let Some(name) = earlier.and_then(|route| route.name.as_deref()) {
            let message = format!("no request comes to this route: `{name}` takes them before");
            let help = "put the one with more `query` or `fields` first";
            resolver.warning(&format!("route[{index}].match.path"), message, help);
        }
    }
}

fn covers(earlier: &RawMatch, later: &RawMatch) -> bool {
    let same_path = match (&earlier.path, &later.path) {
        (Some(earlier_path), Some(later_path)) if earlier.exact => earlier_path == later_path && later.exact,
        (Some(earlier_path), Some(later_path)) => meeting(later_path, earlier_path) == Some(Meeting::Same),
        (None, _) | (_, None) => false,
    };
    earlier.method == later.method
        && same_path
        && earlier.query.0.iter().all(|value| later.query.0.contains(value))
        && earlier.fields.iter().all(|field| later.fields.contains(field))
}

fn coverage(routes: &[RawRoute], resolver: &mut Resolver<'_>) {
    if !routes.iter().any(|route| route.action == Some(Action::Login)) && !resolver.places.is_dropped("route") {
        let message = "there is no route with `action = \"login\"`: everything is forwarded, and nobody comes over";
        resolver.warning("route", message, "write a `[[route]]` for the app's login");
    }
}

fn addresses(raw: &RawConfig, resolver: &mut Resolver<'_>) {
    let admin = raw.admin.bind.parse::<SocketAddr>().ok().filter(|addr| addr.port() != 0);
    let listens = |addr: SocketAddr, target: &Target| {
        let same_host = target.host.parse().is_ok_and(|host: std::net::IpAddr| {
            host == addr.ip() || (addr.ip().is_unspecified() && host.is_loopback())
        });
        addr.port() == target.port && (same_host || (target.host == "localhost" && addr.ip().is_loopback()))
    };
    let upstream = raw.upstream.as_ref().and_then(|upstream| Target::parse(upstream.url.as_deref()?).ok());
    let legacy = raw.legacy.url.as_deref().and_then(|url| Target::parse(url).ok());
    for (index, listener) in raw.listener.iter().enumerate() {
        let Some(addr) = listener.bind.as_deref().and_then(|bind| bind.parse::<SocketAddr>().ok()) else { continue };
        if Some(addr) == admin {
            resolver.problem("admin.bind", "a public listener has this address", "take another port");
        }
        for (key, target) in [("upstream.url", &upstream), ("legacy.url", &legacy)] {
            if target.as_ref().is_some_and(|target| listens(addr, target)) {
                let message = format!("this is authferry itself (`listener[{index}]`): requests would go in circles");
                resolver.problem(key, message, "");
            }
        }
    }
}

/// Whoever takes a user from `get_user` needs it.
fn users(raw: &RawConfig, resolver: &mut Resolver<'_>) {
    if raw.legacy.get_user.is_some() {
        return;
    }
    let calls = [("legacy.login", &raw.legacy.login), ("legacy.register", &raw.legacy.register)];
    let calls = calls.into_iter().filter_map(|(key, call)| Some((key.to_owned(), call.as_ref()?.user.as_ref()?)));
    let routes = raw.route.iter().enumerate();
    let routes = routes
        .filter_map(|(index, route)| Some((format!("route[{index}].forward"), route.forward.as_ref()?.user.as_ref()?)));
    for (key, user) in calls.chain(routes) {
        if let RawUser { from: Some(_), .. } = user {
            missing(
                &format!("{key}.user.from"),
                "legacy.get_user",
                "this asks `[legacy.get_user]`, which is not there",
                resolver,
            );
        }
    }
}

/// Reports that a key needs a table, unless that table was reported itself.
fn missing(key: &str, table: &str, message: &str, resolver: &mut Resolver<'_>) {
    if !resolver.places.is_dropped(table) {
        resolver.problem(key, message, &format!("write `[{table}]`"));
    }
}

/// A forwarded login whose user is looked up by the typed name rests on its success rule alone. Many apps redirect a client that is
/// signed in already without judging the password, so status and location do not prove that it was right.
fn warn_of_a_proof_by_name(
    key: &str,
    action: Action,
    route: &RawRoute,
    knows_names: bool,
    resolver: &mut Resolver<'_>,
) {
    let (Action::Login, true, Some(forward)) = (action, knows_names, &route.forward) else { return };
    let by_name = forward.user.as_ref().is_some_and(|user| user.from == Some(RawUserFrom::GetUser));
    let success = forward.success.as_deref().unwrap_or_default();
    if by_name && !["set_cookies", "json", "body"].iter().any(|word| success.contains(word)) {
        let message =
            "status and headers are the same for a client that is signed in already, whatever password it sends";
        let help = "name what only a fresh login has, as `set_cookies.remember is defined`";
        resolver.warning(&format!("{key}.forward.success"), message, help);
    }
}

fn legacy_needs(key: &str, route: &RawRoute, raw: &RawConfig, resolver: &mut Resolver<'_>) {
    // After legacy's end nothing is asked any more.
    let (Some(action), true) = (route.action, raw.migration.mode != Mode::Retired) else { return };
    let way = legacy_way(action, route.legacy);
    let knows_names =
        raw.legacy.get_user.as_ref().is_some_and(|rules| !rules.request.as_ref().is_some_and(needs_answer));
    warn_of_a_proof_by_name(key, action, route, knows_names, resolver);
    match (action, way, route.write) {
        (Action::Login, LegacyWay::Call, _) => {
            if raw.legacy.login.is_none() {
                let message = "a login with `legacy = \"call\"` asks `[legacy.login]`, which is not there";
                missing(&format!("{key}.legacy"), "legacy.login", message, resolver);
            }
        }
        (Action::Register, _, WriteTo::Local) => {
            if !knows_names {
                let message = "a registration that is written here has to ask legacy first whether the name is taken";
                let help = "write `[legacy.get_user]` with a request made of `login`, or `write = \"legacy_first\"`";
                if !resolver.places.is_dropped("legacy.get_user") {
                    resolver.problem(&format!("{key}.write"), message, help);
                }
            }
        }
        (Action::Register, way, WriteTo::LegacyFirst) => {
            if way == LegacyWay::Call && raw.legacy.register.is_none() {
                let message = "a registration with `legacy = \"call\"` and `legacy_first` asks `[legacy.register]`, which is not there";
                missing(&format!("{key}.write"), "legacy.register", message, resolver);
            }
            if !knows_names && raw.legacy.login.is_none() {
                let message = "nothing can prove such a registration, so it is saved at the user's first login only";
                let help = "write `[legacy.get_user]` by name, or `[legacy.login]` for a confirming login";
                resolver.warning(&format!("{key}.write"), message, help);
            }
        }
        (
            Action::Login
            | Action::ChangePassword
            | Action::ResetPassword
            | Action::DeleteUser
            | Action::Logout
            | Action::GetUser
            | Action::Refresh,
            _,
            _,
        ) => {}
    }
}

fn tokens(raw: &RawConfig, resolver: &mut Resolver<'_>) {
    let there = raw.token.as_ref().is_some_and(|token| token.kind == RawTokenKind::Jwt);
    if there || resolver.places.is_dropped("token") {
        return;
    }
    for (index, route) in raw.route.iter().enumerate() {
        if matches!(route.action, Some(Action::GetUser | Action::Refresh)) {
            let message = "without a `[token]` nobody can tell whose request this is";
            resolver.problem(&format!("route[{index}].action"), message, "write `[token]`");
        }
    }
    let headers = raw.upstream.as_ref().is_some_and(|upstream| !upstream.identity_headers.0.is_empty());
    if headers {
        let message = "without a `[token]` there is no session that these headers could tell of";
        resolver.problem("upstream.identity_headers", message, "write `[token]`");
    }
}
