//! From text to meaning, a file a part. Every problem is reported with its key, and resolving goes on; a value that could not
//! be read is replaced by a stand-in that nobody sees, since there is no [`Config`] when there is a problem.

mod across;
mod edge;
mod keys;
mod legacy;
mod names;
mod plain;
mod reply;
mod route;
mod secret;
mod tls;
mod token;
mod values;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::document::Places;
use super::environment::Environment;
use super::raw::{RawConfig, RawCount, RawTokenKind};
use super::report::{Findings, Origin};
use super::settings::Config;
use crate::limits::Quota;
use crate::net::Target;

pub(crate) use self::values::{duration, size};

/// Resolves the whole file. `None` only after a problem was reported.
pub(super) fn resolve(raw: RawConfig, resolver: &mut Resolver<'_>) -> Option<Config> {
    across::check(&raw, resolver);
    let migration = plain::migration(&raw.migration, resolver);
    let identity = plain::identity(&raw.identity);
    let limits = plain::limits(&raw.limits, &raw.migration, resolver);
    let (password, password_policy) = plain::password(raw.password, resolver);
    let store = plain::store(raw.store, &password.peppers, resolver);
    let log = plain::log(&raw.log, resolver);
    let admin = plain::admin(raw.admin, resolver);
    let around = route::Around {
        token: raw.token.as_ref().is_some_and(|token| token.kind == RawTokenKind::Jwt),
        tokens: raw.tokens.0.iter().map(|(name, _)| name.clone()).collect(),
    };
    let (token, cookie) = token::resolve(raw.token, raw.tokens, resolver);
    let upstream = edge::upstream(raw.upstream, resolver);
    let routes = route::resolve(&raw.route, &around, resolver);
    let forward = legacy::forward_rules(&raw.route, resolver);
    let app = upstream.as_ref().map(|upstream| (upstream.target.clone(), upstream.tls.clone()));
    let legacy = legacy::resolve(&raw.legacy, app, forward, identity, resolver);
    let takeover = plain::takeover(&raw.server, resolver);
    let (trusted_proxies, server) = (&raw.trusted_proxies, &raw.server);
    let ipv6_prefix = raw.limits.per_ip.ipv6_prefix;
    let edge = edge::Parts { listeners: raw.listener, upstream, routes, trusted_proxies, server, ipv6_prefix };
    let edge = edge::resolve(edge, resolver);
    Some(Config {
        migration,
        edge: edge?,
        legacy: legacy?,
        limits,
        password,
        password_policy,
        store,
        token,
        cookie,
        identity,
        admin,
        log,
        takeover,
        warnings: Vec::new(),
    })
}

/// What every part of resolving shares: where keys stand, what is around, what was found.
pub(super) struct Resolver<'a> {
    pub(super) places: &'a Places,
    pub(super) environment: &'a Environment,
    pub(super) findings: &'a mut Findings,
}

impl Resolver<'_> {
    /// Reports a problem, unless its key was already reported and left out.
    fn problem(&mut self, key: &str, message: impl Into<String>, help: &str) {
        if !self.places.is_dropped(key) {
            let help = (!help.is_empty()).then(|| help.to_owned());
            self.findings.problem(key, self.places.of_key(key), message, help);
        }
    }

    fn warning(&mut self, key: &str, message: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.findings.warning(key, self.places.of_key(key), message, help);
    }

    /// Masks a value in whatever is shown.
    fn conceal(&mut self, key: &str) {
        let origin: Origin = self.places.of_key(key);
        self.findings.conceal(&origin);
    }

    /// Reads a value, or reports what would have been right.
    fn read<T>(&mut self, key: &str, read: Result<T, &'static str>, stand_in: T) -> T {
        read.unwrap_or_else(|right| {
            self.problem(key, "this value cannot be read", right);
            stand_in
        })
    }

    fn duration(&mut self, key: &str, text: &str) -> Duration {
        self.read(key, duration(text), Duration::ZERO)
    }

    /// A size in bytes, within bounds that are themselves sizes.
    fn size(&mut self, key: &str, text: &str, least: &'static str, most: &'static str) -> usize {
        let bytes = self.read(key, size(text), 0);
        let bounds = (size(least), size(most));
        if bytes > 0 && matches!(bounds, (Ok(least), Ok(most)) if !(least..=most).contains(&bytes)) {
            self.problem(key, format!("this size has to be from {least} to {most}"), "");
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn quota(&mut self, key: &str, rate: &str, burst: Option<u32>) -> Quota {
        let stand_in = Quota { count: NonZeroU32::MIN, period: Duration::ZERO, burst: NonZeroU32::MIN };
        self.read(key, values::quota(rate, burst), stand_in)
    }

    /// A number, or one for each core.
    fn count(&self, count: RawCount) -> NonZeroUsize {
        match count {
            RawCount::Number(number) => non_zero(number),
            RawCount::Word(_) => self.environment.cores(),
        }
    }

    fn target(&mut self, key: &str, url: &str) -> Option<Target> {
        // A password in a URL is refused; it is not shown either.
        if url.contains('@') {
            self.conceal(key);
        }
        match Target::parse(url) {
            Ok(target) => Some(target),
            Err(error) => {
                self.problem(key, error.to_string(), "write `http://host:port` or `https://host`");
                None
            }
        }
    }

    fn header(&mut self, key: &str, name: &str) -> Option<http::HeaderName> {
        let header = http::HeaderName::from_bytes(name.as_bytes()).ok();
        if header.is_none() {
            self.problem(key, "this is not the name of a header", "letters, digits and `-` (RFC 9110, section 5.1)");
        }
        header
    }
}

/// The schema's ranges begin at 1.
fn non_zero(number: u64) -> NonZeroUsize {
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}
