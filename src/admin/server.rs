//! The admin listener's accept loop. Bounded in connections, heads and age, so that whoever reaches it cannot hold it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::permit::Peer;
use crate::telemetry::WithCauses;

/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What one connection, and all of them, may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Open connections; more wait in the kernel's queue.
    connections: usize,
    /// How long a head may take, the wait for it on an idle connection included.
    head: Duration,
    /// How long a connection may live before it is asked to end: nobody holds a place for ever by reading slowly.
    age: Duration,
    /// How long a connection may take to end once it was asked to.
    close: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections: 128,
    head: Duration::from_secs(10),
    age: Duration::from_secs(10 * 60),
    close: Duration::from_secs(5),
};

/// The pause after a failed accept: usually there are no file descriptors left, and asking again at once changes nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is ready, then lets the requests under way end, for at most five seconds. Spawns onto the current
/// runtime.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    serve_within(BOUNDS, listener, router, shutdown).await;
}

async fn serve_within(bounds: Bounds, listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let (connections, closing) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = next_connection(&listener, &places) => accepted,
        };
        if let Some((stream, peer, place)) = accepted {
            let router = router.clone().layer(Extension(Peer(peer.ip())));
            connections.spawn(connection(bounds, stream, place, router, closing.clone()));
        }
    }
    drop(listener);
    closing.cancel();
    connections.close();
    // What has not ended by now is cut off with the runtime.
    let _ended = tokio::time::timeout(bounds.close, connections.wait()).await;
}

/// The next connection and its place, once there is one; none if accepting failed.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(error = %WithCauses(&error), "the admin listener could not accept");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    bounds: Bounds,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    router: Router,
    closing: CancellationToken,
) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    // A connection that ends in an error is the client's affair: nothing here depends on how it ended.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = closing.cancelled() => {}
        () = tokio::time::sleep(bounds.age) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = tokio::time::timeout(bounds.close, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    /// Long enough that a test which waits for it fails by its own deadline.
    const NEVER: Duration = Duration::from_secs(3_600);

    async fn served<T, F: Future<Output = T>>(bounds: Bounds, test: impl FnOnce(SocketAddr) -> F) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(async || "here"));
        let server = tokio::spawn(serve_within(bounds, listener, router, async {
            let _ = stopped.await;
        }));
        let outcome = tokio::time::timeout(Duration::from_secs(20), test(addr)).await.expect("in time");
        drop(stop);
        tokio::time::timeout(Duration::from_secs(20), server).await.expect("in time").expect("no panic");
        outcome
    }

    async fn read_to_end(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset instead of an end is as good here.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        let bounds = Bounds { head: SOON, age: NEVER, ..BOUNDS };
        served(bounds, async |addr| {
            for begun in ["", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
                let mut stream = TcpStream::connect(addr).await.expect("a connection");
                stream.write_all(begun.as_bytes()).await.expect("written");
                assert!(!read_to_end(&mut stream).await.contains("here"));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_over_its_age_is_ended_between_requests() {
        let bounds = Bounds { head: NEVER, age: SOON, ..BOUNDS };
        let answer = served(bounds, async |addr| {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
            read_to_end(&mut stream).await
        });
        assert!(answer.await.ends_with("here"));
    }

    #[tokio::test]
    async fn a_full_house_is_served_one_after_the_other() {
        let bounds = Bounds { connections: 1, head: SOON, ..BOUNDS };
        served(bounds, async |addr| {
            let mut idle = TcpStream::connect(addr).await.expect("a connection");
            let mut waiting = TcpStream::connect(addr).await.expect("a connection");
            let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            waiting.write_all(request).await.expect("written");
            assert!(read_to_end(&mut waiting).await.ends_with("here"));
            assert!(!read_to_end(&mut idle).await.contains("here"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_stop_waits_for_no_idle_connection() {
        let bounds = Bounds { head: NEVER, age: NEVER, close: NEVER, ..BOUNDS };
        let kept = served(bounds, async |addr| {
            let mut stream = TcpStream::connect(addr).await.expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await.expect("an answer");
            stream
        })
        .await;
        let mut kept = kept;
        assert!(read_to_end(&mut kept).await.ends_with("here"));
    }
}
