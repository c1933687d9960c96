//! The bytes of a user's record: a version byte, then the fields in a fixed order, numbers as LEB128. About 250 bytes for a
//! typical user. Knows nothing of tables or transactions; called by [`super::writes`] and [`super::reads`].
//!
//! Disk format and domain type are kept apart: a change of [`User`] does not change what is on disk. Bytes that this version
//! did not write in every detail are refused, never guessed at.

use std::sync::Arc;

use serde_json::{Number, Value};

use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
use crate::domain::identifier::{Identifier, NormalizedIdentifier};
use crate::domain::json;
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use crate::store::SealingKeys;

/// The first byte of every record that this version writes, and the only one that it reads.
const FORMAT: u8 = 1;

/// The largest record, in bytes. Legacy's answers and clients' bodies are bounded well below it.
pub(super) const MAX_RECORD_BYTES: usize = 1 << 20;

/// What is wrong with a record. Names the field, never its content.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRecord {
    /// A newer version wrote it.
    #[error("a record has format {0}, which this version does not know")]
    UnknownFormat(u8),
    /// It ends before, or goes on after, what it should hold.
    #[error("a record is cut short or too long at its {0}")]
    Length(&'static str),
    /// A field holds what was never written there.
    #[error("a record's {0} is none that was ever written")]
    Value(&'static str),
    /// It would be larger than [`MAX_RECORD_BYTES`].
    #[error("a record would be {0} bytes long, over the limit of {MAX_RECORD_BYTES}")]
    TooLarge(usize),
}

/// Reads and writes records.
#[derive(Debug, Clone, Default)]
pub(super) struct Codec {
    sealing: Option<Arc<SealingKeys>>,
}

impl Codec {
    /// With the keys that profiles are sealed with, if they are.
    pub(super) fn new(sealing: Option<Arc<SealingKeys>>) -> Self {
        Self { sealing }
    }

    /// Encodes everything but the id, which is the key.
    pub(super) fn encode(&self, user: &User) -> Result<Vec<u8>, BadRecord> {
        encode(user)
    }

    /// Reads back what [`Self::encode`] gave.
    pub(super) fn decode(&self, id: UserId, bytes: &[u8]) -> Result<User, BadRecord> {
        decode(id, bytes)
    }
}

/// Whether the user of a record may log in, without reading all of it.
pub(super) fn standing_of(bytes: &[u8]) -> Result<Standing, BadRecord> {
    let mut input = Decoder(bytes);
    let _format = input.byte("format")?;
    match input.byte("standing")? {
        0 => Ok(Standing::Active),
        1 => Ok(Standing::Disabled),
        2 => Ok(Standing::Deleted),
        _ => Err(BadRecord::Value("standing")),
    }
}

/// Encodes everything but the id, which is the key.
pub(super) fn encode(user: &User) -> Result<Vec<u8>, BadRecord> {
    let mut out = Encoder(Vec::with_capacity(320));
    out.byte(FORMAT);
    out.byte(match user.standing {
        Standing::Active => 0,
        Standing::Disabled => 1,
        Standing::Deleted => 2,
    });
    out.byte(match user.origin {
        Origin::Migrated => 0,
        Origin::Registered => 1,
        Origin::Imported => 2,
        Origin::Roster => 3,
    });
    encode_credential(&mut out, &user.credential);
    out.number(user.version.0);
    out.number(user.created_at.0);
    out.number(user.updated_at.0);
    out.number(user.legacy_vouched_at.map_or(0, |at| at.0.saturating_add(1)));
    out.number(u64::from(user.normalization_version));
    encode_legacy_id(&mut out, user.legacy_id.as_ref());
    out.number(user.identifiers.len() as u64);
    for alias in &user.identifiers {
        encode_identifier(&mut out, alias);
    }
    out.text(&user.profile.to_string());
    if out.0.len() > MAX_RECORD_BYTES { Err(BadRecord::TooLarge(out.0.len())) } else { Ok(out.0) }
}

/// Reads back what [`encode`] gave.
pub(super) fn decode(id: UserId, bytes: &[u8]) -> Result<User, BadRecord> {
    let mut input = Decoder(bytes);
    match input.byte("format")? {
        FORMAT => {}
        other => return Err(BadRecord::UnknownFormat(other)),
    }
    let standing = match input.byte("standing")? {
        0 => Standing::Active,
        1 => Standing::Disabled,
        2 => Standing::Deleted,
        _ => return Err(BadRecord::Value("standing")),
    };
    let origin = match input.byte("origin")? {
        0 => Origin::Migrated,
        1 => Origin::Registered,
        2 => Origin::Imported,
        3 => Origin::Roster,
        _ => return Err(BadRecord::Value("origin")),
    };
    let credential = decode_credential(&mut input)?;
    let version = Version(input.number("version")?);
    let created_at = UnixSeconds(input.number("created_at")?);
    let updated_at = UnixSeconds(input.number("updated_at")?);
    let legacy_vouched_at = input.number("legacy_vouched_at")?.checked_sub(1).map(UnixSeconds);
    let normalization_version =
        u16::try_from(input.number("normalization_version")?).map_err(|_| BadRecord::Value("normalization_version"))?;
    let legacy_id = decode_legacy_id(&mut input)?;
    let identifiers = decode_identifiers(&mut input)?;
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
        normalization_version,
        version,
    })
}

fn encode_credential(out: &mut Encoder, credential: &Credential) {
    let (kind, hash) = match credential {
        Credential::Argon2id(hash) => (0, Some(hash)),
        Credential::Imported(hash) => (1, Some(hash)),
        Credential::Absent(AbsentBecause::Roster) => (2, None),
        Credential::Absent(AbsentBecause::ResetAtLegacy) => (3, None),
    };
    out.byte(kind);
    if let Some(hash) = hash {
        out.byte(match hash.normalization() {
            PasswordNormalization::None => 0,
            PasswordNormalization::Nfc => 1,
            PasswordNormalization::Nfkc => 2,
        });
        out.text(hash.expose());
    }
}

fn decode_credential(input: &mut Decoder<'_>) -> Result<Credential, BadRecord> {
    match input.byte("credential")? {
        0 => Ok(Credential::Argon2id(decode_hash(input)?)),
        1 => Ok(Credential::Imported(decode_hash(input)?)),
        2 => Ok(Credential::Absent(AbsentBecause::Roster)),
        3 => Ok(Credential::Absent(AbsentBecause::ResetAtLegacy)),
        _ => Err(BadRecord::Value("credential")),
    }
}

fn decode_hash(input: &mut Decoder<'_>) -> Result<StoredHash, BadRecord> {
    let normalization = match input.byte("password normalization")? {
        0 => PasswordNormalization::None,
        1 => PasswordNormalization::Nfc,
        2 => PasswordNormalization::Nfkc,
        _ => return Err(BadRecord::Value("password normalization")),
    };
    Ok(StoredHash::new(input.text("hash")?.to_owned(), normalization))
}

fn encode_legacy_id(out: &mut Encoder, id: Option<&LegacyId>) {
    let Some(id) = id else { return out.byte(0) };
    out.byte(match id.to_json() {
        Value::Number(_) => 2,
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 1,
    });
    out.text(id.as_key());
}

fn decode_legacy_id(input: &mut Decoder<'_>) -> Result<Option<LegacyId>, BadRecord> {
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

fn encode_identifier(out: &mut Encoder, alias: &Identifier) {
    let verified = match alias.verified {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    };
    let canonical = *alias.value == *alias.normalized.text();
    out.byte(verified | if canonical { WRITTEN_CANONICALLY } else { 0 });
    out.text(alias.normalized.as_key());
    if !canonical {
        out.text(&alias.value);
    }
}

fn decode_identifiers(input: &mut Decoder<'_>) -> Result<Vec<Identifier>, BadRecord> {
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

/// Writes the few shapes that records are made of. Shared with [`super::conflicts`].
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Unsigned LEB128: seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// Reads what [`Encoder`] wrote; whatever the bytes are, it neither panics nor reserves memory on their word.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, BadRecord> {
        let (first, rest) = self.0.split_first().ok_or(BadRecord::Length(field))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, BadRecord> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the 64th bit alone, and only the first may end in zero: one number, one encoding.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(BadRecord::Value(field));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadRecord::Value(field))
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, BadRecord> {
        let length = usize::try_from(self.number(field)?).map_err(|_| BadRecord::Length(field))?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(BadRecord::Length(field))?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| BadRecord::Value(field))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::domain::identifier::{IdentifierKind, IdentifierRules};

    fn identifier(kind: IdentifierKind, value: &str, verified: Option<bool>) -> Identifier {
        IdentifierRules::default().identifier(kind, value, verified).expect("a valid identifier")
    }

    fn typical() -> User {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$\
                    aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        User {
            id: UserId(Uuid::from_u128(7)),
            legacy_id: LegacyId::from_json(&json!(4_711)),
            identifiers: vec![
                identifier(IdentifierKind::Email, "Alice@example.com", Some(true)),
                identifier(IdentifierKind::Username, "alice", None),
            ],
            profile: json!({"id": 4_711, "email": "Alice@example.com", "name": "Alice Example", "roles": ["user"]}),
            credential: Credential::Argon2id(StoredHash::new(hash.to_owned(), PasswordNormalization::Nfkc)),
            standing: Standing::Active,
            origin: Origin::Migrated,
            created_at: UnixSeconds(1_790_000_000),
            updated_at: UnixSeconds(1_790_000_123),
            legacy_vouched_at: Some(UnixSeconds(1_790_000_123)),
            normalization_version: 1,
            version: Version(300),
        }
    }

    fn sameness(user: &User) -> String {
        let hash = match &user.credential {
            Credential::Argon2id(hash) | Credential::Imported(hash) => {
                format!("{} {} {:?}", user.credential.kind(), hash.expose(), hash.normalization())
            }
            Credential::Absent(because) => format!("{because:?}"),
        };
        format!(
            "{} {:?} {:?} {:?} {hash} {:?} {:?} {:?} {:?} {:?} {} {:?}",
            user.id,
            user.legacy_id,
            user.identifiers,
            user.profile,
            user.standing,
            user.origin,
            user.created_at,
            user.updated_at,
            user.legacy_vouched_at,
            user.normalization_version,
            user.version
        )
    }

    #[test]
    fn a_typical_record_is_read_back_and_stays_under_300_bytes() {
        let user = typical();
        let bytes = encode(&user).expect("small enough");
        assert!(bytes.len() < 300, "{} bytes", bytes.len());
        assert_eq!(sameness(&decode(user.id, &bytes).expect("a record")), sameness(&user));
    }

    #[test]
    fn every_variant_is_read_back() {
        for standing in [Standing::Active, Standing::Disabled, Standing::Deleted] {
            for origin in Origin::ALL {
                for normalization in
                    [PasswordNormalization::None, PasswordNormalization::Nfc, PasswordNormalization::Nfkc]
                {
                    let hash = || StoredHash::new("$2b$10$x".to_owned(), normalization);
                    for credential in [
                        Credential::Argon2id(hash()),
                        Credential::Imported(hash()),
                        Credential::Absent(AbsentBecause::Roster),
                        Credential::Absent(AbsentBecause::ResetAtLegacy),
                    ] {
                        let user = User { standing, origin, credential, ..typical() };
                        let bytes = encode(&user).expect("small enough");
                        assert_eq!(sameness(&decode(user.id, &bytes).expect("a record")), sameness(&user));
                    }
                }
            }
        }
        for legacy_id in [None, LegacyId::from_json(&json!("4711")), LegacyId::from_json(&json!(-5))] {
            for legacy_vouched_at in [None, Some(UnixSeconds(0))] {
                let user = User { legacy_id: legacy_id.clone(), legacy_vouched_at, ..typical() };
                let bytes = encode(&user).expect("small enough");
                assert_eq!(sameness(&decode(user.id, &bytes).expect("a record")), sameness(&user));
            }
        }
    }

    #[test]
    fn a_profile_is_read_back_whatever_its_keys_are() {
        let profile =
            json!({"$serde_json::private::RawValue": "not json", "in": [{"$serde_json::private::Number": 1}]});
        let user = User { profile, ..typical() };
        let bytes = encode(&user).expect("small enough");
        assert_eq!(sameness(&decode(user.id, &bytes).expect("a record")), sameness(&user));
    }

    #[test]
    fn a_record_of_a_later_format_is_refused() {
        let mut bytes = encode(&typical()).expect("small enough");
        if let Some(first) = bytes.first_mut() {
            *first = FORMAT + 1;
        }
        assert!(matches!(decode(UserId(Uuid::nil()), &bytes), Err(BadRecord::UnknownFormat(2))));
    }

    #[test]
    fn a_record_cut_short_or_with_something_after_it_is_refused() {
        let mut bytes = encode(&typical()).expect("small enough");
        for length in 0..bytes.len() {
            assert!(decode(UserId(Uuid::nil()), &bytes[..length]).is_err(), "{length} bytes");
        }
        bytes.push(0);
        assert!(decode(UserId(Uuid::nil()), &bytes).is_err());
    }

    #[test]
    fn a_record_over_the_limit_is_not_written() {
        let user = User { profile: json!("x".repeat(MAX_RECORD_BYTES)), ..typical() };
        assert!(matches!(encode(&user), Err(BadRecord::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_decoding_them_neither_panics_nor_accepts_two_forms(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(user) = decode(UserId(Uuid::nil()), &bytes) {
                prop_assert_eq!(decode(user.id, &encode(&user).expect("small enough")).map(|u| sameness(&u)).ok(),
                    Some(sameness(&user)));
            }
        }

        #[test]
        fn a_damaged_byte_is_refused_or_gives_a_record_that_can_be_written(at in 0_usize..250, xor in 1_u8..) {
            let mut bytes = encode(&typical()).expect("small enough");
            let at = at % bytes.len();
            bytes[at] ^= xor;
            if let Ok(user) = decode(UserId(Uuid::nil()), &bytes) {
                prop_assert!(encode(&user).is_ok());
            }
        }

        #[test]
        fn numbers_are_read_back(number: u64) {
            let mut out = Encoder(Vec::new());
            out.number(number);
            let mut input = Decoder(&out.0);
            prop_assert_eq!(input.number("number").ok(), Some(number));
            prop_assert!(input.0.is_empty());
        }
    }
}
