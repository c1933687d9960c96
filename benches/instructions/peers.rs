//! Everything that the proxy talks with: an app and a legacy backend in one, and a client. Blocking and plain, since nobody counts them.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::Scenario;

/// What a browser sends, or thereabouts.
const USUAL_HEADERS: &str = "host: app.example\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    accept: application/json, text/plain, */*\r\naccept-language: en-US,en;q=0.5\r\naccept-encoding: gzip, deflate, br, zstd\r\n\
    referer: https://app.example/things\r\ncookie: session=0123456789abcdef0123456789abcdef\r\nsec-fetch-site: same-origin\r\n";

/// Says where the app is, hears where the proxy is, and asks it so many times.
pub(crate) fn run(scenario: Scenario, requests: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || serve(stream));
        }
    });
    let mut proxy = String::new();
    std::io::stdin().lock().read_line(&mut proxy).expect("an address");
    let mut stream = TcpStream::connect(proxy.trim()).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    // The first one may be answered otherwise, and is: it saves the user, or uses the limit up.
    ask(&mut stream, scenario, 0);
    for number in 1..=requests {
        let status = ask(&mut stream, scenario, number);
        let wanted = if scenario == Scenario::Refusal { "429" } else { "200" };
        assert_eq!(status, wanted, "{scenario:?}");
    }
}

/// One request; the status of its answer.
fn ask(stream: &mut TcpStream, scenario: Scenario, number: usize) -> String {
    let name = match scenario {
        // Of one length.
        Scenario::FirstLogin => format!("user{number:06}@example.com"),
        Scenario::Forward | Scenario::Login | Scenario::Refusal => "known@example.com".to_owned(),
    };
    let request = match scenario {
        Scenario::Forward => format!("GET /api/things?page=1 HTTP/1.1\r\n{USUAL_HEADERS}\r\n"),
        Scenario::Login | Scenario::Refusal | Scenario::FirstLogin => {
            let body = format!(r#"{{"email":"{name}","password":"correct horse battery"}}"#);
            let length = body.len();
            format!(
                "POST /api/login HTTP/1.1\r\n{USUAL_HEADERS}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        }
    };
    stream.write_all(request.as_bytes()).expect("written");
    let answer = read_message(stream).expect("an answer");
    answer.get(9..12).expect("a status").to_owned()
}

/// The app and legacy: 200 bytes to every GET, yes to every login.
fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    while let Some(request) = read_message(&mut stream) {
        let body = if request.starts_with("GET") {
            "x".repeat(200)
        } else {
            let name = request.split(r#""email":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
            format!(r#"{{"user":{{"id":"{name}","email":"{name}"}}}}"#)
        };
        let head = "HTTP/1.1 200 OK\r\nserver: app\r\ndate: Mon, 02 Nov 2026 10:00:00 GMT\r\ncontent-type: application/json\r\n\
            cache-control: no-store\r\n";
        let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a head and the body that its `Content-Length` tells.
fn read_message(stream: &mut TcpStream) -> Option<String> {
    let mut message = Vec::with_capacity(2048);
    let mut piece = [0; 2048];
    loop {
        if let Some(head) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&message).into_owned();
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if message.len() >= head + 4 + length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            length => message.extend_from_slice(&piece[..length]),
        }
    }
}
