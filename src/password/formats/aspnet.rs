//! ASP.NET Identity's password hashes, one base64 blob each, behind `$aspnet$`: version 2 (`00`, PBKDF2-SHA1 with 1,000 iterations, a salt
//! of 16 bytes, 32 bytes) and version 3 (`01`, function, iterations and salt length as big-endian numbers, salt, bytes), as
//! `PasswordHasher` of aspnetcore documents them.

use zeroize::Zeroizing;

use super::digest::Algorithm;
use super::pbkdf2::{Pbkdf2, Spelling};
use super::text::{self, PADDED};
use super::{About, Format, Stored, Terms, Unusable, Wraps};

pub(super) const ASPNET: Format = Format {
    about: About {
        name: "aspnet",
        made_by: "ASP.NET Identity, versions 2 and 3",
        shape: "$aspnet$AQAAAA…",
        bounded_by: "pbkdf2_rounds",
        wraps: Wraps::IfWeak,
    },
    claims: |encoded| encoded.starts_with(PREFIX),
    read,
};

pub(super) const PREFIX: &str = "$aspnet$";

const V2_ITERATIONS: u64 = 1_000;
const V2_SALT_BYTES: usize = 16;
const V2_BYTES: usize = 32;
/// What version 3 refuses to read less of.
const V3_MIN_BYTES: usize = 16;

/// The functions of version 3, by their numbers.
const V3_FUNCTIONS: [Algorithm; 3] = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];

fn read(encoded: &str, terms: &Terms) -> Result<Stored, Unusable> {
    let blob = encoded.strip_prefix(PREFIX).and_then(|blob| text::base64(blob, &PADDED)).ok_or(Unusable::Malformed)?;
    match blob.split_first() {
        Some((0, rest)) => {
            let (salt, digest) = rest.split_at_checked(V2_SALT_BYTES).ok_or(Unusable::Malformed)?;
            if digest.len() != V2_BYTES {
                return Err(Unusable::Malformed);
            }
            Pbkdf2::new(Algorithm::Sha1, Some(V2_ITERATIONS), salt, Spelling::AspNetV2)?.stored(digest, terms)
        }
        Some((1, rest)) => {
            let mut rest = rest;
            let [function, iterations, salt] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
            let function =
                usize::try_from(function).ok().and_then(|at| V3_FUNCTIONS.get(at)).ok_or(Unusable::Malformed)?;
            let salt = usize::try_from(salt).ok().filter(|bytes| *bytes >= V3_MIN_BYTES).ok_or(Unusable::Malformed)?;
            let (salt, digest) = rest.split_at_checked(salt).ok_or(Unusable::Malformed)?;
            Pbkdf2::new(*function, Some(iterations.into()), salt, Spelling::AspNetV3)?.stored(digest, terms)
        }
        Some(_) | None => Err(Unusable::Malformed),
    }
}

/// The next four bytes.
fn number(rest: &mut &[u8]) -> Result<u32, Unusable> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(Unusable::Malformed)?;
    *rest = behind;
    Ok(u32::from_be_bytes(*bytes))
}

pub(super) fn encode_v2(salt: &[u8], digest: &[u8]) -> Zeroizing<String> {
    encoded(&[&[0], salt, digest])
}

pub(super) fn encode_v3(function: Algorithm, iterations: u32, salt: &[u8], digest: &[u8]) -> Zeroizing<String> {
    let number_of = V3_FUNCTIONS.iter().position(|known| *known == function).unwrap_or_default() as u32;
    let numbers = [number_of, iterations, salt.len() as u32].map(u32::to_be_bytes);
    encoded(&[&[1], numbers.as_flattened(), salt, digest])
}

fn encoded(parts: &[&[u8]]) -> Zeroizing<String> {
    let blob = Zeroizing::new(parts.concat());
    Zeroizing::new(format!("{PREFIX}{}", *text::to_base64(&blob, &PADDED)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MALFORMED, OVER_BOUNDS, matches};
    use super::*;

    fn v3(function: u32, iterations: u32, salt: u32, behind: usize) -> String {
        let numbers = [function, iterations, salt].map(u32::to_be_bytes);
        encoded(&[&[1], numbers.as_flattened(), &vec![9; behind]]).to_string()
    }

    #[test]
    fn r53_blobs_are_read_to_the_byte_and_bounded() {
        assert_eq!(matches(&v3(1, 10_000, 16, 48), b"x"), Ok(false));
        assert_eq!(matches(&v3(1, 2_500_001, 16, 48), b"x"), OVER_BOUNDS);
        assert_eq!(matches(&v3(2, u32::MAX, 16, 48), b"x"), OVER_BOUNDS);
        for malformed in [
            v3(3, 10_000, 16, 48),
            v3(1, 0, 16, 48),
            v3(1, 10_000, 15, 48),
            v3(1, 10_000, 16, 31),
            v3(1, 10_000, 49, 48),
            v3(1, 10_000, u32::MAX, 48),
            encoded(&[&[0], &[9; 47]]).to_string(),
            encoded(&[&[0], &[9; 49]]).to_string(),
            encoded(&[&[2], &[9; 48]]).to_string(),
            format!("{PREFIX}AQAAAA"),
            PREFIX.to_owned(),
        ] {
            assert_eq!(matches(&malformed, b"x"), MALFORMED, "{malformed}");
        }
    }
}
