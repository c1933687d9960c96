//! How long who may wait for whom, and who goes first when room is needed.

use std::pin::Pin;
use std::task::Waker;

use futures_util::FutureExt as _;

use super::super::places::Places;
use super::super::places::tests::places;
use super::roster::LOOKED_AT;
use super::*;

const PATIENCE: Patience = Patience {
    idle: Duration::from_millis(300),
    head: Duration::from_millis(100),
    linger: Duration::from_millis(60),
    tunnels: Duration::from_millis(200),
};

fn connection() -> (Arc<Connection>, Arc<Roster>) {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(1, 1));
    (Connection::new(None, None, false, &roster, places.take().expect("a place")), roster)
}

#[test]
fn r22_an_idle_connection_is_drained_and_then_cut() {
    let (connection, _roster) = connection();
    assert_eq!(connection.due(301, PATIENCE), Order::Run);
    assert_eq!(connection.due(302, PATIENCE), Order::Drain);
    assert_eq!(connection.due(402, PATIENCE), Order::Cut);
}

#[test]
fn r22_a_head_that_trickles_in_is_cut_however_often_a_byte_comes() {
    let (connection, roster) = connection();
    for now in [50, 90, 150] {
        roster.now.store(now, Ordering::Relaxed);
        connection.note_read();
    }
    assert_eq!(connection.due(150, PATIENCE), Order::Run);
    assert_eq!(connection.due(151, PATIENCE), Order::Cut);
}

#[test]
fn a_request_under_way_may_take_as_long_as_the_client_takes_bytes() {
    let (connection, roster) = connection();
    connection.note_read();
    let request = connection.in_flight();
    assert_eq!(connection.due(100_000, PATIENCE), Order::Run);
    roster.now.store(100_000, Ordering::Relaxed);
    connection.note_write(true);
    roster.now.store(100_200, Ordering::Relaxed);
    connection.note_write(true);
    assert_eq!(connection.due(100_301, PATIENCE), Order::Cut);
    connection.note_write(false);
    assert_eq!(connection.due(100_301, PATIENCE), Order::Run);
    drop(request);
    assert_eq!(connection.due(100_500, PATIENCE), Order::Run);
    assert_eq!(connection.due(100_501, PATIENCE), Order::Drain);
}

#[test]
fn a_client_that_takes_the_end_of_an_answer_slowly_is_not_idle() {
    let (connection, roster) = connection();
    drop(connection.in_flight());
    for now in [100, 350, 600, 850] {
        roster.now.store(now, Ordering::Relaxed);
        connection.note_write(false);
        connection.note_write(true);
        assert_eq!(connection.due(now + 249, PATIENCE), Order::Run);
    }
    connection.note_write(false);
    assert_eq!(connection.due(1151, PATIENCE), Order::Drain);
}

/// Where the worker's clock stands, without the coarse real one.
fn drain_at(roster: &Roster, now: u64) {
    roster.draining_since.store(now, Ordering::Relaxed);
    roster.each(Connection::wind_up);
}

#[test]
fn r25_an_idle_connection_may_bring_one_more_request_before_it_is_closed() {
    let (connection, roster) = connection();
    drain_at(&roster, 100);
    assert_eq!(connection.order_in_force(), Order::Linger);
    assert!(connection.next_answer_is_the_last());
    assert_eq!(connection.due(160, PATIENCE), Order::Run);
    assert_eq!(connection.due(161, PATIENCE), Order::Drain);
    // It came: as long as it is under way nothing is closed, and then the time counts anew.
    roster.now.store(150, Ordering::Relaxed);
    let request = connection.in_flight();
    assert_eq!(connection.due(250, PATIENCE), Order::Run);
    roster.now.store(250, Ordering::Relaxed);
    drop(request);
    assert_eq!(connection.due(310, PATIENCE), Order::Run);
    assert_eq!(connection.due(311, PATIENCE), Order::Drain);
}

#[test]
fn r25_a_drain_that_is_taken_back_leaves_connections_as_they_were() {
    let (connection, roster) = connection();
    drain_at(&roster, 100);
    roster.resume();
    assert_eq!(connection.order_in_force(), Order::Run);
    assert!(!connection.next_answer_is_the_last());
    assert_eq!(connection.due(299, PATIENCE), Order::Run);
    drain_at(&roster, 100);
    connection.order(Order::Drain);
    roster.resume();
    assert_eq!(connection.order_in_force(), Order::Drain, "it is closing already");
}

#[test]
fn r25_http2_is_told_to_go_away_at_once_whenever_its_protocol_becomes_known() {
    for known_first in [true, false] {
        let (connection, roster) = connection();
        if known_first {
            connection.is_multiplexed();
        }
        drain_at(&roster, 100);
        if !known_first {
            connection.is_multiplexed();
        }
        assert_eq!(connection.order_in_force(), Order::Drain, "{known_first}");
        assert!(!connection.next_answer_is_the_last());
    }
}

#[test]
fn r25_a_websocket_holds_a_drain_only_for_its_own_time() {
    let (connection, roster) = connection();
    let _under_way = connection.in_flight();
    connection.is_a_tunnel();
    assert_eq!(connection.due(100_000, PATIENCE), Order::Run);
    drain_at(&roster, 100_000);
    assert_eq!(connection.due(100_200, PATIENCE), Order::Run);
    assert_eq!(connection.due(100_201, PATIENCE), Order::Cut);
}

#[test]
fn r23_room_is_made_by_whoever_kept_us_waiting_longest_and_never_by_a_request_under_way() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(5, 5));
    let open = |at| {
        roster.now.store(at, Ordering::Relaxed);
        Connection::new(None, None, false, &roster, places.take().expect("a place"))
    };
    let (serving, reading, idle, fresh, stuck) = (open(1), open(2), open(3), open(4), open(5));
    let under_way = (serving.in_flight(), stuck.in_flight());
    roster.now.store(6, Ordering::Relaxed);
    stuck.note_write(true);
    roster.now.store(2_000, Ordering::Relaxed);
    reading.note_read();
    assert_eq!(roster.shed(None, 3), 3);
    let orders = [&serving, &reading, &idle, &fresh, &stuck].map(|connection| connection.order_in_force());
    assert_eq!(orders, [Order::Run, Order::Run, Order::Cut, Order::Cut, Order::Cut]);
    assert_eq!(
        [places.take(), places.take(), places.take(), places.take()].map(|place| place.is_some()),
        [true, true, true, false]
    );
    assert_eq!(roster.shed(None, 3), 1, "nobody is closed twice");
    assert_eq!((reading.order_in_force(), serving.order_in_force()), (Order::Cut, Order::Run));
    drop(under_way);
}

#[test]
fn r23_one_network_makes_room_for_itself_only() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(5, 5));
    let open = |client: [u8; 4]| {
        let place = places.take().expect("a place");
        place.claim(client.into()).expect("a place");
        Connection::new(None, None, false, &roster, place)
    };
    let (theirs, ours) = (open([192, 0, 2, 1]), open([192, 0, 2, 2]));
    assert_eq!(roster.shed(Some([192, 0, 2, 2].into()), 5), 1);
    assert_eq!((theirs.order_in_force(), ours.order_in_force()), (Order::Run, Order::Cut));
}

#[test]
fn r23_clients_that_have_just_come_are_closed_one_by_one_and_never_before_older_ones() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(5, 5));
    let open = |at| {
        roster.now.store(at, Ordering::Relaxed);
        Connection::new(None, None, false, &roster, places.take().expect("a place"))
    };
    let connections = [1_000, 1_200, 1_900, 2_000, 2_100].map(open);
    roster.now.store(2_200, Ordering::Relaxed);
    let closed = || connections.iter().filter(|connection| connection.order_in_force() == Order::Cut).count();
    assert_eq!((roster.shed(None, 4), closed()), (2, 2), "those who have waited for a second");
    assert_eq!((roster.shed(None, 4), closed()), (1, 3), "one of the others");
    assert_eq!(connections[3].order_in_force(), Order::Run, "not the newest");
}

/// A handshake that begins at a time, the place among the others included.
fn begin(roster: &Roster, places: &Arc<Places>, among: &Arc<Places>, at: u64) -> Arc<Handshake> {
    roster.now.store(at, Ordering::Relaxed);
    roster.begins(places.take().expect("a place"), among.take().expect("a place among handshakes"))
}

fn is_cut(handshake: &Handshake) -> bool {
    handshake.is_cut().now_or_never().is_some()
}

#[test]
fn r23_handshakes_that_do_not_come_go_before_clients_that_idle() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places, among) = (Roster::new(), places(5, 5), places(4, 4));
    let idle = Connection::new(None, None, false, &roster, places.take().expect("a place"));
    let [first, second, fresh, newest] = [100, 200, 1_900, 1_950].map(|at| begin(&roster, &places, &among, at));
    roster.now.store(2_000, Ordering::Relaxed);
    assert_eq!(roster.shed(None, 4), 2, "those that have not come for a second");
    assert_eq!([&first, &second, &fresh].map(|handshake| is_cut(handshake)), [true, true, false]);
    assert_eq!(idle.order_in_force(), Order::Run, "although it has idled for longer");
    assert!(places.take().is_some(), "their places are free before they are gone");
    assert_eq!(roster.shed(None, 4), 1);
    assert_eq!(idle.order_in_force(), Order::Cut, "a handshake that has just begun goes later");
    assert_eq!(roster.shed(None, 4), 1);
    assert_eq!([&fresh, &newest].map(|handshake| is_cut(handshake)), [true, false], "one by one");
}

#[test]
fn r23_a_handshake_that_is_over_or_another_networks_makes_no_room() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places, among) = (Roster::new(), places(5, 5), places(2, 2));
    let (over, theirs) = (begin(&roster, &places, &among, 1), begin(&roster, &places, &among, 2));
    theirs.place().claim([192, 0, 2, 1].into()).expect("a place");
    assert!(among.take().is_none());
    let connection = Connection::new(None, None, true, &roster, over.place().clone());
    drop(over);
    assert_eq!(roster.shed(Some([192, 0, 2, 2].into()), 5), 0);
    assert!(among.take().is_some(), "handshakes under way count, not connections");
    roster.now.store(5_000, Ordering::Relaxed);
    assert_eq!(roster.shed(Some([192, 0, 2, 1].into()), 5), 1);
    assert!(is_cut(&theirs) && !roster.shed_handshake());
    assert_eq!(connection.order_in_force(), Order::Run);
}

#[test]
fn r23_an_http2_client_makes_room_when_all_of_its_requests_wait_for_it_and_never_before() {
    let (connection, roster) = connection();
    connection.is_multiplexed();
    let at = |now| roster.now.store(now, Ordering::Relaxed);
    let request = || (connection.in_flight(), connection.stream());
    let poll = |handling: Pin<&mut dyn Future<Output = ()>>| {
        assert!(handling.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    };
    let ((posting, post), (getting, get)) = (request(), request());
    let body = connection.receives(std::future::pending::<()>());
    let mut handled = Box::pin(Connection::handling(post.clone().expect("a stream"), body));
    at(500);
    poll(handled.as_mut());
    assert_eq!(connection.waits_since(), None, "the other request is ours to answer");
    let answer = get.expect("HTTP/2");
    answer.offered(700);
    at(1_699);
    assert_eq!(connection.waits_since(), None, "its answer was offered just now");
    at(1_700);
    assert_eq!(connection.waits_since(), Some(700), "both wait");
    answer.asked();
    assert_eq!(connection.waits_since(), None);
    drop((answer, getting));
    assert_eq!(connection.waits_since(), Some(500), "there is only the body that does not come");
    at(2_000);
    poll(handled.as_mut());
    assert_eq!(connection.waits_since(), Some(2_000), "a part of it came");
    assert_eq!((roster.shed(None, 1), connection.order_in_force()), (1, Order::Cut));
    drop((handled, post, posting));
}

#[test]
fn r23_a_body_that_was_read_leaves_its_request_with_us() {
    let (connection, _roster) = connection();
    let _request = connection.in_flight();
    let (whole, end) = tokio::sync::oneshot::channel();
    let mut reading = Box::pin(connection.receives(end));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(connection.waits_since(), None);
    assert!(reading.as_mut().poll(&mut cx).is_pending());
    assert_eq!(connection.waits_since(), Some(1));
    whole.send(()).expect("somebody reads");
    assert!(reading.as_mut().poll(&mut cx).is_ready());
    assert_eq!(connection.waits_since(), None, "it is answered now");
}

#[test]
fn r23_a_network_in_which_nobody_can_be_closed_keeps_nobody_else_from_making_room() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(10, 10));
    let _open: Vec<_> =
        (0..10).map(|_| Connection::new(None, None, false, &roster, places.take().expect("a place"))).collect();
    for _ in 0..=LOOKED_AT / 10 + 1 {
        assert_eq!(roster.shed(Some([192, 0, 2, 9].into()), 1), 0);
    }
    assert_eq!(roster.shed(None, 1), 1);
}

#[test]
fn looking_for_somebody_to_close_is_bounded_in_time() {
    let _runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").enter();
    let (roster, places) = (Roster::new(), places(10, 10));
    let _open: Vec<_> =
        (0..10).map(|_| Connection::new(None, None, false, &roster, places.take().expect("a place"))).collect();
    roster.looked_at.store(LOOKED_AT - 5, Ordering::Relaxed);
    assert_eq!(roster.shed(None, 1), 1);
    assert_eq!(roster.shed(None, 1), 0, "enough for now");
    roster.inspect(PATIENCE);
    assert_eq!(roster.shed(None, 1), 1);
}

#[test]
fn r22_a_head_on_http2_that_lacks_its_end_is_cut_whatever_else_is_under_way() {
    let (connection, roster) = connection();
    connection.is_multiplexed();
    let _request = connection.in_flight();
    roster.now.store(50, Ordering::Relaxed);
    connection.note_open_head(true);
    assert_eq!(connection.due(150, PATIENCE), Order::Run);
    assert_eq!(connection.due(151, PATIENCE), Order::Cut);
    connection.note_open_head(false);
    assert_eq!(connection.due(151, PATIENCE), Order::Run);
}

#[test]
fn r22_a_request_before_a_crowd_of_others_may_stand_still_for_a_long_time_and_not_for_ever() {
    let (connection, roster) = connection();
    let at = |now| roster.now.store(now, Ordering::Relaxed);
    let request = connection.in_flight();
    at(10);
    connection.note_crowd();
    assert_eq!(connection.due(3_010, PATIENCE), Order::Run);
    assert_eq!(connection.due(3_011, PATIENCE), Order::Cut);
    at(3_000);
    connection.note_crowd();
    assert_eq!(connection.due(6_000, PATIENCE), Order::Run, "something went on");
    at(6_000);
    drop(request);
    let _next = connection.in_flight();
    assert_eq!(connection.due(10_000, PATIENCE), Order::Run, "the next one has no crowd behind it");
}

#[test]
fn whoever_waits_for_an_answer_to_end_is_woken_at_its_end_and_once() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (connection, _roster) = connection();
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    for (waits, wakes) in [(false, 0), (true, 1), (false, 1)] {
        connection.poll_order(&cx);
        let request = connection.in_flight();
        if waits {
            connection.note_next();
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), wakes - usize::from(waits));
        drop(request);
        assert_eq!(woken.0.load(Ordering::Relaxed), wakes);
    }
}

#[test]
fn r22_a_client_on_http2_that_takes_none_of_its_answers_is_cut_and_one_that_pauses_one_of_them_is_not() {
    let (connection, _roster) = connection();
    connection.is_multiplexed();
    let (_first, _second) = (connection.in_flight(), connection.in_flight());
    let (film, page) = (connection.stream().expect("HTTP/2"), connection.stream().expect("HTTP/2"));
    film.offered(10);
    assert_eq!(connection.due(1_000, PATIENCE), Order::Run, "the page goes on");
    page.offered(1_000);
    assert_eq!(connection.due(1_300, PATIENCE), Order::Run);
    assert_eq!(connection.due(1_301, PATIENCE), Order::Cut, "nothing goes on");
    page.asked();
    assert_eq!(connection.due(1_301, PATIENCE), Order::Run, "it waits for us");
    assert_eq!(connection.due(3_011, PATIENCE), Order::Cut, "no film pauses for ever");
    drop(film);
    assert_eq!(connection.due(3_011, PATIENCE), Order::Run);
}

#[test]
fn r25_a_worker_is_quiet_when_only_answers_under_way_are_left() {
    let (connection, roster) = connection();
    assert!(!roster.is_quiet(), "it may bring a request");
    let request = connection.in_flight();
    assert!(roster.is_quiet());
    let shaking_hands = roster.tasks.token();
    let serving = roster.tasks.token();
    assert!(!roster.is_quiet());
    drop(shaking_hands);
    assert!(roster.is_quiet());
    drop((request, connection, serving));
    assert!(roster.is_quiet());
}

#[test]
fn a_connection_is_to_be_parked_once_for_each_time_that_it_idles() {
    let (connection, roster) = connection();
    let at = |now| {
        roster.now.store(now, Ordering::Relaxed);
        connection.park(now);
        connection.is_to_be_parked()
    };
    assert!(!at(UNTIL_PARKED), "not before its time");
    assert!(at(UNTIL_PARKED + 1));
    assert!(!at(UNTIL_PARKED + 2), "it was told");
    let request = connection.in_flight();
    assert!(!at(10 * UNTIL_PARKED), "a request is under way");
    drop(request);
    assert!(!at(10 * UNTIL_PARKED + 1));
    assert!(at(11 * UNTIL_PARKED));
    drop(connection.in_flight());
    connection.note_read();
    assert!(!at(20 * UNTIL_PARKED), "a head is arriving");
    drop(connection.in_flight());
    connection.note_write(true);
    assert!(!at(30 * UNTIL_PARKED), "the end of an answer has not been taken");
    connection.note_write(false);
    connection.is_multiplexed();
    assert!(!at(40 * UNTIL_PARKED), "HTTP/2 is not parked");
}
