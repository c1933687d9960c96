//! Who has not come over, kept so that nobody has to walk ten million records to know: counts by the day on which each was last seen,
//! the stragglers in the order of that day, and how many came over on each of the last days.
//!
//! All three follow the records in the very commit that changes one. What an operation changes is only noted in [`Pending`], and written
//! once for the whole transaction, sorted. Called by [`super::writes`] (which writes records), [`super::reads`]' threads, and by whoever
//! brings a file of an older schema up to date. Decides nothing about who stands where: [`crate::domain::roster`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ::redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use uuid::Uuid;

use super::fault::Fault;
use super::inspect::Inspection;
use super::schema::{IdBytes, Snapshot, Users, user_of};
use crate::domain::clock::UnixSeconds;
use crate::domain::roster::{Day, PACE_DAYS, Pace, Place, RosterCounts, Side, Step, Tally, place};
use crate::domain::user::{User, UserId};
use crate::service::ports::{StragglerQuery, UserPage};

/// A day, then an id: stragglers in the order in which they were last seen, those never seen first.
pub(super) type StragglerKey = [u8; 18];

/// Stragglers, their value, users who are over, their value, how many of both were listed.
pub(super) type DayRow = (u64, u128, u64, u128, u64);

/// Came over, of these active, arrived, registered.
pub(super) type PaceRow = (u64, u64, u64, u64);

/// Day of last activity -> how many stand where. Days on which nobody was last seen have no row.
pub(super) const DAYS: TableDefinition<'_, u16, DayRow> = TableDefinition::new("roster_days");
/// [`StragglerKey`] of every straggler.
pub(super) const STRAGGLERS: TableDefinition<'_, &StragglerKey, ()> = TableDefinition::new("stragglers");
/// Day -> the steps that were made on it; the oldest gives way.
pub(super) const PACE: TableDefinition<'_, u16, PaceRow> = TableDefinition::new("pace");

/// The largest page.
const MAX_PAGE: usize = 1_000;

/// As many stragglers are looked at for one page; a page of few valuable ones among many ends early.
const MAX_SCANNED: usize = 4_000;

/// The three tables in one committed state.
pub(super) struct View {
    days: ReadOnlyTable<u16, DayRow>,
    stragglers: ReadOnlyTable<&'static StragglerKey, ()>,
    pace: ReadOnlyTable<u16, PaceRow>,
}

impl View {
    pub(super) fn of(transaction: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self {
            days: transaction.open_table(DAYS)?,
            stragglers: transaction.open_table(STRAGGLERS)?,
            pace: transaction.open_table(PACE)?,
        })
    }
}

/// The three tables, opened for writing.
pub(super) struct Tables<'txn> {
    days: Table<'txn, u16, DayRow>,
    stragglers: Table<'txn, &'static StragglerKey, ()>,
    pace: Table<'txn, u16, PaceRow>,
}

impl<'txn> Tables<'txn> {
    /// Makes those that are not there yet.
    pub(super) fn of(transaction: &'txn WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            days: transaction.open_table(DAYS)?,
            stragglers: transaction.open_table(STRAGGLERS)?,
            pace: transaction.open_table(PACE)?,
        })
    }
}

/// What one transaction changes, until it is written by [`Pending::store`].
#[derive(Default)]
pub(super) struct Pending {
    days: BTreeMap<Day, Difference>,
    /// Whether a straggler is there in the end, whatever he was in between.
    stragglers: BTreeMap<StragglerKey, Presence>,
    pace: Pace,
}

/// How a day's row changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Difference {
    stragglers: i64,
    straggler_value: i128,
    over: i64,
    over_value: i128,
    listed: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Gone,
}

impl Pending {
    /// Notes where a user stood and where he stands now.
    pub(super) fn moved(&mut self, id: UserId, before: Option<Place>, after: Option<Place>) {
        if before == after {
            return;
        }
        for (place, sign) in [(before, -1), (after, 1)] {
            let Some(place) = place else { continue };
            self.days.entry(place.day).or_default().count(place, sign);
            if place.side == Side::Straggler {
                let presence = if sign < 0 { Presence::Gone } else { Presence::There };
                self.stragglers.insert(straggler_key(place.day, id.0.as_bytes()), presence);
            }
        }
    }

    /// The steps so far.
    pub(super) fn steps(&self) -> Pace {
        self.pace
    }

    /// Forgets the steps that were noted since: an import made them, and nobody by himself.
    pub(super) fn back_to(&mut self, steps: Pace) {
        self.pace = steps;
    }

    /// Notes a step.
    pub(super) fn stepped(&mut self, step: Step) {
        self.pace.count(step);
    }

    /// Writes all that was noted.
    pub(super) fn store(self, tables: &mut Tables<'_>, today: Day) -> Result<(), Fault> {
        let steps = self.pace;
        self.store_places(tables)?;
        // The row of the first day tells since when is counted, even if nobody made a step on it.
        let begins = tables.pace.is_empty()? && !tables.stragglers.is_empty()?;
        if steps != Pace::default() || begins {
            keep_pace(&mut tables.pace, today, steps)?;
        }
        Ok(())
    }

    fn store_places(self, tables: &mut Tables<'_>) -> Result<(), Fault> {
        for (day, difference) in self.days {
            let day = day.number();
            let row = difference.applied_to(tally_of(&tables.days, day)?);
            if row == Tally::default() {
                tables.days.remove(day)?;
            } else {
                tables.days.insert(day, row_of(row))?;
            }
        }
        for (key, presence) in self.stragglers {
            match presence {
                Presence::There => drop(tables.stragglers.insert(&key, ())?),
                Presence::Gone => drop(tables.stragglers.remove(&key)?),
            }
        }
        Ok(())
    }
}

impl Difference {
    fn count(&mut self, place: Place, sign: i64) {
        let value = i128::from(sign) * i128::from(place.value);
        match place.side {
            Side::Straggler => {
                self.stragglers += sign;
                self.straggler_value += value;
            }
            Side::Over => {
                self.over += sign;
                self.over_value += value;
            }
        }
        self.listed += sign * i64::from(place.listed);
    }

    fn applied_to(self, tally: Tally) -> Tally {
        let number = |before: u64, by: i64| before.saturating_add_signed(by);
        let value = |before: u128, by: i128| before.saturating_add_signed(by);
        Tally {
            stragglers: number(tally.stragglers, self.stragglers),
            straggler_value: value(tally.straggler_value, self.straggler_value),
            over: number(tally.over, self.over),
            over_value: value(tally.over_value, self.over_value),
            listed: number(tally.listed, self.listed),
        }
    }
}

/// All counts: as many rows as there are days on which somebody was last seen, thousands at most.
pub(super) fn counts(snapshot: &Snapshot) -> Result<RosterCounts, Fault> {
    let mut counts = RosterCounts::default();
    for row in snapshot.roster.days.iter()? {
        let (day, row) = row?;
        counts.days.insert(Day::from_number(day.value()), tally(row.value()));
    }
    for row in snapshot.roster.pace.iter()? {
        let (day, row) = row?;
        counts.pace.insert(Day::from_number(day.value()), pace(row.value()));
    }
    Ok(counts)
}

/// A page of stragglers, those seen last first. The cursor is where the last one looked at stands; one that is none of ours ends the listing
/// rather than starting it anew.
pub(super) fn stragglers(snapshot: &Snapshot, query: &StragglerQuery) -> Result<UserPage, Fault> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let mut page = UserPage::default();
    if query.days.is_empty() {
        return Ok(page);
    }
    let lowest = straggler_key(*query.days.start(), &[0; 16]);
    let highest = straggler_key(*query.days.end(), &[u8::MAX; 16]);
    let after = query.after.as_deref().map(read_cursor);
    let end = match &after {
        None => Bound::Included(&highest),
        Some(None) => return Ok(page),
        // Beyond the bucket's own end there is nobody of it: a cursor of another bucket.
        Some(Some(after)) if *after > highest => Bound::Included(&highest),
        Some(Some(after)) if *after <= lowest => return Ok(page),
        Some(Some(after)) => Bound::Excluded(after),
    };
    let mut last = None;
    let range = snapshot.roster.stragglers.range::<&StragglerKey>((Bound::Included(&lowest), end))?;
    for (scanned, row) in range.rev().enumerate() {
        let (key, _unit) = row?;
        if page.users.len() == limit || scanned == MAX_SCANNED {
            page.next = last;
            break;
        }
        let user = user_of(&snapshot.users, id_in(key.value()))?;
        last = Some(cursor(key.value()));
        if user.roster.and_then(|roster| roster.value).unwrap_or(0) >= query.min_value {
            page.users.push(user);
        }
    }
    Ok(page)
}

/// Counts everybody of a store that was made before these tables, which are empty. That was before times of logins, too. A record that
/// cannot be read is nobody's to count; it is found by whoever looks for its user.
pub(super) fn count_everybody(
    tables: &mut Tables<'_>,
    users: &Users<impl ReadableTable<&'static IdBytes, &'static [u8]>>,
) -> Result<(), Fault> {
    let mut pending = Pending::default();
    for row in users.iter()? {
        let (id, bytes) = row?;
        let id = UserId(Uuid::from_bytes(*id.value()));
        if let Ok(user) = users.decode(id, bytes.value()) {
            pending.moved(id, None, place(&user, None));
        }
        // Ten million noted stragglers would be a gigabyte.
        if pending.stragglers.len() >= COUNTED_AT_ONCE {
            std::mem::take(&mut pending).store_places(tables)?;
        }
    }
    pending.store_places(tables)
}

/// What the tables hold of everybody who was looked at, if they are right.
#[derive(Default)]
pub(super) struct Walked {
    days: BTreeMap<Day, Difference>,
    stragglers: u64,
}

impl Walked {
    /// Looks at one more; what the tables do not say of him is a finding.
    pub(super) fn see(
        &mut self,
        user: &User,
        last_login: Option<UnixSeconds>,
        view: &View,
        seen: &mut Inspection,
    ) -> Result<(), Fault> {
        let Some(place) = place(user, last_login) else { return Ok(()) };
        self.days.entry(place.day).or_default().count(place, 1);
        if place.side == Side::Straggler {
            self.stragglers += 1;
            if view.stragglers.get(&straggler_key(place.day, user.id.0.as_bytes()))?.is_none() {
                seen.found(format_args!("user {}: he is not among those who have not come over", user.id));
            }
        }
        Ok(())
    }

    /// Holds what everybody together should come to against what is kept.
    pub(super) fn compare(&self, view: &View, seen: &mut Inspection) -> Result<(), Fault> {
        let kept = view.stragglers.len()?;
        if kept != self.stragglers {
            let there_are = self.stragglers;
            seen.found(format_args!("{kept} users are kept as not come over, and {there_are} have not"));
        }
        let mut days: BTreeMap<Day, Tally> = BTreeMap::new();
        for row in view.days.iter()? {
            let (day, row) = row?;
            days.insert(Day::from_number(day.value()), tally(row.value()));
        }
        let every_day: BTreeSet<Day> = days.keys().chain(self.days.keys()).copied().collect();
        for day in every_day {
            let kept = days.get(&day).copied().unwrap_or_default();
            let counted = self.days.get(&day).copied().unwrap_or_default().applied_to(Tally::default());
            if kept != counted {
                let number = day.number();
                seen.found(format_args!(
                    "the counts of those last seen on day {number} are kept as {kept:?}, and are {counted:?}"
                ));
            }
        }
        Ok(())
    }
}

/// As many stragglers are noted in memory while everybody is counted.
const COUNTED_AT_ONCE: usize = 100_000;

fn keep_pace(table: &mut Table<'_, u16, PaceRow>, today: Day, steps: Pace) -> Result<(), Fault> {
    let before = table.get(today.number())?.map(|row| pace(row.value())).unwrap_or_default();
    let after = before.and(steps);
    table.insert(today.number(), (after.came_over, after.came_over_active, after.arrived, after.registered))?;
    while table.len()? > PACE_DAYS {
        drop(table.pop_first()?);
    }
    Ok(())
}

fn tally_of(days: &Table<'_, u16, DayRow>, day: u16) -> Result<Tally, Fault> {
    Ok(days.get(day)?.map(|row| tally(row.value())).unwrap_or_default())
}

fn tally((stragglers, straggler_value, over, over_value, listed): DayRow) -> Tally {
    Tally { stragglers, straggler_value, over, over_value, listed }
}

fn row_of(tally: Tally) -> DayRow {
    (tally.stragglers, tally.straggler_value, tally.over, tally.over_value, tally.listed)
}

fn pace((came_over, came_over_active, arrived, registered): PaceRow) -> Pace {
    Pace { came_over, came_over_active, arrived, registered }
}

fn straggler_key(day: Day, id: &IdBytes) -> StragglerKey {
    let mut key = [0; 18];
    let (front, back) = key.split_at_mut(2);
    front.copy_from_slice(&day.number().to_be_bytes());
    back.copy_from_slice(id);
    key
}

fn id_in(key: &StragglerKey) -> &IdBytes {
    // An array of 18 has a last chunk of 16.
    key.last_chunk().unwrap_or(&[0; 16])
}

/// `20600-0190…`: the day and the id.
fn cursor(key: &StragglerKey) -> String {
    let [high, low, ..] = *key;
    format!("{}-{}", u16::from_be_bytes([high, low]), Uuid::from_bytes(*id_in(key)))
}

fn read_cursor(text: &str) -> Option<StragglerKey> {
    let (day, id) = text.split_once('-')?;
    let key = straggler_key(Day::from_number(day.parse().ok()?), Uuid::try_parse(id).ok()?.as_bytes());
    // One spelling, as everywhere.
    (cursor(&key) == text).then_some(key)
}

#[cfg(test)]
mod tests {
    use ::redb::ReadableDatabase as _;
    use ::redb::backends::InMemoryBackend;

    use super::super::inspect::inspect;
    use super::super::record::Codec;
    use super::super::schema::{self, Ledger, initialise};
    use super::super::writer::begin;
    use super::*;
    use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
    use crate::domain::password::PasswordNormalization;
    use crate::domain::user::{Origin, Standing, Version};

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_one() {
        let key = straggler_key(Day::from_number(20_600), Uuid::from_u128(0x0190_abcd << 96).as_bytes());
        let text = cursor(&key);
        assert_eq!(read_cursor(&text), Some(key));
        assert_eq!(text, "20600-0190abcd-0000-0000-0000-000000000000");
        for other in
            ["", "20600", "20600-", "-0190abcd-0000-0000-0000-000000000000", "0", &text[1..], &text.to_uppercase()]
        {
            assert_ne!(read_cursor(other), Some(key), "{other}");
        }
        for other in ["+20600-0190abcd-0000-0000-0000-000000000000", "020600-0190abcd-0000-0000-0000-000000000000"] {
            assert_eq!(read_cursor(other), None, "{other}");
        }
    }

    fn user(number: u128) -> User {
        User {
            id: UserId(Uuid::from_u128(number)),
            legacy_id: None,
            identifiers: Vec::new(),
            profile: serde_json::json!({}),
            credential: match number % 3 {
                0 => Credential::Absent(AbsentBecause::Roster),
                1 => Credential::Absent(AbsentBecause::ResetAtLegacy),
                _ => Credential::Imported(StoredHash::new("$2b$10$x".to_owned(), PasswordNormalization::None)),
            },
            standing: [Standing::Active, Standing::Active, Standing::Disabled, Standing::Deleted][number as usize % 4],
            origin: if number.is_multiple_of(3) { Origin::Roster } else { Origin::Migrated },
            created_at: UnixSeconds(1_700_000_000),
            updated_at: UnixSeconds(1_700_000_000),
            legacy_vouched_at: number.is_multiple_of(5).then_some(UnixSeconds(1_700_000_000 + 86_400 * number as u64)),
            roster: None,
            normalization_version: 1,
            version: Version(number as u64),
        }
    }

    /// A store of the schema before these tables, as [`count_everybody`] leaves it; what is wrong with it.
    fn counted(users: u128, spoil: impl FnOnce(&mut Tables<'_>)) -> Vec<String> {
        let database = ::redb::Builder::new().create_with_backend(InMemoryBackend::new()).expect("a database");
        let transaction = begin(Some(&database)).expect("a transaction");
        initialise(&transaction).expect("made");
        let mut tables = schema::Tables::of(&transaction, &Codec::default()).expect("tables");
        let mut ledger = Ledger { revision: 1_000_000, ..Ledger::default() };
        for user in (0..users).map(user) {
            let bytes = tables.users.encode(&user).expect("small enough");
            tables.users.insert(user.id.0.as_bytes(), bytes.as_slice()).expect("written");
            ledger.count_in(&user);
        }
        ledger.store(&mut tables.meta).expect("written");
        count_everybody(&mut tables.roster, &tables.users).expect("counted");
        spoil(&mut tables.roster);
        drop(tables);
        transaction.commit().expect("committed");
        let transaction = database.begin_read().expect("a transaction");
        inspect(&transaction, &Codec::default(), &mut |_| {}).findings
    }

    #[test]
    fn r101_whoever_was_there_before_these_counts_is_counted_once_and_where_he_stands() {
        assert_eq!(counted(0, |_| {}), Vec::<String>::new());
        assert_eq!(counted(500, |_| {}), Vec::<String>::new());
    }

    #[test]
    fn counts_that_are_not_those_of_the_users_are_found() {
        let one_less = counted(50, |tables| {
            let day = tables.days.iter().expect("rows").next().expect("a row").expect("a row").0.value();
            let row = tables.days.remove(day).expect("a row").expect("a row").value();
            tables.days.insert(day, (row.0.wrapping_sub(1), row.1, row.2, row.3, row.4)).expect("written");
        });
        assert!(one_less.len() == 1 && one_less[0].contains("last seen on day"), "{one_less:?}");
        let lost = counted(50, |tables| drop(tables.stragglers.pop_first().expect("read")));
        assert!(lost.iter().any(|found| found.contains("he is not among those who have not come over")), "{lost:?}");
        assert!(lost.iter().any(|found| found.contains("are kept as not come over")), "{lost:?}");
        let made_up = counted(50, |tables| drop(tables.stragglers.insert(&[7; 18], ()).expect("written")));
        assert!(made_up.len() == 1 && made_up[0].contains("are kept as not come over"), "{made_up:?}");
    }

    #[test]
    fn keys_sort_by_day_and_then_by_id() {
        let key = |day, id| straggler_key(Day::from_number(day), Uuid::from_u128(id).as_bytes());
        assert!(key(0, u128::MAX) < key(1, 0) && key(255, 9) < key(256, 0) && key(300, 1) < key(300, 2));
    }

    #[test]
    fn a_user_who_leaves_and_comes_back_in_one_transaction_is_there() {
        let mut pending = Pending::default();
        let place = Place { day: Day::from_number(9), side: Side::Straggler, value: 3, listed: true };
        let over = Place { side: Side::Over, ..place };
        let id = UserId(Uuid::from_u128(1));
        for (before, after) in [(None, Some(place)), (Some(place), Some(over)), (Some(over), Some(place))] {
            pending.moved(id, before, after);
        }
        assert_eq!(pending.stragglers.values().copied().collect::<Vec<_>>(), [Presence::There]);
        let difference = Difference { stragglers: 1, straggler_value: 3, listed: 1, ..Difference::default() };
        assert_eq!(pending.days.into_values().collect::<Vec<_>>(), [difference]);
    }
}
