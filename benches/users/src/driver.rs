//! What is measured, and in which order: everything that is compared is measured in turns, A B C A B C, so that what else the
//! machine does meets all of them alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::Outcome;
use crate::child::{Answer, Child, Order};
use crate::engine::{self, By, Kind};
use crate::measure::{Machine, Memory, Rate, bytes_on_disk, forget_pages, free_bytes, remember_pages};
use crate::people;

/// What is asked for.
pub struct Plan {
    pub users: u64,
    pub directory: PathBuf,
    pub engines: Vec<Kind>,
    pub batch: Option<u32>,
    pub keep: bool,
}

/// The caches that lookups are measured with.
pub const CACHES: [usize; 2] = [64 << 20, 512 << 20];

/// How many saves are under way at once.
pub const AT_ONCE: [usize; 3] = [1, 8, 64];

/// Lookups at once, where a store takes several.
const LOOKUPS_AT_ONCE: usize = 16;

/// How often each figure is taken; the median is shown.
const ROUNDS: usize = 3;

const READING: Duration = Duration::from_secs(1);
const WRITING: Duration = Duration::from_secs(2);

/// The most that a run may need, in bytes a user: the input, and each store while it is loaded and its log not folded in.
const INPUT_BYTES: u64 = 420;
const STORE_BYTES: u64 = 1_100;

/// Everything that was measured.
#[derive(Serialize)]
pub struct Results {
    pub machine: Machine,
    pub users: u64,
    pub input_bytes: u64,
    pub stores: BTreeMap<Kind, Store>,
}

/// Of one store.
#[derive(Default, Serialize)]
pub struct Store {
    pub loaded_users: u64,
    pub load: Duration,
    pub load_memory: Memory,
    pub file_bytes: u64,
    /// With none of its pages in memory.
    pub open_cold: Duration,
    pub open: Duration,
    pub open_after_kill: Duration,
    /// By cache and what was looked for, one after the other on one core.
    pub reads: BTreeMap<usize, BTreeMap<By, Rate>>,
    /// The same, many at once.
    pub reads_at_once: BTreeMap<usize, Rate>,
    /// After all those lookups, by cache.
    pub read_memory: BTreeMap<usize, Memory>,
    pub writes: BTreeMap<usize, Rate>,
}

pub fn run(plan: &Plan) -> Outcome<Results> {
    let machine = Machine::of(&plan.directory)?;
    make_room(plan)?;
    let place = tempfile::Builder::new().prefix("users-bench-").tempdir_in(&plan.directory)?;
    let place = if plan.keep { Place::Kept(place.keep()) } else { Place::Deleted(place) };
    let directory = place.path();
    let input = directory.join("users.jsonl");
    eprintln!("making {} users in {}", plan.users, input.display());
    let input_bytes = people::write(&input, plan.users)?;

    let mut stores: BTreeMap<Kind, Store> = plan.engines.iter().map(|kind| (*kind, Store::default())).collect();
    for (kind, store) in &mut stores {
        eprintln!("loading {}", kind.name());
        match kind {
            Kind::Authferry => {
                let path = kind.path(directory);
                (store.load, store.load_memory) = engine::import(&input, &path, CACHES[0], plan.batch)?;
                store.loaded_users = plan.users;
            }
            Kind::Sqlite | Kind::Lmdb => load(*kind, store, &input, directory)?,
        }
        store.file_bytes = bytes_on_disk(&kind.path(directory))?;
    }
    if !plan.keep {
        fs::remove_file(&input)?;
    }
    for (kind, store) in &mut stores {
        eprintln!("opening {}", kind.name());
        open(*kind, store, directory, plan.users)?;
    }
    for cache in CACHES {
        eprintln!("looking users up with {} MiB of cache", cache >> 20);
        look_up(&mut stores, cache, directory, plan.users)?;
    }
    eprintln!("saving users");
    save(&mut stores, directory, plan.users)?;
    Ok(Results { machine, users: plan.users, input_bytes, stores })
}

enum Place {
    Deleted(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Deleted(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

/// Says what the run will need, and refuses where it is not there.
fn make_room(plan: &Plan) -> Outcome<()> {
    let needed = plan.users * (INPUT_BYTES + STORE_BYTES * plan.engines.len() as u64) + (64 << 20);
    let free = free_bytes(&plan.directory)?;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    eprintln!(
        "{} users in {}: up to {:.1} GiB of {:.1} free, and about {} MiB of memory a store",
        plan.users,
        plan.directory.display(),
        gib(needed),
        gib(free),
        (CACHES[1] >> 20) + 150
    );
    if free < needed + (1 << 30) {
        return Err(format!("there is not enough room in {} with a GiB to spare", plan.directory.display()).into());
    }
    Ok(())
}

/// A process with a store open.
fn opened(kind: Kind, directory: &Path, cache: usize) -> Outcome<(Child, Duration)> {
    let mut child = Child::start()?;
    let took = child.done(&Order::Open { kind, path: kind.path(directory), cache })?;
    Ok((child, took))
}

fn load(kind: Kind, store: &mut Store, input: &Path, directory: &Path) -> Outcome<()> {
    let (mut child, _made) = opened(kind, directory, CACHES[0])?;
    match child.ask(&Order::Load(input.to_owned()))? {
        Answer::Loaded { users, took } => (store.loaded_users, store.load) = (users, took),
        other => return Err(format!("{other:?}").into()),
    }
    store.load_memory = child.memory()?;
    child.done(&Order::Close)?;
    Ok(())
}

/// Opens the store cold, warm, and after a process was killed while it wrote.
fn open(kind: Kind, store: &mut Store, directory: &Path, users: u64) -> Outcome<()> {
    let path = kind.path(directory);
    forget_pages(&path)?;
    let close = |took: &mut Duration| -> Outcome<()> {
        let (mut child, opening) = opened(kind, directory, CACHES[0])?;
        *took = opening;
        child.done(&Order::Close)?;
        Ok(())
    };
    close(&mut store.open_cold)?;
    // From here on the system has all of it in memory, for each of them alike: what a disk costs is not what differs between them.
    remember_pages(&path)?;
    close(&mut store.open)?;
    let (mut child, _) = opened(kind, directory, CACHES[0])?;
    child.tell(&Order::Write { first: users * 2, at_once: 8, lasting: Duration::from_secs(60) })?;
    std::thread::sleep(Duration::from_secs(1));
    child.kill()?;
    close(&mut store.open_after_kill)
}

/// One core for all, one store at a time.
fn look_up(stores: &mut BTreeMap<Kind, Store>, cache: usize, directory: &Path, users: u64) -> Outcome<()> {
    let mut children = BTreeMap::new();
    for kind in stores.keys() {
        let mut child = Child::start()?;
        child.done(&Order::Pin(0))?;
        child.done(&Order::Open { kind: *kind, path: kind.path(directory), cache })?;
        // The cache fills.
        for (by, lasting) in [(By::Email, READING * 3), (By::LegacyId, READING)] {
            child.rate(&Order::Read { by, users, seed: 99, at_once: 1, lasting })?;
        }
        children.insert(*kind, child);
    }
    let mut taken: BTreeMap<(Kind, By, usize), Vec<Rate>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for (by, at_once) in By::ALL.map(|by| (by, 1)).into_iter().chain([(By::Email, LOOKUPS_AT_ONCE)]) {
            for (kind, child) in &mut children {
                if at_once > 1 && *kind != Kind::Authferry {
                    continue;
                }
                let seed = (round as u64 + 1) << 32;
                let rate = child.rate(&Order::Read { by, users, seed, at_once, lasting: READING })?;
                taken.entry((*kind, by, at_once)).or_default().push(rate);
            }
        }
    }
    for (kind, child) in &mut children {
        let store = stores.get_mut(kind).ok_or("a store without results")?;
        store.read_memory.insert(cache, child.memory()?);
    }
    for ((kind, by, at_once), rates) in taken {
        let store = stores.get_mut(&kind).ok_or("a store without results")?;
        match at_once {
            1 => store.reads.entry(cache).or_default().insert(by, median(rates)),
            _ => store.reads_at_once.insert(cache, median(rates)),
        };
    }
    Ok(())
}

fn save(stores: &mut BTreeMap<Kind, Store>, directory: &Path, users: u64) -> Outcome<()> {
    let mut children = BTreeMap::new();
    for kind in stores.keys() {
        // Beyond the numbers that the killed process may have used.
        children.insert(*kind, (opened(*kind, directory, CACHES[0])?.0, users * 2 + (1 << 28)));
    }
    let mut taken: BTreeMap<(Kind, usize), Vec<Rate>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for at_once in AT_ONCE {
            for (kind, (child, first)) in &mut children {
                match child.ask(&Order::Write { first: *first, at_once, lasting: WRITING })? {
                    Answer::Written { rate, next } => {
                        *first = next;
                        taken.entry((*kind, at_once)).or_default().push(rate);
                    }
                    other => return Err(format!("{other:?}").into()),
                }
            }
        }
    }
    for ((kind, at_once), rates) in taken {
        stores.get_mut(&kind).ok_or("a store without results")?.writes.insert(at_once, median(rates));
    }
    Ok(())
}

/// The round in the middle.
fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rates[rates.len() / 2]
}
