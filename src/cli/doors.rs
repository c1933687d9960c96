//! Other ways to the same login than its route (R43a): which of them the proxy closes, and which it cannot know of. A login that no
//! route takes is neither migrated nor limited.
//!
//! Pure: words about a configuration, for `authferry check`.

use std::collections::BTreeSet;

use super::check::action;
use crate::config::Config;
use crate::domain::mode::Mode;
use crate::http::router::{Meeting, meeting};
use crate::http::settings::{Action, BodyFormat, ForwardingHeader, Route};

/// What is refused at the paths of routes, where an app might take it for the same login.
pub(super) fn closed(config: &Config) -> Vec<String> {
    let routes: Vec<&Route> = config.edge.routes.iter().filter(|route| takes_a_password(route)).collect();
    if routes.is_empty() {
        return vec!["nothing: no route takes a password".to_owned()];
    }
    let mut closed = vec![
        "other methods than the route's (405), and bodies of GET, HEAD and OPTIONS".to_owned(),
        "credentials in the query or path; in cookies they are not sent on".to_owned(),
        "multipart, XML, compressed bodies and every type but the route's (415)".to_owned(),
        "X-HTTP-Method-Override, `_method`, X-Original-URL, X-Rewrite-URL and their like".to_owned(),
    ];
    for route in routes {
        let (own, other) = match route.request.format {
            BodyFormat::Json => ("JSON", "a form"),
            BodyFormat::Form => ("a form", "JSON"),
        };
        closed.push(format!("{}: {} as {other}; it is taken as {own} only", route.name, route.matcher.path));
    }
    match config.migration.mode {
        Mode::Observe => closed.push(
            "but in `observe` all of it is handed on and counted, and in `passthrough` all of it is handed on"
                .to_owned(),
        ),
        Mode::Passthrough => closed.push(
            "but in `passthrough` all of it is handed on, and in `observe` it is handed on and counted".to_owned(),
        ),
        Mode::Migrate | Mode::Retired => {}
    }
    closed
}

/// What may be a login for the app and is none here.
pub(super) fn open(config: &Config) -> Vec<String> {
    let routes = &config.edge.routes;
    let mut open = vec![
        "the app itself, if it can be reached past authferry".to_owned(),
        "HTTP Basic, which the app may take on any path".to_owned(),
        "XML-RPC, GraphQL, OAuth password grants, SSO, an admin login, and whatever else takes a password on a path that is no route's"
            .to_owned(),
    ];
    if routes.iter().any(|route| route.matcher.path.to_ascii_lowercase().ends_with("/wp-login.php")) {
        open.push(
            "WordPress: /xmlrpc.php, application passwords at /wp-json/, and forms of plugins that log in elsewhere"
                .to_owned(),
        );
    }
    for route in routes {
        open.extend(of_route(route));
    }
    open.extend(overlaps(routes));
    let proxies = &config.edge.trusted_proxies;
    if !proxies.cidrs.is_empty() && proxies.header == ForwardingHeader::XForwardedFor {
        open.push(
            "X-Forwarded-Prefix and its like from trusted proxies are sent on: they must not hand on a client's, or it moves paths"
                .to_owned(),
        );
    }
    open.extend(missing(routes));
    open
}

fn of_route(route: &Route) -> Vec<String> {
    let (matcher, name) = (&route.matcher, &route.name);
    let mut open = Vec::new();
    if matcher.exact {
        open.push(format!(
            "other spellings of {} (case, a slash at the end, `.json`, `;x=1`), which most frameworks take for it: `match.exact` of {name}",
            matcher.path
        ));
    }
    match (matcher.query.is_empty(), matcher.fields.is_empty()) {
        (true, true) => {}
        (true, false) => open.push(format!(
            "requests to {} without the query or fields of {name}: a login there under other field names passes",
            matcher.path
        )),
        (false, _) => open.push(format!(
            "requests to {} without the query or fields of {name}: multipart bodies over 2 MiB are not looked into for {}",
            matcher.path,
            matcher.query.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        )),
    }
    if takes_a_password(route) && (matcher.method == http::Method::GET || matcher.method == http::Method::HEAD) {
        open.push(format!(
            "{name} takes {} with a body, which caches and apps may drop: the app may want POST",
            matcher.method
        ));
    }
    open
}

/// Routes whose paths meet: one of them takes what an operator may expect at the other.
fn overlaps(routes: &[Route]) -> Vec<String> {
    let mut open = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        for (other_index, other) in routes.iter().enumerate() {
            let (path, other_path) = (&route.matcher.path, &other.matcher.path);
            match meeting(path, other_path) {
                Some(Meeting::SpellingOf) if !other.matcher.exact => open.push(format!(
                    "{path} is another spelling of {other_path}: what {} does not take there goes to {}",
                    route.name, other.name
                )),
                Some(Meeting::Same) if index < other_index && route.matcher.method != other.matcher.method => {
                    let (method, other_method) = (&route.matcher.method, &other.matcher.method);
                    let (one, two) = (action(route.action), action(other.action));
                    if (takes_a_password(route) || takes_a_password(other)) && one == two {
                        open.push(format!(
                            "{path} takes a {one} by {method} ({}) and by {other_method} ({}): the app may take either for the other",
                            route.name, other.name
                        ));
                    }
                }
                Some(Meeting::Same | Meeting::SpellingOf) | None => {}
            }
        }
    }
    open
}

/// What happens to a user where no route tells of it.
fn missing(routes: &[Route]) -> Vec<String> {
    let actions: BTreeSet<&str> = routes.iter().map(|route| action(route.action)).collect();
    let later = "is learnt at the next mismatch only, and the old one works until then";
    let missing = [
        ("change_password", format!("a password changed in the app {later}")),
        ("reset_password", format!("a password reset in the app {later}")),
        ("delete_user", "a user deleted in the app can still log in here".to_owned()),
    ];
    let missing = missing.into_iter().filter(|(action, _)| !actions.contains(action));
    missing.map(|(action, so)| format!("no route with action {action}: {so}")).collect()
}

fn takes_a_password(route: &Route) -> bool {
    match route.action {
        Action::Login | Action::Register | Action::ChangePassword | Action::ResetPassword => true,
        Action::DeleteUser | Action::Logout | Action::GetUser | Action::Refresh => false,
    }
}
