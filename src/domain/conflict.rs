//! A conflict: legacy proved a user under a name that belongs to another one here (R44, R79). Nothing was saved, and an operator
//! has to say who keeps the name. What he can choose, and what of it is remembered.

use super::clock::UnixSeconds;
use super::identifier::NormalizedIdentifier;
use super::user::UserId;

/// Legacy's word against our record. Holds names and ids, never a password or a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its running number: the same for as long as it is remembered.
    pub number: u64,
    /// Who holds the name here.
    pub with: UserId,
    /// The id of the user whom legacy proved.
    pub legacy_id: Box<str>,
    /// The names that legacy gave him; of a conflict that ended so, those that were given to him.
    pub names: Vec<NormalizedIdentifier>,
    /// When it came up first.
    pub first_at: UnixSeconds,
    /// When it last came up.
    pub last_at: UnixSeconds,
    /// How often.
    pub times: u64,
    /// What an operator decided; one that is decided is no longer counted, and only told again when it is asked for.
    pub decided: Option<Decided>,
}

/// What an operator decided, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// What.
    pub decision: Decision,
    /// When.
    pub at: UnixSeconds,
}

/// A decision that has to be remembered, or the same conflict would come up as a new one at the next login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The name stays with its holder.
    Kept,
    /// The name stays with its holder, who was disabled.
    HolderDisabled,
    /// The name was taken from its holder, for legacy's user. The conflict is over; if legacy proves that very user under another
    /// name of that holder's, it is open again.
    Given,
}

impl Decision {
    /// Whether the two sides are still at odds, and an operator may decide otherwise.
    #[must_use]
    pub fn is_standing(self) -> bool {
        match self {
            Self::Kept | Self::HolderDisabled => true,
            Self::Given => false,
        }
    }

    /// The words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept by its holder",
            Self::HolderDisabled => "holder disabled",
            Self::Given => "given to legacy's user",
        }
    }
}

/// What an operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The name stays where it is.
    Keep,
    /// These names are taken from their holder and given to legacy's user: at once if he is here, else they are free for him to
    /// bring along at his next login. The operator names what he saw, since legacy may have changed the list meanwhile.
    Give(Vec<NormalizedIdentifier>),
    /// The name stays where it is, and its holder may no longer log in: for an account that was taken over.
    DisableHolder,
}
