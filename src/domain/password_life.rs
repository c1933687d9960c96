//! What a change, a reset or a deletion that legacy carried out means for our record.

/// What the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new password, by somebody who knows the current one.
    ChangePassword,
    /// A new password, by somebody who holds legacy's own token.
    ResetPassword,
    /// The end of an account.
    DeleteUser,
}

/// What legacy said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeWord {
    /// Done.
    Done,
    /// No.
    Refused,
    /// No rule recognised the answer: it may have happened.
    Unrecognised,
    /// No usable answer came: it may have happened.
    Unavailable,
}

/// What the request itself shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Whose account it is, and that account is known here.
    pub who: bool,
    /// The new password.
    pub what: bool,
}

/// What is done to our record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// The new password is hashed and stored.
    SetPassword,
    /// The local password is dropped; legacy is asked at the next login.
    DropPassword,
    /// The record becomes a tombstone.
    Bury,
    /// Nothing: there is no record, or nothing was proven.
    Nothing,
}

/// What legacy's word on a change proves about our record. Where the outcome is unknown the local password is dropped
/// rather than trusted: asking legacy once more is cheap, letting an old password live on is not.
#[must_use]
pub fn apply(change: Change, word: ChangeWord, shown: Shown) -> Apply {
    match (shown.who, word, change) {
        (false, _, _) | (true, ChangeWord::Refused, _) => Apply::Nothing,
        (true, ChangeWord::Done, Change::ChangePassword | Change::ResetPassword) if shown.what => Apply::SetPassword,
        (true, ChangeWord::Done, Change::ChangePassword | Change::ResetPassword) => Apply::DropPassword,
        (true, ChangeWord::Done, Change::DeleteUser) => Apply::Bury,
        (true, ChangeWord::Unrecognised | ChangeWord::Unavailable, Change::ChangePassword | Change::ResetPassword) => {
            Apply::DropPassword
        }
        (true, ChangeWord::Unrecognised | ChangeWord::Unavailable, Change::DeleteUser) => Apply::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_changes() {
        let (both, who) = (Shown { who: true, what: true }, Shown { who: true, what: false });
        for (change, word, shown, expected) in [
            (Change::ChangePassword, ChangeWord::Done, both, Apply::SetPassword),
            (Change::ChangePassword, ChangeWord::Done, who, Apply::DropPassword),
            (Change::ChangePassword, ChangeWord::Refused, both, Apply::Nothing),
            (Change::ChangePassword, ChangeWord::Unrecognised, both, Apply::DropPassword),
            (Change::ChangePassword, ChangeWord::Unavailable, both, Apply::DropPassword),
            (Change::ResetPassword, ChangeWord::Done, both, Apply::SetPassword),
            (Change::ResetPassword, ChangeWord::Done, who, Apply::DropPassword),
            (Change::ResetPassword, ChangeWord::Refused, who, Apply::Nothing),
            (Change::ResetPassword, ChangeWord::Unavailable, who, Apply::DropPassword),
            (Change::DeleteUser, ChangeWord::Done, who, Apply::Bury),
            (Change::DeleteUser, ChangeWord::Refused, who, Apply::Nothing),
            (Change::DeleteUser, ChangeWord::Unrecognised, who, Apply::Nothing),
            (Change::DeleteUser, ChangeWord::Unavailable, who, Apply::Nothing),
        ] {
            assert_eq!(apply(change, word, shown), expected, "{change:?} {word:?} {shown:?}");
        }
        for what in [false, true] {
            let nobody = Shown { who: false, what };
            for change in [Change::ChangePassword, Change::ResetPassword, Change::DeleteUser] {
                assert_eq!(
                    apply(change, ChangeWord::Done, nobody),
                    Apply::Nothing,
                    "a user who is not here yet is unharmed"
                );
            }
        }
    }
}
