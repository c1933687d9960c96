//! The memory that hashes are computed in: one arena a hash thread, kept and used again, since fresh pages would cost as much as
//! the hash itself. It is on huge pages where there are some, and its pages go back to the system when no hash has come for a while.
//!
//! An arena never keeps more than the configured parameters need. A stored hash that asks for more gets it for itself alone, out
//! of an allowance that all threads share. Nothing here aborts where memory cannot be had (R55).

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use argon2::Block;

use super::fill;

/// What all stored hashes with larger parameters than the configured ones may use together beyond these, in bytes.
pub const STORED_MEMORY_BYTES: u64 = 512 * 1024 * 1024;

const STORED_MEMORY_BLOCKS: usize = STORED_MEMORY_BYTES as usize / Block::SIZE;

/// The memory could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// One thread's memory.
pub(super) struct Arena {
    blocks: fill::Blocks,
    own: usize,
    allowance: Arc<Allowance>,
    dirty: bool,
}

impl Arena {
    /// An arena for hashes of `own` blocks; it takes the memory at the first one.
    pub(super) fn new(own: usize, allowance: Arc<Allowance>) -> Self {
        Self { blocks: fill::Blocks::default(), own, allowance, dirty: false }
    }

    /// Runs `compute` on so many blocks of unspecified content. Waits while others use the allowance up.
    pub(super) fn with<T>(&mut self, blocks: usize, compute: impl FnOnce(&mut [Block]) -> T) -> Result<T, OutOfMemory> {
        let beyond = blocks.saturating_sub(self.own);
        if beyond == 0 {
            return Ok(compute(self.grown_to(blocks)?));
        }
        let allowance = Arc::clone(&self.allowance);
        let loan = allowance.take(beyond)?;
        let computed = self.grown_to(blocks).map(compute);
        self.blocks = fill::Blocks::default();
        drop(loan);
        computed
    }

    /// Overwrites what the last hash left. Done when there is nothing else to do: the next hash overwrites it as well.
    pub(super) fn wipe(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.blocks.fill(Block::new());
        }
    }

    /// Lets the system have the memory until the next hash, which pays for fresh pages.
    pub(super) fn give_back(&mut self) {
        self.wipe();
        fill::give_back(&mut self.blocks);
    }

    fn grown_to(&mut self, blocks: usize) -> Result<&mut [Block], OutOfMemory> {
        if self.blocks.len() < blocks {
            // What was there is not needed: letting go of it first keeps old and new from being held together.
            self.blocks = fill::Blocks::default();
            self.blocks = fill::Blocks::zeroed(blocks).ok_or(OutOfMemory)?;
        }
        self.dirty = true;
        self.blocks.get_mut(..blocks).ok_or(OutOfMemory)
    }
}

/// Memory beyond the arenas' own, lent to one hash at a time or to several small ones.
pub(super) struct Allowance {
    free: Mutex<usize>,
    given_back: Condvar,
    all: usize,
}

impl Allowance {
    pub(super) fn new() -> Arc<Self> {
        Self::of(STORED_MEMORY_BLOCKS)
    }

    fn of(blocks: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(blocks), given_back: Condvar::new(), all: blocks })
    }

    fn take(&self, blocks: usize) -> Result<Loan<'_>, OutOfMemory> {
        if blocks > self.all {
            return Err(OutOfMemory);
        }
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.given_back.wait_while(free, |free| *free < blocks);
        *enough.unwrap_or_else(PoisonError::into_inner) -= blocks;
        Ok(Loan { from: self, blocks })
    }
}

/// Gives itself back, also when the hash panics.
struct Loan<'a> {
    from: &'a Allowance,
    blocks: usize,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.from.free.lock().unwrap_or_else(PoisonError::into_inner) += self.blocks;
        self.from.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn is_zero(arena: &Arena) -> bool {
        arena.blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0))
    }

    #[test]
    fn r55_memory_that_cannot_be_had_is_an_error_and_not_an_abort() {
        // A pebibyte: more than any address space gives.
        let blocks = 1 << 40;
        let mut arena = Arena::new(blocks, Allowance::new());
        assert_eq!(arena.with(blocks, |_| ()), Err(OutOfMemory));
        assert_eq!(arena.with(8, |given| given.len()), Ok(8), "a smaller hash still works");
    }

    #[test]
    fn the_arena_is_kept_between_hashes_of_our_own_parameters() {
        let mut arena = Arena::new(16, Allowance::new());
        let first = arena.with(16, |given| given.as_ptr()).expect("memory");
        assert_eq!(arena.with(16, |given| given.as_ptr()), Ok(first));
        assert_eq!(arena.with(8, |given| (given.as_ptr(), given.len())), Ok((first, 8)));
    }

    #[test]
    fn memory_that_fills_a_huge_page_begins_with_one() {
        let mut arena = Arena::new(4_096, Allowance::new());
        let first = arena.with(4_096, |given| given.as_ptr().addr()).expect("memory");
        assert_eq!(first % (2 * 1024 * 1024), 0);
        assert!(is_zero(&arena), "of a fresh arena");
    }

    #[test]
    fn r54_memory_beyond_our_own_parameters_is_let_go_after_the_hash() {
        let mut arena = Arena::new(16, Allowance::of(100));
        assert_eq!(arena.with(116, |given| given.len()), Ok(116));
        assert_eq!(arena.blocks.len(), 0);
        assert_eq!(*arena.allowance.free.lock().expect("not poisoned"), 100);
    }

    #[test]
    fn r54_nobody_gets_more_than_the_whole_allowance() {
        let mut arena = Arena::new(16, Allowance::of(100));
        assert_eq!(arena.with(117, |_| ()), Err(OutOfMemory));
    }

    #[test]
    fn r54_hashes_that_would_exceed_the_allowance_together_wait_for_each_other() {
        let allowance = Allowance::of(100);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let compute = |_: &mut [Block]| {
            let now = inside.fetch_add(40, Ordering::SeqCst) + 40;
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            inside.fetch_sub(40, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut arena = Arena::new(0, Arc::clone(&allowance));
                    (0..50).for_each(|_| arena.with(40, compute).expect("memory"));
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(*allowance.free.lock().expect("not poisoned"), 100);
    }

    #[test]
    fn a_panic_in_a_hash_gives_the_loan_back() {
        let allowance = Allowance::of(100);
        let mut arena = Arena::new(0, Arc::clone(&allowance));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| arena.with(100, |_| panic!("a bug"))));
        assert!(panicked.is_err());
        assert_eq!(*allowance.free.lock().expect("not poisoned"), 100);
    }

    /// How many pages of the arena are in memory (`/proc/PID/pagemap`, of which the highest bit says that).
    #[cfg(target_os = "linux")]
    fn resident(arena: &Arena) -> usize {
        use std::os::unix::fs::FileExt as _;
        let pagemap = std::fs::File::open("/proc/self/pagemap").expect("Linux tells");
        let first = arena.blocks.as_ptr().addr() / 4096;
        let mut entries = vec![0; arena.blocks.len() / 4 * 8];
        pagemap.read_exact_at(&mut entries, first as u64 * 8).expect("an entry for each page");
        entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn the_memory_of_an_arena_goes_back_to_the_system_and_comes_again_with_the_next_hash() {
        let mut arena = Arena::new(8192, Allowance::new());
        arena.with(8192, |given| given.iter_mut().for_each(|block| block.as_mut().fill(7))).expect("memory");
        assert!(resident(&arena) >= 2000, "{}", resident(&arena));
        arena.give_back();
        // But for what shares a page with something else, at both ends.
        assert!(resident(&arena) <= 64, "{}", resident(&arena));
        assert!(is_zero(&arena));
        assert_eq!(arena.with(8192, |given| given.len()), Ok(8192));
    }

    #[test]
    fn r58_wiping_leaves_nothing_of_the_last_hash() {
        let mut arena = Arena::new(16, Allowance::new());
        arena.with(16, |given| given.iter_mut().for_each(|block| block.as_mut().fill(7))).expect("memory");
        assert!(!is_zero(&arena));
        arena.wipe();
        assert!(is_zero(&arena));
    }
}
