//! What a request's head must be before anything else looks at it.
//!
//! hyper is no strict edge parser: it lets through what two servers in a row could read differently. On HTTP/1 [`super::framing`]
//! has judged the raw bytes before; everything that can still be seen once hyper has parsed, and all of HTTP/2, is refused here
//! (R1-R4, R7-R10, R12, R14, R15, R21, R27, R28). Pure; called by the interceptor first of all, for every request.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use memchr::memchr;

use super::path::{CanonicalTarget, PathError, PathPolicy};
use super::settings::EdgeBounds;
use crate::net::field_value::value_run;

/// A request that is refused: the answer's status, the word for metrics and answers, and a fixed sentence for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The word, of a closed set.
    pub reason: &'static str,
    /// The sentence. Holds nothing of the request.
    pub title: &'static str,
}

/// Underscores in a header's name.
const UNDERSCORE: Refusal = bad("header_underscore", "Header names have no underscores");

impl Refusal {
    /// Whether the connection ends with the answer although its framing is sound to us: `Transfer_Encoding` may frame the message to
    /// a proxy before us, which then takes for a body what we would take for the next request.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        *self == UNDERSCORE
    }
}

/// What an operator may loosen for odd apps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatePolicy {
    /// Spellings of paths (R28).
    pub paths: PathPolicy,
    /// Underscores in header names (R14).
    pub underscores: Underscores,
}

/// Whether header names may have underscores, which CGI and its heirs do not tell from hyphens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Refused.
    #[default]
    Refuse,
    /// Forwarded.
    Allow,
}

/// A head that may be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// What is routed on and forwarded.
    pub target: CanonicalTarget,
    /// The one host that the request names, with its port if it has one, in lower case.
    pub host: Box<str>,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether it asks for a WebSocket, the only upgrade that is ever forwarded (R9).
    pub websocket: bool,
}

/// The most header lines that a head may have.
pub const MAX_HEADER_LINES: usize = 100;

/// Headers that a hop may not take away from the next: naming one in `Connection` hides it from whoever relies on it (R8).
const PROTECTED: [&str; 16] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    "set-cookie",
    "transfer-encoding",
    "via",
    "x-real-ip",
    "x-request-id",
    "cache-control",
];

/// Whatever begins so tells the app who the client is.
const PROTECTED_PREFIX: &str = "x-forwarded-";

/// Judges a head.
pub fn admit(parts: &Parts, bounds: &EdgeBounds, policy: GatePolicy) -> Result<Admitted, Refusal> {
    sizes(parts, bounds)?;
    method(parts)?;
    framing(parts)?;
    fields(&parts.headers, policy.underscores)?;
    let connection = Connection::of(parts)?;
    let expects_continue = expectation(parts)?;
    let host = host(parts)?;
    let target = target(parts, policy.paths)?;
    let websocket = connection.asks_for_upgrade && is_websocket(parts);
    Ok(Admitted { target, host, expects_continue, websocket })
}

pub(super) const fn refusal(status: StatusCode, reason: &'static str, title: &'static str) -> Refusal {
    Refusal { status, reason, title }
}

pub(super) const fn bad(reason: &'static str, title: &'static str) -> Refusal {
    refusal(StatusCode::BAD_REQUEST, reason, title)
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        match error {
            PathError::TooLong => URI_TOO_LONG,
            PathError::NotAbsolute
            | PathError::EmptySegment
            | PathError::DotSegment
            | PathError::EncodedSlash
            | PathError::Backslash
            | PathError::Nul
            | PathError::BadPercent
            | PathError::NotAscii
            | PathError::Control
            | PathError::Fragment => bad(error.as_str(), "The path is not acceptable"),
        }
    }
}

pub(super) const URI_TOO_LONG: Refusal =
    refusal(StatusCode::URI_TOO_LONG, "uri_too_long", "The request target is too long");
pub(super) const HEAD_TOO_LARGE: Refusal =
    refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The request head is too large");

/// The target's length first, then the whole head's, counted as HTTP/1.1 writes it (R21).
fn sizes(parts: &Parts, bounds: &EdgeBounds) -> Result<(), Refusal> {
    let uri = &parts.uri;
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = scheme + authority + uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > bounds.uri_bytes {
        return Err(URI_TOO_LONG);
    }
    let line = parts.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
    let fields: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    if line + fields + "\r\n".len() > bounds.head_bytes || parts.headers.len() > MAX_HEADER_LINES {
        return Err(HEAD_TOO_LARGE);
    }
    Ok(())
}

/// The seven methods that apps use; no tunnels, no echo (R10).
fn method(parts: &Parts) -> Result<(), Refusal> {
    const FORWARDED: [Method; 7] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = &parts.method;
    if FORWARDED.contains(method) {
        return Ok(());
    }
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed"));
    }
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(bad("method_not_upper_case", "Methods are in upper case"));
    }
    Err(refusal(StatusCode::NOT_IMPLEMENTED, "method_unknown", "The method is not known"))
}

/// How long the body is must have one answer (RFC 9112, section 6.3).
fn framing(parts: &Parts) -> Result<(), Refusal> {
    let headers = &parts.headers;
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        let is_number = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        if !is_number || lengths.next().is_some() {
            return Err(bad("content_length", "There is more than one length, or none"));
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
        return Err(bad("transfer_encoding", "The only transfer coding is chunked, once"));
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(bad("length_and_coding", "A body has a length or a transfer coding"));
    }
    match parts.version {
        Version::HTTP_11 => Ok(()),
        _ => Err(bad("transfer_encoding", "This version of HTTP has no transfer codings")),
    }
}

/// Names and values of all fields.
fn fields(headers: &HeaderMap, underscores: Underscores) -> Result<(), Refusal> {
    for (name, value) in headers {
        if memchr(b'_', name.as_str().as_bytes()).is_some()
            && (underscores == Underscores::Refuse || becomes_protected(name))
        {
            return Err(UNDERSCORE);
        }
        if value_run(value.as_bytes()) < value.len() {
            return Err(bad("header_control_byte", "Header values have no control bytes"));
        }
    }
    Ok(())
}

/// Whether an app behind CGI would take it for a header that frames the message or tells who the client is (R125).
fn becomes_protected(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    PROTECTED.contains(&name.as_str()) || name.starts_with(PROTECTED_PREFIX)
}

/// What the `Connection` header asks for.
struct Connection {
    asks_for_upgrade: bool,
}

impl Connection {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        if parts.version == Version::HTTP_2 {
            no_connection_headers(headers)?;
            return Ok(Self { asks_for_upgrade: false });
        }
        let mut asks_for_upgrade = false;
        for line in headers.get_all(CONNECTION) {
            for option in
                line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
            {
                // Also checks that it is a token (RFC 9110, section 7.6.1).
                let option = HeaderName::from_bytes(option)
                    .map_err(|_| bad("connection", "The Connection header is malformed"))?;
                if PROTECTED.contains(&option.as_str()) || option.as_str().starts_with(PROTECTED_PREFIX) {
                    return Err(bad(
                        "connection_protected",
                        "The Connection header names a field that is not of the connection",
                    ));
                }
                asks_for_upgrade |= option == UPGRADE;
            }
        }
        Ok(Self { asks_for_upgrade })
    }
}

/// RFC 9113, section 8.2.2.
fn no_connection_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    const OF_A_CONNECTION: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    let te_is_fine = headers.get_all(TE).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if OF_A_CONNECTION.iter().any(|name| headers.contains_key(*name)) || !te_is_fine {
        return Err(bad("connection_header", "HTTP/2 has no connection headers"));
    }
    Ok(())
}

/// RFC 9110, section 10.1.1: 100-continue is the only expectation (R12). HTTP/1.0 has none.
fn expectation(parts: &Parts) -> Result<bool, Refusal> {
    let mut lines = parts.headers.get_all(EXPECT).iter();
    let Some(line) = lines.next() else { return Ok(false) };
    if !line.as_bytes().eq_ignore_ascii_case(b"100-continue") || lines.next().is_some() {
        return Err(refusal(StatusCode::EXPECTATION_FAILED, "expectation", "The only expectation is 100-continue"));
    }
    Ok(parts.version != Version::HTTP_10)
}

/// RFC 6455, section 4.2.1, as far as a proxy has to know it.
fn is_websocket(parts: &Parts) -> bool {
    let mut upgrades = parts.headers.get_all(UPGRADE).iter();
    let asked = upgrades.next().is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let has_body = || {
        parts.headers.contains_key(TRANSFER_ENCODING)
            || parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
    };
    asked
        && upgrades.next().is_none()
        && parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && !has_body()
}

/// The one host: of `Host`, of an absolute-form target, of `:authority`; all that are there agree (R7; RFC 9112, section 3.2;
/// RFC 9113, section 8.3.1).
fn host(parts: &Parts) -> Result<Box<str>, Refusal> {
    const BAD_HOST: Refusal = bad("host", "A request names one host");
    let mut lines = parts.headers.get_all(HOST).iter();
    let named = match (lines.next(), lines.next()) {
        (_, Some(_)) => return Err(BAD_HOST),
        (Some(line), None) => Some(canonical_host(line.as_bytes()).ok_or(BAD_HOST)?),
        (None, None) => None,
    };
    let authority = match parts.uri.authority() {
        Some(authority) => Some(canonical_host(authority.as_str().as_bytes()).ok_or(BAD_HOST)?),
        None => None,
    };
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(bad("scheme", "The scheme is http or https"));
    }
    match (named, authority) {
        (Some(named), None) => Ok(named),
        (Some(named), Some(authority)) if same_host(&named, &authority, parts.uri.scheme_str()) => Ok(named),
        (None, Some(authority)) if parts.version == Version::HTTP_2 => Ok(authority),
        (Some(_), Some(_)) | (None, Some(_) | None) => Err(BAD_HOST),
    }
}

/// A host in lower case, if it is one: a name, an IPv4 address or a bracketed IPv6 address, with or without a port. No user
/// information, and none of the characters that RFC 3986 allows in names but DNS does not.
pub(super) fn canonical_host(text: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (addr, after) = rest.split_once(']')?;
            addr.parse::<std::net::Ipv6Addr>().ok()?;
            (addr, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            let in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            let is_name = name.bytes().all(in_names) && !name.starts_with('.') && !name.contains("..");
            (is_name.then_some(name)?, port)
        }
    };
    let port_is_fine = port.is_none_or(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    ((1..=255).contains(&host.len()) && port_is_fine).then(|| text.to_ascii_lowercase().into())
}

/// Equal, but for the scheme's default port, which one of them may leave out.
fn same_host(a: &str, b: &str, scheme: Option<&str>) -> bool {
    let default_port = if scheme == Some("https") { ":443" } else { ":80" };
    let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_owned();
    a == b || bare(a) == bare(b)
}

fn target(parts: &Parts, policy: PathPolicy) -> Result<CanonicalTarget, Refusal> {
    let target = parts.uri.path_and_query().ok_or(Refusal::from(PathError::NotAbsolute))?;
    if target.as_str() == "*" && parts.method != Method::OPTIONS {
        return Err(PathError::NotAbsolute.into());
    }
    Ok(CanonicalTarget::parse(target, policy)?)
}

#[cfg(test)]
mod tests;
