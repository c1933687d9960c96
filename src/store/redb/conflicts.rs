//! Conflicts: legacy proved a user under a name that belongs to another one here (R44, R79). Nothing was saved; an operator has
//! to look. The rows are bounded in number, and hold names and ids, never a password or a hash.
//!
//! What an operator decides is done by [`super::people`]; here is how rows are written, counted and found. Only those that are
//! not decided are counted.

use ::redb::{ReadableTable, ReadableTableMetadata};
use uuid::Uuid;

use super::fault::Fault;
use super::record::{BadRecord, Decoder, Encoder};
use super::schema::{Ledger, Snapshot, Tables};
use crate::domain::clock::UnixSeconds;
use crate::domain::conflict::{Conflict, Decided, Decision};
use crate::domain::identifier::NormalizedIdentifier;
use crate::domain::proof::LegacyIdentity;
use crate::domain::user::{User, UserId};
use crate::service::ports::ConflictQuery;

/// As many are kept; of more, the oldest are forgotten.
pub const MAX_CONFLICTS: u64 = 10_000;

/// Of one that nobody has decided.
const FORMAT: u8 = 1;
/// The same, and at its end what was decided and when.
const FORMAT_DECIDED: u8 = 2;

/// Whether an operator has decided a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Decided,
}

/// Writes a conflict down, or that it came up once more. What was decided stays decided, but for names that were given: what comes
/// up after that is another matter.
pub(super) fn record(
    tables: &mut Tables<'_>,
    ledger: &mut Ledger,
    with: UserId,
    proven: &LegacyIdentity,
    at: UnixSeconds,
) -> Result<State, Fault> {
    let pair = pair_key(with, proven.id.as_key());
    let known = tables.conflict_pairs.get(pair.as_slice())?.map(|number| number.value());
    let before = match known {
        Some(number) => find(&tables.conflicts, number)?,
        None => None,
    };
    let decided = before.as_ref().and_then(|before| before.decided);
    let standing = decided.filter(|decided| decided.decision.is_standing());
    let number = match known {
        Some(number) => {
            ledger.counts.conflicts += u64::from(decided.is_some() && standing.is_none());
            number
        }
        None => {
            if tables.conflicts.len()? >= MAX_CONFLICTS {
                forget_oldest(tables, ledger)?;
            }
            ledger.counts.conflicts += 1;
            ledger.next_conflict += 1;
            ledger.next_conflict
        }
    };
    let conflict = Conflict {
        number,
        with,
        legacy_id: proven.id.as_key().into(),
        names: proven.identifiers.iter().map(|name| name.normalized.clone()).collect(),
        first_at: before.as_ref().map_or(at, |before| before.first_at),
        last_at: at,
        times: before.as_ref().map_or(1, |before| before.times.saturating_add(1)),
        decided: standing,
    };
    tables.conflicts.insert(number, encode(&conflict).as_slice())?;
    tables.conflict_pairs.insert(pair.as_slice(), number)?;
    Ok(if conflict.decided.is_some() { State::Decided } else { State::Open })
}

/// Remembers what an operator decided.
pub(super) fn decide(
    tables: &mut Tables<'_>,
    ledger: &mut Ledger,
    mut conflict: Conflict,
    decision: Decision,
    at: UnixSeconds,
) -> Result<(), Fault> {
    if conflict.decided.is_none() {
        ledger.counts.conflicts = ledger.counts.conflicts.saturating_sub(1);
    }
    conflict.decided = Some(Decided { decision, at });
    tables.conflicts.insert(conflict.number, encode(&conflict).as_slice())?;
    Ok(())
}

/// Forgets a conflict: it is over.
pub(super) fn remove(tables: &mut Tables<'_>, ledger: &mut Ledger, conflict: &Conflict) -> Result<(), Fault> {
    tables.conflicts.remove(conflict.number)?;
    tables.conflict_pairs.remove(pair_key(conflict.with, &conflict.legacy_id).as_slice())?;
    if conflict.decided.is_none() {
        ledger.counts.conflicts = ledger.counts.conflicts.saturating_sub(1);
    }
    Ok(())
}

/// Forgets those conflicts of a holder that were about these names and about none that he still has, but for what was given: that is
/// kept to be looked up.
pub(super) fn remove_moot(
    tables: &mut Tables<'_>,
    ledger: &mut Ledger,
    holder: &User,
    gone: &[NormalizedIdentifier],
) -> Result<(), Fault> {
    for number in numbers_of(tables, holder.id)? {
        let Some(conflict) = find(&tables.conflicts, number)? else { continue };
        let was_about = conflict.names.iter().any(|name| gone.contains(name));
        let is_standing = conflict.decided.is_none_or(|decided| decided.decision.is_standing());
        if is_standing && was_about && !conflict.names.iter().any(|name| holder.bears(name)) {
            remove(tables, ledger, &conflict)?;
        }
    }
    Ok(())
}

/// Forgets every conflict of a holder who is about to be forgotten.
pub(super) fn remove_all(tables: &mut Tables<'_>, ledger: &mut Ledger, holder: UserId) -> Result<(), Fault> {
    for number in numbers_of(tables, holder)? {
        if let Some(conflict) = find(&tables.conflicts, number)? {
            remove(tables, ledger, &conflict)?;
        }
    }
    Ok(())
}

/// The numbers of a holder's conflicts: [`MAX_CONFLICTS`] at most.
fn numbers_of(tables: &Tables<'_>, holder: UserId) -> Result<Vec<u64>, Fault> {
    let mut numbers = Vec::new();
    let first = pair_key(holder, "");
    for row in tables.conflict_pairs.range(first.as_slice()..)? {
        let (pair, number) = row?;
        if !pair.value().starts_with(&first) {
            break;
        }
        numbers.push(number.value());
    }
    Ok(numbers)
}

/// One conflict.
pub(super) fn find(conflicts: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<Option<Conflict>, Fault> {
    match conflicts.get(number)? {
        Some(bytes) => Ok(Some(decode(number, bytes.value())?)),
        None => Ok(None),
    }
}

/// The newest conflicts first. Looks at no more rows than there can be.
pub(super) fn list(snapshot: &Snapshot, query: &ConflictQuery) -> Result<Vec<Conflict>, Fault> {
    let mut conflicts = Vec::new();
    for row in snapshot.conflicts.range(..query.before.unwrap_or(u64::MAX))?.rev() {
        if conflicts.len() == query.limit {
            break;
        }
        let (number, bytes) = row?;
        let conflict = decode(number.value(), bytes.value())?;
        let is_meant = query.with.is_none_or(|with| conflict.with == with);
        if is_meant && (query.decided_too || conflict.decided.is_none()) {
            conflicts.push(conflict);
        }
    }
    Ok(conflicts)
}

fn forget_oldest(tables: &mut Tables<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    let oldest = match tables.conflicts.first()? {
        Some((number, bytes)) => decode(number.value(), bytes.value())?,
        None => return Ok(()),
    };
    remove(tables, ledger, &oldest)
}

fn pair_key(with: UserId, legacy_id: &str) -> Vec<u8> {
    [with.0.as_bytes().as_slice(), legacy_id.as_bytes()].concat()
}

pub(super) fn encode(conflict: &Conflict) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(96));
    out.byte(if conflict.decided.is_some() { FORMAT_DECIDED } else { FORMAT });
    out.0.extend_from_slice(conflict.with.0.as_bytes());
    out.text(&conflict.legacy_id);
    out.number(conflict.first_at.0);
    out.number(conflict.last_at.0);
    out.number(conflict.times);
    out.number(conflict.names.len() as u64);
    for name in &conflict.names {
        out.text(name.as_key());
    }
    if let Some(Decided { decision, at }) = conflict.decided {
        out.byte(match decision {
            Decision::Kept => 1,
            Decision::HolderDisabled => 2,
            Decision::Given => 3,
        });
        out.number(at.0);
    }
    out.0
}

pub(super) fn decode(number: u64, bytes: &[u8]) -> Result<Conflict, BadRecord> {
    let mut input = Decoder(bytes);
    let is_decided = match input.byte("format")? {
        FORMAT => false,
        FORMAT_DECIDED => true,
        other => return Err(BadRecord::UnknownFormat(other)),
    };
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
    let decided = if is_decided {
        let decision = match input.byte("decision")? {
            1 => Decision::Kept,
            2 => Decision::HolderDisabled,
            3 => Decision::Given,
            _ => return Err(BadRecord::Value("decision")),
        };
        Some(Decided { decision, at: UnixSeconds(input.number("decided at")?) })
    } else {
        None
    };
    if !input.0.is_empty() {
        return Err(BadRecord::Length("end"));
    }
    Ok(Conflict { number, with, legacy_id, names, first_at, last_at, times, decided })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_read_back_as_it_was_written_and_the_older_form_too() {
        let name = |key: &str| NormalizedIdentifier::from_key(key).expect("a key");
        let at = UnixSeconds(1_800_000_000);
        for decided in [None, Some(Decision::Kept), Some(Decision::HolderDisabled), Some(Decision::Given)] {
            let conflict = Conflict {
                number: 7,
                with: UserId(Uuid::from_u128(5)),
                legacy_id: "8".into(),
                names: vec![name("e:ann@x.y"), name("u:ann")],
                first_at: UnixSeconds(1_700_000_000),
                last_at: at,
                times: 300,
                decided: decided.map(|decision| Decided { decision, at }),
            };
            let bytes = encode(&conflict);
            assert_eq!(bytes.first(), Some(if decided.is_some() { &2 } else { &1 }), "one that is open is as it was");
            assert_eq!(decode(7, &bytes).expect("our own"), conflict);
            for cut in 0..bytes.len() {
                assert!(decode(7, &bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }
}
