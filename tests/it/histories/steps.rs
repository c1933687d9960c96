//! What a history is made of: writes in small numbers that proptest can shrink, and what they stand for once it is known who is
//! there.

use authferry::domain::clock::UnixSeconds;
use authferry::domain::conflict::Resolution;
use authferry::domain::credential::AbsentBecause;
use authferry::domain::identifier::{Identifier, NormalizedIdentifier};
use authferry::domain::import::OnConflict;
use authferry::domain::mode::Mode;
use authferry::domain::portable::PortableRoster;
use authferry::domain::user::{LegacyId, Origin, Standing, UserId, Version};
use authferry::service::ports::AfterRemoval;
use authferry::store::redb::MAX_ALIASES;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::{Change, Migration, Model, Registration, Row, Secret};
use crate::store_people::{email, phone, username};

/// One step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Writes that are asked for at once, in this order: some share a commit.
    Writes(Vec<Ask>),
    /// Time passes.
    Tick(u8),
    /// The store is closed and opened.
    Reopen,
    /// The power goes: this many calls of the disk before now, or anywhere since the last time; `dice` decides which sectors stay.
    PowerCut { back: Back, dice: u64 },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Back {
    Calls(u8),
    Anywhere,
}

/// A write, before it is known who is there.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Migrate {
        id: Id,
        names: Vec<Name>,
        asked: Asking,
        based_on: BasedOn,
    },
    Register {
        names: Vec<Name>,
        must_be_free: Option<Name>,
        at_legacy: Option<Option<Id>>,
    },
    Change {
        who: Who,
        based_on: BasedOn,
        what: What,
    },
    Resolve {
        which: u8,
        how: How,
    },
    Import {
        rows: Vec<AskedRow>,
        on_conflict: OnConflict,
    },
    /// These users, counted around.
    Forget {
        who: Vec<u8>,
        based_on: BasedOn,
    },
    SetMode(usize),
}

/// A row of an import, before it is known who is there.
#[derive(Debug, Clone)]
pub(super) struct AskedRow {
    id: Option<u8>,
    legacy_id: Option<Id>,
    names: Vec<Name>,
    brings: Brings,
    standing: Standing,
    vouched: bool,
    roster: bool,
}

/// What a row brings for a password.
#[derive(Debug, Clone, Copy)]
pub(super) enum Brings {
    Nothing,
    /// Nothing, since legacy asks for more than a password.
    Left,
    Ours,
    Others,
}

/// What an operator chooses about a conflict.
#[derive(Debug, Clone)]
pub(super) enum How {
    Keep,
    DisableHolder,
    /// These of the names that it is about, counted around.
    Give(Vec<u8>),
    /// A name that it may not be about.
    GiveName(Name),
}

/// Somebody.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// The user of this number, counted around.
    Number(u8),
    Nobody,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Id {
    Number(u8),
    /// The same id as text.
    Text(u8),
    /// What reads as our own id of somebody.
    OwnOf(u8),
}

/// Names of a pool so small that they clash.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Email(u8),
    ShoutedEmail(u8),
    Username(u8),
    ShoutedUsername(u8),
    Phone(u8),
    /// A username that reads as an address.
    Address(u8),
    /// A username that reads as a phone number.
    Digits(u8),
    /// Forty usernames that nobody has had: twice as many are more than one user keeps.
    Many,
}

/// Which of the names were typed and confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asking {
    All,
    First,
    None,
}

/// What a write is based on.
#[derive(Debug, Clone, Copy)]
pub(super) enum BasedOn {
    Today,
    /// So many versions ago.
    Earlier(u8),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Rehash,
    SetPassword,
    DropPassword,
    Enable,
    Disable,
    Delete,
    Vouched,
    Undelete,
    AddAlias(Name, Option<Name>),
    /// One of his own, counted around.
    RemoveOwn(u8, AfterRemoval),
    RemoveAlias(Name, AfterRemoval),
}

/// A write as it is asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Migrate(Migration),
    Register(Registration),
    Change(UserId, Version, Change),
    Resolve(u64, Resolution),
    Import(Vec<Row>, OnConflict),
    Forget(Vec<(UserId, Version)>),
    SetMode(Mode),
}

impl Asked {
    /// The names that it brings.
    pub(super) fn names(&self) -> Vec<&NormalizedIdentifier> {
        match self {
            Self::Migrate(asked) => asked.names.iter().map(|name| &name.normalized).collect(),
            Self::Register(asked) => asked.names.iter().map(|name| &name.normalized).collect(),
            Self::Change(_, _, Change::AddAlias(name, _)) => vec![&name.normalized],
            Self::Import(rows, _) => rows.iter().flat_map(|row| &row.names).map(|name| &name.normalized).collect(),
            Self::Change(..) | Self::Resolve(..) | Self::Forget(_) | Self::SetMode(_) => Vec::new(),
        }
    }
}

/// A history of some length.
pub(super) fn histories() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let back = prop_oneof![3 => (0_u8..40).prop_map(Back::Calls), 1 => Just(Back::Anywhere)];
    prop_oneof![
        24 => vec(ask(), 1..=1).prop_map(Step::Writes),
        8 => vec(ask(), 2..8).prop_map(Step::Writes),
        2 => (1_u8..100).prop_map(Step::Tick),
        1 => Just(Step::Reopen),
        3 => (back, any::<u64>()).prop_map(|(back, dice)| Step::PowerCut { back, dice }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let names = || vec(name(), 0..4);
    let asking = prop_oneof![4 => Just(Asking::All), 1 => Just(Asking::First), 1 => Just(Asking::None)];
    let at_legacy = prop_oneof![3 => Just(None), 2 => Just(Some(None)), 2 => id().prop_map(|id| Some(Some(id)))];
    let what = prop_oneof![
        2 => Just(What::Rehash),
        4 => Just(What::SetPassword),
        2 => Just(What::DropPassword),
        1 => Just(What::Enable),
        2 => Just(What::Disable),
        2 => Just(What::Delete),
        1 => Just(What::Vouched),
        2 => Just(What::Undelete),
        3 => (name(), proptest::option::of(name())).prop_map(|(name, free)| What::AddAlias(name, free)),
        3 => (any::<u8>(), then()).prop_map(|(own, then)| What::RemoveOwn(own, then)),
        2 => (name(), then()).prop_map(|(name, then)| What::RemoveAlias(name, then)),
    ];
    let how = prop_oneof![
        1 => Just(How::Keep),
        1 => Just(How::DisableHolder),
        4 => vec(any::<u8>(), 0..3).prop_map(How::Give),
        1 => name().prop_map(How::GiveName),
    ];
    let who = prop_oneof![12 => any::<u8>().prop_map(Who::Number), 1 => Just(Who::Nobody)];
    let on_conflict = prop_oneof![Just(OnConflict::Skip), Just(OnConflict::Merge), Just(OnConflict::Replace)];
    prop_oneof![
        6 => (id(), names(), asking, based_on())
            .prop_map(|(id, names, asked, based_on)| Ask::Migrate { id, names, asked, based_on }),
        4 => (vec(name(), 1..4), proptest::option::of(name()), at_legacy)
            .prop_map(|(names, must_be_free, at_legacy)| Ask::Register { names, must_be_free, at_legacy }),
        8 => (who, based_on(), what).prop_map(|(who, based_on, what)| Ask::Change { who, based_on, what }),
        2 => (any::<u8>(), how).prop_map(|(which, how)| Ask::Resolve { which, how }),
        3 => (vec(row(), 0..7), on_conflict).prop_map(|(rows, on_conflict)| Ask::Import { rows, on_conflict }),
        2 => (vec(any::<u8>(), 1..6), based_on()).prop_map(|(who, based_on)| Ask::Forget { who, based_on }),
        1 => (0_usize..Mode::ALL.len()).prop_map(Ask::SetMode),
    ]
}

fn row() -> impl Strategy<Value = AskedRow> {
    let own = prop_oneof![5 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let legacy_id = prop_oneof![1 => Just(None), 3 => id().prop_map(Some)];
    let brings = prop_oneof![Just(Brings::Nothing), Just(Brings::Left), Just(Brings::Ours), Just(Brings::Others)];
    let standing =
        prop_oneof![6 => Just(Standing::Active), 1 => Just(Standing::Disabled), 1 => Just(Standing::Deleted)];
    (own, legacy_id, vec(name(), 1..4), brings, standing, any::<bool>(), any::<bool>()).prop_map(
        |(id, legacy_id, names, brings, standing, vouched, roster)| AskedRow {
            id,
            legacy_id,
            names,
            brings,
            standing,
            vouched,
            roster,
        },
    )
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![6 => (0_u8..8).prop_map(Id::Number), 2 => (0_u8..8).prop_map(Id::Text), 1 => any::<u8>().prop_map(Id::OwnOf)]
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        5 => (0_u8..EMAILS).prop_map(Name::Email),
        1 => (0_u8..EMAILS).prop_map(Name::ShoutedEmail),
        5 => (0_u8..USERNAMES).prop_map(Name::Username),
        1 => (0_u8..USERNAMES).prop_map(Name::ShoutedUsername),
        2 => (0_u8..PHONES).prop_map(Name::Phone),
        1 => (0_u8..EMAILS).prop_map(Name::Address),
        1 => (0_u8..PHONES).prop_map(Name::Digits),
        1 => Just(Name::Many),
    ]
}

fn then() -> impl Strategy<Value = AfterRemoval> {
    prop_oneof![Just(AfterRemoval::Reserved), Just(AfterRemoval::Free)]
}

fn based_on() -> impl Strategy<Value = BasedOn> {
    prop_oneof![6 => Just(BasedOn::Today), 1 => (1_u8..4).prop_map(BasedOn::Earlier)]
}

const EMAILS: u8 = 6;
const USERNAMES: u8 = 6;
const PHONES: u8 = 3;

/// Everything that somebody may type, names that nobody has included.
pub(super) fn typed() -> Vec<String> {
    let emails = (0..=EMAILS).flat_map(|n| [format!("ada{n}@x.y"), format!("ADA{n}@X.Y")]);
    let usernames = (0..=USERNAMES).flat_map(|n| [format!("ada{n}"), format!("Ada{n}")]);
    let phones = (0..=PHONES).flat_map(|n| [format!("+49 151 00{n}"), format!("4915100{n}")]);
    emails.chain(usernames).chain(phones).chain(["new7-3".to_owned()]).collect()
}

/// What lists are asked for by.
pub(super) const PREFIXES: [&str; 7] = ["ada", "ada1", "ada1@", "4915", "new", "new1", "nobody"];

/// Every id that legacy may have given.
pub(super) fn legacy_ids() -> Vec<String> {
    (0..9_u8).map(|n| n.to_string()).collect()
}

impl Name {
    /// `serial` makes names that are there once.
    fn identifiers(self, serial: usize) -> Vec<Identifier> {
        match self {
            Self::Email(n) => vec![email(&format!("ada{n}@x.y"))],
            Self::ShoutedEmail(n) => vec![email(&format!("Ada{n}@X.Y"))],
            Self::Username(n) => vec![username(&format!("ada{n}"))],
            Self::ShoutedUsername(n) => vec![username(&format!("ADA{n}"))],
            Self::Phone(n) => vec![phone(&format!("+49 151 00{n}"))],
            Self::Address(n) => vec![username(&format!("ada{n}@x.y"))],
            Self::Digits(n) => vec![username(&format!("4915100{n}"))],
            Self::Many => (0..40).map(|n| username(&format!("new{serial}-{n}"))).collect(),
        }
    }
}

impl Id {
    fn of(self, users: &[UserId]) -> LegacyId {
        let json = match self {
            Self::Number(n) => json!(n),
            Self::Text(n) => json!(n.to_string()),
            Self::OwnOf(n) => match nth(users, n) {
                Some(user) => json!(user.to_string()),
                None => json!("nobody's"),
            },
        };
        LegacyId::from_json(&json).expect("a stable id")
    }
}

/// One of a few, counted around.
fn nth<T: Clone>(few: &[T], number: u8) -> Option<T> {
    few.get(usize::from(number) % few.len().max(1)).cloned()
}

impl BasedOn {
    fn of(self, today: Version) -> Version {
        match self {
            Self::Today => today,
            Self::Earlier(versions) => Version(today.0.saturating_sub(u64::from(versions))),
        }
    }
}

impl Ask {
    /// What this comes to with these users. Every write has a password and a profile of its own, told by `serial`.
    pub(super) fn meant(&self, model: &Model, serial: usize, at: UnixSeconds) -> Asked {
        let users: Vec<UserId> = model.users.keys().copied().collect();
        let all =
            |names: &[Name]| -> Vec<Identifier> { names.iter().flat_map(|name| name.identifiers(serial)).collect() };
        let keys = |names: &[Identifier]| -> Vec<NormalizedIdentifier> {
            names.iter().map(|name| name.normalized.clone()).collect()
        };
        let one = |name: Name| name.identifiers(serial).into_iter().next();
        let password = format!("p{serial}");
        match self {
            Self::Migrate { id, names, asked, based_on } => {
                let names = all(names);
                let asked = match asked {
                    Asking::All => keys(&names),
                    Asking::First => keys(names.get(..1).unwrap_or_default()),
                    Asking::None => Vec::new(),
                };
                Asked::Migrate(Migration {
                    id: id.of(&users),
                    names,
                    asked,
                    profile: profile(serial),
                    password,
                    based_on: based_on.of(model.revision()),
                    at,
                })
            }
            Self::Register { names, must_be_free, at_legacy } => Asked::Register(Registration {
                names: all(names),
                must_be_free: keys(&all(must_be_free.as_slice())),
                at_legacy: at_legacy.map(|id| id.map(|id| id.of(&users))),
                profile: profile(serial),
                password,
                at,
            }),
            Self::Change { who, based_on, what } => {
                let user = match who {
                    Who::Number(number) => nth(&users, *number).and_then(|id| model.users.get(&id)),
                    Who::Nobody => None,
                };
                let (id, version) = user.map_or((UserId(uuid::Uuid::from_u128(1)), Version(1)), |u| (u.id, u.version));
                let change = match what {
                    What::Rehash => Change::Rehash(password),
                    What::SetPassword => Change::SetPassword(password),
                    What::DropPassword => Change::DropPassword,
                    What::Enable => Change::Stand(Standing::Active),
                    What::Disable => Change::Stand(Standing::Disabled),
                    What::Delete => Change::Stand(Standing::Deleted),
                    What::Vouched => Change::Vouched,
                    What::Undelete => Change::Undelete,
                    What::AddAlias(name, free) => match one(*name) {
                        Some(alias) => Change::AddAlias(alias, keys(&all(free.as_slice()))),
                        None => Change::Vouched,
                    },
                    What::RemoveOwn(own, then) => match user.and_then(|user| nth(&keys(&user.names), *own)) {
                        Some(name) => Change::RemoveAlias(name, *then),
                        None => Change::Vouched,
                    },
                    What::RemoveAlias(name, then) => match one(*name) {
                        Some(alias) => Change::RemoveAlias(alias.normalized, *then),
                        None => Change::Vouched,
                    },
                };
                Asked::Change(id, based_on.of(version), change)
            }
            Self::Resolve { which, how } => {
                let conflict = nth(&model.conflicts, *which);
                let names = conflict.as_ref().map(|conflict| conflict.names.clone()).unwrap_or_default();
                let resolution = match how {
                    How::Keep => Resolution::Keep,
                    How::DisableHolder => Resolution::DisableHolder,
                    How::Give(some) => Resolution::Give(some.iter().filter_map(|one| nth(&names, *one)).collect()),
                    How::GiveName(name) => Resolution::Give(keys(&all(&[*name]))),
                };
                Asked::Resolve(conflict.map_or(1, |conflict| conflict.number), resolution)
            }
            Self::Import { rows, on_conflict } => {
                let row = |(number, row): (usize, &AskedRow)| row.meant(&users, serial, number, at);
                Asked::Import(rows.iter().enumerate().map(row).collect(), *on_conflict)
            }
            Self::Forget { who, based_on } => {
                let named = who.iter().filter_map(|number| nth(&users, *number)).filter_map(|id| model.users.get(&id));
                Asked::Forget(named.map(|user| (user.id, based_on.of(user.version))).collect())
            }
            Self::SetMode(number) => Asked::SetMode(Mode::ALL[*number]),
        }
    }
}

impl AskedRow {
    fn meant(&self, users: &[UserId], serial: usize, number: usize, at: UnixSeconds) -> Row {
        let mut names: Vec<Identifier> = Vec::new();
        for name in self.names.iter().flat_map(|name| name.identifiers(serial * 10 + number)) {
            // As a row is made of a file's.
            if names.iter().all(|other| other.normalized != name.normalized) && names.len() < MAX_ALIASES {
                names.push(name);
            }
        }
        let password = format!("p{serial}-{number}");
        let (secret, origin) = match self.brings {
            Brings::Nothing => (Secret::None(AbsentBecause::Roster), Origin::Roster),
            Brings::Left => (Secret::None(AbsentBecause::LeftWithLegacy), Origin::Roster),
            Brings::Ours => (Secret::Argon2id(password), Origin::Imported),
            Brings::Others => (Secret::Imported(password), Origin::Imported),
        };
        // A key of somebody here, or of nobody.
        let own = |id: u8| {
            nth(users, id)
                .filter(|_| !id.is_multiple_of(4))
                .unwrap_or(UserId(uuid::Uuid::from_u128(u128::from(id) + 2)))
        };
        Row {
            id: self.id.map(own),
            legacy_id: self.legacy_id.map(|id| id.of(users)),
            names,
            profile: profile(serial + number),
            secret,
            standing: self.standing,
            origin,
            created_at: self.vouched.then_some(UnixSeconds(at.0 - 1_000)),
            vouched_at: self.vouched.then_some(at),
            roster: self.roster.then_some(PortableRoster { last_seen: Some(at), value: Some(serial as u64) }),
        }
    }
}

/// Profiles of different sizes, one of them over a page of the file, so that its tree splits and shrinks.
fn profile(serial: usize) -> Value {
    json!({ "serial": serial, "note": "n".repeat([0, 40, 300, 5_000][serial % 4]) })
}
