//! The one spelling of a request target that is both routed on and forwarded (R27), so that an app behind us never sees
//! another path than the one that was judged.
//!
//! Follows RFC 3986, sections 2.3 and 6.2.2: percent-encoded unreserved characters are decoded, other encodings get
//! upper-case digits, characters that a path may not hold are encoded. What backends are known to read differently is
//! refused (R28). Pure; called by the gate for every request and by the configuration for every route.

use http::uri::PathAndQuery;

/// What to do with spellings that are legal but read differently by different backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathPolicy {
    /// They are refused.
    #[default]
    Strict,
    /// For apps that need them: they are forwarded, encoded where RFC 3986 asks for it. Requests that some backend could
    /// take for a route's are still refused, by the router. Control bytes, `#` and encoded NULs are refused all the same.
    Tolerant,
}

/// Why a request target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `//`.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, encoded or not, with or without parameters.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `%2F`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`.
    #[error("the path has a backslash")]
    Backslash,
    /// `%00`.
    #[error("the path has an encoded NUL")]
    Nul,
    /// A `%` without two hexadecimal digits.
    #[error("the target has a percent sign that encodes nothing")]
    BadPercent,
    /// A byte over 127.
    #[error("the target has characters that are not ASCII")]
    NotAscii,
    /// A control byte or a space.
    #[error("the target has a control byte or a space")]
    Control,
    /// `#`.
    #[error("the target has a fragment")]
    Fragment,
    /// Longer than any target can be.
    #[error("the target is too long")]
    TooLong,
}

impl PathError {
    /// The word for it in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::EmptySegment => "path_empty_segment",
            Self::DotSegment => "path_dot_segment",
            Self::EncodedSlash => "path_encoded_slash",
            Self::Backslash => "path_backslash",
            Self::Nul => "path_nul",
            Self::BadPercent => "bad_percent",
            Self::NotAscii => "target_not_ascii",
            Self::Control => "target_control_byte",
            Self::Fragment => "target_fragment",
            Self::TooLong => "target_too_long",
        }
    }
}

/// A request target in its one canonical spelling. Parsing a canonical target again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalTarget {
    target: PathAndQuery,
    query_is_well_formed: bool,
}

impl CanonicalTarget {
    /// The canonical spelling of what hyper parsed. Shares its bytes if nothing had to change.
    pub fn parse(received: &PathAndQuery, policy: PathPolicy) -> Result<Self, PathError> {
        let path = canonical_path(received.path(), policy)?;
        let query = received.query().map(|query| canonical_query(query, policy)).transpose()?;
        let query_is_well_formed = query.as_ref().is_none_or(|query| query.well_formed);
        let rewritten_query = query.and_then(|query| query.rewritten);
        // `http://host` and `http://host?query` have no path of their own: they are given one. http shows an empty one as `/`, and
        // yet takes it for another.
        if received.as_str() == "/" {
            return Ok(Self { target: PathAndQuery::from_static("/"), query_is_well_formed });
        }
        if path.is_none() && rewritten_query.is_none() && received.as_str().starts_with(received.path()) {
            return Ok(Self { target: received.clone(), query_is_well_formed });
        }
        let mut text = path.unwrap_or_else(|| received.path().to_owned());
        if let Some(query) = rewritten_query.as_deref().or_else(|| received.query()) {
            text.push('?');
            text.push_str(query);
        }
        let target = PathAndQuery::try_from(text).map_err(|_| PathError::TooLong)?;
        Ok(Self { target, query_is_well_formed })
    }

    /// The canonical spelling of a raw target, as it stands in a request line or a configuration.
    pub fn parse_str(raw: &str, policy: PathPolicy) -> Result<Self, PathError> {
        if raw.contains('#') {
            return Err(PathError::Fragment);
        }
        // http's own parser knows less than this one, so that its input is made canonical first.
        let (path, query) = raw.split_once('?').map_or((raw, None), |(path, query)| (path, Some(query)));
        let mut text = canonical_path(path, policy)?.unwrap_or_else(|| path.to_owned());
        let mut query_is_well_formed = true;
        if let Some(query) = query {
            let canonical = canonical_query(query, policy)?;
            query_is_well_formed = canonical.well_formed;
            text.push('?');
            text.push_str(canonical.rewritten.as_deref().unwrap_or(query));
        }
        let target = PathAndQuery::try_from(text).map_err(|_| PathError::TooLong)?;
        Ok(Self { target, query_is_well_formed })
    }

    /// A route's path as an operator writes it: characters over 127 are encoded, everything odd is refused.
    pub fn parse_configured(path: &str) -> Result<Self, PathError> {
        let mut ascii = String::with_capacity(path.len());
        for byte in path.bytes() {
            if byte.is_ascii() {
                ascii.push(char::from(byte));
            } else {
                push_encoded(&mut ascii, byte);
            }
        }
        Self::parse_str(&ascii, PathPolicy::Strict)
    }

    /// The path, `;params` included.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query, without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Whether every `%` in the query encodes a byte. Others are forwarded as they are, but never on a route.
    #[must_use]
    pub fn query_is_well_formed(&self) -> bool {
        self.query_is_well_formed
    }

    /// Exactly what is forwarded.
    #[must_use]
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.target
    }
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathByte {
    /// `pchar` of RFC 3986, or `/`.
    Kept,
    Percent,
    /// Printable, but no `pchar`.
    Encoded,
    Backslash,
    Fragment,
    Control,
    NotAscii,
}

const fn path_byte(byte: u8) -> PathByte {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => PathByte::Kept,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => PathByte::Kept,
        b'%' => PathByte::Percent,
        b'\\' => PathByte::Backslash,
        b'#' => PathByte::Fragment,
        0..=b' ' | 0x7f => PathByte::Control,
        0x80.. => PathByte::NotAscii,
        b'"' | b'<' | b'>' | b'?' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => PathByte::Encoded,
    }
}

/// The canonical spelling of a path; `None` if it is the one received.
fn canonical_path(path: &str, policy: PathPolicy) -> Result<Option<String>, PathError> {
    if path == "*" {
        return Ok(None); // The asterisk-form of OPTIONS (RFC 9112, section 3.2.4).
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let rewritten = if path.bytes().all(|byte| path_byte(byte) == PathByte::Kept) {
        None
    } else {
        Some(rewrite_path(path.as_bytes(), policy)?)
    };
    if policy == PathPolicy::Strict {
        refuse_odd_segments(rewritten.as_deref().unwrap_or(path))?;
    }
    Ok(rewritten.filter(|rewritten| rewritten != path))
}

fn rewrite_path(path: &[u8], policy: PathPolicy) -> Result<String, PathError> {
    let mut canonical = String::with_capacity(path.len() + 16);
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match path_byte(*byte) {
            PathByte::Kept => canonical.push(char::from(*byte)),
            PathByte::Encoded => push_encoded(&mut canonical, *byte),
            PathByte::Fragment => return Err(PathError::Fragment),
            PathByte::Control => return Err(PathError::Control),
            PathByte::Backslash => match policy {
                PathPolicy::Strict => return Err(PathError::Backslash),
                PathPolicy::Tolerant => push_encoded(&mut canonical, *byte),
            },
            PathByte::NotAscii => match policy {
                PathPolicy::Strict => return Err(PathError::NotAscii),
                PathPolicy::Tolerant => push_encoded(&mut canonical, *byte),
            },
            PathByte::Percent => match (percent_decoded(after), policy) {
                (Some((decoded, after)), _) => {
                    push_decoded(&mut canonical, decoded, policy)?;
                    rest = after;
                }
                (None, PathPolicy::Strict) => return Err(PathError::BadPercent),
                (None, PathPolicy::Tolerant) => push_encoded(&mut canonical, b'%'),
            },
        }
    }
    Ok(canonical)
}

/// Writes a byte that came percent-encoded: bare if it is unreserved, encoded otherwise.
fn push_decoded(canonical: &mut String, decoded: u8, policy: PathPolicy) -> Result<(), PathError> {
    match (decoded, policy) {
        (0, _) => Err(PathError::Nul),
        (b'/', PathPolicy::Strict) => Err(PathError::EncodedSlash),
        (b'\\', PathPolicy::Strict) => Err(PathError::Backslash),
        (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _) => {
            canonical.push(char::from(decoded));
            Ok(())
        }
        (1.., _) => {
            push_encoded(canonical, decoded);
            Ok(())
        }
    }
}

/// `//`, `/./`, `/../`, and the same with parameters, which some backends cut off first (`/..;x/`).
fn refuse_odd_segments(path: &str) -> Result<(), PathError> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathError::EmptySegment);
        }
        let name = segment.split(';').next().unwrap_or_default();
        if name == "." || name == ".." {
            return Err(PathError::DotSegment);
        }
    }
    Ok(())
}

struct CanonicalQuery {
    rewritten: Option<String>,
    well_formed: bool,
}

/// A query is forwarded as it came, if it can be a query at all.
fn canonical_query(query: &str, policy: PathPolicy) -> Result<CanonicalQuery, PathError> {
    let mut well_formed = true;
    let mut ascii = true;
    let mut rest = query.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match path_byte(*byte) {
            PathByte::Kept | PathByte::Encoded | PathByte::Backslash => {}
            PathByte::Fragment => return Err(PathError::Fragment),
            PathByte::Control => return Err(PathError::Control),
            PathByte::NotAscii => match policy {
                PathPolicy::Strict => return Err(PathError::NotAscii),
                PathPolicy::Tolerant => ascii = false,
            },
            PathByte::Percent => well_formed &= percent_decoded(after).is_some(),
        }
    }
    let rewritten = (!ascii).then(|| {
        query.bytes().fold(String::with_capacity(query.len() + 16), |mut text, byte| {
            if byte.is_ascii() {
                text.push(char::from(byte));
            } else {
                push_encoded(&mut text, byte);
            }
            text
        })
    });
    Ok(CanonicalQuery { rewritten, well_formed })
}

/// The byte that two hexadecimal digits stand for, and what follows them.
pub(super) fn percent_decoded(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = after_percent else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    Some((u8::try_from(high * 16 + low).ok()?, rest))
}

fn push_encoded(text: &mut String, byte: u8) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    text.push('%');
    text.extend(HEX.get(usize::from(byte >> 4)));
    text.extend(HEX.get(usize::from(byte & 15)));
}

#[cfg(test)]
mod tests;
