//! How strongly a machine can afford to hash: the choice of parameters for a time that a login may take, and what measures hashes.
//!
//! The choice is pure and is told by its caller what a hash takes; called by `authferry tune`. Never proposes less than OWASP's
//! least.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use argon2::{Algorithm, Params, Version};

use super::arena::{Allowance, Arena};
use super::fill::{self, Input};
use super::settings::{OWASP_MEMORY_KIB, OWASP_ONE_PASS_KIB};
use crate::domain::clock::Clock;

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// In KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes, which are computed one after the other.
    pub parallelism: u32,
}

impl Cost {
    /// The cheaper of the two least costs that OWASP's Password Storage Cheat Sheet has for Argon2id with 19 MiB or more.
    pub const LEAST: Self = Self { memory_kib: OWASP_MEMORY_KIB, iterations: 2, parallelism: 1 };

    const fn of(memory_kib: u32, iterations: u32) -> Self {
        Self { memory_kib, iterations, parallelism: 1 }
    }

    /// Whether it is below what OWASP asks for.
    #[must_use]
    pub fn is_below_least(self) -> bool {
        let least = if self.iterations < 2 { OWASP_ONE_PASS_KIB } else { OWASP_MEMORY_KIB };
        self.memory_kib < least
    }

    fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.iterations)
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// How long a hash may take while all workers are busy.
    pub target: Duration,
    /// What all workers may use together, in bytes.
    pub memory_bytes: u64,
    /// There are never more workers.
    pub cores: NonZeroUsize,
}

/// What a hash took while so many workers did nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Of one hash.
    pub cost: Cost,
    /// Threads that hashed at once.
    pub workers: NonZeroUsize,
    /// The median.
    pub took: Duration,
}

impl Measured {
    /// Logins a second that this comes to.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 cores")]
        let workers = self.workers.get() as f64;
        workers / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Memory of all workers.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.cost.memory_kib) * 1_024 * u64::try_from(self.workers.get()).unwrap_or(u64::MAX)
    }
}

/// What is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// OWASP's least, for comparison.
    pub least: Measured,
    /// The strongest that was found within the wish; where nothing is, OWASP's least.
    pub best: Measured,
}

/// Nothing can be proposed.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// Not even one hash fits.
    #[error("one hash under OWASP's least parameters needs 19 MiB")]
    TooLittleMemory,
    /// The system did not give the memory.
    #[error("the memory for {0} hashes at once could not be had")]
    OutOfMemory(NonZeroUsize),
    /// The parameters make no hash.
    #[error("the parameters do not go together")]
    Parameters(#[source] argon2::Error),
}

/// How near to the target is near enough, in hundredths.
const NEAR: u32 = 93;

/// How many costs are tried after OWASP's least.
const ROUNDS: usize = 5;

/// The strongest cost within a wish. More memory is stronger than more passes (RFC 9106, section 4): they are added where the
/// memory is at its bound.
///
/// `measure` says what a hash takes, or nothing when there is no more time for trying.
pub fn propose(
    wish: &Wish,
    mut measure: impl FnMut(Cost, NonZeroUsize) -> Result<Option<Duration>, TuneError>,
) -> Result<Proposal, TuneError> {
    let memory_kib = wish.memory_bytes / 1_024;
    let fitting = usize::try_from(memory_kib / u64::from(OWASP_MEMORY_KIB)).unwrap_or(usize::MAX);
    let workers = NonZeroUsize::new(fitting.min(wish.cores.get())).ok_or(TuneError::TooLittleMemory)?;
    let share_kib = whole_mib(memory_kib / u64::try_from(workers.get()).unwrap_or(u64::MAX));
    let mut measured =
        |cost: Cost| measure(cost, workers).map(|took| took.map(|took| Measured { cost, workers, took }));
    // There is always time for the first.
    let Some(least) = measured(Cost::LEAST)? else { return Err(TuneError::TooLittleMemory) };
    let (mut best, mut last, mut tried) = (least, least, vec![Cost::LEAST]);
    for _ in 0..ROUNDS {
        let is_near = last.took <= wish.target && last.took * 100 >= wish.target * NEAR;
        let next = strongest(affordable(&last, wish.target), share_kib).filter(|next| !tried.contains(next));
        let Some(next) = next.filter(|_| !is_near) else { break };
        let Some(now) = measured(next)? else { break };
        tried.push(next);
        if now.took <= wish.target && now.cost > best.cost {
            best = now;
        }
        last = now;
    }
    Ok(Proposal { least, best })
}

/// KiB in all passes that fit into the time, going by what a hash took.
fn affordable(measured: &Measured, target: Duration) -> u64 {
    let took = measured.took.as_nanos().max(1);
    // A hundredth less: what was just in time once is late the next time.
    let work = u128::from(measured.cost.work()) * target.as_nanos() * 99 / (took * 100);
    u64::try_from(work).unwrap_or(u64::MAX)
}

/// The strongest cost of so much work and not more memory than this; none if that is less than OWASP's least.
fn strongest(work: u64, most_kib: u32) -> Option<Cost> {
    let passes = u32::try_from(work / u64::from(most_kib).max(1)).unwrap_or(u32::MAX);
    let at_the_bound = Cost::of(most_kib, passes);
    let once = Cost::of(whole_mib(work).min(most_kib), 1);
    let twice = Cost::of(whole_mib(work / 2).min(most_kib), 2);
    let possible = [at_the_bound, once, twice].into_iter();
    possible.filter(|cost| cost.iterations > 0 && !cost.is_below_least()).max()
}

fn whole_mib(kib: u64) -> u32 {
    /// Config takes no more.
    const MOST_KIB: u64 = 4 * 1_024 * 1_024;
    u32::try_from(kib.min(MOST_KIB) / 1_024 * 1_024).unwrap_or(0)
}

/// What a hash takes while so many threads hash for at least this long, each more than once: the median of them all. The first
/// of each thread, which takes its memory, does not count.
pub fn measured(
    cost: Cost,
    workers: NonZeroUsize,
    at_least: Duration,
    clock: &dyn Clock,
) -> Result<Duration, TuneError> {
    let params =
        Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None).map_err(TuneError::Parameters)?;
    let started = Barrier::new(workers.get());
    let work = || -> Result<Vec<Duration>, TuneError> {
        let mut arena = Arena::new(params.block_count(), Allowance::new());
        let warm = hash(&params, &mut arena, workers);
        // Waited for also by one who has no memory: the others would wait for him.
        started.wait();
        warm?;
        let (began, mut all) = (clock.monotonic(), Vec::new());
        loop {
            let before = clock.monotonic();
            if !all.is_empty() && before.saturating_duration_since(began) >= at_least {
                return Ok(all);
            }
            hash(&params, &mut arena, workers)?;
            all.push(clock.monotonic().saturating_duration_since(before));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<ScopedJoinHandle<'_, _>> = (0..workers.get()).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(TuneError::OutOfMemory(workers))));
        ended.collect::<Result<Vec<_>, _>>()
    })?
    .concat();
    all.sort_unstable();
    all.get(all.len() / 2).copied().ok_or(TuneError::OutOfMemory(workers))
}

fn hash(params: &Params, arena: &mut Arena, workers: NonZeroUsize) -> Result<(), TuneError> {
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let (password, salt) = (b"nobody's password", &[0; 16]);
    let input = Input { algorithm, version, params, password, salt, secret: &[] };
    let mut tag = [0; 32];
    arena
        .with(params.block_count(), |blocks| fill::choice().implementation.compute(&input, blocks, &mut tag))
        .map_err(|_| TuneError::OutOfMemory(workers))?
        .map_err(TuneError::Parameters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::clock::SystemClock;

    const MIB: u64 = 1 << 20;

    fn wish(target_ms: u64, memory_mib: u64, cores: usize) -> Wish {
        let cores = NonZeroUsize::new(cores).expect("not zero");
        Wish { target: Duration::from_millis(target_ms), memory_bytes: memory_mib * MIB, cores }
    }

    /// A machine that takes so many microseconds for a MiB, once over.
    fn proposed(wish: Wish, micros: u64) -> Result<Proposal, TuneError> {
        propose(&wish, |cost, _| Ok(Some(Duration::from_micros(cost.work() * micros / 1_024))))
    }

    fn best(target_ms: u64, memory_mib: u64, cores: usize, micros: u64) -> (u32, u32, usize) {
        let best = proposed(wish(target_ms, memory_mib, cores), micros).expect("a proposal").best;
        (best.cost.memory_kib / 1_024, best.cost.iterations, best.workers.get())
    }

    #[test]
    fn memory_comes_before_passes_and_passes_where_the_memory_is_at_its_bound() {
        assert_eq!(best(50, 8_192, 2, 250), (198, 1, 2), "all the time goes into memory");
        assert_eq!(best(50, 200, 2, 250), (100, 1, 2), "the memory is at its bound, and a second pass too much");
        assert_eq!(best(50, 128, 2, 250), (64, 3, 2));
        assert_eq!(best(500, 38, 2, 250), (19, 104, 2));
    }

    #[test]
    fn nothing_below_owasps_least_is_proposed_however_short_the_time() {
        assert_eq!(best(12, 8_192, 2, 250), (47, 1, 2));
        assert_eq!(best(11, 8_192, 2, 250), (21, 2, 2), "one pass over less than 46 MiB is too little");
        for target in 1..=9 {
            assert_eq!(best(target, 8_192, 2, 250), (19, 2, 2), "and takes longer than was wished");
        }
    }

    #[test]
    fn workers_are_fewer_than_cores_where_the_memory_is_short() {
        assert_eq!(best(50, 64, 8, 250), (21, 9, 3));
        assert_eq!(best(50, 19, 8, 250), (19, 10, 1));
        assert!(matches!(proposed(wish(50, 18, 8), 250), Err(TuneError::TooLittleMemory)));
    }

    #[test]
    fn a_machine_that_slows_down_with_more_memory_is_not_overestimated() {
        let slower = |cost: Cost, _| {
            let micros = if cost.memory_kib > 64 * 1_024 { 600 } else { 200 };
            Ok(Some(Duration::from_micros(cost.work() * micros / 1_024)))
        };
        let best = propose(&wish(50, 8_192, 2), slower).expect("a proposal").best;
        assert!(best.took <= Duration::from_millis(50), "{best:?}");
        assert!(best.took > Duration::from_millis(45), "{best:?}");
    }

    #[test]
    fn when_there_is_no_more_time_the_best_so_far_is_proposed() {
        let mut left = 1;
        let proposal = propose(&wish(50, 8_192, 2), |cost, _| {
            left -= 1;
            Ok((left >= 0).then_some(Duration::from_micros(cost.work() / 4)))
        });
        assert_eq!(proposal.expect("a proposal").best.cost, Cost::LEAST);
    }

    #[test]
    fn what_cannot_be_measured_is_not_proposed() {
        let refused = propose(&wish(50, 8_192, 2), |_, workers| Err(TuneError::OutOfMemory(workers)));
        assert!(matches!(refused, Err(TuneError::OutOfMemory(_))));
    }

    #[test]
    fn a_second_has_as_many_logins_as_its_workers_have_hashes() {
        let workers = NonZeroUsize::new(4).expect("not zero");
        let measured = Measured { cost: Cost::of(64 * 1_024, 3), workers, took: Duration::from_millis(20) };
        assert!((measured.per_second() - 200.0).abs() < 1e-9);
        assert_eq!(measured.memory_bytes(), 256 * MIB);
    }

    #[test]
    fn real_hashes_are_measured_on_as_many_threads_as_asked_for() {
        let workers = NonZeroUsize::new(3).expect("not zero");
        let took = measured(Cost::of(64, 1), workers, Duration::ZERO, &SystemClock).expect("a measure");
        assert!(took > Duration::ZERO);
        let impossible = measured(Cost::of(7, 1), workers, Duration::ZERO, &SystemClock);
        assert!(matches!(impossible, Err(TuneError::Parameters(_))));
    }

    proptest! {
        #[test]
        fn whatever_is_wished_is_kept(
            (target, memory, cores) in (1_u64..1_000, 1_u64..20_000, 1_usize..200),
            speeds in proptest::collection::vec(20_u64..2_000, 1..10),
        ) {
            let (wish, mut asked) = (wish(target, memory, cores), 0);
            let proposal = propose(&wish, |cost, workers| {
                assert!(!cost.is_below_least() && workers <= wish.cores);
                asked += 1;
                // A machine whose speed changes all the time.
                let micros = speeds[asked % speeds.len()];
                Ok(Some(Duration::from_micros(cost.work() * micros / 1_024)))
            });
            match proposal {
                Ok(Proposal { least, best }) => {
                    prop_assert!(best.memory_bytes() <= wish.memory_bytes);
                    prop_assert!(best == least || best.took <= wish.target);
                    prop_assert!(asked <= 1 + ROUNDS);
                }
                Err(error) => prop_assert!(memory < 19, "{error}"),
            }
        }
    }
}
