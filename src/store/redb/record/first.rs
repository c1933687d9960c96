//! Records of format 1, as the first release wrote them: read, never written. Each becomes one of today's when it changes next.

use serde_json::{Number, Value};

use super::wire::{BadRecord, Decoder};
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
use crate::domain::identifier::{Identifier, NormalizedIdentifier};
use crate::domain::json;
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};

/// Its first byte.
pub(super) const FORMAT: u8 = 1;

/// Reads a record whose first byte was [`FORMAT`].
pub(super) fn decode(id: UserId, input: &mut Decoder<'_>) -> Result<User, BadRecord> {
    let standing = standing(input)?;
    let origin = match input.byte("origin")? {
        0 => Origin::Migrated,
        1 => Origin::Registered,
        2 => Origin::Imported,
        3 => Origin::Roster,
        _ => return Err(BadRecord::Value("origin")),
    };
    let credential = credential(input)?;
    let version = Version(input.number("version")?);
    let created_at = UnixSeconds(input.number("created_at")?);
    let updated_at = UnixSeconds(input.number("updated_at")?);
    let legacy_vouched_at = input.number("legacy_vouched_at")?.checked_sub(1).map(UnixSeconds);
    let normalization_version = input.narrow("normalization_version")?;
    let legacy_id = legacy_id(input)?;
    let identifiers = identifiers(input)?;
    let profile =
        json::from_slice(input.text("profile")?.as_bytes()).map_err(|_not_shown| BadRecord::Value("profile"))?;
    if !input.0.is_empty() {
        return Err(BadRecord::Length("end"));
    }
    Ok(User {
        id,
        legacy_id,
        identifiers,
        profile,
        credential,
        standing,
        origin,
        created_at,
        updated_at,
        legacy_vouched_at,
        roster: None,
        normalization_version,
        version,
    })
}

pub(super) fn standing(input: &mut Decoder<'_>) -> Result<Standing, BadRecord> {
    match input.byte("standing")? {
        0 => Ok(Standing::Active),
        1 => Ok(Standing::Disabled),
        2 => Ok(Standing::Deleted),
        _ => Err(BadRecord::Value("standing")),
    }
}

fn credential(input: &mut Decoder<'_>) -> Result<Credential, BadRecord> {
    match input.byte("credential")? {
        0 => Ok(Credential::Argon2id(hash(input)?)),
        1 => Ok(Credential::Imported(hash(input)?)),
        2 => Ok(Credential::Absent(AbsentBecause::Roster)),
        3 => Ok(Credential::Absent(AbsentBecause::ResetAtLegacy)),
        _ => Err(BadRecord::Value("credential")),
    }
}

fn hash(input: &mut Decoder<'_>) -> Result<StoredHash, BadRecord> {
    let normalization = match input.byte("password normalization")? {
        0 => PasswordNormalization::None,
        1 => PasswordNormalization::Nfc,
        2 => PasswordNormalization::Nfkc,
        _ => return Err(BadRecord::Value("password normalization")),
    };
    Ok(StoredHash::new(input.text("hash")?.to_owned(), normalization))
}

fn legacy_id(input: &mut Decoder<'_>) -> Result<Option<LegacyId>, BadRecord> {
    let json = match input.byte("legacy id")? {
        0 => return Ok(None),
        1 => Value::String(input.text("legacy id")?.to_owned()),
        2 => {
            let number: Result<Number, _> = serde_json::from_str(input.text("legacy id")?);
            Value::Number(number.map_err(|_not_shown| BadRecord::Value("legacy id"))?)
        }
        _ => return Err(BadRecord::Value("legacy id")),
    };
    LegacyId::from_json(&json).map(Some).ok_or(BadRecord::Value("legacy id"))
}

/// The bit that says that an alias was written in its canonical form, so that it is kept once.
const WRITTEN_CANONICALLY: u8 = 0b100;

fn identifiers(input: &mut Decoder<'_>) -> Result<Vec<Identifier>, BadRecord> {
    let count = input.number("number of identifiers")?;
    // No capacity is reserved: the number is not to be believed before its elements are there.
    let mut identifiers = Vec::new();
    for _ in 0..count {
        let flags = input.byte("identifier")?;
        let verified = match flags & !WRITTEN_CANONICALLY {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return Err(BadRecord::Value("identifier")),
        };
        let normalized =
            NormalizedIdentifier::from_key(input.text("identifier")?).ok_or(BadRecord::Value("identifier"))?;
        let value = if flags & WRITTEN_CANONICALLY == 0 { input.text("identifier")? } else { normalized.text() };
        identifiers.push(Identifier { value: value.into(), normalized, verified });
    }
    Ok(identifiers)
}
