//! What is kept of an import: how far it came, and what became of each row of its last batch. Called by [`super`].

use ::redb::{ReadableTable as _, ReadableTableMetadata as _};
use uuid::Uuid;

use super::super::fault::Fault;
use super::super::record::{BadRecord, Decoder, Encoder};
use super::super::schema::Snapshot;
use super::super::writes::Batch;
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::import::{Imported, Rejection, Skip};
use crate::domain::user::UserId;
use crate::service::ports::{Checkpoint, ImportKey, MAX_CHECKPOINT_BYTES, MAX_CHECKPOINTS, SavedCheckpoint};

impl Batch<'_> {
    pub(super) fn keep_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        results: &[Imported],
        at: UnixSeconds,
    ) -> Result<(), Fault> {
        if checkpoint.state.len() > MAX_CHECKPOINT_BYTES {
            return Err(Fault::Refused("the checkpoint of an import is too large".into()));
        }
        let bytes = encode_checkpoint(checkpoint, results, at);
        self.about_to_write();
        let key = checkpoint.key.0.as_slice();
        if self.tables.imports.get(key)?.is_none() && self.tables.imports.len()? >= MAX_CHECKPOINTS {
            let mut oldest: Option<(UnixSeconds, Vec<u8>)> = None;
            for row in self.tables.imports.iter()? {
                let (key, bytes) = row?;
                let at = decode_checkpoint(bytes.value()).map(|saved| saved.at)?;
                if oldest.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                    oldest = Some((at, key.value().to_vec()));
                }
            }
            if let Some((_, key)) = oldest {
                self.tables.imports.remove(key.as_slice())?;
            }
        }
        self.tables.imports.insert(key, bytes.as_slice())?;
        Ok(())
    }
}

/// How far an import came.
pub(in crate::store::redb) fn checkpoint(
    snapshot: &Snapshot,
    key: ImportKey,
) -> Result<Option<SavedCheckpoint>, Fault> {
    let bytes = snapshot.imports.get(key.0.as_slice())?;
    bytes.map(|bytes| decode_checkpoint(bytes.value()).map_err(Fault::from)).transpose()
}

const FORMAT: u8 = 1;

fn encode_checkpoint(checkpoint: &Checkpoint, results: &[Imported], at: UnixSeconds) -> Vec<u8> {
    let mut out = Encoder(Vec::with_capacity(64 + checkpoint.state.len() + results.len() * 17));
    out.byte(FORMAT);
    out.number(at.0);
    out.number(checkpoint.state.len() as u64);
    out.0.extend_from_slice(&checkpoint.state);
    out.number(results.len() as u64);
    for result in results {
        let (code, id) = match result {
            Imported::Created(id) => (0, Some(id)),
            Imported::Updated(id) => (1, Some(id)),
            Imported::Skipped(id, Skip::Exists) => (2, Some(id)),
            Imported::Skipped(id, Skip::Unchanged) => (3, Some(id)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Email, by }) => (4, Some(by)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Username, by }) => (5, Some(by)),
            Imported::Rejected(Rejection::NameTaken { kind: IdentifierKind::Phone, by }) => (6, Some(by)),
            Imported::Rejected(Rejection::LegacyIdTaken { by }) => (7, Some(by)),
            Imported::Rejected(Rejection::IdTaken { by }) => (8, Some(by)),
            Imported::Rejected(Rejection::Tombstone { by }) => (9, Some(by)),
            Imported::Rejected(Rejection::TooManyNames { of }) => (10, Some(of)),
            Imported::Rejected(Rejection::TooLarge) => (11, None),
            Imported::Rejected(Rejection::Nameless) => (12, None),
            Imported::UpdatedWithoutHash(id) => (13, Some(id)),
            Imported::Skipped(id, Skip::HashLeft) => (14, Some(id)),
        };
        out.byte(code);
        if let Some(id) = id {
            out.0.extend_from_slice(id.0.as_bytes());
        }
    }
    out.0
}

fn decode_checkpoint(bytes: &[u8]) -> Result<SavedCheckpoint, BadRecord> {
    let mut input = Decoder(bytes);
    match input.byte("format")? {
        FORMAT => {}
        other => return Err(BadRecord::UnknownFormat(other)),
    }
    let at = UnixSeconds(input.number("time")?);
    let length = usize::try_from(input.number("state")?).map_err(|_| BadRecord::Length("state"))?;
    let (state, rest) = input.0.split_at_checked(length).ok_or(BadRecord::Length("state"))?;
    input.0 = rest;
    let count = input.number("number of results")?;
    let mut results = Vec::new();
    for _ in 0..count {
        results.push(decode_result(&mut input)?);
    }
    if !input.0.is_empty() {
        return Err(BadRecord::Length("end"));
    }
    Ok(SavedCheckpoint { state: state.to_vec(), results, at })
}

fn decode_result(input: &mut Decoder<'_>) -> Result<Imported, BadRecord> {
    let code = input.byte("result")?;
    match code {
        11 => return Ok(Imported::Rejected(Rejection::TooLarge)),
        12 => return Ok(Imported::Rejected(Rejection::Nameless)),
        _somebodys => {}
    }
    let (id, rest) = input.0.split_first_chunk::<16>().ok_or(BadRecord::Length("result"))?;
    input.0 = rest;
    let id = UserId(Uuid::from_bytes(*id));
    let taken = |kind| Imported::Rejected(Rejection::NameTaken { kind, by: id });
    Ok(match code {
        0 => Imported::Created(id),
        1 => Imported::Updated(id),
        2 => Imported::Skipped(id, Skip::Exists),
        3 => Imported::Skipped(id, Skip::Unchanged),
        4 => taken(IdentifierKind::Email),
        5 => taken(IdentifierKind::Username),
        6 => taken(IdentifierKind::Phone),
        7 => Imported::Rejected(Rejection::LegacyIdTaken { by: id }),
        8 => Imported::Rejected(Rejection::IdTaken { by: id }),
        9 => Imported::Rejected(Rejection::Tombstone { by: id }),
        10 => Imported::Rejected(Rejection::TooManyNames { of: id }),
        13 => Imported::UpdatedWithoutHash(id),
        14 => Imported::Skipped(id, Skip::HashLeft),
        _ => return Err(BadRecord::Value("result")),
    })
}
