//! The stored password formats that can be verified: a table with a row a format. A further format is one more file and one
//! more row.
//!
//! A format says whether a text is one of its own, reads it strictly, and refuses parameters over the bounds before anything is
//! computed (R53). It never takes a hash that it cannot verify for a wrong password. Called by `argon2id` and the pool; by an
//! import, to tell a bad row from a good one; by `authferry hash`.
//!
//! # One text a hash
//!
//! A stored hash is one text. Where its home product has a single text for it, it is that text, unchanged: [`all`]
//! shows them. Products that keep algorithm, salt and digest apart are written like this, as Ory Kratos does (base64 is the
//! standard alphabet with padding unless said otherwise):
//!
//! ```text
//! $md5$HASH                                    unsalted; likewise sha1, sha224, sha256, sha384, sha512
//! $md5$pf=TEMPLATE$SALT$HASH                   TEMPLATE: base64 of a template; SALT and HASH: base64 of their bytes
//! $md5$pf=TEMPLATE,it=N$SALT$HASH              N digests in all: each further one of the bytes of the one before
//! $md5$pf=TEMPLATE,it=N,rt=TEMPLATE$SALT$HASH  each further one by the second template, with {DIGEST} or {HEX}
//! $hmac-sha256$HASH$KEY                        the password's HMAC; HASH: base64 of its bytes, or of its hex text
//! $hmac-sha256$pf=TEMPLATE$HASH$KEY            the HMAC of a template in which there is no salt
//! $pbkdf2-sha256$i=N,l=BYTES$SALT$HASH         base64 without padding; sha1, sha384, sha512 as well
//! $scrypt$ln=14,r=8,p=1$SALT$HASH              ln: the logarithm of N, with or without padding; from 32 on N itself, as Kratos has it
//! $firescrypt$ln=14,r=8,p=1$SALT$HASH$SALTSEPARATOR$SIGNERKEY
//! $aspnet$BLOB                                 ASP.NET Identity, version 2 or 3: its own base64
//! $prehash$NAME$…                              `$…` made of base64(HMAC-SHA512(key, password)), as Flask-Security does; the key is
//!                                              the configuration's `password.prehash.NAME`, never in a row
//! $wrapped$argon2id$v=19$m=…,t=…,p=…$SALT$TAG$INNER
//!                                              Argon2id of the digest of INNER, a hash in any of these formats whose own digest is
//!                                              written as zeros; SALT and TAG without padding, as in a PHC string
//! ```
//!
//! # Templates
//!
//! `{PASSWORD}` and `{SALT}` stand for their bytes, `{md5:…}` (any of the digests) for the lower-case hex text of the digest of what is
//! in it, and everything else for itself. `{DIGEST}` and `{HEX}` are the digest before, in `rt` alone. A template without the password is
//! refused: it would accept everybody. So vBulletin is `{md5:{PASSWORD}}{SALT}`, MyBB and IPB are `{md5:{SALT}}{md5:{PASSWORD}}`, SMF is
//! `{SALT}{PASSWORD}` with the lower-case name as its salt, Symfony is `{PASSWORD}{{SALT}}` with `rt` `{DIGEST}{PASSWORD}{{SALT}}`.

mod argon2;
mod aspnet;
mod bcrypt;
mod crypt;
mod declared;
mod digest;
mod firebase;
mod hint;
mod hmac;
mod ldap;
mod mediawiki;
mod pbkdf2;
mod phpass;
mod prehash;
mod salted;
mod scrypt;
mod template;
mod text;
#[cfg(test)]
mod vectors;
mod wrapped;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::arena::{Arena, OutOfMemory};

pub(super) use self::argon2::Parsed as ParsedArgon2;
pub use self::declared::{Declaration, DeclarationError, declare};
pub use self::hint::{hint, is_bare_digest};
pub use self::prehash::PrehashKeys;
pub use self::template::TemplateError;
pub use self::wrapped::{WrapError, WrapParams, Wrapper};

/// The longest encoded hash that is read, in bytes. The longest that any product makes are a tenth of it.
pub const MAX_ENCODED_BYTES: usize = 4 * 1024;

/// The shortest digest that is believed, in bytes: what is shorter is met by chance.
const MIN_DIGEST_BYTES: usize = 16;

/// The longest digest, in bytes.
const MAX_DIGEST_BYTES: usize = 512;

/// What a stored hash may ask for, so that a record cannot become an attack on the process (R53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Argon2 and scrypt: memory in KiB.
    pub memory_kib: u32,
    /// Argon2: KiB filled in all passes together, which is what the time goes by.
    pub work_kib: u64,
    /// Argon2: lanes. scrypt: parallelism, and the block size.
    pub lanes: u32,
    /// bcrypt: the logarithm of its rounds.
    pub bcrypt_cost: u32,
    /// scrypt: KiB filled by all of its parallel parts together, which is what the time goes by.
    pub scrypt_kib: u64,
    /// PBKDF2: iterations, times the digests that its output is made of.
    pub pbkdf2_rounds: u64,
    /// Digests that are repeated (crypt, phpass, Drupal, templates): how often, times what a template puts in.
    pub digest_rounds: u64,
}

/// 256 MiB, as libsodium's `MODERATE` has it; a gibibyte in all passes together, about half a second; 64 lanes; bcrypt with
/// cost 14, about a second; scrypt over 256 MiB, about 0.6 s; PBKDF2 with 2,500,000 rounds, twice what Django's newest asks for,
/// about 0.4 s with SHA-256 and a second with SHA-512; 1,048,576 digests, half a second, of which passlib's SHA-512 crypt asks for 656,000.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory_kib: 256 * 1024,
            work_kib: 1024 * 1024,
            lanes: 64,
            bcrypt_cost: 14,
            scrypt_kib: 256 * 1024,
            pbkdf2_rounds: 2_500_000,
            digest_rounds: 1 << 20,
        }
    }
}

/// Why a stored hash cannot be used. Says nothing about any password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No row of the table knows it.
    #[error("the hash is of no known format")]
    UnknownFormat,
    /// It begins like a known format and goes on differently.
    #[error("the hash is malformed")]
    Malformed,
    /// It asks for more memory, time or lanes than is given.
    #[error("the parameters of the hash are over the bounds")]
    OverBounds,
    /// It was made with a secret key that we do not have.
    #[error("the hash was made with a secret key that is not configured")]
    Keyed,
}

/// A check without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Unusable(Unusable),
    OutOfMemory,
}

impl From<Unusable> for NoAnswer {
    fn from(why: Unusable) -> Self {
        Self::Unusable(why)
    }
}

impl From<OutOfMemory> for NoAnswer {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// What hashes are read under.
#[derive(Clone, Default)]
pub struct Terms {
    /// What a hash may ask for.
    pub bounds: Bounds,
    /// The keys that some were made with.
    pub keys: PrehashKeys,
}

impl Terms {
    /// These bounds, and no keys.
    #[must_use]
    pub fn of(bounds: &Bounds) -> Self {
        Self { bounds: *bounds, keys: PrehashKeys::default() }
    }
}

/// One row.
struct Format {
    about: About,
    /// Whether a text claims to be of this format, by its beginning. No two rows claim the same text.
    claims: fn(&str) -> bool,
    /// Reads a text that does.
    read: Reader,
}

/// What there is to say of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Who writes such hashes.
    pub made_by: &'static str,
    /// What one looks like.
    pub shape: &'static str,
    /// What bounds it, in the words of [`Bounds`].
    pub bounded_by: &'static str,
    /// Whether [`Wrapper::wrap`] takes it.
    pub wraps: Wraps,
}

/// Whether a hash of a format can be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wraps {
    /// It is weak whatever its parameters: `--wrap-weak` wraps it.
    Always,
    /// With few rounds it is weak, and is wrapped.
    IfWeak,
    /// It is as hard to try as what it would be wrapped in, or it is wrapped already.
    Never,
}

type Reader = fn(&str, &Terms) -> Result<Stored, Unusable>;

/// A hash that was read and is within the bounds: how it is made, and what came out.
struct Stored {
    scheme: Box<dyn Scheme>,
    digest: Zeroizing<Vec<u8>>,
}

impl Stored {
    fn new(scheme: impl Scheme + 'static, digest: impl Into<Vec<u8>>) -> Self {
        Self { scheme: Box::new(scheme), digest: Zeroizing::new(digest.into()) }
    }

    /// Whether it is the hash of this password.
    fn matches(&self, password: &[u8], arena: &mut Arena) -> Result<bool, NoAnswer> {
        Ok(is_equal(&self.scheme.digest(password, arena)?, &self.digest))
    }
}

/// The only place where digests of passwords are compared: in constant time (R57).
fn is_equal(computed: &[u8], stored: &[u8]) -> bool {
    computed.ct_eq(stored).into()
}

/// A way to hash with its salt and its cost; everything of a stored hash but the digest.
trait Scheme: Send {
    /// The digest of this password. One of another length than the stored one matches nothing.
    fn digest(&self, password: &[u8], arena: &mut Arena) -> Result<Zeroizing<Vec<u8>>, NoAnswer>;

    /// The text of a hash of this kind with this digest. Read again it is the same hash.
    fn encode(&self, digest: &[u8]) -> Zeroizing<String>;

    /// Algorithm and cost, for people. Never the salt, a key, or the digest.
    fn parameters(&self) -> String;

    /// How hard it is to try passwords against it.
    fn strength(&self) -> Strength;

    /// The byte of which a digest consists that says nothing.
    fn filler(&self) -> u8 {
        0
    }

    /// Other ways to hash that a hash of this kind is taken for by mistake, each with what would have to be told to us.
    fn near(&self) -> Vec<(String, Box<dyn Scheme>)> {
        Vec::new()
    }
}

/// How hard it is to try passwords against a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// Memory-hard, or bcrypt: nothing is won by wrapping it.
    Hard,
    /// So many fast digests for each try.
    Rounds(u64),
}

/// From so many rounds on a fast digest is no longer weak: below, a graphics card tries more than some tens of thousands of passwords a
/// second.
const ENOUGH_ROUNDS: u64 = 100_000;

impl Strength {
    fn is_weak(self) -> bool {
        match self {
            Self::Hard => false,
            Self::Rounds(rounds) => rounds < ENOUGH_ROUNDS,
        }
    }
}

const FORMATS: &[Format] = &[
    argon2::ARGON2,
    argon2::PREFIXED,
    bcrypt::BCRYPT,
    bcrypt::DJANGO,
    bcrypt::DJANGO_SHA256,
    bcrypt::PASSLIB_SHA256,
    bcrypt::WORDPRESS,
    scrypt::PHC,
    scrypt::WERKZEUG,
    scrypt::DJANGO,
    firebase::FIREBASE,
    pbkdf2::PHC,
    pbkdf2::DJANGO,
    pbkdf2::WERKZEUG,
    pbkdf2::LDAP,
    mediawiki::PBKDF2,
    mediawiki::MD5,
    aspnet::ASPNET,
    phpass::PHPASS,
    phpass::DRUPAL,
    phpass::DRUPAL_UPDATED,
    crypt::MD5_CRYPT,
    crypt::SHA_CRYPT,
    ldap::DIGEST,
    ldap::CRYPT,
    salted::TEMPLATE,
    salted::DJANGO,
    salted::JOOMLA,
    hmac::HMAC,
    hmac::WERKZEUG,
    prehash::PREHASH,
    wrapped::WRAPPED,
];

/// Every format, in the order in which they are told apart.
pub fn all() -> impl Iterator<Item = About> {
    FORMATS.iter().map(|format| format.about)
}

/// The name of the format of an encoded hash that can be verified within the bounds.
pub fn recognise(encoded: &str, bounds: &Bounds) -> Result<&'static str, Unusable> {
    read(encoded, &Terms::of(bounds)).map(|(format, _)| format.name)
}

/// What is known of a hash without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its format.
    pub format: About,
    /// Algorithm and cost; never the salt, a key or the digest.
    pub parameters: String,
    /// Whether it is so cheap to try passwords against that it should not rest in a file unwrapped.
    pub is_weak: bool,
}

/// Says what a hash is.
pub fn describe(encoded: &str, terms: &Terms) -> Result<Described, Unusable> {
    let (format, stored) = read(encoded, terms)?;
    let is_weak = stored.scheme.strength().is_weak();
    Ok(Described { format, parameters: stored.scheme.parameters(), is_weak })
}

/// Whether a hash that can be used is as weak as [`Described::is_weak`] says; an import asks that of millions, and of nothing else.
pub fn is_weak(encoded: &str, terms: &Terms) -> Result<bool, Unusable> {
    if argon2::is_as_usual(encoded, terms) {
        return Ok(false);
    }
    Ok(read(encoded, terms)?.1.scheme.strength().is_weak())
}

/// Whether an encoded hash is the hash of this password.
pub(super) fn verify(encoded: &str, password: &[u8], terms: &Terms, arena: &mut Arena) -> Result<bool, NoAnswer> {
    read(encoded, terms)?.1.matches(password, arena)
}

/// Ways to read a hash other than the one it was read in, one of which matches this password; at most a few dozen are tried, and none
/// that costs more than the hash itself.
pub(super) fn nearby(
    encoded: &str,
    password: &[u8],
    terms: &Terms,
    arena: &mut Arena,
) -> Result<Option<String>, NoAnswer> {
    let (_, stored) = read(encoded, terms)?;
    for (advice, scheme) in stored.scheme.near() {
        let digest = stored.digest.clone();
        if (Stored { scheme, digest }).matches(password, arena)? {
            return Ok(Some(advice));
        }
    }
    Ok(None)
}

/// The text that a hash is written as where we write it. None of a hash that cannot be used.
#[cfg(any(test, fuzzing))]
pub(super) fn reencoded(encoded: &str, terms: &Terms) -> Option<Zeroizing<String>> {
    let (_, stored) = read(encoded, terms).ok()?;
    Some(stored.scheme.encode(&stored.digest))
}

/// How many fast digests one try costs; none for what is hard by other means.
#[cfg(any(test, fuzzing))]
pub(super) fn rounds(encoded: &str, terms: &Terms) -> Option<u64> {
    match read(encoded, terms).ok()?.1.scheme.strength() {
        Strength::Hard => None,
        Strength::Rounds(rounds) => Some(rounds),
    }
}

fn read(encoded: &str, terms: &Terms) -> Result<(About, Stored), Unusable> {
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(Unusable::UnknownFormat);
    }
    let format = FORMATS.iter().find(|format| (format.claims)(encoded)).ok_or(Unusable::UnknownFormat)?;
    Ok((format.about, (format.read)(encoded, terms)?))
}

/// A hash within another: read by the row that claims it, if it is one of these.
fn read_inner(encoded: &str, terms: &Terms, formats: &[&Format]) -> Result<Stored, Unusable> {
    let format = formats.iter().find(|format| (format.claims)(encoded)).ok_or(Unusable::Malformed)?;
    (format.read)(encoded, terms)
}

/// Refuses what is over a bound.
fn within(asked: impl Into<u64>, bound: impl Into<u64>) -> Result<(), Unusable> {
    if asked.into() <= bound.into() { Ok(()) } else { Err(Unusable::OverBounds) }
}

#[cfg(test)]
mod tests;
