//! TLS handshakes, one after the other, with the cipher and key exchange that are the same for everybody.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use crate::Outcome;

/// What a client knows of the server when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Full,
    /// The ticket of the connection before.
    Resumed,
}

/// As many handshakes as there is time for. Each connection is used for nothing else.
pub fn handshakes(to: SocketAddr, trusted: &[u8], kind: Kind, lasting: Duration) -> Outcome<u64> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    let until = Instant::now() + lasting;
    let (mut count, mut shared) = (0, Arc::new(config.clone()));
    if kind == Kind::Resumed {
        // The first ticket.
        handshake(to, &shared)?;
    }
    while Instant::now() < until {
        if kind == Kind::Full {
            let mut fresh = config.clone();
            fresh.resumption = Resumption::in_memory_sessions(8);
            shared = Arc::new(fresh);
        }
        let found = handshake(to, &shared)?;
        match (kind, found) {
            (Kind::Full, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => count += 1,
            (Kind::Resumed, HandshakeKind::Resumed) => count += 1,
            (Kind::Full, other) | (Kind::Resumed, other) => {
                return Err(format!("{kind:?} was wanted, {other:?} came").into());
            }
        }
    }
    Ok(count)
}

/// One handshake up to the server's tickets.
fn handshake(to: SocketAddr, config: &Arc<ClientConfig>) -> Outcome<HandshakeKind> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    while tls.wants_write() {
        tls.write_tls(&mut socket)?;
    }
    // Its tickets come in its next flight.
    if tls.tls13_tickets_received() == 0 {
        tls.read_tls(&mut socket)?;
        tls.process_new_packets()?;
    }
    let kind = tls.handshake_kind().ok_or("no handshake")?;
    tls.send_close_notify();
    match tls.write_tls(&mut socket).and_then(|_| socket.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(kind),
    }
}
