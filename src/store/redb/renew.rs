//! Writing records anew that are not as they would be written today: sealed with an older key, not sealed at all, sealed though
//! nothing is any more, or of the first format. In steps, each a commit of its own among other writes, so that it can be stopped
//! and begun again at any time. Changes no version: what a record says stays the same.
//!
//! What a record was before stays in unused parts of the file until these are used again or the file is compacted. Called by
//! `authferry store reseal`.

use std::ops::Bound;

use ::redb::ReadableTable as _;
use uuid::Uuid;

use super::fault::Fault;
use super::schema::{IdBytes, Tables};
use crate::domain::user::UserId;

/// As many records are looked at in one step.
const STEP: usize = 1_000;

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Records that were looked at.
    pub looked_at: usize,
    /// Of them, those that were written anew.
    pub rewritten: usize,
    /// Where to go on; none at the end.
    pub next: Option<UserId>,
}

/// Looks at the records after this user, and writes anew those that need it.
pub(super) fn step(
    tables: &mut Tables<'_>,
    after: Option<UserId>,
    mut about_to_write: impl FnMut(),
) -> Result<Renewed, Fault> {
    let after = after.map(|id| id.0.into_bytes());
    let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut renewed = Renewed { looked_at: 0, rewritten: 0, next: None };
    let mut rewritten: Vec<(UserId, Vec<u8>)> = Vec::new();
    let mut last = None;
    for row in tables.users.range::<&IdBytes>((start, Bound::Unbounded))? {
        let (id, bytes) = row?;
        if renewed.looked_at == STEP {
            renewed.next = last;
            break;
        }
        let id = UserId(Uuid::from_bytes(*id.value()));
        renewed.looked_at += 1;
        if let Some(bytes) = tables.users.renewed(id, bytes.value())? {
            rewritten.push((id, bytes));
        }
        last = Some(id);
    }
    renewed.rewritten = rewritten.len();
    for (id, bytes) in rewritten {
        about_to_write();
        tables.users.insert(id.0.as_bytes(), bytes.as_slice())?;
    }
    Ok(renewed)
}
