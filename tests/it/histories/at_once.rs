//! Registrations, migrations, changes, deletions and lookups of one user by several tasks at once, over a real file: whatever the
//! tasks saw has to be what one after the other could have seen (R85).
//!
//! The version of a record makes this easy to check. It says where in the one order a write took place, and which write a lookup
//! saw; what is left to check is that this order agrees with what each task knew when it asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use authferry::domain::clock::SystemClock;
use authferry::domain::user::{Standing, User, UserId, Version};
use authferry::service::ports::{Inserted, Saved, Updated, UserChange, UserStore};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::crash_disk::Dice;
use crate::store_people::*;

const TASKS: usize = 6;

/// What a record held: the password, or a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Password(String),
    Buried,
}

/// What a task did, and what came of it.
#[derive(Debug, Clone)]
enum Deed {
    /// Nobody was there.
    SawNobody,
    Saw(Version, Held),
    /// Wrote this, having seen that version.
    Wrote {
        based_on: Option<Version>,
        became: Version,
        held: Held,
    },
    /// Was told that the record is not the one of that version any more.
    Late {
        based_on: Version,
    },
    /// Was told that there is such a user.
    Exists,
    /// Was told that he is deleted.
    Closed,
}

/// A deed, between the moment when it was asked for and the one when it was answered.
#[derive(Debug, Clone)]
struct Event {
    from: u64,
    to: u64,
    deed: Deed,
}

/// One order of all moments.
#[derive(Default)]
struct Moments(AtomicU64);

impl Moments {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

fn rounds() -> u64 {
    if std::env::var_os("AUTHFERRY_LONG").is_some() { 300 } else { 6 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r85_what_many_do_to_one_user_at_once_happens_in_one_order() {
    let directory = TempDir::new().expect("a temporary directory");
    let settings = StoreSettings::without_keys(directory.path().join("users.redb"), 1 << 20);
    let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a new store");
    let (mut written, mut late) = (0, 0);
    for round in 0..rounds() {
        let moments = Arc::new(Moments::default());
        let tasks = (0..TASKS).map(|task| {
            let dice = Dice(round << 8 | task as u64);
            tokio::spawn(meddle(Arc::clone(&store), Arc::clone(&moments), dice, task, round))
        });
        let events: Vec<Event> =
            join_all(tasks).await.into_iter().flat_map(|events| events.expect("no panic")).collect();
        assert_one_order(&events);
        written += events.iter().filter(|event| matches!(event.deed, Deed::Wrote { .. })).count();
        late += events.iter().filter(|event| matches!(event.deed, Deed::Late { .. })).count();
    }
    assert!(written > 20 && late > 5, "{written} writes, {late} late ones: the tasks hardly met");
    assert_consistent(&store).await;
}

/// What one task does to the user of this round.
async fn meddle(
    store: Arc<dyn UserStore>,
    moments: Arc<Moments>,
    mut dice: Dice,
    task: usize,
    round: u64,
) -> Vec<Event> {
    let names = [email(&format!("shared{round}@x.y")), username(&format!("shared{round}"))];
    let typed = [format!("shared{round}@x.y"), format!("SHARED{round}")];
    let (mut events, mut last): (Vec<Event>, Option<(UserId, Version)>) = (Vec::new(), None);
    // To bury somebody twice is well answered twice, so one task does it, once; rarely, so that most of a round comes before.
    let mut may_bury = task == 0;
    for turn in 0..25 {
        let password = format!("{round}-{task}-{turn}");
        let from = moments.next();
        let deed = match (dice.roll(20), last) {
            (0..=1, _) => {
                let new = at_both(&names, &password, Some(round.into()));
                match store.insert_new(new).await.expect("an insertion") {
                    Inserted::Inserted(done, user) => {
                        last = Some((user.id, done.version()));
                        wrote(None, done.version(), password)
                    }
                    Inserted::Exists => Deed::Exists,
                }
            }
            (2..=4, _) => {
                // Every change of any user moves the revision on; only those of this one may come in between.
                let based_on = revision(&*store).await;
                match store.save_proven(proven(round, &names, &password, based_on)).await.expect("a save") {
                    Saved::Created(done) | Saved::Updated(done) => {
                        last = Some((done.id(), done.version()));
                        wrote(Some(based_on), done.version(), password)
                    }
                    Saved::Stale => Deed::Late { based_on },
                    Saved::Closed => Deed::Closed,
                    Saved::Conflict { with } | Saved::Settled { with } => {
                        panic!("{with} has the names of the one user of this round")
                    }
                }
            }
            (5..=11, Some((id, version))) => {
                let bury = may_bury && dice.roll(8) == 0;
                let change = if bury { stand(Standing::Deleted) } else { UserChange::SetPassword(hash(&password)) };
                match store.update(id, version, change).await.expect("a change") {
                    Updated::Done(done) => {
                        last = Some((id, done.version()));
                        may_bury &= !bury;
                        let held = if bury { Held::Buried } else { Held::Password(password) };
                        Deed::Wrote { based_on: Some(version), became: done.version(), held }
                    }
                    Updated::Stale => Deed::Late { based_on: version },
                    Updated::Missing => Deed::Closed,
                    Updated::Refused(refused) => panic!("{refused:?}"),
                }
            }
            (5..=13, _) => saw(find(&*store, &typed[dice.roll(2)]).await, &mut last),
            _ => saw(store.find_public(&round.to_string()).await.expect("a lookup"), &mut last),
        };
        events.push(Event { from, to: moments.next(), deed });
    }
    events
}

fn wrote(based_on: Option<Version>, became: Version, password: String) -> Deed {
    Deed::Wrote { based_on, became, held: Held::Password(password) }
}

fn saw(user: Option<User>, last: &mut Option<(UserId, Version)>) -> Deed {
    let Some(user) = user else { return Deed::SawNobody };
    *last = Some((user.id, user.version));
    let held = match (hash_text(&user), user.standing) {
        (Some(password), Standing::Active) => Held::Password(password.to_owned()),
        (None, Standing::Deleted) => Held::Buried,
        (_, standing) => panic!("nobody made him {standing:?}"),
    };
    Deed::Saw(user.version, held)
}

/// Checks that the events are those of one user to whom one thing after the other happened.
fn assert_one_order(events: &[Event]) {
    let mut writes: BTreeMap<Version, (&Event, &Held)> = BTreeMap::new();
    for event in events {
        if let Deed::Wrote { became, held, .. } = &event.deed {
            assert!(writes.insert(*became, (event, held)).is_none(), "two writes made {became:?}");
        }
    }
    // After the last write before it began and not before the first that ended.
    let known_before = |event: &Event| {
        let done = events.iter().filter(|earlier| earlier.to < event.from);
        done.filter_map(|earlier| earlier.deed.version()).max()
    };
    for event in events {
        let known = known_before(event);
        match &event.deed {
            Deed::SawNobody => assert_eq!(known, None, "{event:?} forgot a user"),
            Deed::Saw(version, held) => {
                let (write, written) = writes.get(version).unwrap_or_else(|| panic!("{event:?} saw what nobody wrote"));
                assert_eq!(held, *written, "{event:?}");
                assert!(write.from < event.to, "{event:?} saw the future");
                assert!(known.is_none_or(|known| known <= *version), "{event:?} fell back behind {known:?}");
            }
            Deed::Wrote { based_on, became, .. } => {
                assert!(known.is_none_or(|known| known < *became), "{event:?} fell back behind {known:?}");
                let before = writes.range(..became).next_back();
                match based_on {
                    None => assert!(before.is_none(), "{event:?} registered somebody who was there: {before:?}"),
                    // Nobody may have written between what it saw and what it made: that would be a lost update.
                    Some(seen) => assert!(
                        before.is_none_or(|(version, _)| version <= seen),
                        "{event:?} overwrote {before:?} unseen"
                    ),
                }
                let buried = before.is_some_and(|(_, (_, held))| **held == Held::Buried);
                assert!(!buried, "{event:?} brought a deleted user back");
            }
            Deed::Late { based_on } => {
                let newer = writes
                    .range(based_on..)
                    .find(|(version, (write, _))| **version > *based_on && write.from < event.to);
                assert!(newer.is_some(), "{event:?} was refused for nothing");
            }
            Deed::Exists => {
                assert!(writes.values().any(|(write, _)| write.from < event.to), "{event:?}: there was nobody");
            }
            Deed::Closed => {
                let buried = writes.values().any(|(write, held)| **held == Held::Buried && write.from < event.to);
                assert!(buried, "{event:?}: he was not deleted");
            }
        }
    }
}

impl Deed {
    /// The version that was there at its end.
    fn version(&self) -> Option<Version> {
        match self {
            Self::Saw(version, _) | Self::Wrote { became: version, .. } => Some(*version),
            Self::SawNobody | Self::Late { .. } | Self::Exists | Self::Closed => None,
        }
    }
}

#[test]
#[should_panic(expected = "unseen")]
fn a_lost_update_is_seen() {
    let wrote = |from, to, based_on, became, password: &str| Event {
        from,
        to,
        deed: Deed::Wrote {
            based_on: Some(Version(based_on)),
            became: Version(became),
            held: Held::Password(password.to_owned()),
        },
    };
    assert_one_order(&[wrote(0, 1, 0, 1, "one"), wrote(2, 5, 1, 2, "two"), wrote(3, 6, 1, 3, "three")]);
}

#[test]
#[should_panic(expected = "fell back")]
fn a_lookup_that_misses_what_was_acknowledged_is_seen() {
    let held = |password: &str| Held::Password(password.to_owned());
    let wrote = |from, based_on, became, password| Event {
        from,
        to: from + 1,
        deed: Deed::Wrote { based_on: Some(Version(based_on)), became: Version(became), held: held(password) },
    };
    let saw = Event { from: 4, to: 5, deed: Deed::Saw(Version(1), held("one")) };
    assert_one_order(&[wrote(0, 0, 1, "one"), wrote(2, 1, 2, "two"), saw]);
}
