//! Conflicts: legacy proved a user under a name that belongs to another one here (R44, R79). Nothing was saved; an operator has
//! to look. The rows are bounded in number, and hold names and ids, never a password or a hash.

use ::redb::ReadableTable;
use uuid::Uuid;

use super::fault::Fault;
use super::record::{BadRecord, Decoder, Encoder};
use super::schema::{Ledger, Snapshot, Tables};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::NormalizedIdentifier;
use crate::domain::proof::LegacyIdentity;
use crate::domain::user::UserId;

/// As many are kept; of more, the oldest are forgotten.
pub const MAX_CONFLICTS: u64 = 10_000;

const FORMAT: u8 = 1;

/// Legacy's word against our record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who holds the name here.
    pub with: UserId,
    /// The id of the user whom legacy proved.
    pub legacy_id: Box<str>,
    /// The names that legacy gave him.
    pub names: Vec<NormalizedIdentifier>,
    /// When it came up first.
    pub first_at: UnixSeconds,
    /// When it last came up.
    pub last_at: UnixSeconds,
    /// How often.
    pub times: u64,
}

/// Writes a conflict down, or that it came up once more.
pub(super) fn record(
    tables: &mut Tables<'_>,
    ledger: &mut Ledger,
    with: UserId,
    proven: &LegacyIdentity,
    at: UnixSeconds,
) -> Result<(), Fault> {
    let pair = pair_key(with, proven.id.as_key());
    let known = tables.conflict_pairs.get(pair.as_slice())?.map(|number| number.value());
    let before = match known {
        Some(number) => tables.conflicts.get(number)?.map(|bytes| decode(bytes.value())).transpose()?,
        None => None,
    };
    let conflict = Conflict {
        with,
        legacy_id: proven.id.as_key().into(),
        names: proven.identifiers.iter().map(|name| name.normalized.clone()).collect(),
        first_at: before.as_ref().map_or(at, |before| before.first_at),
        last_at: at,
        times: before.as_ref().map_or(1, |before| before.times.saturating_add(1)),
    };
    let number = match known {
        Some(number) => number,
        None => {
            if ledger.counts.conflicts >= MAX_CONFLICTS {
                forget_oldest(tables, ledger)?;
            }
            ledger.counts.conflicts += 1;
            ledger.next_conflict += 1;
            ledger.next_conflict
        }
    };
    tables.conflicts.insert(number, encode(&conflict).as_slice())?;
    tables.conflict_pairs.insert(pair.as_slice(), number)?;
    Ok(())
}

fn forget_oldest(tables: &mut Tables<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    let Some((_number, bytes)) = tables.conflicts.pop_first()? else { return Ok(()) };
    let oldest = decode(bytes.value())?;
    drop(bytes);
    tables.conflict_pairs.remove(pair_key(oldest.with, &oldest.legacy_id).as_slice())?;
    ledger.counts.conflicts = ledger.counts.conflicts.saturating_sub(1);
    Ok(())
}

/// The newest conflicts first, at most `limit`.
pub(super) fn newest(snapshot: &Snapshot, limit: usize) -> Result<Vec<Conflict>, Fault> {
    let mut conflicts = Vec::new();
    for row in snapshot.conflicts.iter()?.rev().take(limit) {
        let (_number, bytes) = row?;
        conflicts.push(decode(bytes.value())?);
    }
    Ok(conflicts)
}

fn pair_key(with: UserId, legacy_id: &str) -> Vec<u8> {
    [with.0.as_bytes().as_slice(), legacy_id.as_bytes()].concat()
}

pub(super) fn encode(conflict: &Conflict) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(96));
    out.byte(FORMAT);
    out.0.extend_from_slice(conflict.with.0.as_bytes());
    out.text(&conflict.legacy_id);
    out.number(conflict.first_at.0);
    out.number(conflict.last_at.0);
    out.number(conflict.times);
    out.number(conflict.names.len() as u64);
    for name in &conflict.names {
        out.text(name.as_key());
    }
    out.0
}

pub(super) fn decode(bytes: &[u8]) -> Result<Conflict, BadRecord> {
    let mut input = Decoder(bytes);
    match input.byte("format")? {
        FORMAT => {}
        other => return Err(BadRecord::UnknownFormat(other)),
    }
    let (with, rest) = input.0.split_first_chunk().ok_or(BadRecord::Length("holder"))?;
    input.0 = rest;
    let with = UserId(Uuid::from_bytes(*with));
    let legacy_id = input.text("legacy id")?.into();
    let first_at = UnixSeconds(input.number("first_at")?);
    let last_at = UnixSeconds(input.number("last_at")?);
    let times = input.number("times")?;
    let mut names = Vec::new();
    for _ in 0..input.number("number of names")? {
        names.push(NormalizedIdentifier::from_key(input.text("name")?).ok_or(BadRecord::Value("name"))?);
    }
    if !input.0.is_empty() {
        return Err(BadRecord::Length("end"));
    }
    Ok(Conflict { with, legacy_id, names, first_at, last_at, times })
}
