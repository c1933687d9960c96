//! Hashes of our own making: Argon2id version 19 under the configured parameters, with a salt of 16 bytes and a tag of 32
//! (RFC 9106, section 3.1; OWASP ASVS 11.4.2).

use argon2::{Algorithm, KeyId, Params, ParamsBuilder, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as B64;
use zeroize::Zeroizing;

use super::arena::Arena;
use super::fill::{self, Input};
use super::formats::{self, NoAnswer, ParsedArgon2, Terms};
use super::pepper::Peppers;
use super::settings::PasswordSettings;
use crate::domain::credential::{Credential, StoredHash};
use crate::domain::password::{Password, PasswordNormalization};
use crate::keys::NamedKey;
use crate::service::ports::{HashLook, HashUnavailable};

const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// What a PHC string of Argon2 has before the name of its secret key.
const KEYID: &str = "keyid=";

/// How hashes are made and what is asked of stored ones.
pub(super) struct Policy {
    params: Params,
    peppers: Peppers,
    normalization: PasswordNormalization,
    terms: Terms,
    /// What nobody's password is checked against: made of random bytes, under the configured parameters.
    nobody: StoredHash,
}

/// The configured parameters make no Argon2id hash.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Memory, iterations and parallelism do not go together.
    #[error("the Argon2id parameters do not go together")]
    Parameters(#[source] argon2::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Policy {
    pub(super) fn new(settings: &PasswordSettings) -> Result<Self, PolicyError> {
        let peppers = settings.peppers.clone();
        let params = params(settings, peppers.current()).map_err(PolicyError::Parameters)?;
        let (mut salt, mut tag) = ([0; SALT_BYTES], Zeroizing::new([0; TAG_BYTES]));
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| PolicyError::Random)?;
        aws_lc_rs::rand::fill(tag.as_mut_slice()).map_err(|_| PolicyError::Random)?;
        let nobody = StoredHash::new(encode(&params, &salt, tag.as_slice()), settings.normalization);
        let terms = settings.terms();
        Ok(Self { terms, normalization: settings.normalization, nobody, peppers, params })
    }

    /// Blocks that one hash of our own needs.
    pub(super) fn blocks(&self) -> usize {
        self.params.block_count()
    }

    /// Whether a stored hash is the hash of this password.
    pub(super) fn verify(&self, stored: &StoredHash, password: &Password, arena: &mut Arena) -> Result<bool, NoAnswer> {
        let bytes = password.normalized(stored.normalization());
        match self.peppered(stored.expose())? {
            Some((parsed, pepper)) => parsed.matches_with(pepper.expose(), &bytes, arena),
            None => formats::verify(stored.expose(), &bytes, &self.terms, arena),
        }
    }

    /// A hash that names one of our peppers, and that one. Without it, the table of formats says what the hash is.
    fn peppered(&self, encoded: &str) -> Result<Option<(ParsedArgon2, &NamedKey)>, NoAnswer> {
        // Most hashes name none, and need not be read twice.
        if !encoded.contains(KEYID) {
            return Ok(None);
        }
        let Ok(parsed) = ParsedArgon2::new(encoded) else { return Ok(None) };
        let Some(pepper) = self.peppers.named(parsed.params.keyid()) else { return Ok(None) };
        parsed.within(&self.terms.bounds)?;
        Ok(Some((parsed, pepper)))
    }

    /// Does the same for nobody, down to the comparison.
    pub(super) fn equalize(&self, password: &Password, arena: &mut Arena) -> Result<(), NoAnswer> {
        self.verify(&self.nobody, password, arena).map(|matched| {
            std::hint::black_box(matched);
        })
    }

    /// Hashes a password under the configured parameters with a fresh salt.
    pub(super) fn hash(&self, password: &Password, arena: &mut Arena) -> Result<StoredHash, HashUnavailable> {
        let bytes = password.normalized(self.normalization);
        let (mut salt, mut tag) = ([0; SALT_BYTES], Zeroizing::new([0; TAG_BYTES]));
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| HashUnavailable::Failed)?;
        let pepper = self.peppers.current().map_or(&[][..], |pepper| pepper.expose());
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let input = Input { algorithm, version, params: &self.params, password: &bytes, salt: &salt, secret: pepper };
        arena
            .with(self.blocks(), |blocks| fill::choice().implementation.compute(&input, blocks, tag.as_mut_slice()))
            .map_err(|_| HashUnavailable::OutOfMemory)?
            .map_err(|_| HashUnavailable::Failed)?;
        Ok(StoredHash::new(encode(&self.params, &salt, tag.as_slice()), self.normalization))
    }

    /// Whether a credential is not what [`Self::hash`] would make today.
    pub(super) fn is_outdated(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Argon2id(stored) => !self.is_current(stored),
            Credential::Imported(_) => true,
            Credential::Absent(_) => false,
        }
    }

    /// What a credential is, for operators.
    pub(super) fn look(&self, credential: &Credential) -> HashLook {
        let stored = match credential {
            Credential::Argon2id(stored) | Credential::Imported(stored) => stored,
            Credential::Absent(_) => return HashLook::Absent,
        };
        let format = match self.peppered(stored.expose()) {
            Ok(Some(_)) => Ok("argon2 with a pepper"),
            Ok(None) => formats::describe(stored.expose(), &self.terms).map(|described| described.format.name),
            Err(NoAnswer::Unusable(why)) => Err(why),
            // Reading a hash takes none; only computing one does.
            Err(NoAnswer::OutOfMemory) => return HashLook::Unusable { why: "there is no memory".to_owned() },
        };
        match format {
            Ok(format) => HashLook::Usable { format: format.to_owned(), outdated: self.is_outdated(credential) },
            Err(why) => HashLook::Unusable { why: why.to_string() },
        }
    }

    fn is_current(&self, stored: &StoredHash) -> bool {
        ParsedArgon2::new(stored.expose()).is_ok_and(|parsed| {
            parsed.algorithm == Algorithm::Argon2id
                && parsed.version == Version::V0x13
                && parsed.params == self.params
                && parsed.salt.len() == SALT_BYTES
        })
    }
}

fn params(settings: &PasswordSettings, pepper: Option<&NamedKey>) -> Result<Params, argon2::Error> {
    let mut params = ParamsBuilder::new();
    params.m_cost(settings.memory_kib).t_cost(settings.iterations).p_cost(settings.parallelism).output_len(TAG_BYTES);
    if let Some(pepper) = pepper {
        params.keyid(KeyId::new(pepper.id().as_str().as_bytes())?);
    }
    params.build()
}

/// The PHC string. Its length is known to be less than what is reserved, so that no copy of it is left behind by growing.
pub(super) fn encode(params: &Params, salt: &[u8], tag: &[u8]) -> String {
    let mut encoded = String::with_capacity(192);
    encoded.push_str(&format!("$argon2id$v=19$m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost()));
    if !params.keyid().is_empty() {
        encoded.push(',');
        encoded.push_str(KEYID);
        B64.encode_string(params.keyid(), &mut encoded);
    }
    encoded.push('$');
    B64.encode_string(salt, &mut encoded);
    encoded.push('$');
    B64.encode_string(tag, &mut encoded);
    encoded
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use argon2::password_hash::PasswordVerifier as _;
    use argon2::{Argon2, PasswordHash, PasswordHasher as _};
    use proptest::prelude::*;

    use super::super::arena::Allowance;
    use super::*;
    use crate::domain::credential::AbsentBecause;

    fn settings(memory_kib: u32, iterations: u32, parallelism: u32) -> PasswordSettings {
        PasswordSettings {
            memory_kib,
            iterations,
            parallelism,
            workers: NonZeroUsize::MIN,
            queue: NonZeroUsize::MIN,
            queue_deadline: Duration::from_secs(1),
            normalization: PasswordNormalization::None,
            prehash_keys: Default::default(),
            peppers: Peppers::default(),
        }
    }

    fn policy(memory_kib: u32, iterations: u32, parallelism: u32) -> Policy {
        Policy::new(&settings(memory_kib, iterations, parallelism)).expect("valid parameters")
    }

    fn arena(policy: &Policy) -> Arena {
        Arena::new(policy.blocks(), Allowance::new())
    }

    fn password(typed: &str) -> Password {
        Password::new(Zeroizing::new(typed.to_owned())).expect("a valid password")
    }

    fn none(encoded: &str) -> StoredHash {
        StoredHash::new(encoded.to_owned(), PasswordNormalization::None)
    }

    #[test]
    fn r52_a_hash_carries_its_parameters_a_salt_of_16_bytes_and_a_tag_of_32() {
        let policy = policy(19 * 1024, 2, 1);
        let stored = policy.hash(&password("hunter42"), &mut arena(&policy)).expect("a hash");
        assert!(stored.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let parsed = ParsedArgon2::new(stored.expose()).expect("our own hash");
        assert_eq!((parsed.salt.len(), parsed.tag.len()), (16, 32));
    }

    #[test]
    fn r52_every_hash_has_its_own_salt() {
        let policy = policy(8, 1, 1);
        let hash = || policy.hash(&password("same"), &mut arena(&policy)).expect("a hash").expose().to_owned();
        assert_ne!(hash(), hash());
    }

    #[test]
    fn r48_passwords_of_71_72_and_73_bytes_are_distinct() {
        let policy = policy(8, 1, 1);
        let mut arena = arena(&policy);
        let stored = policy.hash(&password(&"x".repeat(72)), &mut arena).expect("a hash");
        for (bytes, expected) in [(71, false), (72, true), (73, false), (1_024, false)] {
            assert_eq!(policy.verify(&stored, &password(&"x".repeat(bytes)), &mut arena), Ok(expected), "{bytes}");
        }
    }

    #[test]
    fn r50_the_record_says_how_its_password_was_normalized_not_the_configuration() {
        let nfkc = Policy::new(&PasswordSettings { normalization: PasswordNormalization::Nfkc, ..settings(8, 1, 1) });
        let nfkc = nfkc.expect("valid parameters");
        let stored = nfkc.hash(&password("\u{fb01}sh"), &mut arena(&nfkc)).expect("a hash");
        assert_eq!(stored.normalization(), PasswordNormalization::Nfkc);
        let plain = policy(8, 1, 1);
        assert_eq!(plain.verify(&stored, &password("fish"), &mut arena(&plain)), Ok(true));
        let stored = plain.hash(&password("\u{fb01}sh"), &mut arena(&plain)).expect("a hash");
        assert_eq!(nfkc.verify(&stored, &password("fish"), &mut arena(&nfkc)), Ok(false));
    }

    #[test]
    fn a_hash_is_outdated_when_it_is_not_what_would_be_made_today() {
        let today = policy(64, 2, 1);
        let made_by = |policy: &Policy| policy.hash(&password("p"), &mut arena(policy)).expect("a hash");
        assert!(!today.is_outdated(&Credential::Argon2id(made_by(&today))));
        for (memory, iterations, lanes) in [(32, 2, 1), (128, 2, 1), (64, 1, 1), (64, 3, 1), (64, 2, 2)] {
            let other = made_by(&policy(memory, iterations, lanes));
            assert!(today.is_outdated(&Credential::Argon2id(other)), "m={memory},t={iterations},p={lanes}");
        }
        let tag = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for encoded in [
            format!("$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA${tag}"),
            format!("$argon2id$v=16$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA${tag}"),
            format!("$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ${tag}"),
            "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5Q".to_owned(),
            "no hash at all".to_owned(),
        ] {
            assert!(today.is_outdated(&Credential::Argon2id(none(&encoded))), "{encoded}");
        }
        assert!(today.is_outdated(&Credential::Imported(made_by(&today))), "whatever it is, it is not ours");
        assert!(!today.is_outdated(&Credential::Absent(AbsentBecause::Roster)), "there is nothing to replace");
    }

    #[test]
    fn r53_configured_parameters_above_the_usual_bounds_are_within_them() {
        let large = settings(300 * 1024, 4, 65);
        let bounds = large.terms().bounds;
        assert_eq!((bounds.memory_kib, bounds.work_kib, bounds.lanes), (300 * 1024, 1200 * 1024, 65));
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        for (memory, iterations, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (15, 1, 2)] {
            let refused = Policy::new(&settings(memory, iterations, lanes));
            assert!(matches!(refused, Err(PolicyError::Parameters(_))), "m={memory},t={iterations},p={lanes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What we make the crate's own verifier accepts, and what the crate makes we accept, whatever the arena was used for
        /// before.
        #[test]
        fn r52_hashes_agree_with_the_crates_own_interface(
            typed in "\\PC{1,64}", other in "\\PC{1,64}", memory in 32_u32..200, iterations in 1_u32..4, lanes in 1_u32..4,
        ) {
            let policy = policy(memory, iterations, lanes);
            let mut arena = Arena::new(1024, Allowance::new());
            arena.with(1024, |blocks| blocks.iter_mut().for_each(|block| block.as_mut().fill(u64::MAX))).expect("memory");
            let ours = policy.hash(&password(&typed), &mut arena).expect("a hash");
            let phc = PasswordHash::new(ours.expose()).expect("a PHC string");
            prop_assert!(Argon2::default().verify_password(typed.as_bytes(), &phc).is_ok());
            prop_assert_eq!(Argon2::default().verify_password(other.as_bytes(), &phc).is_ok(), typed == other);

            let theirs = Argon2::from(&policy.params).hash_password_with_salt(typed.as_bytes(), b"sixteen bytes at").expect("a hash");
            prop_assert_eq!(policy.verify(&none(&theirs.to_string()), &password(&typed), &mut arena), Ok(true));
            prop_assert_eq!(policy.verify(&none(&theirs.to_string()), &password(&other), &mut arena), Ok(typed == other));
        }
    }
}
