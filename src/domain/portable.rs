//! A user on the way between two products: what every format is read into and written from. Nothing in here is normalized or
//! believed yet; the import does both.

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::clock::UnixSeconds;
use super::credential::AbsentBecause;
use super::identifier::IdentifierKind;
use super::password::PasswordNormalization;
use super::user::{LegacyId, Origin, Standing};

/// A user on the way between two products. No `Debug`: he carries a hash, and a profile is personal data.
#[derive(Clone)]
pub struct PortableUser {
    /// Our own key; only our own export has it.
    pub id: Option<Uuid>,
    /// The id under which the product that he comes from knows him.
    pub legacy_id: Option<LegacyId>,
    /// All his names, as written there.
    pub names: Vec<PortableName>,
    /// Names that are none of his any more and are kept from others for him; only our own export has them.
    pub reserved: Vec<PortableName>,
    /// Everything else that was said about him, kept whole, less the password.
    pub profile: Value,
    /// None for one whom legacy has to be asked about.
    pub password: Option<PortablePassword>,
    /// Why there is none; only our own export has it.
    pub without_password: Option<AbsentBecause>,
    /// Whether he may log in.
    pub standing: Standing,
    /// How he came to us; only our own export has it.
    pub origin: Option<Origin>,
    /// When he was created there.
    pub created_at: Option<UnixSeconds>,
    /// When he last changed; only our own export has it.
    pub updated_at: Option<UnixSeconds>,
    /// When legacy last vouched for him; only our own export has it.
    pub legacy_vouched_at: Option<UnixSeconds>,
    /// When he last logged in.
    pub last_login_at: Option<UnixSeconds>,
    /// What a roster said of him.
    pub roster: Option<PortableRoster>,
    /// What his record here will not carry on, for the operator.
    pub notes: Notes,
}

/// What a file says of a user that his record does not carry on, so that somebody has to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// A second factor is enrolled there; nobody asks for one here.
    pub second_factor: bool,
    /// He has to do something there before he gets in: choose a new password, accept terms.
    pub pending_action: bool,
    /// What became of the hash that the file has of him.
    pub hash: HashFate,
}

/// What became of a hash on its way into a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HashFate {
    /// It was taken, or there was none.
    #[default]
    Taken,
    /// It was left out, so that legacy goes on asking for more than the password.
    LeftWithLegacy,
    /// It cannot be used, and the operator wanted the user without it.
    Dropped,
}

impl PortableUser {
    /// What a list of legacy's users takes from a row, whatever else is in it: who he is, when he was last seen, what he is worth. No
    /// password and no profile, and no word on whether he may log in: legacy is asked.
    #[must_use]
    pub fn as_listed(self) -> Self {
        let said = self.roster.unwrap_or(PortableRoster { last_seen: None, value: None });
        let last_seen = said.last_seen.max(self.last_login_at);
        Self {
            id: self.id,
            legacy_id: self.legacy_id,
            names: self.names,
            roster: Some(PortableRoster { last_seen, value: said.value }),
            ..Self::default()
        }
    }
}

/// One name of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortableName {
    /// Which kind of name.
    pub kind: IdentifierKind,
    /// As written.
    pub value: String,
    /// Whether it was verified there; none where nothing is said.
    pub verified: Option<bool>,
}

/// One of whom nothing is known yet: formats fill in what they have, `..PortableUser::default()`.
impl Default for PortableUser {
    fn default() -> Self {
        Self {
            id: None,
            legacy_id: None,
            names: Vec::new(),
            reserved: Vec::new(),
            profile: Value::Null,
            password: None,
            without_password: None,
            standing: Standing::Active,
            origin: None,
            created_at: None,
            updated_at: None,
            legacy_vouched_at: None,
            last_login_at: None,
            roster: None,
            notes: Notes::default(),
        }
    }
}

/// A stored hash, in the one encoding that `password::formats` reads it in. No `Debug`, no `Serialize`.
#[derive(Clone)]
pub struct PortablePassword {
    /// The encoded hash. Where the product has no encoding of its own for it, the format's reader makes one.
    pub encoded: Zeroizing<String>,
    /// What that product does to a password before it hashes it.
    pub normalization: PasswordNormalization,
    /// Who hashed it.
    pub made: Made,
}

/// Who hashed a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Another product: it is replaced at the first login that it verifies.
    Elsewhere,
    /// An authferry, for a password that was proven to it; only our own export has it.
    Here,
}

impl PortablePassword {
    /// A hash that another product made.
    #[must_use]
    pub fn new(encoded: String, normalization: PasswordNormalization) -> Self {
        Self { encoded: Zeroizing::new(encoded), normalization, made: Made::Elsewhere }
    }
}

/// What a roster says of a user beside his names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortableRoster {
    /// When legacy last saw him.
    pub last_seen: Option<UnixSeconds>,
    /// What he is worth to the business, in whatever unit the operator counts.
    pub value: Option<u64>,
}
