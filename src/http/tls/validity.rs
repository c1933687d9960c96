//! From when until when a certificate is valid: the one field of X.509 that the TLS library keeps to itself. Reads just far enough into
//! the DER to reach it (RFC 5280, section 4.1) and judges nothing else: whether a certificate can be used says the library.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::domain::clock::UnixSeconds;

const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`: the version, left out by the oldest certificates.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate begins and ends to be valid, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: UnixSeconds,
    /// The last second.
    pub not_after: UnixSeconds,
}

/// What a validity means at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can be used.
    Valid,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
}

impl Validity {
    /// Reads it out of a certificate in DER.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let mut outer = Der(certificate);
        let mut signed = Der(outer.element(SEQUENCE)?);
        let mut fields = Der(signed.element(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.element(VERSION)?;
        }
        // Serial number, algorithm of the signature, issuer.
        for _ in 0..3 {
            fields.any()?;
        }
        let mut validity = Der(fields.element(SEQUENCE)?);
        Some(Self { not_before: validity.time()?, not_after: validity.time()? })
    }

    /// How it stands now.
    #[must_use]
    pub fn at(self, now: UnixSeconds) -> Standing {
        if now > self.not_after {
            Standing::Expired
        } else if now < self.not_before {
            Standing::NotYet
        } else {
            Standing::Valid
        }
    }
}

/// Elements that are still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element, which has to have this tag: its content.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let length = match *first {
            short @ 0..0x80 => usize::from(short),
            // Lengths of one to three bytes: 16 MiB is more than is ever read.
            long @ 0x81..=0x83 => {
                let (bytes, after) = rest.split_at_checked(usize::from(long & 0x0f))?;
                rest = after;
                bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
            }
            0x80 | 0x84..=0xff => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((*tag, content))
    }

    /// RFC 5280, section 4.1.2.5: always to the second, always in UTC.
    fn time(&mut self) -> Option<UnixSeconds> {
        let (tag, content) = self.any()?;
        let digits = content.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let digits = std::str::from_utf8(digits).ok()?;
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let (year, rest) = digits.split_at_checked(2)?;
                let year: i16 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            (GENERALIZED_TIME, 14) => {
                let (year, rest) = digits.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            (_, _) => return None,
        };
        let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
        let time = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
        let seconds = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        // Before 1970 is as good as always.
        Some(UnixSeconds(u64::try_from(seconds).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        let key = rcgen::KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        // Years from 2050 on are written in the long form.
        for (from, to, expected) in [
            ((2001, 1, 1), (2049, 12, 31), (978_307_200, 2_524_521_600)),
            ((1975, 1, 1), (2051, 1, 1), (157_766_400, 2_556_144_000)),
        ] {
            let validity = Validity::of(&certificate(from, to)).expect("a validity");
            assert_eq!((validity.not_before.0, validity.not_after.0), expected);
        }
    }

    #[test]
    fn a_certificate_is_valid_from_its_first_second_to_its_last() {
        let validity = Validity { not_before: UnixSeconds(10), not_after: UnixSeconds(20) };
        let stands = [9, 10, 20, 21].map(|now| validity.at(UnixSeconds(now)));
        assert_eq!(stands, [Standing::NotYet, Standing::Valid, Standing::Valid, Standing::Expired]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..400, noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            static MADE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| certificate((2001, 1, 1), (2051, 1, 1)));
            let mut bytes = MADE.clone();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _read_or_not = Validity::of(&bytes);
            let _read_or_not = Validity::of(&noise);
        }
    }
}
