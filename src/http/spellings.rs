//! Under which keys a path is looked up among the routes: every spelling that a usual backend takes for the same place (R29),
//! and those that only a careless one does.
//!
//! Pure; called by the router alone.

use std::collections::HashSet;

use super::path::percent_decoded;

/// A path folded to a key: segments in lower case, decoded, without parameters, joined by `/`, without one at the end. The root
/// is the empty key.
pub(super) type Key = Vec<u8>;

/// What separates a spelling that is taken for a route's from one that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// As the frameworks in use read paths: decoded once, case and parameters ignored.
    Usual,
    /// As some server somewhere does: decoded again and again, backslashes are slashes, dot segments resolved, the text cut at an
    /// encoded `?`, `#` or NUL, white space and dots at the end of a name dropped, Unicode case folded.
    Careless,
}

/// How often a careless reader decodes. Chains of proxies and frameworks have been seen to do it two or three times; the bound
/// keeps `%25252525…` from costing more than a few passes.
const CARELESS_DECODINGS: usize = 4;

/// The longest key that a path can have, or `None` if that takes a closer look.
pub(super) fn plain_length(path: &str) -> Option<usize> {
    (is_plain(path) && !path.contains('.')).then(|| path.len() - 1)
}

/// Whether a path's key is itself in lower case: no encodings, no parameters, no empty segment, none that begins with a dot.
fn is_plain(path: &str) -> bool {
    let odd_pair = path.as_bytes().windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    path.len() > 1 && !path.ends_with('/') && !odd_pair && !path.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\'))
}

/// Whether the two readers may differ on a path.
pub(super) fn may_be_read_carelessly(path: &str) -> bool {
    path.contains('%') || path.contains("./") || path.ends_with('.') || path.contains(".;") || path.contains("::")
}

/// The key of a path as usual readers see it.
pub(super) fn usual_key(path: &str) -> Key {
    match is_plain(path) {
        true => path.bytes().skip(1).map(|byte| byte.to_ascii_lowercase()).collect(),
        false => thorough_key(path),
    }
}

fn thorough_key(path: &str) -> Key {
    join(path.split('/').map(|segment| {
        let name = cut_at(segment.as_bytes(), b";");
        lower(cut_at(&decode(name), b";").to_vec())
    }))
}

/// The key of a path as the most careless reader sees it.
pub(super) fn careless_key(path: &str) -> Key {
    let decoded = thoroughly_decoded(path);
    let mut segments: Vec<Key> = Vec::new();
    for segment in cut_at(&decoded, b"?#\0").split(|byte| matches!(byte, b'/' | b'\\')) {
        match without_stream(cut_at(segment, b";")) {
            b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(fold_unicode(trim_end(name))),
        }
    }
    join(segments.into_iter())
}

/// The names in a path that leads careless readers to different places; `None` of any other. One that has dot segments leads where
/// it does by how often a reader decoded before, what it took for a slash, whether it made one of several (as Tomcat and nginx do),
/// where it cut the text off; one that has parameters and slashes in disguise, by which of them were seen first. But wherever it
/// leads, the last name there is one of these.
pub(super) fn names_if_ambiguous(path: &str) -> Option<HashSet<Key>> {
    let decoded = thoroughly_decoded(path);
    let slashes = |text: &[u8]| text.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    let names = || decoded.split(|byte| matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#' | 0));
    let in_disguise = slashes(&decoded) > slashes(path.as_bytes()) && decoded.contains(&b';');
    (in_disguise || names().any(|name| name == b"..")).then(|| {
        let spelled = names().flat_map(|name| [name, without_stream(name)]);
        let folded: HashSet<Key> = spelled.map(|name| fold_unicode(trim_end(name))).collect();
        let stems: Vec<Key> = folded.iter().filter_map(|name| without_suffix(name)).map(<[u8]>::to_vec).collect();
        folded.into_iter().chain(stems).collect()
    })
}

fn thoroughly_decoded(path: &str) -> Key {
    (1..CARELESS_DECODINGS).fold(decode(path.as_bytes()), |decoded, _| decode(&decoded))
}

/// NTFS: `login.asp::$DATA`.
fn without_stream(name: &[u8]) -> &[u8] {
    let stream = name.windows(2).position(|pair| pair == b"::");
    stream.and_then(|at| name.get(..at)).unwrap_or(name)
}

/// Every key under which a route may be found, the likeliest first: the path's own; without a format suffix (Rails, and others,
/// take `/login.json` for `/login`); what precedes and what follows a script's name (`/login.php/x`, `/index.php/login` are
/// PHP's PATH_INFO).
pub(super) fn for_each_key(key: &[u8], mut visit: impl FnMut(&[u8])) {
    visit(key);
    without_suffix(key).into_iter().for_each(&mut visit);
    let mut end = 0;
    for segment in key.split(|byte| *byte == b'/') {
        end += segment.len();
        if is_script(segment)
            && let Some((script, rest)) = key.split_at_checked(end)
        {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            visit(script);
            visit(rest);
            without_suffix(rest).into_iter().for_each(&mut visit);
        }
        end += 1;
    }
}

/// The key without the last segment's suffix, if that looks like a format's name.
fn without_suffix(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let dot = key.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > start)?;
    let (stem, suffix) = key.split_at_checked(dot)?;
    let suffix = suffix.get(1..)?;
    let format = (1..=16).contains(&suffix.len()) && suffix.iter().all(u8::is_ascii_alphanumeric);
    format.then_some(stem)
}

fn is_script(segment: &[u8]) -> bool {
    const SCRIPTS: [&[u8]; 12] = [
        b".php", b".phtml", b".php5", b".php7", b".cgi", b".fcgi", b".pl", b".py", b".asp", b".aspx", b".ashx", b".cfm",
    ];
    SCRIPTS.iter().any(|suffix| segment.ends_with(suffix))
}

/// Empty segments and `.` are no places.
fn join(segments: impl Iterator<Item = Key>) -> Key {
    segments.filter(|segment| !segment.is_empty() && segment != b".").fold(Key::new(), |mut key, segment| {
        if !key.is_empty() {
            key.push(b'/');
        }
        key.extend(segment);
        key
    })
}

fn cut_at<'a>(text: &'a [u8], marks: &[u8]) -> &'a [u8] {
    text.split(|byte| marks.contains(byte)).next().unwrap_or_default()
}

fn lower(mut text: Key) -> Key {
    text.make_ascii_lowercase();
    text
}

fn trim_end(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., 0..=b' ' | b'.' | 0x7f] = name {
        name = rest;
    }
    name
}

/// Decodes once. Two-byte sequences that hide an ASCII character (0xC0 and 0xC1 occur in no UTF-8) are that character, and so are
/// the `%u0041` of old Microsoft servers.
fn decode(text: &[u8]) -> Key {
    let mut decoded = Key::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match (byte, after) {
            (b'%', [b'u' | b'U', hex @ ..]) => {
                match percent_decoded(hex).and_then(|(high, low)| Some((high, percent_decoded(low)?))) {
                    Some((0, (low, after))) => {
                        rest = after;
                        low
                    }
                    Some((1.., _)) | None => *byte,
                }
            }
            (b'%', hex) => match percent_decoded(hex) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => *byte,
            },
            (byte, _) => *byte,
        });
    }
    decoded
}

/// Lower case as a reader without care for scripts does it; overlong encodings of ASCII are ASCII.
fn fold_unicode(name: &[u8]) -> Key {
    let mut bytes = Key::with_capacity(name.len());
    let mut rest = name;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (0xc0 | 0xc1, [low @ 0x80..=0xbf, after @ ..]) => {
                bytes.push(((byte & 1) << 6) | (low & 0x3f));
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => super::decode::names::fold_case(&text).into_bytes(),
        Err(error) => lower(error.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_quick_key_of_plain_paths_is_the_thorough_one(path in "/[a-zA-Z0-9/._~!$&'()*+,=:@-]{0,12}") {
            prop_assert_eq!(usual_key(&path), thorough_key(&path));
            if let Some(length) = plain_length(&path) {
                for_each_key(&thorough_key(&path), |key| assert_eq!(key.len(), length));
                prop_assert!(!may_be_read_carelessly(&path) || path.contains("::"));
            }
        }

        #[test]
        fn any_path_has_a_careless_key_no_longer_than_itself(path in "/[%0-9a-f/\\\\.;u]{0,200}") {
            prop_assert!(careless_key(&path).len() <= path.len());
            let names = names_if_ambiguous(&path).into_iter().flatten();
            prop_assert!(names.map(|name| name.len()).all(|length| length <= path.len()));
        }
    }
}
