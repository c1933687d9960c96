//! One login, from who and what to the reply.
//!
//! ```text
//! login -> who answers? -> legacy:  relay, compare, save what is proven           (observe)
//!                       -> us:      lookup -> permit -> verify or ask -> reply    (migrate, retired)
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use super::legacy_word::{LoginQuestion, Told};
use super::ports::{
    AccountKey, AccountPermit, AttemptOutcome, ClientRequest, Found, Lookup, Outage, RouteIndex, StoreError,
    UserChange, Verification,
};
use super::reply::{Ours, Reply};
use super::saving::SaveReason;
use super::{Service, account_key, known, recheck};
use crate::domain::client_addr::ClientAddr;
use crate::domain::credential::Credential;
use crate::domain::identifier::{Candidates, RawIdentifier};
use crate::domain::login::{
    AfterLegacy, AfterLocal, AfterLookup, AskedBy, Known, LegacyWord, LocalSide, NotSaved, Recheck,
};
use crate::domain::mode::Answerer;
use crate::domain::outlook::{HashCheck, Outlook};
use crate::domain::password::Password;
use crate::domain::proof::{Authenticated, VerifiedUser};
use crate::domain::user::{User, Version};
use crate::telemetry::WithCauses;
use crate::telemetry::metrics::{Outcome, Source};

/// A login as the edge decoded it.
pub struct LoginRequest {
    /// Where it came from.
    pub client: ClientAddr,
    /// The route it came on.
    pub route: RouteIndex,
    /// The route's name, for counters.
    pub route_name: Arc<str>,
    /// The identifier as typed.
    pub login: String,
    /// The password as typed.
    pub password: Zeroizing<String>,
    /// The other fields of the body.
    pub fields: Value,
    /// How legacy is asked on this route.
    pub asked_by: AskedBy,
    /// The request as it may be sent on.
    pub request: Arc<ClientRequest>,
}

/// A login whose name and password can be looked at.
struct Attempt {
    client: ClientAddr,
    route: RouteIndex,
    route_name: Arc<str>,
    login: RawIdentifier,
    names: Candidates,
    password: Arc<Password>,
    fields: Arc<Value>,
    asked_by: AskedBy,
    request: Arc<ClientRequest>,
}

impl Attempt {
    fn question(&self, local: LocalSide, based_on: Version, reason: SaveReason) -> LoginQuestion {
        LoginQuestion {
            route: self.route,
            login: self.login.clone(),
            names: self.names.clone(),
            password: Arc::clone(&self.password),
            fields: Arc::clone(&self.fields),
            asked_by: self.asked_by,
            request: Arc::clone(&self.request),
            local,
            based_on,
            reason,
        }
    }
}

/// A reply that says how the attempt counts for the account.
struct Verdict {
    reply: Reply,
    counts: AttemptOutcome,
}

impl Service {
    /// Answers one login.
    pub async fn login(self: &Arc<Self>, request: LoginRequest) -> Reply {
        let route_name = Arc::clone(&request.route_name);
        let reply = self.answer_login(request).await;
        self.metrics.login(&route_name, reply.source, reply.outcome);
        tracing::info!(
            target: "authferry::audit",
            route = &*route_name, source = ?reply.source, outcome = reply.outcome.as_str(), user = reply.user(), "login"
        );
        reply
    }

    async fn answer_login(self: &Arc<Self>, request: LoginRequest) -> Reply {
        let typed = RawIdentifier::new(&request.login);
        let names = typed.as_ref().map(|login| self.policy.identifiers.candidates(login)).unwrap_or_default();
        let Some(answerer) = self.answerer_of(&names).await else { return Reply::send_on() };
        let (Ok(login), Ok(password)) = (typed, Password::new(request.password)) else {
            // Such a name or password belongs to nobody here, so answering at once tells nothing (R43, R49).
            return match answerer {
                Answerer::Legacy => Reply::send_on(),
                Answerer::LocalFirst | Answerer::LocalOnly => Reply::ours(Ours::Denied, Source::Edge),
            };
        };
        let attempt = Attempt {
            client: request.client,
            route: request.route,
            route_name: request.route_name,
            login,
            names,
            password: Arc::new(password),
            fields: Arc::new(request.fields),
            asked_by: request.asked_by,
            request: request.request,
        };
        match answerer {
            Answerer::Legacy => self.observe(attempt).await,
            Answerer::LocalFirst | Answerer::LocalOnly => self.answer(answerer, attempt).await,
        }
    }

    // ----------------------------------------------------------------------------------------------- migrate, retired

    async fn answer(self: &Arc<Self>, answerer: Answerer, attempt: Attempt) -> Reply {
        let Lookup { found, revision } = match self.store.find(&attempt.names).await {
            Ok(lookup) => lookup,
            Err(error) => return self.store_unreadable(&error),
        };
        let account = account_key(&found, &attempt.names);
        let permit = match self.accounts.admit(account.clone(), attempt.client).await {
            Ok(permit) => permit,
            Err(limited) => return Reply::ours(Ours::Limited(limited), Source::Edge),
        };
        // He may have come over while this login waited for its permit: then legacy need not be asked again.
        let (found, revision) = match self.outlook(answerer, &found).after_lookup() {
            AfterLookup::VerifyLocally | AfterLookup::DenyEqualized => (found, revision),
            AfterLookup::AskLegacy => match self.store.find(&attempt.names).await {
                Ok(Lookup { found, revision }) => (found, revision),
                Err(error) => {
                    permit.settle(AttemptOutcome::NoVerdict);
                    return self.store_unreadable(&error);
                }
            },
        };
        let outlook = self.outlook(answerer, &found);
        match (outlook.after_lookup(), found) {
            (AfterLookup::VerifyLocally, Found::One(user)) => {
                self.verify_locally(outlook, &attempt, user, revision, permit, &account).await
            }
            (AfterLookup::DenyEqualized, found) => {
                let denied = if matches!(found, Found::Nobody) { Ours::Unknown } else { Ours::Denied };
                let verdict = self.deny_equalized(&attempt, &permit, denied).await;
                permit.settle(verdict.counts);
                verdict.reply
            }
            (AfterLookup::AskLegacy | AfterLookup::VerifyLocally, _) => {
                let question = attempt.question(LocalSide::Open, revision, SaveReason::Login);
                self.by_legacy(question, None, permit).await.reply
            }
        }
    }

    fn recheck(&self, account: &AccountKey) -> Recheck {
        recheck(self.policy.on_mismatch, || self.accounts.take_recheck(account))
    }

    async fn deny_equalized(&self, attempt: &Attempt, permit: &AccountPermit, denied: Ours) -> Verdict {
        match self.hasher.equalize(permit, Arc::clone(&attempt.password)).await {
            Ok(()) => Verdict { reply: Reply::ours(denied, Source::Local), counts: AttemptOutcome::Failed },
            Err(_busy) => self.no_hash(),
        }
    }

    async fn verify_locally(
        self: &Arc<Self>,
        outlook: Outlook,
        attempt: &Attempt,
        user: Box<User>,
        revision: Version,
        permit: AccountPermit,
        account: &AccountKey,
    ) -> Reply {
        let verification = match self.hasher.verify(&permit, user, Arc::clone(&attempt.password)).await {
            Ok(verification) => verification,
            Err(_busy) => {
                permit.settle(AttemptOutcome::NoVerdict);
                return self.no_hash_now();
            }
        };
        let after = outlook.after_check(checked(&verification), || self.recheck(account));
        let verdict = match (after, verification) {
            (AfterLocal::Accept, Verification::Match(verified)) => self.accept(attempt, &verified).await,
            (AfterLocal::Revalidate, Verification::Match(verified)) => {
                let question = attempt.question(LocalSide::Verified, revision, SaveReason::Login);
                return self.by_legacy(question, Some(&verified), permit).await.reply;
            }
            (AfterLocal::AskLegacyAgain, _) => {
                let question = attempt.question(LocalSide::Open, revision, SaveReason::Recheck);
                let verdict = self.by_legacy(question, None, permit).await;
                if verdict.counts == AttemptOutcome::NoVerdict {
                    // An outage must not use the budget up, or it would end in "wrong password" (R82).
                    self.accounts.give_recheck_back(account);
                }
                return verdict.reply;
            }
            (AfterLocal::AlarmAndAskLegacy, _) => {
                self.alarm_unusable();
                let question = attempt.question(LocalSide::Open, revision, SaveReason::Replace);
                return self.by_legacy(question, None, permit).await.reply;
            }
            (AfterLocal::AlarmUnavailable, _) => {
                self.alarm_unusable();
                self.unavailable(Source::Local)
            }
            (AfterLocal::Deny, _) => {
                Verdict { reply: Reply::ours(Ours::Denied, Source::Local), counts: AttemptOutcome::Failed }
            }
            // A yes without a match cannot come out of the decision above; were it to, nobody gets in.
            (AfterLocal::Accept | AfterLocal::Revalidate, Verification::Mismatch(_) | Verification::Unusable(_)) => {
                self.unavailable(Source::Local)
            }
        };
        permit.settle(verdict.counts);
        verdict.reply
    }

    /// Our own yes; a hash of somebody else's making is replaced before the answer, one of older parameters after it.
    async fn accept(self: &Arc<Self>, attempt: &Attempt, verified: &VerifiedUser) -> Verdict {
        let user = verified.user();
        if self.hasher.is_outdated(&user.credential) {
            let (service, password, id, version) =
                (Arc::clone(self), Arc::clone(&attempt.password), user.id, user.version);
            let rehash = async move { service.rehash(id, version, password).await };
            match user.credential {
                Credential::Imported(_) => rehash.await,
                Credential::Argon2id(_) | Credential::Absent(_) => drop(self.background.run(rehash)),
            }
        }
        self.store.note_login(user.id, self.clock.wall());
        let who = Box::new(Authenticated::from(verified));
        Verdict { reply: Reply::ours(Ours::Ok(who), Source::Local), counts: AttemptOutcome::Succeeded }
    }

    /// Legacy's word as the answer. `verified` is there when our own check said yes and legacy was asked to confirm it. What the
    /// verdict counts as, the permit has been settled with by then.
    async fn by_legacy(
        self: &Arc<Self>,
        question: LoginQuestion,
        verified: Option<&VerifiedUser>,
        permit: AccountPermit,
    ) -> Verdict {
        let told = self.put_to_legacy(question, Some(permit)).await;
        let Some(told) = told else { return self.unavailable(Source::Legacy) };
        let reply = self.reply_by_legacy(&told, verified);
        Verdict { reply, counts: told.counts() }
    }

    fn reply_by_legacy(self: &Arc<Self>, told: &Told, verified: Option<&VerifiedUser>) -> Reply {
        if let (AfterLegacy::SaveAndAccept, Some(verified)) = (told.decision, verified) {
            let (service, id, version) = (Arc::clone(self), verified.user().id, verified.user().version);
            self.store.note_login(id, self.clock.wall());
            drop(self.background.run(async move { service.change_record(id, version, UserChange::Vouched).await }));
        }
        if let (AfterLegacy::Deny, Some(verified)) = (told.decision, verified) {
            // Legacy's no outlives this request: our yes must not come back when legacy cannot be asked.
            let (service, id, version) = (Arc::clone(self), verified.user().id, verified.user().version);
            drop(
                self.background.run(async move { service.change_record(id, version, UserChange::DropPassword).await }),
            );
        }
        match told.decision {
            // Disabled or deleted here, under a name that we did not know: legacy's yes, and the session that may be in it, end here.
            AfterLegacy::AcceptUnsaved(NotSaved::Closed) => Reply::ours(Ours::Denied, Source::Legacy),
            AfterLegacy::SaveAndAccept | AfterLegacy::AcceptUnsaved(NotSaved::OtherName | NotSaved::Unconfirmed) => {
                accepted(told)
            }
            AfterLegacy::AcceptLocally => match verified {
                Some(verified) => {
                    self.store.note_login(verified.user().id, self.clock.wall());
                    Reply::ours(Ours::Ok(Box::new(Authenticated::from(verified))), Source::Local)
                }
                None => self.unavailable(Source::Legacy).reply,
            },
            AfterLegacy::Deny => denied(told),
            AfterLegacy::Relay => match &told.relay {
                Some(relay) => Reply::legacys(relay.clone(), None, relayed_outcome(told.word)),
                None => self.unavailable(Source::Legacy).reply,
            },
            AfterLegacy::Unavailable => self.unavailable(Source::Legacy).reply,
        }
    }

    // -------------------------------------------------------------------------------------------------------- observe

    /// Legacy answers; what it proves is saved, and what we would have said is compared with what it says.
    async fn observe(self: &Arc<Self>, attempt: Attempt) -> Reply {
        // Nothing of ours may stand in the way here: a store that cannot be read costs the comparison, not the login.
        let lookup = self.store.find(&attempt.names).await.ok();
        match attempt.asked_by {
            AskedBy::Forward => {
                let Some(told) = self.learn(&attempt, lookup).await else {
                    return self.unavailable(Source::Legacy).reply;
                };
                match (&told.relay, told.outage) {
                    // Nothing was sent: observing must not be what stands between a client and legacy.
                    (None, outage) if was_not_sent(outage) => Reply::send_on(),
                    (Some(relay), _) => Reply::legacys(relay.clone(), shadow(&told), relayed_outcome(told.word)),
                    (None, _) => self.unavailable(Source::Legacy).reply,
                }
            }
            AskedBy::Call => self.observe_beside(attempt, lookup).await,
        }
    }

    /// A route whose rules judge a composed call: the app's own answer goes to the client, and where that answer may be a yes, the
    /// call tells whether it was.
    async fn observe_beside(self: &Arc<Self>, attempt: Attempt, lookup: Option<Lookup>) -> Reply {
        let relay = match self.legacy.relay(&attempt.request).await {
            Ok(relay) => relay,
            Err(outage) if was_not_sent(Some(outage)) => return Reply::send_on(),
            Err(_outage) => return self.unavailable(Source::Legacy).reply,
        };
        if is_no_such_route(relay.status()) {
            // The app does not answer on this path itself, so legacy's word is rendered by us.
            let Some(told) = self.learn(&attempt, lookup).await else { return self.unavailable(Source::Legacy).reply };
            return match told.decision {
                AfterLegacy::SaveAndAccept | AfterLegacy::AcceptUnsaved(_) => accepted(&told),
                AfterLegacy::Deny => denied(&told),
                AfterLegacy::Relay | AfterLegacy::Unavailable | AfterLegacy::AcceptLocally => match &told.relay {
                    Some(challenge) if told.word == LegacyWord::Challenge => {
                        Reply::legacys(challenge.clone(), None, Outcome::Challenge)
                    }
                    Some(_) | None => self.unavailable(Source::Legacy).reply,
                },
            };
        }
        if relay.status().is_client_error() || relay.status().is_server_error() {
            // No app says yes with such a status; a second question would only count twice against legacy's own lockout.
            return Reply::legacys(relay, None, Outcome::Denied);
        }
        let told = self.learn(&attempt, lookup).await;
        let outcome = told.as_ref().map_or(Outcome::Unrecognised, |told| relayed_outcome(told.word));
        Reply::legacys(relay, told.as_deref().and_then(shadow), outcome)
    }

    /// Puts the login to legacy, compares, and has what is new saved.
    async fn learn(self: &Arc<Self>, attempt: &Attempt, lookup: Option<Lookup>) -> Option<Arc<Told>> {
        let revision = lookup.as_ref().map_or(Version(0), |lookup| lookup.revision);
        let nobody = Found::Nobody;
        let found = lookup.as_ref().map_or(&nobody, |lookup| &lookup.found);
        let outlook = self.outlook(Answerer::Legacy, found);
        let account = lookup.as_ref().map(|lookup| account_key(&lookup.found, &attempt.names));
        let here = lookup.as_ref().and_then(|lookup| match &lookup.found {
            Found::One(user) => user.legacy_id.clone().map(|legacy_id| (user.id, legacy_id)),
            Found::Nobody | Found::Ambiguous => None,
        });
        let local = self.compare_locally(attempt, lookup).await;
        let side = outlook.observed_side(local.check());
        let told = self.put_to_legacy(attempt.question(side, revision, SaveReason::Login), None).await?;
        if let (AfterLegacy::SaveAndAccept, Some(account)) = (told.decision, &account) {
            self.accounts.welcome(account, attempt.client);
        }
        // Whoever is saved is noted with the save.
        if let (AfterLegacy::SaveAndAccept, LocalSide::Verified, Some((id, legacy_id)), Some(accepted)) =
            (told.decision, side, &here, &told.accepted)
            && accepted.identity().id == *legacy_id
        {
            self.store.note_login(*id, self.clock.wall());
        }
        self.metrics.comparison(&attempt.route_name, local.as_str(), legacy_cell(told.word));
        Some(told)
    }

    /// What we would have said of the password, for comparison only.
    async fn compare_locally(&self, attempt: &Attempt, lookup: Option<Lookup>) -> Compared {
        let Some(Lookup { found, .. }) = lookup else { return Compared::Absent };
        let account = account_key(&found, &attempt.names);
        match (known(&found), found) {
            (Known::Active, Found::One(user)) => {
                // Under attack the comparison is dropped, so that observing costs no unbounded hashing.
                let Ok(permit) = self.accounts.admit(account, attempt.client).await else { return Compared::Absent };
                let compared = match self.hasher.verify(&permit, user, Arc::clone(&attempt.password)).await {
                    Ok(Verification::Match(_)) => Compared::Match,
                    Ok(Verification::Mismatch(_)) => Compared::Mismatch,
                    Ok(Verification::Unusable(_)) => Compared::Unusable,
                    Err(_busy) => Compared::Absent,
                };
                permit.settle(match compared {
                    Compared::Match => AttemptOutcome::Succeeded,
                    Compared::Mismatch => AttemptOutcome::Failed,
                    Compared::Unusable | Compared::Absent => AttemptOutcome::NoVerdict,
                });
                compared
            }
            (Known::Active | Known::Nobody | Known::Ambiguous | Known::WithoutPassword, _)
            | (Known::Disabled | Known::Deleted, _) => Compared::Absent,
        }
    }

    // --------------------------------------------------------------------------------------------------------- shared

    /// 503 in the route's shape; no failure counted (R82).
    fn unavailable(&self, source: Source) -> Verdict {
        let reply = Reply::ours(Ours::Unavailable(self.policy.retry_after), source);
        Verdict { reply, counts: AttemptOutcome::NoVerdict }
    }

    /// The same where no hash could be computed: who was shed is told when the queue will have room.
    fn no_hash(&self) -> Verdict {
        Verdict { reply: self.no_hash_now(), counts: AttemptOutcome::NoVerdict }
    }

    pub(crate) fn no_hash_now(&self) -> Reply {
        Reply::ours(Ours::Unavailable(self.hasher.retry_after()), Source::Local)
    }

    /// What is settled of a login that found this.
    fn outlook(&self, answerer: Answerer, found: &Found) -> Outlook {
        let user = match found {
            Found::One(user) => Some(&**user),
            Found::Nobody | Found::Ambiguous => None,
        };
        Outlook::new(answerer, known(found), user, self.policy.revalidate_after, self.clock.wall())
    }

    fn alarm_unusable(&self) {
        self.metrics.alarm("unusable_hash");
        tracing::error!("a stored hash cannot be read; this is never taken for a wrong password");
    }

    /// Notes that the store could not be read, for a request that is no login; tells how long the client should wait.
    pub fn unanswered(&self, error: &StoreError) -> Duration {
        drop(self.store_unreadable(error));
        self.policy.retry_after
    }

    pub(crate) fn store_unreadable(&self, error: &StoreError) -> Reply {
        self.metrics.alarm("store");
        tracing::error!(error = %WithCauses(error), "the store cannot be read");
        self.unavailable(Source::Local).reply
    }
}

/// What a local check would have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    Match,
    Mismatch,
    Unusable,
    Absent,
}

impl Compared {
    fn check(self) -> Option<HashCheck> {
        match self {
            Self::Match => Some(HashCheck::Match),
            Self::Mismatch => Some(HashCheck::Mismatch),
            Self::Unusable => Some(HashCheck::Unusable),
            Self::Absent => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::Unusable => "unusable",
            Self::Absent => "absent",
        }
    }
}

/// The check without whom it was about.
fn checked(verification: &Verification) -> HashCheck {
    match verification {
        Verification::Match(_) => HashCheck::Match,
        Verification::Mismatch(_) => HashCheck::Mismatch,
        Verification::Unusable(_) => HashCheck::Unusable,
    }
}

fn legacy_cell(word: LegacyWord) -> &'static str {
    match word {
        LegacyWord::Accepted(_) => "accepted",
        LegacyWord::Denied => "denied",
        LegacyWord::Challenge => "challenge",
        LegacyWord::Unrecognised => "unrecognised",
        LegacyWord::Unavailable => "unavailable",
    }
}

fn relayed_outcome(word: LegacyWord) -> Outcome {
    match word {
        LegacyWord::Accepted(_) => Outcome::Ok,
        LegacyWord::Denied => Outcome::Denied,
        LegacyWord::Challenge => Outcome::Challenge,
        LegacyWord::Unrecognised => Outcome::Unrecognised,
        LegacyWord::Unavailable => Outcome::Unavailable,
    }
}

fn shadow(told: &Told) -> Option<Box<Authenticated>> {
    told.accepted.as_ref().map(|accepted| Box::new(Authenticated::from(accepted)))
}

/// Legacy's yes: its own answer where the client's request went there, ours where we composed the question.
fn accepted(told: &Told) -> Reply {
    match (told.asked_by, &told.relay, shadow(told)) {
        (AskedBy::Forward, Some(relay), shadow) => Reply::legacys(relay.clone(), shadow, Outcome::Ok),
        (AskedBy::Call | AskedBy::Forward, _, Some(who)) => Reply::ours(Ours::Ok(who), Source::Legacy),
        // An acceptance without an identity cannot be made; nobody gets in on one.
        (AskedBy::Call | AskedBy::Forward, _, None) => Reply::ours(Ours::Denied, Source::Legacy),
    }
}

/// Legacy's no, in the same way. To a composed question it is answered like every other no of ours, to the byte (R59).
fn denied(told: &Told) -> Reply {
    match (told.asked_by, &told.relay) {
        (AskedBy::Forward, Some(relay)) => Reply::legacys(relay.clone(), None, Outcome::Denied),
        (AskedBy::Call | AskedBy::Forward, _) => Reply::ours(Ours::Denied, Source::Legacy),
    }
}

/// Whether a question was not even tried.
fn was_not_sent(outage: Option<Outage>) -> bool {
    matches!(outage, Some(Outage::BreakerOpen | Outage::TooManyInFlight))
}

fn is_no_such_route(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 404 | 405 | 501)
}
