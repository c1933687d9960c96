//! What becomes of one row of an import: the normalized row, the decision, and the record that follows from it. Pure: the store finds
//! who is concerned, inside its transaction, and asks here.
//!
//! ```text
//! PortableUser -> Incoming::new (names by the configured rules) -> decide, against whoever bears its ids and names
//!      nobody   -> create           the same user -> skip | merge | replace, as the operator said; a list of users -> its facts
//!      another  -> rejected         a tombstone   -> rejected: nobody is resurrected
//! ```
//!
//! Two users whose legacy ids differ are never made one (R44), a name never changes hands, and a password that was proven here is
//! replaced only by who says `replace`.

mod known;

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

pub use self::known::{leaves_hash, listed, merged, replaced};
use super::clock::UnixSeconds;
use super::credential::{AbsentBecause, Credential, StoredHash};
use super::identifier::{
    Identifier, IdentifierKind, IdentifierRules, InvalidIdentifier, NORMALIZATION_VERSION, NormalizedIdentifier,
};
use super::portable::{Made, Notes, PortableName, PortablePassword, PortableRoster, PortableUser};
use super::user::{LegacyId, Origin, Standing, User, UserId, Version};

/// The most names of one row: as many as a record keeps.
pub const MAX_NAMES: usize = 64;

/// A row, ready for a store. No `Debug`: it carries a hash and a profile.
pub struct Incoming {
    /// The key that he had in another store of ours.
    pub id: Option<UserId>,
    /// His id at legacy.
    pub legacy_id: Option<LegacyId>,
    /// His names, each once.
    pub identifiers: Vec<Identifier>,
    /// Names that are kept from others for him, none of which is among his names.
    pub reserved: Vec<NormalizedIdentifier>,
    /// Everything else.
    pub profile: Value,
    /// What his password is checked against.
    pub credential: Credential,
    /// Whether he may log in.
    pub standing: Standing,
    /// What a new record says of its origin.
    pub origin: Origin,
    /// When he was created, if it is said.
    pub created_at: Option<UnixSeconds>,
    /// When he last changed, if it is said.
    pub updated_at: Option<UnixSeconds>,
    /// When legacy last vouched for him, if it is said.
    pub legacy_vouched_at: Option<UnixSeconds>,
    /// When he last logged in, if it is said.
    pub last_login_at: Option<UnixSeconds>,
    /// What a roster said of him.
    pub roster: Option<PortableRoster>,
}

/// Why a row cannot become a user, whoever is in the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// It has neither a name nor an id.
    #[error("record: there is neither a name nor an id in it")]
    Nobody,
    /// One of its names can identify nobody.
    #[error("{}: {problem}", kind.as_str())]
    Name {
        /// Which kind.
        kind: IdentifierKind,
        /// What is wrong with it.
        problem: InvalidIdentifier,
    },
    /// What is said to be an email address would be looked up by no login.
    #[error("email: it has no `@`, so that no login would find its user by it")]
    NoEmail,
    /// It has more than [`MAX_NAMES`].
    #[error("names: there are {0}, and a user keeps {MAX_NAMES}")]
    TooManyNames(usize),
}

impl Incoming {
    /// Brings a row's names into canonical form (R43), and decides what it says of its origin: what carries a hash was imported, what
    /// carries none is a name on a list.
    pub fn new(user: PortableUser, rules: IdentifierRules) -> Result<Self, BadRow> {
        let mut identifiers: Vec<Identifier> = Vec::with_capacity(user.names.len());
        for name in &user.names {
            // What is in a store of ours comes back as it was.
            if user.id.is_none()
                && name.kind == IdentifierKind::Email
                && !name.value.is_empty()
                && !name.value.contains('@')
            {
                return Err(BadRow::NoEmail);
            }
            let identifier = rules
                .identifier(name.kind, &name.value, name.verified)
                .map_err(|problem| BadRow::Name { kind: name.kind, problem })?;
            match identifiers.iter_mut().find(|known| known.normalized == identifier.normalized) {
                None => identifiers.push(identifier),
                Some(known) => known.verified = known.verified.or(identifier.verified),
            }
        }
        if identifiers.len() > MAX_NAMES {
            return Err(BadRow::TooManyNames(identifiers.len()));
        }
        if identifiers.is_empty() && user.legacy_id.is_none() && user.id.is_none() {
            return Err(BadRow::Nobody);
        }
        let mut reserved: Vec<NormalizedIdentifier> = Vec::with_capacity(user.reserved.len());
        for name in &user.reserved {
            let name = rules
                .identifier(name.kind, &name.value, None)
                .map_err(|problem| BadRow::Name { kind: name.kind, problem })?
                .normalized;
            if !reserved.contains(&name) && identifiers.iter().all(|own| own.normalized != name) {
                reserved.push(name);
            }
        }
        let (credential, origin) = match user.password {
            Some(mut password) => {
                let hash = StoredHash::new(std::mem::take(&mut *password.encoded), password.normalization);
                let credential = match password.made {
                    Made::Elsewhere => Credential::Imported(hash),
                    Made::Here => Credential::Argon2id(hash),
                };
                (credential, Origin::Imported)
            }
            None => (Credential::Absent(user.without_password.unwrap_or(AbsentBecause::Roster)), Origin::Roster),
        };
        Ok(Self {
            id: user.id.map(UserId),
            legacy_id: user.legacy_id,
            identifiers,
            reserved,
            profile: user.profile,
            credential,
            standing: user.standing,
            origin: user.origin.unwrap_or(origin),
            created_at: user.created_at,
            updated_at: user.updated_at,
            legacy_vouched_at: user.legacy_vouched_at,
            last_login_at: user.last_login_at,
            roster: user.roster,
        })
    }

    /// Whether nobody could log in as whoever is made of it. Those who come out of a store of ours may have lost their names there.
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        match self.standing {
            Standing::Active | Standing::Disabled => self.identifiers.is_empty() && self.id.is_none(),
            Standing::Deleted => false,
        }
    }

    /// The same once more. No `Clone`, since a row carries a hash: whoever copies one says so.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            id: self.id,
            legacy_id: self.legacy_id.clone(),
            identifiers: self.identifiers.clone(),
            reserved: self.reserved.clone(),
            profile: self.profile.clone(),
            credential: copy_of(&self.credential),
            standing: self.standing,
            origin: self.origin,
            created_at: self.created_at,
            updated_at: self.updated_at,
            legacy_vouched_at: self.legacy_vouched_at,
            last_login_at: self.last_login_at,
            roster: self.roster,
        }
    }

    /// The record of a user who is new here. Its version is given when it is written.
    #[must_use]
    pub fn into_user(self, id: UserId, at: UnixSeconds) -> User {
        let mut user = User {
            id,
            legacy_id: self.legacy_id,
            identifiers: self.identifiers,
            profile: self.profile,
            credential: self.credential,
            standing: self.standing,
            origin: self.origin,
            created_at: self.created_at.unwrap_or(at),
            updated_at: self.updated_at.unwrap_or(at),
            legacy_vouched_at: self.legacy_vouched_at,
            roster: self.roster,
            normalization_version: NORMALIZATION_VERSION,
            version: Version(0),
        };
        match user.standing {
            Standing::Deleted => strip(&mut user),
            Standing::Active | Standing::Disabled => {}
        }
        user
    }
}

impl PortableUser {
    /// A user as he leaves a store. [`Incoming::new`] and [`Incoming::into_user`] make the same user of him again. Names that are only
    /// reserved for him are in no record: who exports him adds them.
    #[must_use]
    pub fn of(user: User, last_login_at: Option<UnixSeconds>) -> Self {
        let portable = |hash: &StoredHash, made| PortablePassword {
            encoded: Zeroizing::new(hash.expose().to_owned()),
            normalization: hash.normalization(),
            made,
        };
        let (password, without_password) = match &user.credential {
            Credential::Argon2id(hash) => (Some(portable(hash, Made::Here)), None),
            Credential::Imported(hash) => (Some(portable(hash, Made::Elsewhere)), None),
            Credential::Absent(because) => (None, Some(*because)),
        };
        let names = user.identifiers.into_iter().map(|name| PortableName {
            kind: name.normalized.kind(),
            value: name.value.into(),
            verified: name.verified,
        });
        Self {
            id: Some(user.id.0),
            legacy_id: user.legacy_id,
            names: names.collect(),
            reserved: Vec::new(),
            profile: user.profile,
            password,
            without_password,
            standing: user.standing,
            origin: Some(user.origin),
            created_at: Some(user.created_at),
            updated_at: Some(user.updated_at),
            legacy_vouched_at: user.legacy_vouched_at,
            last_login_at,
            roster: user.roster,
            notes: Notes::default(),
        }
    }
}

/// A tombstone keeps what it reserves, and nothing else.
fn strip(user: &mut User) {
    user.credential = Credential::Absent(AbsentBecause::ResetAtLegacy);
    user.profile = Value::Null;
    user.roster = None;
    for alias in &mut user.identifiers {
        alias.value = alias.normalized.text().into();
        alias.verified = None;
    }
}

/// What the operator wants of rows whose user is here already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Leave him as he is.
    #[default]
    Skip,
    /// Add what he lacks; see [`merged`].
    Merge,
    /// The row is right; see [`replaced`].
    Replace,
    /// The row is one of a list of legacy's users: it tells who there is, and is no word on who has come over; see [`listed`].
    List,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// A new user is in the store.
    Created(UserId),
    /// A known one was brought up to date.
    Updated(UserId),
    /// The same, but for the row's hash: legacy asks him for more than a password, see [`leaves_hash`].
    UpdatedWithoutHash(UserId),
    /// A known one stays as he is.
    Skipped(UserId, Skip),
    /// Nothing was written.
    Rejected(Rejection),
}

impl Imported {
    /// Whose row it was; none of a rejected one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Created(id) | Self::Updated(id) | Self::UpdatedWithoutHash(id) | Self::Skipped(id, _) => Some(*id),
            Self::Rejected(_) => None,
        }
    }

    /// Of a known user who was brought up to date, by whether the row's hash was left with legacy.
    #[must_use]
    pub fn updated(id: UserId, leaves_hash: bool) -> Self {
        if leaves_hash { Self::UpdatedWithoutHash(id) } else { Self::Updated(id) }
    }

    /// Of a known user who lacked nothing of a row, by whether its hash was left with legacy.
    #[must_use]
    pub fn unchanged(id: UserId, leaves_hash: bool) -> Self {
        Self::Skipped(id, if leaves_hash { Skip::HashLeft } else { Skip::Unchanged })
    }
}

/// Why a known user stays as he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// He is here, and known users were to be left alone.
    Exists,
    /// The row says nothing that he lacks.
    Unchanged,
    /// The row says nothing that he lacks but a hash, and that stays with legacy, see [`leaves_hash`].
    HashLeft,
}

/// Why a row was rejected by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A name belongs to somebody else; also when an earlier row of the same file brought him.
    #[error("the {} belongs to another user, {by}", kind.as_str())]
    NameTaken {
        /// Of which kind.
        kind: IdentifierKind,
        /// Whose it is.
        by: UserId,
    },
    /// The legacy id is the public id of somebody else.
    #[error("the legacy id is that of another user, {by}")]
    LegacyIdTaken {
        /// Whose it is.
        by: UserId,
    },
    /// Our own id in the row belongs to somebody else.
    #[error("the id is that of another user, {by}")]
    IdTaken {
        /// Whose it is.
        by: UserId,
    },
    /// He was deleted here, or a name of his is reserved for somebody who was.
    #[error("the user {by} was deleted, and deleted users do not come back by an import")]
    Tombstone {
        /// Who.
        by: UserId,
    },
    /// The user would be new, and have no name.
    #[error("there is no name in it that its user could log in with, and nobody is known by its id")]
    Nameless,
    /// The record would be larger than a store takes.
    #[error("the record would be too large")]
    TooLarge,
    /// He would have more names than a record keeps.
    #[error("the user {of} would have more than {MAX_NAMES} names")]
    TooManyNames {
        /// Who.
        of: UserId,
    },
}

/// Whoever bears an id or a name of a row.
#[derive(Default)]
pub struct Bearers<'a> {
    /// The user with its legacy id.
    pub of_legacy_id: Option<&'a User>,
    /// The user with its id of ours.
    pub of_id: Option<&'a User>,
    /// The user, unknown to legacy, whose public id reads like its legacy id.
    pub of_legacy_id_as_ours: Option<&'a User>,
    /// The user whose legacy id reads like its id of ours, which would be its public id.
    pub of_id_as_legacys: Option<UserId>,
    /// The users with its names, those that are only reserved for them and those that it wants reserved included.
    pub of_names: Vec<(IdentifierKind, &'a User)>,
}

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportDecision {
    /// Make a new record.
    Create,
    /// Leave this one.
    Skip(UserId, Skip),
    /// Add to this one.
    Merge(UserId),
    /// Write the row over this one.
    Replace(UserId),
    /// Add what a list says to this one.
    List(UserId),
    /// Write nothing.
    Reject(Rejection),
}

/// Whose row it is, and what to do with it.
#[must_use]
pub fn decide(row: &Incoming, bearers: &Bearers<'_>, on_conflict: OnConflict) -> ImportDecision {
    let same = match same_user(row, bearers) {
        Ok(same) => same,
        Err(rejection) => return ImportDecision::Reject(rejection),
    };
    let other = |user: &UserId| same.is_none_or(|same| same.id != *user);
    if let Some(by) = bearers.of_legacy_id_as_ours.map(|user| user.id).filter(other) {
        return ImportDecision::Reject(Rejection::LegacyIdTaken { by });
    }
    if let Some(by) = bearers.of_id_as_legacys.filter(other) {
        return ImportDecision::Reject(Rejection::IdTaken { by });
    }
    let Some(known) = same else {
        // Whom a list names by an id alone legacy's answer to his login finds by it.
        return if row.is_nameless() && on_conflict != OnConflict::List {
            ImportDecision::Reject(Rejection::Nameless)
        } else {
            ImportDecision::Create
        };
    };
    match (known.standing, row.standing, on_conflict) {
        // Legacy may well go on listing whom we were told to delete: a tombstone stays one, and that is no fault of the list.
        (Standing::Deleted, _, OnConflict::List) => ImportDecision::Skip(known.id, Skip::Exists),
        (Standing::Active | Standing::Disabled, _, OnConflict::List) => ImportDecision::List(known.id),
        (Standing::Deleted, Standing::Deleted, OnConflict::Skip | OnConflict::Merge | OnConflict::Replace) => {
            ImportDecision::Skip(known.id, Skip::Exists)
        }
        (Standing::Deleted, Standing::Active | Standing::Disabled, _) => {
            ImportDecision::Reject(Rejection::Tombstone { by: known.id })
        }
        (Standing::Active | Standing::Disabled, _, OnConflict::Skip) => ImportDecision::Skip(known.id, Skip::Exists),
        // A deletion is nothing that a living user lacks.
        (Standing::Active | Standing::Disabled, Standing::Deleted, OnConflict::Merge) => {
            ImportDecision::Skip(known.id, Skip::Exists)
        }
        // A row that says no id speaks of whoever bears the name at legacy. Who took a name here that was free, and whom legacy has
        // never known, must not come by the other names of that user.
        (Standing::Active | Standing::Disabled, Standing::Active | Standing::Disabled, OnConflict::Merge)
            if row.legacy_id.is_none() && row.id != Some(known.id) && is_unknown_to_legacy(known) =>
        {
            ImportDecision::Skip(known.id, Skip::Exists)
        }
        (Standing::Active | Standing::Disabled, Standing::Active | Standing::Disabled, OnConflict::Merge) => {
            ImportDecision::Merge(known.id)
        }
        (Standing::Active | Standing::Disabled, _, OnConflict::Replace) => ImportDecision::Replace(known.id),
    }
}

/// The user whom a row speaks of, if he is known: by legacy's id first, then by ours, then by his names.
fn same_user<'a>(row: &Incoming, bearers: &Bearers<'a>) -> Result<Option<&'a User>, Rejection> {
    let mut same = match (bearers.of_legacy_id, bearers.of_id) {
        (Some(by_legacy), Some(by_id)) if by_legacy.id != by_id.id => {
            return Err(Rejection::IdTaken { by: by_id.id });
        }
        (Some(by_legacy), Some(_) | None) => Some(by_legacy),
        (None, Some(by_id)) if may_be_one(row, by_id) => Some(by_id),
        (None, Some(by_id)) => return Err(Rejection::IdTaken { by: by_id.id }),
        (None, None) => None,
    };
    for (kind, holder) in &bearers.of_names {
        match same {
            Some(known) if known.id == holder.id => {}
            // A name that an operator took from him and keeps for him leads nobody to him.
            None if bears_one(row, holder) && may_be_one(row, holder) => same = Some(holder),
            Some(_) | None => {
                return Err(match holder.standing {
                    Standing::Deleted => Rejection::Tombstone { by: holder.id },
                    Standing::Active | Standing::Disabled => Rejection::NameTaken { kind: *kind, by: holder.id },
                });
            }
        }
    }
    Ok(same)
}

/// Whether one of the row's names is his today.
fn bears_one(row: &Incoming, known: &User) -> bool {
    row.identifiers.iter().any(|name| known.bears(&name.normalized))
}

/// Whether he registered here and legacy never vouched for him.
fn is_unknown_to_legacy(known: &User) -> bool {
    match known.origin {
        Origin::Registered => known.legacy_id.is_none() && known.legacy_vouched_at.is_none(),
        Origin::Migrated | Origin::Imported | Origin::Roster => false,
    }
}

/// Whether a row may speak of a user who was not found by the row's legacy id. Two legacy ids are two users (R44). A row with one
/// gives it to a user without one unless he registered here and legacy has never known him: who took a free name here would else become
/// whoever bears that name at legacy.
fn may_be_one(row: &Incoming, known: &User) -> bool {
    match (&row.legacy_id, &known.legacy_id) {
        (None, _) => true,
        (Some(_), Some(_)) => false,
        (Some(_), None) => !is_unknown_to_legacy(known),
    }
}

fn copy_of(credential: &Credential) -> Credential {
    match credential {
        Credential::Argon2id(hash) => Credential::Argon2id(hash.clone()),
        Credential::Imported(hash) => Credential::Imported(hash.clone()),
        Credential::Absent(because) => Credential::Absent(*because),
    }
}

/// The text of our own id, where it is written as we write it: two spellings of an id must not be two subjects to an app.
#[must_use]
pub fn own_id(text: &str) -> Option<UserId> {
    // A hyphenated UUID has 36 characters; most legacy ids are told from one by that.
    let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()?;
    (id.to_string() == text).then_some(UserId(id))
}

#[cfg(test)]
mod tests;
