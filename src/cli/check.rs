//! `authferry check`: what a valid configuration will do, in words, before it does it. Reads no store, opens no socket, shows no
//! secret. The problems of an invalid one show themselves: [`crate::config::Problems`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::doors;
use super::mode::meaning;
use crate::config::{Config, Place, Warning};
use crate::domain::clock::{Clock as _, SystemClock, UnixSeconds};
use crate::domain::mode::LocalShare;
use crate::domain::registration::WriteTo;
use crate::http::settings::{
    Action, Bind, ClientAuth, ForwardingHeader, LegacyWay, ListenerSettings, ListenerTls, Route, Session, TlsFiles,
};
use crate::http::tls::{Standing, Validity, check_pair};
use crate::legacy::settings::{CallRules, UserRules};
use crate::limits::{CountedAttempts, Quota};
use crate::net::tls::TlsSettings;
use crate::service::OnMismatch;
use crate::telemetry::WithCauses;
use crate::token::settings::{ClaimValue, TokenAlgorithm};

/// What will happen, for a terminal; ends in a newline.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut page = Page::default();
    migration(config, &mut page);
    addresses(config, &mut page);
    legacy(config, &mut page);
    answers(config, &mut page);
    bounds(config, &mut page);
    page.gap();
    routes(&config.edge.routes, &mut page);
    other_doors(config, &mut page);
    warnings(&config.warnings, &mut page);
    page.text
}

/// Lines of a heading and what it says, aligned.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, heading: &str, says: impl AsRef<str>) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{heading:<11}{}", says.as_ref());
    }

    fn more(&mut self, says: impl AsRef<str>) {
        self.line("", says);
    }

    fn plain(&mut self, says: impl AsRef<str>) {
        let _ = writeln!(self.text, "{}", says.as_ref());
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }
}

// ------------------------------------------------------------------------------------------------------------ sections

fn migration(config: &Config, page: &mut Page) {
    let migration = &config.migration;
    page.line("mode", format!("{}: {}", migration.mode, meaning(migration.mode)));
    page.more("of the first start; one that was set at run time is kept in the store and goes before");
    if migration.local_share != LocalShare::ALL {
        let percent = migration.local_share.percent();
        page.more(format!("in `migrate` {percent} % of the users are answered here, always the same ones"));
    }
    page.more("of how many users, is known once a list of legacy's is read: authferry roster import FILE");
    match migration.on_mismatch {
        OnMismatch::Recheck => {
            let budget = quota(&config.limits.recheck);
            page.more(format!("a password that does not match ours is put to legacy, {budget} for an account"));
        }
        OnMismatch::Deny => page.more("a password that does not match ours is denied, even if legacy has a newer one"),
    }
    match migration.revalidate_after {
        Some(after) => page.more(format!("legacy is asked again about a user after {}", time(after))),
        None => page.more(
            "whoever legacy disables or renames later keeps his login here: set `revalidate_after` to bound that",
        ),
    }
}

fn addresses(config: &Config, page: &mut Page) {
    let edge = &config.edge;
    for (index, listener) in edge.listeners.iter().enumerate() {
        page.line(if index == 0 { "listens" } else { "" }, self::listener(listener));
        for line in listener.tls.iter().flat_map(|tls| certificates(tls, SystemClock.wall())) {
            page.more(line);
        }
    }
    let upstream = &edge.upstream;
    let host = if upstream.preserve_host { "the client's Host" } else { "its own Host" };
    let (connect, response) = (time(upstream.connect_timeout), time(upstream.response_timeout));
    page.line("upstream", format!("{}, {host}, connected in {connect}, answering in {response}", upstream.target));
    if upstream.target.https {
        page.more(outbound_tls(&upstream.tls));
    }
    let headers: Vec<&str> = upstream.identity_headers.iter().map(|(name, _)| name.as_str()).collect();
    if !headers.is_empty() {
        page.more(format!("is told who is logged in by {}; clients' own are stripped", headers.join(", ")));
    }
    let proxies = &edge.trusted_proxies;
    let networks: Vec<String> = proxies.cidrs.iter().map(ToString::to_string).collect();
    let header = match proxies.header {
        ForwardingHeader::XForwardedFor => "X-Forwarded-For",
        ForwardingHeader::Forwarded => "Forwarded",
    };
    page.line(
        "clients",
        match networks.is_empty() {
            true => "are who connects: no proxy in front is trusted".to_owned(),
            false => format!("are who {header} says, if it comes from {}", networks.join(", ")),
        },
    );
    page.line(
        "admin",
        match (config.admin.bind, &config.admin.token) {
            (None, _) => "off: no console, API, metrics or health".to_owned(),
            (Some(bind), Some(_)) => format!("http://{bind}, console and API behind the token"),
            (Some(bind), None) => format!("http://{bind}, metrics and health only: without a token all else is locked"),
        },
    );
}

fn listener(listener: &ListenerSettings) -> String {
    let bind = match &listener.bind {
        Bind::Tcp(addr) => addr.to_string(),
        Bind::Unix(path) => format!("unix:{}", path.display()),
        Bind::Systemd(name) => format!("systemd:{name}"),
    };
    let tls = match &listener.tls {
        Some(tls) => {
            let clients = tls.clients.as_ref().map(|clients| match clients.demand {
                ClientAuth::Required => format!(", clients show a certificate of {}", clients.ca.display()),
                ClientAuth::Optional => format!(", clients may show a certificate of {}", clients.ca.display()),
            });
            format!("TLS with {}{}", tls.default.cert.display(), clients.unwrap_or_default())
        }
        None => "plain HTTP".to_owned(),
    };
    let proxy = if listener.proxy_protocol { ", PROXY protocol demanded" } else { "" };
    format!("{bind}, {tls}{proxy}")
}

/// A line for each certificate: whom it is for, and until when.
fn certificates(tls: &ListenerTls, now: UnixSeconds) -> Vec<String> {
    let line = |files: &TlsFiles| match check_pair(files) {
        Ok(facts) => format!("{}: {}, {}", files.cert.display(), facts.shown_names(), standing(facts.validity, now)),
        // It was read a moment ago; it may be just being replaced.
        Err(error) => WithCauses(&error).to_string(),
    };
    tls.certificates().map(line).collect()
}

fn standing(validity: Validity, now: UnixSeconds) -> String {
    let Validity { not_before, not_after } = validity;
    match validity.at(now) {
        Standing::Valid => format!("until {} ({} days)", day(not_after), not_after.since(now).as_secs() / 86_400),
        Standing::Expired => format!("EXPIRED on {}: clients refuse it", day(not_after)),
        Standing::NotYet => format!("NOT VALID before {}: clients refuse it", day(not_before)),
    }
}

fn day(time: UnixSeconds) -> String {
    let time = i64::try_from(time.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "some day".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// How the other side is verified, and what it is shown.
fn outbound_tls(tls: &TlsSettings) -> String {
    let ca = match &tls.ca {
        Some(ca) => format!("verified against {} alone", ca.display()),
        None => "verified against the machine's CAs".to_owned(),
    };
    let name = tls.server_name.as_ref().map(|name| format!(", as {}", name.to_str()));
    let shown = tls.identity.as_ref().map(|files| format!(", shown {}", files.cert.display()));
    format!("{ca}{}{}", name.unwrap_or_default(), shown.unwrap_or_default())
}

fn legacy(config: &Config, page: &mut Page) {
    let legacy = &config.legacy;
    let same = if legacy.target == legacy.upstream { " (the upstream)" } else { "" };
    page.line("legacy", format!("{}{same}, at most {} a question", legacy.target, time(legacy.timeout)));
    if legacy.target.https {
        page.more(outbound_tls(&legacy.tls));
    }
    let (failures, open_for) = (legacy.breaker.failures, time(legacy.breaker.open_for));
    let in_flight = legacy.max_in_flight;
    page.more(format!("{in_flight} questions at once; after {failures} outages in a row none for {open_for}"));
    let call =
        |name: &str, rules: &CallRules| format!("{name}: {} {}", rules.request.method, rules.request.path.source());
    let calls = [("login", &legacy.login), ("register", &legacy.register)];
    for (name, rules) in calls.into_iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?))) {
        page.more(call(name, rules));
    }
    if let Some(UserRules { request, needs_answer, .. }) = &legacy.get_user {
        let how = if *needs_answer { "with a fresh login only" } else { "by name" };
        page.more(format!("get_user: {} {}, {how}", request.method, path(request.path.source())));
    }
}

/// A path without its query, in which an access key may stand.
fn path(source: &str) -> String {
    source.split_once('?').map_or_else(|| source.to_owned(), |(path, _)| format!("{path}?…"))
}

fn answers(config: &Config, page: &mut Page) {
    match &config.token {
        Some(token) => {
            let algorithm = algorithm(token.algorithm);
            page.line(
                "tokens",
                format!("{algorithm}, good for {}; the user is in `{}`", time(token.ttl), token.subject_claim),
            );
            for other in &token.named {
                page.more(format!("`{}`, good for {}", other.name, time(other.ttl)));
            }
            let all = token.claims.iter().chain(token.named.iter().flat_map(|named| &named.claims));
            let names = all.filter(|(_, value)| matches!(value, ClaimValue::Name(_)));
            let names: BTreeSet<String> = names.map(|(name, _)| format!("`{name}`")).collect();
            if !names.is_empty() {
                let names: Vec<String> = names.into_iter().collect();
                page.more(format!("left out for who has no such name: {}", names.join(", ")));
            }
            if let Some(cookie) = &config.cookie {
                page.more(format!("also in the cookie `{}`", cookie.name));
            }
        }
        None => page.line("tokens", "none: our answers hand out nothing that logs anybody in"),
    }
    let path = std::path::absolute(&config.store.path).unwrap_or_else(|_| config.store.path.clone());
    page.line("store", format!("{}, {} of cache", path.display(), size(config.store.cache_bytes as u64)));
    if let Some(keys) = &config.store.keys.sealing {
        page.more(match keys.current() {
            Some(key) => {
                format!("profiles are sealed with the key \"{key}\"; names, by which users are found, are not")
            }
            None => "profiles are opened, and sealed no more; `authferry store reseal` opens them all".to_owned(),
        });
    }
}

fn bounds(config: &Config, page: &mut Page) {
    let password = &config.password;
    let memory = u64::from(password.memory_kib) * 1_024;
    let bound = memory.saturating_mul(password.workers.get() as u64);
    let (iterations, lanes) = (password.iterations, password.parallelism);
    page.line("passwords", format!("Argon2id, {}, iterations {iterations}, parallelism {lanes}", size(memory)));
    if let Some(key) = password.peppers.current_id() {
        page.more(format!("peppered with the key \"{key}\": without it no hash verifies"));
    }
    page.more(format!("at most {} for hashing: {} threads of {}", size(bound), password.workers, size(memory)));
    page.more(format!("{} may wait, {} each; over that 503", password.queue, time(password.queue_deadline)));
    page.more(format!("new ones have at least {} characters", config.password_policy.min_length));
    let limits = &config.limits;
    let counted = match limits.counted {
        CountedAttempts::Failures => "wrong passwords",
        CountedAttempts::All => "attempts",
    };
    page.line("limits", format!("{} from one address (IPv6: one /{})", quota(&limits.per_ip), limits.ipv6_prefix));
    page.more(format!("{} registrations from one address", quota(&limits.register_per_ip)));
    page.more(format!("{} {counted} at one account, beside those from networks it knows", quota(&limits.per_account)));
    page.more(format!("{} {counted} at one account from one network", quota(&limits.per_ip_account)));
    let backoff = &limits.backoff;
    let (first, longest) = (backoff.after, time(backoff.max));
    page.more(format!(
        "after {first} in a row each waits twice as long, up to {longest}; after {} {}",
        backoff.give_up,
        time(backoff.give_up_for)
    ));
    page.more(format!("{} wrong passwords from unknown networks in all", quota(&limits.global)));
    let bounds = &config.edge.bounds;
    page.more(format!("{} connections on {} I/O threads", bounds.max_connections, bounds.workers));
    let (head, body) = (size(bounds.head_bytes as u64), size(bounds.auth_body_bytes as u64));
    page.more(format!("a request's head {head}, the body of a login {body}"));
}

fn algorithm(algorithm: TokenAlgorithm) -> &'static str {
    match algorithm {
        TokenAlgorithm::HS256 => "HS256",
        TokenAlgorithm::HS384 => "HS384",
        TokenAlgorithm::HS512 => "HS512",
        TokenAlgorithm::RS256 => "RS256",
        TokenAlgorithm::ES256 => "ES256",
        TokenAlgorithm::EdDSA => "EdDSA",
    }
}

// -------------------------------------------------------------------------------------------------------------- routes

fn routes(routes: &[Route], page: &mut Page) {
    if routes.is_empty() {
        page.plain("no routes: everything is forwarded to the upstream, streamed");
        return;
    }
    let heading = ["route", "takes", "action", "legacy", "a local yes"].map(str::to_owned);
    let mut rows = vec![heading];
    rows.extend(routes.iter().map(row));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        page.plain(cells.join("  ").trim_end());
    }
    page.plain("everything else is forwarded to the upstream, streamed");
}

fn row(route: &Route) -> [String; 5] {
    let matcher = &route.matcher;
    let spelling = if matcher.exact { " (exact)" } else { "" };
    let query: Vec<String> = matcher.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let fields = if matcher.fields.is_empty() { String::new() } else { format!(" with {}", matcher.fields.join(", ")) };
    let takes = format!("{} {}{query}{spelling}{fields}", matcher.method, matcher.path);
    [
        route.name.to_string(),
        takes,
        action(route.action).to_owned(),
        asked(route).to_owned(),
        local_yes(route).to_owned(),
    ]
}

pub(super) fn action(action: Action) -> &'static str {
    match action {
        Action::Login => "login",
        Action::Register => "register",
        Action::ChangePassword => "change_password",
        Action::ResetPassword => "reset_password",
        Action::DeleteUser => "delete_user",
        Action::Logout => "logout",
        Action::GetUser => "get_user",
        Action::Refresh => "refresh",
    }
}

fn asked(route: &Route) -> &'static str {
    match (route.action, route.legacy, route.write) {
        (Action::Logout | Action::GetUser | Action::Refresh, _, _) => "its own, while it lives",
        (Action::Register, _, WriteTo::Local) => "asked for the name",
        (Action::Register, LegacyWay::Call, WriteTo::LegacyFirst) => "call, written first",
        (Action::Register, LegacyWay::Forward, WriteTo::LegacyFirst) => "forward, written first",
        (_, LegacyWay::Call, _) => "call",
        (_, LegacyWay::Forward, _) => "forward",
    }
}

fn local_yes(route: &Route) -> &'static str {
    match (route.action, route.session) {
        (Action::Login, Session::Forward) => "goes on to the app: not retirable",
        (Action::Login | Action::Register | Action::GetUser | Action::Refresh, _) => "answered here",
        (Action::ChangePassword | Action::ResetPassword | Action::DeleteUser, _) => "applied here",
        (Action::Logout, _) => "clears our cookie",
    }
}

fn other_doors(config: &Config, page: &mut Page) {
    page.gap();
    page.plain("closed on these paths, and unless `match.exact` in their other spellings");
    for closed in doors::closed(config) {
        page.plain(format!("  - {closed}"));
    }
    page.gap();
    page.plain("not covered: close or limit these at the app, or give them routes");
    for open in doors::open(config) {
        page.plain(format!("  - {open}"));
    }
}

fn warnings(warnings: &[Warning], page: &mut Page) {
    if warnings.is_empty() {
        return;
    }
    page.gap();
    for warning in warnings {
        let place = match &warning.place {
            Place::Line(excerpt) => format!("{}:{}:{}", excerpt.origin, excerpt.line, excerpt.column),
            Place::Variable(name) => name.clone(),
            Place::Whole(origin) => origin.clone(),
        };
        page.plain(format!("warning: {} ({place}): {}", warning.key, warning.message));
        if let Some(help) = &warning.help {
            page.plain(format!("         {help}"));
        }
    }
}

// --------------------------------------------------------------------------------------------------------------- words

fn quota(quota: &Quota) -> String {
    let burst = if quota.burst == quota.count { String::new() } else { format!(" ({} at once)", quota.burst) };
    format!("{} in {}{burst}", quota.count, time(quota.period))
}

fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{} {name}", bytes / unit))
}

fn time(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (name, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= millis {
            let _ = write!(text, "{}{name}", rest / millis);
            rest %= millis;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificates_time_is_told_from_where_we_stand() {
        let validity = Validity { not_before: UnixSeconds(1_000_000_000), not_after: UnixSeconds(1_000_864_000) };
        let shown = [999_999_999, 1_000_000_000, 1_000_864_001].map(|now| standing(validity, UnixSeconds(now)));
        let expected = ["NOT VALID before 2001-09-09", "until 2001-09-19 (10 days)", "EXPIRED on 2001-09-19"];
        assert!(shown.iter().zip(expected).all(|(shown, expected)| shown.starts_with(expected)), "{shown:?}");
    }

    #[test]
    fn times_and_sizes_read_as_they_are_written() {
        let shown = [(5_000, "5s"), (5_400_000, "1h30m"), (500, "500ms"), (86_400_000, "1d")];
        assert!(shown.iter().all(|(millis, text)| time(Duration::from_millis(*millis)) == *text));
        assert_eq!((size(67_108_864), size(19 << 20), size(1_536), size(100)).0, "64 MiB");
        assert_eq!((size(1_536), size(1 << 30), size(100)), ("1536 B".into(), "1 GiB".into(), "100 B".into()));
    }
}
