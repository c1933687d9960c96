//! Under which names the attempts at an account are counted. Made by the use cases, for the limits alone.

use crate::domain::client_addr::ClientAddr;
use crate::domain::coarse_name::coarse_name;
use crate::domain::identifier::{Candidates, NormalizedIdentifier};
use crate::domain::user::User;

/// One subscriber of IPv6 holds at least such a network.
const NETWORK_PREFIX: u8 = 64;

/// The names of an account for limits.
///
/// Attempts are counted under the coarse one, which spellings and aliases share; what is in somebody's favour (his known
/// networks, the end of a row of failures) goes by the exact ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountKey {
    coarse: Box<str>,
    identity: Box<str>,
    typed: Box<str>,
}

impl AccountKey {
    /// Of a user who is known, so that his email and his phone number share one budget. `typed` is what he was found by.
    #[must_use]
    pub fn of_user(user: &User, typed: &Candidates) -> Self {
        // Any one of his names, as long as it is always the same one.
        let first = user.identifiers.iter().map(|alias| &alias.normalized).min();
        let name = first.or(typed.keys().first()).map_or("", NormalizedIdentifier::text);
        Self {
            coarse: coarse_name(name).into(),
            identity: format!("id:{}", user.id).into(),
            typed: typed.primary().into(),
        }
    }

    /// Of a name that nobody here bears: limited like one that somebody does (R74).
    #[must_use]
    pub fn of_name(typed: &Candidates) -> Self {
        let name = typed.keys().first().map_or("", NormalizedIdentifier::text);
        Self { coarse: coarse_name(name).into(), identity: typed.primary().into(), typed: typed.primary().into() }
    }

    /// Of whoever may be logged in where a request comes from, if it names nobody whom we could tell.
    #[must_use]
    pub fn of_client(client: ClientAddr) -> Self {
        // A name never holds a NUL.
        let name: Box<str> = format!("\0{}", client.limit_key(NETWORK_PREFIX)).into();
        Self { coarse: name.clone(), identity: name.clone(), typed: name }
    }

    /// What attempts are counted under: the same for everything that a legacy backend may take for the same name.
    #[must_use]
    pub fn coarse(&self) -> &str {
        &self.coarse
    }

    /// Who it is: a user's own key once he is known, else the canonical identifier.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The canonical identifier that was typed: who it was before he was known.
    #[must_use]
    pub fn typed(&self) -> &str {
        &self.typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identifier::{IdentifierRules, RawIdentifier};

    fn of_name(typed: &str) -> AccountKey {
        let raw = RawIdentifier::new(typed).expect("a valid identifier");
        AccountKey::of_name(&IdentifierRules::default().candidates(&raw))
    }

    #[test]
    fn r70_spellings_share_the_coarse_name_and_only_canonical_ones_the_identity() {
        let plain = of_name("mike@x.y");
        for spelling in ["MIKE@X.Y", "m\u{131}ke@x.y", "m\u{ed}ke@x.y", "\u{ff4d}ike@x.y"] {
            assert_eq!(of_name(spelling).coarse(), plain.coarse(), "{spelling}");
        }
        assert_eq!(of_name("MIKE@X.Y").identity(), plain.identity());
        assert_ne!(of_name("m\u{131}ke@x.y").identity(), plain.identity());
        assert_ne!(of_name("mika@x.y").coarse(), plain.coarse());
    }

    #[test]
    fn clients_are_told_apart_by_network_and_from_every_name() {
        let of_client =
            |addr: &str| AccountKey::of_client(ClientAddr::assert_by_trusted_walk(addr.parse().expect("an address")));
        assert_eq!(of_client("2001:db8::1"), of_client("2001:db8::2"));
        assert_ne!(of_client("192.0.2.1"), of_client("192.0.2.2"));
        assert_ne!(of_client("192.0.2.1").coarse(), of_name("192.0.2.1").coarse());
    }
}
