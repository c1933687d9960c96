//! The whole table of an import's decisions, and what each makes of a record.

use serde_json::json;

use super::*;
use crate::domain::password::PasswordNormalization;
use crate::domain::roster::is_only_listed;

const AT: UnixSeconds = UnixSeconds(1_790_000_000);

fn name(kind: IdentifierKind, value: &str) -> PortableName {
    PortableName { kind, value: value.to_owned(), verified: None }
}

/// A row with this email, this legacy id and this hash.
fn row(email: &str, legacy_id: Option<u64>, hash: Option<&str>) -> Incoming {
    let user = PortableUser {
        legacy_id: legacy_id.and_then(|id| LegacyId::from_json(&json!(id))),
        names: vec![name(IdentifierKind::Email, email)],
        profile: json!({"email": email, "from": "file"}),
        password: hash.map(|hash| PortablePassword::new(hash.to_owned(), PasswordNormalization::None)),
        ..PortableUser::default()
    };
    Incoming::new(user, IdentifierRules::default()).expect("a good row")
}

fn user(id: u128, email: &str, legacy_id: Option<u64>, origin: Origin) -> User {
    let mut user = row(email, legacy_id, Some("$2b$04$known")).into_user(UserId(Uuid::from_u128(id)), AT);
    user.origin = origin;
    user.profile = json!({"email": email, "from": "store"});
    user
}

fn decided(row: &Incoming, bearers: &Bearers<'_>) -> [ImportDecision; 3] {
    [OnConflict::Skip, OnConflict::Merge, OnConflict::Replace].map(|policy| decide(row, bearers, policy))
}

fn hash_of(user: &User) -> Option<&str> {
    match &user.credential {
        Credential::Argon2id(hash) | Credential::Imported(hash) => Some(hash.expose()),
        Credential::Absent(_) => None,
    }
}

#[test]
fn nobody_bears_a_key_of_it_a_new_user() {
    let decisions = decided(&row("a@x.y", Some(1), None), &Bearers::default());
    assert_eq!(decisions, [ImportDecision::Create; 3]);
}

#[test]
fn a_known_user_is_treated_as_the_operator_said() {
    let known = user(1, "a@x.y", Some(1), Origin::Migrated);
    let by_id = Bearers { of_legacy_id: Some(&known), ..Bearers::default() };
    let by_name = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    let expected = [
        ImportDecision::Skip(known.id, Skip::Exists),
        ImportDecision::Merge(known.id),
        ImportDecision::Replace(known.id),
    ];
    assert_eq!(decided(&row("new@x.y", Some(1), None), &by_id), expected, "renamed at legacy");
    assert_eq!(decided(&row("a@x.y", None, None), &by_name), expected, "a file without ids");
}

#[test]
fn r44_two_legacy_ids_are_two_users_whatever_is_asked_for() {
    let known = user(1, "a@x.y", Some(1), Origin::Migrated);
    let bearers = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    let taken = Rejection::NameTaken { kind: IdentifierKind::Email, by: known.id };
    assert_eq!(decided(&row("a@x.y", Some(2), None), &bearers), [ImportDecision::Reject(taken); 3]);
}

#[test]
fn a_name_of_a_third_user_rejects_the_row() {
    let (known, other) = (user(1, "a@x.y", Some(1), Origin::Imported), user(2, "b@x.y", Some(2), Origin::Imported));
    let bearers = Bearers {
        of_legacy_id: Some(&known),
        of_names: vec![(IdentifierKind::Email, &known), (IdentifierKind::Username, &other)],
        ..Bearers::default()
    };
    let taken = Rejection::NameTaken { kind: IdentifierKind::Username, by: other.id };
    assert_eq!(decided(&row("a@x.y", Some(1), None), &bearers), [ImportDecision::Reject(taken); 3]);
}

#[test]
fn who_registered_here_does_not_become_somebody_at_legacy_by_bearing_his_name() {
    let mut known = user(1, "a@x.y", None, Origin::Registered);
    let bearers = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    let taken = Rejection::NameTaken { kind: IdentifierKind::Email, by: known.id };
    assert_eq!(decided(&row("a@x.y", Some(2), None), &bearers), [ImportDecision::Reject(taken); 3]);
    known.legacy_vouched_at = Some(AT);
    let bearers = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    assert_eq!(decide(&row("a@x.y", Some(2), None), &bearers, OnConflict::Merge), ImportDecision::Merge(known.id));
}

#[test]
fn a_tombstone_is_not_resurrected_and_its_names_stay_reserved() {
    let mut known = user(1, "a@x.y", Some(1), Origin::Imported);
    known.standing = Standing::Deleted;
    let gone = ImportDecision::Reject(Rejection::Tombstone { by: known.id });
    let by_id = Bearers { of_legacy_id: Some(&known), ..Bearers::default() };
    assert_eq!(decided(&row("a@x.y", Some(1), None), &by_id), [gone; 3]);
    let by_name = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    assert_eq!(decided(&row("a@x.y", Some(2), None), &by_name), [gone; 3]);
    let mut tombstone = row("a@x.y", Some(1), None);
    tombstone.standing = Standing::Deleted;
    assert_eq!(decided(&tombstone, &by_id), [ImportDecision::Skip(known.id, Skip::Exists); 3]);
}

#[test]
fn a_deletion_in_the_file_holds_only_where_the_file_is_right() {
    let known = user(1, "a@x.y", Some(1), Origin::Imported);
    let bearers = Bearers { of_legacy_id: Some(&known), ..Bearers::default() };
    let mut tombstone = row("a@x.y", Some(1), None);
    tombstone.standing = Standing::Deleted;
    let skip = ImportDecision::Skip(known.id, Skip::Exists);
    assert_eq!(decided(&tombstone, &bearers), [skip, skip, ImportDecision::Replace(known.id)]);
    let buried = replaced(&known, tombstone, AT).expect("few names");
    assert_eq!((buried.standing, hash_of(&buried), &buried.profile), (Standing::Deleted, None, &Value::Null));
}

#[test]
fn a_public_id_is_nobody_elses() {
    let known = user(1, "a@x.y", None, Origin::Registered);
    let mut other = row("b@x.y", None, None);
    other.legacy_id = LegacyId::from_json(&json!(known.id.to_string()));
    let bearers = Bearers { of_legacy_id_as_ours: Some(&known), ..Bearers::default() };
    assert_eq!(
        decided(&other, &bearers),
        [ImportDecision::Reject(Rejection::LegacyIdTaken { by: known.id }); 3],
        "its legacy id is his public id"
    );
    let mut other = row("b@x.y", None, None);
    other.id = Some(UserId(Uuid::from_u128(9)));
    let bearers = Bearers { of_id_as_legacys: Some(known.id), ..Bearers::default() };
    assert_eq!(decided(&other, &bearers), [ImportDecision::Reject(Rejection::IdTaken { by: known.id }); 3]);
    let (one, two) = (user(1, "a@x.y", Some(1), Origin::Imported), user(2, "b@x.y", Some(2), Origin::Imported));
    let bearers = Bearers { of_legacy_id: Some(&one), of_id: Some(&two), ..Bearers::default() };
    let mut torn = row("c@x.y", Some(1), None);
    torn.id = Some(two.id);
    assert_eq!(decided(&torn, &bearers), [ImportDecision::Reject(Rejection::IdTaken { by: two.id }); 3]);
}

#[test]
fn merging_never_touches_a_password_that_was_proven_or_dropped_here() {
    let hash = || StoredHash::new("$argon2id$ours".to_owned(), PasswordNormalization::None);
    for (credential, expected) in [
        (Credential::Argon2id(hash()), Some("$argon2id$ours")),
        (Credential::Absent(AbsentBecause::ResetAtLegacy), None),
        (Credential::Imported(hash()), Some("$2b$04$file")),
        (Credential::Absent(AbsentBecause::Roster), Some("$2b$04$file")),
    ] {
        let known = User { credential, ..user(1, "a@x.y", Some(1), Origin::Roster) };
        let next = merged(&known, row("a@x.y", Some(1), Some("$2b$04$file")), AT).expect("few names");
        let after = next.as_ref().unwrap_or(&known);
        assert_eq!(hash_of(after), expected);
    }
}

#[test]
fn replacing_takes_the_rows_password_and_keeps_ours_where_it_brings_none() {
    let known = user(1, "a@x.y", Some(1), Origin::Migrated);
    let next = replaced(&known, row("new@x.y", Some(1), Some("$2b$04$file")), AT).expect("few names");
    assert_eq!((hash_of(&next), next.origin), (Some("$2b$04$file"), Origin::Imported));
    assert_eq!(next.profile["from"], "file");
    let names: Vec<&str> = next.identifiers.iter().map(|name| &*name.value).collect();
    assert_eq!(names, ["new@x.y", "a@x.y"], "the former name stays reserved");
    let next = replaced(&known, row("a@x.y", Some(1), None), AT).expect("few names");
    assert_eq!((hash_of(&next), next.origin), (Some("$2b$04$known"), Origin::Migrated));
}

#[test]
fn merging_adds_and_says_so_only_if_something_was_added() {
    let mut known = user(1, "a@x.y", None, Origin::Imported);
    let same = || {
        let mut same = row("a@x.y", None, Some("$2b$04$known"));
        same.profile = json!({"email": "a@x.y", "from": "store"});
        same
    };
    assert!(merged(&known, same(), AT).expect("few names").is_none(), "nothing new");
    let with_id = Incoming { legacy_id: LegacyId::from_json(&json!(7)), ..same() };
    let next = merged(&known, with_id, AT).expect("few names").expect("an id");
    assert_eq!(next.legacy_id, LegacyId::from_json(&json!(7)));
    let disabled = Incoming { standing: Standing::Disabled, ..same() };
    assert_eq!(merged(&known, disabled, AT).expect("few names").map(|next| next.standing), Some(Standing::Disabled));
    known.standing = Standing::Disabled;
    assert!(merged(&known, same(), AT).expect("few names").is_none(), "an import enables nobody");
    known.legacy_vouched_at = Some(AT);
    let next = merged(&known, row("b@x.y", None, None), AT).expect("few names").expect("a name");
    assert_eq!((next.identifiers.len(), &next.profile["from"]), (2, &json!("store")), "legacy's own word stays");
}

#[test]
fn nobody_gets_more_names_than_a_record_keeps() {
    let names = |count: usize, at: &str| {
        (0..count).map(|number| name(IdentifierKind::Email, &format!("{number}@{at}"))).collect::<Vec<_>>()
    };
    let incoming = |names| Incoming::new(PortableUser { names, ..PortableUser::default() }, IdentifierRules::default());
    assert_eq!(incoming(names(65, "x.y")).err(), Some(BadRow::TooManyNames(65)));
    let known = incoming(names(64, "x.y")).expect("as many as fit").into_user(UserId(Uuid::from_u128(1)), AT);
    let too_many = Rejection::TooManyNames { of: known.id };
    assert_eq!(merged(&known, row("a@x.y", None, None), AT).err(), Some(too_many));
    assert_eq!(replaced(&known, row("a@x.y", None, None), AT).err(), Some(too_many));
}

#[test]
fn r43_r46_a_row_is_normalized_and_refused_where_a_name_identifies_nobody() {
    let incoming = |names| Incoming::new(PortableUser { names, ..PortableUser::default() }, IdentifierRules::default());
    let row = incoming(vec![
        PortableName { verified: Some(true), ..name(IdentifierKind::Email, "Ann@X.y") },
        name(IdentifierKind::Email, "ann@x.Y"),
    ])
    .expect("one name, twice");
    assert_eq!(row.identifiers.len(), 1);
    assert_eq!((row.identifiers[0].normalized.as_key(), row.identifiers[0].verified), ("e:ann@x.y", Some(true)));
    assert_eq!(incoming(Vec::new()).err(), Some(BadRow::Nobody));
    assert_eq!(incoming(vec![name(IdentifierKind::Email, "ann")]).err(), Some(BadRow::NoEmail));
    let bad = incoming(vec![name(IdentifierKind::Username, " ann")]).err();
    assert_eq!(bad, Some(BadRow::Name { kind: IdentifierKind::Username, problem: InvalidIdentifier::EdgeSpace }));
}

#[test]
fn what_a_row_brings_says_where_it_comes_from() {
    let origin = |row: Incoming| (row.origin, row.credential.kind());
    assert_eq!(origin(row("a@x.y", None, Some("$2b$04$x"))), (Origin::Imported, "imported"));
    assert_eq!(origin(row("a@x.y", None, None)), (Origin::Roster, "none"));
    let mut ours = PortablePassword::new("$argon2id$x".to_owned(), PasswordNormalization::None);
    ours.made = Made::Here;
    let user = PortableUser {
        names: vec![name(IdentifierKind::Email, "a@x.y")],
        password: Some(ours),
        origin: Some(Origin::Registered),
        ..PortableUser::default()
    };
    let incoming = Incoming::new(user, IdentifierRules::default()).expect("a good row");
    assert_eq!(origin(incoming), (Origin::Registered, "argon2id"));
}

#[test]
fn a_user_who_leaves_a_store_and_comes_back_is_the_same() {
    let mut known = user(7, "Ann@x.y", Some(1), Origin::Registered);
    known.identifiers[0].verified = Some(true);
    known.legacy_vouched_at = Some(UnixSeconds(3));
    known.standing = Standing::Disabled;
    for credential in [
        Credential::Argon2id(StoredHash::new("$argon2id$x".to_owned(), PasswordNormalization::Nfkc)),
        Credential::Imported(StoredHash::new("$2b$04$x".to_owned(), PasswordNormalization::None)),
        Credential::Absent(AbsentBecause::ResetAtLegacy),
        Credential::Absent(AbsentBecause::Roster),
        Credential::Absent(AbsentBecause::LeftWithLegacy),
    ] {
        known.credential = credential;
        let left = PortableUser::of(User { identifiers: known.identifiers.clone(), ..copy(&known) }, Some(AT));
        let row = Incoming::new(left, IdentifierRules::default()).expect("a good row");
        assert_eq!((row.id, row.last_login_at), (Some(known.id), Some(AT)));
        let back = row.into_user(known.id, UnixSeconds(9));
        assert_eq!((&back.identifiers, &back.legacy_id), (&known.identifiers, &known.legacy_id));
        assert_eq!((&back.profile, back.standing, back.origin), (&known.profile, known.standing, known.origin));
        assert_eq!((back.created_at, back.updated_at), (known.created_at, known.updated_at));
        assert_eq!(back.legacy_vouched_at, known.legacy_vouched_at);
        assert_eq!((back.credential.kind(), reason(&back)), (known.credential.kind(), reason(&known)));
    }
}

fn copy(user: &User) -> User {
    let row = row("a@x.y", Some(1), None);
    User {
        id: user.id,
        legacy_id: user.legacy_id.clone(),
        profile: user.profile.clone(),
        credential: copy_of(&user.credential),
        standing: user.standing,
        origin: user.origin,
        legacy_vouched_at: user.legacy_vouched_at,
        ..row.into_user(user.id, AT)
    }
}

#[test]
fn a_name_that_is_only_reserved_for_somebody_leads_nobody_to_him_and_stays_his() {
    let known = user(1, "a@x.y", Some(1), Origin::Imported);
    let taken = ImportDecision::Reject(Rejection::NameTaken { kind: IdentifierKind::Email, by: known.id });
    // "old@x.y" was taken from him by an operator: the store finds him by it, and his record does not list it.
    let by_name = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    assert_eq!(decided(&row("old@x.y", None, None), &by_name), [taken; 3], "a file without ids");
    assert_eq!(decided(&row("old@x.y", Some(2), None), &by_name), [taken; 3]);
    let by_id = Bearers { of_legacy_id: Some(&known), ..by_name };
    let merged = ImportDecision::Merge(known.id);
    assert_eq!(decide(&row("old@x.y", Some(1), None), &by_id, OnConflict::Merge), merged, "legacy says that it is his");
    let by_both = Bearers {
        of_names: vec![(IdentifierKind::Email, &known), (IdentifierKind::Email, &known)],
        ..Bearers::default()
    };
    let mut both = row("old@x.y", None, None);
    both.identifiers.extend(row("a@x.y", None, None).identifiers);
    assert_eq!(decide(&both, &by_both, OnConflict::Merge), merged, "another name of the row is his");
}

#[test]
fn who_registered_here_gains_nothing_of_a_row_that_says_no_id() {
    let mut known = user(1, "a@x.y", None, Origin::Registered);
    let by_name = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    let skip = ImportDecision::Skip(known.id, Skip::Exists);
    let without_id = row("a@x.y", None, Some("$2b$04$new"));
    assert_eq!(decided(&without_id, &by_name), [skip, skip, ImportDecision::Replace(known.id)]);
    // Out of an export of ours it is he himself.
    let mut own = row("a@x.y", None, None);
    own.id = Some(known.id);
    let by_id = Bearers { of_id: Some(&known), ..Bearers::default() };
    assert_eq!(decide(&own, &by_id, OnConflict::Merge), ImportDecision::Merge(known.id));
    known.legacy_vouched_at = Some(AT);
    let by_name = Bearers { of_names: vec![(IdentifierKind::Email, &known)], ..Bearers::default() };
    assert_eq!(decide(&without_id, &by_name, OnConflict::Merge), ImportDecision::Merge(known.id));
}

#[test]
fn reserved_names_are_brought_into_canonical_form_each_once_and_none_that_is_his() {
    let user = PortableUser {
        names: vec![name(IdentifierKind::Email, "A@x.y")],
        reserved: vec![
            name(IdentifierKind::Email, "Old@X.y"),
            name(IdentifierKind::Email, "old@x.y"),
            name(IdentifierKind::Email, "a@x.y"),
        ],
        ..PortableUser::default()
    };
    let row = Incoming::new(user, IdentifierRules::default()).expect("a good row");
    assert_eq!(row.reserved.iter().map(NormalizedIdentifier::text).collect::<Vec<_>>(), ["old@x.y"]);
    let names = vec![name(IdentifierKind::Email, "a@x.y")];
    let bad = PortableUser { names, reserved: vec![name(IdentifierKind::Email, " x")], ..PortableUser::default() };
    assert!(matches!(Incoming::new(bad, IdentifierRules::default()).err(), Some(BadRow::Name { .. })));
}

fn reason(user: &User) -> Option<AbsentBecause> {
    match user.credential {
        Credential::Absent(because) => Some(because),
        Credential::Argon2id(_) | Credential::Imported(_) => None,
    }
}

/// A row of somebody of whom his product asks more than a password.
fn left(email: &str, legacy_id: u64) -> Incoming {
    let credential = Credential::Absent(AbsentBecause::LeftWithLegacy);
    Incoming { credential, ..row(email, Some(legacy_id), None) }
}

#[test]
fn no_merge_gives_a_hash_to_whom_legacy_asks_for_more_and_replace_does() {
    let known = left("a@x.y", 1).into_user(UserId(Uuid::from_u128(1)), AT);
    let hash = || Incoming { profile: Value::Null, ..row("a@x.y", Some(1), Some("$2b$04$file")) };
    assert!(import_is_unchanged(&known, hash()), "he lacks nothing else");
    assert!(leaves_hash(&known, &hash()), "that is noted");
    assert!(!leaves_hash(&known, &row("a@x.y", Some(1), None)), "there is none to leave");
    assert!(!leaves_hash(&user(1, "a@x.y", Some(1), Origin::Imported), &hash()));
    let with_name = Incoming { identifiers: row("b@x.y", None, None).identifiers, ..hash() };
    let next = merged(&known, with_name, AT).expect("few names").expect("a name");
    assert_eq!((reason(&next), next.identifiers.len()), (Some(AbsentBecause::LeftWithLegacy), 2));
    let listed = listed(&known, row("a@x.y", Some(1), None), AT).expect("few names");
    assert_eq!(listed.as_ref().map(reason), Some(Some(AbsentBecause::LeftWithLegacy)), "a list is no word on it");
    let next = replaced(&known, hash(), AT).expect("few names");
    assert_eq!((hash_of(&next), next.origin), (Some("$2b$04$file"), Origin::Imported));
    let next = replaced(&known, row("a@x.y", Some(1), None), AT).expect("few names");
    assert_eq!(reason(&next), Some(AbsentBecause::LeftWithLegacy), "a row that is silent about it");
}

fn import_is_unchanged(known: &User, row: Incoming) -> bool {
    merged(known, row, AT).expect("few names").is_none()
}

#[test]
fn a_second_factor_that_shows_later_takes_an_imported_hash_away_and_none_of_ours() {
    let known = user(1, "a@x.y", Some(1), Origin::Imported);
    let taken_away = |next: &User| (reason(next), next.origin, is_only_listed(next));
    let expected = (Some(AbsentBecause::LeftWithLegacy), Origin::Roster, true);
    let merged_in = merged(&known, left("a@x.y", 1), AT).expect("few names").expect("a change");
    assert_eq!(taken_away(&merged_in), expected);
    assert_eq!(taken_away(&replaced(&known, left("a@x.y", 1), AT).expect("few names")), expected);
    let same = || Incoming { profile: merged_in.profile.clone(), ..left("a@x.y", 1) };
    assert!(import_is_unchanged(&merged_in, same()), "once is enough");
    let hash = StoredHash::new("$argon2id$ours".to_owned(), PasswordNormalization::None);
    let ours = User { credential: Credential::Argon2id(hash), ..user(1, "a@x.y", Some(1), Origin::Migrated) };
    assert_eq!(hash_of(&replaced(&ours, left("a@x.y", 1), AT).expect("few names")), Some("$argon2id$ours"));
    assert!(import_is_unchanged(&ours, Incoming { profile: Value::Null, ..left("a@x.y", 1) }));
    let reset = User { credential: Credential::Absent(AbsentBecause::ResetAtLegacy), ..ours };
    let next = replaced(&reset, left("a@x.y", 1), AT).expect("few names");
    assert_eq!(reason(&next), Some(AbsentBecause::ResetAtLegacy));
}

#[test]
fn a_row_without_a_profile_leaves_the_known_one_as_it_is() {
    let known = user(1, "a@x.y", Some(1), Origin::Imported);
    let hash = || Incoming { profile: Value::Null, ..row("a@x.y", Some(1), Some("$2b$04$file")) };
    let next = merged(&known, hash(), AT).expect("few names").expect("a hash");
    assert_eq!((hash_of(&next), &next.profile["from"]), (Some("$2b$04$file"), &json!("store")));
    assert_eq!(replaced(&known, hash(), AT).expect("few names").profile["from"], "store");
}

#[test]
fn nobody_new_is_made_without_a_name_to_log_in_with() {
    let nameless = || Incoming { identifiers: Vec::new(), ..row("a@x.y", Some(1), Some("$2b$04$file")) };
    let rejected = ImportDecision::Reject(Rejection::Nameless);
    assert_eq!(decided(&nameless(), &Bearers::default()), [rejected; 3]);
    let of_a_list = decide(&nameless(), &Bearers::default(), OnConflict::List);
    assert_eq!(of_a_list, ImportDecision::Create, "legacy's answer has his id");
    let known = user(1, "a@x.y", Some(1), Origin::Roster);
    let bearers = Bearers { of_legacy_id: Some(&known), ..Bearers::default() };
    assert_eq!(decide(&nameless(), &bearers, OnConflict::Merge), ImportDecision::Merge(known.id));
    // Out of an export of ours: his names were taken away, or he is a tombstone.
    let own = Incoming { id: Some(UserId(Uuid::from_u128(9))), ..nameless() };
    assert_eq!(decided(&own, &Bearers::default()), [ImportDecision::Create; 3]);
    let tombstone = Incoming { standing: Standing::Deleted, ..nameless() };
    assert_eq!(decided(&tombstone, &Bearers::default()), [ImportDecision::Create; 3]);
    let own = PortableUser {
        id: Some(Uuid::from_u128(9)),
        names: vec![name(IdentifierKind::Email, "ann")],
        ..PortableUser::default()
    };
    assert!(Incoming::new(own, IdentifierRules::default()).is_ok(), "what is in a store comes back");
}
