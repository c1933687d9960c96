//! What `explain` says of the next login, held against what that login then does: every state of a record, every mode, every
//! password that could be typed, legacy up and down.

use std::sync::Arc;
use std::time::Duration;

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::credential::{AbsentBecause, Credential, StoredHash};
use authferry::domain::identifier::{IdentifierKind, IdentifierRules};
use authferry::domain::login::AskedBy;
use authferry::domain::mode::{LocalShare, Mode};
use authferry::domain::password::{Password, PasswordNormalization};
use authferry::domain::user::{LegacyId, Origin, Standing, User};
use authferry::password::HashPool;
use authferry::service::explain::{By, Ending, Explanation, Forecast, Given, Keeps, LegacyIs, LoginRoute, SessionBy};
use authferry::service::ports::{AfterRemoval, ClientStanding, Found, PasswordHasher as _, UserChange, UserStore as _};
use authferry::service::reply::Reply;
use authferry::service::{OnMismatch, Policy};
use authferry::telemetry::Metrics;
use authferry::telemetry::metrics::{Outcome, Source};
use serde_json::json;
use zeroize::Zeroizing;

use crate::support::legacy::{DoubleUser, LegacyDouble, Misbehaviour, ann};
use crate::support::memory_store::{MemoryStore, user};
use crate::support::service::{Decided, Kept, Rig, password_settings, policy, rig_of};

const ANN: &str = "ann@example.com";
const RIGHT: &str = "correct horse battery";
const NEWER: &str = "a newer password";
const WRONG: &str = "wrong";

/// What the store holds of whom the login means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Nobody,
    OnTheRoster,
    ResetAtLegacy,
    Ours,
    /// With parameters that are not today's.
    OursOfOld,
    Imported,
    Unusable,
    /// Legacy vouched for him long ago.
    LongAgo,
    /// He registered here, and legacy has never heard of him.
    OursAlone,
    Disabled,
    Deleted,
    /// His phone number is another one's username.
    Ambiguous,
    /// The name is here under another legacy id than legacy proves.
    InConflict,
    /// The name was taken from him and is reserved.
    Reserved,
    /// The same, and he is disabled.
    ReservedOfDisabled,
    /// He was deleted, and came back by an operator's word.
    Undeleted,
}

const STATES: [State; 16] = [
    State::Nobody,
    State::OnTheRoster,
    State::ResetAtLegacy,
    State::Ours,
    State::OursOfOld,
    State::Imported,
    State::Unusable,
    State::LongAgo,
    State::OursAlone,
    State::Disabled,
    State::Deleted,
    State::Ambiguous,
    State::InConflict,
    State::Reserved,
    State::ReservedOfDisabled,
    State::Undeleted,
];

/// Hashes of [`RIGHT`] under today's parameters and under others.
struct Hashes {
    today: StoredHash,
    of_old: StoredHash,
}

impl Hashes {
    async fn new() -> Self {
        let hash = |settings| async move {
            let pool = HashPool::start(settings, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a pool");
            let password = Password::new(Zeroizing::new(RIGHT.to_owned())).expect("a password");
            pool.hash(ClientStanding::Known, Arc::new(password)).await.expect("a hash").into_stored()
        };
        let mut of_old = password_settings();
        of_old.iterations += 1;
        Self { today: hash(password_settings()).await, of_old: hash(of_old).await }
    }
}

fn annas(credential: Credential) -> User {
    let rules = IdentifierRules::default();
    let alias = |kind, value: &str| rules.identifier(kind, value, None).expect("a valid identifier");
    let names = vec![
        alias(IdentifierKind::Email, ANN),
        alias(IdentifierKind::Username, "Ann"),
        alias(IdentifierKind::Phone, &ann().phone),
    ];
    let mut ann = user(7, names, credential, json!({ "id": 7 }));
    ann.legacy_vouched_at = Some(UnixSeconds(1_800_000_000 - 60));
    ann
}

/// The store in a state, and what is typed to mean its user.
async fn store_in(state: State, hashes: &Hashes) -> (Arc<MemoryStore>, String) {
    let store = Arc::new(MemoryStore::default());
    let ours = || Credential::Argon2id(hashes.today.clone());
    let unusable = StoredHash::new("$argon2id$v=19$nonsense".to_owned(), PasswordNormalization::None);
    let ann = match state {
        State::Nobody => return (store, ANN.to_owned()),
        State::OnTheRoster => {
            let mut ann = annas(Credential::Absent(AbsentBecause::Roster));
            (ann.origin, ann.legacy_vouched_at) = (Origin::Roster, None);
            ann
        }
        State::ResetAtLegacy => annas(Credential::Absent(AbsentBecause::ResetAtLegacy)),
        State::Ours | State::Ambiguous | State::Reserved | State::ReservedOfDisabled | State::Undeleted => {
            annas(ours())
        }
        State::OursOfOld => annas(Credential::Argon2id(hashes.of_old.clone())),
        State::Imported => annas(Credential::Imported(hashes.of_old.clone())),
        State::Unusable => annas(Credential::Argon2id(unusable)),
        State::LongAgo => {
            let mut ann = annas(ours());
            ann.legacy_vouched_at = Some(UnixSeconds(1_700_000_000));
            ann
        }
        State::OursAlone => {
            let mut ann = annas(ours());
            (ann.origin, ann.legacy_id, ann.legacy_vouched_at) = (Origin::Registered, None, None);
            ann
        }
        State::Disabled => {
            let mut ann = annas(ours());
            ann.standing = Standing::Disabled;
            ann
        }
        State::Deleted => {
            let mut ann = annas(Credential::Absent(AbsentBecause::ResetAtLegacy));
            ann.standing = Standing::Deleted;
            ann
        }
        State::InConflict => {
            let mut ann = annas(ours());
            ann.legacy_id = LegacyId::from_json(&json!(4711));
            ann
        }
    };
    let id = ann.id;
    store.put(ann);
    let version = || async { store.user(id).await.expect("a lookup").expect("Ann").version };
    let email = IdentifierRules::default().identifier(IdentifierKind::Email, ANN, None).expect("an email").normalized;
    let mut typed = ANN.to_owned();
    match state {
        State::Ambiguous => {
            let phone = ann_phone();
            let name = IdentifierRules::default().identifier(IdentifierKind::Username, &phone, None).expect("a name");
            store.put(user(8, vec![name], Credential::Absent(AbsentBecause::Roster), json!({})));
            typed = phone;
        }
        State::Reserved | State::ReservedOfDisabled => {
            let taken = UserChange::RemoveAlias { name: email, then: AfterRemoval::Reserved };
            store.update(id, version().await, taken).await.expect("a change");
            if state == State::ReservedOfDisabled {
                let closed = UserChange::SetStanding(Standing::Disabled);
                store.update(id, version().await, closed).await.expect("a change");
            }
        }
        State::Undeleted => {
            store.update(id, version().await, UserChange::SetStanding(Standing::Deleted)).await.expect("a change");
            store.update(id, version().await, UserChange::Undelete).await.expect("a change");
        }
        State::Nobody
        | State::OnTheRoster
        | State::ResetAtLegacy
        | State::Ours
        | State::OursOfOld
        | State::Imported
        | State::Unusable
        | State::LongAgo
        | State::OursAlone
        | State::Disabled
        | State::Deleted
        | State::InConflict => {}
    }
    (store, typed)
}

fn ann_phone() -> String {
    ann().phone
}

/// Legacy as the forecast assumes it, and the password that is typed.
fn stage(double: &LegacyDouble, state: State, forecast: &Forecast, down: bool) -> &'static str {
    let (typed, at_legacy) = match forecast.password {
        Given::Right => (RIGHT, RIGHT),
        Given::OnlyHere => (RIGHT, NEWER),
        Given::OnlyAtLegacy => (NEWER, NEWER),
        Given::Wrong => (WRONG, RIGHT),
    };
    if state == State::OursAlone {
        double.remove_user(7);
    } else {
        double.put_user(DoubleUser { password: at_legacy.to_owned(), ..ann() });
    }
    double.behave(down.then_some(Misbehaviour::HangsUp));
    typed
}

fn ended(reply: &Reply) -> (By, Ending) {
    let by = match reply.source {
        Source::Local => By::Local,
        Source::Legacy => By::Legacy,
        Source::Edge => By::Edge,
    };
    let ending = match reply.outcome {
        Outcome::Ok => Ending::Ok,
        Outcome::Denied => Ending::Denied,
        Outcome::Unavailable => Ending::Unavailable,
        Outcome::Unrecognised => Ending::SentOn,
        other => panic!("no forecast says {other:?}"),
    };
    (by, ending)
}

/// What of a record tells what was kept: its version, whether it has a password, when legacy vouched.
async fn trace(rig: &Rig, typed: &str) -> Option<(u64, bool, Option<u64>)> {
    let raw = authferry::domain::identifier::RawIdentifier::new(typed).expect("a valid identifier");
    match rig.store.find(&IdentifierRules::default().candidates(&raw)).await.expect("a lookup").found {
        Found::One(user) => {
            let has_password = !matches!(user.credential, Credential::Absent(_));
            Some((user.version.0, has_password, user.legacy_vouched_at.map(|at| at.0)))
        }
        Found::Nobody | Found::Ambiguous => None,
    }
}

/// Runs every forecast of a table and counts them.
async fn hold(mode: Mode, policy: Policy, states: &[State]) -> usize {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let mut held = 0;
    for state in states {
        let (store, typed) = store_in(*state, &hashes).await;
        let before = rig_of(&double, Decided { mode, policy }, Kept::In(&store)).await;
        if *state == State::InConflict {
            // The conflict has come up before.
            double.put_user(DoubleUser { password: NEWER.to_owned(), ..ann() });
            double.behave(None);
            let migrating = Decided { mode: Mode::Migrate, policy: policy_with(|_| {}) };
            rig_of(&double, migrating, Kept::In(&store)).await.login(&typed, NEWER).await;
        }
        let Explanation { logins, .. } = before.explainer.explain(&typed, None).await.expect("a store").explanation;
        assert!(logins.len() >= 2, "{mode} {state:?}: {logins:?}");
        for forecast in &logins {
            let legs: &[bool] = match forecast.legacy {
                LegacyIs::Up => &[false],
                LegacyIs::Down => &[true],
                LegacyIs::Either => &[false, true],
            };
            for down in legs {
                let what = format!("{mode} {state:?} {:?} legacy down: {down}", forecast.password);
                let (store, typed) = store_in(*state, &hashes).await;
                let rig = rig_of(&double, Decided { mode, policy }, Kept::In(&store)).await;
                let password = stage(&double, *state, forecast, *down);
                let (was, users) = (trace(&rig, &typed).await, rig.store.counts().await.expect("counts"));
                let reply = rig.login(&typed, password).await;
                rig.service.drain().await;
                assert_eq!(ended(&reply), (forecast.by, forecast.outcome), "{what}: {:#?}", forecast.path);
                let (is, now) = (trace(&rig, &typed).await, rig.store.counts().await.expect("counts"));
                match (forecast.keeps, *state) {
                    (Keeps::Nothing, _) => assert_eq!((is, now), (was, users), "{what}"),
                    (Keeps::OnlyTheConflict, _) => {
                        assert_eq!((is, now.conflicts), (was, users.conflicts + 1), "{what}");
                    }
                    (Keeps::TheProvenUser, State::Ambiguous) => {
                        assert_eq!(
                            (is, now),
                            (was, users),
                            "{what}: the record that legacy named is brought up to date"
                        );
                    }
                    (Keeps::TheProvenUser, _) => {
                        let (version, has_password, vouched) = is.expect("he is here");
                        assert!(has_password && vouched == Some(1_800_000_000), "{what}: {is:?}");
                        assert!(was.is_none_or(|(before, ..)| before < version), "{what}");
                    }
                    (Keeps::ANewHash, _) => {
                        let ((before, had, vouched), (after, has, still)) = (was.expect("here"), is.expect("here"));
                        assert!(before < after && had && has && vouched == still, "{what}: {was:?} {is:?}");
                    }
                    (Keeps::ThatLegacyVouched, _) => {
                        let ((before, had, _), (after, has, vouched)) = (was.expect("here"), is.expect("here"));
                        assert!(before < after && had && has && vouched.is_some(), "{what}: {was:?} {is:?}");
                    }
                    (Keeps::NoPassword, _) => {
                        let ((_, had, _), (_, has, _)) = (was.expect("here"), is.expect("here"));
                        assert!(had && !has, "{what}: {was:?} {is:?}");
                    }
                }
                held += 1;
            }
        }
    }
    held
}

fn policy_with(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut changed = policy();
    change(&mut changed);
    changed
}

#[tokio::test]
async fn in_migrate_every_login_does_what_was_said_of_it() {
    let held = hold(Mode::Migrate, policy(), &STATES).await;
    assert!(held >= 60, "{held}");
}

#[tokio::test]
async fn in_migrate_with_an_old_word_of_legacys_every_login_does_what_was_said_of_it() {
    let asks_again = policy_with(|policy| policy.revalidate_after = Some(Duration::from_secs(3_600)));
    let held = hold(Mode::Migrate, asks_again, &[State::LongAgo, State::Ours, State::OursAlone, State::Imported]).await;
    assert!(held >= 20, "{held}");
}

#[tokio::test]
async fn in_migrate_without_rechecks_every_login_does_what_was_said_of_it() {
    let denies = policy_with(|policy| policy.on_mismatch = OnMismatch::Deny);
    let held = hold(Mode::Migrate, denies, &[State::Ours, State::OursAlone, State::Unusable, State::Nobody]).await;
    assert!(held >= 16, "{held}");
}

#[tokio::test]
async fn outside_the_share_every_login_does_what_was_said_of_it() {
    let nobodys = policy_with(|policy| policy.local_share = LocalShare::from_percent(0).expect("a percentage"));
    let states = [State::Nobody, State::Ours, State::OursAlone, State::Disabled, State::OnTheRoster];
    let held = hold(Mode::Migrate, nobodys, &states).await;
    assert!(held >= 16, "{held}");
}

#[tokio::test]
async fn in_observe_every_login_does_what_was_said_of_it() {
    let held = hold(Mode::Observe, policy(), &STATES).await;
    assert!(held >= 60, "{held}");
}

#[tokio::test]
async fn in_retired_and_passthrough_every_login_does_what_was_said_of_it() {
    let held = hold(Mode::Retired, policy(), &STATES).await + hold(Mode::Passthrough, policy(), &STATES[..4]).await;
    assert!(held >= 60, "{held}");
}

#[tokio::test]
async fn a_name_that_can_be_nobodys_is_said_to_be_so_in_every_mode() {
    let double = LegacyDouble::well_behaved();
    for mode in Mode::ALL {
        let store = Arc::new(MemoryStore::default());
        let rig = rig_of(&double, Decided { mode, policy: policy() }, Kept::In(&store)).await;
        for typed in ["", " ann@example.com", "ann\u{200b}@example.com"] {
            let told = rig.explainer.explain(typed, None).await.expect("a store").explanation;
            assert!(told.names.is_empty() && told.user.is_none(), "{mode} {typed:?}");
            let reply = rig.login(typed, RIGHT).await;
            for login in told.logins {
                assert_eq!((login.by, login.outcome), ended(&reply), "{mode} {typed:?}");
            }
        }
    }
}

#[tokio::test]
async fn r87_a_budget_that_is_used_up_is_told_and_explaining_uses_nothing_up() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let (store, typed) = store_in(State::Ours, &hashes).await;
    let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let wrong = async || {
        let told = rig.explainer.explain(&typed, None).await.expect("a store").explanation;
        let wrong = |login: &&Forecast| login.password == Given::Wrong;
        told.logins.iter().filter(wrong).map(|login| (login.legacy, login.by)).collect::<Vec<_>>()
    };
    for _ in 0..20 {
        assert_eq!(wrong().await, [(LegacyIs::Up, By::Legacy), (LegacyIs::Down, By::Legacy)]);
    }
    let calls = double.calls();
    for _ in 0..3 {
        assert_eq!(ended(&rig.login(&typed, WRONG).await), (By::Legacy, Ending::Denied));
    }
    assert_eq!(double.calls(), calls + 3);
    assert_eq!(wrong().await, [(LegacyIs::Either, By::Local)]);
    assert_eq!(ended(&rig.login(&typed, WRONG).await), (By::Local, Ending::Denied));
}

#[tokio::test]
async fn an_account_that_is_closed_to_strangers_is_told_to_be_so() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let (store, typed) = store_in(State::Ours, &hashes).await;
    let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let about_limits = async || {
        let told = rig.explainer.explain(&typed, None).await.expect("a store").explanation;
        told.facts.into_iter().filter(|fact| fact.about == "limits").map(|fact| fact.says).collect::<Vec<_>>()
    };
    assert_eq!(about_limits().await, Vec::<String>::new());
    let mut limited = false;
    for _ in 0..120 {
        limited |= rig.login(&typed, WRONG).await.outcome == Outcome::Limited;
    }
    assert!(limited, "the account is closed by now");
    let said = about_limits().await.join(" ");
    assert!(said.contains("429") && said.contains("recheck_budget is used up"), "{said}");
}

#[tokio::test]
async fn from_an_address_it_is_told_how_the_limits_will_meet_a_login() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let (store, typed) = store_in(State::Ours, &hashes).await;
    let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let from = async |address: &str| {
        let told = rig.explainer.explain(&typed, Some(address.parse().expect("an address"))).await.expect("a store");
        let said = told.explanation.facts.into_iter().filter(|fact| fact.says.starts_with("From "));
        said.map(|fact| fact.says).collect::<Vec<_>>().join(" ")
    };
    // Logins of this rig come from 127.0.0.1.
    assert!(from("127.0.0.1").await.contains("nobody has logged in to this account from"));
    assert_eq!(ended(&rig.login(&typed, RIGHT).await), (By::Local, Ending::Ok));
    let known = from("127.0.0.1").await;
    assert!(known.contains("somebody has logged in") && known.contains("is let through"), "{known}");
    assert!(from("192.0.2.1").await.contains("nobody has logged in"));
    while rig.login(&typed, WRONG).await.outcome != Outcome::Limited {}
    let closed = from("127.0.0.1").await;
    assert!(closed.contains("is refused for") && closed.contains("429"), "{closed}");
}

#[tokio::test]
async fn where_the_app_makes_the_session_it_is_told_to_have_the_last_word() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let (store, typed) = store_in(State::Ours, &hashes).await;
    let mut rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let route = |name: &str, asked_by, session_by| LoginRoute { name: name.into(), asked_by, session_by };
    let about_routes = async |rig: &Rig| {
        let told = rig.explainer.explain(&typed, None).await.expect("a store").explanation;
        told.facts.into_iter().filter(|fact| fact.about == "route").map(|fact| fact.says).collect::<Vec<_>>()
    };
    assert_eq!(about_routes(&rig).await, Vec::<String>::new());
    rig.explainer.routes =
        vec![route("api", AskedBy::Call, SessionBy::Us), route("web", AskedBy::Forward, SessionBy::TheApp)];
    let said = about_routes(&rig).await;
    assert!(said[0].contains("web") && said[0].contains("may still say no"), "{said:?}");
    assert!(said[1].contains("is said of api"), "{said:?}");
}

#[tokio::test]
async fn explaining_changes_nothing_asks_nobody_and_shows_no_hash() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    for state in STATES {
        let (store, typed) = store_in(state, &hashes).await;
        let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
        let was = (trace(&rig, &typed).await, rig.store.counts().await.expect("counts"));
        let told = serde_json::to_string(&rig.explainer.explain(&typed, None).await.expect("a store").explanation);
        let told = told.expect("JSON");
        assert_eq!((trace(&rig, &typed).await, rig.store.counts().await.expect("counts")), was, "{state:?}");
        assert!(!told.contains("$argon2") && !told.contains("nonsense"), "{state:?}: {told}");
    }
    assert_eq!(double.calls(), 0);
}

#[tokio::test]
async fn every_meaning_of_the_text_is_shown_with_whose_it_is() {
    let (double, hashes) = (LegacyDouble::well_behaved(), Hashes::new().await);
    let (store, typed) = store_in(State::Ambiguous, &hashes).await;
    let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let told = rig.explainer.explain(&typed, None).await.expect("a store").explanation;
    let names: Vec<_> =
        told.names.iter().map(|name| (name.kind, name.canonical.as_str(), name.holder.is_some())).collect();
    assert_eq!(
        names,
        [(IdentifierKind::Phone, "491511234567", true), (IdentifierKind::Username, "+49 151 1234567", true)]
    );
    assert_eq!(told.user, None);
    assert_ne!(told.names[0].holder, told.names[1].holder);

    let (store, typed) = store_in(State::Reserved, &hashes).await;
    let rig = rig_of(&double, Decided::default(), Kept::In(&store)).await;
    let told = rig.explainer.explain(&typed, None).await.expect("a store").explanation;
    assert!(told.names[0].reserved && told.names[0].holder.is_some() && told.user.is_none(), "{told:?}");
}
