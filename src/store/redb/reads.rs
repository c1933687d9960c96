//! What each read does in one snapshot. Called on the reader threads; waits for nothing but the file, writes nothing.

use std::ops::Bound;

use ::redb::{Range, ReadOnlyTable};
use uuid::Uuid;

use super::fault::Fault;
use super::schema::{IdBytes, Lookups, Snapshot, Users, find_user, own_id, user_of};
use crate::domain::identifier::{Candidates, IdentifierKind, NormalizedIdentifier};
use crate::domain::user::{User, UserId};
use crate::service::ports::{Found, Lookup, NameHolder, UserPage, UserQuery};

/// The largest page.
const MAX_PAGE: usize = 1_000;

/// As many names are looked at for one page; a page of users with a great many names each ends early.
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
    Ok(Lookup { found, revision: snapshot.revision })
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

pub(super) fn user(snapshot: &Lookups, id: &UserId) -> Result<Option<User>, Fault> {
    find_user(&snapshot.users, id.0.as_bytes())
}

pub(super) fn holders(snapshot: &Snapshot, names: &[NormalizedIdentifier]) -> Result<Vec<Option<NameHolder>>, Fault> {
    let holder = |name: &NormalizedIdentifier| {
        let Some(id) = snapshot.aliases.get(name.as_key())? else { return Ok(None) };
        let user = user_of(&snapshot.users, id.value())?;
        Ok(Some(NameHolder { id: user.id, bears: user.bears(name) }))
    };
    names.iter().map(holder).collect()
}

pub(super) fn list(snapshot: &Snapshot, query: &UserQuery) -> Result<UserPage, Fault> {
    let limit = page_limit(query);
    let after = query.after.as_deref();
    match query.prefix.as_deref() {
        None | Some("") => list_all(snapshot, after, limit),
        Some(prefix) => list_prefix(snapshot, prefix, after, limit),
    }
}

/// How many users a page has at most.
pub(super) fn page_limit(query: &UserQuery) -> usize {
    query.limit.clamp(1, MAX_PAGE)
}

/// By key. The cursor is the last user's own id; one that is none of ours ends the listing rather than starting it anew.
fn list_all(snapshot: &Snapshot, after: Option<&str>, limit: usize) -> Result<UserPage, Fault> {
    match after.map(own_id) {
        None => page_of_keys(&snapshot.users, None, limit),
        Some(Some(id)) => page_of_keys(&snapshot.users, Some(id), limit),
        Some(None) => Ok(UserPage::default()),
    }
}

/// The users after this one.
pub(super) fn page_of_keys(
    users: &Users<ReadOnlyTable<&'static IdBytes, &'static [u8]>>,
    after: Option<IdBytes>,
    limit: usize,
) -> Result<UserPage, Fault> {
    let mut page = UserPage::default();
    let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    for row in users.range::<&IdBytes>((start, Bound::Unbounded))? {
        let (id, bytes) = row?;
        if page.users.len() == limit {
            page.next = page.users.last().map(|user: &User| user.id.to_string());
            break;
        }
        let id = UserId(Uuid::from_bytes(*id.value()));
        page.users.push(users.decode(id, bytes.value())?);
    }
    Ok(page)
}

/// By name: the ranges of the three kinds, merged in the order of the names themselves, so that a user's several names mostly lie
/// close together and a page costs as many rows as it shows users, times their names of this prefix. The cursor is the last
/// name that was looked at. A user with several names of this prefix is shown under the first one alone.
fn list_prefix(snapshot: &Snapshot, prefix: &str, after: Option<&str>, limit: usize) -> Result<UserPage, Fault> {
    let after = match after.map(Name::of_key) {
        None => None,
        Some(Some(name)) => Some(name),
        // None of ours: the listing ends rather than starting anew.
        Some(None) => return Ok(UserPage::default()),
    };
    page_of_names(snapshot, prefix, after, limit).map(|(page, _scanned)| page)
}

/// A name in the order of a listing: by its text, then by its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    text: String,
    kind: IdentifierKind,
}

impl Name {
    fn of_key(key: &str) -> Option<Self> {
        let name = NormalizedIdentifier::from_key(key)?;
        Some(Self { text: name.text().to_owned(), kind: name.kind() })
    }

    fn key(&self) -> String {
        format!("{}{}", self.kind.key_prefix(), self.text)
    }

    /// Where the names of a kind begin that come after this one.
    fn next_of(&self, kind: IdentifierKind) -> Bound<String> {
        let key = format!("{}{}", kind.key_prefix(), self.text);
        if kind > self.kind { Bound::Included(key) } else { Bound::Excluded(key) }
    }
}

/// The page, and how many names were looked at for it.
fn page_of_names(
    snapshot: &Snapshot,
    prefix: &str,
    after: Option<Name>,
    limit: usize,
) -> Result<(UserPage, usize), Fault> {
    let mut ranges = Vec::with_capacity(IdentifierKind::ALL.len());
    for kind in IdentifierKind::ALL {
        let first = format!("{}{prefix}", kind.key_prefix());
        let from = match &after {
            Some(name) if name.text.as_str() >= prefix => name.next_of(kind),
            Some(_) | None => Bound::Included(first.clone()),
        };
        let from = from.as_ref().map(String::as_str);
        let mut range =
            NamesOfKind { rows: snapshot.aliases.range::<&str>((from, Bound::Unbounded))?, first, next: None };
        range.advance()?;
        ranges.push(range);
    }
    let mut page = UserPage::default();
    let mut last: Option<Name> = None;
    let mut scanned = 0;
    loop {
        let smallest = ranges.iter_mut().filter(|range| range.next.is_some()).min_by(|a, b| a.next.cmp(&b.next));
        let Some(range) = smallest else { return Ok((page, scanned)) };
        if page.users.len() == limit || scanned == MAX_SCANNED {
            page.next = last.map(|name| name.key());
            return Ok((page, scanned));
        }
        let Some((name, id)) = range.next.take() else { return Ok((page, scanned)) };
        range.advance()?;
        scanned += 1;
        let user = user_of(&snapshot.users, &id)?;
        let names = user.identifiers.iter().map(|alias| (alias.normalized.text(), alias.normalized.kind()));
        let shown_under = names.filter(|(text, _kind)| text.starts_with(prefix)).min();
        if shown_under == Some((&name.text, name.kind)) {
            page.users.push(user);
        }
        last = Some(name);
    }
}

/// The names of one kind that begin alike, in order, with the next one at hand.
struct NamesOfKind<'a> {
    rows: Range<'a, &'static str, &'static IdBytes>,
    first: String,
    next: Option<(Name, IdBytes)>,
}

impl NamesOfKind<'_> {
    fn advance(&mut self) -> Result<(), Fault> {
        self.next = None;
        if let Some(row) = self.rows.next() {
            let (key, id) = row?;
            if key.value().starts_with(&self.first) {
                let name = Name::of_key(key.value());
                let name = name.ok_or_else(|| Fault::damage("a name is none that was ever written"))?;
                self.next = Some((name, *id.value()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
