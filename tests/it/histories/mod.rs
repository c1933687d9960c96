//! Random histories of the store against a model of it: registrations, migrations, changes, renames, deletions, one after the
//! other and many at once, with the store closed and opened and the power cut in between.
//!
//! After each step the answers are the model's, and so is everything that can be seen of the store. After a power cut the store is
//! in the state after some number of the writes, none left out in the middle, and at least after all that were acknowledged.
//!
//! 200 histories by default, `AUTHFERRY_HISTORIES` or, with `AUTHFERRY_LONG=1`, 100,000. What proptest finds it makes small; the
//! history that it prints is the whole of what is needed to see the same again.

mod at_once;
mod model;
mod steps;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use authferry::domain::clock::{Clock, SystemClock, UnixSeconds};
use authferry::domain::import::Imported;
use authferry::domain::proof::{LegacyAccepted, LegacyIdentity};
use authferry::domain::proof::{Migrated, ToldBy};
use authferry::domain::user::{Origin, Standing, UserId};
use authferry::service::ports::{
    ConflictQuery, Found, ImportBatch, Inserted, LegacySide, NewUser, ProvenUser, Resolved, Saved, Updated, UserChange,
    UserQuery, UserStore,
};
use authferry::store::redb::RedbStore;
use authferry::telemetry::Metrics;
use futures_util::future::join_all;
use proptest::test_runner::{Config, TestRunner};
use redb::StorageBackend;
use uuid::Uuid;

use self::model::{Change, Model, Record, Row, Whole, seen};
use self::steps::{Asked, Back, PREFIXES, Step, histories, legacy_ids, typed};
use crate::crash_disk::{Call, Dice, Disk};
use crate::store_people::{NOW, candidates, everyone, hash};

const CACHE: usize = 1 << 20;

/// How many histories are run.
fn runs() -> u32 {
    let asked = std::env::var("AUTHFERRY_HISTORIES").ok().and_then(|runs| runs.parse().ok());
    asked.unwrap_or(if std::env::var_os("AUTHFERRY_LONG").is_some() { 100_000 } else { 200 })
}

#[test]
fn r86_r94_every_history_is_one_of_the_model() {
    let config = Config { cases: runs(), failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let run = TestRunner::new(config).run(&histories(), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.take(step).await;
            }
            world.assert_found_by_everything().await;
        });
        Ok(())
    });
    if let Err(failed) = run {
        panic!("{failed}");
    }
}

/// A clock that a history moves.
struct Calendar(Mutex<UnixSeconds>);

impl Clock for Calendar {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn wall(&self) -> UnixSeconds {
        *self.0.lock().expect("nobody panics with it")
    }
}

/// A store, the disk under it, and the model beside it.
struct World {
    calendar: Arc<Calendar>,
    disk: Disk,
    store: Option<Arc<RedbStore>>,
    model: Model,
    /// What the disk held when its calls began to be written down.
    start: Vec<u8>,
    /// The model after each write since then.
    states: Vec<State>,
    /// Every name that was ever asked for.
    names: BTreeSet<String>,
    serial: usize,
}

/// The state after one write: it may have been on the disk since some call after `asked`, and has to be since `answered`.
struct State {
    asked: usize,
    answered: usize,
    model: Model,
}

enum Answer {
    Saved(Saved),
    Inserted(Option<Box<(Migrated, Record)>>),
    Updated(Updated),
    Resolved(Resolved),
    Imported(Vec<Imported>),
    Forgotten(u64),
    ModeSet,
}

impl World {
    fn new() -> Self {
        let disk = Disk::default();
        RedbStore::create_on(disk.clone(), CACHE).expect("a new store");
        let calendar = Arc::new(Calendar(Mutex::new(NOW)));
        let mut world = Self {
            calendar,
            disk,
            store: None,
            model: Model::default(),
            start: Vec::new(),
            states: Vec::new(),
            names: typed().into_iter().collect(),
            serial: 0,
        };
        // All of it is synced, so this is what is there.
        world.start_anew(world.disk.after_power_cut(&mut Dice(0)));
        world
    }

    /// Goes on with what is on a disk.
    fn start_anew(&mut self, image: Vec<u8>) {
        self.store = None;
        self.disk = Disk::of(image.clone());
        self.disk.record();
        self.start = image;
        self.states = vec![State { asked: 0, answered: 0, model: self.model.clone() }];
        self.open();
    }

    fn open(&mut self) {
        let clock: Arc<dyn Clock> = Arc::clone(&self.calendar) as _;
        let store = RedbStore::open_on(self.disk.clone(), CACHE, Arc::new(Metrics::new()), clock);
        self.store = Some(Arc::new(store.expect("what was there is opened")));
    }

    fn store(&self) -> &RedbStore {
        self.store.as_deref().expect("it is open between steps")
    }

    fn now(&self) -> UnixSeconds {
        self.calendar.wall()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Writes(asks) => {
                let asked: Vec<Asked> = asks
                    .iter()
                    .map(|ask| {
                        self.serial += 1;
                        ask.meant(&self.model, self.serial, self.now())
                    })
                    .collect();
                let names = asked.iter().flat_map(Asked::names).map(|name| name.text().to_owned());
                self.names.extend(names);
                self.write(asked).await;
            }
            Step::Tick(seconds) => {
                let mut now = self.calendar.0.lock().expect("nobody panics with it");
                *now = UnixSeconds(now.0 + u64::from(*seconds));
            }
            Step::Reopen => {
                self.store = None;
                self.open();
            }
            Step::PowerCut { back, dice } => self.cut_power(*back, Dice(*dice)).await,
        }
        let found = self.whole().await;
        self.model.settle(&found);
        assert_eq!(found, self.model.whole(), "after {step:?}");
    }

    /// Asks for writes at once; the store takes them in the order in which they were asked for.
    async fn write(&mut self, asked: Vec<Asked>) {
        let (store, disk) = (self.store(), &self.disk);
        let before = disk.recorded();
        let now = self.now();
        let writes = asked.iter().map(|asked| async move { (put(store, asked, now).await, disk.recorded()) });
        let answers = join_all(writes.collect::<Vec<_>>()).await;
        for (asked, (answer, answered)) in asked.iter().zip(answers) {
            self.expect(asked, &answer);
            self.states.push(State { asked: before, answered, model: self.model.clone() });
        }
    }

    /// Does the same to the model, and compares the answers.
    fn expect(&mut self, asked: &Asked, answer: &Answer) {
        let now = self.now();
        match (asked, answer) {
            (Asked::Migrate(migration), Answer::Saved(saved)) => {
                let fresh = match saved {
                    Saved::Created(created) => self.fresh(*created),
                    _ => UserId(Uuid::nil()),
                };
                assert_eq!(*saved, self.model.migrate(migration, fresh), "{asked:?}");
            }
            (Asked::Register(registration), Answer::Inserted(inserted)) => {
                let fresh = inserted.as_ref().map_or(UserId(Uuid::nil()), |new| self.fresh(new.0));
                let expected = self.model.register(registration, fresh);
                let expected = expected.map(|created| Box::new((created, self.model.users[&created.id()].clone())));
                assert_eq!(*inserted, expected, "{asked:?}");
            }
            (Asked::Change(id, based_on, change), Answer::Updated(updated)) => {
                if let (Change::Stand(Standing::Deleted), Updated::Done(told)) = (change, updated) {
                    self.model.settle_grave(*told);
                }
                assert_eq!(*updated, self.model.change(*id, *based_on, change, now), "{asked:?}");
            }
            (Asked::Resolve(number, resolution), Answer::Resolved(resolved)) => {
                assert_eq!(*resolved, self.model.resolve(*number, resolution, now), "{asked:?}");
            }
            (Asked::Import(rows, on_conflict), Answer::Imported(results)) => {
                assert_eq!(*results, self.model.import(rows, *on_conflict, now, results), "{asked:?}");
            }
            (Asked::Forget(who), Answer::Forgotten(forgotten)) => {
                assert_eq!(*forgotten, self.model.forget(who), "{asked:?}");
            }
            (Asked::SetMode(mode), Answer::ModeSet) => self.model.set_mode(*mode),
            (asked, _) => unreachable!("each write has an answer of its kind: {asked:?}"),
        }
    }

    fn fresh(&self, created: Migrated) -> UserId {
        assert!(!self.model.users.contains_key(&created.id()), "a new user has somebody else's key");
        created.id()
    }

    /// Cuts the power at some call of the disk since the last time, and opens what is left.
    async fn cut_power(&mut self, back: Back, mut dice: Dice) {
        self.store = None;
        let trace = self.disk.take_trace();
        let made = match back {
            Back::Calls(calls) => trace.len().saturating_sub(usize::from(calls)),
            Back::Anywhere => dice.roll(trace.len() + 1),
        };
        let start = std::mem::take(&mut self.start);
        let image = after(start, &trace[..made], &mut dice);
        let states = std::mem::take(&mut self.states);
        self.start_anew(image);

        let acknowledged = states.iter().rposition(|state| state.answered <= made).expect("the first always is");
        let possible = states.iter().enumerate().skip(acknowledged);
        let possible = possible.filter(|(number, state)| *number == acknowledged || state.asked < made);
        let found = self.whole().await;
        let settled = possible.map(|(_, state)| {
            let mut model = state.model.clone();
            model.settle(&found);
            model
        });
        let Some(model) = settled.into_iter().find(|model| model.whole() == found) else {
            panic!(
                "{made} of {} calls were made, which acknowledged {acknowledged} of {} writes: {:#?}\n\nis no state that \
                 follows from {:#?}",
                trace.len(),
                states.len() - 1,
                found,
                states[acknowledged].model.whole()
            );
        };
        self.model = model;
        self.states = vec![State { asked: 0, answered: 0, model: self.model.clone() }];
        self.assert_found_by_everything().await;
    }

    /// All that can be seen of the store without looking for somebody.
    async fn whole(&self) -> Whole {
        let store = self.store();
        let every_conflict = ConflictQuery { decided_too: true, limit: 1_000, ..ConflictQuery::default() };
        let lookup = store.find(&candidates("nobody-has-this-name")).await.expect("a lookup");
        Whole {
            users: everyone(store, 7).await.iter().map(seen).collect(),
            counts: store.counts().await.expect("counts"),
            revision: lookup.revision,
            mode: store.mode().await.expect("a mode"),
            conflicts: store.conflicts(every_conflict).await.expect("conflicts"),
        }
    }

    /// Looks for everybody by everything.
    async fn assert_found_by_everything(&self) {
        let (store, model) = (self.store(), &self.model);
        for typed in &self.names {
            let candidates = candidates(typed);
            let found = store.find(&candidates).await.expect("a lookup");
            assert_eq!(found.revision, model.revision());
            let holders = store.holders(candidates.keys()).await.expect("a lookup");
            let holders: Vec<_> = holders.into_iter().map(|holder| holder.map(|one| (one.id, one.bears))).collect();
            assert_eq!(holders, candidates.keys().iter().map(|key| model.holder(key)).collect::<Vec<_>>(), "{typed}");
            let expected: Vec<&Record> = model.find(&candidates).iter().map(|id| &model.users[id]).collect();
            match (found.found, expected.as_slice()) {
                (Found::Nobody, []) | (Found::Ambiguous, [_, _, ..]) => {}
                (Found::One(user), [expected]) => assert_eq!(seen(&user), **expected, "{typed}"),
                (found, expected) => panic!("{typed} finds {}, not {expected:#?}", kind(&found)),
            }
        }
        for id in legacy_ids().into_iter().chain(model.users.keys().map(UserId::to_string)) {
            let found = store.find_public(&id).await.expect("a lookup").as_ref().map(seen);
            assert_eq!(found.as_ref(), model.find_public(&id).map(|id| &model.users[&id]), "{id}");
        }
        for prefix in PREFIXES {
            for limit in [1, 3, 1_000] {
                let expected: Vec<_> = model.with_prefix(prefix).iter().map(|id| model.users[id].clone()).collect();
                assert_eq!(listed(store, prefix, limit).await, expected, "{prefix} in pages of {limit}");
            }
        }
    }
}

/// What a power cut leaves after these calls.
fn after(start: Vec<u8>, calls: &[Call], dice: &mut Dice) -> Vec<u8> {
    let disk = Disk::of(start);
    for call in calls {
        match call {
            Call::Write(offset, data) => disk.write(*offset, data),
            Call::SetLen(length) => disk.set_len(*length),
            Call::Sync => disk.sync_data(),
        }
        .expect("a disk without trouble");
    }
    disk.after_power_cut(dice)
}

async fn put(store: &RedbStore, asked: &Asked, now: UnixSeconds) -> Answer {
    match asked.clone() {
        Asked::Migrate(asked) => {
            let identity = LegacyIdentity {
                id: asked.id,
                identifiers: asked.names,
                profile: asked.profile,
                told_by: ToldBy::Owner,
            };
            let proven = ProvenUser {
                accepted: LegacyAccepted::assert_by_connector(identity),
                hash: hash(&asked.password),
                origin: Origin::Migrated,
                asked: asked.asked,
                based_on: asked.based_on,
                at: asked.at,
            };
            Answer::Saved(store.save_proven(proven).await.expect("a save"))
        }
        Asked::Register(asked) => {
            let new = NewUser {
                identifiers: asked.names,
                must_be_free: asked.must_be_free,
                profile: asked.profile,
                hash: hash(&asked.password),
                legacy: asked.at_legacy.map(|id| LegacySide { id }),
                at: asked.at,
            };
            match store.insert_new(new).await.expect("an insertion") {
                Inserted::Inserted(created, user) => Answer::Inserted(Some(Box::new((created, seen(&user))))),
                Inserted::Exists => Answer::Inserted(None),
            }
        }
        Asked::Change(id, based_on, change) => {
            let change = match change {
                Change::Rehash(password) => UserChange::Rehash(hash(&password)),
                Change::SetPassword(password) => UserChange::SetPassword(hash(&password)),
                Change::DropPassword => UserChange::DropPassword,
                Change::Stand(standing) => UserChange::SetStanding(standing),
                Change::Vouched => UserChange::Vouched,
                Change::Undelete => UserChange::Undelete,
                Change::AddAlias(alias, must_be_free) => UserChange::AddAlias { alias, must_be_free },
                Change::RemoveAlias(name, then) => UserChange::RemoveAlias { name, then },
            };
            Answer::Updated(store.update(id, based_on, change).await.expect("a change"))
        }
        Asked::Resolve(number, resolution) => {
            Answer::Resolved(store.resolve(number, resolution).await.expect("a resolution"))
        }
        Asked::Import(rows, on_conflict) => {
            let rows = rows.iter().map(Row::incoming).collect();
            let batch = ImportBatch { rows, on_conflict, checkpoint: None, at: now };
            Answer::Imported(store.import(batch).await.expect("an import"))
        }
        Asked::Forget(who) => Answer::Forgotten(store.forget_listed(who).await.expect("an answer")),
        Asked::SetMode(mode) => {
            store.set_mode(mode).await.expect("a mode");
            Answer::ModeSet
        }
    }
}

/// Everyone with a prefix, page by page.
async fn listed(store: &RedbStore, prefix: &str, limit: usize) -> Vec<Record> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let query = UserQuery { prefix: Some(prefix.to_owned()), after: after.take(), limit, ..UserQuery::default() };
        let page = store.list(query).await.expect("a page");
        users.extend(page.users.iter().map(seen));
        match page.next {
            Some(next) => after = Some(next),
            None => return users,
        }
    }
}

fn kind(found: &Found) -> &'static str {
    match found {
        Found::Nobody => "nobody",
        Found::One(_) => "one",
        Found::Ambiguous => "several",
    }
}
