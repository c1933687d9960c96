//! The outbound client by itself: one client for several runtimes, and what it does with connections that died meanwhile.

use std::time::Duration;

use authferry::net::{Client, ClientSettings, ProxyBody, SendErrorKind, Target, tls};
use http::Request;

use crate::support::client::{get, show, whole};
use crate::support::soon;
use crate::support::upstream::Upstream;

fn client(url: &str, connect_timeout: Duration) -> Client {
    let tls = tls::client_config_trusting_nobody().expect("a configuration");
    let idle_timeout = Duration::from_secs(30);
    let settings = ClientSettings { connect_timeout, tls, max_idle_per_thread: 4, idle_timeout };
    Client::new(Target::parse(url).expect("a URL"), settings)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn ask(client: &Client) -> String {
    let response = soon("an answer", client.send(get("/"))).await.expect("an answer");
    show(&whole(response.into_body()).await)
}

const LONG: Duration = Duration::from_secs(30);

async fn counting() -> Upstream {
    Upstream::raw(|mut connection, index| async move {
        while connection.head().await.is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{index}")).await;
        }
    })
    .await
}

#[test]
fn a_connection_of_a_runtime_that_is_gone_costs_no_request() {
    let server = tokio::runtime::Runtime::new().expect("a runtime");
    let upstream = server.block_on(counting());
    let client = client(&upstream.url(), LONG);
    for expected in ["0", "1"] {
        let runtime = runtime();
        assert_eq!(runtime.block_on(async { ask(&client).await + &ask(&client).await }), expected.repeat(2));
    }
}

#[test]
fn each_thread_has_connections_of_its_own() {
    let server = tokio::runtime::Runtime::new().expect("a runtime");
    let upstream = server.block_on(counting());
    let client = client(&upstream.url(), LONG);
    let here = runtime();
    assert_eq!(here.block_on(ask(&client)), "0");
    let there = client.clone();
    let asked = std::thread::spawn(move || runtime().block_on(async { ask(&there).await + &ask(&there).await }));
    assert_eq!(asked.join().expect("no panic"), "11");
    assert_eq!(here.block_on(ask(&client)), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_client_serves_many_tasks_of_a_runtime_with_many_threads() {
    let upstream = counting().await;
    let client = client(&upstream.url(), LONG);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                assert!(ask(&client).await.parse::<usize>().is_ok());
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    assert!(upstream.connections() < 1000, "connections are used again: {}", upstream.connections());
}

#[tokio::test]
async fn an_error_says_what_went_wrong_and_whether_anything_was_sent() {
    let dead = client(&format!("http://{}", Upstream::nobody().await), LONG);
    let error = dead.send(get("/")).await.err().expect("nobody there");
    assert_eq!((error.kind, error.safe_to_retry), (SendErrorKind::Connect, true));
    // A TLS handshake that is never answered.
    let silent = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
    let stalled = client(&format!("https://{}", silent.address), Duration::from_millis(50));
    let error = stalled.send(get("/")).await.err().expect("no handshake");
    assert_eq!((error.kind, error.safe_to_retry), (SendErrorKind::Timeout, true));
    let plain = Upstream::raw(|mut connection, _| async move { connection.send("no TLS here, but bytes").await }).await;
    let error = client(&format!("https://{}", plain.address), LONG).send(get("/")).await.err().expect("no TLS");
    assert_eq!((error.kind, error.safe_to_retry), (SendErrorKind::Tls, true));
    let broken = Upstream::saying_and_closing("HTTP/1.1").await;
    let request = Request::post("/").body(ProxyBody::full("a body".into())).expect("a request");
    let error = client(&broken.url(), LONG).send(request).await.err().expect("half a head");
    assert_eq!((error.kind, error.safe_to_retry), (SendErrorKind::Broken, false));
}

#[tokio::test]
async fn idle_connections_are_kept_up_to_their_number_and_age() {
    let upstream = counting().await;
    let tls = tls::client_config_trusting_nobody().expect("a configuration");
    let settings =
        ClientSettings { connect_timeout: LONG, tls, max_idle_per_thread: 1, idle_timeout: Duration::from_millis(400) };
    let client = Client::new(Target::parse(&upstream.url()).expect("a URL"), settings);
    let (first, second) = tokio::join!(ask(&client), ask(&client));
    assert_ne!(first, second, "two at once need two connections");
    assert_eq!(upstream.connections(), 2);
    let third = ask(&client).await;
    assert!(third == first || third == second, "one of them was kept");
    // The pause is what is tested.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ask(&client).await, "2");
}

#[tokio::test]
async fn an_upstream_that_may_have_no_more_connections_is_busy() {
    let upstream = Upstream::raw(|mut connection, _| async move { connection.stall().await }).await;
    let client = client(&upstream.url(), Duration::from_secs(10)).with_at_most(1);
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.send(get("/")).await.map(drop) }
    });
    while upstream.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let error = client.send(get("/")).await.err().expect("there is one");
    assert_eq!((error.kind, error.safe_to_retry), (SendErrorKind::NoRoom, true));
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    let again = soon("room", async {
        loop {
            match tokio::time::timeout(Duration::from_millis(50), client.send(get("/"))).await {
                Ok(Err(error)) if error.kind == SendErrorKind::NoRoom => {}
                other => return other,
            }
        }
    });
    assert!(again.await.is_err(), "it is asked again, and stalls again");
    assert_eq!(upstream.connections(), 2);
}
