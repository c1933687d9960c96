//! All hashing: a bounded pool of Argon2id threads with reused memory, and the verifiers of other people's hashes.

pub mod settings;

pub use settings::PasswordSettings;
