//! What each read does in one snapshot. Called on the reader threads; waits for nothing but the file, writes nothing.

use std::ops::Bound;

use uuid::Uuid;

use super::fault::Fault;
use super::schema::{IdBytes, Ledger, Lookups, Snapshot, find_user, own_id, user_of};
use crate::domain::identifier::{Candidates, IdentifierKind, NormalizedIdentifier};
use crate::domain::user::{User, UserId};
use crate::service::ports::{Found, Lookup, NameHolder, UserPage, UserQuery};

/// The largest page.
const MAX_PAGE: usize = 1_000;

/// As many names are looked at for one page; a page of a prefix that finds the same users over and over ends early.
const MAX_SCANNED: usize = 4_000;

pub(super) fn find(snapshot: &Lookups, candidates: &Candidates) -> Result<Lookup, Fault> {
    let mut bearers: Vec<User> = Vec::new();
    for key in candidates.keys() {
        let Some(id) = snapshot.aliases.get(key.as_key())? else { continue };
        if bearers.iter().any(|bearer| bearer.id.0.as_bytes() == id.value()) {
            continue;
        }
        let user = user_of(&snapshot.users, id.value())?;
        // One that an operator took from him is only kept from others.
        if !user.bears(key) {
            continue;
        }
        bearers.push(user);
        // Who has typed text for his email address is meant, not somebody who chose it for his username.
        if key.kind() == IdentifierKind::Email {
            break;
        }
    }
    let found = match (bearers.pop(), bearers.is_empty()) {
        (None, _) => Found::Nobody,
        (Some(only), true) => Found::One(Box::new(only)),
        (Some(_), false) => Found::Ambiguous,
    };
    Ok(Lookup { found, revision: Ledger::revision(&snapshot.meta)? })
}

pub(super) fn find_public(snapshot: &Lookups, id: &str) -> Result<Option<User>, Fault> {
    if let Some(holder) = snapshot.legacy_ids.get(id)? {
        return user_of(&snapshot.users, holder.value()).map(Some);
    }
    match own_id(id) {
        Some(id) => find_user(&snapshot.users, &id),
        None => Ok(None),
    }
}

pub(super) fn holders(
    snapshot: &Snapshot,
    names: &[NormalizedIdentifier],
) -> Result<Vec<Option<NameHolder>>, Fault> {
    let holder = |name: &NormalizedIdentifier| {
        let Some(id) = snapshot.aliases.get(name.as_key())? else { return Ok(None) };
        let user = user_of(&snapshot.users, id.value())?;
        Ok(Some(NameHolder { id: user.id, bears: user.bears(name) }))
    };
    names.iter().map(holder).collect()
}

pub(super) fn list(snapshot: &Snapshot, query: &UserQuery) -> Result<UserPage, Fault> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let after = query.after.as_deref();
    match query.prefix.as_deref() {
        None | Some("") => list_all(snapshot, after, limit),
        Some(prefix) => list_prefix(snapshot, prefix, after, limit),
    }
}

/// By key. The cursor is the last user's own id; one that is none of ours ends the listing rather than starting it anew.
fn list_all(snapshot: &Snapshot, after: Option<&str>, limit: usize) -> Result<UserPage, Fault> {
    let mut page = UserPage { users: Vec::new(), next: None };
    let after = match after.map(own_id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Ok(page),
    };
    let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    for row in snapshot.users.range::<&IdBytes>((start, Bound::Unbounded))? {
        let (id, bytes) = row?;
        if page.users.len() == limit {
            page.next = page.users.last().map(|user: &User| user.id.to_string());
            break;
        }
        let id = UserId(Uuid::from_bytes(*id.value()));
        page.users.push(snapshot.users.decode(id, bytes.value())?);
    }
    Ok(page)
}

/// By name, one kind after the other, each a range of the table of names. The cursor is the last name that was looked at. A user
/// with several names of this prefix is shown under the first one alone.
fn list_prefix(snapshot: &Snapshot, prefix: &str, after: Option<&str>, limit: usize) -> Result<UserPage, Fault> {
    let mut page = UserPage { users: Vec::new(), next: None };
    let mut starts = IdentifierKind::ALL.map(|kind| format!("{}{prefix}", kind.key_prefix()));
    starts.sort();
    let mut last: Option<String> = None;
    let mut scanned = 0;
    for start in &starts {
        let from = match after {
            Some(after) if after >= start.as_str() => Bound::Excluded(after),
            Some(_) | None => Bound::Included(start.as_str()),
        };
        for row in snapshot.aliases.range::<&str>((from, Bound::Unbounded))? {
            let (name, id) = row?;
            if !name.value().starts_with(start.as_str()) {
                break;
            }
            if page.users.len() == limit || scanned == MAX_SCANNED {
                page.next = last;
                return Ok(page);
            }
            scanned += 1;
            let user = user_of(&snapshot.users, id.value())?;
            let names = user.identifiers.iter().map(|alias| alias.normalized.as_key());
            let shown_under = names.filter(|name| starts.iter().any(|start| name.starts_with(start.as_str()))).min();
            if shown_under == Some(name.value()) {
                page.users.push(user);
            }
            last = Some(name.value().to_owned());
        }
    }
    Ok(page)
}
