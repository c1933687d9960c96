//! The app behind all proxies, and the legacy backend: this program again, in a process of its own. It answers without looking, so that
//! as little as possible of what is measured is its own. `GET /200` and `GET /65536` are answered with as many bytes, anything else
//! with 200, but for `GET /count`: how many requests there were; `POST /login` says yes, at once, to everybody who has the one right password; after `POST /hang` logins are not answered until `POST /go`.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::clients::{self, PASSWORD, body_length, head_length};
use crate::process::{Running, free_port, on_cores};

const ASKED: &str = "AUTHFERRY_COMPARE_UPSTREAM";

/// The largest request that is read.
const LONGEST: usize = 64 * 1024;

/// The app, running.
pub struct Upstream {
    pub address: SocketAddr,
    running: Option<Running>,
    cores: String,
    folder: std::path::PathBuf,
}

impl Upstream {
    pub fn start(cores: &str, folder: &std::path::Path) -> Outcome<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut upstream = Self { address, running: None, cores: cores.to_owned(), folder: folder.to_owned() };
        upstream.restart()?;
        Ok(upstream)
    }

    /// How many requests it has had.
    pub fn count(&self) -> Outcome<u64> {
        let body = clients::ask_once(self.address, "GET /count")?;
        Ok(String::from_utf8_lossy(&body).parse()?)
    }

    /// Kills it if it runs.
    pub fn kill(&mut self) -> Outcome<()> {
        Ok(self.running.take().map_or(Ok(()), Running::kill)?)
    }

    /// Starts it where it was.
    pub fn restart(&mut self) -> Outcome<()> {
        self.kill()?;
        let mut command = on_cores(&self.cores, &std::env::current_exe()?);
        command.env(ASKED, self.address.to_string());
        self.running = Some(Running::start("upstream", command, &self.folder)?.listening(self.address)?);
        Ok(())
    }
}

/// Is the app, if this process was started as such.
pub fn serve_if_asked() -> Option<ExitCode> {
    let address = std::env::var(ASKED).ok()?;
    let served = serve(&address);
    if let Err(error) = &served {
        eprintln!("upstream: {error}");
    }
    Some(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is answered, made once.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    hangs: AtomicBool,
    count: AtomicU64,
}

fn serve(address: &str) -> Outcome<()> {
    let answer = |size: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; size]].concat()
    };
    let answers = Arc::new(Answers {
        small: answer(200),
        large: answer(64 * 1024),
        hangs: AtomicBool::new(false),
        count: AtomicU64::new(0),
    });
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // Enlarges what may wait to be accepted: ten thousand connect at once.
    rustix::net::listen(&listener, 4096)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, Arc::clone(&answers)));
                }
                // Too many open files: others close some.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    })
}

async fn connection(mut stream: TcpStream, answers: Arc<Answers>) {
    let _no_matter = stream.set_nodelay(true);
    let mut read = Vec::with_capacity(4096);
    while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) && read.len() < LONGEST {
        // Almost always one whole request.
        while let Some(head) = head_length(&read) {
            let whole = head + body_length(&read[..head]).unwrap_or(0);
            if read.len() < whole {
                break;
            }
            let request = &read[..whole];
            let count = answers.count.fetch_add(1, Ordering::Relaxed);
            let written = if request.starts_with(b"GET /65536") {
                stream.write_all(&answers.large).await
            } else if request.starts_with(b"POST /login ") {
                if answers.hangs.load(Ordering::Relaxed) {
                    return std::future::pending().await;
                }
                stream.write_all(&judged(request)).await
            } else if request.starts_with(b"GET /count ") {
                let body = count.to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await
            } else {
                if request.starts_with(b"POST /hang ") || request.starts_with(b"POST /go ") {
                    answers.hangs.store(request.starts_with(b"POST /hang "), Ordering::Relaxed);
                }
                stream.write_all(&answers.small).await
            };
            if written.is_err() {
                return;
            }
            read.drain(..whole);
        }
    }
}

/// What legacy says to a login.
fn judged(request: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    if !text.contains(PASSWORD) {
        return b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_vec();
    }
    let name = text.split(r#""email":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("nobody");
    let body = format!(r#"{{"user":{{"id":"{name}","email":"{name}"}}}}"#);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::login;

    #[test]
    fn legacy_greets_by_his_name_whoever_has_the_password_and_nobody_else() {
        let answer = judged(&login("ann@example.com", PASSWORD));
        let answer = String::from_utf8(answer).unwrap();
        let head = head_length(answer.as_bytes()).unwrap();
        assert_eq!(&answer[head..], r#"{"user":{"id":"ann@example.com","email":"ann@example.com"}}"#);
        assert_eq!(body_length(&answer.as_bytes()[..head]), Some(answer.len() - head));
        assert!(judged(&login("ann@example.com", "another")).starts_with(b"HTTP/1.1 401 "));
    }
}
