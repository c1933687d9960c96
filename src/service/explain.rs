//! What a login would come to now, and why: for an operator whose user cannot log in. No password is needed; each one that could be
//! typed is gone through, with legacy up and down.
//!
//! Nothing here decides: the steps are the login's own ([`crate::domain::outlook`], [`crate::domain::login`]), taken with assumed
//! answers in place of the hash and of legacy. It writes nothing and counts nothing. `tests/it/explain.rs` holds what is said here
//! against what logins then do.

mod forecast;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::forecast::{Settled, forecasts};
use super::ports::{
    AccountLimits, AccountState, ClientStanding, ConflictQuery, Found, HashLook, HashReader, Lookup, ModeSwitch,
    StoreError, There, UserStore,
};
use super::{Policy, account_key, answerer_for, goes_by_the_user, known, recheck};
use crate::domain::client_addr::ClientAddr;
use crate::domain::clock::Clock;
use crate::domain::identifier::{Candidates, IdentifierKind, RawIdentifier};
use crate::domain::login::{AskedBy, Known, Recheck};
use crate::domain::mode::{Answerer, Mode};
use crate::domain::outlook::{Outlook, ToLegacy, Vouched};
use crate::domain::user::{Standing, User, UserId};
use crate::telemetry::Metrics;

/// So many conflicts are looked at; whether there are any is what matters.
const MAX_CONFLICTS: usize = 100;

/// What it takes to explain.
pub struct Explainer {
    /// Where users are kept.
    pub store: Arc<dyn UserStore>,
    /// The mode in force.
    pub mode: Arc<dyn ModeSwitch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What the operator decided.
    pub policy: Policy,
    /// Looks at hashes.
    pub hashes: Arc<dyn HashReader>,
    /// The routes with `action = "login"`, in order.
    pub routes: Vec<LoginRoute>,
    /// What only a running proxy knows; none in an offline command.
    pub running: Option<Running>,
}

/// A route that logs users in.
pub struct LoginRoute {
    /// Its name.
    pub name: Arc<str>,
    /// How legacy is asked on it.
    pub asked_by: AskedBy,
    /// Who makes the session after our yes.
    pub session_by: SessionBy,
}

/// Who makes the session after a yes of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionBy {
    /// We answer.
    Us,
    /// The request goes on to the app, which makes its own session, or does not.
    TheApp,
}

/// What only a running proxy knows.
pub struct Running {
    /// Who counts attempts.
    pub accounts: Arc<dyn AccountLimits>,
    /// Where the breaker shows itself.
    pub metrics: Arc<Metrics>,
}

/// What an identifier means, and what a login with it would come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// As typed.
    pub identifier: String,
    /// In force.
    pub mode: Mode,
    /// Every name that the text may mean, in the order in which they are looked up.
    pub names: Vec<Meaning>,
    /// Who is meant, if it is exactly one.
    pub user: Option<UserId>,
    /// What is settled before any password is looked at.
    pub facts: Vec<Fact>,
    /// What would come of each password that could be typed.
    pub logins: Vec<Forecast>,
}

/// One name that typed text may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// Of which kind.
    pub kind: IdentifierKind,
    /// What is looked up.
    pub canonical: String,
    /// Whose it is.
    pub holder: Option<UserId>,
    /// Whether it is only kept from others, and finds nobody.
    pub reserved: bool,
}

/// Something that is settled, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is about: `name`, `mode`, `route`, `record`, `password`, `legacy`, `limits`, `conflict`.
    pub about: String,
    /// In a sentence.
    pub says: String,
}

/// What a login would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// Which password is typed.
    pub password: Given,
    /// Whether legacy answers.
    pub legacy: LegacyIs,
    /// Who has the word.
    pub by: By,
    /// How it ends.
    pub outcome: Ending,
    /// What is written.
    pub keeps: Keeps,
    /// Each step, and why.
    pub path: Vec<String>,
}

/// A password that could be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// The right one, wherever it is asked.
    Right,
    /// One that matches our hash, and that legacy would say no to: it was changed there, or the user was closed.
    OnlyHere,
    /// One that legacy takes, and that does not match our hash: it was changed there.
    OnlyAtLegacy,
    /// One that is right nowhere.
    Wrong,
}

impl Given {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::OnlyHere => "right here alone",
            Self::OnlyAtLegacy => "right at legacy alone",
            Self::Wrong => "wrong",
        }
    }
}

/// Whether legacy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegacyIs {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// It makes no difference.
    Either,
}

impl LegacyIs {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Either => "up or down",
        }
    }
}

/// Who has the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Our store.
    Local,
    /// Legacy, or the app to which the request is sent on.
    Legacy,
    /// Neither.
    Edge,
}

impl By {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "our store",
            Self::Legacy => "legacy",
            Self::Edge => "the edge",
        }
    }
}

/// How a login ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// He is in.
    Ok,
    /// "Wrong password".
    Denied,
    /// 503: nobody can know.
    Unavailable,
    /// The request goes on to the app untouched.
    SentOn,
}

impl Ending {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "logged in",
            Self::Denied => "denied",
            Self::Unavailable => "503",
            Self::SentOn => "sent on",
        }
    }
}

/// What a login writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// The user, with the password that legacy accepted.
    TheProvenUser,
    /// Nothing but the conflict: the name belongs to another user here than legacy says.
    OnlyTheConflict,
    /// The same password, hashed anew.
    ANewHash,
    /// That legacy vouched for him again.
    ThatLegacyVouched,
    /// Our hash is dropped: legacy's no outlives the login.
    NoPassword,
}

impl Keeps {
    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::TheProvenUser => "the user and his password",
            Self::OnlyTheConflict => "the conflict alone",
            Self::ANewHash => "a new hash",
            Self::ThatLegacyVouched => "that legacy vouched again",
            Self::NoPassword => "our hash is dropped",
        }
    }
}

/// An explanation, with the record that it is about.
pub struct Explained {
    /// What would come.
    pub explanation: Explanation,
    /// Who is meant, if it is exactly one.
    pub user: Option<Box<User>>,
}

impl Explainer {
    /// Explains what a login under `typed` would come to now, and how the limits would meet it if it came `from` an address.
    pub async fn explain(&self, typed: &str, from: Option<IpAddr>) -> Result<Explained, StoreError> {
        let (mode, share) = (self.mode.current(), self.policy.local_share);
        let mut facts = Facts::default();
        let Ok(login) = RawIdentifier::new(typed).inspect_err(|why| facts.add("name", format!("{why}"))) else {
            facts.add("name", "Such a name can be nobody's, so that no hash is computed and nobody is asked.");
            let answerer = answerer_for(mode, share, Some(&Found::Nobody), &Candidates::default());
            let logins = forecast::of_nobodys_name(answerer);
            let facts = facts.0;
            let explanation =
                Explanation { identifier: typed.to_owned(), mode, names: Vec::new(), user: None, facts, logins };
            return Ok(Explained { explanation, user: None });
        };
        let candidates = self.policy.identifiers.candidates(&login);
        let names = self.meanings(&candidates).await?;
        let Lookup { found, revision: _ } = self.store.find(&candidates).await?;
        let answerer = answerer_for(mode, share, Some(&found), &candidates);
        facts.add("mode", self.about_mode(answerer, &found));
        self.about_routes(answerer, &mut facts);
        let kept_for = self.kept_for(&found, &names).await?;
        facts.add("record", about_record(&found, kept_for));

        let user = match &found {
            Found::One(user) => Some(&**user),
            Found::Nobody | Found::Ambiguous => None,
        };
        let hash = user.map_or(HashLook::Absent, |user| self.hashes.look(&user.credential));
        if user.is_some() {
            facts.add("password", about_hash(&hash));
        }
        let from = from.map(ClientAddr::supposed);
        let account = account_key(&found, &candidates);
        let limits = self.running.as_ref().map(|running| running.accounts.peek(&account, from));
        let conflicts = match user {
            Some(user) => self.conflicts_with(user.id).await?,
            None => Vec::new(),
        };
        for said in &conflicts {
            facts.add("conflict", said);
        }
        let logins = match answerer {
            None => forecast::in_passthrough(),
            Some(answerer) => {
                let revalidate_after = self.policy.revalidate_after;
                let outlook = Outlook::new(answerer, known(&found), user, revalidate_after, self.clock.wall());
                self.about_legacy(outlook, user, &mut facts);
                let budget = || limits.is_none_or(|state| state.may_recheck);
                let recheck = recheck(self.policy.on_mismatch, budget);
                about_limits(outlook, recheck, limits, &mut facts);
                if let (Some(from), Some(there)) = (from, limits.and_then(|state| state.there)) {
                    about_address(outlook, from, there, &mut facts);
                }
                forecasts(&Settled {
                    outlook,
                    hash,
                    recheck,
                    asked_by: self.routes.first().map_or(AskedBy::Forward, |route| route.asked_by),
                    left_alone: self.is_left_alone(),
                    in_conflict: !conflicts.is_empty(),
                    kept_for_closed: kept_for == Some(KeptFor::SomebodyClosed),
                })
            }
        };
        let user_id = user.map(|user| user.id);
        let explanation =
            Explanation { identifier: typed.to_owned(), mode, names, user: user_id, facts: facts.0, logins };
        let user = match found {
            Found::One(user) => Some(user),
            Found::Nobody | Found::Ambiguous => None,
        };
        Ok(Explained { explanation, user })
    }

    async fn meanings(&self, candidates: &Candidates) -> Result<Vec<Meaning>, StoreError> {
        let holders = self.store.holders(candidates.keys()).await?;
        let meanings = candidates.keys().iter().zip(holders).map(|(key, holder)| Meaning {
            kind: key.kind(),
            canonical: key.text().to_owned(),
            holder: holder.map(|holder| holder.id),
            reserved: holder.is_some_and(|holder| !holder.bears),
        });
        Ok(meanings.collect())
    }

    /// For whom a name that finds nobody is kept from others.
    async fn kept_for(&self, found: &Found, names: &[Meaning]) -> Result<Option<KeptFor>, StoreError> {
        let holder = match found {
            Found::Nobody => names.iter().filter(|name| name.reserved).find_map(|name| name.holder),
            Found::One(_) | Found::Ambiguous => None,
        };
        let Some(holder) = holder else { return Ok(None) };
        let owner = self.store.user(holder).await?;
        // Without legacy's id he would not be known for who he is.
        let is_closed = owner.is_some_and(|user| user.standing != Standing::Active && user.legacy_id.is_some());
        Ok(Some(if is_closed { KeptFor::SomebodyClosed } else { KeptFor::Somebody }))
    }

    async fn conflicts_with(&self, holder: UserId) -> Result<Vec<String>, StoreError> {
        let query =
            ConflictQuery { with: Some(holder), decided_too: true, limit: MAX_CONFLICTS, ..ConflictQuery::default() };
        let mut conflicts = self.store.conflicts(query).await?;
        // One whose names were given says nothing of a login any more.
        conflicts.retain(|conflict| conflict.decided.is_none_or(|decided| decided.decision.is_standing()));
        let say = |conflict: &crate::domain::conflict::Conflict| {
            let decided = conflict.decided.map_or("not decided yet", |decided| decided.decision.as_str());
            format!(
                "Conflict {} ({decided}): legacy has proven its user {:?} under a name of his, {}. Such a login is answered as \
                 legacy does, and nothing of it is kept.",
                conflict.number,
                conflict.legacy_id,
                if conflict.times == 1 { "once".to_owned() } else { format!("{} times", conflict.times) }
            )
        };
        Ok(conflicts.iter().map(say).collect())
    }

    fn is_left_alone(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.metrics.is_breaker_open())
    }

    fn about_mode(&self, answerer: Option<Answerer>, found: &Found) -> String {
        let (mode, share) = (self.mode.current(), self.policy.local_share.percent());
        if self.routes.is_empty() {
            return format!("{mode}, and no route with action = \"login\": no login is intercepted.");
        }
        let said = match (answerer, mode) {
            (None, _) => "everything is sent on to the app; nothing is looked at.".to_owned(),
            (Some(Answerer::Legacy), Mode::Migrate) => format!(
                "local_share = {share}, and this user is not in the share: legacy answers, and we watch as in observe."
            ),
            (Some(Answerer::Legacy), Mode::Passthrough | Mode::Observe | Mode::Retired) => {
                "legacy answers every login; what it proves is kept, and compared with what we would say.".to_owned()
            }
            (Some(Answerer::LocalFirst), mode) if goes_by_the_user(mode, self.policy.local_share) => match found {
                Found::One(user) if user.is_unknown_to_legacy() => {
                    format!("local_share = {share}; legacy has never known this user, so that we answer.")
                }
                Found::One(_) | Found::Nobody | Found::Ambiguous => {
                    format!("local_share = {share}, and this user is in the share: we answer whom we know.")
                }
            },
            (Some(Answerer::LocalFirst), _) => "we answer whom we know; legacy is asked for everyone else.".to_owned(),
            (Some(Answerer::LocalOnly), _) => "we answer; legacy is never asked.".to_owned(),
        };
        format!("{mode}: {said}")
    }

    /// What is only true of some of the routes on which users log in.
    fn about_routes(&self, answerer: Option<Answerer>, facts: &mut Facts) {
        let answers = match answerer {
            None | Some(Answerer::Legacy) => false,
            Some(Answerer::LocalFirst | Answerer::LocalOnly) => true,
        };
        let by_the_app: Vec<&str> = self
            .routes
            .iter()
            .filter(|route| route.session_by == SessionBy::TheApp)
            .map(|route| &*route.name)
            .collect();
        if answers && !by_the_app.is_empty() {
            facts.add(
                "route",
                format!(
                    "On {} our yes is not the end: the request goes on to the app, which makes the session, and may still say no.",
                    by_the_app.join(", ")
                ),
            );
        }
        if let Some(first) = self.routes.first()
            && self.routes.iter().any(|route| route.asked_by != first.asked_by)
        {
            facts.add(
                "route",
                format!("Some routes call legacy and others forward to it; what follows is said of {}.", first.name),
            );
        }
    }

    fn about_legacy(&self, outlook: Outlook, user: Option<&User>, facts: &mut Facts) {
        if outlook.last_word() == Answerer::LocalOnly && outlook.answerer != Answerer::Legacy {
            if outlook.at_legacy == ToLegacy::Unknown {
                facts.add("legacy", "He registered here and legacy was never told of him: its word would say nothing.");
            }
            return;
        }
        if self.is_left_alone() {
            facts.add(
                "legacy",
                "The breaker is open: legacy has failed so often that it is left alone for a while. Go by what is said of legacy down.",
            );
        }
        let age = |user: &User| {
            user.legacy_vouched_at.map_or_else(
                || "Legacy has never vouched for him".to_owned(),
                |at| format!("Legacy last vouched for him {} ago", roughly(self.clock.wall().since(at))),
            )
        };
        match (user, self.policy.revalidate_after, outlook.vouched) {
            (None, _, _) => {}
            (Some(user), None, _) => {
                facts.add("legacy", format!("{}; without revalidate_after it is not asked again.", age(user)));
            }
            (Some(user), Some(limit), Vouched::Recently) => {
                facts.add("legacy", format!("{}, which is less than revalidate_after = {}.", age(user), roughly(limit)))
            }
            (Some(user), Some(limit), Vouched::LongAgo) => facts.add(
                "legacy",
                format!("{}, longer than revalidate_after = {}: it is asked again.", age(user), roughly(limit)),
            ),
        }
    }
}

/// What is collected, in order.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, about: &str, says: impl AsRef<str>) {
        let mut says = says.as_ref().to_owned();
        if let Some(first) = says.get(..1) {
            let capital = first.to_uppercase();
            says.replace_range(..1, &capital);
        }
        self.0.push(Fact { about: about.to_owned(), says });
    }
}

/// For whom a name is kept that finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptFor {
    /// A user who may log in.
    Somebody,
    /// One who is disabled or deleted, and whom legacy's id tells.
    SomebodyClosed,
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

fn about_limits(outlook: Outlook, recheck: Recheck, limits: Option<AccountState>, facts: &mut Facts) {
    if limits.is_none() {
        facts.add("limits", "No proxy is running: limits on attempts and the breaker begin anew when it starts.");
    }
    if outlook.answerer == Answerer::Legacy {
        return;
    }
    if let Some(wait) = limits.and_then(|state| state.closed_for) {
        facts.add(
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
            Recheck::Spent => facts.add(
                "limits",
                "The account's recheck_budget is used up: for a while a password that does not match here is denied without asking \
                 legacy.",
            ),
            Recheck::Off => facts.add("limits", "on_mismatch = \"deny\": legacy is not asked after a mismatch."),
        }
    }
}

/// How the limits would meet an attempt from one address.
fn about_address(outlook: Outlook, from: ClientAddr, there: There, facts: &mut Facts) {
    let network = match there.standing {
        ClientStanding::Known => "a network that somebody has logged in to this account from",
        ClientStanding::Unknown => "a network that nobody has logged in to this account from since the start",
    };
    let met = match (there.refused, outlook.answerer) {
        (Some(("address", wait)), _) => {
            format!("too many requests came from it, on whatever account: 429 for {} (limits.per_ip)", roughly(wait))
        }
        (_, Answerer::Legacy) => "legacy answers, and no limit on accounts holds anything up".to_owned(),
        (Some((limit, wait)), Answerer::LocalFirst | Answerer::LocalOnly) => {
            format!("an attempt is refused for {}: 429, by the limit {limit:?}", roughly(wait))
        }
        (None, Answerer::LocalFirst | Answerer::LocalOnly) => "an attempt is let through".to_owned(),
    };
    facts.add("limits", format!("From {from}, {network}: {met}."));
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
