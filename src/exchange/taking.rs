//! Which of the users in another product's file come with their password, and what the operator may say about it.
//!
//! A user whom his product asks for more than a password - a second factor, a new password first - must not become one who gets in
//! by the password alone, only because he was imported. Such a user comes without his hash: legacy goes on being asked about him, and
//! asks for the rest. Called by the formats of this module.

use zeroize::Zeroizing;

use super::{Context, HashFate, Made, Notes, PortablePassword, PortableUser, RowFault, Setting};
use crate::domain::credential::AbsentBecause;

/// What is done about a hash that cannot be carried over.
pub(super) const UNUSABLE_HASH: Setting = Setting {
    name: "unusable-hash",
    help: "`drop` takes users whose hash is of an unknown kind without a password; otherwise they are rejected",
};

/// The setting that takes users whose hash cannot be carried over without it; of no meaning to a format that does not know it.
pub const DROP_UNUSABLE_HASHES: (&str, &str) = (UNUSABLE_HASH.name, "drop");

/// What is done about users who have a second factor.
pub(super) const SECOND_FACTOR: Setting = Setting {
    name: "second-factor",
    help: "`ignore` takes the hash of users who have a second factor there; otherwise legacy goes on asking for both",
};

/// What is done about users who have to do something before they get in.
pub(super) const PENDING_ACTION: Setting = Setting {
    name: "pending-action",
    help: "`ignore` takes the hash of users who have to do something first there; otherwise legacy goes on asking for it",
};

/// What a product wants of a user beside his password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beyond {
    /// A second factor is enrolled.
    pub(super) second_factor: bool,
    /// He has to change his password, accept terms, and so on, or may log in for a limited time only.
    pub(super) pending_action: bool,
}

impl Beyond {
    /// For products that know nothing of the kind.
    pub(super) const NOTHING: Self = Self { second_factor: false, pending_action: false };
}

/// The encoded text that a product's hash makes, if it has one.
pub(super) type Found = Result<Option<Zeroizing<String>>, RowFault>;

/// A user with the password that he comes with, and what the operator has to know of it; nothing else of him is said yet.
pub(super) fn with_password(context: &Context, found: Found, beyond: Beyond) -> Result<PortableUser, RowFault> {
    let drop_unusable = is_set(context, UNUSABLE_HASH, DROP_UNUSABLE_HASHES.1)?;
    let ignore_factor = is_set(context, SECOND_FACTOR, "ignore")?;
    let ignore_action = is_set(context, PENDING_ACTION, "ignore")?;
    let mut notes =
        Notes { second_factor: beyond.second_factor, pending_action: beyond.pending_action, ..Notes::default() };
    let encoded = match found {
        Ok(encoded) => encoded,
        Err(fault) if drop_unusable && !fault.is_of_a_setting() => {
            notes.hash = HashFate::Dropped;
            None
        }
        Err(fault) => return Err(fault),
    };
    let stays_with_legacy = (beyond.second_factor && !ignore_factor) || (beyond.pending_action && !ignore_action);
    if stays_with_legacy && encoded.is_some() {
        notes.hash = HashFate::LeftWithLegacy;
    }
    let encoded = encoded.filter(|_| !stays_with_legacy);
    let password = encoded.map(|encoded| PortablePassword {
        encoded,
        normalization: context.normalization,
        made: Made::Elsewhere,
    });
    // Also where this file has no hash of his: another one may.
    let without_password = stays_with_legacy.then_some(AbsentBecause::LeftWithLegacy);
    Ok(PortableUser { password, without_password, notes, ..PortableUser::default() })
}

/// Whether a setting was said. It has one possible value; another is a mistake, and no row is taken before it is mended.
fn is_set(context: &Context, setting: Setting, value: &'static str) -> Result<bool, RowFault> {
    match context.settings.of(setting.name) {
        None => Ok(false),
        Some(said) if said == value => Ok(true),
        Some(_) => Err(RowFault::new(format!("--set {}", setting.name), format!("can only be `{value}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Framing, Settings};
    use super::*;

    fn taken(settings: &[(&str, &str)], found: Found, beyond: Beyond) -> Result<bool, String> {
        let mut context = Context::new(Framing::Lines);
        context.settings = Settings::new(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        with_password(&context, found, beyond).map(|user| user.password.is_some()).map_err(|fault| fault.to_string())
    }

    fn hash() -> Found {
        Ok(Some(Zeroizing::new("hash".to_owned())))
    }

    #[test]
    fn a_user_with_more_than_a_password_comes_without_it_unless_the_operator_says_otherwise() {
        let factor = Beyond { second_factor: true, ..Beyond::NOTHING };
        let action = Beyond { pending_action: true, ..Beyond::NOTHING };
        assert_eq!(taken(&[], hash(), Beyond::NOTHING), Ok(true));
        assert_eq!(taken(&[], hash(), factor), Ok(false));
        assert_eq!(taken(&[], hash(), action), Ok(false));
        assert_eq!(taken(&[("second-factor", "ignore")], hash(), factor), Ok(true));
        assert_eq!(taken(&[("second-factor", "ignore")], hash(), action), Ok(false));
        assert_eq!(taken(&[("pending-action", "ignore")], hash(), action), Ok(true));
    }

    #[test]
    fn that_legacy_goes_on_asking_for_more_is_kept_also_where_there_is_no_hash_yet() {
        let factor = Beyond { second_factor: true, ..Beyond::NOTHING };
        let mut context = Context::new(Framing::Lines);
        for found in [hash(), Ok(None)] {
            let user = with_password(&context, found, factor).expect("a good row");
            assert_eq!(user.without_password, Some(AbsentBecause::LeftWithLegacy));
        }
        context.settings.add(("second-factor", "ignore"));
        assert_eq!(with_password(&context, Ok(None), factor).expect("a good row").without_password, None);
    }

    #[test]
    fn what_became_of_a_hash_is_noted() {
        let context = Context::new(Framing::Lines);
        let factor = Beyond { second_factor: true, ..Beyond::NOTHING };
        let noted = |found, beyond| with_password(&context, found, beyond).map(|user| user.notes).ok();
        assert_eq!(noted(hash(), Beyond::NOTHING), Some(Notes::default()));
        let left = Notes { second_factor: true, hash: HashFate::LeftWithLegacy, ..Notes::default() };
        assert_eq!(noted(hash(), factor), Some(left));
        let without = Notes { hash: HashFate::Taken, ..left };
        assert_eq!(noted(Ok(None), factor), Some(without), "there was none to leave");
        let mut context = Context::new(Framing::Lines);
        context.settings.add(DROP_UNUSABLE_HASHES);
        let bad = Err(RowFault::new("hash", "is of no known kind"));
        let dropped = with_password(&context, bad, Beyond::NOTHING).map(|user| user.notes.hash);
        assert_eq!(dropped, Ok(HashFate::Dropped));
    }

    #[test]
    fn a_hash_that_cannot_be_carried_rejects_its_row_unless_the_operator_says_otherwise() {
        let bad = || Err(RowFault::new("hash", "is of no known kind"));
        assert_eq!(taken(&[], bad(), Beyond::NOTHING), Err("hash: is of no known kind".into()));
        assert_eq!(taken(&[("unusable-hash", "drop")], bad(), Beyond::NOTHING), Ok(false));
        let mistaken = taken(&[("unusable-hash", "yes")], hash(), Beyond::NOTHING);
        assert_eq!(mistaken, Err("--set unusable-hash: can only be `drop`".into()));
    }
}
