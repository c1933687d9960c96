//! The walk of a login with assumed answers: the same decisions in the same order as `service::login`, each one told.

use super::{By, Ending, Forecast, Given, Keeps, LegacyIs};
use crate::domain::login::{
    AfterLegacy, AfterLocal, AfterLookup, AskedBy, Known, LegacyWord, LocalSide, NotSaved, Recheck, after_legacy,
};
use crate::domain::mode::Answerer;
use crate::domain::outlook::{HashCheck, Outlook, ToLegacy};
use crate::domain::proof::Naming;
use crate::service::ports::HashLook;

/// What is settled before any password is looked at.
pub(super) struct Settled {
    pub(super) outlook: Outlook,
    pub(super) hash: HashLook,
    pub(super) recheck: Recheck,
    pub(super) asked_by: AskedBy,
    /// Whether the breaker keeps questions from legacy.
    pub(super) left_alone: bool,
    /// Whether legacy has proven somebody else under a name of his.
    pub(super) in_conflict: bool,
    /// Whether the name finds nobody and is kept for a user who is disabled or deleted.
    pub(super) kept_for_closed: bool,
}

/// What is assumed.
#[derive(Debug, Clone, Copy)]
struct Scene {
    password: Given,
    legacy: Reached,
}

/// Whether legacy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Up,
    Down,
}

/// Everything is sent on.
pub(super) fn in_passthrough() -> Vec<Forecast> {
    let path = vec!["The request goes on to the app, its body unread.".to_owned()];
    let sent = |password| Forecast {
        password,
        legacy: LegacyIs::Either,
        by: By::Legacy,
        outcome: Ending::SentOn,
        keeps: Keeps::Nothing,
        path: path.clone(),
    };
    [Given::Right, Given::Wrong].map(sent).into()
}

/// Under a name that can be nobody's.
pub(super) fn of_nobodys_name(answerer: Option<Answerer>) -> Vec<Forecast> {
    let (by, outcome, says) = match answerer {
        None | Some(Answerer::Legacy) => (By::Legacy, Ending::SentOn, "The request goes on to the app as it is."),
        Some(Answerer::LocalFirst | Answerer::LocalOnly) => {
            (By::Edge, Ending::Denied, "Denied at once; that tells nothing, since it holds for everybody.")
        }
    };
    let forecast = |password| Forecast {
        password,
        legacy: LegacyIs::Either,
        by,
        outcome,
        keeps: Keeps::Nothing,
        path: vec![says.to_owned()],
    };
    [Given::Right, Given::Wrong].map(forecast).into()
}

/// Every password that could be typed, with legacy up and down where that makes a difference.
pub(super) fn forecasts(settled: &Settled) -> Vec<Forecast> {
    let has_hash = match &settled.hash {
        HashLook::Usable { .. } => settled.outlook.known == Known::Active,
        HashLook::Unusable { .. } | HashLook::Absent => false,
    };
    // Where there is one word only, ours or legacy's, no password can be right in one place alone.
    let passwords: &[Given] = match (has_hash, settled.outlook.at_legacy, settled.outlook.answerer) {
        (true, ToLegacy::Known, Answerer::LocalFirst | Answerer::Legacy) => {
            &[Given::Right, Given::OnlyHere, Given::OnlyAtLegacy, Given::Wrong]
        }
        (true, ToLegacy::Unknown, _) | (true, ToLegacy::Known, Answerer::LocalOnly) | (false, _, _) => {
            &[Given::Right, Given::Wrong]
        }
    };
    let mut all = Vec::new();
    for password in passwords {
        let foresee = |legacy| foresee(settled, Scene { password: *password, legacy });
        let (up, down) = (foresee(Reached::Up), foresee(Reached::Down));
        if up.path == down.path {
            all.push(Forecast { legacy: LegacyIs::Either, ..up });
        } else {
            all.extend([up, down]);
        }
    }
    all
}

/// One login on its way.
struct Walk<'a> {
    settled: &'a Settled,
    scene: Scene,
    path: Vec<String>,
}

fn foresee(settled: &Settled, scene: Scene) -> Forecast {
    let mut walk = Walk { settled, scene, path: Vec::new() };
    let (by, outcome, keeps) = match settled.outlook.answerer {
        Answerer::Legacy => walk.observed(),
        Answerer::LocalFirst | Answerer::LocalOnly => walk.answered(),
    };
    let legacy = match scene.legacy {
        Reached::Up => LegacyIs::Up,
        Reached::Down => LegacyIs::Down,
    };
    Forecast { password: scene.password, legacy, by, outcome, keeps, path: walk.path }
}

type End = (By, Ending, Keeps);

impl Walk<'_> {
    fn say(&mut self, step: impl Into<String>) {
        self.path.push(step.into());
    }

    /// What checking the hash would say; none where there is none to check.
    fn check(&self) -> Option<HashCheck> {
        match (&self.settled.hash, self.scene.password) {
            (HashLook::Absent, _) => None,
            (HashLook::Unusable { .. }, _) => Some(HashCheck::Unusable),
            (HashLook::Usable { .. }, Given::Right | Given::OnlyHere) => Some(HashCheck::Match),
            (HashLook::Usable { .. }, Given::OnlyAtLegacy | Given::Wrong) => Some(HashCheck::Mismatch),
        }
    }

    /// What legacy would say.
    fn word(&self) -> LegacyWord {
        match (self.scene.legacy, self.scene.password, self.settled.outlook.at_legacy) {
            (Reached::Down, _, _) => LegacyWord::Unavailable,
            (Reached::Up, Given::Right | Given::OnlyAtLegacy, ToLegacy::Known) => LegacyWord::Accepted(Naming::Named),
            (Reached::Up, Given::OnlyHere | Given::Wrong, _) | (Reached::Up, _, ToLegacy::Unknown) => {
                LegacyWord::Denied
            }
        }
    }

    fn answered(&mut self) -> End {
        match (self.settled.outlook.after_lookup(), self.check()) {
            (AfterLookup::VerifyLocally, Some(checked)) => self.verified(checked),
            (AfterLookup::DenyEqualized, _) => {
                self.say(match self.settled.outlook.known {
                    Known::Deleted => "Deleted: denied, after the work that a wrong password costs.",
                    Known::Disabled => "Disabled: denied, after the work that a wrong password costs.",
                    Known::Nobody | Known::Ambiguous | Known::WithoutPassword | Known::Active => {
                        "There is no password here to check, and legacy is never asked: denied, after the work that a wrong password \
                         costs."
                    }
                });
                (By::Local, Ending::Denied, Keeps::Nothing)
            }
            (AfterLookup::AskLegacy, _) | (AfterLookup::VerifyLocally, None) => {
                self.say("There is no password here to check: legacy is asked.");
                self.by_legacy(LocalSide::Open)
            }
        }
    }

    fn verified(&mut self, checked: HashCheck) -> End {
        self.say(match checked {
            HashCheck::Match => "The password matches our hash.",
            HashCheck::Mismatch => "The password does not match our hash.",
            HashCheck::Unusable => "Our hash cannot be used, which says nothing of the password: an alarm.",
        });
        let recheck = self.settled.recheck;
        match self.settled.outlook.after_check(checked, || recheck) {
            AfterLocal::Accept => {
                self.say("Logged in from our store; legacy is not asked.");
                let keeps = match &self.settled.hash {
                    HashLook::Usable { outdated: true, .. } => {
                        self.say("The password is hashed anew under today's parameters.");
                        Keeps::ANewHash
                    }
                    HashLook::Usable { outdated: false, .. } | HashLook::Unusable { .. } | HashLook::Absent => {
                        Keeps::Nothing
                    }
                };
                (By::Local, Ending::Ok, keeps)
            }
            AfterLocal::Deny => {
                self.say(match (self.settled.outlook.last_word(), recheck) {
                    (Answerer::LocalOnly, _) => "Denied: there is nobody else to ask.",
                    (Answerer::LocalFirst | Answerer::Legacy, Recheck::Spent) => {
                        "Denied: the account's budget of questions to legacy is used up."
                    }
                    (Answerer::LocalFirst | Answerer::Legacy, Recheck::Off | Recheck::Allowed) => {
                        "Denied: on_mismatch = \"deny\"."
                    }
                });
                (By::Local, Ending::Denied, Keeps::Nothing)
            }
            AfterLocal::AskLegacyAgain => {
                self.say("It may have been changed at legacy, which is asked, within the account's budget.");
                self.by_legacy(LocalSide::Open)
            }
            AfterLocal::Revalidate => {
                self.say("Legacy's last word on him is older than revalidate_after: it is asked to confirm.");
                self.by_legacy(LocalSide::Verified)
            }
            AfterLocal::AlarmAndAskLegacy => {
                self.say("Legacy is asked as if there were no hash.");
                self.by_legacy(LocalSide::Open)
            }
            AfterLocal::AlarmUnavailable => {
                self.say("There is nobody else to ask: 503, never \"wrong password\".");
                (By::Local, Ending::Unavailable, Keeps::Nothing)
            }
        }
    }

    fn by_legacy(&mut self, side: LocalSide) -> End {
        let (word, decision) = self.put_to_legacy(side);
        match decision {
            AfterLegacy::AcceptUnsaved(NotSaved::Closed) => {
                self.say("He is disabled or deleted here: denied, whatever legacy says, and nothing is kept.");
                (By::Legacy, Ending::Denied, Keeps::Nothing)
            }
            AfterLegacy::SaveAndAccept => match side {
                LocalSide::Verified => {
                    self.say("Logged in; that legacy vouched for him is noted.");
                    (By::Legacy, Ending::Ok, Keeps::ThatLegacyVouched)
                }
                LocalSide::Open | LocalSide::Closed => (By::Legacy, Ending::Ok, self.saved()),
            },
            AfterLegacy::AcceptUnsaved(why @ (NotSaved::OtherName | NotSaved::Unconfirmed)) => {
                self.say(unsaved(why));
                (By::Legacy, Ending::Ok, Keeps::Nothing)
            }
            AfterLegacy::Deny => match side {
                LocalSide::Verified => {
                    self.say("Denied, and our hash is dropped, so that legacy's no outlives an outage.");
                    (By::Legacy, Ending::Denied, Keeps::NoPassword)
                }
                LocalSide::Open | LocalSide::Closed => {
                    self.say("Denied.");
                    (By::Legacy, Ending::Denied, Keeps::Nothing)
                }
            },
            AfterLegacy::Relay => {
                self.say("Its answer is handed on as it is.");
                (By::Legacy, ending_of_relay(word), Keeps::Nothing)
            }
            AfterLegacy::Unavailable => {
                self.say("503 with Retry-After: nobody can know, and no failure is counted.");
                (By::Legacy, Ending::Unavailable, Keeps::Nothing)
            }
            AfterLegacy::AcceptLocally => {
                self.say("Our own yes stands: legacy was only asked to confirm it.");
                (By::Local, Ending::Ok, Keeps::Nothing)
            }
        }
    }

    /// Legacy answers and we watch.
    fn observed(&mut self) -> End {
        let compared = match self.settled.outlook.known {
            Known::Active => self.check(),
            Known::Nobody | Known::Ambiguous | Known::WithoutPassword | Known::Disabled | Known::Deleted => None,
        };
        let side = self.settled.outlook.observed_side(compared);
        self.say("Legacy answers.");
        if self.settled.left_alone && self.scene.legacy == Reached::Down {
            self.say("The breaker is open: the request goes on to the app, and nothing is learnt.");
            return (By::Legacy, Ending::SentOn, Keeps::Nothing);
        }
        let (word, decision) = self.put_to_legacy(side);
        let keeps = match decision {
            AfterLegacy::SaveAndAccept => match side {
                LocalSide::Verified => {
                    self.say("We would have said the same; there is nothing new to keep.");
                    Keeps::Nothing
                }
                LocalSide::Open | LocalSide::Closed => self.saved(),
            },
            AfterLegacy::AcceptUnsaved(why) => {
                self.say(unsaved(why));
                Keeps::Nothing
            }
            AfterLegacy::Deny | AfterLegacy::Relay | AfterLegacy::Unavailable | AfterLegacy::AcceptLocally => {
                Keeps::Nothing
            }
        };
        (By::Legacy, ending_of_relay(word), keeps)
    }

    fn put_to_legacy(&mut self, side: LocalSide) -> (LegacyWord, AfterLegacy) {
        let word = self.word();
        self.say(match (word, self.settled.outlook.at_legacy) {
            (LegacyWord::Accepted(_), _) => "Legacy says yes and names him.",
            (LegacyWord::Denied, ToLegacy::Unknown) => "Legacy has never known him, and says no.",
            (LegacyWord::Denied, ToLegacy::Known) => "Legacy says no.",
            (LegacyWord::Unavailable, _) => "Legacy gives no usable answer.",
            (LegacyWord::Challenge | LegacyWord::Unrecognised, _) => "Legacy says neither yes nor no.",
        });
        match after_legacy(self.settled.asked_by, word, side) {
            AfterLegacy::SaveAndAccept if self.settled.kept_for_closed => {
                (word, AfterLegacy::AcceptUnsaved(NotSaved::Closed))
            }
            decision => (word, decision),
        }
    }

    fn saved(&mut self) -> Keeps {
        if self.settled.in_conflict {
            self.say(
                "Logged in as legacy says; a name of his is in conflict, so that nothing but the conflict may be kept.",
            );
            return Keeps::OnlyTheConflict;
        }
        self.say("Logged in; the user and this password are kept, in one durable commit.");
        Keeps::TheProvenUser
    }
}

fn unsaved(why: NotSaved) -> &'static str {
    match why {
        NotSaved::OtherName => "Logged in as legacy says; it answered with another name, so nothing is kept: an alarm.",
        NotSaved::Unconfirmed => "Logged in as legacy says; its answer bears no name to compare, so nothing is kept.",
        NotSaved::Closed => "Logged in as legacy says; he is closed here, so nothing is kept.",
    }
}

fn ending_of_relay(word: LegacyWord) -> Ending {
    match word {
        LegacyWord::Accepted(_) => Ending::Ok,
        LegacyWord::Denied => Ending::Denied,
        LegacyWord::Unavailable => Ending::Unavailable,
        LegacyWord::Challenge | LegacyWord::Unrecognised => Ending::SentOn,
    }
}
