//! `tls` of a listener, of the upstream and of legacy, as written.

use serde::{Deserialize, Serialize};

use crate::http::settings::ClientAuth;

/// What clients see.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(in crate::config) struct RawTls {
    /// File with the certificate chain, PEM. Read again whenever it changes, with all the others, and on SIGHUP.
    #[schemars(required)]
    pub(in crate::config) cert: Option<String>,
    /// File with the private key, PEM.
    #[schemars(required)]
    pub(in crate::config) key: Option<String>,
    /// Further certificates, chosen by the name that a client asks for (SNI): each for the DNS names that stand in it. Who asks for
    /// none of them gets the first one above.
    #[serde(default)]
    pub(in crate::config) also: Vec<RawCertificate>,
    /// File with the CAs that clients' certificates have to come from, PEM. With it clients are asked for one.
    pub(in crate::config) client_ca: Option<String>,
    /// `required`: no connection without a certificate. `optional`: without one, but not with a wrong one. Left out: `required`
    /// where there is a `client_ca`.
    pub(in crate::config) client_auth: Option<ClientAuth>,
}

/// One more certificate.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Certificate")]
pub(in crate::config) struct RawCertificate {
    /// File with the certificate chain, PEM.
    #[schemars(required)]
    pub(in crate::config) cert: Option<String>,
    /// File with its private key, PEM.
    #[schemars(required)]
    pub(in crate::config) key: Option<String>,
}

/// What we trust, and show.
#[derive(Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OutboundTls")]
pub(in crate::config) struct RawOutboundTls {
    /// File with the CAs that are trusted there, in place of the machine's own, PEM.
    pub(in crate::config) ca: Option<String>,
    /// File with our client certificate's chain, PEM.
    pub(in crate::config) cert: Option<String>,
    /// File with its private key, PEM.
    pub(in crate::config) key: Option<String>,
    /// The name that the other side's certificate has to be for. Left out: the host of the URL.
    pub(in crate::config) server_name: Option<String>,
}
