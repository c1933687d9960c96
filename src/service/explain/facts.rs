//! What is settled of a login before any password is looked at, each fact a sentence for the operator. Pure: what is told was found
//! out by [`super::Explainer`]; nothing here asks or decides.

use std::time::Duration;

use super::explanation::Fact;
use super::{LoginRoute, SessionBy};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::UnixSeconds;
use crate::domain::conflict::Conflict;
use crate::domain::login::{Known, Recheck};
use crate::domain::mode::{Answerer, LocalShare, Mode};
use crate::domain::outlook::{Outlook, ToLegacy, Vouched};
use crate::domain::user::User;
use crate::service::ports::{AccountState, ClientStanding, Found, HashLook, There};
use crate::service::{goes_by_the_user, known};

/// What is collected, in order.
#[derive(Default)]
pub(super) struct Facts(Vec<Fact>);

/// For whom a name is kept that finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeptFor {
    /// A user who may log in.
    Somebody,
    /// One who is disabled or deleted, and whom legacy's id tells.
    SomebodyClosed,
}

/// What is known of legacy, whoever the user is.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtLegacy {
    /// Whether the breaker keeps questions from it.
    pub(super) left_alone: bool,
    /// When it has to be asked again.
    pub(super) revalidate_after: Option<Duration>,
    pub(super) now: UnixSeconds,
}

impl Facts {
    fn add(&mut self, about: &str, says: impl AsRef<str>) {
        let mut says = says.as_ref().to_owned();
        if let Some(first) = says.get(..1) {
            let capital = first.to_uppercase();
            says.replace_range(..1, &capital);
        }
        self.0.push(Fact { about: about.to_owned(), says });
    }

    pub(super) fn into_list(self) -> Vec<Fact> {
        self.0
    }

    /// Of a text that can be nobody's name, and why.
    pub(super) fn nobodys_name(&mut self, why: &str) {
        self.add("name", why);
        self.add("name", "Such a name can be nobody's, so that no hash is computed and nobody is asked.");
    }

    /// Who answers, in the mode in force.
    pub(super) fn mode(&mut self, mode: Mode, share: LocalShare, answerer: Option<Answerer>, found: &Found) {
        self.add("mode", format!("{mode}: {}", who_answers(mode, share, answerer, found)));
    }

    /// Where no route logs anybody in.
    pub(super) fn no_routes(&mut self, mode: Mode) {
        self.add("mode", format!("{mode}, and no route with action = \"login\": no login is intercepted."));
    }

    /// What is only true of some of the routes on which users log in.
    pub(super) fn routes(&mut self, routes: &[LoginRoute], answerer: Option<Answerer>) {
        let answers = match answerer {
            None | Some(Answerer::Legacy) => false,
            Some(Answerer::LocalFirst | Answerer::LocalOnly) => true,
        };
        let by_the_app: Vec<&str> =
            routes.iter().filter(|route| route.session_by == SessionBy::TheApp).map(|route| &*route.name).collect();
        if answers && !by_the_app.is_empty() {
            self.add(
                "route",
                format!(
                    "On {} our yes is not the end: the request goes on to the app, which makes the session, and may still say no.",
                    by_the_app.join(", ")
                ),
            );
        }
        if let Some(first) = routes.first()
            && routes.iter().any(|route| route.asked_by != first.asked_by)
        {
            self.add(
                "route",
                format!("Some routes call legacy and others forward to it; what follows is said of {}.", first.name),
            );
        }
    }

    /// Who was found.
    pub(super) fn record(&mut self, found: &Found, kept_for: Option<KeptFor>) {
        self.add("record", about_record(found, kept_for));
    }

    /// What there is to check a password against.
    pub(super) fn hash(&mut self, hash: &HashLook) {
        self.add("password", about_hash(hash));
    }

    /// That legacy has proven somebody else under a name of his.
    pub(super) fn conflict(&mut self, conflict: &Conflict) {
        let decided = conflict.decided.map_or("not decided yet", |decided| decided.decision.as_str());
        let times = if conflict.times == 1 { "once".to_owned() } else { format!("{} times", conflict.times) };
        self.add(
            "conflict",
            format!(
                "Conflict {} ({decided}): legacy has proven its user {:?} under a name of his, {times}. Such a login is answered as \
                 legacy does, and nothing of it is kept.",
                conflict.number, conflict.legacy_id,
            ),
        );
    }

    /// What legacy's word is worth, and when it is asked for.
    pub(super) fn legacy(&mut self, outlook: Outlook, user: Option<&User>, legacy: AtLegacy) {
        if outlook.last_word() == Answerer::LocalOnly && outlook.answerer != Answerer::Legacy {
            if outlook.at_legacy == ToLegacy::Unknown {
                self.add("legacy", "He registered here and legacy was never told of him: its word would say nothing.");
            }
            return;
        }
        if legacy.left_alone {
            self.add(
                "legacy",
                "The breaker is open: legacy has failed so often that it is left alone for a while. Go by what is said of legacy down.",
            );
        }
        let age = |user: &User| {
            user.legacy_vouched_at.map_or_else(
                || "Legacy has never vouched for him".to_owned(),
                |at| format!("Legacy last vouched for him {} ago", roughly(legacy.now.since(at))),
            )
        };
        match (user, legacy.revalidate_after, outlook.vouched) {
            (None, _, _) => {}
            (Some(user), None, _) => {
                self.add("legacy", format!("{}; without revalidate_after it is not asked again.", age(user)));
            }
            (Some(user), Some(limit), Vouched::Recently) => {
                self.add("legacy", format!("{}, which is less than revalidate_after = {}.", age(user), roughly(limit)));
            }
            (Some(user), Some(limit), Vouched::LongAgo) => self.add(
                "legacy",
                format!("{}, longer than revalidate_after = {}: it is asked again.", age(user), roughly(limit)),
            ),
        }
    }

    /// How the limits would meet an attempt from anywhere.
    pub(super) fn limits(&mut self, outlook: Outlook, recheck: Recheck, limits: Option<AccountState>) {
        if limits.is_none() {
            self.add("limits", "No proxy is running: limits on attempts and the breaker begin anew when it starts.");
        }
        if outlook.answerer == Answerer::Legacy {
            return;
        }
        if let Some(wait) = limits.and_then(|state| state.closed_for) {
            self.add(
                "limits",
                format!(
                    "After too many wrong passwords the account takes no attempt for {} from networks that nobody has logged in to it from: \
                     429. From the others it goes as below.",
                    roughly(wait)
                ),
            );
        }
        if outlook.known == Known::Active && outlook.last_word() != Answerer::LocalOnly {
            match recheck {
                Recheck::Allowed => {}
                Recheck::Spent => self.add(
                    "limits",
                    "The account's recheck_budget is used up: for a while a password that does not match here is denied without asking \
                     legacy.",
                ),
                Recheck::Off => self.add("limits", "on_mismatch = \"deny\": legacy is not asked after a mismatch."),
            }
        }
    }

    /// How the limits would meet an attempt from one address.
    pub(super) fn address(&mut self, outlook: Outlook, from: ClientAddr, there: There) {
        let network = match there.standing {
            ClientStanding::Known => "a network that somebody has logged in to this account from",
            ClientStanding::Unknown => "a network that nobody has logged in to this account from since the start",
        };
        let met = match (there.refused, outlook.answerer) {
            (Some(("address", wait)), _) => {
                format!(
                    "too many requests came from it, on whatever account: 429 for {} (limits.per_ip)",
                    roughly(wait)
                )
            }
            (_, Answerer::Legacy) => "legacy answers, and no limit on accounts holds anything up".to_owned(),
            (Some((limit, wait)), Answerer::LocalFirst | Answerer::LocalOnly) => {
                format!("an attempt is refused for {}: 429, by the limit {limit:?}", roughly(wait))
            }
            (None, Answerer::LocalFirst | Answerer::LocalOnly) => "an attempt is let through".to_owned(),
        };
        self.add("limits", format!("From {from}, {network}: {met}."));
    }
}

fn who_answers(mode: Mode, share: LocalShare, answerer: Option<Answerer>, found: &Found) -> String {
    let percent = share.percent();
    match (answerer, mode) {
        (None, _) => "everything is sent on to the app; nothing is looked at.".to_owned(),
        (Some(Answerer::Legacy), Mode::Migrate) => format!(
            "local_share = {percent}, and this user is not in the share: legacy answers, and we watch as in observe."
        ),
        (Some(Answerer::Legacy), Mode::Passthrough | Mode::Observe | Mode::Retired) => {
            "legacy answers every login; what it proves is kept, and compared with what we would say.".to_owned()
        }
        (Some(Answerer::LocalFirst), mode) if goes_by_the_user(mode, share) => match found {
            Found::One(user) if user.is_unknown_to_legacy() => {
                format!("local_share = {percent}; legacy has never known this user, so that we answer.")
            }
            Found::One(_) | Found::Nobody | Found::Ambiguous => {
                format!("local_share = {percent}, and this user is in the share: we answer whom we know.")
            }
        },
        (Some(Answerer::LocalFirst), _) => "we answer whom we know; legacy is asked for everyone else.".to_owned(),
        (Some(Answerer::LocalOnly), _) => "we answer; legacy is never asked.".to_owned(),
    }
}

fn about_record(found: &Found, kept_for: Option<KeptFor>) -> String {
    match (found, kept_for) {
        (Found::Nobody, Some(KeptFor::Somebody)) => {
            "Nobody is found: the name was taken from its user and is only kept from others. Should legacy prove that user under it, \
             he gets it back; should it prove another one, that is a conflict."
                .to_owned()
        }
        (Found::Nobody, Some(KeptFor::SomebodyClosed)) => {
            "Nobody is found: the name was taken from its user, who is disabled or deleted, and is only kept from others. Should legacy \
             prove that user under it, he is denied; should it prove another one, that is a conflict."
                .to_owned()
        }
        (Found::Nobody, None) => "Nobody here bears any of these names.".to_owned(),
        (Found::Ambiguous, _) => {
            "The text means more than one user here, so that only legacy can tell who it is.".to_owned()
        }
        (Found::One(user), _) => {
            let standing = match known(found) {
                Known::Deleted => "deleted: he does not come back by a login, and legacy is never asked about him",
                Known::Disabled => "disabled by an operator",
                Known::WithoutPassword => "active, without a password here",
                Known::Active => "active",
                Known::Nobody | Known::Ambiguous => "unknown",
            };
            format!("One user, {} ({}), {standing}.", user.id, user.origin.as_str())
        }
    }
}

fn about_hash(hash: &HashLook) -> String {
    match hash {
        HashLook::Absent => "There is no hash here.".to_owned(),
        HashLook::Usable { format, outdated: false } => format!("Checked against a hash of ours ({format})."),
        HashLook::Usable { format, outdated: true } => {
            format!("Checked against a hash that is replaced when it matches ({format}).")
        }
        HashLook::Unusable { why } => {
            format!("The hash cannot be used: {why}. It is never taken for a wrong password.")
        }
    }
}

/// In its largest unit.
fn roughly(length: Duration) -> String {
    match length.as_secs() {
        0 => format!("{} ms", length.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
