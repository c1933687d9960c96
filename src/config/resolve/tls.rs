//! `tls` of a listener, of the upstream and of legacy: every file is read and tried, so that what is wrong is known before the start.

use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;

use super::Resolver;
use crate::config::document::join;
use crate::config::raw::{RawOutboundTls, RawTls};
use crate::http::settings::{ClientAuth, ClientCertificates, ListenerTls};
use crate::http::tls::{CertificateFacts, TlsFileError, check_pair};
use crate::net::Target;
use crate::net::pem::TlsFiles;
use crate::net::tls::{TlsSettings, check_ca};
use crate::telemetry::WithCauses;

/// What clients see.
pub(super) fn listener(key: &str, raw: &RawTls, resolver: &mut Resolver<'_>) -> Option<ListenerTls> {
    let default = pair(key, raw.cert.as_deref(), raw.key.as_deref(), resolver);
    let (mut also, mut complete) = (Vec::new(), true);
    for (index, raw) in raw.also.iter().enumerate() {
        let key = format!("{key}.also[{index}]");
        match pair(&key, raw.cert.as_deref(), raw.key.as_deref(), resolver) {
            Some((files, facts)) => {
                if facts.is_some_and(|facts| facts.names.is_empty()) {
                    let message = "this certificate is for no DNS name: no client could ask for it";
                    resolver.problem(&join(&key, "cert"), message, "make it the first one, under `tls` itself");
                }
                also.push(files);
            }
            None => complete = false,
        }
    }
    let clients = raw.client_ca.as_ref().map(|ca| {
        let (ca, key) = (PathBuf::from(ca), join(key, "client_ca"));
        authority(&key, &ca, resolver);
        ClientCertificates { ca, demand: raw.client_auth.unwrap_or(ClientAuth::Required) }
    });
    if raw.client_auth.is_some() && clients.is_none() {
        let message = "nobody says whose client certificates are good";
        resolver.problem(&join(key, "client_auth"), message, "name the file of the CA as `client_ca`");
    }
    complete.then_some(())?;
    Some(ListenerTls { default: default?.0, also, clients })
}

/// What we trust, and show. Without the table: the machine's roots, and nothing.
pub(super) fn outbound(
    key: &str,
    raw: Option<&RawOutboundTls>,
    target: Option<&Target>,
    resolver: &mut Resolver<'_>,
) -> Option<TlsSettings> {
    let Some(raw) = raw else { return Some(TlsSettings::default()) };
    if target.is_some_and(|target| !target.https) {
        resolver.problem(key, "the URL is `http`: nothing would be encrypted or verified", "write `https://…`");
    }
    let ca = raw.ca.as_ref().map(PathBuf::from);
    if let Some(ca) = &ca {
        authority(&join(key, "ca"), ca, resolver);
    }
    let identity = match (&raw.cert, &raw.key) {
        (None, None) => None,
        (Some(cert), Some(secret)) => Some(pair(key, Some(cert), Some(secret), resolver)?.0),
        (Some(_), None) => {
            resolver.problem(
                &join(key, "cert"),
                "a certificate is of no use without its key",
                "name the file as `key`",
            );
            return None;
        }
        (None, Some(_)) => {
            resolver.problem(
                &join(key, "key"),
                "a key is of no use without its certificate",
                "name the file as `cert`",
            );
            return None;
        }
    };
    let server_name = match &raw.server_name {
        None => None,
        Some(name) => match ServerName::try_from(name.clone()) {
            Ok(name) => Some(name),
            Err(_) => {
                let message = "this is neither a DNS name nor an address";
                resolver.problem(&join(key, "server_name"), message, "write it as \"app.internal\"");
                return None;
            }
        },
    };
    Some(TlsSettings { ca, identity, server_name })
}

/// A certificate with its key. The facts are missing where a problem was reported.
fn pair(
    key: &str,
    cert: Option<&str>,
    secret: Option<&str>,
    resolver: &mut Resolver<'_>,
) -> Option<(TlsFiles, Option<CertificateFacts>)> {
    let files = TlsFiles { cert: cert?.into(), key: secret?.into() };
    let facts = match check_pair(&files) {
        Ok(facts) => Some(facts),
        Err(first) => {
            // Both files are told of in one run.
            let certificates = crate::net::pem::PemFiles::read([files.cert.as_path(), files.key.as_path()]);
            let broken_cert = certificates.certificates(&files.cert).map(drop).err();
            let broken_key = certificates.key(&files.key).map(drop).err();
            let by_itself = broken_cert.is_some() || broken_key.is_some();
            if let Some(error) = broken_cert {
                let message = WithCauses(&error).to_string();
                resolver.problem(&join(key, "cert"), message, "give the certificate chain in PEM");
            }
            if let Some(error) = broken_key {
                let message = WithCauses(&error).to_string();
                resolver.problem(&join(key, "key"), message, "give the private key in PEM");
            }
            if !by_itself {
                together(key, &first, resolver);
            }
            None
        }
    };
    Some((files, facts))
}

fn together(key: &str, error: &TlsFileError, resolver: &mut Resolver<'_>) {
    let (part, help) = match error {
        TlsFileError::Mismatched { .. } => ("key", "give the key that the certificate was made for"),
        TlsFileError::File(_)
        | TlsFileError::Unusable { .. }
        | TlsFileError::Nameless { .. }
        | TlsFileError::ClientCa { .. }
        | TlsFileError::Setup(_) => {
            ("cert", "RSA from 2048 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 are supported")
        }
    };
    resolver.problem(&join(key, part), WithCauses(error).to_string(), help);
}

fn authority(key: &str, ca: &Path, resolver: &mut Resolver<'_>) {
    if let Err(error) = check_ca(ca) {
        resolver.problem(key, WithCauses(&error).to_string(), "give the certificates of the CA in PEM");
    }
}
