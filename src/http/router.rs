//! Which route a request is for, if any. Decided on the canonical target alone, the one that is forwarded too (R27).
//!
//! What any usual backend takes for a route is taken for it or refused (R26), never passed: lenient spellings (R29), methods
//! (R31), overrides of either (R30). A request for no route costs one look-up. Pure; called by the interceptor.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use percent_encoding::percent_decode;

use super::decode::names::{FieldName, pointer_keys};
use super::decode::{
    Decoded, decode, form, parameter_names, path_names_credential, query_names_credential, query_names_password,
    strip_credential_cookies,
};
use super::gate::Refusal;
use super::path::{CanonicalTarget, PathError};
use super::settings::{Action, RequestShape, Route, RouteMatch};
use super::spellings::{self, Reader};
use crate::service::ports::RouteIndex;

/// Headers by which a client asks for another method than it sent. Refused on routes (R30).
pub const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Headers by which a client asks for another path than it sent. Refused on routes; elsewhere the forwarder strips them, since
/// an app that follows them would find a route's path there (R30).
pub const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// Headers in which proxies say what a path was before they changed it, and apps believe them: by a prefix to be cut off (a
/// snippet of Flask's; gunicorn's own names), or by the whole path. Never sent on, on routes or elsewhere (R30).
pub const PATH_HINTS: [&str; 10] = [
    "x-original-uri",
    "x-original-path",
    "x-envoy-original-path",
    "x-replaced-path",
    "x-override-url",
    "x-request-uri",
    "x-script-name",
    "script-name",
    "script_name",
    "path_info",
];

/// Whether a header claims another path than the request's own: one of [`PATH_OVERRIDES`] or [`PATH_HINTS`].
#[must_use]
pub fn claims_a_path(name: &HeaderName) -> bool {
    // Asked of every header of every request: this compares with nothing of another length.
    matches!(
        name.as_str(),
        "x-original-url"
            | "x-rewrite-url"
            | "x-original-uri"
            | "x-original-path"
            | "x-envoy-original-path"
            | "x-replaced-path"
            | "x-override-url"
            | "x-request-uri"
            | "x-script-name"
            | "script-name"
            | "script_name"
            | "path_info"
    )
}

/// All routes, by the keys of their paths.
pub struct Router {
    places: HashMap<Box<[u8]>, Vec<Arc<Place>>>,
    longest: usize,
}

/// A route as the router sees it.
struct Place {
    index: RouteIndex,
    matcher: RouteMatch,
    /// The canonical spelling, which an exact route insists on.
    path: CanonicalTarget,
    fields: Vec<FieldName>,
    shape: RequestShape,
    /// Whether another method on this path could be the same act: it could for whatever takes a password.
    closes_other_methods: bool,
}

/// How the paths of two routes meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// They are one place: whatever spelling is taken for one is taken for the other (R29).
    Same,
    /// The first is another spelling of the second: `/login.json` of `/login`, `/index.php/login` of `/index.php`.
    SpellingOf,
}

/// How one path as configured meets another; not at all if either is no path.
#[must_use]
pub fn meeting(path: &str, other: &str) -> Option<Meeting> {
    let key = |path: &str| {
        let target = CanonicalTarget::parse_configured(path).ok()?;
        Some(spellings::usual_key(target.path()))
    };
    let (path, other) = (key(path)?, key(other)?);
    if path == other {
        return Some(Meeting::Same);
    }
    let mut found = false;
    spellings::for_each_key(&path, |spelling| found |= spelling == other);
    found.then_some(Meeting::SpellingOf)
}

/// A route's path cannot be matched.
#[derive(Debug, thiserror::Error)]
#[error("the path of route `{route}` cannot be matched")]
pub struct BadRoutePath {
    /// The route's name.
    pub route: Arc<str>,
    /// Why.
    #[source]
    pub source: PathError,
}

/// What to do with a request.
pub enum Routed {
    /// Its path is no route's that takes a password: it is forwarded untouched.
    Pass,
    /// Its path is one of these routes', and it only reads there: it is forwarded without what could make it a login.
    Read(Candidates),
    /// It is for one of these routes, if its body says so.
    Take(Candidates),
    /// It is for none of these routes, since it has not the query that they ask for; but for an app that reads those parameters from
    /// the body as well, its body may make it one: see [`Candidates::may_be_named_by`].
    Doubt(Candidates),
    /// The path is a route's, the method nobody's: 405 (R31).
    MethodNotAllowed(RouteIndex),
    /// It could be taken for a route's by some backend and not by us.
    Refused(RouteIndex, Refusal),
}

/// The routes that a request may be for: those of its own path first, in the order of the configuration, then those that it is
/// another spelling of. Never empty.
pub struct Candidates {
    first: Arc<Place>,
    others: Vec<Arc<Place>>,
    /// Routes at this path and of this method whose query is not there.
    unasked: Vec<Arc<Place>>,
}

/// What the body decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// This route takes it.
    Route(RouteIndex),
    /// It has no candidate's fields: it is forwarded untouched.
    Pass,
}

const METHOD_OVERRIDE: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    reason: "method_override",
    title: "A method may not be overridden here",
};
const PATH_OVERRIDE: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "path_override", title: "A path may not be overridden here" };
const ODD_SPELLING: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "odd_spelling", title: "The path is not acceptable" };
const BAD_QUERY: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "bad_percent", title: "The query is not acceptable" };
const REPEATED_QUERY: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "repeated_query", title: "The query names a parameter twice" };
const QUERY_CREDENTIAL: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    reason: "query_credential",
    title: "Credentials do not belong in the URL",
};
const READ_WITH_BODY: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "read_with_body", title: "This method has no body here" };
const MISPLACED_CREDENTIAL: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    reason: "misplaced_credential",
    title: "The credentials do not stand where they belong",
};
const QUERY_IN_BODY: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    reason: "query_in_body",
    title: "A parameter of the query stands in the body",
};
const WRONG_FORMAT: Refusal = Refusal {
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    reason: "unsupported_type",
    title: "The content type is not supported here",
};

impl Router {
    /// Prepares the look-up. A route's index is its place in `routes`.
    pub fn new(routes: &[Route]) -> Result<Self, BadRoutePath> {
        let mut places: HashMap<Box<[u8]>, Vec<Arc<Place>>> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            let place = Place::new(RouteIndex(index), route)?;
            let key = spellings::usual_key(place.path.path());
            places.entry(key.into_boxed_slice()).or_default().push(Arc::new(place));
        }
        let longest = places.keys().map(|key| key.len()).max().unwrap_or(0);
        Ok(Self { places, longest })
    }

    /// What to do with a request, as far as its head tells.
    #[must_use]
    pub fn route(&self, method: &Method, target: &CanonicalTarget, headers: &HeaderMap) -> Routed {
        let (places, reader) = self.places_of(target);
        let Some(first) = places.first() else { return Routed::Pass };
        let refused = |refusal| Routed::Refused(first.index, refusal);
        match reader {
            Reader::Careless => return refused(ODD_SPELLING),
            Reader::Usual => {}
        }
        if METHOD_OVERRIDES.iter().any(|name| headers.contains_key(*name)) {
            return refused(METHOD_OVERRIDE);
        }
        if PATH_OVERRIDES.iter().any(|name| headers.contains_key(*name)) {
            return refused(PATH_OVERRIDE);
        }
        let query = match Query::parse(target) {
            Ok(query) => query,
            Err(refusal) => return refused(refusal),
        };
        if places.iter().any(|place| query.is_ambiguous(&place.matcher)) {
            return refused(REPEATED_QUERY);
        }
        let (asked, unasked): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| query.satisfies(&place.matcher));
        by_method(method, target, &asked, &unasked)
    }

    /// The routes at a path, and which reader finds them there. None at all for most requests, after one look-up.
    fn places_of(&self, target: &CanonicalTarget) -> (Vec<&Arc<Place>>, Reader) {
        let path = target.path();
        let mut found = Vec::new();
        if spellings::plain_length(path).is_some_and(|length| length > self.longest) && !path.contains("::") {
            return (found, Reader::Usual);
        }
        let usual = spellings::usual_key(path);
        spellings::for_each_key(&usual, |key| self.add_places_at(key, path, &mut found));
        if !found.is_empty() || !spellings::may_be_read_carelessly(path) {
            return (found, Reader::Usual);
        }
        let careless = spellings::careless_key(path);
        spellings::for_each_key(&careless, |key| self.add_places_at(key, path, &mut found));
        if let Some(names) = spellings::names_if_ambiguous(path) {
            let last = |key: &[u8]| key.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            self.places.keys().filter(|key| names.contains(&last(key))).for_each(|key| {
                self.add_places_at(key, path, &mut found);
            });
            found.sort_by_key(|place| place.index.0);
        }
        found.retain(|place| !place.matcher.exact);
        (found, Reader::Careless)
    }

    fn add_places_at<'a>(&'a self, key: &[u8], path: &str, found: &mut Vec<&'a Arc<Place>>) {
        for place in self.places.get(key).into_iter().flatten() {
            let is_new = found.iter().all(|other| other.index != place.index);
            if is_new && (!place.matcher.exact || place.path.path() == path) {
                found.push(place);
            }
        }
    }
}

/// The last step: the method. `asked` are the routes whose query is there.
fn by_method(method: &Method, target: &CanonicalTarget, asked: &[&Arc<Place>], unasked: &[&Arc<Place>]) -> Routed {
    let of_method = |places: &[&Arc<Place>]| -> Vec<Arc<Place>> {
        places.iter().filter(|place| place.matcher.method == *method).map(|place| Arc::clone(place)).collect()
    };
    let mut unasked = of_method(unasked);
    unasked.retain(|place| place.closes_other_methods);
    let mut candidates = of_method(asked).into_iter();
    if let Some(first) = candidates.next() {
        return Routed::Take(Candidates { first, others: candidates.collect(), unasked });
    }
    let guarded = |place: &&&Arc<Place>| place.closes_other_methods;
    let Some(place) = asked.iter().find(guarded) else {
        let Some(first) = unasked.first().map(Arc::clone) else { return Routed::Pass };
        return Routed::Doubt(Candidates { first, others: Vec::new(), unasked });
    };
    if !(*method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS) {
        return Routed::MethodNotAllowed(place.index);
    }
    // A page may be prefilled by its query, but a password there is a login by another door.
    let named = |query: &str| asked.iter().any(|place| query_names_password(query, &place.shape));
    if target.query().is_some_and(named) {
        return Routed::Refused(place.index, QUERY_CREDENTIAL);
    }
    let others = asked.iter().filter(|other| other.index != place.index).map(|place| Arc::clone(place)).collect();
    Routed::Read(Candidates { first: Arc::clone(place), others, unasked: Vec::new() })
}

impl Place {
    fn new(index: RouteIndex, route: &Route) -> Result<Self, BadRoutePath> {
        let bad = |source| BadRoutePath { route: Arc::clone(&route.name), source };
        let path = CanonicalTarget::parse_configured(&route.matcher.path).map_err(bad)?;
        let closes_other_methods = match route.action {
            Action::Login | Action::Register | Action::ChangePassword | Action::ResetPassword => true,
            Action::DeleteUser | Action::Logout | Action::GetUser | Action::Refresh => false,
        };
        Ok(Self {
            index,
            matcher: route.matcher.clone(),
            path,
            fields: route.matcher.fields.iter().map(|name| required_field(name)).collect(),
            shape: route.request.clone(),
            closes_other_methods,
        })
    }
}

/// A field that a match requires: a JSON pointer, or a name.
fn required_field(name: &str) -> FieldName {
    match pointer_keys(name) {
        Some(keys) if !keys.is_empty() => FieldName::of_json(&keys.iter().map(String::as_str).collect::<Vec<_>>()),
        Some(_) | None => FieldName::of_form(name),
    }
}

impl Candidates {
    /// The first candidate, in whose shape errors are answered as long as none is selected.
    #[must_use]
    pub fn first(&self) -> RouteIndex {
        self.first.index
    }

    /// Whether the request may still turn out to be for no route, or for another than the first.
    #[must_use]
    pub fn needs_body_fields(&self) -> bool {
        !self.first.fields.is_empty()
    }

    fn places(&self) -> impl Iterator<Item = &Arc<Place>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// What becomes of a read that comes with a body: an app that takes a route for every method may read a login there (R31).
    #[must_use]
    pub fn read_with_body(&self) -> (RouteIndex, Refusal) {
        (self.first.index, READ_WITH_BODY)
    }

    /// Removes the cookies that bear a credential's name. PHP without a php.ini, and others, read cookies after the body, over
    /// fields of the same name: the app would judge another user than the one whose password is saved (R39, R41).
    pub fn strip_credential_cookies(&self, headers: &mut HeaderMap) {
        strip_credential_cookies(headers, &self.places().map(|place| &place.shape).collect::<Vec<_>>());
    }

    /// Which route the body is for. A body that has a route's fields in another format or spelling than the route's is refused:
    /// some backends read both. So is a request that has them in several places: some backends read all.
    pub fn select(&self, target: &CanonicalTarget, decoded: &Decoded) -> Result<Selection, Refusal> {
        if self.unasked.iter().any(|place| place.is_asked_for_by(target, decoded)) {
            return Err(QUERY_IN_BODY);
        }
        for place in self.places() {
            if !place.fields.iter().all(|field| decoded.has_field(field)) {
                continue;
            }
            if decoded.format().is_some_and(|format| format != place.shape.format) {
                return Err(WRONG_FORMAT);
            }
            place.refuse_overrides(target, decoded)?;
            return Ok(Selection::Route(place.index));
        }
        match self.places().any(|place| place.is_scattered_over(target, decoded)) {
            true => Err(MISPLACED_CREDENTIAL),
            false => Ok(Selection::Pass),
        }
    }
}

impl Candidates {
    /// Whether the body of a [`Routed::Doubt`] has the parameters that the query has not. Of a body that cannot be read - a multipart
    /// one, a form in another charset - its words decide.
    pub fn may_be_named_by(
        &self,
        headers: &HeaderMap,
        target: &CanonicalTarget,
        body: &[u8],
    ) -> Result<(), (RouteIndex, Refusal)> {
        let named = match decode(headers, body) {
            Ok(decoded) => self.unasked.iter().find(|place| place.is_asked_for_by(target, &decoded)),
            Err(_) => {
                let text = percent_decode(body).decode_utf8_lossy().to_lowercase();
                self.unasked.iter().find(|place| place.words().all(|word| text.contains(&word)))
            }
        };
        named.map_or(Ok(()), |place| Err((place.index, QUERY_IN_BODY)))
    }
}

impl Place {
    /// Whether all that the route asks for in the query is there for a reader that looks into the body first (PHP's `$_REQUEST`),
    /// and so are its fields.
    fn is_asked_for_by(&self, target: &CanonicalTarget, decoded: &Decoded) -> bool {
        let query = Query::parse(target).ok();
        let in_query = |name: &str, value: &str| query.as_ref().is_some_and(|query| query.says(name, value, false));
        let asked = |(name, value): (&String, &String)| {
            decoded.may_say(&FieldName::of_form(name), value) || in_query(name, value)
        };
        self.matcher.query.iter().all(asked) && self.fields.iter().all(|field| decoded.has_field_like(field))
    }

    /// What a body that names this route cannot do without.
    fn words(&self) -> impl Iterator<Item = String> {
        let query = self
            .matcher
            .query
            .iter()
            .flat_map(|(name, value)| [FieldName::of_form(name).last().to_owned(), value.to_lowercase()]);
        query.chain(self.fields.iter().map(|field| field.last().to_owned()))
    }

    /// Whether all the fields that the route asks for are there, but not all in the body, or below or above where they belong: for
    /// `$_REQUEST`, or for parameters that are wrapped and unwrapped, that is the same.
    fn is_scattered_over(&self, target: &CanonicalTarget, decoded: &Decoded) -> bool {
        let elsewhere = parameter_names(target);
        self.fields
            .iter()
            .all(|field| decoded.has_field_like(field) || elsewhere.iter().any(|name| name.is_like(field)))
    }

    /// Method overrides in the query or a form (R30), and credentials outside the body (R39).
    fn refuse_overrides(&self, target: &CanonicalTarget, decoded: &Decoded) -> Result<(), Refusal> {
        let expected = self.matcher.fields.iter().any(|field| is_method_override(field));
        let overridden = decoded.names().any(|name| !expected && is_method_override(name))
            || target.query().is_some_and(names_method_override);
        if overridden {
            return Err(METHOD_OVERRIDE);
        }
        let named = target.query().is_some_and(|query| query_names_credential(query, &self.shape));
        if named || path_names_credential(target, &self.shape) {
            return Err(QUERY_CREDENTIAL);
        }
        Ok(())
    }
}

fn names_method_override(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| form::name_of(pair).map_or(true, |name| is_method_override(&name)))
}

/// `_method` in any case, and what PHP makes `_method` of.
fn is_method_override(name: &str) -> bool {
    let name = name.split('\0').next().unwrap_or_default().trim_start_matches(' ').to_ascii_lowercase();
    let name = name.replace([' ', '.'], "_").replacen('[', "_", usize::from(name.starts_with('[')));
    name == "_method" || name.starts_with("_method[") || METHOD_OVERRIDES.contains(&name.replace('_', "-").as_str())
}

/// The parameters of a query on a route.
struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    fn parse(target: &CanonicalTarget) -> Result<Self, Refusal> {
        if !target.query_is_well_formed() {
            return Err(BAD_QUERY);
        }
        let query = target.query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes());
        Ok(Self { parameters: parameters.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() })
    }

    /// Whether a parameter that a route asks for stands there more than once: some readers take the first, some the last.
    fn is_ambiguous(&self, matcher: &RouteMatch) -> bool {
        matcher.query.keys().any(|wanted| {
            let wanted = FieldName::of_form(wanted);
            self.parameters.iter().filter(|(name, _)| FieldName::of_form(name).may_be(&wanted)).count() > 1
        })
    }

    fn satisfies(&self, matcher: &RouteMatch) -> bool {
        matcher.query.iter().all(|(wanted, value)| self.says(wanted, value, matcher.exact))
    }

    fn says(&self, wanted: &str, value: &str, exact: bool) -> bool {
        self.parameters.iter().any(|(name, given)| match exact {
            true => name == wanted && given == value,
            false => FieldName::of_form(name).holds(&FieldName::of_form(wanted)) && given.eq_ignore_ascii_case(value),
        })
    }
}

#[cfg(test)]
mod tests;
