//! The bytes of a user's record. About 200 for a typical user. Knows nothing of tables or transactions; called by the files that
//! read and write users.
//!
//! ```text
//! 2 | 3 bytes of flags | version, times, legacy id, roster | hash | names, canonical | personal
//!                                                                                       plain, or key id, nonce, ciphertext
//! ```
//!
//! *Personal* is what nobody is looked up by: the profile, and how names were written where that differs from their canonical
//! form. It may be sealed ([`crate::store::sealing`]), bound to the user's id, so that two users' cannot be exchanged unseen.
//!
//! Disk format and domain type are kept apart: a change of [`User`] does not change what is on disk. Every value has one encoding,
//! and bytes that this version did not write in every detail are refused, never guessed at. Records of format 1 are read
//! ([`first`]) and become records of format 2 when they change.

mod first;
mod hash;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use self::hash::Parts;
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
use crate::domain::identifier::{Identifier, IdentifierKind, NormalizedIdentifier};
use crate::domain::json;
use crate::domain::password::PasswordNormalization;
use crate::domain::portable::PortableRoster;
use crate::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use crate::store::sealing::{NONCE_BYTES, Sealer, SealingKeys, TAG_BYTES};

pub(super) use self::wire::{BadRecord, Decoder, Encoder, MAX_RECORD_BYTES};

/// The first byte of every record that this version writes.
const FORMAT: u8 = 2;

/// What a sealed part is about, besides whose it is: nothing else that is ever sealed with the same key begins so.
const PURPOSE: &[u8; 27] = b"authferry record: personal\0";

/// Reads and writes records.
#[derive(Debug, Clone, Default)]
pub(super) struct Codec {
    sealing: Option<Arc<SealingKeys>>,
}

/// Which keys a record needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NeededKeys {
    /// To be read.
    pub(super) seal: Option<String>,
    /// So that its hash can be verified.
    pub(super) pepper: Option<String>,
}

impl Codec {
    /// With the keys that profiles are sealed with, if they are.
    pub(super) fn new(sealing: Option<Arc<SealingKeys>>) -> Self {
        Self { sealing }
    }

    /// Encodes everything but the id, which is the key.
    pub(super) fn encode(&self, user: &User) -> Result<Vec<u8>, BadRecord> {
        let sealer = self.sealing.as_deref().and_then(SealingKeys::sealer);
        let mut out = Encoder(Vec::with_capacity(320));
        encode_head(&mut out, user, sealer.is_some(), user.version);
        let Some(sealer) = sealer else {
            encode_personal(&mut out, user);
            return within_limit(out.0);
        };
        let mut personal = Encoder(Vec::with_capacity(320));
        encode_personal(&mut personal, user);
        encode_sealed(&mut out, sealer, Zeroizing::new(personal.0), user.id)?;
        within_limit(out.0)
    }

    /// The same without what is known only when it is written - the id and the version - so that it can be made ahead, on any thread.
    /// Appends it, and gives where what is personal begins in `out`; [`Self::finish`] makes the record of both parts.
    pub(super) fn draft(&self, user: &User, out: &mut Vec<u8>) -> usize {
        let sealed = self.sealing.as_deref().and_then(SealingKeys::sealer).is_some();
        let mut encoder = Encoder(std::mem::take(out));
        encode_head(&mut encoder, user, sealed, Version(0));
        let personal = encoder.0.len();
        encode_personal(&mut encoder, user);
        *out = encoder.0;
        personal
    }

    /// Puts into `out`, instead of what is there, the record of a user whose parts [`Self::draft`] made with these keys.
    pub(super) fn finish(
        &self,
        (head, personal): (&[u8], &[u8]),
        id: UserId,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), BadRecord> {
        let (flags, rest) = head.split_at_checked(VERSION_AT).ok_or(BadRecord::Length("version"))?;
        let (_no_version, rest) = rest.split_first().ok_or(BadRecord::Length("version"))?;
        out.clear();
        let mut encoder = Encoder(std::mem::take(out));
        encoder.0.extend_from_slice(flags);
        encoder.number(version.0);
        encoder.0.extend_from_slice(rest);
        match self.sealing.as_deref().and_then(SealingKeys::sealer) {
            None => encoder.0.extend_from_slice(personal),
            Some(sealer) => {
                let personal = Zeroizing::new(personal.to_vec());
                encode_sealed(&mut encoder, sealer, personal, id)?;
            }
        }
        *out = encoder.0;
        if out.len() > MAX_RECORD_BYTES { Err(BadRecord::TooLarge(out.len())) } else { Ok(()) }
    }

    /// Reads back what [`Self::encode`] gave, or the first release wrote.
    pub(super) fn decode(&self, id: UserId, bytes: &[u8]) -> Result<User, BadRecord> {
        let mut input = Decoder(bytes);
        match input.byte("format")? {
            first::FORMAT => return first::decode(id, &mut input),
            FORMAT => {}
            other => return Err(BadRecord::UnknownFormat(other)),
        }
        let head = Head::decode(&mut input)?;
        if !head.sealed {
            return head.with_personal(id, input.rest());
        }
        let (key, nonce, sealed) = decode_sealed(&mut input)?;
        let keys = self.sealing.as_deref().ok_or(BadRecord::NotOpened)?;
        let personal = keys.open(key, nonce, sealed, &about(id)).map_err(|_| BadRecord::NotOpened)?;
        head.with_personal(id, &personal)
    }

    /// A record as it would be written now: in this format, sealed with today's key or not at all. `None` if it is that already.
    pub(super) fn renewed(&self, id: UserId, bytes: &[u8]) -> Result<Option<Vec<u8>>, BadRecord> {
        let current = self.sealing.as_deref().and_then(SealingKeys::sealer).map(|sealer| sealer.id().as_str());
        if bytes.first() == Some(&FORMAT) && needed_keys(bytes)?.seal.as_deref() == current {
            return Ok(None);
        }
        self.encode(&self.decode(id, bytes)?).map(Some)
    }
}

fn about(id: UserId) -> [u8; PURPOSE.len() + 16] {
    let mut about = [0; PURPOSE.len() + 16];
    let (purpose, whose) = about.split_at_mut(PURPOSE.len());
    purpose.copy_from_slice(PURPOSE);
    whose.copy_from_slice(id.0.as_bytes());
    about
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, BadRecord> {
    if bytes.len() > MAX_RECORD_BYTES { Err(BadRecord::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Whether the user of a record may log in, without reading all of it.
pub(super) fn standing_of(bytes: &[u8]) -> Result<Standing, BadRecord> {
    let mut input = Decoder(bytes);
    match input.byte("format")? {
        first::FORMAT => first::standing(&mut input),
        FORMAT => standing(input.byte("standing")?),
        other => Err(BadRecord::UnknownFormat(other)),
    }
}

/// Which keys a record needs, without having them.
pub(super) fn needed_keys(bytes: &[u8]) -> Result<NeededKeys, BadRecord> {
    let mut input = Decoder(bytes);
    let (seal, credential) = match input.byte("format")? {
        first::FORMAT => (None, first::decode(UserId(uuid::Uuid::nil()), &mut input)?.credential),
        FORMAT => {
            let head = Head::decode(&mut input)?;
            let seal = if head.sealed { Some(decode_sealed(&mut input)?.0.to_owned()) } else { None };
            (seal, head.credential)
        }
        other => return Err(BadRecord::UnknownFormat(other)),
    };
    let pepper = match &credential {
        Credential::Argon2id(hash) | Credential::Imported(hash) => hash::key_id_of(hash.expose()),
        Credential::Absent(_) => None,
    };
    Ok(NeededKeys { seal, pepper })
}

// ---------------------------------------------------------------------------------------------------------------- flags

// First byte of flags, two bits each.
const STANDING: u8 = 0;
const ORIGIN: u8 = 2;
const CREDENTIAL: u8 = 4;
const NORMALIZATION: u8 = 6;

/// Of somebody on a list, in the place of his hash's normalization: it was left with legacy. Earlier versions refuse such a record.
const LEFT_WITH_LEGACY: u8 = 1;

// Second byte: legacy's id and its last word two bits each, then single bits.
const LEGACY_ID: u8 = 0;
const VOUCHED: u8 = 2;
const UPDATED_WHEN_CREATED: u8 = 1 << 4;
const ROSTER: u8 = 1 << 5;
const ROSTER_SEEN: u8 = 1 << 6;
const ROSTER_VALUE: u8 = 1 << 7;

// Third byte.
const HASH_IN_PARTS: u8 = 1 << 0;
const SEALED: u8 = 1 << 1;

// How legacy's id is kept.
const NO_LEGACY_ID: u8 = 0;
const TEXT_ID: u8 = 1;
const NUMBER_ID: u8 = 2;
const NEGATIVE_ID: u8 = 3;

// When legacy vouched for the user.
const NEVER: u8 = 0;
const WHEN_UPDATED: u8 = 1;
const AT_ANOTHER_TIME: u8 = 2;

// Flags of an identifier: whether it is verified and its kind two bits each.
const VERIFIED: u8 = 0;
const KIND: u8 = 2;
const WRITTEN_OTHERWISE: u8 = 1 << 4;

fn two_bits(byte: u8, at: u8) -> u8 {
    byte >> at & 0b11
}

fn standing(flags: u8) -> Result<Standing, BadRecord> {
    match two_bits(flags, STANDING) {
        0 => Ok(Standing::Active),
        1 => Ok(Standing::Disabled),
        2 => Ok(Standing::Deleted),
        _ => Err(BadRecord::Value("standing")),
    }
}

// -------------------------------------------------------------------------------------------------------------- writing

/// The format and three bytes of flags come before the version.
const VERSION_AT: usize = 4;

fn encode_head(out: &mut Encoder, user: &User, sealed: bool, version: Version) {
    let standing = match user.standing {
        Standing::Active => 0,
        Standing::Disabled => 1,
        Standing::Deleted => 2,
    };
    let origin = match user.origin {
        Origin::Migrated => 0,
        Origin::Registered => 1,
        Origin::Imported => 2,
        Origin::Roster => 3,
    };
    let (credential, hash) = match &user.credential {
        Credential::Argon2id(hash) => (0, Some(hash)),
        Credential::Imported(hash) => (1, Some(hash)),
        Credential::Absent(AbsentBecause::Roster | AbsentBecause::LeftWithLegacy) => (2, None),
        Credential::Absent(AbsentBecause::ResetAtLegacy) => (3, None),
    };
    let normalization = match &user.credential {
        Credential::Argon2id(hash) | Credential::Imported(hash) => match hash.normalization() {
            PasswordNormalization::None => 0,
            PasswordNormalization::Nfc => 1,
            PasswordNormalization::Nfkc => 2,
        },
        Credential::Absent(AbsentBecause::LeftWithLegacy) => LEFT_WITH_LEGACY,
        Credential::Absent(AbsentBecause::Roster | AbsentBecause::ResetAtLegacy) => 0,
    };
    let (id_kind, id_number) = legacy_id_parts(user.legacy_id.as_ref());
    let vouched = match user.legacy_vouched_at {
        None => NEVER,
        Some(at) if at == user.updated_at => WHEN_UPDATED,
        Some(_) => AT_ANOTHER_TIME,
    };
    let updated_when_created = user.updated_at == user.created_at;
    let roster = user.roster.as_ref();
    let seen = roster.and_then(|roster| roster.last_seen);
    let value = roster.and_then(|roster| roster.value);
    let parts = hash.and_then(|hash| Parts::of(hash.expose()));
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };

    out.byte(FORMAT);
    out.byte(standing << STANDING | origin << ORIGIN | credential << CREDENTIAL | normalization << NORMALIZATION);
    out.byte(
        id_kind << LEGACY_ID
            | vouched << VOUCHED
            | flag(updated_when_created, UPDATED_WHEN_CREATED)
            | flag(roster.is_some(), ROSTER)
            | flag(seen.is_some(), ROSTER_SEEN)
            | flag(value.is_some(), ROSTER_VALUE),
    );
    out.byte(flag(parts.is_some(), HASH_IN_PARTS) | flag(sealed, SEALED));
    out.number(version.0);
    out.number(user.normalization_version.into());
    out.number(user.created_at.0);
    if !updated_when_created {
        out.number(user.updated_at.0);
    }
    if let (AT_ANOTHER_TIME, Some(at)) = (vouched, user.legacy_vouched_at) {
        out.number(at.0);
    }
    match (&user.legacy_id, id_number) {
        (Some(_), Some(number)) => out.number(number),
        (Some(id), None) => out.text(id.as_key()),
        (None, _) => {}
    }
    seen.inspect(|at| out.number(at.0));
    value.inspect(|value| out.number(*value));
    match (&parts, hash) {
        (Some(parts), _) => parts.encode(out),
        (None, Some(hash)) => out.text(hash.expose()),
        (None, None) => {}
    }
    out.number(user.identifiers.len() as u64);
    for alias in &user.identifiers {
        let verified = match alias.verified {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let kind = match alias.normalized.kind() {
            IdentifierKind::Email => 0,
            IdentifierKind::Username => 1,
            IdentifierKind::Phone => 2,
        };
        out.byte(verified << VERIFIED | kind << KIND | flag(is_written_otherwise(alias), WRITTEN_OTHERWISE));
        out.text(alias.normalized.text());
    }
}

/// How legacy's id is kept, and its number if it is kept as one.
fn legacy_id_parts(id: Option<&LegacyId>) -> (u8, Option<u64>) {
    let Some(id) = id else { return (NO_LEGACY_ID, None) };
    let Value::Number(number) = id.to_json() else { return (TEXT_ID, None) };
    match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => (NUMBER_ID, Some(number)),
        // -1 is 0, -2 is 1.
        (None, Some(number)) => (NEGATIVE_ID, Some(!number as u64)),
        (None, None) => (TEXT_ID, None),
    }
}

fn is_written_otherwise(alias: &Identifier) -> bool {
    *alias.value != *alias.normalized.text()
}

fn encode_sealed(
    out: &mut Encoder,
    sealer: Sealer<'_>,
    personal: Zeroizing<Vec<u8>>,
    id: UserId,
) -> Result<(), BadRecord> {
    let sealed = sealer.seal(personal, &about(id)).map_err(|_| BadRecord::NotSealed)?;
    out.text(sealer.id().as_str());
    out.0.extend_from_slice(&sealed.nonce);
    out.0.extend_from_slice(&sealed.bytes);
    Ok(())
}

fn encode_personal(out: &mut Encoder, user: &User) {
    for alias in user.identifiers.iter().filter(|alias| is_written_otherwise(alias)) {
        out.text(&alias.value);
    }
    // A value has string keys only, and a buffer takes everything.
    let _never_fails = serde_json::to_writer(&mut out.0, &user.profile);
}

// -------------------------------------------------------------------------------------------------------------- reading

/// Everything but what is personal.
struct Head {
    sealed: bool,
    standing: Standing,
    origin: Origin,
    credential: Credential,
    version: Version,
    normalization_version: u16,
    created_at: UnixSeconds,
    updated_at: UnixSeconds,
    legacy_vouched_at: Option<UnixSeconds>,
    legacy_id: Option<LegacyId>,
    roster: Option<PortableRoster>,
    names: Vec<Name>,
}

/// An identifier whose written form, if it is another one, is among what is personal.
struct Name {
    normalized: NormalizedIdentifier,
    verified: Option<bool>,
    written_otherwise: bool,
}

impl Head {
    /// Reads it; the format has been read.
    fn decode(input: &mut Decoder<'_>) -> Result<Self, BadRecord> {
        let (first, second, third) = (input.byte("flags")?, input.byte("flags")?, input.byte("flags")?);
        if third & !(HASH_IN_PARTS | SEALED) != 0 {
            return Err(BadRecord::Value("flags"));
        }
        let origin = match two_bits(first, ORIGIN) {
            0 => Origin::Migrated,
            1 => Origin::Registered,
            2 => Origin::Imported,
            _ => Origin::Roster,
        };
        let version = Version(input.number("version")?);
        let normalization_version = input.narrow("normalization_version")?;
        let created_at = UnixSeconds(input.number("created_at")?);
        let updated_at =
            if second & UPDATED_WHEN_CREATED != 0 { created_at } else { another(input, "updated_at", created_at)? };
        let legacy_vouched_at = match two_bits(second, VOUCHED) {
            NEVER => None,
            WHEN_UPDATED => Some(updated_at),
            AT_ANOTHER_TIME => Some(another(input, "legacy_vouched_at", updated_at)?),
            _ => return Err(BadRecord::Value("legacy_vouched_at")),
        };
        Ok(Self {
            sealed: third & SEALED != 0,
            standing: standing(first)?,
            origin,
            version,
            normalization_version,
            created_at,
            updated_at,
            legacy_vouched_at,
            legacy_id: decode_legacy_id(input, two_bits(second, LEGACY_ID))?,
            roster: decode_roster(input, second)?,
            credential: decode_credential(input, first, third & HASH_IN_PARTS != 0)?,
            names: decode_names(input)?,
        })
    }

    fn with_personal(self, id: UserId, personal: &[u8]) -> Result<User, BadRecord> {
        let mut input = Decoder(personal);
        let mut identifiers = Vec::with_capacity(self.names.len());
        for Name { normalized, verified, written_otherwise } in self.names {
            let value = if written_otherwise { input.text("identifier")? } else { normalized.text() };
            if written_otherwise && value == normalized.text() {
                return Err(BadRecord::Value("identifier"));
            }
            identifiers.push(Identifier { value: value.into(), normalized, verified });
        }
        let profile = json::from_slice(input.rest()).map_err(|_not_shown| BadRecord::Value("profile"))?;
        Ok(User {
            id,
            legacy_id: self.legacy_id,
            identifiers,
            profile,
            credential: self.credential,
            standing: self.standing,
            origin: self.origin,
            created_at: self.created_at,
            updated_at: self.updated_at,
            legacy_vouched_at: self.legacy_vouched_at,
            roster: self.roster,
            normalization_version: self.normalization_version,
            version: self.version,
        })
    }
}

/// A time that is not the one for which there is a flag.
fn another(input: &mut Decoder<'_>, field: &'static str, flagged: UnixSeconds) -> Result<UnixSeconds, BadRecord> {
    let time = UnixSeconds(input.number(field)?);
    if time == flagged { Err(BadRecord::Value(field)) } else { Ok(time) }
}

fn decode_legacy_id(input: &mut Decoder<'_>, kind: u8) -> Result<Option<LegacyId>, BadRecord> {
    let json = match kind {
        NO_LEGACY_ID => return Ok(None),
        TEXT_ID => Value::from(input.text("legacy id")?),
        NUMBER_ID => Value::from(input.number("legacy id")?),
        _ => Value::from(!input.narrow::<i64>("legacy id")?),
    };
    LegacyId::from_json(&json).map(Some).ok_or(BadRecord::Value("legacy id"))
}

fn decode_roster(input: &mut Decoder<'_>, flags: u8) -> Result<Option<PortableRoster>, BadRecord> {
    if flags & ROSTER == 0 {
        let nothing_more = flags & (ROSTER_SEEN | ROSTER_VALUE) == 0;
        return if nothing_more { Ok(None) } else { Err(BadRecord::Value("roster")) };
    }
    let mut number = |flag| if flags & flag == 0 { Ok(None) } else { input.number("roster").map(Some) };
    let last_seen = number(ROSTER_SEEN)?.map(UnixSeconds);
    Ok(Some(PortableRoster { last_seen, value: number(ROSTER_VALUE)? }))
}

fn decode_credential(input: &mut Decoder<'_>, flags: u8, in_parts: bool) -> Result<Credential, BadRecord> {
    let normalization = match two_bits(flags, NORMALIZATION) {
        0 => PasswordNormalization::None,
        1 => PasswordNormalization::Nfc,
        2 => PasswordNormalization::Nfkc,
        _ => return Err(BadRecord::Value("password normalization")),
    };
    let mut hash = || {
        if in_parts {
            return Ok(StoredHash::new(std::mem::take(&mut *Parts::decode(input)?), normalization));
        }
        let text = input.text("hash")?;
        // Such a text is kept in parts.
        if Parts::of(text).is_some() {
            Err(BadRecord::Value("hash"))
        } else {
            Ok(StoredHash::new(text.to_owned(), normalization))
        }
    };
    let absent = |because| {
        let nothing_more = !in_parts && normalization == PasswordNormalization::None;
        if nothing_more { Ok(Credential::Absent(because)) } else { Err(BadRecord::Value("credential")) }
    };
    match two_bits(flags, CREDENTIAL) {
        0 => hash().map(Credential::Argon2id),
        1 => hash().map(Credential::Imported),
        2 if !in_parts && two_bits(flags, NORMALIZATION) == LEFT_WITH_LEGACY => {
            Ok(Credential::Absent(AbsentBecause::LeftWithLegacy))
        }
        2 => absent(AbsentBecause::Roster),
        _ => absent(AbsentBecause::ResetAtLegacy),
    }
}

fn decode_names(input: &mut Decoder<'_>) -> Result<Vec<Name>, BadRecord> {
    let count = input.number("number of identifiers")?;
    // No capacity is reserved: the number is not to be believed before its elements are there.
    let mut names = Vec::new();
    let mut key = String::new();
    for _ in 0..count {
        let flags = input.byte("identifier")?;
        if flags & !(0b11 << VERIFIED | 0b11 << KIND | WRITTEN_OTHERWISE) != 0 {
            return Err(BadRecord::Value("identifier"));
        }
        let verified = match two_bits(flags, VERIFIED) {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return Err(BadRecord::Value("identifier")),
        };
        let kind = match two_bits(flags, KIND) {
            0 => IdentifierKind::Email,
            1 => IdentifierKind::Username,
            2 => IdentifierKind::Phone,
            _ => return Err(BadRecord::Value("identifier")),
        };
        key.clear();
        key.push_str(kind.key_prefix());
        key.push_str(input.text("identifier")?);
        let normalized = NormalizedIdentifier::from_key(&key).ok_or(BadRecord::Value("identifier"))?;
        names.push(Name { normalized, verified, written_otherwise: flags & WRITTEN_OTHERWISE != 0 });
    }
    Ok(names)
}

type SealedPart<'a> = (&'a str, [u8; NONCE_BYTES], &'a [u8]);

fn decode_sealed<'a>(input: &mut Decoder<'a>) -> Result<SealedPart<'a>, BadRecord> {
    let key = input.text("sealing key")?;
    let nonce = input.array("nonce")?;
    let sealed = input.rest();
    if sealed.len() < TAG_BYTES { Err(BadRecord::Length("sealed part")) } else { Ok((key, nonce, sealed)) }
}
