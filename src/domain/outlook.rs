//! What is settled of a login before any password is looked at, and what follows for each result of the check. Pure: a login goes by
//! it, and so does what an operator is told of the login that would come next (`service::explain`); there is one story of it.

use std::time::Duration;

use super::clock::UnixSeconds;
use super::login::{AfterLocal, AfterLookup, Known, LocalCheck, LocalSide, Recheck, after_local, after_lookup};
use super::mode::Answerer;
use super::user::User;

/// What is settled of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Who has the word.
    pub answerer: Answerer,
    /// What the store knows.
    pub known: Known,
    /// What legacy can know of him.
    pub at_legacy: ToLegacy,
    /// How recent legacy's word on him is.
    pub vouched: Vouched,
}

/// What legacy can know of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToLegacy {
    /// It may know him.
    Known,
    /// He registered here, and it was never told.
    Unknown,
}

/// How recent legacy's last word on a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// Recent enough, or it need not be recent.
    Recently,
    /// Older than `revalidate_after`, or it never vouched.
    LongAgo,
}

/// What checking the stored hash said of the password alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashCheck {
    /// It is the one.
    Match,
    /// It is another one.
    Mismatch,
    /// The hash cannot be used.
    Unusable,
}

impl Outlook {
    /// Of a login that found `user`, if it found one.
    #[must_use]
    pub fn new(
        answerer: Answerer,
        known: Known,
        user: Option<&User>,
        revalidate_after: Option<Duration>,
        now: UnixSeconds,
    ) -> Self {
        let at_legacy = if user.is_some_and(User::is_unknown_to_legacy) { ToLegacy::Unknown } else { ToLegacy::Known };
        let is_old = |user: &User, limit| user.legacy_vouched_at.is_none_or(|vouched| now.since(vouched) > limit);
        let vouched = match (user, revalidate_after) {
            (Some(user), Some(limit)) if is_old(user, limit) => Vouched::LongAgo,
            (Some(_), Some(_)) | (None, _) | (_, None) => Vouched::Recently,
        };
        Self { answerer, known, at_legacy, vouched }
    }

    /// The step after the lookup.
    #[must_use]
    pub fn after_lookup(self) -> AfterLookup {
        after_lookup(self.answerer, self.known)
    }

    /// Who has the last word where our own check is not it. Legacy's word on somebody it has never known would be a no that says
    /// nothing.
    #[must_use]
    pub fn last_word(self) -> Answerer {
        match self.at_legacy {
            ToLegacy::Unknown => Answerer::LocalOnly,
            ToLegacy::Known => self.answerer,
        }
    }

    /// The step after the check. `recheck` takes from the account's budget, so it is only called where legacy would really be asked.
    pub fn after_check(self, checked: HashCheck, recheck: impl FnOnce() -> Recheck) -> AfterLocal {
        let check = match (checked, self.vouched, self.last_word()) {
            (HashCheck::Match, Vouched::LongAgo, _) => LocalCheck::MatchButStale,
            (HashCheck::Match, Vouched::Recently, _) => LocalCheck::Match,
            (HashCheck::Mismatch, _, Answerer::LocalOnly) => LocalCheck::Mismatch(Recheck::Off),
            (HashCheck::Mismatch, _, Answerer::LocalFirst | Answerer::Legacy) => LocalCheck::Mismatch(recheck()),
            (HashCheck::Unusable, _, _) => LocalCheck::Unusable,
        };
        after_local(self.last_word(), check)
    }

    /// Our side of a login that legacy answers while we watch. `checked` is none where nothing was compared.
    #[must_use]
    pub fn observed_side(self, checked: Option<HashCheck>) -> LocalSide {
        match (self.known, checked) {
            (Known::Disabled | Known::Deleted, _) => LocalSide::Closed,
            (Known::Nobody | Known::Ambiguous | Known::WithoutPassword | Known::Active, Some(HashCheck::Match)) => {
                LocalSide::Verified
            }
            (
                Known::Nobody | Known::Ambiguous | Known::WithoutPassword | Known::Active,
                Some(HashCheck::Mismatch | HashCheck::Unusable) | None,
            ) => LocalSide::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(at_legacy: ToLegacy, vouched: Vouched) -> Outlook {
        Outlook { answerer: Answerer::LocalFirst, known: Known::Active, at_legacy, vouched }
    }

    #[test]
    fn r87_the_budget_is_only_asked_where_legacy_would_be() {
        let never = || panic!("nobody would be asked");
        let ours = outlook(ToLegacy::Unknown, Vouched::Recently);
        assert_eq!(ours.after_check(HashCheck::Mismatch, never), AfterLocal::Deny);
        let retired = Outlook { answerer: Answerer::LocalOnly, ..outlook(ToLegacy::Known, Vouched::Recently) };
        assert_eq!(retired.after_check(HashCheck::Mismatch, never), AfterLocal::Deny);
        assert_eq!(retired.after_check(HashCheck::Match, never), AfterLocal::Accept);
        let known = outlook(ToLegacy::Known, Vouched::Recently);
        for (recheck, then) in [
            (Recheck::Allowed, AfterLocal::AskLegacyAgain),
            (Recheck::Spent, AfterLocal::Deny),
            (Recheck::Off, AfterLocal::Deny),
        ] {
            assert_eq!(known.after_check(HashCheck::Mismatch, || recheck), then);
        }
    }

    #[test]
    fn r88_an_old_word_of_legacys_is_asked_for_again_but_for_those_it_never_knew() {
        let never = || panic!("it matched");
        for (at_legacy, vouched, then) in [
            (ToLegacy::Known, Vouched::LongAgo, AfterLocal::Revalidate),
            (ToLegacy::Known, Vouched::Recently, AfterLocal::Accept),
            (ToLegacy::Unknown, Vouched::LongAgo, AfterLocal::Accept),
        ] {
            assert_eq!(outlook(at_legacy, vouched).after_check(HashCheck::Match, never), then, "{at_legacy:?}");
        }
    }
}
