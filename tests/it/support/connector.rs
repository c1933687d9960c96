//! A connector under test: settings as the annotated configuration has them, for the doubles, and questions to put to it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::{Clock, SystemClock};
use authferry::domain::identifier::{IdentifierRules, RawIdentifier};
use authferry::domain::password::Password;
use authferry::legacy::settings::{
    BreakerSettings, CallRules, ForwardRules, JsonTemplate, RequestBody, RequestTemplate, UserMapping, UserRules,
    UserSource, VerdictRules,
};
use authferry::legacy::{self, Clients, LegacySettings};
use authferry::net::{Client, ClientSettings, Target, tls};
use authferry::service::ports::{
    AskBy, ClientRequest, LegacyBackend, LoginAnswer, LoginWord, Question, Relay, RouteIndex, UserAnswer,
};
use authferry::telemetry::Metrics;
use authferry::template::{Escape, Expression, Template};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::legacy::{LegacyDouble, ann};

// --------------------------------------------------------------------------------------------------- configuration

/// Short: every outage that is a matter of time takes so long here.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(250);
/// Long: for answers that come.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// The routes of [`settings`].
pub(crate) const WEB: RouteIndex = RouteIndex(0);
pub(crate) const API: RouteIndex = RouteIndex(1);
pub(crate) const WHOAMI: RouteIndex = RouteIndex(2);
pub(crate) const PASSWORD: RouteIndex = RouteIndex(3);
pub(crate) const PLAIN: RouteIndex = RouteIndex(4);

pub(crate) fn expression(source: &str) -> Expression {
    Expression::compile(source).expect("an expression")
}

pub(crate) fn text(source: &str) -> Template {
    Template::compile(source, Escape::None).expect("a template")
}

pub(crate) fn mapping(prefix: &str) -> UserMapping {
    let field = |name: &str| Some(expression(&format!("{prefix}.{name}")));
    UserMapping {
        id: expression(&format!("{prefix}.id")),
        email: field("email"),
        username: field("username"),
        phone: field("phone"),
        profile: Some(expression(prefix)),
        email_verified: field("email_verified"),
        phone_verified: None,
    }
}

pub(crate) fn post(path: &str, fields: &[&str]) -> RequestTemplate {
    let member = |(name, template): (&str, &str)| (name.to_owned(), JsonTemplate::Text(text(template)));
    let members = fields.iter().filter_map(|field| field.split_once('=')).map(member);
    RequestTemplate {
        method: Method::POST,
        path: text(path),
        headers: Vec::new(),
        body: RequestBody::Json(JsonTemplate::Object(members.collect())),
    }
}

pub(crate) fn get(path: &str) -> RequestTemplate {
    RequestTemplate { method: Method::GET, path: text(path), headers: Vec::new(), body: RequestBody::Empty }
}

pub(crate) fn verdict(success: &str, denied: &str, challenge: &str) -> VerdictRules {
    let challenge = (!challenge.is_empty()).then(|| expression(challenge));
    VerdictRules { success: expression(success), denied: expression(denied), challenge }
}

/// The rules of the annotated configuration, for the double.
pub(crate) fn settings(double: &LegacyDouble) -> LegacySettings {
    let target = Target::parse(&double.url()).expect("a target");
    let forward = |verdict, user| Some(ForwardRules { verdict, user: Some(user) });
    let jwt = UserMapping {
        id: expression("(json.accessToken | jwt_claims).sub"),
        email: Some(expression("(json.accessToken | jwt_claims).email")),
        username: None,
        phone: None,
        profile: Some(expression("json.accessToken | jwt_claims")),
        email_verified: None,
        phone_verified: None,
    };
    let web = verdict(
        "status in [302, 303] and headers.location is not endingwith('/users/sign_in') and set_cookies.remember",
        "status in [200, 422]",
        "'/twofa' in headers.location | default('')",
    );
    let api = || verdict("status == 200 and json.accessToken is defined", "status == 400 and json is string", "");
    LegacySettings {
        tls: tls::TlsSettings::default(),
        upstream: target.clone(),
        target,
        timeout: TIMEOUT,
        connect_timeout: PATIENT,
        max_in_flight: NonZeroUsize::new(4).expect("not zero"),
        breaker: BreakerSettings { failures: NonZeroU32::new(1_000).expect("not zero"), open_for: PATIENT },
        max_answer_bytes: 64 * 1_024,
        max_relay_bytes: 256 * 1_024,
        login: Some(CallRules {
            request: post("/internal/login", &["email={{ login }}", "password={{ password }}"]),
            verdict: verdict(
                "status == 200 and json.user.id is defined",
                "status in [401, 403, 404]",
                "json.mfa_required is defined",
            ),
            user: UserSource::Answer(mapping("json.user")),
        }),
        get_user: Some(UserRules {
            request: get("/internal/users/{{ login | urlencode }}"),
            found: expression("status == 200 and json is mapping"),
            not_found: expression("status == 404"),
            user: mapping("json"),
            needs_answer: false,
        }),
        register: Some(CallRules {
            request: post("/internal/register", &["email={{ login }}", "password={{ password }}"]),
            verdict: verdict("status == 201", "status == 409", ""),
            user: UserSource::Answer(mapping("json.user")),
        }),
        routes: vec![
            forward(web, UserSource::GetUser),
            forward(api(), UserSource::Answer(jwt)),
            forward(api(), UserSource::GetUser),
            forward(verdict("status == 204", "status == 403", ""), UserSource::GetUser),
            forward(
                verdict("status == 200 and json.user.id is defined", "status == 401", "json.mfa_required is defined"),
                UserSource::Answer(mapping("json.user")),
            ),
        ],
        identifiers: IdentifierRules::default(),
    }
}

/// `[legacy.get_user]` as a whoami with the token of the login's answer.
pub(crate) fn whoami(settings: LegacySettings) -> LegacySettings {
    let mut request = get("/api/me");
    request.headers.push((http::header::AUTHORIZATION, text("Bearer {{ answer.json.accessToken }}")));
    let rules = UserRules {
        request,
        found: expression("status == 200"),
        not_found: expression("status == 404"),
        user: mapping("json"),
        needs_answer: true,
    };
    LegacySettings { get_user: Some(rules), ..settings }
}

pub(crate) fn client(target: &Target, connect_timeout: Duration) -> Client {
    let tls = tls::client_config_trusting_nobody().expect("TLS");
    let settings =
        ClientSettings { connect_timeout, tls, max_idle_per_thread: 8, idle_timeout: Duration::from_secs(4) };
    Client::new(target.clone(), settings)
}

pub(crate) fn connect_with(
    settings: LegacySettings,
    metrics: &Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Arc<dyn LegacyBackend> {
    let clients = Clients {
        legacy: client(&settings.target, settings.connect_timeout),
        upstream: client(&settings.upstream, settings.connect_timeout),
    };
    legacy::connect(settings, clients, Arc::clone(metrics), clock).expect("settings that agree")
}

pub(crate) fn connect(settings: LegacySettings) -> Arc<dyn LegacyBackend> {
    connect_with(settings, &Arc::new(Metrics::new()), Arc::new(SystemClock))
}

pub(crate) fn patient(settings: LegacySettings) -> LegacySettings {
    LegacySettings { timeout: PATIENT, ..settings }
}

// ------------------------------------------------------------------------------------------------------- questions

/// A login as somebody typed it.
pub(crate) struct Typed {
    pub(crate) login: RawIdentifier,
    pub(crate) password: Password,
    pub(crate) new_password: Option<Password>,
    pub(crate) fields: Value,
    pub(crate) request: ClientRequest,
}

pub(crate) fn password(typed: &str) -> Password {
    Password::new(Zeroizing::new(typed.to_owned())).expect("a password")
}

pub(crate) fn typed(login: &str, typed: &str) -> Typed {
    Typed {
        login: RawIdentifier::new(login).expect("an identifier"),
        password: password(typed),
        new_password: None,
        fields: json!({ "remember": "1" }),
        request: client_request("/", ""),
    }
}

pub(crate) fn client_request(path: &'static str, body: &str) -> ClientRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "app.example"),
        ("cookie", "csrf=c-1"),
        ("accept-encoding", "gzip"),
        ("content-type", if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" }),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let path_and_query = http::uri::PathAndQuery::from_static(path);
    ClientRequest { method: Method::POST, path_and_query, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

impl Typed {
    pub(crate) fn called(&self) -> Question<'_> {
        Question {
            login: Some(&self.login),
            password: Some(&self.password),
            new_password: self.new_password.as_ref(),
            fields: &self.fields,
            by: AskBy::Call,
        }
    }

    pub(crate) fn forwarded(&self, route: RouteIndex) -> Question<'_> {
        Question { by: AskBy::Forward { route, request: &self.request }, ..self.called() }
    }

    pub(crate) fn sent_to(self, path: &'static str, body: &str) -> Self {
        Self { request: client_request(path, body), ..self }
    }

    pub(crate) fn in_json(self, path: &'static str) -> Self {
        let body = json!({ "email": self.login.as_str(), "password": self.password.expose() }).to_string();
        self.sent_to(path, &body)
    }

    pub(crate) fn in_a_form(self, path: &'static str) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("user[email]", self.login.as_str()).append_pair("user[password]", self.password.expose());
        let body = form.finish();
        self.sent_to(path, &body)
    }
}

pub(crate) fn anns() -> Typed {
    typed(&ann().email, &ann().password)
}

/// A word without the identity in it, for tables.
pub(crate) fn short(answer: &LoginAnswer) -> String {
    match &answer.word {
        LoginWord::Accepted(accepted) => format!("accepted {}", accepted.identity().id.as_key()),
        LoginWord::Denied => "denied".to_owned(),
        LoginWord::Challenge => "challenge".to_owned(),
        LoginWord::Unrecognised(why) => format!("unrecognised {}", why.as_str()),
        LoginWord::Unavailable(outage) => format!("unavailable {}", outage.as_str()),
    }
}

pub(crate) fn short_user(answer: &UserAnswer) -> String {
    match answer {
        UserAnswer::Found(Some(identity)) => format!("found {}", identity.id.as_key()),
        UserAnswer::Found(None) => "found".to_owned(),
        UserAnswer::NotFound => "not found".to_owned(),
        UserAnswer::Unknown(outage) => format!("unknown {}", outage.as_str()),
    }
}

pub(crate) fn body(relay: &Option<Relay>) -> String {
    relay.as_ref().map(|relay| String::from_utf8_lossy(relay.body()).into_owned()).unwrap_or_default()
}
