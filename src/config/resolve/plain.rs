//! The sections that are plain values: `[migration]`, `[identity]`, `[limits]`, `[password]`, `[store]`, `[admin]`, `[log]`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::{Resolver, keys, non_zero, secret, values};
use crate::admin::AdminSettings;
use crate::config::raw::{
    RawAdmin, RawBackoff, RawCaseRule, RawIdentity, RawLimits, RawLog, RawMigration, RawPassword, RawPhoneRule,
    RawServer, RawStore,
};
use crate::config::settings::MigrationSettings;
use crate::domain::identifier::{CaseRule, IdentifierRules, PhoneRule};
use crate::domain::mode::LocalShare;
use crate::domain::password::PasswordPolicy;
use crate::limits::{Backoff, LimitSettings, Quota};
use crate::password::settings::{OWASP_MEMORY_KIB, OWASP_ONE_PASS_KIB};
use crate::password::{PasswordSettings, Peppers};
use crate::store::{StoreKeys, StoreSettings};
use crate::telemetry::logging::{LogSettings, check_level};

pub(super) fn migration(raw: &RawMigration, resolver: &mut Resolver<'_>) -> MigrationSettings {
    let key = "migration.revalidate_after";
    MigrationSettings {
        mode: raw.mode,
        // The schema's range ends at 100.
        local_share: LocalShare::from_percent(raw.local_share).unwrap_or(LocalShare::ALL),
        on_mismatch: raw.on_mismatch,
        revalidate_after: resolver.read(key, values::duration_or_never(&raw.revalidate_after), None),
    }
}

/// The longest path that the address of a Unix socket holds, its end included (`unix(7)`).
const SOCKET_PATH_BYTES: usize = 108;

pub(super) fn takeover(raw: &RawServer, resolver: &mut Resolver<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(raw.takeover.as_ref()?);
    if !path.is_absolute() || path.as_os_str().len() >= SOCKET_PATH_BYTES {
        let help = "an absolute path below 108 bytes, such as \"/run/authferry/takeover.sock\"";
        resolver.problem("server.takeover", "this is no path for a socket", help);
    }
    Some(path)
}

pub(super) fn identity(raw: &RawIdentity) -> IdentifierRules {
    let case = |rule| match rule {
        RawCaseRule::Fold => CaseRule::Fold,
        RawCaseRule::Exact => CaseRule::Exact,
    };
    let phone = match raw.phone {
        RawPhoneRule::Digits => PhoneRule::Digits,
        RawPhoneRule::Exact => PhoneRule::Exact,
    };
    IdentifierRules { email: case(raw.email), username: case(raw.username), phone }
}

pub(super) fn limits(raw: &RawLimits, migration: &RawMigration, resolver: &mut Resolver<'_>) -> LimitSettings {
    let per_account = resolver.quota("limits.per_account.rate", &raw.per_account.rate, raw.per_account.burst);
    let per_ip_account = match &raw.per_ip_account.rate {
        Some(rate) => resolver.quota("limits.per_ip_account.rate", rate, raw.per_ip_account.burst),
        None => Quota {
            burst: raw.per_ip_account.burst.and_then(NonZeroU32::new).unwrap_or(per_account.burst),
            ..per_account
        },
    };
    LimitSettings {
        per_ip: resolver.quota("limits.per_ip.rate", &raw.per_ip.rate, raw.per_ip.burst),
        register_per_ip: resolver.quota(
            "limits.register_per_ip.rate",
            &raw.register_per_ip.rate,
            raw.register_per_ip.burst,
        ),
        ipv6_prefix: raw.per_ip.ipv6_prefix,
        backoff: backoff(&raw.backoff, per_account, resolver),
        per_account,
        per_ip_account,
        global: resolver.quota("limits.global.rate", &raw.global.rate, raw.global.burst),
        counted: raw.per_account.count,
        recheck: resolver.quota("migration.recheck_budget", &migration.recheck_budget, None),
        max_keys: non_zero(raw.max_keys),
    }
}

/// NIST SP 800-63B, section 5.2.2: no more than 100 consecutive failed attempts on one account.
const NIST_FAILURES: NonZeroU32 = NonZeroU32::new(100).expect("a hundred is not zero");

fn backoff(raw: &RawBackoff, per_account: Quota, resolver: &mut Resolver<'_>) -> Backoff {
    let read = |number: Option<u32>| number.and_then(NonZeroU32::new);
    // What `per_account` allows at once is not slowed down by a default.
    let after = read(raw.after).unwrap_or(per_account.burst);
    let give_up = read(raw.give_up).unwrap_or(NIST_FAILURES.max(per_account.burst));
    if read(raw.give_up).is_some_and(|give_up| give_up < after) {
        let message = format!("an account is given up before it is slowed down, which is after {after} failures");
        resolver.warning("limits.backoff.give_up", message, "");
    } else if give_up > NIST_FAILURES {
        let message =
            format!("{give_up} failures in a row are more than NIST SP 800-63B allows, which is {NIST_FAILURES}");
        resolver.warning("limits.backoff.give_up", message, "");
    }
    Backoff {
        after,
        max: resolver.duration("limits.backoff.max", &raw.max),
        give_up,
        give_up_for: resolver.duration("limits.backoff.give_up_for", &raw.give_up_for),
    }
}

pub(super) fn password(raw: RawPassword, resolver: &mut Resolver<'_>) -> (PasswordSettings, PasswordPolicy) {
    let (key, argon2id) = ("password.argon2id.memory", &raw.argon2id);
    let memory = resolver.size(key, &argon2id.memory, "8MiB", "4GiB");
    let memory_kib = u32::try_from(memory / 1_024).unwrap_or(u32::MAX);
    if u64::from(memory_kib) < 8 * u64::from(argon2id.parallelism) {
        resolver.problem(key, "Argon2 needs at least 8 KiB for each lane (RFC 9106, section 3.1)", "");
    }
    let one_pass = argon2id.iterations < 2 && memory_kib < OWASP_ONE_PASS_KIB;
    if memory_kib < OWASP_MEMORY_KIB || one_pass {
        let message =
            "Argon2id is set below OWASP's minimum of 19 MiB and 2 passes: stolen hashes are cheaper to guess";
        resolver.warning(if one_pass { "password.argon2id.iterations" } else { key }, message, "");
    }
    let workers = resolver.count(raw.workers);
    if workers > resolver.environment.cores() {
        let message =
            format!("more hash threads than the {} cores here only wait for each other", resolver.environment.cores());
        resolver.warning("password.workers", message, "write `workers = \"auto\"`");
    }
    let settings = PasswordSettings {
        memory_kib,
        iterations: argon2id.iterations,
        parallelism: argon2id.parallelism,
        workers,
        queue: non_zero(raw.queue),
        queue_deadline: resolver.duration("password.queue_deadline", &raw.queue_deadline),
        normalization: raw.normalize,
        peppers: keys::peppers(raw.pepper, resolver),
        prehash_keys: keys::prehash(raw.prehash, resolver),
    };
    (settings, PasswordPolicy { min_length: non_zero(raw.min_length).get() })
}

/// `peppers` are those that hashes need: the store finds out whether they are the right ones.
pub(super) fn store(raw: RawStore, peppers: &Peppers, resolver: &mut Resolver<'_>) -> StoreSettings {
    if raw.path.is_empty() {
        resolver.problem("store.path", "this path is empty", "name a file, as `users.redb`");
    }
    if !raw.backups.is_empty() && !Path::new(&raw.backups).is_dir() {
        let help = "create it before the first backup: authferry writes into it and makes none";
        resolver.warning("store.backups", format!("there is no folder {}", raw.backups), help);
    }
    StoreSettings {
        path: PathBuf::from(&raw.path),
        cache_bytes: resolver.size("store.cache", &raw.cache, "1MiB", "1024GiB"),
        backups: (!raw.backups.is_empty()).then(|| PathBuf::from(&raw.backups)),
        keys: StoreKeys { sealing: keys::sealing(raw.encryption, resolver), peppers: peppers.checks() },
    }
}

pub(super) fn admin(raw: RawAdmin, resolver: &mut Resolver<'_>) -> AdminSettings {
    let key = "admin.bind";
    let bind = match raw.bind.as_str() {
        "off" => None,
        text => {
            let bind = text.parse::<SocketAddr>().ok();
            if bind.is_none() {
                resolver.problem(key, "this is not an address", "write `ip:port`, as \"127.0.0.1:9090\", or \"off\"");
            }
            bind
        }
    };
    if bind.is_some_and(|bind| !bind.ip().is_loopback()) {
        let message = "the admin listener is reachable from other machines: users and metrics travel in clear text";
        resolver.warning(key, message, "bind it to 127.0.0.1, and put TLS in front of it");
    }
    let token = raw.token.and_then(|token| secret::text("admin.token", token, resolver));
    if bind.is_some() && token.is_none() && !resolver.places.is_dropped("admin.token") {
        let message = "without a token the console and the API stay locked; only metrics and health are served";
        resolver.warning("admin.token", message, "write `token = { file = \"admin.token\" }`");
    }
    if token.as_ref().is_some_and(|token| token.len() < 16 && bind.is_some_and(|bind| !bind.ip().is_loopback())) {
        resolver.warning(
            "admin.token",
            "this token is short enough to be guessed",
            "make it of at least 16 characters",
        );
    }
    for (index, host) in raw.hosts.iter().enumerate() {
        if http::uri::Authority::try_from(host.as_str()).is_err() || host.contains('@') {
            let key = format!("admin.hosts[{index}]");
            resolver.problem(
                &key,
                "this is not a name as `Host` has it",
                "write \"authferry.internal\" or \"authferry:9090\"",
            );
        }
    }
    AdminSettings { bind, token, hosts: raw.hosts }
}

pub(super) fn log(raw: &RawLog, resolver: &mut Resolver<'_>) -> LogSettings {
    if check_level(&raw.level).is_err() {
        let help = "write `error`, `warn`, `info`, `debug`, `trace`, or `info,authferry::legacy=debug`";
        resolver.problem("log.level", "this is not a level", help);
    }
    LogSettings { format: raw.format, level: raw.level.clone() }
}
