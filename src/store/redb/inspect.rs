//! Whether the tables of a store say the same: each record is one that was written, each name leads to a user and each name that he
//! bears leads to him, times of logins are of users, and the counts are those of the records. Called by the offline commands; changes nothing.

use std::fmt::Display;

use ::redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};
use uuid::Uuid;

use super::checked::isolated;
use super::conflicts;
use super::fault::Fault;
use super::record::Codec;
use super::roster::Walked;
use super::schema::{CONFLICT_PAIRS, IdBytes, Ledger, Snapshot, View as _, find_user, user_of};
use crate::domain::clock::UnixSeconds;
use crate::domain::user::{User, UserId};

/// As many findings are named; of more, it is said how many.
const MAX_FINDINGS: usize = 100;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Records, tombstones included.
    pub records: u64,
    /// Names.
    pub names: u64,
    /// Of those, how many an operator took from their users and keeps from others: their users' records do not list them.
    pub reserved: u64,
    /// Ids of legacy's.
    pub legacy_ids: u64,
    /// Conflicts that nobody has decided.
    pub conflicts: u64,
    /// What is wrong, the first hundred. Names users by their ids, and never tells what a record holds.
    pub findings: Vec<String>,
    /// How many more findings there were.
    pub unnamed: u64,
}

impl Inspection {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a finding.
    pub(super) fn found(&mut self, finding: impl Display) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding.to_string());
        } else {
            self.unnamed += 1;
        }
    }

    /// Runs a part of the inspection; what cannot be read is a finding. False if it did not come to its end.
    fn part(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<(), Fault>) -> bool {
        let cause = match isolated(|| work(self)) {
            Ok(Ok(())) => return true,
            Ok(Err(Fault::Damage(cause) | Fault::Storage(cause) | Fault::Refused(cause))) => cause.to_string(),
            Err(damage) => damage.to_string(),
        };
        self.found(format_args!("{what} cannot be read to the end: {cause}"));
        false
    }
}

/// Looks at everything. `each` is shown every record that can be read.
pub(super) fn inspect(transaction: &ReadTransaction, codec: &Codec, each: &mut dyn FnMut(&User)) -> Inspection {
    let mut seen = Inspection::default();
    let mut snapshot = None;
    seen.part("the list of tables", |_| {
        snapshot = Some(Snapshot::of(transaction, codec)?);
        Ok(())
    });
    let Some(snapshot) = snapshot else { return seen };
    let mut counted = Counted::default();
    let whole = seen.part("the table of users", |seen| users(&snapshot, seen, &mut counted, each));
    let also = seen.part("the table of names", |seen| names(&snapshot, seen));
    let too = seen.part("the table of legacy ids", |seen| legacy_ids(&snapshot, seen));
    let pairs = seen.part("the table of conflicts", |seen| conflicts(&snapshot, transaction, seen));
    if whole && also && too && pairs {
        counted.ledger.counts.conflicts = seen.conflicts;
        seen.part("the table of counts", |seen| counts(&snapshot, seen, counted.ledger));
        seen.part("the tables of who has come over", |seen| counted.roster.compare(&snapshot.roster, seen));
        seen.part("the table of logins", |seen| {
            let (kept, of_users) = (snapshot.logins.len()?, counted.logins);
            if kept != of_users {
                seen.found(format_args!("{kept} times of logins are kept, and {of_users} of them are of users"));
            }
            Ok(())
        });
    }
    seen
}

/// What the records come to.
#[derive(Default)]
struct Counted {
    ledger: Ledger,
    roster: Walked,
    /// Times of logins of users who are there.
    logins: u64,
}

fn users(
    snapshot: &Snapshot,
    seen: &mut Inspection,
    counted: &mut Counted,
    each: &mut dyn FnMut(&User),
) -> Result<(), Fault> {
    for row in snapshot.users.iter()? {
        let (key, bytes) = row?;
        seen.records += 1;
        let id = UserId(Uuid::from_bytes(*key.value()));
        let user = match snapshot.users.decode(id, bytes.value()) {
            Ok(user) => user,
            Err(error) => {
                seen.found(format_args!("user {id}: {error}"));
                continue;
            }
        };
        each(&user);
        counted.ledger.count_in(&user);
        counted.ledger.revision = counted.ledger.revision.max(user.version.0);
        let last_login = snapshot.logins.get(key.value())?.map(|at| UnixSeconds(at.value()));
        counted.logins += u64::from(last_login.is_some());
        counted.roster.see(&user, last_login, &snapshot.roster, seen)?;
        for name in &user.identifiers {
            let kind = name.normalized.kind().as_str();
            match snapshot.aliases.get(name.normalized.as_key())?.map(|holder| *holder.value()) {
                Some(holder) if holder == *key.value() => {}
                Some(_) => seen.found(format_args!("user {id}: one of his names ({kind}) leads to somebody else")),
                None => seen.found(format_args!("user {id}: one of his names ({kind}) leads nowhere")),
            }
        }
        if let Some(legacy_id) = &user.legacy_id {
            match snapshot.legacy_ids.get(legacy_id.as_key())?.map(|holder| *holder.value()) {
                Some(holder) if holder == *key.value() => {}
                Some(_) => seen.found(format_args!("user {id}: his legacy id leads to somebody else")),
                None => seen.found(format_args!("user {id}: his legacy id leads nowhere")),
            }
        }
    }
    Ok(())
}

fn names(snapshot: &Snapshot, seen: &mut Inspection) -> Result<(), Fault> {
    let mut reserved = 0;
    each_holder(
        &snapshot.aliases,
        snapshot,
        seen,
        "a name",
        |seen| &mut seen.names,
        |user, key| {
            // One that he does not bear is kept from others for him.
            reserved += u64::from(user.identifiers.iter().all(|name| name.normalized.as_key() != key));
            true
        },
    )?;
    seen.reserved = reserved;
    Ok(())
}

fn legacy_ids(snapshot: &Snapshot, seen: &mut Inspection) -> Result<(), Fault> {
    each_holder(
        &snapshot.legacy_ids,
        snapshot,
        seen,
        "a legacy id",
        |seen| &mut seen.legacy_ids,
        |user, key| user.legacy_id.as_ref().is_some_and(|id| id.as_key() == key),
    )
}

/// Follows each row to its user.
fn each_holder(
    rows: &ReadOnlyTable<&'static str, &'static IdBytes>,
    snapshot: &Snapshot,
    seen: &mut Inspection,
    what: &str,
    count: impl Fn(&mut Inspection) -> &mut u64,
    mut bears: impl FnMut(&User, &str) -> bool,
) -> Result<(), Fault> {
    for row in rows.iter()? {
        let (key, holder) = row?;
        *count(seen) += 1;
        let id = UserId(Uuid::from_bytes(*holder.value()));
        // By itself, so that a record that cannot be read does not hide the others.
        match isolated(|| user_of(&snapshot.users, holder.value())) {
            Ok(Ok(user)) if bears(&user, key.value()) => {}
            Ok(Ok(_)) => seen.found(format_args!("{what} leads to user {id}, who does not bear it")),
            Ok(Err(Fault::Damage(cause) | Fault::Refused(cause))) => {
                seen.found(format_args!("{what} leads to user {id}: {cause}"));
            }
            Ok(Err(Fault::Storage(cause))) => return Err(Fault::Storage(cause)),
            Err(damage) => seen.found(format_args!("{what} leads to user {id}, whose record cannot be read: {damage}")),
        }
    }
    Ok(())
}

fn conflicts(snapshot: &Snapshot, transaction: &ReadTransaction, seen: &mut Inspection) -> Result<(), Fault> {
    for row in snapshot.conflicts.iter()? {
        let (number, bytes) = row?;
        match conflicts::decode(number.value(), bytes.value()) {
            Ok(conflict) => {
                seen.conflicts += u64::from(conflict.decided.is_none());
                if find_user(&snapshot.users, conflict.with.0.as_bytes())?.is_none() {
                    let (number, with) = (conflict.number, conflict.with);
                    seen.found(format_args!("conflict {number} is with user {with}, who is not there"));
                }
            }
            Err(error) => seen.found(format_args!("conflict {}: {error}", number.value())),
        }
    }
    for row in transaction.open_table(CONFLICT_PAIRS)?.iter()? {
        let (_pair, number) = row?;
        if snapshot.conflicts.get(number.value())?.is_none() {
            seen.found(format_args!("conflict {} is told apart from others, and is not there", number.value()));
        }
    }
    Ok(())
}

fn counts(snapshot: &Snapshot, seen: &mut Inspection, counted: Ledger) -> Result<(), Fault> {
    let kept = Ledger::load(&snapshot.meta)?;
    if kept.counts != counted.counts {
        seen.found(format_args!("the counts are kept as {:?}, and are {:?}", kept.counts, counted.counts));
    }
    if kept.revision < counted.revision {
        seen.found(format_args!(
            "the store is at revision {}, and a record at {}: later changes could be taken for earlier ones",
            kept.revision, counted.revision
        ));
    }
    Ok(())
}
