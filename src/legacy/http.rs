//! The connector that speaks HTTP: one straight line for each thing that legacy can be asked. Called through
//! [`LegacyBackend`]; remembers nothing of a question but its metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::Request;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::answer::Answer;
use super::breaker::Breaker;
use super::exchange::{Bounds, Exchange, Place};
use super::request::{self, ComposeError};
use super::settings::{LegacySettings, UserRules, UserSource, VerdictRules};
use super::verdict::{Knows, Verdict, judge, judge_user};
use super::{Clients, identity};
use crate::domain::clock::Clock;
use crate::domain::identifier::RawIdentifier;
use crate::domain::login::AskedBy;
use crate::domain::password_life::{Change, ChangeWord};
use crate::domain::proof::{LegacyIdentity, ToldBy};
use crate::domain::registration::CreateWord;
use crate::net::ProxyBody;
use crate::service::ports::{
    AskBy, ChangeAnswer, ClientRequest, LegacyBackend, LoginAnswer, LoginWord, Outage, Question, RegisterAnswer, Relay,
    Unrecognised, UserAnswer,
};
use crate::telemetry::Metrics;
use crate::template::{Value, context};

/// What legacy is asked, as metrics call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Login,
    GetUser,
    Register,
    Change,
    Relay,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::GetUser => "get_user",
            Self::Register => "register",
            Self::Change => "change",
            Self::Relay => "relay",
        }
    }
}

pub(super) struct HttpBackend {
    settings: LegacySettings,
    legacy: Exchange,
    upstream: Exchange,
    metrics: Arc<Metrics>,
}

/// A question, ready to be sent, and how its answer is judged.
struct Inquiry<'a> {
    request: Request<ProxyBody>,
    max_bytes: usize,
    /// None where nobody wants it judged.
    verdict: Option<&'a VerdictRules>,
    user: Option<&'a UserSource>,
    asked_by: AskedBy,
    /// `request` to expressions.
    asked: Value,
}

/// A question that was put and judged, with the place it still holds: who it was may have to be asked next.
struct Judged<'a> {
    verdict: Verdict,
    answer: Option<Arc<Answer>>,
    user: Option<&'a UserSource>,
    place: Option<Place<'a>>,
    deadline: Instant,
}

impl LegacyBackend for HttpBackend {
    fn login<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, LoginAnswer> {
        Box::pin(async move {
            let mut judged = self.put(Operation::Login, question).await;
            let word = match judged.verdict {
                Verdict::Success => match self.who(&mut judged, question).await {
                    Ok(identity) => LoginWord::Accepted(identity::vouch(identity)),
                    Err(nobody) => LoginWord::Unrecognised(nobody),
                },
                Verdict::Denied => LoginWord::Denied,
                Verdict::Challenge => LoginWord::Challenge,
                Verdict::Unrecognised(why) => LoginWord::Unrecognised(why),
                Verdict::Unavailable(outage) => LoginWord::Unavailable(outage),
            };
            if let LoginWord::Unrecognised(why) = &word {
                tracing::info!(reason = why.as_str(), "legacy's answer to a login proves nothing");
            }
            LoginAnswer { word, relay: judged.relay() }
        })
    }

    fn get_user<'a>(&'a self, name: &'a RawIdentifier) -> BoxFuture<'a, UserAnswer> {
        Box::pin(async move {
            let deadline = self.deadline();
            match self.legacy.admit() {
                Ok(mut place) => self.look_up(&mut place, deadline, context! { login => name.as_str() }).await,
                Err(outage) => {
                    self.count(Operation::GetUser, outage.as_str(), Instant::now());
                    UserAnswer::Unknown(outage)
                }
            }
        })
    }

    fn can_call_login(&self) -> bool {
        self.settings.login.is_some()
    }

    fn can_get_user(&self) -> bool {
        self.settings.get_user.as_ref().is_some_and(|rules| !rules.needs_answer)
    }

    fn register<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, RegisterAnswer> {
        Box::pin(async move {
            let mut judged = self.put(Operation::Register, question).await;
            let word = match judged.verdict {
                Verdict::Success => CreateWord::Created,
                Verdict::Denied => CreateWord::Refused,
                Verdict::Challenge | Verdict::Unrecognised(_) => CreateWord::Unrecognised,
                Verdict::Unavailable(_) => CreateWord::Unavailable,
            };
            let identity = self.who_if_done(&mut judged, question).await;
            RegisterAnswer { word, identity, relay: judged.relay() }
        })
    }

    fn change<'a>(&'a self, change: Change, question: Question<'a>) -> BoxFuture<'a, ChangeAnswer> {
        Box::pin(async move {
            let mut judged = self.put(Operation::Change, question).await;
            let word = match judged.verdict {
                Verdict::Success => ChangeWord::Done,
                Verdict::Denied => ChangeWord::Refused,
                Verdict::Challenge | Verdict::Unrecognised(_) => ChangeWord::Unrecognised,
                // What never went out has not happened: nothing of ours has to change either.
                Verdict::Unavailable(outage) if was_never_sent(outage) => ChangeWord::Refused,
                Verdict::Unavailable(_) => ChangeWord::Unavailable,
            };
            tracing::debug!(?change, ?word, "legacy was told of a change");
            let identity = self.who_if_done(&mut judged, question).await;
            ChangeAnswer { word, identity, relay: judged.relay() }
        })
    }

    fn relay<'a>(&'a self, request: &'a ClientRequest) -> BoxFuture<'a, Result<Relay, Outage>> {
        Box::pin(async move {
            let started = Instant::now();
            let bounds = Bounds { max_bytes: self.settings.max_relay_bytes, deadline: self.deadline() };
            let sent = match (self.upstream.admit(), request::client(request, self.upstream.base_path())) {
                (Ok(mut place), Ok(request)) => place.send(request, bounds).await,
                (Err(outage), _) => Err(outage),
                (Ok(_), Err(error)) => Err(cannot_compose(&error)),
            };
            let word = sent.as_ref().map_or_else(|outage| outage.as_str(), |_| "answered");
            self.count(Operation::Relay, word, started);
            sent.map(|received| Answer::new(received, Value::UNDEFINED).relay())
        })
    }
}

impl Judged<'_> {
    fn relay(&self) -> Option<Relay> {
        self.answer.as_ref().map(|answer| answer.relay())
    }
}

impl HttpBackend {
    pub(super) fn new(
        settings: LegacySettings,
        clients: Clients,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let places = settings.max_in_flight;
        let breaker = Some(Breaker::new(settings.breaker));
        let legacy = Exchange::new(clients.legacy, places, breaker, Arc::clone(&metrics), Arc::clone(&clock));
        // The app's own word, unjudged: a breaker of ours would only stand between it and its users.
        let upstream = Exchange::new(clients.upstream, places, None, Arc::clone(&metrics), clock);
        Self { settings, legacy, upstream, metrics }
    }

    /// Puts one question and judges the answer.
    async fn put<'a>(&'a self, operation: Operation, question: Question<'a>) -> Judged<'a> {
        let (started, deadline) = (Instant::now(), self.deadline());
        let unasked = |outage: Outage| Judged {
            verdict: Verdict::Unavailable(outage),
            answer: None,
            user: None,
            place: None,
            deadline,
        };
        let judged = match (self.legacy.admit(), self.inquiry(operation, question)) {
            (Err(outage), _) => unasked(outage),
            (Ok(_), Err(error)) => unasked(cannot_compose(&error)),
            (Ok(mut place), Ok(inquiry)) => {
                let bounds = Bounds { max_bytes: inquiry.max_bytes, deadline };
                match place.send(inquiry.request, bounds).await {
                    Err(outage) => unasked(outage),
                    Ok(received) => {
                        let answer = Answer::new(received, inquiry.asked);
                        let verdict = match inquiry.verdict {
                            Some(rules) => judge(rules, &answer, inquiry.asked_by),
                            None => Verdict::Unrecognised(Unrecognised::NoRule),
                        };
                        Judged { verdict, answer: Some(answer), user: inquiry.user, place: Some(place), deadline }
                    }
                }
            }
        };
        self.count(operation, word(judged.verdict), started);
        judged
    }

    fn inquiry<'a>(&'a self, operation: Operation, question: Question<'a>) -> Result<Inquiry<'a>, ComposeError> {
        match question.by {
            AskBy::Call => {
                let rules = match operation {
                    Operation::Login => self.settings.login.as_ref(),
                    Operation::Register => self.settings.register.as_ref(),
                    Operation::GetUser | Operation::Change | Operation::Relay => None,
                };
                let rules = rules.ok_or(ComposeError::NotConfigured(operation.as_str()))?;
                Ok(Inquiry {
                    request: request::compose(&rules.request, self.legacy.base_path(), &typed(question))?,
                    max_bytes: self.settings.max_answer_bytes,
                    verdict: Some(&rules.verdict),
                    user: Some(&rules.user),
                    asked_by: AskedBy::Call,
                    asked: asked(question, None),
                })
            }
            AskBy::Forward { route, request } => {
                let rules = self.settings.routes.get(route.0).and_then(Option::as_ref);
                Ok(Inquiry {
                    request: request::client(request, self.legacy.base_path())?,
                    max_bytes: self.settings.max_relay_bytes,
                    verdict: rules.map(|rules| &rules.verdict),
                    user: rules.and_then(|rules| rules.user.as_ref()),
                    asked_by: AskedBy::Forward,
                    asked: asked(question, Some(request)),
                })
            }
        }
    }

    /// Whom a yes was about: the answer says so itself, or `get_user` is asked, which sees the answer.
    async fn who(&self, judged: &mut Judged<'_>, question: Question<'_>) -> Result<LegacyIdentity, Unrecognised> {
        let (Some(answer), Some(user), Some(place)) = (&judged.answer, judged.user, &mut judged.place) else {
            return Err(Unrecognised::NoStableId);
        };
        if let UserSource::Answer(mapping) = user {
            match identity::read(mapping, answer, self.settings.identifiers) {
                Some(identity) => return Ok(identity),
                None if self.settings.get_user.is_none() => return Err(Unrecognised::NoStableId),
                None => {}
            }
        }
        let context = context! {
            login => question.login.map(RawIdentifier::as_str),
            fields => context(question.fields),
            answer => answer.context(),
        };
        match self.look_up(place, judged.deadline, context).await {
            UserAnswer::Found(Some(identity)) => {
                let by_answer = |rules: &UserRules| request::is_made_of_the_answer(&rules.request);
                let by_name = !self.settings.get_user.as_ref().is_some_and(by_answer);
                Ok(LegacyIdentity { told_by: if by_name { ToldBy::NameSearch } else { ToldBy::Owner }, ..*identity })
            }
            UserAnswer::Found(None) => Err(Unrecognised::NoStableId),
            UserAnswer::NotFound | UserAnswer::Unknown(_) => Err(Unrecognised::NoProfile),
        }
    }

    async fn who_if_done(&self, judged: &mut Judged<'_>, question: Question<'_>) -> Option<Box<LegacyIdentity>> {
        match judged.verdict {
            Verdict::Success => self.who(judged, question).await.ok().map(Box::new),
            Verdict::Denied | Verdict::Challenge | Verdict::Unrecognised(_) | Verdict::Unavailable(_) => None,
        }
    }

    /// Asks `get_user`, within the place and the time of the question that it belongs to.
    async fn look_up(&self, place: &mut Place<'_>, deadline: Instant, context: Value) -> UserAnswer {
        let started = Instant::now();
        let user = self.look_up_now(place, deadline, &context).await;
        let word = match &user {
            UserAnswer::Found(_) => "found",
            UserAnswer::NotFound => "not_found",
            UserAnswer::Unknown(outage) => outage.as_str(),
        };
        self.count(Operation::GetUser, word, started);
        user
    }

    async fn look_up_now(&self, place: &mut Place<'_>, deadline: Instant, context: &Value) -> UserAnswer {
        let Some(rules) = &self.settings.get_user else { return UserAnswer::Unknown(Outage::Template) };
        let request = match request::compose(&rules.request, self.legacy.base_path(), context) {
            Ok(request) => request,
            Err(error) => return UserAnswer::Unknown(cannot_compose(&error)),
        };
        let bounds = Bounds { max_bytes: self.settings.max_answer_bytes, deadline };
        let received = match place.send(request, bounds).await {
            Ok(received) => received,
            Err(outage) => return UserAnswer::Unknown(outage),
        };
        let login = context.get_attr("login").unwrap_or_default();
        let answer = Answer::new(received, context! { login => login });
        match judge_user(rules, &answer) {
            Knows::Found => {
                UserAnswer::Found(identity::read(&rules.user, &answer, self.settings.identifiers).map(Box::new))
            }
            Knows::NotFound => UserAnswer::NotFound,
            Knows::Unknown(outage) => UserAnswer::Unknown(outage),
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.settings.timeout).unwrap_or(now)
    }

    fn count(&self, operation: Operation, word: &'static str, started: Instant) {
        self.metrics.legacy_request(operation.as_str(), word, started.elapsed());
    }
}

/// Outages at which not one byte of a question can have reached legacy.
fn was_never_sent(outage: Outage) -> bool {
    match outage {
        Outage::BreakerOpen | Outage::TooManyInFlight | Outage::Connect | Outage::Tls | Outage::Template => true,
        Outage::Timeout
        | Outage::Broken
        | Outage::TooLarge
        | Outage::ServerError
        | Outage::RateLimited
        | Outage::Redirect
        | Outage::Unrecognised => false,
    }
}

fn cannot_compose(error: &ComposeError) -> Outage {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "a question to legacy could not be composed");
    Outage::Template
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Success => "accepted",
        Verdict::Denied => "denied",
        Verdict::Challenge => "challenge",
        Verdict::Unrecognised(why) => why.as_str(),
        Verdict::Unavailable(outage) => outage.as_str(),
    }
}

/// What the templates of a composed question see. The passwords are there as they were typed (R48).
fn typed(question: Question<'_>) -> Value {
    let mut typed = BTreeMap::from([("fields", context(question.fields))]);
    let texts = [
        ("login", question.login.map(RawIdentifier::as_str)),
        ("password", question.password.map(|password| password.expose())),
        ("new_password", question.new_password.map(|password| password.expose())),
    ];
    typed.extend(texts.into_iter().filter_map(|(name, text)| Some((name, Value::from(text?)))));
    Value::from_pairs(typed)
}

/// `request` as expressions see it: what was asked, without any password.
fn asked(question: Question<'_>, request: Option<&ClientRequest>) -> Value {
    let mut asked = BTreeMap::from([("fields", context(question.fields))]);
    if let Some(login) = question.login {
        asked.insert("login", Value::from(login.as_str()));
    }
    if let Some(request) = request {
        let target = &request.path_and_query;
        let pairs = form_urlencoded::parse(target.query().unwrap_or_default().as_bytes());
        asked.insert("path", Value::from(target.path()));
        asked.insert("query", Value::from_pairs(pairs.map(|(name, value)| (name.into_owned(), value.into_owned()))));
    }
    Value::from_pairs(asked)
}
