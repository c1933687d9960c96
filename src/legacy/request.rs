//! Questions as requests: composed from templates, or the client's own made ready. What was typed can change the values in a
//! request, never its structure: paths are checked after rendering, JSON and forms are encoded value by value. Passwords lie in
//! buffers that are overwritten. Called by `http`.

use ::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};
use ::http::uri::PathAndQuery;
use ::http::{Method, Request, Uri};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::settings::{JsonTemplate, RequestBody, RequestTemplate};
use crate::net::{ProxyBody, hop_by_hop};
use crate::service::ports::ClientRequest;
use crate::template::{Template, TemplateError, Value};

/// A question that cannot be sent. Shows the part of the configuration that does not fit, never a value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComposeError {
    #[error("the template of the {part} cannot be rendered")]
    Template {
        part: &'static str,
        #[source]
        source: TemplateError,
    },
    #[error("there are no rules for a composed {0}")]
    NotConfigured(&'static str),
    #[error("what was typed makes the path another one")]
    Path,
    #[error("what was typed cannot stand in the header {0}")]
    Header(::http::HeaderName),
    #[error("what was typed cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

/// Bodies are a name and a password: nearly all fit without growing, and so without leaving a copy behind.
const BODY_CAPACITY: usize = 4 * 1_024;

/// What is said of a body's kind, where the operator says nothing.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("authferry/", env!("CARGO_PKG_VERSION")));
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Composes a request from its templates.
pub(super) fn compose(
    template: &RequestTemplate,
    base_path: &str,
    context: &Value,
) -> Result<Request<ProxyBody>, ComposeError> {
    let path = render("path", &template.path, context)?;
    let uri = origin_form(base_path, check_path(&path)?)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &template.headers {
        let value = render("headers", value, context)?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| ComposeError::Header(name.clone()))?;
        value.set_sensitive(true);
        headers.append(name.clone(), value);
    }
    let (body, content_type, accept) = match &template.body {
        RequestBody::Empty => (Bytes::new(), None, JSON),
        RequestBody::Json(json) => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(BODY_CAPACITY));
            write_json(json, context, &mut bytes)?;
            (Bytes::from_owner(bytes), Some(JSON), JSON)
        }
        RequestBody::Form(fields) => (Bytes::from_owner(form(fields, context)?), Some(FORM), ANYTHING),
        RequestBody::Text(text) => (Bytes::from_owner(render("body", text, context)?), Some(TEXT), ANYTHING),
    };
    if let (Some(content_type), false) = (content_type, headers.contains_key(CONTENT_TYPE)) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    for (name, value) in [(ACCEPT, accept), (USER_AGENT, OURSELVES)] {
        headers.entry(name).or_insert(value);
    }
    Ok(assemble(template.method.clone(), uri, headers, body))
}

/// The client's own request, on its way to where `base_path` is.
pub(super) fn client(request: &ClientRequest, base_path: &str) -> Result<Request<ProxyBody>, ComposeError> {
    let uri = origin_form(base_path, request.path_and_query.as_str())?;
    Ok(assemble(request.method.clone(), uri, request.headers.clone(), request.body.clone()))
}

fn assemble(method: Method, uri: Uri, mut headers: HeaderMap, body: Bytes) -> Request<ProxyBody> {
    hop_by_hop::strip(&mut headers);
    headers.remove(TRANSFER_ENCODING);
    // What comes back has to be judged, so it may not be compressed.
    headers.insert(ACCEPT_ENCODING, IDENTITY);
    // Said anew, of what is sent.
    headers.remove(CONTENT_LENGTH);
    let mut request = Request::new(ProxyBody::full(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

fn origin_form(base_path: &str, path: &str) -> Result<Uri, ComposeError> {
    let whole: PathAndQuery = format!("{base_path}{path}").try_into().map_err(|_invalid| ComposeError::Path)?;
    Ok(Uri::from(whole))
}

/// Refuses a rendered path that a server could take for another one: without `urlencode`, or by a name such as `..` even with it.
fn check_path(path: &str) -> Result<&str, ComposeError> {
    let (segments, _query) = path.split_once('?').unwrap_or((path, ""));
    let is_dots = |segment: &str| {
        let segment = segment.split(';').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    let is_plain = path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\'))
        && !segments.split('/').any(is_dots);
    if is_plain { Ok(path) } else { Err(ComposeError::Path) }
}

/// Whether a request of `get_user` is made of legacy's own answer, and of nothing that a client typed.
pub(super) fn is_made_of_the_answer(template: &RequestTemplate) -> bool {
    let mut names = template.path.variables();
    names.extend(template.headers.iter().flat_map(|(_, value)| value.variables()));
    match &template.body {
        RequestBody::Empty => {}
        RequestBody::Json(json) => names_in(json, &mut names),
        RequestBody::Form(fields) => names.extend(fields.iter().flat_map(|(_, value)| value.variables())),
        RequestBody::Text(text) => names.extend(text.variables()),
    }
    !names.is_empty() && names.iter().all(|name| name == "answer")
}

fn names_in(json: &JsonTemplate, names: &mut Vec<String>) {
    match json {
        JsonTemplate::Fixed(_) => {}
        JsonTemplate::Text(text) => names.extend(text.variables()),
        JsonTemplate::Array(items) => items.iter().for_each(|item| names_in(item, names)),
        JsonTemplate::Object(entries) => entries.iter().for_each(|(_, value)| names_in(value, names)),
    }
}

fn render(part: &'static str, template: &Template, context: &Value) -> Result<Zeroizing<String>, ComposeError> {
    match template.render(context) {
        Ok(rendered) => Ok(Zeroizing::new(rendered)),
        Err(source) => Err(ComposeError::Template { part, source }),
    }
}

/// Writes a document: each template becomes one JSON string, whatever it renders.
fn write_json(json: &JsonTemplate, context: &Value, out: &mut Vec<u8>) -> Result<(), ComposeError> {
    match json {
        JsonTemplate::Fixed(value) => serde_json::to_writer(out, value).map_err(ComposeError::Json),
        JsonTemplate::Text(template) => {
            let text = render("body", template, context)?;
            serde_json::to_writer(out, text.as_str()).map_err(ComposeError::Json)
        }
        JsonTemplate::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(item, context, out)?;
            }
            out.push(b']');
            Ok(())
        }
        JsonTemplate::Object(members) => {
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name).map_err(ComposeError::Json)?;
                out.push(b':');
                write_json(value, context, out)?;
            }
            out.push(b'}');
            Ok(())
        }
    }
}

fn form(fields: &[(String, Template)], context: &Value) -> Result<Zeroizing<String>, ComposeError> {
    let mut encoded = Zeroizing::new(String::with_capacity(BODY_CAPACITY));
    for (name, value) in fields {
        let value = render("body", value, context)?;
        if !encoded.is_empty() {
            encoded.push('&');
        }
        encoded.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        encoded.push('=');
        encoded.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
    Ok(encoded)
}

#[cfg(test)]
pub(super) mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::template::{self, Escape};

    fn text(source: &str) -> Template {
        Template::compile(source, Escape::None).expect("a template")
    }

    pub(in crate::legacy) fn get(path: &str) -> RequestTemplate {
        RequestTemplate { method: Method::GET, path: text(path), headers: Vec::new(), body: RequestBody::Empty }
    }

    fn post(body: RequestBody) -> RequestTemplate {
        RequestTemplate { method: Method::POST, path: text("/login"), headers: Vec::new(), body }
    }

    fn context(login: &str, password: &str) -> Value {
        template::context(json!({ "login": login, "password": password }))
    }

    #[expect(clippy::disallowed_methods, reason = "a body of our own making is as bounded as the test")]
    fn body(request: Request<ProxyBody>) -> Vec<u8> {
        let collected = futures_util::future::FutureExt::now_or_never(request.into_body().collect());
        collected.expect("it is there").expect("it does not break").to_bytes().to_vec()
    }

    fn credentials() -> RequestBody {
        RequestBody::Json(JsonTemplate::Object(vec![
            ("email".to_owned(), JsonTemplate::Text(text("{{ login }}"))),
            ("password".to_owned(), JsonTemplate::Text(text("{{ password }}"))),
            (
                "n".to_owned(),
                JsonTemplate::Array(vec![JsonTemplate::Fixed(json!(1)), JsonTemplate::Fixed(json!(null))]),
            ),
        ]))
    }

    #[test]
    fn a_composed_request_says_what_it_is() {
        let mut template = post(credentials());
        template
            .headers
            .push((::http::header::AUTHORIZATION, text("Basic {{ (login ~ ':' ~ password) | b64encode }}")));
        template.headers.push((::http::header::CONNECTION, text("close")));
        template.headers.push((ACCEPT_ENCODING, text("gzip")));
        let request = compose(&template, "/base", &context("ann", "pw")).expect("a request");
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, "/base/login"));
        let header = |name| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(header("authorization").as_deref(), Some("Basic YW5uOnB3"));
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        assert_eq!(header("accept").as_deref(), Some("application/json"));
        assert_eq!(header("accept-encoding").as_deref(), Some("identity"));
        assert!(header("user-agent").is_some_and(|agent| agent.starts_with("authferry/")));
        assert_eq!(header("connection"), None);
        assert!(!format!("{:?}", request.headers()).contains("YW5u"), "credentials are not shown");
        assert_eq!(body(request), br#"{"email":"ann","password":"pw","n":[1,null]}"#);
    }

    #[test]
    fn the_operators_own_headers_win() {
        let mut template = post(RequestBody::Text(text("<login>{{ login }}</login>")));
        template.headers.push((CONTENT_TYPE, text("application/xml")));
        template.headers.push((ACCEPT, text("text/xml")));
        let request = compose(&template, "", &context("ann", "pw")).expect("a request");
        assert_eq!(request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes), Some(&b"application/xml"[..]));
        assert_eq!(request.headers().get(ACCEPT).map(HeaderValue::as_bytes), Some(&b"text/xml"[..]));
        assert_eq!(body(request), b"<login>ann</login>");
    }

    #[test]
    fn what_was_typed_cannot_lead_to_another_path() {
        let encoded = get("/users/{{ login | urlencode }}");
        let request = compose(&encoded, "/api", &context("../admin?x=1#y", "")).expect("a request");
        assert_eq!(request.uri().to_string(), "/api/users/..%2Fadmin%3Fx%3D1%23y");
        for login in [".", ".."] {
            let refused = compose(&encoded, "", &context(login, "")).map(|_| ());
            assert!(matches!(refused, Err(ComposeError::Path)), "{login}");
        }
        let bare = get("/users/{{ login }}/profile");
        for login in ["a b", "a\\b", "a#b", "é", "../..", "..;x", "%2e%2E", "a\tb", "a\r\nx: y"] {
            let refused = compose(&bare, "", &context(login, "")).map(|_| ());
            assert!(matches!(refused, Err(ComposeError::Path)), "{login}");
        }
        let host = get("{{ login }}");
        for login in ["//evil.example/", "http://evil.example/", "evil", "@evil", ""] {
            assert!(compose(&host, "", &context(login, "")).is_err(), "r81: {login}");
        }
    }

    #[test]
    fn what_was_typed_cannot_add_a_header() {
        let mut template = get("/");
        template.headers.push((::http::HeaderName::from_static("x-login"), text("{{ login }}")));
        for login in ["a\r\nx-admin: 1", "a\nb", "a\0b"] {
            let refused = compose(&template, "", &context(login, "")).map(|_| ());
            assert!(matches!(refused, Err(ComposeError::Header(_))), "{login:?}");
        }
    }

    #[test]
    fn r116_an_error_names_the_part_and_no_value() {
        let template = post(RequestBody::Form(vec![("a".to_owned(), text("{{ login.canary }}{{ nothing }}"))]));
        let error = compose(&template, "", &context("canary", "canary")).map(|_| ()).expect_err("nothing there");
        assert!(!format!("{error} {error:?}").replace("login.canary", "").contains("canary"), "{error:?}");
    }

    #[test]
    fn a_clients_request_goes_on_as_it_is_but_for_what_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "app.example"),
            ("cookie", "csrf=1"),
            ("accept-encoding", "gzip, br"),
            ("content-length", "999"),
            ("transfer-encoding", "chunked"),
            ("connection", "keep-alive"),
        ] {
            headers.insert(::http::HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let given = ClientRequest {
            method: Method::POST,
            path_and_query: PathAndQuery::from_static("/sign_in?next=%2F"),
            headers,
            body: Bytes::from_static(b"user=ann"),
        };
        let request = client(&given, "/app").expect("a request");
        assert_eq!(request.uri().to_string(), "/app/sign_in?next=%2F");
        let names: Vec<_> = request.headers().keys().map(::http::HeaderName::as_str).collect();
        assert_eq!(names, ["host", "cookie", "accept-encoding"]);
        assert_eq!(request.headers().get(ACCEPT_ENCODING), Some(&IDENTITY));
        assert_eq!(body(request), b"user=ann");
    }

    proptest! {
        #[test]
        fn r41_legacy_is_asked_about_exactly_what_was_typed(login in ".{1,60}", password in "(?s).{1,60}") {
            let request = compose(&post(credentials()), "", &context(&login, &password)).expect("a request");
            let sent: serde_json::Value = serde_json::from_slice(&body(request)).expect("JSON");
            prop_assert_eq!(sent, json!({ "email": login, "password": password, "n": [1, null] }));

            let fields = vec![("user[email]".to_owned(), text("{{ login }}")), ("p".to_owned(), text("{{ password }}"))];
            let request = compose(&post(RequestBody::Form(fields)), "", &context(&login, &password)).expect("a request");
            let sent: Vec<_> = form_urlencoded::parse(&body(request)).into_owned().collect();
            prop_assert_eq!(sent, [("user[email]".to_owned(), login), ("p".to_owned(), password)]);
        }

        #[test]
        fn r42_a_name_stays_one_segment_of_the_path(login in ".{1,60}") {
            if let Ok(request) = compose(&get("/users/{{ login | urlencode }}?full=1"), "", &context(&login, "")) {
                let uri = request.uri().to_string();
                let segment = uri.strip_prefix("/users/").and_then(|rest| rest.strip_suffix("?full=1"));
                let segment = segment.expect("nothing around it changes");
                prop_assert!(!segment.contains(['/', '?', '#', '&', '\\', ';']));
                let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8");
                prop_assert_eq!(decoded, login);
            } else {
                prop_assert!(login == "." || login == "..");
            }
        }
    }
}
