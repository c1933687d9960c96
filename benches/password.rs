//! One check of a password through the pool, and in each implementation of Argon2 by itself, against the crate's own `verify_password`,
//! which allocates its memory anew each time (P4 of the performance goals); and the pool's throughput against its own ceiling (P2).
//!
//! The machine is shared and its speed swings from second to second, so only ratios of neighbours count: the two alternate,
//! and the median of the ratios is printed. The ratio of CPU times is the steadier one; it charges the pool with overwriting
//! its memory after the hash, which it does when nobody waits. Run with `cargo bench --bench password`.

#![expect(clippy::print_stdout, reason = "this is what a bench is for")]

use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash};
use authferry::domain::clock::{Clock as _, SystemClock, UnixSeconds};
use authferry::domain::credential::{Credential, StoredHash};
use authferry::domain::password::{Password, PasswordNormalization};
use authferry::domain::user::{Origin, Standing, User, UserId, Version};
use authferry::password::{HashPool, Implementation, Input, PasswordSettings, Peppers, choice, memory_bound_bytes};
use authferry::service::ports::{AccountPermit, ClientStanding, PasswordHasher, Verification};
use authferry::telemetry::Metrics;
use futures_util::future::join_all;
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 31;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(resident());
    println!("one check, pool ({}) against verify_password, median of {ROUNDS} pairs:", choice().implementation.name());
    for (memory_mib, iterations) in [(19, 2), (46, 1)] {
        runtime.block_on(one_check(memory_mib, iterations));
    }
    println!("each implementation in memory of its own, against verify_password in as many threads at once:");
    for threads in [1, 2] {
        for (memory_mib, iterations) in [(19, 2), (46, 1)] {
            each_implementation(memory_mib, iterations, threads);
        }
    }
    runtime.block_on(throughput());
}

/// What a flood takes (R54). Comes first: the process never gives all memory back that the others take.
async fn resident() {
    let before = peak_resident_mib();
    let (pool, stored) = pool(19, 2, 2).await;
    join_all((0..200).map(|_| check(&pool, &stored))).await;
    let (bound, taken) = (memory_bound_bytes(&settings(19, 2, 2)) >> 20, peak_resident_mib() - before);
    println!("memory of a flood on 2 threads: {taken} MiB, the bound is {bound} MiB");
}

async fn one_check(memory_mib: u32, iterations: u32) {
    let (pool, stored) = pool(memory_mib, iterations, 1).await;
    let (mut pooled, mut naive, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pooled_cpu, mut naive_cpu, mut cpu_ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (ours, our_cpu) = timed(async || check(&pool, &stored).await).await;
        let (theirs, their_cpu) = timed(async || {
            let parsed = PasswordHash::new(stored.expose()).expect("a PHC string");
            Argon2::default().verify_password(b"correct horse", &parsed).expect("the right password");
        })
        .await;
        pooled.push(ours.as_secs_f64() * 1e3);
        naive.push(theirs.as_secs_f64() * 1e3);
        ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
        pooled_cpu.push(our_cpu.as_secs_f64() * 1e3);
        naive_cpu.push(their_cpu.as_secs_f64() * 1e3);
        cpu_ratios.push(our_cpu.as_secs_f64() / their_cpu.as_secs_f64());
    }
    println!(
        "  {memory_mib} MiB, t={iterations}: pool {:.1} ms, verify_password {:.1} ms, ratio {:.3}; CPU {:.1}, {:.1} ms, ratio {:.3}",
        median(&mut pooled),
        median(&mut naive),
        median(&mut ratios),
        median(&mut pooled_cpu),
        median(&mut naive_cpu),
        median(&mut cpu_ratios)
    );
}

/// What a hash takes while so many threads do nothing else, apart and beside the naive way in as many.
fn each_implementation(memory_mib: u32, iterations: u32, threads: usize) {
    let params = Params::new(memory_mib * 1024, iterations, 1, Some(32)).expect("valid parameters");
    let mut arenas = vec![vec![Block::new(); params.block_count()]; threads];
    let tag = hashed(Implementation::Reference, &params, arenas.first_mut().expect("at least one"));
    let encoded = Argon2::from(&params).hash_password_with_salt(b"correct horse", SALT).expect("a hash");
    assert_eq!(encoded.hash.expect("a tag").as_bytes(), tag);
    for implementation in Implementation::available() {
        let (mut ours, mut naive, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let arenas = arenas.iter_mut();
            let here = at_once(arenas, |arena| assert_eq!(hashed(implementation, &params, arena), tag));
            let there = at_once(0..threads, |_| {
                Argon2::default().verify_password(b"correct horse", &encoded).expect("the right password");
            });
            ours.push(here);
            naive.push(there);
            ratios.push(here / there);
        }
        println!(
            "  {memory_mib} MiB, t={iterations}, {threads} at once, {:>9}: {:.1} ms, verify_password {:.1} ms, ratio {:.3}",
            implementation.name(),
            median(&mut ours),
            median(&mut naive),
            median(&mut ratios)
        );
    }
}

const SALT: &[u8; 16] = b"sixteen bytes at";

fn hashed(by: Implementation, params: &Params, arena: &mut [Block]) -> [u8; 32] {
    let (algorithm, version) = (Algorithm::Argon2id, argon2::Version::V0x13);
    let input = Input { algorithm, version, params, password: b"correct horse", salt: SALT, secret: b"" };
    let mut tag = [0; 32];
    by.compute(&input, arena, &mut tag).expect("valid parameters");
    tag
}

/// Milliseconds until threads that each do one of these are all through, without the time that they take to start.
fn at_once<T: Send>(each: impl Iterator<Item = T>, work: impl Fn(T) + Sync) -> f64 {
    let each: Vec<T> = each.collect();
    let (start, done) = (Barrier::new(each.len() + 1), Barrier::new(each.len() + 1));
    std::thread::scope(|scope| {
        for one in each {
            scope.spawn(|| {
                let one = one;
                start.wait();
                work(one);
                done.wait();
            });
        }
        start.wait();
        let began = SystemClock.monotonic();
        done.wait();
        since(began).as_secs_f64() * 1e3
    })
}

/// 8 and 64 clients that check again and again, against as many threads that do nothing but hash.
async fn throughput() {
    let workers = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let (pool, stored) = pool(19, 2, workers).await;
    for clients in [8, 64] {
        let mut shares = Vec::new();
        for _ in 0..9 {
            let ceiling = ceiling(workers);
            let began = SystemClock.monotonic();
            let checks = workers * 40;
            let each = (0..clients).map(async |client| {
                let mut done = client;
                while done < checks {
                    check(&pool, &stored).await;
                    done += clients;
                }
            });
            join_all(each).await;
            let per_second = checks as f64 / since(began).as_secs_f64();
            shares.push(per_second / ceiling);
        }
        println!("{clients} clients on {workers} threads: {:.3} of the ceiling", median(&mut shares));
    }
}

/// Hashes a second of threads with an arena each and no queue.
fn ceiling(threads: usize) -> f64 {
    let hashes = 20;
    let began = SystemClock.monotonic();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let params = Params::new(19 * 1024, 2, 1, Some(32)).expect("valid parameters");
                let mut arena = vec![Block::new(); params.block_count()];
                for _ in 0..hashes {
                    std::hint::black_box(hashed(choice().implementation, &params, &mut arena));
                }
            });
        }
    });
    (threads * hashes) as f64 / since(began).as_secs_f64()
}

fn settings(memory_mib: u32, iterations: u32, workers: usize) -> PasswordSettings {
    PasswordSettings {
        memory_kib: memory_mib * 1024,
        iterations,
        parallelism: 1,
        workers: NonZeroUsize::new(workers).expect("at least one"),
        queue: NonZeroUsize::new(256).expect("not zero"),
        queue_deadline: Duration::from_secs(30),
        normalization: PasswordNormalization::None,
        peppers: Peppers::default(),
        prehash_keys: Default::default(),
    }
}

async fn pool(memory_mib: u32, iterations: u32, workers: usize) -> (HashPool, StoredHash) {
    let settings = settings(memory_mib, iterations, workers);
    let pool = HashPool::start(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a pool");
    // Every thread takes its memory before anything is measured.
    let stored = join_all((0..workers * 2).map(|_| pool.hash(ClientStanding::Known, password())))
        .await
        .pop()
        .expect("at least one");
    (pool, stored.expect("a hash").into_stored())
}

async fn check(pool: &HashPool, stored: &StoredHash) {
    let permit = AccountPermit::new(ClientStanding::Unknown, |_| ());
    let verdict = pool.verify(&permit, user(stored.clone()), password()).await;
    assert!(matches!(verdict, Ok(Verification::Match(_))), "the right password");
}

fn password() -> Arc<Password> {
    Arc::new(Password::new(Zeroizing::new("correct horse".to_owned())).expect("a valid password"))
}

fn user(stored: StoredHash) -> Box<User> {
    Box::new(User {
        id: UserId(uuid::Uuid::nil()),
        legacy_id: None,
        identifiers: Vec::new(),
        profile: serde_json::Value::Null,
        credential: Credential::Argon2id(stored),
        standing: Standing::Active,
        origin: Origin::Migrated,
        created_at: UnixSeconds(0),
        updated_at: UnixSeconds(0),
        legacy_vouched_at: None,
        roster: None,
        normalization_version: 1,
        version: Version(1),
    })
}

/// Wall-clock and CPU time.
async fn timed(work: impl AsyncFnOnce()) -> (Duration, Duration) {
    let (began, cpu) = (SystemClock.monotonic(), cpu_time());
    work().await;
    (since(began), cpu_time().saturating_sub(cpu))
}

/// What all threads of this process have spent (`schedstat` of proc(5), first field).
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

fn since(began: Instant) -> Duration {
    SystemClock.monotonic().saturating_duration_since(began)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `VmHWM` of proc(5).
fn peak_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024
}
