//! Users around damage: where a page of the table of users cannot be read, those whose records can are found by their ids, which the
//! other tables have too. Called for whoever takes everybody out, and would rather have most than none.
//!
//! redb finds a leaf by what lies above it, and cannot say where a damaged one ends. So the ids that come next are gathered from the tables
//! of names, of legacy's ids, of logins and of reserved names, and from both ends of the table of users, and each record is
//! looked up by itself. That reads those tables whole for each page in which there is damage, in the memory of a page.

use std::collections::BTreeSet;

use ::redb::{AccessGuard, Key, ReadOnlyTable, ReadTransaction, ReadableTable as _, TableDefinition, Value};
use uuid::Uuid;

use super::checked::isolated;
use super::fault::Fault;
use super::reads::{page_limit, page_of_keys};
use super::record::Codec;
use super::schema::{ALIASES, IdBytes, LEGACY_IDS, LOGINS, RESERVED, USERS, Users, find_user, own_id};
use crate::domain::user::UserId;
use crate::service::ports::{UnreadUsers, UserPage, UserQuery};

/// A page of everybody, by key, those who cannot be read left out and told of. Reads no other table where the page has no damage.
pub(super) fn list(transaction: &ReadTransaction, codec: &Codec, query: &UserQuery) -> Result<UserPage, Fault> {
    let limit = page_limit(query);
    let after = match query.after.as_deref().map(own_id) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Ok(UserPage::default()),
    };
    let users = Users::new(transaction.open_table(USERS)?, codec);
    match isolated(|| page_of_keys(&users, after, limit)) {
        Ok(Err(Fault::Damage(_))) | Err(_) => around_damage(transaction, &users, after, limit),
        Ok(page) => page,
    }
}

fn around_damage(
    transaction: &ReadTransaction,
    users: &Users<ReadOnlyTable<&'static IdBytes, &'static [u8]>>,
    after: Option<IdBytes>,
    limit: usize,
) -> Result<UserPage, Fault> {
    let mut next = Next { after, most: limit + 1, ids: BTreeSet::new() };
    let users_are_whole = gather(transaction, USERS, &mut next, |id, _record| Some(*id.value()))?;
    let mut all_known = gather(transaction, ALIASES, &mut next, |_name, holder| Some(*holder.value()))?;
    all_known &= gather(transaction, LEGACY_IDS, &mut next, |_id, holder| Some(*holder.value()))?;
    // Whoever is in these is in those, which may be damaged as well. Nobody is missed but a deleted user whose every name was freed, if
    // legacy had no id for him.
    gather(transaction, LOGINS, &mut next, |id, _at| Some(*id.value()))?;
    gather(transaction, RESERVED, &mut next, |key, _unit| key.value().first_chunk().copied())?;
    let mut unread = UnreadUsers { perhaps_more: !all_known && !users_are_whole, ..UnreadUsers::default() };
    let (mut read, mut last) = (Vec::new(), None);
    let is_last = next.ids.len() <= limit;
    for id in next.ids.into_iter().take(limit) {
        let own = UserId(Uuid::from_bytes(id));
        match isolated(|| find_user(users, &id)) {
            Ok(Ok(Some(user))) => read.push(user),
            // A name that leads to nobody, which is for `store check` to tell.
            Ok(Ok(None)) => {}
            Ok(Err(Fault::Damage(_))) | Err(_) => unread.ids.push(own),
            Ok(Err(other)) => return Err(other),
        }
        last = Some(own.to_string());
    }
    Ok(UserPage { users: read, next: last.filter(|_| !is_last), unread })
}

/// The ids that come next, as many as are wanted.
struct Next {
    after: Option<IdBytes>,
    most: usize,
    ids: BTreeSet<IdBytes>,
}

impl Next {
    fn add(&mut self, id: IdBytes) {
        if self.after.is_none_or(|after| id > after) && self.ids.insert(id) && self.ids.len() > self.most {
            self.ids.pop_last();
        }
    }
}

/// Takes in the ids of a table's rows; of a damaged one, those from its start to the first damage and from its end to the last. Whether
/// it was read whole.
fn gather<K: Key + 'static, V: Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
    next: &mut Next,
    id_of: impl Fn(&AccessGuard<'_, K>, &AccessGuard<'_, V>) -> Option<IdBytes>,
) -> Result<bool, Fault> {
    let Some(table) = around(|| Ok(transaction.open_table(table)?))? else { return Ok(false) };
    let mut take = |key: &AccessGuard<'_, K>, value: &AccessGuard<'_, V>| {
        if let Some(id) = id_of(key, value) {
            next.add(id);
        }
    };
    let forward = around(|| {
        for row in table.iter()? {
            let (key, value) = row?;
            take(&key, &value);
        }
        Ok(())
    });
    if forward?.is_some() {
        return Ok(true);
    }
    around(|| {
        for row in table.iter()?.rev() {
            let (key, value) = row?;
            take(&key, &value);
        }
        Ok(())
    })?;
    Ok(false)
}

/// What `work` comes to; none if it met damage.
fn around<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    match isolated(work) {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(Fault::Damage(_))) | Err(_) => Ok(None),
        Ok(Err(other)) => Err(other),
    }
}
