//! What `authferry demo` runs beside the proxy: a small legacy app, and the configuration that puts the proxy in front of it.
//!
//! Never part of a deployment, and known by no other module than `cli`, which starts it, and the tests.

pub mod legacy;

use std::net::SocketAddr;
use std::path::Path;

pub use legacy::{DEMO_USERS, DemoLegacy, DemoListeners, DemoUser};

/// The configuration of the demo, as an operator would write it. [`overrides`] says where everything really is.
pub const CONFIG: &str = include_str!("demo.toml");

/// What messages about [`CONFIG`] call it.
pub const CONFIG_NAME: &str = "demo.toml (built in)";

/// Where the parts of one demo are.
#[derive(Clone, Copy)]
pub struct DemoPlaces<'a> {
    /// The proxy listens there, port 0 for any.
    pub public: SocketAddr,
    /// The admin listener, port 0 for any.
    pub admin: SocketAddr,
    /// The app, already bound.
    pub app: SocketAddr,
    /// The app's auth backend, already bound.
    pub legacy: SocketAddr,
    /// The file of the store.
    pub store: &'a Path,
    /// What opens the console; made anew for each demo (R108).
    pub admin_token: &'a str,
}

/// [`CONFIG`]'s keys that depend on where the parts are, as environment overrides for `config::Environment::new`.
#[must_use]
pub fn overrides(places: &DemoPlaces<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("AUTHFERRY__LISTENER__0__BIND", places.public.to_string()),
        ("AUTHFERRY__ADMIN__BIND", places.admin.to_string()),
        ("AUTHFERRY__ADMIN__TOKEN__VALUE", places.admin_token.to_owned()),
        ("AUTHFERRY__UPSTREAM__URL", format!("http://{}", places.app)),
        ("AUTHFERRY__LEGACY__URL", format!("http://{}", places.legacy)),
        ("AUTHFERRY__STORE__PATH", places.store.to_string_lossy().into_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::config::{Config, Environment};
    use crate::domain::mode::Mode;

    fn resolved(variables: &[(&'static str, String)]) -> Config {
        let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
        let environment = Environment::new(variables, NonZeroUsize::MIN);
        Config::from_text(CONFIG, CONFIG_NAME, &environment).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_configuration_is_valid_and_knows_the_key_of_the_app() {
        let config = resolved(&[]);
        assert_eq!(config.migration.mode, Mode::Migrate);
        let names: Vec<&str> = config.edge.routes.iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["login", "register", "web-login"]);
        let token = config.token.expect("a token");
        assert_eq!(token.key.as_slice(), legacy::SHARED_KEY.as_bytes());
        assert_eq!(token.ttl, legacy::SESSION_LIFETIME);
        assert!(config.admin.token.is_none(), "R108: no default credentials");
    }

    #[test]
    fn the_places_of_a_demo_are_put_in() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let store = Path::new("/tmp/demo/users.redb");
        let places = DemoPlaces {
            public: at(1),
            admin: at(2),
            app: at(3),
            legacy: at(4),
            store,
            admin_token: "made-for-this-demo",
        };
        let config = resolved(&overrides(&places));
        assert_eq!(config.admin.bind, Some(at(2)));
        assert_eq!(config.admin.token.as_deref().map(String::as_str), Some("made-for-this-demo"));
        assert_eq!((config.edge.upstream.target.port, config.legacy.target.port), (3, 4));
        assert_eq!(config.store.path, store);
    }
}
