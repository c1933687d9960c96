//! TLS on both sides: certificates by name, clients that show their own, resumption, files that change under a running proxy, PROXY
//! headers before the handshake, and upstreams and legacies that are verified or not spoken to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use authferry::http::settings::{ClientAuth, ClientCertificates, ListenerTls, TlsFiles};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::KeyPair;
use rustls::{ClientConfig, HandshakeKind};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::certificates::{Ca, Issued, When, client, client_speaking, shake_hands, shown};
use crate::support::client::RawClient;
use crate::support::process::{Process, authferry, finish, run};
use crate::support::proxy::{Proxy, Wanted};
use crate::support::raw_client::send;
use crate::support::upstream::{Upstream, answer, echoed};
use crate::support::{app, configs, soon};

const GET: &str = "GET / HTTP/1.1\r\nhost: app\r\n\r\n";

fn files(folder: &Path, name: &str, issued: &Issued) -> TlsFiles {
    let (cert, key) = issued.write_as(folder, name);
    TlsFiles { cert, key }
}

async fn serving(upstream: &Upstream, tls: ListenerTls) -> Proxy {
    let mut wanted = Wanted::before(upstream.url());
    wanted.listeners[0].tls = Some(tls);
    wanted.start().await
}

/// Whether a client gets an answer: with TLS 1.3 a server's refusal comes after the client's side of the handshake is done.
async fn is_served(address: SocketAddr, client: ClientConfig) -> bool {
    let Ok(stream) = shake_hands(address, &Arc::new(client), "app.example").await else { return false };
    let mut stream = RawClient::over(stream);
    if !stream.try_send("GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").await {
        return false;
    }
    stream.read_to_end().await.starts_with(b"HTTP/1.1 200")
}

// ------------------------------------------------------------------------------------------------------------ listeners

#[tokio::test]
async fn r120_each_name_gets_its_own_certificate_and_everybody_else_the_first() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    let first = ca.issue(&["app.example", "127.0.0.1"]);
    let (second, wild) = (ca.issue(&["other.example"]), ca.issue(&["*.wild.example"]));
    let also = vec![files(folder.path(), "second", &second), files(folder.path(), "wild", &wild)];
    let tls = ListenerTls { also, ..files(folder.path(), "first", &first).into() };
    let proxy = serving(&upstream, tls).await;
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let client = Arc::new(client_speaking(&ca, None, versions));
        // An address is never asked for by SNI.
        for (name, expected) in
            [("app.example", &first), ("other.example", &second), ("a.wild.example", &wild), ("127.0.0.1", &first)]
        {
            let stream = shake_hands(proxy.address(), &client, name).await.expect(name);
            assert_eq!(shown(&stream), expected.der(), "{name}");
            assert_eq!(RawClient::over(stream).ask(GET).await.status, 200);
        }
        let error = shake_hands(proxy.address(), &client, "unknown.example").await.expect_err("for another name");
        assert!(format!("{error:?}").contains("NotValidForName"), "the client judges the first one: {error:?}");
    }
}

#[tokio::test]
async fn r120_clients_show_a_good_certificate_where_one_is_required_and_never_a_bad_one() {
    let folder = TempDir::new().expect("a folder");
    let (public, own, foreign) = (Ca::new("public"), Ca::new("clients"), Ca::new("others"));
    let upstream = Upstream::echo().await;
    let server = files(folder.path(), "server", &public.issue(&["app.example"]));
    let ca = folder.path().join("clients.pem");
    std::fs::write(&ca, &own.pem).expect("written");
    let (good, wrong) = (own.issue(&["somebody"]), foreign.issue(&["somebody"]));
    let old = own.issue_for(&["somebody"], When::Past);
    for (demand, without) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let clients = Some(ClientCertificates { ca: ca.clone(), demand });
        let proxy = serving(&upstream, ListenerTls { clients, ..server.clone().into() }).await;
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            for (shows, served) in [(None, without), (Some(&good), true), (Some(&wrong), false), (Some(&old), false)] {
                let client = client_speaking(&public, shows, versions);
                assert_eq!(is_served(proxy.address(), client).await, served, "{demand:?}");
            }
        }
    }
    let came = upstream.recorded().concat();
    assert_eq!(came.windows(5).filter(|window| window == b"GET /").count(), 6, "nobody else came through");
}

#[tokio::test]
async fn r120_sessions_are_resumed_unless_clients_have_to_show_who_they_are() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    let server = files(folder.path(), "server", &ca.issue(&["app.example"]));
    let trusted = folder.path().join("clients.pem");
    std::fs::write(&trusted, &ca.pem).expect("written");
    let asking = ClientCertificates { ca: trusted, demand: ClientAuth::Optional };
    for (clients, second) in [(None, HandshakeKind::Resumed), (Some(asking), HandshakeKind::Full)] {
        let proxy = serving(&upstream, ListenerTls { clients, ..server.clone().into() }).await;
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
            let client = Arc::new(client_speaking(&ca, None, versions));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut stream = shake_hands(proxy.address(), &client, "app.example").await.expect("a handshake");
                // Tickets come with the first answer.
                assert_eq!(RawClient::over(&mut stream).ask(GET).await.status, 200);
                kinds.push(stream.get_ref().1.handshake_kind().expect("done"));
            }
            assert!(
                kinds[0] != HandshakeKind::Resumed
                    && (kinds[1] == HandshakeKind::Resumed) == (second == HandshakeKind::Resumed),
                "{kinds:?}"
            );
        }
    }
}

#[tokio::test]
async fn r23_a_handshake_that_stalls_takes_a_place_and_gives_it_up_to_who_comes_next() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    let mut wanted = Wanted::before(upstream.url());
    wanted.listeners[0].tls = Some(files(folder.path(), "server", &ca.issue(&["app.example"])).into());
    wanted.bounds.max_connections = 1;
    wanted.bounds.workers = 1;
    let proxy = wanted.start().await;
    let client = Arc::new(client(&ca, None));
    // What stalls in its handshake makes room for whoever comes, and only it.
    for shed in ["1", "2"] {
        let mut stalling = TcpStream::connect(proxy.address()).await.expect("connected");
        proxy.until_metric("authferry_connections", "1").await;
        let served = shake_hands(proxy.address(), &client, "app.example").await;
        assert!(served.is_ok(), "it takes the place");
        let mut rest = [0; 1];
        assert!(!matches!(soon("the end", stalling.read(&mut rest)).await, Ok(1..)), "it was closed");
        assert_eq!(proxy.metric("authferry_refused_requests_total{reason=\"connection_shed\"}").as_deref(), Some(shed));
        drop(served);
        proxy.until_metric("authferry_connections", "0").await;
    }
    assert_eq!(proxy.metric("authferry_refused_requests_total{reason=\"connections\"}"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r125_the_app_hears_of_a_verified_certificate_and_never_of_one_that_a_client_writes_itself() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    ca.issue(&["app.example"]).write_as(folder.path(), "tls");
    std::fs::write(folder.path().join("ca.pem"), &ca.pem).expect("written");
    let tls = "tls = { cert = \"tls.pem\", key = \"tls.key\", client_ca = \"ca.pem\", client_auth = \"optional\" }";
    let process = Process::start(
        folder.path(),
        &config(&upstream, &format!("{tls}\n[[listener]]\nbind = \"unix:{}/plain\"", folder.path().display())),
    );
    let somebody = ca.issue(&["somebody"]);
    let forged = "GET / HTTP/1.1\r\nhost: app\r\nclient-cert: :Zm9yZ2Vk:\r\nCLIENT-CERT-CHAIN: :Zm9yZ2Vk:\r\n\r\n";
    let expected = format!(":{}:", BASE64_STANDARD.encode(somebody.der()));
    for (shows, expected) in [(None, vec![]), (Some(&somebody), vec![expected.as_str()])] {
        let client = Arc::new(client(&ca, shows));
        let stream = shake_hands(process.public(), &client, "app.example").await.expect("a handshake");
        let seen = RawClient::over(stream).ask(forged).await.json();
        assert_eq!(echoed(&seen, "client-cert"), expected);
        assert!(echoed(&seen, "client-cert-chain").is_empty());
    }
    // A listener beside it that asks nobody strips them all the same.
    let plain = tokio::net::UnixStream::connect(folder.path().join("plain")).await.expect("connected");
    let seen = RawClient::over(plain).ask(forged).await.json();
    assert!(echoed(&seen, "client-cert").is_empty() && echoed(&seen, "client-cert-chain").is_empty());
}

/// What a judge from outside says of a listener as it is configured by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r120_sslyze_finds_nothing() {
    if std::env::var_os("AUTHFERRY_SKIP_REAL").is_some_and(|value| !value.is_empty()) {
        println!("AUTHFERRY_SKIP_REAL is set: sslyze was not asked");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed =
        std::env::var_os("AUTHFERRY_SSLYZE_DIR").map_or_else(|| root.join("target/edge/sslyze"), PathBuf::from);
    assert!(
        installed.join("stamp").exists(),
        "sslyze is not installed in {}: run `tests/run`, or once `tests/edge/sslyze/install`; AUTHFERRY_SKIP_REAL=1 leaves it out",
        installed.display()
    );
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    std::fs::write(folder.path().join("ca.pem"), &ca.pem).expect("written");
    let ecdsa = KeyPair::generate().expect("a key");
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    for (kind, key) in [("ECDSA", ecdsa), ("RSA", rsa)] {
        ca.issue_to(key, &["app.example"], When::Shortly).write_as(folder.path(), "tls");
        let listener = "tls = { cert = \"tls.pem\", key = \"tls.key\" }";
        let process = Process::start(folder.path(), &config(&upstream, listener));
        let mut judge = Command::new(installed.join("venv/bin/python"));
        judge.arg("-W").arg("ignore").arg(root.join("tests/edge/sslyze/judge"));
        judge.arg("127.0.0.1").arg(process.public().port().to_string()).args(["app.example", "ca.pem"]);
        judge.current_dir(folder.path());
        let judged = finish(judge, "");
        println!("{kind}\n{}", judged.stdout);
        assert_eq!(judged.code, Some(0), "{}{}", judged.stdout, judged.stderr);
        assert!(judged.stdout.lines().count() > 12 && !judged.stdout.contains("FINDING"));
    }
}

// ------------------------------------------------------------------------------------------- files that change, by process

fn config(upstream: &Upstream, listener: &str) -> String {
    format!(
        "[migration]\nmode = \"passthrough\"\n[upstream]\nurl = \"{}\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n{listener}\n\
         [admin]\nbind = \"127.0.0.1:0\"\n",
        upstream.url()
    )
}

async fn reloads(process: &Process, result: &str) -> f64 {
    let operator = app::Operator { admin: process.admin() };
    operator.metric("authferry_tls_reloads_total", &[result]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r120_certificates_are_replaced_under_way_and_bad_ones_are_told_and_not_taken() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    let [one, two, three] = [(); 3].map(|()| ca.issue(&["app.example"]));
    let (cert, key) = one.write_as(folder.path(), "tls");
    let also = ca.issue(&["other.example"]);
    also.write_as(folder.path(), "also");
    let listener =
        "tls = { cert = \"tls.pem\", key = \"tls.key\", also = [{ cert = \"also.pem\", key = \"also.key\" }] }";
    let mut process = Process::start(folder.path(), &config(&upstream, listener));
    let client = Arc::new(client(&ca, None));
    let address = process.public();
    let now_shown = || async { shown(&shake_hands(address, &client, "app.example").await.expect("a handshake")) };

    let mut from_before = RawClient::over(shake_hands(address, &client, "app.example").await.expect("a handshake"));
    assert_eq!(from_before.ask(GET).await.status, 200);

    // The new certificate without its key, as between two writes.
    std::fs::write(&cert, &two.cert).expect("written");
    process.wait_for("the key tls.key is not the key of the certificate tls.pem");
    assert_eq!(now_shown().await, one.der());
    // Half a file, and none.
    std::fs::write(&cert, &two.cert[..two.cert.len() / 2]).expect("written");
    process.wait_for("tls.pem holds a broken certificate");
    std::fs::remove_file(&key).expect("removed");
    two.write(&cert, &folder.path().join("elsewhere"));
    process.wait_for("tls.key cannot be read");
    assert_eq!(now_shown().await, one.der());
    // A slow machine may have looked between two of our writes.
    let failed = reloads(&process, "failed").await;
    assert!(failed >= 3.0, "{failed}");
    // Complete, by a rename.
    std::fs::rename(folder.path().join("elsewhere"), &key).expect("renamed");
    process.wait_for("are in use");
    assert_eq!(now_shown().await, two.der());
    let other = shake_hands(address, &client, "other.example").await.expect("a handshake");
    assert_eq!(shown(&other), also.der(), "the others stay as they are");

    // On a signal, at once; with nothing new, nothing happens.
    three.write(&cert, &key);
    process.signal("HUP");
    process.wait_for("are in use");
    assert_eq!(now_shown().await, three.der());
    process.signal("HUP");
    process.wait_for("hold what is in use already");

    assert_eq!(from_before.ask(GET).await.status, 200, "what was open stays open");
    assert_eq!(reloads(&process, "ok").await, 2.0);
    assert!(reloads(&process, "unchanged").await >= 1.0);
    let operator = app::Operator { admin: process.admin() };
    let not_after = operator.metric("authferry_tls_not_after_seconds", &["tls.pem"]).await;
    assert_eq!(not_after, 3_786_912_000.0, "2090-01-01");
    assert!(operator.metric("authferry_alarms_total", &["tls_files"]).await >= 3.0);
    process.terminate();
    let (status, log) = process.wait();
    assert!(status.success(), "{log}");
    assert!(!log.contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r120_a_symbolic_link_that_is_swapped_is_a_change() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    let (one, two) = (ca.issue(&["app.example"]), ca.issue(&["app.example"]));
    // As Kubernetes mounts a secret: tls.crt -> ..data/tls.crt, ..data -> ..one, and ..data is replaced by a rename.
    let at = |name: &str| folder.path().join(name);
    for (version, issued) in [("..one", &one), ("..two", &two)] {
        std::fs::create_dir(at(version)).expect("a folder");
        issued.write(&at(version).join("tls.crt"), &at(version).join("tls.key"));
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).expect("a link");
    link("..one", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let listener = "tls = { cert = \"tls.crt\", key = \"tls.key\" }";
    let mut process = Process::start(folder.path(), &config(&upstream, listener));
    let client = Arc::new(client(&ca, None));
    let stream = shake_hands(process.public(), &client, "app.example").await.expect("a handshake");
    assert_eq!(shown(&stream), one.der());
    link("..two", "..new");
    std::fs::rename(at("..new"), at("..data")).expect("renamed");
    process.wait_for("are in use");
    let stream = shake_hands(process.public(), &client, "app.example").await.expect("a handshake");
    assert_eq!(shown(&stream), two.der());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_ends_nothing() {
    let (folder, upstream) = (TempDir::new().expect("a folder"), Upstream::echo().await);
    let mut process = Process::start(folder.path(), &config(&upstream, ""));
    process.signal("HUP");
    process.wait_for("there is nothing to read again");
    assert_eq!(send(process.public(), "GET", "/", &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_warned_of_and_no_reason_to_stay_down() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    ca.issue_for(&["app.example"], When::Past).write_as(folder.path(), "old");
    ca.issue_for(&["later.example"], When::Future).write_as(folder.path(), "new");
    let listener =
        "tls = { cert = \"old.pem\", key = \"old.key\", also = [{ cert = \"new.pem\", key = \"new.key\" }] }";
    std::fs::write(folder.path().join("proxy.toml"), config(&upstream, listener)).expect("written");
    let checked = run(folder.path(), &["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for line in ["old.pem: app.example, EXPIRED on 2002-01-01", "new.pem: later.example, NOT VALID before 2089-01-01"] {
        assert!(checked.stdout.contains(line), "{}", checked.stdout);
    }
    let mut process = Process::spawn(authferry(folder.path(), &["run"]));
    assert!(process.hear("has expired: clients will refuse it").contains("old.pem"));
    assert!(process.hear("is not valid yet: clients will refuse it").contains("new.pem"));
    let error = shake_hands(process.public(), &Arc::new(client(&ca, None)), "app.example").await.expect_err("expired");
    assert!(format!("{error:?}").contains("Expired"), "{error:?}");
}

// ------------------------------------------------------------------------------------------------------ PROXY, TLS, HTTP

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r72_the_proxy_header_comes_first_then_tls_then_http() {
    let (folder, ca, upstream) = (TempDir::new().expect("a folder"), Ca::new("public"), Upstream::echo().await);
    ca.issue(&["app.example"]).write_as(folder.path(), "tls");
    let listener = "proxy_protocol = true\ntls = { cert = \"tls.pem\", key = \"tls.key\" }";
    let process = Process::start(folder.path(), &config(&upstream, listener));
    let client = Arc::new(client(&ca, None));
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 443\r\n".to_vec();
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1b\xc6\x33\x64\x07\xc0\x00\x02\x01\x0f\xa0\x01\xbb".to_vec();
    // Two TLVs: ALPN, and one of nobody's whose length says more than there is. Neither is looked into.
    block.extend_from_slice(b"\x01\0\x02h2\xee\xff\xff1234567");
    let shake_hands_over = async |socket| {
        let name = "app.example".try_into().expect("a name");
        TlsConnector::from(client.clone()).connect(name, socket).await
    };
    for (header, pieces) in [(&line, 1), (&line, 5), (&block, 1), (&block, 7)] {
        let mut socket = TcpStream::connect(process.public()).await.expect("connected");
        socket.set_nodelay(true).expect("a live socket");
        for piece in header.chunks(header.len().div_ceil(pieces)) {
            socket.write_all(piece).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let stream = shake_hands_over(socket).await.expect("a handshake behind the header");
        let seen = RawClient::over(stream).ask(GET).await.json();
        assert_eq!(echoed(&seen, "x-forwarded-for"), ["198.51.100.7"]);
        assert_eq!(echoed(&seen, "x-forwarded-proto"), ["https"]);
    }
    // TLS at once, or the header inside of it, or plain HTTP behind it: none is guessed.
    let reached = upstream.connections();
    let socket = TcpStream::connect(process.public()).await.expect("connected");
    assert!(shake_hands_over(socket).await.is_err(), "no header, no handshake");
    let mut socket = TcpStream::connect(process.public()).await.expect("connected");
    socket.write_all(&line).await.expect("sent");
    let mut inside = RawClient::over(shake_hands_over(socket).await.expect("a handshake"));
    inside.send(&line).await;
    assert_eq!(inside.answer().await.status, 400);
    let mut plain = RawClient::connect(process.public()).await;
    plain.send([&line[..], GET.as_bytes()].concat()).await;
    assert!(!String::from_utf8_lossy(&plain.read_to_end().await).contains("HTTP/1.1 200"));
    assert_eq!(upstream.connections(), reached);
}

#[tokio::test]
async fn r72_a_proxy_header_that_does_not_come_is_given_up() {
    let upstream = Upstream::echo().await;
    let mut wanted = Wanted::before(upstream.url());
    wanted.listeners[0].proxy_protocol = true;
    wanted.bounds.head_timeout = Duration::from_millis(50);
    let proxy = wanted.start().await;
    let mut half = RawClient::connect(proxy.address()).await;
    half.send("PROXY TCP4 198.51.").await;
    assert_eq!(half.read_to_end().await, b"");
    proxy.until_metric("authferry_refused_requests_total{reason=\"proxy_header\"}", "1").await;
}

// ----------------------------------------------------------------------------------------------------- upstream and legacy

/// A proxy before an upstream with TLS; `tls` stands under `[upstream]`.
fn before(upstream: &Upstream, host: &str, tls: &str) -> String {
    let port = upstream.address.port();
    format!(
        "[migration]\nmode = \"passthrough\"\n[upstream]\nurl = \"https://{host}:{port}\"\n{tls}\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"off\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r121_an_upstream_is_verified_and_what_is_wrong_is_said() {
    let folder = TempDir::new().expect("a folder");
    let (ca, others) = (Ca::new("internal"), Ca::new("others"));
    std::fs::write(folder.path().join("ca.pem"), &ca.pem).expect("written");
    ca.issue(&["us"]).write_as(folder.path(), "us");
    others.issue(&["us"]).write_as(folder.path(), "strange");
    let (plain, named) = ("tls = { ca = \"ca.pem\" }", "tls = { ca = \"ca.pem\", server_name = \"app.internal\" }");
    let shows = |name: &str| format!("tls = {{ ca = \"ca.pem\", cert = \"{name}.pem\", key = \"{name}.key\" }}");
    let (right, wrong) = (shows("us"), shows("strange"));
    let good = || ca.issue(&["localhost"]);
    for (server, tls, said) in [
        (good().server(None), plain, None),
        (ca.issue(&["app.internal"]).server(None), named, None),
        (good().server(Some(&ca)), right.as_str(), None),
        (ca.issue(&["app.internal"]).server(None), plain, Some("its certificate is for another name")),
        (good().server(None), named, Some("its certificate is for another name")),
        (others.issue(&["localhost"]).server(None), plain, Some("comes from a CA that is not trusted")),
        (good().server(None), "", Some("comes from a CA that is not trusted")),
        (ca.issue_for(&["localhost"], When::Past).server(None), plain, Some("has expired")),
        (ca.issue_for(&["localhost"], When::Future).server(None), plain, Some("is not valid yet")),
        (good().server(Some(&ca)), plain, Some("it refuses our client certificate, or wants one")),
        (good().server(Some(&ca)), wrong.as_str(), Some("it refuses our client certificate, or wants one")),
    ] {
        let upstream = Upstream::tls_app(server, |_| async { answer("from the app") }).await;
        let mut process = Process::start(folder.path(), &before(&upstream, "localhost", tls));
        let got = send(process.public(), "GET", "/", &[], "").await;
        match said {
            None => assert_eq!((got.status, got.body.as_str()), (200, "from the app"), "{tls}"),
            Some(words) => {
                assert_eq!(got.status, 502, "{tls} {got:?}");
                assert!(got.body.contains("upstream_") && !got.body.contains("certificate"), "{got:?}");
                let line = process.wait_for("got no answer from the upstream");
                assert!(line.contains(words), "{words}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn r82_a_legacy_that_cannot_be_verified_teaches_nothing_and_one_that_can_has_its_own_trust() {
    let folder = TempDir::new().expect("a folder");
    let (ca, others) = (Ca::new("internal"), Ca::new("others"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("ca.pem"), &ca.pem).expect("written");
    std::fs::write(at("others.pem"), &others.pem).expect("written");
    ca.issue(&["us"]).write_as(folder.path(), "us");
    let user = json!({ "user": { "id": 7, "email": "ann@example.com" } }).to_string();
    let server = ca.issue(&["localhost"]).server(Some(&ca));
    let legacy = Upstream::tls_app(server, move |_| {
        let user = user.clone();
        async move { answer(user) }
    })
    .await;
    // The app itself is plain: legacy's client is another one.
    let upstream = Upstream::echo().await;
    let (cert, key) = (at("us.pem"), at("us.key"));
    for (ca, shows, status, outcomes) in [
        ("ca.pem", true, 200, &["accepted"][..]),
        // It says so at the handshake, or when the question is on its way already.
        ("ca.pem", false, 503, &["tls", "broken"]),
        ("others.pem", true, 503, &["tls"]),
    ] {
        let shows = if shows { format!(", cert = {cert:?}, key = {key:?}") } else { String::new() };
        let text = format!(
            "[upstream]\nurl = \"{}\"\n[legacy]\nurl = \"https://localhost:{}\"\ntls = {{ ca = {:?}{shows} }}\n\
             [password]\nargon2id = {{ memory = \"8MiB\", iterations = 1, parallelism = 1 }}\n{}{}{}",
            upstream.url(),
            legacy.address.port(),
            at(ca),
            configs::TOKEN,
            configs::CALL_LOGIN,
            configs::LOGIN,
        );
        let proxy = app::start(&text).await;
        let got = soon("an answer", proxy.login("ann@example.com", "a password")).await;
        assert_eq!(got.status, status, "{got:?}");
        let mut counted = 0.0;
        for outcome in outcomes {
            counted += proxy.metric("authferry_legacy_requests_total", &[&format!("outcome=\"{outcome}\"")]).await;
        }
        assert_eq!(counted, 1.0, "{outcomes:?}");
        assert_eq!(proxy.users().await, u64::from(status == 200));
        assert_eq!(send(proxy.public, "GET", "/", &[], "").await.status, 200, "the app is reached all the same");
    }
}
