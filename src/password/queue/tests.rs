//! The queue alone, with tasks that only note what becomes of them, on a clock that stands still.

use proptest::prelude::*;

use super::*;
use crate::domain::clock::testing::ManualClock;

const DEADLINE: Duration = Duration::from_secs(5);

/// What became of each task, by its number.
type Fates = Arc<Mutex<Vec<(usize, Option<HashUnavailable>)>>>;

struct Noted {
    number: usize,
    fates: Fates,
}

impl Noted {
    fn end(&self, fate: Option<HashUnavailable>) {
        self.fates.lock().expect("not poisoned").push((self.number, fate));
    }
}

impl Task for Noted {
    fn is_abandoned(&self) -> bool {
        false
    }

    fn refuse(self: Box<Self>, why: HashUnavailable) {
        self.end(Some(why));
    }

    fn run(self: Box<Self>, _arena: &mut Arena) {
        self.end(None);
    }
}

struct Fixture {
    queue: Queue,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    fates: Fates,
    arena: Arena,
}

fn fixture(capacity: usize, threads: usize) -> Fixture {
    let (clock, metrics) = (Arc::new(ManualClock::at(0)), Arc::new(Metrics::new()));
    let queue = Queue::new(capacity, DEADLINE, threads, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics));
    let arena = Arena::new(0, super::super::arena::Allowance::new());
    Fixture { queue, clock, metrics, fates: Fates::default(), arena }
}

impl Fixture {
    fn push(&self, standing: ClientStanding, number: usize) -> Result<(), HashUnavailable> {
        self.queue.push(standing, Box::new(Noted { number, fates: Arc::clone(&self.fates) }))
    }

    /// Serves so many; their numbers.
    fn serve(&mut self, most: usize) -> Vec<usize> {
        let before = self.fates().len();
        for _ in 0..most {
            match self.queue.next(Wait::No) {
                Next::Run(task) => task.run(&mut self.arena),
                Next::Idle | Next::Stop => break,
            }
        }
        self.fates()
            .split_off(before)
            .into_iter()
            .filter(|(_, fate)| fate.is_none())
            .map(|(number, _)| number)
            .collect()
    }

    fn fates(&self) -> Vec<(usize, Option<HashUnavailable>)> {
        self.fates.lock().expect("not poisoned").clone()
    }
}

#[test]
fn known_ones_go_first_and_every_fifth_is_unknown() {
    let mut fixture = fixture(32, 1);
    for number in 0..6 {
        fixture.push(ClientStanding::Unknown, 100 + number).expect("a place");
    }
    for number in 0..10 {
        fixture.push(ClientStanding::Known, number).expect("a place");
    }
    let served = fixture.serve(100);
    assert_eq!(served, [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8, 9, 102, 103, 104, 105]);
}

#[test]
fn a_known_one_takes_the_place_of_the_newest_unknown_one_who_is_told_at_once() {
    let mut fixture = fixture(3, 1);
    for number in 0..3 {
        fixture.push(ClientStanding::Unknown, 100 + number).expect("a place");
    }
    assert_eq!(fixture.push(ClientStanding::Unknown, 103), Err(HashUnavailable::QueueFull));
    fixture.push(ClientStanding::Known, 0).expect("the newest one's place");
    assert_eq!(fixture.fates(), [(102, Some(HashUnavailable::QueueFull))]);
    assert_eq!(fixture.metrics.queue_depth().get(), 3);
    assert_eq!(fixture.serve(100), [0, 100, 101]);
    let text = fixture.metrics.encode();
    let line = r#"authferry_password_shed_total{standing="unknown",reason="queue_full"} 2"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn known_ones_alone_never_take_the_last_eighth() {
    let fixture = fixture(16, 1);
    for number in 0..14 {
        fixture.push(ClientStanding::Known, number).expect("a place");
    }
    assert_eq!(fixture.push(ClientStanding::Known, 14), Err(HashUnavailable::QueueFull));
    fixture.push(ClientStanding::Unknown, 100).expect("a kept place");
    fixture.push(ClientStanding::Unknown, 101).expect("a kept place");
    assert_eq!(
        fixture.push(ClientStanding::Known, 15),
        Err(HashUnavailable::QueueFull),
        "nor do they displace anybody there"
    );
    assert_eq!(fixture.push(ClientStanding::Unknown, 102), Err(HashUnavailable::QueueFull));
    assert!(fixture.fates().is_empty());
}

#[test]
fn who_would_wait_too_long_is_refused_before_he_waits() {
    let mut fixture = fixture(1_000, 2);
    for number in 0..50 {
        fixture.push(ClientStanding::Unknown, number).expect("nothing was measured yet");
    }
    fixture.queue.measured(Duration::from_millis(500));
    // Fifty tasks of half a second over two threads are 12.5 s.
    assert_eq!(fixture.push(ClientStanding::Unknown, 50), Err(HashUnavailable::Overloaded));
    fixture.push(ClientStanding::Known, 500).expect("nobody is before him");
    // Nineteen before him, and the known one: five seconds, which is in time.
    assert_eq!(fixture.serve(31).len(), 31);
    fixture.push(ClientStanding::Unknown, 51).expect("in time");
    assert_eq!(fixture.push(ClientStanding::Unknown, 52), Err(HashUnavailable::Overloaded));
}

#[test]
fn one_outlier_in_the_measure_does_not_refuse_everybody_for_ever() {
    let mut fixture = fixture(1_000, 1);
    fixture.queue.measured(Duration::from_secs(3_600));
    let mut rounds = 0;
    while fixture.push(ClientStanding::Unknown, 0).is_ok() && fixture.push(ClientStanding::Unknown, 1).is_err() {
        assert_eq!(fixture.serve(2), [0], "an empty queue always takes one");
        fixture.queue.measured(Duration::from_millis(50));
        rounds += 1;
    }
    assert!(rounds < 100, "forgotten after {rounds} rounds");
}

#[test]
fn who_was_refused_is_told_an_honest_time_and_no_two_the_same() {
    let fixture = fixture(1_000, 2);
    for number in 0..40 {
        fixture.push(ClientStanding::Unknown, number).expect("a place");
    }
    fixture.queue.measured(Duration::from_millis(200));
    // Forty of 0.2 s over two threads are served in 4 s, and those who return are spread over as long again.
    let mut told: Vec<Duration> = (0..100).map(|_| fixture.queue.retry_after()).collect();
    told.sort_unstable();
    assert!(told[0] >= Duration::from_secs(4) && told[99] <= Duration::from_secs(8), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    let quarters = [5, 6, 7, 8].map(|end| told.iter().filter(|told| **told < Duration::from_secs(end)).count());
    assert!(quarters.iter().zip([25, 50, 75, 100]).all(|(count, even)| count.abs_diff(even) <= 3), "{quarters:?}");
}

#[test]
fn nobody_is_told_to_come_at_once_or_only_tomorrow() {
    let fixture = fixture(1_000, 1);
    assert!((0..50).all(|_| fixture.queue.retry_after() >= Duration::from_secs(1)));
    for number in 0..900 {
        fixture.push(ClientStanding::Unknown, number).expect("a place");
    }
    fixture.queue.measured(Duration::from_secs(100_000_000));
    // However long the queue is, those who are shed do not all come back at once.
    let mut told: Vec<u64> = (0..150).map(|_| fixture.queue.retry_after().as_secs()).collect();
    told.sort_unstable();
    assert!(told[0] >= 30 && told[149] <= 45, "{told:?}");
    let most_at_once = told.chunk_by(|one, next| one == next).map(<[u64]>::len).max();
    assert!(most_at_once <= Some(15), "{told:?}");
}

#[test]
fn who_waited_too_long_is_told_by_class() {
    let mut fixture = fixture(8, 1);
    fixture.push(ClientStanding::Known, 0).expect("a place");
    fixture.clock.advance(DEADLINE + Duration::from_millis(1));
    fixture.push(ClientStanding::Known, 1).expect("a place");
    assert_eq!(fixture.serve(10), [1]);
    assert_eq!(fixture.fates(), [(0, Some(HashUnavailable::Late)), (1, None)]);
    let text = fixture.metrics.encode();
    assert!(text.contains(r#"authferry_password_shed_total{standing="known",reason="late"} 1"#), "{text}");
}

proptest! {
    /// Whatever comes in whatever order: bounded, everybody gets exactly one answer, classes keep their order, and no unknown one
    /// who waits sees more than four known ones pass.
    #[test]
    fn everybody_gets_one_answer_in_order(
        capacity in 1_usize..20,
        events in prop::collection::vec(prop::option::weighted(0.7, any::<bool>()), 0..200),
    ) {
        let mut fixture = fixture(capacity, 1);
        let (mut refused, mut number, mut passed) = (0, 0, 0);
        for event in events {
            match event {
                Some(known) => {
                    let standing = if known { ClientStanding::Known } else { ClientStanding::Unknown };
                    refused += usize::from(fixture.push(standing, number * 2 + usize::from(known)).is_err());
                    number += 1;
                }
                None => {
                    let waits = !fixture.queue.lock().unknown.is_empty();
                    for served in fixture.serve(1) {
                        passed = if served % 2 == 1 && waits { passed + 1 } else { 0 };
                        prop_assert!(passed <= KNOWN_IN_A_ROW);
                    }
                }
            }
            let depth = fixture.metrics.queue_depth().get();
            prop_assert!(usize::try_from(depth).is_ok_and(|depth| depth <= capacity));
        }
        fixture.serve(usize::MAX);
        let fates = fixture.fates();
        prop_assert_eq!(fates.len() + refused, number);
        for class in [0, 1] {
            let served: Vec<usize> =
                fates.iter().filter(|(number, fate)| number % 2 == class && fate.is_none()).map(|(number, _)| *number).collect();
            prop_assert!(served.is_sorted());
        }
    }
}
