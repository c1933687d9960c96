//! Password hashes in process: authferry's pool beside the `argon2` crate as it is called naively. The runner asks by lines:
//! `pair MIB ITERATIONS` for one check each, `ceiling THREADS MILLISECONDS` for checks a second of a pool that is never without work.
//! Each is answered by a line of JSON.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordVerifier as _;
use argon2::{Argon2, PasswordHash};
use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::credential::{Credential, StoredHash};
use authferry::domain::password::{Password, PasswordNormalization};
use authferry::domain::user::{Origin, Standing, User, UserId, Version};
use authferry::password::{HashPool, PasswordSettings, Peppers};
use authferry::service::ports::{AccountPermit, ClientStanding, PasswordHasher as _, Verification};
use authferry::telemetry::Metrics;
use futures_util::future::{join_all, try_join_all};
use zeroize::Zeroizing;

/// The proxy's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PASSWORD: &str = "correct horse";

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hashes: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A pool by its parameters and threads, with a hash that it made.
type Pools = BTreeMap<(u32, u32, usize), (HashPool, StoredHash)>;

fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut pools = Pools::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["pair", mib, iterations] => runtime.block_on(pair(&mut pools, mib.parse()?, iterations.parse()?))?,
            ["ceiling", threads, milliseconds] => {
                let lasting = Duration::from_millis(milliseconds.parse()?);
                runtime.block_on(ceiling(&mut pools, threads.parse()?, lasting))?
            }
            _ => return Err(format!("not understood: {line}").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// One check of ours and one of the crate's, wall clock and processor time in milliseconds.
async fn pair(pools: &mut Pools, memory_mib: u32, iterations: u32) -> Outcome<serde_json::Value> {
    let (pool, stored) = pool(pools, memory_mib, iterations, 1).await?;
    let (began, cpu) = (Instant::now(), cpu_time());
    check(pool, stored).await?;
    let (ours, ours_cpu) = (milliseconds(began.elapsed()), milliseconds(cpu_time().saturating_sub(cpu)));
    let (began, cpu) = (Instant::now(), cpu_time());
    let parsed = PasswordHash::new(stored.expose()).map_err(|error| error.to_string())?;
    Argon2::default().verify_password(PASSWORD.as_bytes(), &parsed).map_err(|error| error.to_string())?;
    let (naive, naive_cpu) = (milliseconds(began.elapsed()), milliseconds(cpu_time().saturating_sub(cpu)));
    Ok(serde_json::json!({ "ours": ours, "naive": naive, "ours_cpu": ours_cpu, "naive_cpu": naive_cpu }))
}

/// Checks a second with so many under way that no thread ever waits for work, on a busy machine neither; nothing else is done.
async fn ceiling(pools: &mut Pools, threads: usize, lasting: Duration) -> Outcome<serde_json::Value> {
    let (pool, stored) = pool(pools, 19, 2, threads).await?;
    let (began, done) = (Instant::now(), std::cell::Cell::new((0_u32, Duration::ZERO)));
    let one = |_| async {
        while began.elapsed() < lasting {
            check(pool, stored).await?;
            done.set((done.get().0 + 1, began.elapsed()));
        }
        Outcome::Ok(())
    };
    try_join_all((0..threads * 8).map(one)).await?;
    // The last ones run while fewer are under way than there are threads: at most one a thread, which evens out over the rounds.
    let (count, took) = done.get();
    Ok(serde_json::json!({ "per_second": f64::from(count) / took.as_secs_f64() }))
}

async fn pool(pools: &mut Pools, memory_mib: u32, iterations: u32, threads: usize) -> Outcome<&(HashPool, StoredHash)> {
    let key = (memory_mib, iterations, threads);
    if !pools.contains_key(&key) {
        let settings = PasswordSettings {
            memory_kib: memory_mib * 1024,
            iterations,
            parallelism: 1,
            workers: NonZeroUsize::new(threads).ok_or("no thread")?,
            queue: NonZeroUsize::new(256).ok_or("no queue")?,
            queue_deadline: Duration::from_secs(30),
            normalization: PasswordNormalization::None,
            peppers: Peppers::default(),
            prehash_keys: Default::default(),
        };
        let pool = HashPool::start(settings, Arc::new(Metrics::new()), Arc::new(SystemClock))?;
        // Every thread takes its memory before anything is measured.
        let hashes = join_all(
            (0..threads * 2).map(async |_| pool.hash(ClientStanding::Known, password()?).await.map_err(as_text)),
        );
        let stored = hashes.await.pop().ok_or("no hash")??.into_stored();
        pools.insert(key, (pool, stored));
    }
    Ok(pools.get(&key).ok_or("no pool")?)
}

async fn check(pool: &HashPool, stored: &StoredHash) -> Outcome<()> {
    let permit = AccountPermit::new(ClientStanding::Unknown, |_| ());
    match pool.verify(&permit, user(stored.clone()), password()?).await.map_err(as_text)? {
        Verification::Match(_) => Ok(()),
        _ => Err("the right password did not match".into()),
    }
}

fn as_text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn password() -> Result<Arc<Password>, String> {
    Password::new(Zeroizing::new(PASSWORD.to_owned())).map(Arc::new).map_err(as_text)
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

/// What all threads of this process have spent (`schedstat` of proc(5), first field).
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
