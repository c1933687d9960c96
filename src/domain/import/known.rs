//! What a row makes of a user who is known already: what it adds to him, what a list says of him, what he is where the row is right.
//! Called by the store once [`super::decide`] has said whose row it is.

use serde_json::Value;

use super::{Incoming, MAX_NAMES, Rejection, copy_of, strip};
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential};
use crate::domain::identifier::{Identifier, NORMALIZATION_VERSION};
use crate::domain::portable::PortableRoster;
use crate::domain::roster::is_only_listed;
use crate::domain::user::{Origin, Standing, User};

/// A known user with what a row adds to him; none if it adds nothing.
///
/// | field | comes from |
/// | --- | --- |
/// | names | both; his own first. A verified flag is filled in where there was none |
/// | legacy id | his; the row's where he has none |
/// | password | his if it was proven or set here, dropped by a reset, or left with legacy; else the row's, where it has one. A row that leaves it with legacy takes an imported one away |
/// | profile | his if legacy vouched for him here or he registered here, or the row has none; else the row's |
/// | standing | disabled if either says so |
/// | times | the earlier creation, the later word of legacy |
/// | roster | the row's where it has one |
pub fn merged(known: &User, row: Incoming, at: UnixSeconds) -> Result<Option<User>, Rejection> {
    let proven = is_proven(known);
    let (credential, password) = merged_password(&known.credential, row.credential);
    let profile_is_empty = |profile: &Value| match profile {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    };
    let keeps_profile = (proven && !profile_is_empty(&known.profile)) || profile_is_empty(&row.profile);
    let standing = match (known.standing, row.standing) {
        (Standing::Disabled, _) | (_, Standing::Disabled) => Standing::Disabled,
        (Standing::Active | Standing::Deleted, Standing::Active | Standing::Deleted) => known.standing,
    };
    let next = User {
        id: known.id,
        legacy_id: known.legacy_id.clone().or(row.legacy_id),
        identifiers: both(&known.identifiers, &row.identifiers),
        profile: if keeps_profile { known.profile.clone() } else { row.profile },
        credential,
        standing,
        origin: match (known.origin, password) {
            (Origin::Roster, Password::Gained) => Origin::Imported,
            (origin, Password::Left) => without_hash(origin),
            (origin, Password::Kept | Password::Gained) => origin,
        },
        created_at: row.created_at.map_or(known.created_at, |at| at.min(known.created_at)),
        updated_at: at,
        legacy_vouched_at: known.legacy_vouched_at.max(row.legacy_vouched_at),
        roster: row.roster.or(known.roster),
        normalization_version: NORMALIZATION_VERSION,
        version: known.version,
    };
    if next.identifiers.len() > MAX_NAMES {
        return Err(Rejection::TooManyNames { of: known.id });
    }
    let changed = password != Password::Kept
        || next.legacy_id.is_some() != known.legacy_id.is_some()
        || next.identifiers != known.identifiers
        || next.profile != known.profile
        || next.standing != known.standing
        || next.created_at != known.created_at
        || next.legacy_vouched_at != known.legacy_vouched_at
        || next.roster != known.roster;
    Ok(changed.then_some(next))
}

/// What becomes of a password when a row is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password {
    Kept,
    /// The row's hash is his now.
    Gained,
    /// He has none any more, or it is known now why: legacy asks for more.
    Left,
}

fn merged_password(known: &Credential, row: Credential) -> (Credential, Password) {
    match (known, row) {
        (Credential::Imported(old), Credential::Imported(new) | Credential::Argon2id(new))
            if old.expose() == new.expose() && old.normalization() == new.normalization() =>
        {
            (copy_of(known), Password::Kept)
        }
        (
            Credential::Imported(_) | Credential::Absent(AbsentBecause::Roster),
            new @ (Credential::Imported(_) | Credential::Argon2id(_)),
        ) => (new, Password::Gained),
        (
            Credential::Imported(_) | Credential::Absent(AbsentBecause::Roster),
            left @ Credential::Absent(AbsentBecause::LeftWithLegacy),
        ) => (left, Password::Left),
        (
            Credential::Imported(_) | Credential::Absent(AbsentBecause::Roster),
            Credential::Absent(AbsentBecause::Roster | AbsentBecause::ResetAtLegacy),
        )
        | (
            Credential::Argon2id(_) | Credential::Absent(AbsentBecause::ResetAtLegacy | AbsentBecause::LeftWithLegacy),
            _,
        ) => (copy_of(known), Password::Kept),
    }
}

/// Where a user comes from whose imported hash is taken away: as if he had been imported without it.
fn without_hash(origin: Origin) -> Origin {
    match origin {
        Origin::Imported => Origin::Roster,
        Origin::Migrated | Origin::Registered | Origin::Roster => origin,
    }
}

/// Whether merging a row leaves its hash out because legacy asks this user for more than a password. Who has left him with legacy once
/// says `replace` to take it.
#[must_use]
pub fn leaves_hash(known: &User, row: &Incoming) -> bool {
    match (&known.credential, &row.credential) {
        (Credential::Absent(AbsentBecause::LeftWithLegacy), Credential::Argon2id(_) | Credential::Imported(_)) => true,
        (
            Credential::Argon2id(_)
            | Credential::Imported(_)
            | Credential::Absent(AbsentBecause::Roster | AbsentBecause::ResetAtLegacy | AbsentBecause::LeftWithLegacy),
            _,
        ) => false,
    }
}

/// A known user with what a list of legacy's users says of him; none if that is nothing new. Who is known from lists only is merged with
/// the row, names and legacy id included. To who has come over, or registered, or was imported, only the facts of the list are added:
/// when legacy last saw him, and what he is worth.
pub fn listed(known: &User, row: Incoming, at: UnixSeconds) -> Result<Option<User>, Rejection> {
    let before = known.roster.unwrap_or(PortableRoster { last_seen: None, value: None });
    let says = row.roster.unwrap_or(before);
    // A list without a column is silent about it.
    let facts = PortableRoster { last_seen: says.last_seen.or(before.last_seen), value: says.value.or(before.value) };
    if is_only_listed(known) {
        return merged(known, Incoming { roster: Some(facts), ..row }, at);
    }
    if known.roster == Some(facts) {
        return Ok(None);
    }
    Ok(Some(User {
        id: known.id,
        legacy_id: known.legacy_id.clone(),
        identifiers: known.identifiers.clone(),
        profile: known.profile.clone(),
        credential: copy_of(&known.credential),
        standing: known.standing,
        origin: known.origin,
        created_at: known.created_at,
        updated_at: at,
        legacy_vouched_at: known.legacy_vouched_at,
        roster: Some(facts),
        normalization_version: known.normalization_version,
        version: known.version,
    }))
}

/// A known user as a row says he is. He keeps his key, his former names, which stay reserved, and what the row is silent about: his
/// password where it brings none, his profile, his times, his legacy id. A row that leaves his hash with legacy takes an imported one away.
pub fn replaced(known: &User, row: Incoming, at: UnixSeconds) -> Result<User, Rejection> {
    let (credential, origin) = match (row.credential, &known.credential) {
        (hash @ (Credential::Argon2id(_) | Credential::Imported(_)), _) => (hash, row.origin),
        (
            left @ Credential::Absent(AbsentBecause::LeftWithLegacy),
            Credential::Imported(_) | Credential::Absent(AbsentBecause::Roster),
        ) => (left, without_hash(known.origin)),
        (Credential::Absent(_), kept) => (copy_of(kept), known.origin),
    };
    let mut next = User {
        id: known.id,
        legacy_id: row.legacy_id.or_else(|| known.legacy_id.clone()),
        identifiers: both(&row.identifiers, &known.identifiers),
        profile: if row.profile.is_null() { known.profile.clone() } else { row.profile },
        credential,
        standing: row.standing,
        origin,
        created_at: row.created_at.unwrap_or(known.created_at),
        updated_at: at,
        legacy_vouched_at: known.legacy_vouched_at.max(row.legacy_vouched_at),
        roster: row.roster.or(known.roster),
        normalization_version: NORMALIZATION_VERSION,
        version: known.version,
    };
    if next.identifiers.len() > MAX_NAMES {
        return Err(Rejection::TooManyNames { of: known.id });
    }
    match next.standing {
        Standing::Deleted => strip(&mut next),
        Standing::Active | Standing::Disabled => {}
    }
    Ok(next)
}

/// Whether what is known of a user was proven here: by legacy's word at a login, by a registration, by a password that was set.
fn is_proven(known: &User) -> bool {
    let by_password = match known.credential {
        Credential::Argon2id(_) | Credential::Absent(AbsentBecause::ResetAtLegacy) => true,
        Credential::Imported(_) | Credential::Absent(AbsentBecause::Roster | AbsentBecause::LeftWithLegacy) => false,
    };
    by_password || known.legacy_vouched_at.is_some()
}

/// The names of both, each once, the first's first; what only one of them knows to be verified or not is kept.
fn both(first: &[Identifier], second: &[Identifier]) -> Vec<Identifier> {
    let mut all = first.to_vec();
    for name in second {
        match all.iter_mut().find(|known| known.normalized == name.normalized) {
            Some(known) => known.verified = known.verified.or(name.verified),
            None => all.push(name.clone()),
        }
    }
    all
}
