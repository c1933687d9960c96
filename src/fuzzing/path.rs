//! Canonical targets: one spelling, the same meaning, routed as forwarded (R26-R29).

use std::sync::LazyLock;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::SHIPPED;
use super::others::{PathReader, decoded};
use crate::http::path::{CanonicalTarget, PathPolicy};
use crate::http::router::{Routed, Router};

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(&SHIPPED.edge.routes).expect("what we ship is valid"));

/// A request target.
pub fn path(data: &[u8]) {
    let Ok(raw) = str::from_utf8(data) else { return };
    let strict = judged(raw, PathPolicy::Strict);
    let tolerant = judged(raw, PathPolicy::Tolerant);
    if let Some(strict) = strict {
        assert_eq!(tolerant, Some(strict), "tolerance changed what was fine");
    }
    if let Ok(configured) = CanonicalTarget::parse_configured(raw) {
        is_canonical(&configured, PathPolicy::Strict);
        assert_eq!(meaning(configured.path_and_query().as_str()), meaning(raw));
    }
}

fn judged(raw: &str, policy: PathPolicy) -> Option<CanonicalTarget> {
    let ours = CanonicalTarget::parse_str(raw, policy);
    // hyper hands over what http parsed, less a fragment.
    if let Ok(received) = PathAndQuery::try_from(raw)
        && received.as_str() == raw
        && raw.starts_with('/')
    {
        assert_eq!(CanonicalTarget::parse(&received, policy), ours, "two ways to the same target");
    }
    let target = ours.ok()?;
    is_canonical(&target, policy);
    assert_eq!(meaning(target.path_and_query().as_str()), meaning(raw), "another meaning");
    if policy == PathPolicy::Strict {
        assert_eq!(target.query(), raw.split_once('?').map(|(_, query)| query), "a query goes on as it came");
    }
    is_routed_as_forwarded(&target, policy);
    Some(target)
}

/// Path and query, decoded.
fn meaning(target: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    (decoded(path.as_bytes()), query.map(|query| decoded(query.as_bytes())))
}

/// What the next hop and everything behind it may rely on.
pub(super) fn is_canonical(target: &CanonicalTarget, policy: PathPolicy) {
    let text = target.path_and_query().as_str();
    assert_eq!(CanonicalTarget::parse_str(text, policy).as_ref(), Ok(target), "canonical, and yet changed");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{text}");
    let path = target.path();
    if path == "*" {
        return;
    }
    assert!(path.starts_with('/'), "{path}");
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let upper = |digit: Option<u8>| digit.is_some_and(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
                assert!(digits.into_iter().all(upper), "{path}");
            }
            byte => assert!(byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte), "{path}"),
        }
    }
    for (at, _) in path.match_indices('%') {
        let byte = decoded(path.as_bytes().get(at..at + 3).expect("two digits")).first().copied().unwrap_or_default();
        assert!(byte != 0 && !byte.is_ascii_alphanumeric() && !b"-._~".contains(&byte), "{path}");
        assert!(policy == PathPolicy::Tolerant || !b"/\\".contains(&byte), "{path}");
    }
    if policy == PathPolicy::Strict {
        assert!(!path.contains("//"), "{path}");
        let names = path.split('/').map(|segment| segment.split(';').next());
        assert!(names.flatten().all(|name| name != "." && name != ".."), "{path}");
    }
    let query = target.query().unwrap_or_default();
    let encoded = query
        .split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(target.query_is_well_formed(), encoded, "{query}");
}

/// Whatever any of the readers finds at a route is not passed by (R26).
fn is_routed_as_forwarded(target: &CanonicalTarget, policy: PathPolicy) {
    let routed = |target: &CanonicalTarget| match ROUTER.route(&Method::POST, target, &HeaderMap::new()) {
        Routed::Pass => None,
        Routed::Take(candidates) | Routed::Read(candidates) | Routed::Doubt(candidates) => {
            Some(format!("for {:?}", candidates.first()))
        }
        Routed::MethodNotAllowed(index) => Some(format!("405 {index:?}")),
        Routed::Refused(index, refusal) => Some(format!("{index:?} {refusal:?}")),
    };
    let outcome = routed(target);
    let forwarded = CanonicalTarget::parse(target.path_and_query(), policy).expect("canonical");
    assert_eq!(routed(&forwarded), outcome, "routed otherwise than forwarded");
    if outcome.is_none() {
        for reader in PathReader::ALL {
            let place = reader.place(target.path());
            let found = SHIPPED.edge.routes.iter().find(|route| route.matcher.path == place);
            assert!(found.is_none(), "{} passed, though {reader:?} finds {place}", target.path());
        }
    }
}
