//! Connections over TLS between two answers and at their end: records that have come in part, and closing with and without saying so.

use tokio::io::AsyncReadExt as _;

use super::*;

type App = tokio_rustls::server::TlsStream<TcpStream>;

/// An exchange whose answer has been read whole, as far as that goes.
async fn exchange(wire: &mut Wire, app: &mut App, answer: &[u8]) -> Result<Vec<u8>, Fault> {
    wire.begin(request(Method::GET, ProxyBody::empty()));
    app.write_all(answer).await.expect("a live socket");
    app.flush().await.expect("a live socket");
    soon(head(wire)).await?;
    soon(body(wire)).await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the app's side makes of some data, without sending it.
fn records(app: &mut App, data: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let (_, tls) = app.get_mut();
    tls.writer().write_all(data).expect("room");
    while tls.wants_write() {
        tls.write_tls(&mut records).expect("room");
    }
    records
}

/// What the app's side makes of its end, without sending it.
fn close_notify(app: &mut App) -> Vec<u8> {
    let mut records = Vec::new();
    let (_, tls) = app.get_mut();
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut records).expect("room");
    }
    records
}

async fn send_raw(app: &mut App, bytes: &[u8]) {
    app.get_mut().0.write_all(bytes).await.expect("a live socket");
}

/// Waits until there is something to be read on our side of the socket.
async fn arrives(wire: &Wire) {
    soon(async {
        while !wire.socket.has_bytes() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until the runtime has heard of it, too.
async fn readable(wire: &Wire) {
    soon(wire.socket.tcp().readable()).await.expect("a live socket");
}

#[tokio::test]
async fn r20_a_record_of_which_half_has_come_behind_an_answer_is_noticed() {
    let poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for came in [1, 4, 5, 6, 20] {
        let (mut wire, mut app) = tls().await;
        exchange(&mut wire, &mut app, OK).await.expect("an answer");
        let (answer, behind) = (records(&mut app, OK), records(&mut app, poison));
        wire.begin(request(Method::GET, ProxyBody::empty()));
        // One segment, as a read finds it; the rest is still on its way.
        send_raw(&mut app, &[&answer, &behind[..came]].concat()).await;
        arrives(&wire).await;
        soon(head(&mut wire)).await.expect("a head");
        assert_eq!(soon(body(&mut wire)).await.expect("a body"), b"ok");
        assert!(wire.is_stale(), "{came} bytes of a record");
        let pool = pool();
        pool.put(wire);
        assert!(pool.take().is_none(), "{came} bytes of a record");
    }
}

#[tokio::test]
async fn r20_half_a_record_that_comes_while_the_connection_idles_is_noticed() {
    let (mut wire, mut app) = tls().await;
    exchange(&mut wire, &mut app, OK).await.expect("an answer");
    let unasked = records(&mut app, OK);
    send_raw(&mut app, &unasked[..9]).await;
    arrives(&wire).await;
    // The runtime may hear of it before or after it is asked.
    for _ in 0..3 {
        assert!(wire.is_stale());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_whose_other_side_has_said_that_it_closes_is_not_used_again() {
    // With the answer, in one segment; the socket stays open.
    let (mut wire, mut app) = tls().await;
    wire.begin(request(Method::GET, ProxyBody::empty()));
    let all = [records(&mut app, OK), close_notify(&mut app)].concat();
    send_raw(&mut app, &all).await;
    arrives(&wire).await;
    soon(head(&mut wire)).await.expect("a head");
    assert_eq!(soon(body(&mut wire)).await.expect("a body"), b"ok");
    assert!(wire.is_stale());
    // While it idles.
    let (mut wire, mut app) = tls().await;
    exchange(&mut wire, &mut app, OK).await.expect("an answer");
    let end = close_notify(&mut app);
    send_raw(&mut app, &end).await;
    arrives(&wire).await;
    assert!(wire.is_stale());
}

#[tokio::test]
async fn an_answer_that_ends_by_closing_is_whole_only_where_tls_says_so() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nsome of it";
    for (says_so, at_once) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mut wire, mut app) = tls().await;
        wire.begin(request(Method::GET, ProxyBody::empty()));
        let mut bytes = records(&mut app, ANSWER);
        let end = if says_so { close_notify(&mut app) } else { Vec::new() };
        if at_once {
            bytes.extend_from_slice(&end);
        }
        send_raw(&mut app, &bytes).await;
        let answered = async {
            soon(head(&mut wire)).await?;
            let read = soon(body(&mut wire)).await;
            assert!(!wire.may_be_used_again());
            read
        };
        let closing = async {
            tokio::task::yield_now().await;
            if !at_once {
                app.get_mut().0.write_all(&end).await.expect("a live socket");
            }
            app.get_mut().0.shutdown().await.expect("a live socket");
        };
        match tokio::join!(answered, closing).0 {
            Ok(body) => assert!(says_so && body == b"some of it", "{at_once}"),
            Err(fault) => assert!(!says_so, "{fault} {at_once}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_whole_whether_tls_says_so_or_not() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        for says_so in [true, false] {
            let (mut wire, mut app) = tls().await;
            wire.begin(request(Method::GET, ProxyBody::empty()));
            let end = if says_so {
                [records(&mut app, answer), close_notify(&mut app)].concat()
            } else {
                records(&mut app, answer)
            };
            send_raw(&mut app, &end).await;
            app.get_mut().0.shutdown().await.expect("a live socket");
            let read = async {
                soon(head(&mut wire)).await?;
                soon(body(&mut wire)).await
            };
            assert!(read.await.is_err(), "{} {says_so}", answer.escape_ascii());
        }
    }
}

#[tokio::test]
async fn messages_of_tls_alone_do_not_make_an_idle_connection_stale() {
    let (mut wire, mut app) = tls().await;
    for round in 0..3 {
        assert_eq!(exchange(&mut wire, &mut app, OK).await.expect("an answer"), b"ok");
        // A change of keys, which needs an answer of the other side as well.
        app.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        app.flush().await.expect("a live socket");
        arrives(&wire).await;
        // The runtime hears of it, as it would while the connection waits for the next request.
        readable(&wire).await;
        assert!(!wire.is_stale(), "{round}");
        let pool = pool();
        pool.put(wire);
        wire = pool.take().expect("nothing unasked");
    }
    let mut seen = [0; 1];
    app.read_exact(&mut seen).await.expect("requests");
}
