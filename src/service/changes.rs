//! The rest of a password's life: changes, resets and deletions, carried out by legacy while it lives, by us afterwards, and for
//! users whom legacy has never known.
//!
//! What legacy says it did is applied to our record only for a user whom something proves: the identity in legacy's answer, a token
//! that verifies, or a login with the new password. The name in the request's body proves nothing: a legacy that goes by its session would
//! change one account while the body names another.

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use super::legacy_word::LoginQuestion;
use super::ports::{
    AccountKey, AskBy, AttemptOutcome, ChangeAnswer, ClientRequest, ClientStanding, Found, Question, RouteIndex,
    Tokens, Updated, UserChange, Verification,
};
use super::reply::{Ours, Reply};
use super::saving::SaveReason;
use super::{Service, account_key};
use crate::domain::client_addr::ClientAddr;
use crate::domain::identifier::{Candidates, RawIdentifier};
use crate::domain::login::{AskedBy, LocalSide};
use crate::domain::mode::Answerer;
use crate::domain::password::Password;
use crate::domain::password_life::{Apply, Change, ChangeWord, NewPassword, Whose, apply};
use crate::domain::proof::{ToldBy, VerifiedUser};
use crate::domain::user::{Standing, User, Version};
use crate::telemetry::metrics::{Outcome, Source};

/// How often a record that keeps changing is tried again.
const MAX_RETRIES: usize = 3;

/// A change as the edge decoded it.
pub struct ChangeRequest {
    /// Where it came from.
    pub client: ClientAddr,
    /// The route it came on.
    pub route: RouteIndex,
    /// The route's name, for counters.
    pub route_name: Arc<str>,
    /// What is asked.
    pub change: Change,
    /// Whose account the body names.
    pub login: Option<String>,
    /// The current password.
    pub password: Option<Zeroizing<String>>,
    /// The new password.
    pub new_password: Option<Zeroizing<String>>,
    /// The token that the client is logged in with.
    pub token: Option<String>,
    /// The other fields of the body.
    pub fields: Value,
    /// The request as it may be sent on.
    pub request: Arc<ClientRequest>,
}

/// A change whose parts can be looked at.
struct Asked {
    client: ClientAddr,
    route: RouteIndex,
    change: Change,
    login: Option<RawIdentifier>,
    names: Candidates,
    password: Option<Arc<Password>>,
    new_password: Option<Arc<Password>>,
    fields: Arc<Value>,
    request: Arc<ClientRequest>,
}

/// Whom a change seems to concern, and how sure that is.
struct Subject {
    /// Whom the body names.
    named: Option<Box<User>>,
    /// Whose token it is, if the body names him or nobody.
    proven: Option<Box<User>>,
    /// Whose token it is, if the body names somebody else: an operator who acts on another's account, or a legacy that goes by its session
    /// whatever the body says. Nobody can tell which of the two was changed.
    bystander: Option<Box<User>>,
}

impl Service {
    /// Answers one change, reset or deletion.
    pub async fn change(self: &Arc<Self>, tokens: Option<&dyn Tokens>, request: ChangeRequest) -> Reply {
        let route_name = Arc::clone(&request.route_name);
        let reply = self.answer_change(tokens, request).await;
        self.metrics.change(&route_name, reply.source, reply.outcome);
        tracing::info!(
            target: "authferry::audit",
            route = &*route_name, source = ?reply.source, outcome = reply.outcome.as_str(), "change"
        );
        reply
    }

    async fn answer_change(self: &Arc<Self>, tokens: Option<&dyn Tokens>, request: ChangeRequest) -> Reply {
        let login = request.login.as_deref().and_then(|login| RawIdentifier::new(login).ok());
        let names = login.as_ref().map(|login| self.policy.identifiers.candidates(login)).unwrap_or_default();
        let Some(answerer) = self.answerer_of(&names).await else { return Reply::send_on() };
        let names_nobody = request.login.as_deref().is_none_or(str::is_empty);
        let subject = match self.subject(tokens, request.token.as_deref(), &names, names_nobody).await {
            Ok(subject) => subject,
            Err(error) => return self.store_unreadable(&error),
        };
        let asked = Asked {
            client: request.client,
            route: request.route,
            change: request.change,
            login,
            names,
            password: request.password.and_then(|typed| Password::new(typed).ok()).map(Arc::new),
            new_password: request.new_password.and_then(|typed| Password::new(typed).ok()).map(Arc::new),
            fields: Arc::new(request.fields),
            request: request.request,
        };
        let ours_alone =
            subject.proven.as_ref().or(subject.named.as_ref()).is_some_and(|user| user.is_unknown_to_legacy());
        match answerer {
            Answerer::LocalOnly => self.change_here(asked, subject).await,
            Answerer::LocalFirst if ours_alone => self.change_here(asked, subject).await,
            Answerer::LocalFirst | Answerer::Legacy => self.change_at_legacy(answerer, asked, subject).await,
        }
    }

    async fn subject(
        &self,
        tokens: Option<&dyn Tokens>,
        token: Option<&str>,
        names: &Candidates,
        names_nobody: bool,
    ) -> Result<Subject, super::ports::StoreError> {
        let proven = match (tokens, token) {
            (Some(tokens), Some(token)) => self.user_of(tokens, token).await?.map(Box::new),
            (None, _) | (_, None) => None,
        };
        let named = match self.store.find(names).await?.found {
            Found::One(user) => Some(user),
            Found::Nobody | Found::Ambiguous => None,
        };
        let is_his =
            |user: &User| names_nobody || user.identifiers.iter().any(|alias| names.keys().contains(&alias.normalized));
        let (proven, bystander) = match proven {
            Some(user) if is_his(&user) => (Some(user), None),
            other => (None, other),
        };
        Ok(Subject { named, proven, bystander })
    }

    // ------------------------------------------------------------------------------------------------------ at legacy

    async fn change_at_legacy(self: &Arc<Self>, answerer: Answerer, asked: Asked, subject: Subject) -> Reply {
        let mut permits = Vec::new();
        for GuessedAt { account, is_surely_his } in guessed_at(answerer, &asked, &subject) {
            match self.accounts.admit(account, asked.client).await {
                Ok(permit) => permits.push((permit, is_surely_his)),
                Err(limited) => {
                    // Those before it were not even tried.
                    permits.into_iter().for_each(|(permit, _)| permit.settle(AttemptOutcome::NoVerdict));
                    return Reply::ours(Ours::Limited(limited), Source::Edge);
                }
            }
        }
        let service = Arc::clone(self);
        // What legacy did has to reach our record even if the client is gone by then (R91).
        let task = self.background.run(async move {
            let question = Question {
                login: asked.login.as_ref(),
                password: asked.password.as_deref(),
                new_password: asked.new_password.as_deref(),
                fields: &asked.fields,
                by: AskBy::Forward { route: asked.route, request: &asked.request },
            };
            let answer = service.legacy.change(asked.change, question).await;
            let confirmed = service.apply_word(&asked, subject, &answer).await;
            for (permit, is_surely_his) in permits {
                permit.settle(match answer.word {
                    ChangeWord::Done if is_surely_his => AttemptOutcome::Succeeded,
                    // Done to somebody: what a login with the new password said of the one who is named.
                    ChangeWord::Done => confirmed,
                    ChangeWord::Refused => AttemptOutcome::Failed,
                    ChangeWord::Unrecognised | ChangeWord::Unavailable => AttemptOutcome::NoVerdict,
                });
            }
            answer
        });
        let answer = match task {
            Some(task) => task.await.ok(),
            None => None,
        };
        match answer {
            Some(ChangeAnswer { word, relay: Some(relay), .. }) => {
                let outcome = match word {
                    ChangeWord::Done => Outcome::Ok,
                    ChangeWord::Refused => Outcome::Denied,
                    ChangeWord::Unrecognised => Outcome::Unrecognised,
                    ChangeWord::Unavailable => Outcome::Unavailable,
                };
                Reply::legacys(relay, None, outcome)
            }
            Some(ChangeAnswer { relay: None, .. }) | None => {
                Reply::ours(Ours::Unavailable(self.policy.retry_after), Source::Legacy)
            }
        }
    }

    /// Applies legacy's word to our record. Returns how a login counts that had to confirm it; where none had to, no verdict.
    async fn apply_word(self: &Arc<Self>, asked: &Asked, subject: Subject, answer: &ChangeAnswer) -> AttemptOutcome {
        // Legacy's own word on whose account it was outweighs whatever the request says. What a search for the body's name found is not
        // that: it is the body's word again.
        let owner = answer.identity.as_ref().filter(|identity| identity.told_by == ToldBy::Owner);
        let proven = match owner {
            Some(identity) => self.store.find_public(identity.id.as_key()).await.ok().flatten().map(Box::new),
            None => subject.proven,
        };
        if let (Some(bystander), None) = (&subject.bystander, owner) {
            // His password may be what was changed. That he is gone is never concluded.
            match apply(asked.change, answer.word, Whose::Named, NewPassword::Hidden) {
                Apply::DropPassword if asked.change != Change::DeleteUser && !bystander.is_unknown_to_legacy() => {
                    self.write(bystander, UserChange::DropPassword).await;
                }
                Apply::DropPassword | Apply::SetPassword | Apply::Bury | Apply::Nothing => {}
            }
        }
        let (whose, user) = match (proven, subject.named) {
            (Some(user), _) => (Whose::Proven, user),
            (None, Some(user)) => (Whose::Named, user),
            (None, None) => return AttemptOutcome::NoVerdict,
        };
        // What legacy did was to somebody else: it has never known this user, and his password is nowhere but here.
        if user.is_unknown_to_legacy() {
            return AttemptOutcome::NoVerdict;
        }
        let shown = if asked.new_password.is_some() { NewPassword::Shown } else { NewPassword::Hidden };
        match (apply(asked.change, answer.word, whose, shown), &asked.new_password) {
            (Apply::SetPassword, Some(new)) => match self.hasher.hash(ClientStanding::Known, Arc::clone(new)).await {
                Ok(hash) => self.write(&user, UserChange::SetPassword(hash)).await,
                Err(_busy) => self.write(&user, UserChange::DropPassword).await,
            },
            (Apply::DropPassword, Some(new)) if answer.word == ChangeWord::Done => {
                // Legacy is asked from now on; a login with the new password proves the rest at once.
                self.write(&user, UserChange::DropPassword).await;
                return self.confirm_by_login(asked, new).await;
            }
            (Apply::SetPassword, None) | (Apply::DropPassword, _) => self.write(&user, UserChange::DropPassword).await,
            (Apply::Bury, _) => self.write(&user, UserChange::SetStanding(Standing::Deleted)).await,
            (Apply::Nothing, _) => {}
        }
        AttemptOutcome::NoVerdict
    }

    /// A login as whom the body names, with the new password. To whoever changes his own password and names another it is a guess
    /// at the other's, and counts as one.
    async fn confirm_by_login(self: &Arc<Self>, asked: &Asked, new: &Arc<Password>) -> AttemptOutcome {
        let (Some(login), true) = (&asked.login, self.legacy.can_call_login()) else {
            return AttemptOutcome::NoVerdict;
        };
        let revision = self.store.find(&asked.names).await.map_or(Version(0), |lookup| lookup.revision);
        let question = LoginQuestion {
            route: asked.route,
            login: login.clone(),
            names: asked.names.clone(),
            password: Arc::clone(new),
            fields: Arc::clone(&asked.fields),
            asked_by: AskedBy::Call,
            request: Arc::clone(&asked.request),
            local: LocalSide::Open,
            based_on: revision,
            reason: SaveReason::Change,
        };
        // The permits are the caller's, who settles them in the background as well.
        self.put_to_legacy(question, None).await.map_or(AttemptOutcome::NoVerdict, |told| told.counts())
    }

    /// Applies to our record what has happened elsewhere. Where the record changed meanwhile, perhaps by a login with the old
    /// password, the password that is there now is dropped: legacy is asked rather than an older word believed (R85).
    async fn write(&self, user: &User, change: UserChange) {
        let (is_password, buries) = match &change {
            UserChange::SetPassword(_) => (true, false),
            UserChange::SetStanding(_) => (false, true),
            UserChange::DropPassword
            | UserChange::Rehash(_)
            | UserChange::Vouched
            | UserChange::Undelete
            | UserChange::AddAlias { .. }
            | UserChange::RemoveAlias { .. } => (false, false),
        };
        let mut updated = self.change_record(user.id, user.version, change).await;
        if is_password && matches!(updated, Updated::Done(_)) {
            self.metrics.migration(SaveReason::Change.as_str());
        }
        for _retry in 0..MAX_RETRIES {
            if updated != Updated::Stale {
                return;
            }
            let Ok(Some(current)) = self.store.find_public(&user.id.to_string()).await else { break };
            let change = if buries { UserChange::SetStanding(Standing::Deleted) } else { UserChange::DropPassword };
            updated = self.change_record(user.id, current.version, change).await;
        }
        if updated == Updated::Stale {
            self.metrics.alarm("change_not_applied");
            tracing::error!(user = %user.id, "what legacy did to a user could not be applied to our record");
        }
    }

    // ----------------------------------------------------------------------------------------------------------- here

    async fn change_here(self: &Arc<Self>, asked: Asked, subject: Subject) -> Reply {
        match asked.change {
            // Only legacy's own token could show who may do this, and there is nobody left to read it.
            Change::ResetPassword => Reply::ours(Ours::Denied, Source::Local),
            Change::ChangePassword => {
                let Some(new) = asked.new_password.clone() else { return Reply::ours(Ours::BadName, Source::Edge) };
                if let Err(weak) = self.policy.passwords.check(&new) {
                    return Reply::ours(Ours::TooWeak(weak), Source::Edge);
                }
                let user = match self.knows_current(&asked, subject).await {
                    Ok(user) => user,
                    Err(refused) => return refused,
                };
                match self.hasher.hash(ClientStanding::Known, new).await {
                    Ok(hash) => self.done_if_written(user.user(), UserChange::SetPassword(hash)).await,
                    Err(_busy) => self.no_hash_now(),
                }
            }
            Change::DeleteUser => match self.knows_current(&asked, subject).await {
                Ok(user) => self.done_if_written(user.user(), UserChange::SetStanding(Standing::Deleted)).await,
                Err(refused) => refused,
            },
        }
    }

    /// The active user whose current password the request holds: a token alone must not change a password (OWASP ASVS 6.2.3).
    async fn knows_current(&self, asked: &Asked, subject: Subject) -> Result<VerifiedUser, Reply> {
        let denied = || Reply::ours(Ours::Denied, Source::Local);
        let Some(password) = asked.password.clone() else { return Err(denied()) };
        let found = subject.proven.or(subject.named).map_or(Found::Nobody, Found::One);
        let permit = match self.accounts.admit(account_key(&found, &asked.names), asked.client).await {
            Ok(permit) => permit,
            Err(limited) => return Err(Reply::ours(Ours::Limited(limited), Source::Edge)),
        };
        let verification = match found {
            Found::One(user) if user.standing == Standing::Active => {
                self.hasher.verify(&permit, user, password).await.map(Some)
            }
            Found::One(_) | Found::Nobody | Found::Ambiguous => {
                self.hasher.equalize(&permit, password).await.map(|()| None)
            }
        };
        let (result, counts) = match verification {
            Ok(Some(Verification::Match(verified))) => (Ok(verified), AttemptOutcome::Succeeded),
            Ok(Some(Verification::Mismatch(_)) | None) => (Err(denied()), AttemptOutcome::Failed),
            Err(_busy) => (Err(self.no_hash_now()), AttemptOutcome::NoVerdict),
            Ok(Some(Verification::Unusable(_))) => {
                (Err(Reply::ours(Ours::Unavailable(self.policy.retry_after), Source::Local)), AttemptOutcome::NoVerdict)
            }
        };
        permit.settle(counts);
        result
    }

    async fn done_if_written(&self, user: &User, change: UserChange) -> Reply {
        match self.change_record(user.id, user.version, change).await {
            Updated::Done(_) => Reply::ours(Ours::Done(None), Source::Local),
            Updated::Stale | Updated::Missing | Updated::Refused(_) => {
                Reply::ours(Ours::Unavailable(self.policy.retry_after), Source::Local)
            }
        }
    }
}

/// An account whose password a change may guess.
struct GuessedAt {
    account: AccountKey,
    /// Whether what legacy carries out is certainly done to this account. Never where the body names somebody whom nothing proves.
    is_surely_his: bool,
}

/// The accounts at which a change that legacy judges is counted: the current password can be guessed there as at a login, and so
/// can the code of a reset. Where nobody is proven the new one is a guess too, since a login with it may have to confirm the change.
///
/// Without a token that we can read nobody knows whose session it is. Whoever holds a stolen one could name another account with each guess,
/// so that where it comes from is counted as well.
fn guessed_at(answerer: Answerer, asked: &Asked, subject: &Subject) -> Vec<GuessedAt> {
    let confirmed_by_login = asked.new_password.is_some() && subject.proven.is_none();
    let guessable = asked.password.is_some() || asked.change == Change::ResetPassword || confirmed_by_login;
    match answerer {
        Answerer::LocalFirst | Answerer::LocalOnly if guessable => {}
        // Legacy alone answers these users, logins included: nothing of ours stands in the way.
        Answerer::LocalFirst | Answerer::LocalOnly | Answerer::Legacy => return Vec::new(),
    }
    let surely = |account| GuessedAt { account, is_surely_his: true };
    let perhaps = |account| GuessedAt { account, is_surely_his: false };
    let of_client = AccountKey::of_client(asked.client);
    match (&subject.proven, &subject.named) {
        // A reset is judged by its code, whoever is logged in.
        (Some(user), _) => {
            vec![GuessedAt {
                account: AccountKey::of_user(user, &asked.names),
                is_surely_his: asked.password.is_some(),
            }]
        }
        (None, Some(user)) => vec![perhaps(AccountKey::of_user(user, &asked.names)), perhaps(of_client)],
        (None, None) if asked.names.keys().is_empty() => vec![surely(of_client)],
        (None, None) => vec![perhaps(AccountKey::of_name(&asked.names)), perhaps(of_client)],
    }
}
