//! What the layer promises: it is a file like any other to redb, and nothing that the disk made up is ever handed on.

use ::redb::backends::InMemoryBackend;
use ::redb::{Builder, Database, ReadableDatabase as _, TableDefinition};
use proptest::prelude::*;

use super::*;

const PAGE: u64 = BLOCK as u64;
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// A disk in memory that tests can reach under the layer. One block of it may be unreadable.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<(InMemoryBackend, Mutex<Option<u64>>)>);

impl Disk {
    fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.0.0.read(at, &mut byte).expect("inside");
        byte[0]
    }

    fn flip(&self, at: u64) {
        self.0.0.write(at, &[self.byte(at) ^ 0x04]).expect("inside");
    }

    fn block(&self, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        self.0.0.read(number * PAGE, &mut bytes).expect("inside");
        bytes
    }

    fn put(&self, number: u64, bytes: &[u8]) {
        self.0.0.write(number * PAGE, bytes).expect("inside");
    }

    fn blocks(&self) -> u64 {
        self.0.0.len().expect("memory") / PAGE
    }

    fn lose(&self, block: Option<u64>) {
        *self.0.1.lock().expect("no panic") = block;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        self.0.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let lost = *self.0.1.lock().expect("no panic");
        if lost.is_some_and(|lost| offset < (lost + 1) * PAGE && lost * PAGE < offset + out.len() as u64) {
            return Err(Error::from_raw_os_error(EIO));
        }
        self.0.0.read(offset, out).map_err(|_outside| ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.0.set_len(len)
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.0.write(offset, data)
    }
}

fn create(disk: &Disk) -> Checked<Disk> {
    Checked::create(disk.clone(), 2, Arc::new(Metrics::new())).expect("memory")
}

fn open(disk: &Disk) -> Checked<Disk> {
    Checked::open(disk.clone(), 2, Arc::new(Metrics::new())).expect("a file of ours")
}

/// A file of so many blocks, each filled with its number, the header with 7s.
fn filled(disk: &Disk, blocks: u64) -> Checked<Disk> {
    let checked = create(disk);
    checked.set_len(blocks * PAGE).expect("memory");
    checked.write(0, &[7; 320]).expect("memory");
    for block in 1..blocks {
        checked.write(block * PAGE, &[block as u8; BLOCK]).expect("memory");
    }
    checked.sync_data().expect("memory");
    checked
}

fn read_block(checked: &Checked<Disk>, block: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; BLOCK];
    checked.read(block * PAGE, &mut bytes).map(|()| bytes)
}

fn damage<T>(read: Result<T>) -> Option<Damage> {
    read.err().as_ref().and_then(Damage::of)
}

#[test]
fn r96_a_flip_of_any_byte_is_met_by_whoever_reads_what_it_changed() {
    let disk = Disk::default();
    drop(filled(&disk, 5));
    let (mut met, mut harmless) = (0, 0);
    for at in 0..disk.blocks() * PAGE {
        disk.flip(at);
        match Checked::open(disk.clone(), 2, Arc::new(Metrics::new())) {
            Err(error) => met += u32::from(Damage::of(&error).is_some()),
            Ok(checked) => {
                let mut damaged = 0;
                let mut header = [0; 320];
                match checked.read(0, &mut header) {
                    Ok(()) => assert_eq!(header, [7; 320], "byte {at}"),
                    Err(_) => damaged += 1,
                }
                for block in 1..5 {
                    match read_block(&checked, block) {
                        Ok(bytes) => assert_eq!(bytes, [block as u8; BLOCK], "byte {at}"),
                        Err(error) => damaged += u32::from(Damage::of(&error).is_some()),
                    }
                }
                met += damaged.min(1);
                harmless += u32::from(damaged == 0);
            }
        }
        disk.flip(at);
    }
    // One copy of the header may go, and what no block uses of it and of the checksums.
    let unused = 2 * BLOCK + (BLOCK - 4 * 8);
    assert_eq!((met as usize, harmless as usize), (5 * BLOCK + 4 * 8, unused));
}

#[test]
fn a_block_in_the_wrong_place_or_of_another_time_or_store_is_damage() {
    let (disk, other) = (Disk::default(), Disk::default());
    let checked = filled(&disk, 4);
    filled(&other, 4);
    let (first, second) = (disk.block(4), disk.block(5));
    assert!(read_block(&checked, 1).is_ok());

    disk.put(4, &second);
    assert_eq!(damage(read_block(&checked, 1)), Some(Damage::Block(4 * PAGE)), "another block of this store");
    disk.put(4, &first);

    // With its checksum, as a copy of the same place of another store would have it.
    let (sums, block) = (disk.block(3), disk.block(4));
    disk.put(3, &other.block(3));
    disk.put(4, &other.block(4));
    assert_eq!(damage(read_block(&open(&disk), 1)), Some(Damage::Block(4 * PAGE)), "another store's");
    disk.put(3, &sums);
    disk.put(4, &block);

    checked.write(PAGE, &[9; BLOCK]).expect("memory");
    checked.sync_data().expect("memory");
    disk.put(4, &block);
    assert_eq!(damage(read_block(&checked, 1)), Some(Damage::Block(4 * PAGE)), "what was there before");
}

#[test]
fn a_block_that_was_never_written_is_zeros_or_damage() {
    let disk = Disk::default();
    let checked = create(&disk);
    checked.set_len(4 * PAGE).expect("memory");
    assert_eq!(read_block(&checked, 2).expect("zeros"), [0; BLOCK]);
    disk.flip(5 * PAGE + 77);
    assert_eq!(damage(read_block(&checked, 2)), Some(Damage::Block(5 * PAGE)));
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let disk = Disk::default();
    let checked = filled(&disk, 700);
    for (len, grown) in [(600, 650), (300, 700), (513, 520), (1, 30)] {
        checked.set_len(len * PAGE).expect("memory");
        checked.set_len(grown * PAGE).expect("memory");
        for block in len.max(1)..grown {
            assert_eq!(read_block(&checked, block).expect("zeros"), [0; BLOCK], "block {block} of {grown}");
        }
    }
}

#[test]
fn a_file_is_refused_by_what_it_is() {
    let disk = Disk::default();
    drop(filled(&disk, 4));
    for blocks in [0, 2, 4] {
        let cut = Disk::default();
        cut.set_len(disk.blocks() * PAGE).expect("memory");
        (0..disk.blocks()).for_each(|block| cut.put(block, &disk.block(block)));
        cut.set_len(blocks * PAGE).expect("memory");
        let len = Checked::open(cut, 2, Arc::new(Metrics::new())).and_then(|checked| checked.len());
        assert!(matches!(damage(len), Some(Damage::Length(_))), "{blocks} blocks");
    }
    let preamble = Preamble::new().encode();
    disk.put(0, &preamble);
    assert_eq!(damage(open(&disk).read(0, &mut [0; 9])), Some(Damage::Header), "another preamble has another salt");
}

#[test]
fn only_the_header_may_be_written_into_the_first_block() {
    let disk = Disk::default();
    let checked = filled(&disk, 4);
    assert!(checked.write(400, &[1; 200]).is_err());
    assert!(checked.set_len(PAGE * 4 + 1).is_err());
    let mut header = [0; 320];
    checked.read(0, &mut header).expect("a header");
    assert_eq!(header, [7; 320]);
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_of_its_block_alone() {
    let disk = Disk::default();
    let checked = filled(&disk, 6);
    disk.lose(Some(5));
    assert_eq!(damage(read_block(&checked, 2)), Some(Damage::Unreadable(5 * PAGE)));
    assert_eq!(read_block(&checked, 1).expect("a block"), [1; BLOCK]);
    disk.lose(None);
    assert_eq!(read_block(&checked, 2).expect("it came back"), [2; BLOCK]);
}

#[test]
fn memory_for_checksums_is_bounded_and_counted_in_the_cache() {
    assert_eq!(shares(64 << 20), (44 << 20, 1_024));
    assert_eq!(shares(0), (0, LEAST_SUM_BLOCKS));
    let disk = Disk::default();
    let checked = filled(&disk, 5 * 512);
    for block in (1..5 * 512).rev() {
        assert_eq!(read_block(&checked, block).expect("a block"), [block as u8; BLOCK]);
    }
}

/// redb over the layer, with no cache: each read goes to the disk.
fn database(disk: &Disk) -> Database {
    let database = Builder::new().set_cache_size(0).create_with_backend(create(disk)).expect("memory");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut rows = transaction.open_table(ROWS).expect("a table");
        for n in 0..500 {
            rows.insert(n, [n as u8; 100].as_slice()).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
    database
}

fn row(database: &Database, n: u64) -> std::result::Result<Vec<u8>, Damage> {
    isolated(|| {
        let rows = database.begin_read().expect("a transaction").open_table(ROWS).expect("a table");
        rows.get(n).expect("no other error").expect("a row").value().to_vec()
    })
}

#[test]
fn r96_damage_is_met_by_its_readers_alone_and_never_closes_the_database() {
    let disk = Disk::default();
    let database = database(&disk);
    let mut met = 0;
    for block in 4..disk.blocks() {
        for trouble in ["flip", "lost"] {
            if trouble == "flip" {
                disk.flip(block * PAGE + 1_000);
            } else {
                disk.lose(Some(block));
            }
            let mut damaged = 0;
            for n in (0..500).step_by(7) {
                match row(&database, n) {
                    Ok(value) => assert_eq!(value, [n as u8; 100], "block {block}"),
                    Err(Damage::Block(at) | Damage::Unreadable(at)) => {
                        assert_eq!(at, block * PAGE);
                        damaged += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            met += u32::from(damaged > 0);
            if trouble == "flip" {
                disk.flip(block * PAGE + 1_000);
            }
            disk.lose(None);
        }
        assert_eq!(row(&database, 0), Ok(vec![0; 100]), "nobody opened it again");
    }
    assert!(met > 20, "{met}");
    // Nor was it left unfit to be written.
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(ROWS).expect("a table").insert(500, [1; 100].as_slice()).expect("a row");
    transaction.commit().expect("a commit");
    assert_eq!(row(&database, 500), Ok(vec![1; 100]));
}

#[test]
fn a_panic_that_is_no_damage_is_not_taken_for_it() {
    let panicked = catch_unwind(|| isolated(|| assert_eq!(1, 2)));
    assert!(panicked.is_err());
    assert_eq!(isolated(|| 7), Ok(7));
}

#[test]
fn each_damaged_block_is_counted_each_time_it_is_met() {
    let (disk, metrics) = (Disk::default(), Arc::new(Metrics::new()));
    drop(filled(&disk, 4));
    disk.flip(4 * PAGE);
    let checked = Checked::open(disk, 2, Arc::clone(&metrics)).expect("a file of ours");
    for _ in 0..3 {
        assert!(read_block(&checked, 1).is_err());
    }
    let shown = metrics.encode();
    assert!(shown.contains("authferry_store_damaged_reads_total 3"), "{shown}");
    assert!(shown.contains("authferry_alarms_total{what=\"store_damage\"} 3"), "{shown}");
}

/// One thing that redb does to its file.
#[derive(Debug, Clone)]
enum Step {
    Write {
        block: u64,
        blocks: u64,
        fill: u8,
    },
    Patch {
        at: u64,
        length: usize,
        fill: u8,
    },
    Header {
        at: usize,
        fill: u8,
    },
    Length(u64),
    Sync,
    /// Everything that was not synced is gone from memory, as after a kill.
    Reopen,
}

/// As many blocks the file has at most: four groups.
const MOST: u64 = 1_600;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..MOST, 1_u64..40, any::<u8>()).prop_map(|(block, blocks, fill)| Step::Write { block, blocks, fill }),
        1 => (PAGE..MOST * PAGE, 1_usize..9_000, any::<u8>())
            .prop_map(|(at, length, fill)| Step::Patch { at, length, fill }),
        1 => (0_usize..400, any::<u8>()).prop_map(|(at, fill)| Step::Header { at, fill }),
        2 => (1..MOST).prop_map(Step::Length),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_file_like_any_other(steps in proptest::collection::vec(step(), 1..40)) {
        let disk = Disk::default();
        let mut checked = filled(&disk, 900);
        let mut model: Vec<u8> = (0..900_u64).flat_map(|block| vec![block as u8; BLOCK]).collect();
        model[..BLOCK].fill(0);
        model[..320].fill(7);
        // Blocks whose checksums may be gone with the memory that held them.
        let mut unsynced = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for step in steps {
            match step {
                Step::Write { block, blocks, fill } => {
                    let (from, to) = ((block * PAGE) as usize, ((block + blocks) * PAGE) as usize);
                    if to <= model.len() {
                        checked.write(from as u64, &vec![fill; to - from]).expect("memory");
                        model[from..to].fill(fill);
                        unsynced.extend(block..block + blocks);
                        (block..block + blocks).for_each(|block| { unknown.remove(&block); });
                    }
                }
                Step::Patch { at, length, fill } => {
                    let (from, to) = (at as usize, at as usize + length);
                    let blocks = at / PAGE..(to as u64).div_ceil(PAGE);
                    if to <= model.len() && blocks.clone().all(|block| !unknown.contains(&block)) {
                        checked.write(at, &vec![fill; length]).expect("memory");
                        model[from..to].fill(fill);
                        unsynced.extend(blocks);
                    }
                }
                Step::Header { at, fill } => {
                    checked.write(at as u64, &[fill; 90]).expect("memory");
                    model[at..at + 90].fill(fill);
                }
                Step::Length(blocks) => {
                    checked.set_len(blocks * PAGE).expect("memory");
                    // Its checksums are cleared in memory at first, like all else.
                    unsynced.extend(model.len() as u64 / PAGE..blocks);
                    model.resize((blocks * PAGE) as usize, 0);
                    unknown.retain(|block| *block < blocks);
                    unsynced.retain(|block| *block < blocks);
                }
                Step::Sync => {
                    checked.sync_data().expect("memory");
                    unsynced.clear();
                }
                Step::Reopen => {
                    checked = open(&disk);
                    unknown.append(&mut unsynced);
                }
            }
            prop_assert_eq!(checked.len().expect("a length"), model.len() as u64);
        }
        for (block, expected) in (0..).zip(model.chunks(BLOCK)) {
            match read_block(&checked, block) {
                Ok(bytes) => prop_assert!(bytes == expected || unknown.contains(&block), "block {}", block),
                Err(error) => prop_assert!(unknown.contains(&block), "block {}: {}", block, error),
            }
        }
    }
}
