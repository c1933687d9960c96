//! The resolved configuration: what a start needs, one field an adapter. Made by `resolve` alone.

use std::path::PathBuf;
use std::time::Duration;

use super::report::Warning;
use crate::admin::AdminSettings;
use crate::domain::identifier::IdentifierRules;
use crate::domain::mode::{LocalShare, Mode};
use crate::domain::password::PasswordPolicy;
use crate::http::settings::{CookieSettings, EdgeSettings};
use crate::legacy::LegacySettings;
use crate::limits::LimitSettings;
use crate::password::PasswordSettings;
use crate::service::OnMismatch;
use crate::store::StoreSettings;
use crate::telemetry::logging::LogSettings;
use crate::token::TokenSettings;

/// Everything that proxy.toml and the environment say, resolved. No `Debug`: it holds keys.
pub struct Config {
    /// `[migration]`.
    pub migration: MigrationSettings,
    /// `[[listener]]`, `[upstream]`, `[[route]]`, `[trusted_proxies]`, `[server]`.
    pub edge: EdgeSettings,
    /// `[legacy]` and the `forward.*` rules of the routes.
    pub legacy: LegacySettings,
    /// `[limits]` and the budget of rechecks.
    pub limits: LimitSettings,
    /// `[password]`: hashing.
    pub password: PasswordSettings,
    /// `[password]`: what a new password has to satisfy.
    pub password_policy: PasswordPolicy,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[token]`; none without the table or with `kind = "none"`.
    pub token: Option<TokenSettings>,
    /// `[token] cookie`.
    pub cookie: Option<CookieSettings>,
    /// `[identity]`.
    pub identity: IdentifierRules,
    /// `[admin]`.
    pub admin: AdminSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// `[server] takeover`: where another process may take this one's place.
    pub takeover: Option<PathBuf>,
    /// What may be meant but is seldom wise.
    pub warnings: Vec<Warning>,
}

/// `[migration]`, resolved. The budget of rechecks is among the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationSettings {
    /// The mode of the first start; later the store's word holds.
    pub mode: Mode,
    /// Percent of users answered locally in `migrate`.
    pub local_share: LocalShare,
    /// What a local mismatch comes to.
    pub on_mismatch: OnMismatch,
    /// Ask legacy again when its last word on a user is older; none for never.
    pub revalidate_after: Option<Duration>,
}
