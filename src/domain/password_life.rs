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

/// How sure it is whose account a change was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's that is known here.
    Nobodys,
    /// The request names him, which proves nothing: a legacy that goes by its session changes one account while the body names
    /// another.
    Named,
    /// Legacy's answer or a valid token says so.
    Proven,
}

/// Whether the request shows the new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPassword {
    /// It does.
    Shown,
    /// It does not.
    Hidden,
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

/// What legacy's word on a change means for our record.
///
/// For a proven user an unknown outcome drops the local password: asking legacy once more is cheap, letting an old password live
/// on is not. For one who is merely named, legacy's "done" does the same, since asking legacy harms nobody; anything less does
/// nothing, or everybody could empty anybody's record.
#[must_use]
pub fn apply(change: Change, word: ChangeWord, whose: Whose, new: NewPassword) -> Apply {
    match (whose, word, change) {
        (Whose::Nobodys, _, _) | (_, ChangeWord::Refused, _) => Apply::Nothing,
        (Whose::Named, ChangeWord::Done, _) => Apply::DropPassword,
        (Whose::Named, ChangeWord::Unrecognised | ChangeWord::Unavailable, _) => Apply::Nothing,
        (Whose::Proven, ChangeWord::Done, Change::DeleteUser) => Apply::Bury,
        (Whose::Proven, ChangeWord::Done, Change::ChangePassword | Change::ResetPassword) => match new {
            NewPassword::Shown => Apply::SetPassword,
            NewPassword::Hidden => Apply::DropPassword,
        },
        (Whose::Proven, ChangeWord::Unrecognised | ChangeWord::Unavailable, Change::DeleteUser) => Apply::Nothing,
        (
            Whose::Proven,
            ChangeWord::Unrecognised | ChangeWord::Unavailable,
            Change::ChangePassword | Change::ResetPassword,
        ) => Apply::DropPassword,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_changes() {
        use Apply::{Bury, DropPassword, Nothing, SetPassword};
        use Change::{ChangePassword, DeleteUser, ResetPassword};
        use ChangeWord::{Done, Refused, Unavailable, Unrecognised};
        use NewPassword::{Hidden, Shown};
        for (change, word, new, proven, named) in [
            (ChangePassword, Done, Shown, SetPassword, DropPassword),
            (ChangePassword, Done, Hidden, DropPassword, DropPassword),
            (ChangePassword, Refused, Shown, Nothing, Nothing),
            (ChangePassword, Unrecognised, Shown, DropPassword, Nothing),
            (ChangePassword, Unavailable, Shown, DropPassword, Nothing),
            (ResetPassword, Done, Shown, SetPassword, DropPassword),
            (ResetPassword, Done, Hidden, DropPassword, DropPassword),
            (ResetPassword, Refused, Hidden, Nothing, Nothing),
            (ResetPassword, Unrecognised, Hidden, DropPassword, Nothing),
            (ResetPassword, Unavailable, Hidden, DropPassword, Nothing),
            (DeleteUser, Done, Hidden, Bury, DropPassword),
            (DeleteUser, Refused, Hidden, Nothing, Nothing),
            (DeleteUser, Unrecognised, Hidden, Nothing, Nothing),
            (DeleteUser, Unavailable, Hidden, Nothing, Nothing),
        ] {
            assert_eq!(apply(change, word, Whose::Proven, new), proven, "{change:?} {word:?} {new:?}");
            assert_eq!(apply(change, word, Whose::Named, new), named, "{change:?} {word:?} {new:?}");
            assert_eq!(apply(change, word, Whose::Nobodys, new), Nothing, "a user who is not here yet is unharmed");
        }
    }
}
