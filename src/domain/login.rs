//! What one login comes to: three pure decisions, in the order in which a login meets them, and the one that a store
//! takes inside its transaction.
//!
//! ```text
//! after_lookup -> VerifyLocally -> after_local  -> accept | deny | unavailable | ask legacy
//!              -> AskLegacy     -> after_legacy -> save and accept | accept unsaved | deny | relay | unavailable
//!                                                  decide_save, in the store's transaction
//! ```
//!
//! Each matches every variant; the tests below list the tables of the design row by row.

use super::mode::Answerer;
use super::proof::Naming;
use super::user::{Standing, UserId, Version};

/// What the store knows under the typed identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// No record.
    Nobody,
    /// The text means two different users, as an email of one and a username of another.
    Ambiguous,
    /// A record without a password: from a roster, or after a reset at legacy.
    WithoutPassword,
    /// An active user with a hash.
    Active,
    /// An operator disabled him.
    Disabled,
    /// A tombstone.
    Deleted,
}

/// The step after the lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLookup {
    /// Check the stored hash. With `Answerer::Legacy` only to compare.
    VerifyLocally,
    /// Ask legacy.
    AskLegacy,
    /// Deny, after the same work that a wrong password costs.
    DenyEqualized,
}

/// Whom to ask, once the store has been read.
#[must_use]
pub fn after_lookup(answerer: Answerer, known: Known) -> AfterLookup {
    match (answerer, known) {
        (Answerer::Legacy, _) => AfterLookup::AskLegacy,
        (Answerer::LocalFirst | Answerer::LocalOnly, Known::Active) => AfterLookup::VerifyLocally,
        (Answerer::LocalFirst | Answerer::LocalOnly, Known::Disabled | Known::Deleted) => AfterLookup::DenyEqualized,
        (Answerer::LocalFirst, Known::Nobody | Known::Ambiguous | Known::WithoutPassword) => AfterLookup::AskLegacy,
        (Answerer::LocalOnly, Known::Nobody | Known::Ambiguous | Known::WithoutPassword) => AfterLookup::DenyEqualized,
    }
}

/// What checking the stored hash said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalCheck {
    /// The password is right, and legacy's last word on the user is recent enough.
    Match,
    /// The password is right, but legacy's last word is older than `revalidate_after`.
    MatchButStale,
    /// The password is not the one we hold.
    Mismatch(Recheck),
    /// The stored hash cannot be read. That says nothing of the password.
    Unusable,
}

/// Whether a local mismatch may be put to legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// The account's budget allows one more question.
    Allowed,
    /// The account's budget is used up.
    Spent,
    /// `on_mismatch = "deny"`, or legacy has never known this user.
    Off,
}

/// The step after the local check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLocal {
    /// Our answer: yes.
    Accept,
    /// Our answer: no.
    Deny,
    /// Legacy may know a newer password.
    AskLegacyAgain,
    /// Our yes holds unless legacy, asked again, says no.
    Revalidate,
    /// The hash is unusable: an alarm, and legacy is asked as if we had none.
    AlarmAndAskLegacy,
    /// The hash is unusable and there is no legacy: an alarm, and 503.
    AlarmUnavailable,
}

/// What to make of the local check.
#[must_use]
pub fn after_local(answerer: Answerer, check: LocalCheck) -> AfterLocal {
    match (answerer, check) {
        (_, LocalCheck::Match) | (Answerer::LocalOnly, LocalCheck::MatchButStale) => AfterLocal::Accept,
        (Answerer::LocalFirst | Answerer::Legacy, LocalCheck::MatchButStale) => AfterLocal::Revalidate,
        (Answerer::LocalOnly, LocalCheck::Mismatch(_)) => AfterLocal::Deny,
        (Answerer::LocalFirst | Answerer::Legacy, LocalCheck::Mismatch(Recheck::Allowed)) => AfterLocal::AskLegacyAgain,
        (Answerer::LocalFirst | Answerer::Legacy, LocalCheck::Mismatch(Recheck::Spent | Recheck::Off)) => {
            AfterLocal::Deny
        }
        (Answerer::LocalFirst | Answerer::Legacy, LocalCheck::Unusable) => AfterLocal::AlarmAndAskLegacy,
        (Answerer::LocalOnly, LocalCheck::Unusable) => AfterLocal::AlarmUnavailable,
    }
}

/// How legacy is asked on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// We compose the question and render the answer.
    Call,
    /// The client's request goes on and legacy's own answer comes back.
    Forward,
}

/// What kind of word legacy gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyWord {
    /// The password is right, proven.
    Accepted(Naming),
    /// The password is wrong, or there is no such user.
    Denied,
    /// Legacy wants more than a password.
    Challenge,
    /// An answer came that no rule, or more than one, recognises, or that proves nothing.
    Unrecognised,
    /// No usable answer came: refused, timed out, 5xx, 429, a redirect nobody expected, garbage.
    Unavailable,
}

/// What we knew of the user when legacy was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalSide {
    /// Nothing that stands against saving: nobody, no password, or an active user whose hash may be replaced.
    Open,
    /// He is disabled or deleted here (only met while legacy answers).
    Closed,
    /// His password matched here, and legacy was asked to confirm it.
    Verified,
}

/// The step after legacy's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLegacy {
    /// Yes, and keep what was proven.
    SaveAndAccept,
    /// Yes, as legacy said, and keep nothing.
    AcceptUnsaved(NotSaved),
    /// No.
    Deny,
    /// Hand legacy's own answer on and learn nothing.
    Relay,
    /// 503 in the route's shape: we cannot know.
    Unavailable,
    /// Our own yes stands: legacy was only asked to confirm it and could not be reached.
    AcceptLocally,
}

/// Why an accepted login was not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSaved {
    /// Legacy answered with a profile of another name: an alarm.
    OtherName,
    /// Legacy's answer bears no name to compare.
    Unconfirmed,
    /// The user is disabled or deleted here.
    Closed,
}

/// What to make of legacy's word.
#[must_use]
pub fn after_legacy(asked_by: AskedBy, word: LegacyWord, local: LocalSide) -> AfterLegacy {
    match (word, local, asked_by) {
        (LegacyWord::Accepted(Naming::Named), LocalSide::Open | LocalSide::Verified, _) => AfterLegacy::SaveAndAccept,
        (LegacyWord::Accepted(Naming::Named | Naming::Unconfirmed), LocalSide::Closed, _) => {
            AfterLegacy::AcceptUnsaved(NotSaved::Closed)
        }
        (LegacyWord::Accepted(Naming::Unconfirmed), LocalSide::Open | LocalSide::Verified, _) => {
            AfterLegacy::AcceptUnsaved(NotSaved::Unconfirmed)
        }
        // Legacy's own answer is legacy's own affair; a token of ours for a user nobody asked about is not.
        (LegacyWord::Accepted(Naming::OtherName), _, AskedBy::Forward) => {
            AfterLegacy::AcceptUnsaved(NotSaved::OtherName)
        }
        (LegacyWord::Accepted(Naming::OtherName), _, AskedBy::Call) => AfterLegacy::Unavailable,
        (LegacyWord::Denied, _, _) => AfterLegacy::Deny,
        (LegacyWord::Challenge, _, _) => AfterLegacy::Relay,
        (LegacyWord::Unrecognised, LocalSide::Verified, AskedBy::Call) => AfterLegacy::AcceptLocally,
        (LegacyWord::Unrecognised, LocalSide::Open | LocalSide::Closed, AskedBy::Call) => AfterLegacy::Unavailable,
        (LegacyWord::Unrecognised, _, AskedBy::Forward) => AfterLegacy::Relay,
        (LegacyWord::Unavailable, LocalSide::Verified, _) => AfterLegacy::AcceptLocally,
        (LegacyWord::Unavailable, LocalSide::Open | LocalSide::Closed, _) => AfterLegacy::Unavailable,
    }
}

/// A record that a save touches, as the transaction sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Whose it is.
    pub id: UserId,
    /// When it last changed, in commits of this store.
    pub version: Version,
    /// Whether he may log in.
    pub standing: Standing,
    /// Whether he has no legacy id yet and legacy is known to have him, so that a proven id may become his.
    pub may_adopt_id: bool,
}

/// What a save of a proven user comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveDecision {
    /// A new record.
    Create,
    /// The record of this user is brought up to date.
    Update(UserId),
    /// A name of the proven user belongs to another one here: nothing is saved, both sides are shown to an operator.
    Conflict(UserId),
    /// A record changed after legacy was asked: the older word loses.
    Stale(UserId),
    /// The user was disabled or deleted meanwhile.
    Closed(UserId),
}

/// Decides a save inside the transaction: `by_id` holds the proven legacy id, `by_name` hold its names, `based_on` is the
/// store's revision when legacy was asked (R84, R86).
#[must_use]
pub fn decide_save(by_id: Option<Holder>, by_name: &[Holder], based_on: Version) -> SaveDecision {
    let adopted = by_name.iter().copied().find(|holder| holder.may_adopt_id);
    let owner = by_id.or(adopted);
    let stranger = by_name.iter().find(|holder| Some(holder.id) != owner.map(|owner| owner.id));
    match (owner, stranger) {
        (_, Some(stranger)) => SaveDecision::Conflict(stranger.id),
        (None, None) => SaveDecision::Create,
        (Some(owner), None) => match owner.standing {
            Standing::Disabled | Standing::Deleted => SaveDecision::Closed(owner.id),
            Standing::Active if owner.version > based_on => SaveDecision::Stale(owner.id),
            Standing::Active => SaveDecision::Update(owner.id),
        },
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_table_of_the_lookup() {
        use Answerer::{Legacy, LocalFirst, LocalOnly};
        use Known::{Active, Ambiguous, Deleted, Disabled, Nobody, WithoutPassword};
        let (ask, verify, deny) = (AfterLookup::AskLegacy, AfterLookup::VerifyLocally, AfterLookup::DenyEqualized);
        for (known, legacy, local_first, local_only) in [
            (Nobody, ask, ask, deny),
            (Ambiguous, ask, ask, deny),
            (WithoutPassword, ask, ask, deny),
            (Active, ask, verify, verify),
            (Disabled, ask, deny, deny),
            (Deleted, ask, deny, deny),
        ] {
            assert_eq!(after_lookup(Legacy, known), legacy, "{known:?}");
            assert_eq!(after_lookup(LocalFirst, known), local_first, "{known:?}");
            assert_eq!(after_lookup(LocalOnly, known), local_only, "{known:?}");
        }
    }

    #[test]
    fn the_table_of_the_local_check() {
        use AfterLocal::{Accept, AlarmAndAskLegacy, AlarmUnavailable, AskLegacyAgain, Deny, Revalidate};
        for (check, local_first, local_only) in [
            (LocalCheck::Match, Accept, Accept),
            (LocalCheck::MatchButStale, Revalidate, Accept),
            (LocalCheck::Mismatch(Recheck::Allowed), AskLegacyAgain, Deny),
            (LocalCheck::Mismatch(Recheck::Spent), Deny, Deny),
            (LocalCheck::Mismatch(Recheck::Off), Deny, Deny),
            (LocalCheck::Unusable, AlarmAndAskLegacy, AlarmUnavailable),
        ] {
            assert_eq!(after_local(Answerer::LocalFirst, check), local_first, "{check:?}");
            assert_eq!(after_local(Answerer::LocalOnly, check), local_only, "{check:?}");
        }
    }

    #[test]
    fn the_table_of_legacys_word() {
        use AfterLegacy::{AcceptLocally, AcceptUnsaved, Deny, Relay, SaveAndAccept, Unavailable};
        use LegacyWord::{Accepted, Challenge, Denied, Unavailable as Down, Unrecognised};
        use LocalSide::{Closed, Open, Verified};
        for (word, local, call, forward) in [
            (Accepted(Naming::Named), Open, SaveAndAccept, SaveAndAccept),
            (Accepted(Naming::Named), Verified, SaveAndAccept, SaveAndAccept),
            (Accepted(Naming::Named), Closed, AcceptUnsaved(NotSaved::Closed), AcceptUnsaved(NotSaved::Closed)),
            (
                Accepted(Naming::Unconfirmed),
                Open,
                AcceptUnsaved(NotSaved::Unconfirmed),
                AcceptUnsaved(NotSaved::Unconfirmed),
            ),
            (
                Accepted(Naming::Unconfirmed),
                Verified,
                AcceptUnsaved(NotSaved::Unconfirmed),
                AcceptUnsaved(NotSaved::Unconfirmed),
            ),
            (Accepted(Naming::Unconfirmed), Closed, AcceptUnsaved(NotSaved::Closed), AcceptUnsaved(NotSaved::Closed)),
            (Accepted(Naming::OtherName), Open, Unavailable, AcceptUnsaved(NotSaved::OtherName)),
            (Accepted(Naming::OtherName), Verified, Unavailable, AcceptUnsaved(NotSaved::OtherName)),
            (Accepted(Naming::OtherName), Closed, Unavailable, AcceptUnsaved(NotSaved::OtherName)),
            (Denied, Open, Deny, Deny),
            (Denied, Verified, Deny, Deny),
            (Denied, Closed, Deny, Deny),
            (Challenge, Open, Relay, Relay),
            (Challenge, Verified, Relay, Relay),
            (Challenge, Closed, Relay, Relay),
            (Unrecognised, Open, Unavailable, Relay),
            (Unrecognised, Verified, AcceptLocally, Relay),
            (Unrecognised, Closed, Unavailable, Relay),
            (Down, Open, Unavailable, Unavailable),
            (Down, Verified, AcceptLocally, AcceptLocally),
            (Down, Closed, Unavailable, Unavailable),
        ] {
            assert_eq!(after_legacy(AskedBy::Call, word, local), call, "call {word:?} {local:?}");
            assert_eq!(after_legacy(AskedBy::Forward, word, local), forward, "forward {word:?} {local:?}");
        }
    }

    fn holder(id: u128, version: u64, standing: Standing, may_adopt_id: bool) -> Holder {
        Holder { id: UserId(Uuid::from_u128(id)), version: Version(version), standing, may_adopt_id }
    }

    #[test]
    fn the_table_of_a_save() {
        let at = Version(10);
        let (old, new) = (holder(1, 10, Standing::Active, false), holder(1, 11, Standing::Active, false));
        let other = holder(2, 3, Standing::Active, false);
        let (disabled, deleted) = (holder(1, 3, Standing::Disabled, false), holder(1, 3, Standing::Deleted, false));
        let listed = holder(4, 3, Standing::Active, true);
        let decide = |by_id, by_name: &[Holder]| decide_save(by_id, by_name, at);
        assert_eq!(decide(None, &[]), SaveDecision::Create);
        assert_eq!(decide(Some(old), &[]), SaveDecision::Update(old.id), "renamed at legacy");
        assert_eq!(decide(Some(old), &[old, old]), SaveDecision::Update(old.id));
        assert_eq!(decide(Some(new), &[new]), SaveDecision::Stale(new.id), "R86: the older word loses");
        assert_eq!(decide(Some(old), &[old, other]), SaveDecision::Conflict(other.id), "R44: never merged");
        assert_eq!(decide(None, &[other]), SaveDecision::Conflict(other.id), "R79: another id under a known name");
        assert_eq!(decide(Some(disabled), &[disabled]), SaveDecision::Closed(disabled.id));
        assert_eq!(decide(Some(deleted), &[]), SaveDecision::Closed(deleted.id), "a deleted user does not come back");
        assert_eq!(decide(None, &[listed]), SaveDecision::Update(listed.id), "a roster entry without an id");
        assert_eq!(decide(Some(old), &[listed]), SaveDecision::Conflict(listed.id));
        assert_eq!(decide(None, &[listed, other]), SaveDecision::Conflict(other.id));
    }
}
