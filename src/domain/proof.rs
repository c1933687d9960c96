//! Things that must have happened, as types. Each has one constructor, named `assert_…` so that `grep` finds who calls it;
//! `tests/it/house.rs` holds the list of callers.

use serde_json::Value;

use super::credential::StoredHash;
use super::identifier::{Candidates, Identifier, IdentifierKind};
use super::user::{LegacyId, User, UserId, Version};

/// A user whose stored credential just verified. Verification takes the [`User`] and gives this back.
pub struct VerifiedUser(Box<User>);

impl VerifiedUser {
    /// Called by the password hasher alone, after the hash of `user` matched.
    #[must_use]
    pub fn assert_by_verification(user: Box<User>) -> Self {
        Self(user)
    }

    /// Who it is.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.0
    }
}

/// Who legacy says a user is.
#[derive(Clone)]
pub struct LegacyIdentity {
    /// His stable id.
    pub id: LegacyId,
    /// His names, normalized; those that cannot be an identifier are left out.
    pub identifiers: Vec<Identifier>,
    /// The profile as legacy gave it.
    pub profile: Value,
    /// How legacy came to name him.
    pub told_by: ToldBy,
}

/// How legacy came to name a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// The answer to his own request names him, or a question with the session or token of that answer.
    Owner,
    /// He was searched for by the name that was typed: what was found has to bear it.
    NameSearch,
}

/// How the names in legacy's answer relate to the name that was asked about (R42, R79).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The answer bears the name that was typed.
    Named,
    /// The answer bears another name of a kind that the typed one could be: another user's profile.
    OtherName,
    /// The answer bears no name that could be compared.
    Unconfirmed,
}

impl LegacyIdentity {
    /// Whether this is the user who was asked about.
    #[must_use]
    pub fn naming(&self, asked: &Candidates) -> Naming {
        let named = self.identifiers.iter().any(|alias| asked.keys().contains(&alias.normalized));
        // Typed text with an `@` or made of digits may be a username too, but hardly is: a differing email or phone tells.
        let telling = asked.keys().first().map(|key| key.kind());
        let comparable = self.identifiers.iter().any(|alias| Some(alias.normalized.kind()) == telling);
        match (named, comparable) {
            (true, _) => Naming::Named,
            (false, true) => Naming::OtherName,
            (false, false) => Naming::Unconfirmed,
        }
    }
}

/// Legacy accepted a password and said whose it is.
#[derive(Clone)]
pub struct LegacyAccepted(LegacyIdentity);

impl LegacyAccepted {
    /// Called by a connector alone, after its success rule matched and the answer named a stable id.
    #[must_use]
    pub fn assert_by_connector(identity: LegacyIdentity) -> Self {
        Self(identity)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &LegacyIdentity {
        &self.0
    }
}

/// An Argon2id hash under today's parameters of a password that was just given.
pub struct FreshHash(StoredHash);

impl FreshHash {
    /// Called by the password hasher alone.
    #[must_use]
    pub fn assert_by_hasher(hash: StoredHash) -> Self {
        Self(hash)
    }

    /// What goes into the record.
    #[must_use]
    pub fn into_stored(self) -> StoredHash {
        self.0
    }
}

/// A user's record is on disk: the commit that holds it was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    id: UserId,
    version: Version,
}

impl Migrated {
    /// Called by a store alone, after the durable commit.
    #[must_use]
    pub fn assert_after_commit(id: UserId, version: Version) -> Self {
        Self { id, version }
    }

    /// Whose record.
    #[must_use]
    pub fn id(self) -> UserId {
        self.id
    }

    /// The version that is on disk.
    #[must_use]
    pub fn version(self) -> Version {
        self.version
    }
}

/// A user as templates and tokens see him: no credential, nothing of ours that an app could come to rely on.
#[derive(Debug, Clone, serde::Serialize)]
pub struct UserView {
    /// Legacy's id in legacy's JSON type, or ours where legacy has none.
    pub id: Value,
    /// As legacy wrote it.
    pub email: Option<String>,
    /// As legacy wrote it.
    pub username: Option<String>,
    /// As legacy wrote it.
    pub phone: Option<String>,
    /// The whole profile.
    pub profile: Value,
}

impl UserView {
    fn new(id: Value, identifiers: &[Identifier], profile: &Value) -> Self {
        let first = |kind| {
            let alias = identifiers.iter().find(|alias| alias.normalized.kind() == kind);
            alias.map(|alias| alias.value.to_string())
        };
        Self {
            id,
            email: first(IdentifierKind::Email),
            username: first(IdentifierKind::Username),
            phone: first(IdentifierKind::Phone),
            profile: profile.clone(),
        }
    }

    /// His first name of this kind, as legacy wrote it.
    #[must_use]
    pub fn name(&self, kind: IdentifierKind) -> Option<&str> {
        match kind {
            IdentifierKind::Email => self.email.as_deref(),
            IdentifierKind::Username => self.username.as_deref(),
            IdentifierKind::Phone => self.phone.as_deref(),
        }
    }

    /// Of a record.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self::new(user.public_id(), &user.identifiers, &user.profile)
    }
}

/// Somebody proved who he is: the only thing that a token is minted for.
#[derive(Debug, Clone)]
pub struct Authenticated(UserView);

impl Authenticated {
    /// What templates see.
    #[must_use]
    pub fn view(&self) -> &UserView {
        &self.0
    }

    /// A user who just registered; his record is on disk.
    #[must_use]
    pub fn by_registration(_on_disk: Migrated, view: UserView) -> Self {
        Self(view)
    }
}

impl Authenticated {
    /// An active user whose refresh token verified. Called by `service::whoami` alone.
    #[must_use]
    pub fn by_refresh_token(user: &User) -> Self {
        Self(UserView::of(user))
    }
}

impl From<&VerifiedUser> for Authenticated {
    fn from(verified: &VerifiedUser) -> Self {
        Self(UserView::of(verified.user()))
    }
}

impl From<&LegacyAccepted> for Authenticated {
    fn from(accepted: &LegacyAccepted) -> Self {
        let identity = accepted.identity();
        Self(UserView::new(identity.id.to_json(), &identity.identifiers, &identity.profile))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::identifier::{IdentifierRules, RawIdentifier};

    fn identity(names: &[(IdentifierKind, &str)]) -> LegacyIdentity {
        let rules = IdentifierRules::default();
        LegacyIdentity {
            id: LegacyId::from_json(&json!(7)).expect("an id"),
            identifiers: names.iter().filter_map(|(kind, name)| rules.identifier(*kind, name, None).ok()).collect(),
            profile: json!({}),
            told_by: ToldBy::Owner,
        }
    }

    fn naming(typed: &str, names: &[(IdentifierKind, &str)]) -> Naming {
        let raw = RawIdentifier::new(typed).expect("a valid identifier");
        identity(names).naming(&IdentifierRules::default().candidates(&raw))
    }

    #[test]
    fn r42_r79_an_answer_must_bear_the_name_that_was_asked_about() {
        use IdentifierKind::{Email, Phone, Username};
        for (typed, names, expected) in [
            ("a@x.y", &[(Email, "A@X.Y")][..], Naming::Named),
            ("a@x.y", &[(Email, "b@x.y")], Naming::OtherName),
            ("a@x.y", &[(Email, "b@x.y"), (Username, "a@x.y")], Naming::Named),
            ("a@x.y", &[(Username, "alice")], Naming::Unconfirmed),
            ("a@x.y", &[], Naming::Unconfirmed),
            ("alice", &[(Username, "Alice"), (Email, "b@x.y")], Naming::Named),
            ("alice", &[(Username, "bob")], Naming::OtherName),
            ("alice", &[(Email, "alice@x.y")], Naming::Unconfirmed),
            ("+49 151 1", &[(Phone, "491511")], Naming::Named),
            ("+49 151 1", &[(Phone, "491512")], Naming::OtherName),
        ] {
            assert_eq!(naming(typed, names), expected, "{typed} against {names:?}");
        }
    }
}
