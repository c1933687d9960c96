//! One registration. The order is the rule: policy, our store, legacy's store, and only then a write.

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use super::legacy_word::LoginQuestion;
use super::ports::{
    AskBy, ClientRequest, ClientStanding, Inserted, LegacySide, Lookup, NewUser, Question, RegisterAnswer, Relay,
    RouteIndex,
};
use super::reply::{Ours, Reply};
use super::saving::SaveReason;
use super::{Service, account_key};
use crate::domain::client_addr::ClientAddr;
use crate::domain::identifier::{Candidates, Identifier, IdentifierKind, RawIdentifier};
use crate::domain::login::{AfterLegacy, AskedBy, LocalSide};
use crate::domain::mode::Answerer;
use crate::domain::password::Password;
use crate::domain::proof::{Authenticated, LegacyIdentity, Naming, ToldBy, UserView};
use crate::domain::registration::{
    AfterAsked, AfterCreated, AfterTaken, AtLegacy, CreateWord, WriteTo, after_asked, after_created, after_taken,
};
use crate::domain::user::{LegacyId, Version};
use crate::telemetry::metrics::{Outcome, Source};

/// A registration as the edge decoded it.
pub struct RegisterRequest {
    /// Where it came from.
    pub client: ClientAddr,
    /// The route it came on.
    pub route: RouteIndex,
    /// The route's name, for counters.
    pub route_name: Arc<str>,
    /// The name to log in with, as typed.
    pub login: String,
    /// Further names, each of a known kind.
    pub names: Vec<(IdentifierKind, String)>,
    /// The new password as typed.
    pub password: Zeroizing<String>,
    /// What becomes the profile, less every password.
    pub profile: Value,
    /// The other fields of the body.
    pub fields: Value,
    /// How legacy is asked on this route.
    pub asked_by: AskedBy,
    /// Where it is written.
    pub write: WriteTo,
    /// The request as it may be sent on.
    pub request: Arc<ClientRequest>,
}

/// A registration whose names and password can be looked at.
#[derive(Clone)]
struct Applicant {
    client: ClientAddr,
    route: RouteIndex,
    login: RawIdentifier,
    /// Each name once, with everything that it may be typed for.
    names: Vec<(RawIdentifier, Candidates)>,
    identifiers: Vec<Identifier>,
    password: Arc<Password>,
    profile: Value,
    fields: Arc<Value>,
    asked_by: AskedBy,
    write: WriteTo,
    request: Arc<ClientRequest>,
}

impl Applicant {
    fn as_question(&self) -> Question<'_> {
        let by = AskBy::of(self.asked_by, self.route, &self.request);
        Question {
            login: Some(&self.login),
            password: Some(&self.password),
            new_password: None,
            fields: &self.fields,
            by,
        }
    }
}

impl Service {
    /// Answers one registration.
    pub async fn register(self: &Arc<Self>, request: RegisterRequest) -> Reply {
        let route_name = Arc::clone(&request.route_name);
        let reply = self.answer_registration(request).await;
        self.metrics.registration(&route_name, reply.source, reply.outcome);
        tracing::info!(
            target: "authferry::audit",
            route = &*route_name, source = ?reply.source, outcome = reply.outcome.as_str(), user = reply.user(),
            "registration"
        );
        reply
    }

    async fn answer_registration(self: &Arc<Self>, request: RegisterRequest) -> Reply {
        let login = RawIdentifier::new(&request.login);
        let names = login.map(|login| self.policy.identifiers.candidates(&login)).unwrap_or_default();
        let Some(answerer) = self.answerer_of(&names).await else { return Reply::send_on() };
        let applicant = match self.applicant(request) {
            Ok(applicant) => applicant,
            Err(refused) => {
                return match answerer {
                    Answerer::Legacy => Reply::send_on(),
                    Answerer::LocalFirst | Answerer::LocalOnly => Reply::ours(refused, Source::Edge),
                };
            }
        };
        if answerer != Answerer::Legacy
            && let Err(weak) = self.policy.passwords.check(&applicant.password)
        {
            return Reply::ours(Ours::TooWeak(weak), Source::Edge);
        }
        let taken = match (answerer, self.any_taken(&applicant).await) {
            (Answerer::Legacy, taken) => taken.unwrap_or(false),
            (Answerer::LocalFirst | Answerer::LocalOnly, Ok(taken)) => taken,
            (Answerer::LocalFirst | Answerer::LocalOnly, Err(error)) => return self.store_unreadable(&error),
        };
        match after_taken(answerer, taken) {
            AfterTaken::Exists => Reply::ours(Ours::Exists, Source::Local),
            AfterTaken::Insert => self.insert(applicant, None).await,
            AfterTaken::RelayAndLearn => self.relay_and_learn(applicant).await,
            AfterTaken::AskLegacy => {
                let at_legacy = self.at_legacy(&applicant).await;
                match after_asked(at_legacy, applicant.write) {
                    AfterAsked::Exists => Reply::ours(Ours::Exists, Source::Legacy),
                    AfterAsked::Unavailable => self.cannot_register(),
                    AfterAsked::Insert => self.insert(applicant, None).await,
                    AfterAsked::CreateAtLegacy => self.create_at_legacy(applicant, at_legacy).await,
                }
            }
        }
    }

    /// Takes the names apart; refuses what can identify nobody.
    fn applicant(&self, request: RegisterRequest) -> Result<Applicant, Ours> {
        let rules = self.policy.identifiers;
        let login = RawIdentifier::new(&request.login).map_err(|_| Ours::BadName)?;
        let password = Password::new(request.password).map_err(|_| Ours::BadName)?;
        let mut names = vec![(login.clone(), rules.candidates(&login))];
        let mut identifiers = Vec::new();
        for (kind, name) in &request.names {
            let raw = RawIdentifier::new(name).map_err(|_| Ours::BadName)?;
            identifiers.push(rules.identifier(*kind, name, None).map_err(|_| Ours::BadName)?);
            if raw != login {
                let candidates = rules.candidates(&raw);
                names.push((raw, candidates));
            }
        }
        let names_login = |alias: &Identifier| names.iter().any(|(_, keys)| keys.keys().contains(&alias.normalized));
        let login_is_named = identifiers.iter().any(|alias| *alias.value == *login.as_str() && names_login(alias));
        if !login_is_named {
            let kind = rules.candidates(&login).keys().first().map_or(IdentifierKind::Username, |key| key.kind());
            identifiers.insert(0, rules.identifier(kind, login.as_str(), None).map_err(|_| Ours::BadName)?);
        }
        Ok(Applicant {
            client: request.client,
            route: request.route,
            login,
            names,
            identifiers,
            password: Arc::new(password),
            profile: request.profile,
            fields: Arc::new(request.fields),
            asked_by: request.asked_by,
            write: request.write,
            request: request.request,
        })
    }

    async fn any_taken(&self, applicant: &Applicant) -> Result<bool, super::ports::StoreError> {
        for (_, candidates) in &applicant.names {
            if self.is_taken(candidates).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether legacy knows any of the names: one that it knows is enough to refuse, one that it cannot tell to wait.
    async fn at_legacy(&self, applicant: &Applicant) -> AtLegacy {
        if !self.legacy.can_get_user() {
            return AtLegacy::NotAsked;
        }
        for (name, _) in &applicant.names {
            match self.legacy.get_user(name).await.at_legacy() {
                AtLegacy::NotFound => {}
                other @ (AtLegacy::Found | AtLegacy::Unknown | AtLegacy::NotAsked) => return other,
            }
        }
        AtLegacy::NotFound
    }

    /// Writes the user to our store: insert-if-absent, one durable commit.
    async fn insert(self: &Arc<Self>, applicant: Applicant, legacy: Option<LegacySide>) -> Reply {
        let service = Arc::clone(self);
        // Run to its end whatever becomes of the client: a name is registered or it is not (R91).
        let task = self.background.run(async move { service.insert_now(&applicant, legacy).await });
        match task {
            Some(task) => task.await.unwrap_or_else(|_died| self.cannot_register()),
            None => self.cannot_register(),
        }
    }

    async fn insert_now(&self, applicant: &Applicant, legacy: Option<LegacySide>) -> Reply {
        // Anybody can register; whom legacy has taken must not be lost here.
        let standing = if legacy.is_some() { ClientStanding::Known } else { ClientStanding::Unknown };
        let Ok(hash) = self.hasher.hash(standing, Arc::clone(&applicant.password)).await else {
            return self.no_hash_now();
        };
        let new = NewUser {
            identifiers: applicant.identifiers.clone(),
            must_be_free: applicant.names.iter().flat_map(|(_, keys)| keys.keys().to_vec()).collect(),
            profile: applicant.profile.clone(),
            hash,
            legacy,
            at: self.clock.wall(),
        };
        match self.store.insert_new(new).await {
            Ok(Inserted::Inserted(on_disk, user)) => {
                self.metrics.migration(SaveReason::Registration.as_str());
                tracing::info!(target: "authferry::audit", user = %user.id, "registered");
                let who = Authenticated::by_registration(on_disk, UserView::of(&user));
                Reply::ours(Ours::Ok(Box::new(who)), Source::Local)
            }
            Ok(Inserted::Exists) => Reply::ours(Ours::Exists, Source::Local),
            Err(error) => {
                self.store_failed("a registration was not saved", &error);
                self.cannot_register()
            }
        }
    }

    /// `write = "legacy_first"`: legacy creates the user, then we do. From here on legacy's word is the client's answer: he is
    /// registered there, whether our own save succeeds or not (R90).
    async fn create_at_legacy(self: &Arc<Self>, applicant: Applicant, just_before: AtLegacy) -> Reply {
        let RegisterAnswer { word, identity, relay } = self.legacy.register(applicant.as_question()).await;
        match (after_created(word, just_before), word) {
            (AfterCreated::Save, _) if applicant.is_another(identity.as_deref()) => {
                self.other_profile();
                match (relay, applicant.asked_by) {
                    (Some(relay), AskedBy::Forward) => Reply::legacys(relay, None, Outcome::Unrecognised),
                    (_, AskedBy::Call | AskedBy::Forward) => self.cannot_register(),
                }
            }
            (AfterCreated::Save, _) => {
                let side = LegacySide { id: applicant.own_id(identity.as_deref()) };
                let applicant = applicant.told_by(identity);
                let (asked_by, again) = (applicant.asked_by, applicant.clone());
                let saved = self.insert(applicant, Some(side)).await;
                match (relay, asked_by) {
                    (Some(relay), AskedBy::Forward) => {
                        let shadow = match saved.answer {
                            super::reply::Answer::Ours(Ours::Ok(who)) => Some(who),
                            super::reply::Answer::Ours(_)
                            | super::reply::Answer::Legacys { .. }
                            | super::reply::Answer::SendOn => None,
                        };
                        Reply::legacys(relay, shadow, Outcome::Ok)
                    }
                    (_, AskedBy::Call | AskedBy::Forward) if saved.outcome == Outcome::Ok => saved,
                    // He is registered there, and a login shows who he is.
                    (_, AskedBy::Call | AskedBy::Forward) => self.confirm_created(again, None).await,
                }
            }
            (AfterCreated::ConfirmByLogin, _) => self.confirm_created(applicant, relay).await,
            (AfterCreated::SaveNothing, CreateWord::Refused) => match (relay, applicant.asked_by) {
                (Some(relay), AskedBy::Forward) => Reply::legacys(relay, None, Outcome::Exists),
                // What legacy says to a question of ours is between the two of us.
                (_, AskedBy::Call | AskedBy::Forward) => Reply::ours(Ours::Exists, Source::Legacy),
            },
            (AfterCreated::SaveNothing, _) => match (relay, applicant.asked_by) {
                (Some(relay), AskedBy::Forward) => Reply::legacys(relay, None, Outcome::Unrecognised),
                (_, AskedBy::Call | AskedBy::Forward) => self.cannot_register(),
            },
        }
    }

    /// Legacy claims that it created him, and nobody could say before whether the name was free: a login with the new password
    /// tells, and saves him. Where it cannot be asked, the first login will bring him.
    async fn confirm_created(self: &Arc<Self>, applicant: Applicant, relay: Option<Relay>) -> Reply {
        let asked_by = applicant.asked_by;
        let confirmed = self.confirm(applicant).await;
        match (relay, asked_by) {
            (Some(relay), AskedBy::Forward) => Reply::legacys(relay, confirmed, Outcome::Ok),
            (_, AskedBy::Call | AskedBy::Forward) => match confirmed {
                Some(who) => Reply::ours(Ours::Ok(who), Source::Legacy),
                None => self.cannot_register(),
            },
        }
    }

    /// Whom a login with the new password proves, saving him.
    async fn confirm(self: &Arc<Self>, applicant: Applicant) -> Option<Box<Authenticated>> {
        if !self.legacy.can_call_login() {
            return None;
        }
        let names = self.policy.identifiers.candidates(&applicant.login);
        let Lookup { found, revision } = self.store.find(&names).await.ok()?;
        // A login like any other: whoever guesses passwords by registering is counted for it.
        let permit = self.accounts.admit(account_key(&found, &names), applicant.client).await.ok()?;
        let told = self.put_to_legacy(applicant.login_question(revision), Some(permit)).await?;
        let named = matches!(told.decision, AfterLegacy::SaveAndAccept);
        told.accepted.as_ref().filter(|_| named).map(|accepted| Box::new(Authenticated::from(accepted)))
    }

    /// Observing: legacy answers. What it claims to have created is saved only if the name was free just before, or a login
    /// with the new password is accepted (R78a).
    async fn relay_and_learn(self: &Arc<Self>, applicant: Applicant) -> Reply {
        let just_before = match applicant.asked_by {
            AskedBy::Forward => self.at_legacy(&applicant).await,
            AskedBy::Call => AtLegacy::NotAsked,
        };
        let (word, identity, relay) = match applicant.asked_by {
            AskedBy::Forward => {
                let RegisterAnswer { word, identity, relay } = self.legacy.register(applicant.as_question()).await;
                (word, identity, relay)
            }
            // The rules of a composed call do not judge the app's own answer; a status that no app refuses with may be a yes,
            // which a login then has to prove.
            AskedBy::Call => match self.legacy.relay(&applicant.request).await {
                Ok(relay) if relay.status().is_success() || relay.status().is_redirection() => {
                    (CreateWord::Created, None, Some(relay))
                }
                Ok(relay) => (CreateWord::Refused, None, Some(relay)),
                Err(_outage) => (CreateWord::Unavailable, None, None),
            },
        };
        match after_created(word, just_before) {
            AfterCreated::Save if applicant.is_another(identity.as_deref()) => self.other_profile(),
            AfterCreated::Save => {
                let side = LegacySide { id: applicant.own_id(identity.as_deref()) };
                drop(self.insert(applicant.told_by(identity), Some(side)).await);
            }
            AfterCreated::ConfirmByLogin => drop(self.confirm(applicant).await),
            AfterCreated::SaveNothing => {}
        }
        match relay {
            Some(relay) => {
                let outcome = match word {
                    CreateWord::Created => Outcome::Ok,
                    CreateWord::Refused => Outcome::Exists,
                    CreateWord::Unrecognised => Outcome::Unrecognised,
                    CreateWord::Unavailable => Outcome::Unavailable,
                };
                Reply::legacys(relay, None, outcome)
            }
            None => self.cannot_register(),
        }
    }

    fn other_profile(&self) {
        self.metrics.migration_failure("other_profile");
        self.metrics.alarm("other_profile");
        tracing::warn!("legacy answered a registration with the profile of another name; nothing was saved");
    }

    fn cannot_register(&self) -> Reply {
        Reply::ours(Ours::Unavailable(self.policy.retry_after), Source::Legacy)
    }
}

impl Applicant {
    /// Whether legacy's answer is about somebody else than who registered.
    fn is_another(&self, identity: Option<&LegacyIdentity>) -> bool {
        identity.is_some_and(|identity| {
            let namings: Vec<Naming> = self.names.iter().map(|(_, keys)| identity.naming(keys)).collect();
            !namings.contains(&Naming::Named) && namings.contains(&Naming::OtherName)
        })
    }

    /// The id that legacy gave him: told under a name that he registered, or in the answer to his own request.
    fn own_id(&self, identity: Option<&LegacyIdentity>) -> Option<LegacyId> {
        let identity = identity?;
        let named = self.names.iter().any(|(_, keys)| identity.naming(keys) == Naming::Named);
        (named || identity.told_by == ToldBy::Owner).then(|| identity.id.clone())
    }

    /// Takes legacy's own names and profile over, where its answer bears the name that was registered.
    fn told_by(mut self, identity: Option<Box<LegacyIdentity>>) -> Self {
        if let Some(identity) = identity
            && self.names.iter().any(|(_, keys)| identity.naming(keys) == Naming::Named)
        {
            self.identifiers = identity.identifiers;
            self.profile = identity.profile;
        }
        self
    }

    /// The confirming login: always composed, since the client's own request was a registration.
    fn login_question(&self, based_on: Version) -> LoginQuestion {
        let names = self.names.iter().find(|(raw, _)| *raw == self.login).map(|(_, keys)| keys.clone());
        LoginQuestion {
            route: self.route,
            login: self.login.clone(),
            names: names.unwrap_or_default(),
            password: Arc::clone(&self.password),
            fields: Arc::clone(&self.fields),
            asked_by: AskedBy::Call,
            request: Arc::clone(&self.request),
            local: LocalSide::Open,
            based_on,
            reason: SaveReason::Registration,
        }
    }
}
