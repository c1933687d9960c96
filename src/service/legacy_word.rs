//! One question to legacy about a login, and what follows from its word: the part of a login that is shared between clients
//! who ask the same.

use std::sync::Arc;

use serde_json::Value;

use super::Service;
use super::ports::{
    AccountPermit, AskBy, AttemptOutcome, ClientRequest, LoginWord, Outage, Question, Relay, RouteIndex, Saved,
};
use super::saving::SaveReason;
use crate::domain::identifier::{Candidates, RawIdentifier};
use crate::domain::login::{AfterLegacy, AskedBy, LegacyWord, LocalSide, NotSaved, after_legacy};
use crate::domain::password::Password;
use crate::domain::proof::{LegacyAccepted, Naming, ToldBy};
use crate::domain::user::{Standing, Version};

/// A login as it is put to legacy. Owned: the question outlives the client.
pub(crate) struct LoginQuestion {
    pub(crate) route: RouteIndex,
    pub(crate) login: RawIdentifier,
    pub(crate) names: Candidates,
    pub(crate) password: Arc<Password>,
    pub(crate) fields: Arc<Value>,
    pub(crate) asked_by: AskedBy,
    pub(crate) request: Arc<ClientRequest>,
    pub(crate) local: LocalSide,
    pub(crate) based_on: Version,
    pub(crate) reason: SaveReason,
}

/// What legacy said and what follows.
pub(crate) struct Told {
    pub(crate) decision: AfterLegacy,
    /// Whether legacy was asked because the password is not the one we hold.
    pub(crate) is_recheck: bool,
    pub(crate) asked_by: AskedBy,
    pub(crate) word: LegacyWord,
    pub(crate) outage: Option<Outage>,
    pub(crate) accepted: Option<LegacyAccepted>,
    pub(crate) relay: Option<Relay>,
}

impl Told {
    /// How the attempt counts for the account.
    pub(crate) fn counts(&self) -> AttemptOutcome {
        counts(self.decision, self.is_recheck)
    }
}

/// A success only where that very account was proven. A legacy that says yes to somebody else, to a session that came along or to whoever
/// asks, says nothing good of this password: were it a success, the network of whoever sent that session would be known to an account that
/// he never logged in to, and its row of failures ended.
///
/// On a recheck our own hash has said no already. Only an outage keeps that from counting (R82): whoever can make legacy answer something
/// else, by a form token left out, would otherwise try passwords against our hash for nothing.
fn counts(decision: AfterLegacy, is_recheck: bool) -> AttemptOutcome {
    match decision {
        AfterLegacy::SaveAndAccept | AfterLegacy::AcceptLocally => AttemptOutcome::Succeeded,
        // Where attempts are counted, whoever is closed is denied.
        AfterLegacy::Deny | AfterLegacy::AcceptUnsaved(NotSaved::OtherName | NotSaved::Closed) => {
            AttemptOutcome::Failed
        }
        AfterLegacy::AcceptUnsaved(NotSaved::Unconfirmed) | AfterLegacy::Relay if is_recheck => AttemptOutcome::Failed,
        AfterLegacy::AcceptUnsaved(NotSaved::Unconfirmed) | AfterLegacy::Relay | AfterLegacy::Unavailable => {
            AttemptOutcome::NoVerdict
        }
    }
}

impl LoginQuestion {
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
    /// Asks legacy and saves what it proves. Composed questions that are equal and simultaneous share one call; a client's own
    /// request bears his own session and is never shared.
    ///
    /// The permit goes with the question, which outlives the client: it is settled with what legacy said, or a guess would be free to
    /// whoever hangs up before the answer. Where legacy says nothing it is not counted (R82).
    pub(crate) async fn put_to_legacy(
        self: &Arc<Self>,
        question: LoginQuestion,
        mut permit: Option<AccountPermit>,
    ) -> Option<Arc<Told>> {
        if let Some(permit) = &mut permit {
            // Dropped unsettled from here on, it is a question that could not be asked or died.
            permit.count_if_dropped(AttemptOutcome::NoVerdict);
        }
        let service = Arc::clone(self);
        match question.asked_by {
            AskedBy::Call => {
                let (route, login) = (question.route, question.login.clone());
                let (password, fields) = (Arc::clone(&question.password), Arc::clone(&question.fields));
                let work = || async move { service.ask(question).await };
                self.shared_calls.ask(route, &login, &password, &fields, &self.background, permit, work).await
            }
            AskedBy::Forward => {
                let task = self.background.run(async move {
                    let told = Arc::new(service.ask(question).await);
                    if let Some(permit) = permit {
                        permit.settle(told.counts());
                    }
                    told
                })?;
                task.await.ok()
            }
        }
    }

    async fn ask(self: Arc<Self>, question: LoginQuestion) -> Told {
        let answer = self.legacy.login(question.as_question()).await;
        let outage = match &answer.word {
            LoginWord::Unavailable(outage) => Some(*outage),
            LoginWord::Accepted(_) | LoginWord::Denied | LoginWord::Challenge | LoginWord::Unrecognised(_) => None,
        };
        let (word, accepted) = classify(answer.word, &question.names);
        let mut decision = after_legacy(question.asked_by, word, question.local);
        if let (AfterLegacy::SaveAndAccept, Some(accepted)) = (decision, &accepted)
            && self.is_closed(accepted).await
        {
            decision = AfterLegacy::AcceptUnsaved(NotSaved::Closed);
        }
        match (decision, &accepted) {
            // His password matched here already: there is nothing to hash, the caller notes that legacy vouched again.
            (AfterLegacy::SaveAndAccept, Some(_)) if question.local == LocalSide::Verified => {}
            (AfterLegacy::SaveAndAccept, Some(accepted)) => {
                let (password, based_on) = (Arc::clone(&question.password), question.based_on);
                let saved =
                    self.save_proven(accepted.clone(), password, &question.names, based_on, question.reason).await;
                decision = after_save(question.asked_by, saved, accepted);
            }
            (AfterLegacy::AcceptUnsaved(reason), _) => self.count_unsaved(reason),
            (AfterLegacy::Unavailable, Some(_)) => self.count_unsaved(NotSaved::OtherName),
            (
                AfterLegacy::SaveAndAccept
                | AfterLegacy::Deny
                | AfterLegacy::Relay
                | AfterLegacy::Unavailable
                | AfterLegacy::AcceptLocally,
                _,
            ) => {}
        }
        let is_recheck = match question.reason {
            SaveReason::Recheck => true,
            SaveReason::Login | SaveReason::Replace | SaveReason::Registration | SaveReason::Change => false,
        };
        Told { decision, is_recheck, asked_by: question.asked_by, word, outage, accepted, relay: answer.relay }
    }

    /// Whether legacy's user is disabled or deleted here, whichever name he came by. Looked up before anything is hashed: that he is denied
    /// must not hang on a save that may be late, fail, or come to another user's name first.
    async fn is_closed(&self, accepted: &LegacyAccepted) -> bool {
        let id = &accepted.identity().id;
        let known = self.store.find_public(id.as_key()).await.ok().flatten();
        known.is_some_and(|user| user.legacy_id.as_ref() == Some(id) && user.standing != Standing::Active)
    }

    pub(crate) fn count_unsaved(&self, reason: NotSaved) {
        match reason {
            NotSaved::OtherName => {
                self.metrics.migration_failure("other_profile");
                self.metrics.alarm("other_profile");
                tracing::warn!("legacy said yes and answered with the profile of another name; nothing was saved");
            }
            NotSaved::Unconfirmed => {
                self.metrics.migration_failure("unconfirmed_name");
                tracing::info!("legacy's answer does not bear the name that was typed; nothing was saved");
            }
            NotSaved::Closed => self.metrics.migration_failure("closed"),
        }
    }
}

/// What a save may still change of the answer. He may have been closed here meanwhile; and an id of legacy's that reads as another
/// user's own would make a token of ours that other's.
fn after_save(asked_by: AskedBy, saved: Option<Saved>, accepted: &LegacyAccepted) -> AfterLegacy {
    match (saved, asked_by) {
        (Some(Saved::Closed), _) => AfterLegacy::AcceptUnsaved(NotSaved::Closed),
        (Some(Saved::Conflict { with } | Saved::Settled { with }), AskedBy::Call)
            if with.to_string() == accepted.identity().id.as_key() =>
        {
            AfterLegacy::Unavailable
        }
        (Some(Saved::Created(_) | Saved::Updated(_)), _)
        | (Some(Saved::Conflict { .. } | Saved::Settled { .. } | Saved::Stale) | None, _) => AfterLegacy::SaveAndAccept,
    }
}

fn classify(word: LoginWord, asked: &Candidates) -> (LegacyWord, Option<LegacyAccepted>) {
    match word {
        LoginWord::Accepted(accepted) => {
            let naming = match (accepted.identity().naming(asked), accepted.identity().told_by) {
                // Somebody was found under the typed name who does not bear it: a search that is not exact.
                (Naming::Unconfirmed, ToldBy::NameSearch) => Naming::OtherName,
                (naming, ToldBy::NameSearch | ToldBy::Owner) => naming,
            };
            (LegacyWord::Accepted(naming), Some(accepted))
        }
        LoginWord::Denied => (LegacyWord::Denied, None),
        LoginWord::Challenge => (LegacyWord::Challenge, None),
        LoginWord::Unrecognised(_) => (LegacyWord::Unrecognised, None),
        LoginWord::Unavailable(_) => (LegacyWord::Unavailable, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r67_only_what_proves_that_very_account_is_its_success() {
        use AttemptOutcome::{Failed, NoVerdict, Succeeded};
        for (decision, outcome, of_recheck) in [
            (AfterLegacy::SaveAndAccept, Succeeded, Succeeded),
            (AfterLegacy::AcceptLocally, Succeeded, Succeeded),
            (AfterLegacy::AcceptUnsaved(NotSaved::OtherName), Failed, Failed),
            (AfterLegacy::AcceptUnsaved(NotSaved::Unconfirmed), NoVerdict, Failed),
            (AfterLegacy::AcceptUnsaved(NotSaved::Closed), Failed, Failed),
            (AfterLegacy::Deny, Failed, Failed),
            (AfterLegacy::Relay, NoVerdict, Failed),
            (AfterLegacy::Unavailable, NoVerdict, NoVerdict),
        ] {
            assert_eq!(counts(decision, false), outcome, "{decision:?}");
            assert_eq!(counts(decision, true), of_recheck, "{decision:?} on a recheck");
        }
    }
}
