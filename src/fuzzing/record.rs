//! Records of the store: written and read back without a change; foreign bytes are refused without harm.

use serde_json::Value;
use uuid::Uuid;

use super::Input;
use super::json::values;
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::{AbsentBecause, Credential, StoredHash};
use crate::domain::identifier::{IdentifierKind, IdentifierRules};
use crate::domain::password::PasswordNormalization;
use crate::domain::portable::PortableRoster;
use crate::domain::user::{LegacyId, Origin, Standing, User, UserId, Version};
use crate::http::decode::json::parse;
use crate::store::redb::fuzzed::{decode, decode_sealed, encode, encode_sealed, reencoded_conflict};

/// `r`: the bytes of a record. `c`: of a conflict. `w`: a user, to be written.
pub fn record(data: &[u8]) {
    match data.split_first() {
        Some((b'r', bytes)) => read(bytes),
        Some((b'c', bytes)) => {
            if let Some(again) = reencoded_conflict(bytes) {
                assert_eq!(
                    reencoded_conflict(&again).as_deref(),
                    Some(again.as_slice()),
                    "a conflict, written otherwise"
                );
                assert!(again.len() <= bytes.len(), "one number, one encoding");
            }
        }
        Some((b'w', bytes)) => written(&user(&mut Input(bytes))),
        Some(_) | None => {}
    }
}

fn read(bytes: &[u8]) {
    drop(decode_sealed(UserId(Uuid::nil()), bytes));
    let Some(user) = decode(UserId(Uuid::nil()), bytes) else { return };
    // Nothing is made up: everything in it was in the bytes.
    assert!(user.identifiers.len() <= bytes.len() && user.identifiers.capacity() <= 8 + 2 * bytes.len());
    assert!(values(&user.profile) <= bytes.len());
    written(&user);
}

fn written(user: &User) {
    let bytes = encode(user).expect("small enough");
    let again = decode(user.id, &bytes).expect("what was written is read back");
    assert_eq!(sameness(&again), sameness(user));
    assert_eq!(encode(&again).as_deref(), Some(bytes.as_slice()));
    // Cut anywhere, it is no record.
    let half = bytes.len() / 2;
    assert!(decode(user.id, bytes.get(..half).unwrap_or_default()).is_none());
    let sealed = encode_sealed(user).expect("small enough");
    assert_eq!(decode_sealed(user.id, &sealed).as_ref().map(sameness), Some(sameness(user)));
    assert!(decode(user.id, &sealed).is_none(), "not without the key");
    let another = UserId(Uuid::from_u128(!user.id.0.as_u128()));
    assert!(decode_sealed(another, &sealed).is_none(), "bound to its user");
}

/// Everything in a user, shown.
fn sameness(user: &User) -> String {
    let hash = match &user.credential {
        Credential::Argon2id(hash) | Credential::Imported(hash) => {
            format!("{} {:?} {:?}", user.credential.kind(), hash.expose(), hash.normalization())
        }
        Credential::Absent(because) => format!("{because:?}"),
    };
    let User { id, legacy_id, identifiers, profile, credential: _, standing, origin, .. } = user;
    let User { created_at, updated_at, legacy_vouched_at, roster, normalization_version, version, .. } = user;
    format!(
        "{id} {legacy_id:?} {identifiers:?} {profile} {hash} {standing:?} {origin:?} {created_at:?} {updated_at:?} \
         {legacy_vouched_at:?} {roster:?} {normalization_version} {version:?}"
    )
}

/// Any user that the product could come to write.
fn user(input: &mut Input<'_>) -> User {
    let normalization =
        input.of(&[PasswordNormalization::None, PasswordNormalization::Nfc, PasswordNormalization::Nfkc]);
    let kind = input.byte() % 5;
    let hash = StoredHash::new(input.text().to_owned(), normalization);
    let credential = match kind {
        0 => Credential::Argon2id(hash),
        1 => Credential::Imported(hash),
        2 => Credential::Absent(AbsentBecause::Roster),
        3 => Credential::Absent(AbsentBecause::ResetAtLegacy),
        _ => Credential::Absent(AbsentBecause::LeftWithLegacy),
    };
    let standing = input.of(&[Standing::Active, Standing::Disabled, Standing::Deleted]);
    let origin = input.of(&Origin::ALL);
    let legacy_id = parse(input.text().as_bytes()).ok().and_then(|id| LegacyId::from_json(&id));
    let rules = IdentifierRules::default();
    let identifiers = (0..input.byte() % 4).filter_map(|_| {
        let (kind, verified) = (input.of(&IdentifierKind::ALL), input.of(&[None, Some(false), Some(true)]));
        rules.identifier(kind, input.text(), verified).ok()
    });
    let identifiers = identifiers.collect();
    let id = UserId(Uuid::from_u64_pair(input.number(), input.number()));
    let (created_at, updated_at) = (UnixSeconds(input.number()), UnixSeconds(input.number()));
    let at = UnixSeconds(input.number());
    let legacy_vouched_at = input.of(&[None, Some(at), Some(updated_at)]);
    let facts = PortableRoster { last_seen: input.of(&[None, Some(at)]), value: input.of(&[None, Some(at.0)]) };
    let roster = input.of(&[None, Some(facts)]);
    let normalization_version = u16::from(input.byte());
    let version = Version(input.number());
    let profile = parse(input.0).unwrap_or(Value::Null);
    User {
        id,
        legacy_id,
        identifiers,
        profile,
        credential,
        standing,
        origin,
        created_at,
        updated_at,
        legacy_vouched_at,
        roster,
        normalization_version,
        version,
    }
}
