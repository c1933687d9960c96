//! Looking at stored hashes without a pool and without any password: for the offline commands, which hash nothing.

use super::argon2id::{Policy, PolicyError};
use super::settings::PasswordSettings;
use crate::domain::credential::Credential;
use crate::service::ports::{HashLook, HashReader};

/// Says of stored hashes what they are. Starts no thread and takes no memory for hashing.
pub struct Inspector(Policy);

impl Inspector {
    /// Goes by the configured parameters and bounds.
    pub fn new(settings: &PasswordSettings) -> Result<Self, PolicyError> {
        Policy::new(settings).map(Self)
    }
}

impl HashReader for Inspector {
    fn look(&self, credential: &Credential) -> HashLook {
        self.0.look(credential)
    }
}
