//! The barest sane reverse proxy on hyper, to say what of a request's cost is the libraries' own: one runtime on one thread, hyper's server,
//! connections to the app kept last in, first out. No rules, limits, log or metrics, and no timeouts: nobody should run it.
//! Started by the runner as `authferry-compare-hyper LISTEN UPSTREAM`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// The proxy's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

thread_local! {
    /// Connections to the app that wait for a request. There is one thread.
    static IDLE: RefCell<Vec<SendRequest<Incoming>>> = const { RefCell::new(Vec::new()) };
}

fn main() -> ExitCode {
    let addresses: Vec<SocketAddr> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let served = match addresses[..] {
        [listen, upstream] => serve(listen, upstream),
        _ => Err("two addresses are wanted: LISTEN UPSTREAM".into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hyper alone: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(listen: SocketAddr, upstream: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        // Enlarges what may wait to be accepted, as everybody else's configuration does.
        rustix::net::listen(&listener, 4096)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service_fn(move |request| forward(request, upstream));
            tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn forward(mut request: Request<Incoming>, upstream: SocketAddr) -> Outcome<Response<Returning>> {
    // The app is told a path, as it would be by anybody.
    if let Some(path) = request.uri().path_and_query().filter(|_| request.uri().authority().is_some()) {
        *request.uri_mut() = Uri::from(path.clone());
    }
    let ready = IDLE.with_borrow_mut(|idle| {
        let last = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(last))
    });
    let mut sender = match ready {
        Some(sender) => sender,
        None => connect(upstream).await?,
    };
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Returning { body, sender: Some(sender) }))
}

async fn connect(upstream: SocketAddr) -> Outcome<SendRequest<Incoming>> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// An answer's body, which gives its connection back at the end.
struct Returning {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream()
            && let Some(sender) = self.sender.take()
        {
            IDLE.with_borrow_mut(|idle| idle.push(sender));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
