//! The pool under load, under faults and at its end. Threads are held by channels, never by sleeping.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::{Peppers, memory_bound_bytes};
use super::*;
use crate::domain::clock::testing::ManualClock;
use crate::domain::clock::{SystemClock, UnixSeconds};
use crate::domain::credential::{AbsentBecause, StoredHash};
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{Origin, Standing, UserId, Version};

fn settings(workers: usize, queue: usize) -> PasswordSettings {
    PasswordSettings {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        workers: NonZeroUsize::new(workers).expect("not zero"),
        queue: NonZeroUsize::new(queue).expect("not zero"),
        queue_deadline: Duration::from_secs(2),
        normalization: PasswordNormalization::None,
        peppers: Peppers::default(),
        prehash_keys: Default::default(),
    }
}

struct Fixture {
    pool: HashPool,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

fn fixture(workers: usize, queue: usize) -> Fixture {
    let (clock, metrics) = (Arc::new(ManualClock::at(0)), Arc::new(Metrics::new()));
    let pool = HashPool::start(settings(workers, queue), Arc::clone(&metrics), Arc::clone(&clock) as Arc<dyn Clock>);
    Fixture { pool: pool.expect("a pool"), clock, metrics }
}

/// Keeps one hash thread busy until it is dropped.
struct Held(#[expect(dead_code, reason = "held for its drop")] SyncSender<()>);

fn hold(pool: &HashPool) -> (impl Future<Output = Result<(), HashUnavailable>> + '_, Receiver<()>, Held) {
    let ((started, has_started), (release, released)) = (sync_channel::<()>(1), sync_channel::<()>(1));
    let task = pool.compute(ClientStanding::Unknown, "verify", move |_, _| {
        started.send(()).expect("the test waits for this");
        // Ends when the other side is dropped.
        let _ended = released.recv();
        Ok(())
    });
    (task, has_started, Held(release))
}

/// Runs `then` while the only thread of the pool is busy.
async fn while_held<T>(pool: &HashPool, then: impl AsyncFnOnce() -> T, release: impl FnOnce(Held)) -> T {
    let (task, has_started, held) = hold(pool);
    let mut task = Box::pin(task);
    assert!(poll!(&mut task).is_pending());
    has_started.recv().expect("the thread takes the task");
    let result = then().await;
    release(held);
    task.await.expect("the held task ends well");
    result
}

fn password(typed: &str) -> Arc<Password> {
    Arc::new(Password::new(Zeroizing::new(typed.to_owned())).expect("a valid password"))
}

fn user(credential: Credential) -> Box<User> {
    Box::new(User {
        id: UserId(Uuid::nil()),
        legacy_id: None,
        identifiers: Vec::new(),
        profile: json!({}),
        credential,
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

fn none(encoded: &str) -> StoredHash {
    StoredHash::new(encoded.to_owned(), PasswordNormalization::None)
}

fn permit() -> AccountPermit {
    AccountPermit::new(ClientStanding::Unknown, |_| ())
}

#[tokio::test]
async fn a_hash_verifies_its_password_and_no_other() {
    let Fixture { pool, .. } = fixture(1, 8);
    let stored = pool.hash(ClientStanding::Unknown, password("right")).await.expect("a hash").into_stored();
    let again = stored.clone();
    let verdict = pool.verify(&permit(), user(Credential::Argon2id(stored)), password("right")).await;
    assert!(matches!(verdict, Ok(Verification::Match(_))));
    let verdict = pool.verify(&permit(), user(Credential::Argon2id(again)), password("wrong")).await;
    assert!(matches!(verdict, Ok(Verification::Mismatch(_))));
}

#[tokio::test]
async fn an_imported_bcrypt_hash_verifies_and_is_outdated() {
    let Fixture { pool, .. } = fixture(1, 8);
    let imported = Credential::Imported(none(&bcrypt::hash("right", 4).expect("a hash")));
    assert!(pool.is_outdated(&imported));
    let verdict = pool.verify(&permit(), user(imported), password("right")).await;
    assert!(matches!(verdict, Ok(Verification::Match(_))));
}

#[tokio::test]
async fn r53_a_record_with_hostile_parameters_is_unusable_and_costs_no_memory() {
    let Fixture { pool, .. } = fixture(1, 8);
    let hostile =
        none("$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
    for credential in [
        Credential::Argon2id(hostile.clone()),
        Credential::Imported(hostile),
        Credential::Imported(none("{SSHA}unknown")),
        Credential::Absent(AbsentBecause::Roster),
    ] {
        let verdict = pool.verify(&permit(), user(credential), password("right")).await;
        assert!(matches!(verdict, Ok(Verification::Unusable(_))));
    }
}

#[tokio::test]
async fn r60_equalizing_is_timed_and_counted_as_a_check_is() {
    let Fixture { pool, metrics, .. } = fixture(1, 8);
    pool.equalize(&permit(), password("anything")).await.expect("the work is done");
    let text = metrics.encode();
    assert!(text.contains("authferry_password_duration_seconds_count{work=\"equalize\"} 1"), "{text}");
}

#[test]
fn what_computes_the_hashes_is_told_and_an_alarm_rung_if_it_is_the_fall_back() {
    let metrics = Metrics::new();
    let implementation = crate::password::Implementation::Reference;
    tell(&Choice { implementation, rejected: None }, &metrics);
    let text = metrics.encode();
    assert!(text.contains("authferry_password_implementation{name=\"reference\"} 1"), "{text}");
    assert!(!text.contains("what=\"password_implementation\""), "{text}");
    let rejected = crate::password::Rejected { name: "avx2", why: "another tag".to_owned() };
    tell(&Choice { implementation, rejected: Some(rejected) }, &metrics);
    assert!(metrics.encode().contains("authferry_alarms_total{what=\"password_implementation\"} 1"));
}

#[tokio::test]
async fn tasks_are_served_in_the_order_they_came() {
    let Fixture { pool, metrics, .. } = fixture(1, 8);
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    let tasks = while_held(
        &pool,
        async || {
            for number in 0..8 {
                let served = Arc::clone(&served);
                let mut task = Box::pin(pool.compute(ClientStanding::Unknown, "verify", move |_, _| {
                    served.lock().expect("not poisoned").push(number);
                    Ok(())
                }));
                assert!(poll!(&mut task).is_pending());
                waiting.push(task);
            }
            assert_eq!(metrics.queue_depth().get(), 8);
            waiting
        },
        drop,
    );
    join_all(tasks.await).await;
    assert_eq!(*served.lock().expect("not poisoned"), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(metrics.queue_depth().get(), 0);
}

#[tokio::test]
async fn r54_a_full_queue_refuses_at_once() {
    let Fixture { pool, .. } = fixture(1, 2);
    let mut waiting = Vec::new();
    while_held(
        &pool,
        async || {
            for _ in 0..2 {
                let mut task = pool.hash(ClientStanding::Unknown, password("p"));
                assert!(poll!(&mut task).is_pending());
                waiting.push(task);
            }
            assert_eq!(pool.hash(ClientStanding::Unknown, password("p")).await.err(), Some(HashUnavailable::QueueFull));
        },
        drop,
    )
    .await;
    assert!(join_all(waiting).await.iter().all(Result::is_ok), "who was taken on is served");
}

#[tokio::test]
async fn a_known_client_is_taken_on_where_a_newcomer_would_be_refused() {
    let Fixture { pool, .. } = fixture(1, 2);
    let (unknown, known) = (permit(), AccountPermit::new(ClientStanding::Known, |_| ()));
    let (mut first, mut newest) = (pool.equalize(&unknown, password("p")), pool.equalize(&unknown, password("p")));
    let mut preferred = pool.equalize(&known, password("p"));
    while_held(
        &pool,
        async || {
            assert!(poll!(&mut first).is_pending() && poll!(&mut newest).is_pending());
            assert!(poll!(&mut preferred).is_pending());
            assert_eq!((&mut newest).await, Err(HashUnavailable::QueueFull), "told while the others wait");
            assert_eq!(pool.equalize(&unknown, password("p")).await, Err(HashUnavailable::QueueFull));
        },
        drop,
    )
    .await;
    assert_eq!((first.await, preferred.await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn places_of_clients_who_have_gone_are_free_again_and_their_work_is_not_done() {
    let Fixture { pool, .. } = fixture(1, 2);
    let computed = Arc::new(AtomicUsize::new(0));
    let task = || {
        let computed = Arc::clone(&computed);
        Box::pin(pool.compute(ClientStanding::Unknown, "verify", move |_, _| {
            computed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }))
    };
    let mut stays = task();
    while_held(
        &pool,
        async || {
            let (mut gone, mut also_gone) = (task(), task());
            assert!(poll!(&mut gone).is_pending());
            assert!(poll!(&mut also_gone).is_pending());
            drop((gone, also_gone));
            assert!(poll!(&mut stays).is_pending(), "both places are free again");
        },
        drop,
    )
    .await;
    stays.await.expect("the one who stayed is served");
    assert_eq!(computed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nothing_is_hashed_for_a_client_who_left_while_it_waited() {
    let Fixture { pool, .. } = fixture(1, 8);
    let computed = Arc::new(AtomicUsize::new(0));
    while_held(
        &pool,
        async || {
            let computed = Arc::clone(&computed);
            let mut gone = Box::pin(pool.compute(ClientStanding::Unknown, "verify", move |_, _| {
                computed.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }));
            assert!(poll!(&mut gone).is_pending());
        },
        drop,
    )
    .await;
    pool.hash(ClientStanding::Unknown, password("p")).await.expect("whoever comes next is served");
    assert_eq!(computed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r54_who_waited_too_long_is_told_so_without_any_hashing() {
    let Fixture { pool, clock, .. } = fixture(1, 8);
    let computed = Arc::new(AtomicUsize::new(0));
    let task = || {
        let computed = Arc::clone(&computed);
        Box::pin(pool.compute(ClientStanding::Unknown, "verify", move |_, _| {
            computed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }))
    };
    let (late, in_time) = while_held(
        &pool,
        async || {
            let (mut late, mut in_time) = (task(), task());
            assert!(poll!(&mut late).is_pending());
            clock.advance(Duration::from_millis(1));
            assert!(poll!(&mut in_time).is_pending());
            clock.advance(Duration::from_secs(2));
            (late, in_time)
        },
        drop,
    )
    .await;
    assert_eq!(late.await, Err(HashUnavailable::Late));
    assert_eq!(in_time.await, Ok(()), "exactly at the deadline is in time");
    assert_eq!(computed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn r122_a_panic_in_a_hash_is_one_failed_request_and_is_counted() {
    let Fixture { pool, metrics, .. } = fixture(1, 8);
    let failed = pool.compute::<()>(ClientStanding::Unknown, "verify", |_, _| panic!("a bug")).await;
    assert_eq!(failed, Err(HashUnavailable::Failed));
    assert!(metrics.encode().contains("authferry_panics_total 1"));
    assert!(pool.hash(ClientStanding::Unknown, password("p")).await.is_ok(), "the only thread lives on");
}

#[tokio::test]
async fn r55_memory_that_cannot_be_had_is_an_answer() {
    let Fixture { pool, .. } = fixture(1, 8);
    let refused = pool.compute(ClientStanding::Unknown, "verify", |_, arena| {
        arena.with(usize::MAX >> 12, |_| ()).map_err(|_| HashUnavailable::OutOfMemory)
    });
    assert_eq!(refused.await, Err(HashUnavailable::OutOfMemory));
    assert!(pool.hash(ClientStanding::Unknown, password("p")).await.is_ok());
}

#[tokio::test]
async fn a_pool_that_ends_answers_those_who_wait_and_serves_the_one_being_served() {
    let Fixture { pool, .. } = fixture(1, 8);
    let shared = Arc::clone(&pool.shared);
    let (held, has_started, release) = hold(&pool);
    let mut held = Box::pin(held);
    assert!(poll!(&mut held).is_pending());
    has_started.recv().expect("the thread takes the task");
    let mut waits = pool.hash(ClientStanding::Unknown, password("p"));
    assert!(poll!(&mut waits).is_pending());
    shared.queue.stop();
    assert_eq!(waits.await.err(), Some(HashUnavailable::Stopped));
    assert_eq!(pool.hash(ClientStanding::Unknown, password("p")).await.err(), Some(HashUnavailable::Stopped));
    drop(release);
    assert_eq!(held.await, Ok(()));
    drop(pool);
    assert_eq!(Arc::strong_count(&shared), 1, "every thread has ended");
}

/// Twenty times as many hashes as there are places, on real parameters though small ones.
#[tokio::test]
async fn r54_a_flood_never_computes_more_at_once_than_there_are_threads() {
    let settings = settings(2, 16);
    println!("memory bound of the pool: {} bytes", memory_bound_bytes(&settings));
    assert_eq!(memory_bound_bytes(&settings), 2 * 64 * 1024);
    let pool = HashPool::start(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a pool");
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let flood = (0..320).map(|_| {
        let (inside, most, password) = (Arc::clone(&inside), Arc::clone(&most), password("flood"));
        pool.compute(ClientStanding::Unknown, "equalize", move |policy, arena| {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let done = policy.equalize(&password, arena).map_err(|_| HashUnavailable::Failed);
            inside.fetch_sub(1, Ordering::SeqCst);
            done
        })
    });
    let answers = join_all(flood).await;
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| **answer == Err(HashUnavailable::QueueFull)).count();
    assert_eq!(served + refused, 320, "served or refused at once, nothing else");
    assert!(served >= 16, "{served} were served");
    assert!(refused > 0, "a flood is refused in part");
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn r107_hash_threads_are_nicer_than_the_thread_that_serves() {
    /// The 19th field of `stat`, counted after the name in brackets (proc(5)).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
        let after_name = stat.rsplit(") ").next().expect("a name in brackets");
        after_name.split(' ').nth(16).and_then(|field| field.parse().ok()).expect("a number")
    }
    let Fixture { pool, .. } = fixture(1, 8);
    let theirs = pool.compute(ClientStanding::Unknown, "verify", |_, _| Ok(niceness())).await.expect("an answer");
    assert_eq!(theirs, (niceness() + NICENESS).min(19));
}
