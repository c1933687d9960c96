//! What the use cases need of the world, as traits: the seams behind which a store, a legacy connector, a hasher or a limiter
//! can be exchanged. Each has a conformance suite in `tests/it/`.
//!
//! ```text
//! store    UserStore: reads        written   what it is asked to write      listing   in pages, and counted
//! import   many rows in one commit
//! hashing  PasswordHasher          limits    AddressLimits, AccountLimits
//! legacy   LegacyBackend           tokens    Tokens                         here      ModeSwitch
//! ```

mod hashing;
mod import;
mod legacy;
mod limits;
mod listing;
mod store;
mod tokens;
mod written;

use std::error::Error as StdError;

use futures_util::future::BoxFuture;

pub use self::hashing::*;
pub use self::import::*;
pub use self::legacy::*;
pub use self::limits::*;
pub use self::listing::*;
pub use self::store::*;
pub use self::tokens::*;
pub use self::written::*;
pub use super::account_key::AccountKey;
use crate::domain::mode::{ConfirmedMode, Mode};

/// The cause of an error, for the log; never shown to a client.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The mode in force, changed at run time.
pub trait ModeSwitch: Send + Sync {
    /// The mode that a request arriving now meets.
    fn current(&self) -> Mode;

    /// Puts a mode in force. When the future is ready the store keeps it for the next start and every later request meets
    /// it; after an error the old one is still in force.
    fn set(&self, to: ConfirmedMode) -> BoxFuture<'_, Result<(), StoreError>>;
}
