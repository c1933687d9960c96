//! The alphabets that hashes are written in, read strictly: what another spelling would mean is refused. Shared by all formats.

use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

pub(super) use base64::engine::general_purpose::{STANDARD as PADDED, STANDARD_NO_PAD as UNPADDED};

/// Standard base64, with padding or without: for texts that several products write, each in its way. Written without.
pub(super) const EITHER: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// passlib's base64: `.` in the place of `+`, no padding.
pub(super) const ADAPTED: GeneralPurpose = GeneralPurpose::new(&DOTTED, base64::engine::general_purpose::NO_PAD);

const DOTTED: Alphabet = match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./") {
    Ok(alphabet) => alphabet,
    Err(_) => alphabet::STANDARD,
};

/// The alphabet of bcrypt. The four last bits of a salt and the two last of a digest say nothing, and some makers left noise in them.
pub(super) const BCRYPT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Bytes out of one of the alphabets above.
pub(super) fn base64(text: &str, alphabet: &GeneralPurpose) -> Option<Zeroizing<Vec<u8>>> {
    alphabet.decode(text).ok().map(Zeroizing::new)
}

/// Text in one of the alphabets above.
pub(super) fn to_base64(bytes: &[u8], alphabet: &GeneralPurpose) -> Zeroizing<String> {
    Zeroizing::new(alphabet.encode(bytes))
}

/// Whether hex text may have capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HexCase {
    Lower,
    Any,
}

/// Bytes out of hex text.
pub(super) fn hex(text: &str, case: HexCase) -> Option<Zeroizing<Vec<u8>>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if case == HexCase::Any => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

/// Lower-case hex text.
pub(super) fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// A decimal number as programs write it: no sign, no zero in front, no space. One that is too large for `u64` is the largest.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_plain && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Exactly so many fields.
pub(super) fn fields<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut pieces = text.split(separator);
    let mut fields = [""; N];
    for field in &mut fields {
        *field = pieces.next()?;
    }
    pieces.next().is_none().then_some(fields)
}

/// The numbers of `a=1,b=2`, with exactly these names in exactly this order.
pub(super) fn parameters<const N: usize>(text: &str, names: [&str; N]) -> Option<[u64; N]> {
    let given: [&str; N] = fields(text, ',')?;
    let mut numbers = [0; N];
    for ((slot, given), name) in numbers.iter_mut().zip(given).zip(names) {
        *slot = number(given.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    Some(numbers)
}

/// A salt that is text as it stands: letters, digits and marks, and no separator.
pub(super) fn is_plain_salt(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$' && byte != b':')
}

// ------------------------------------------------------------------------------------------------- the alphabet of crypt

const ITOA64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The value of a digit of crypt's alphabet.
pub(super) fn itoa64_value(digit: u8) -> Option<u8> {
    let position = ITOA64.iter().position(|other| *other == digit)?;
    u8::try_from(position).ok()
}

/// The digit of crypt's alphabet for a value below 64.
pub(super) fn itoa64_digit(value: u8) -> char {
    char::from(ITOA64.get(usize::from(value & 63)).copied().unwrap_or(b'.'))
}

/// Bytes in crypt's alphabet: three bytes make four digits, the lowest bits first.
pub(super) fn to_itoa64(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    for group in bytes.chunks(3) {
        let mut value = group.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        for _ in 0..=group.len() {
            text.push(itoa64_digit((value & 63) as u8));
            value >>= 6;
        }
    }
    text
}

/// Whether a text in crypt's alphabet is one of so many bytes: of their length, and without bits that none of them has.
pub(super) fn is_itoa64_of(text: &str, bytes: usize) -> bool {
    let rest = bytes % 3;
    let digits = bytes / 3 * 4 + if rest == 0 { 0 } else { rest + 1 };
    let unused = (digits * 6 - bytes * 8) as u32;
    let is_tight = |last: &u8| itoa64_value(*last).is_some_and(|value| u32::from(value) < 64 >> unused);
    text.len() == digits
        && text.bytes().all(|digit| itoa64_value(digit).is_some())
        && text.as_bytes().last().is_some_and(is_tight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passlibs_alphabet_has_a_dot_where_others_have_a_plus() {
        assert_eq!(to_base64(&[0xfb, 0xff], &ADAPTED).as_str(), "./8");
        assert!(base64("+/8", &ADAPTED).is_none());
    }

    #[test]
    fn numbers_are_read_as_programs_write_them() {
        assert_eq!([number("0"), number("7"), number("1000")], [Some(0), Some(7), Some(1_000)]);
        assert_eq!(number("99999999999999999999999"), Some(u64::MAX), "refused by a bound, not by its form");
        for other in ["", "00", "07", "+7", "-7", " 7", "7 ", "0x7", "7_000", "\u{0667}"] {
            assert_eq!(number(other), None, "{other:?}");
        }
    }

    #[test]
    fn parameters_have_their_names_and_their_order() {
        assert_eq!(parameters("ln=14,r=8,p=1", ["ln", "r", "p"]), Some([14, 8, 1]));
        for other in ["ln=14,r=8", "ln=14,r=8,p=1,x=1", "r=8,ln=14,p=1", "ln=14,r=8,p", "ln=14, r=8,p=1", ""] {
            assert_eq!(parameters(other, ["ln", "r", "p"]), None, "{other:?}");
        }
    }

    #[test]
    fn hex_is_of_one_case_where_its_maker_is() {
        assert_eq!(hex("0aff", HexCase::Lower).as_deref().map(Vec::as_slice), Some(&[10, 255][..]));
        assert!(hex("0AFF", HexCase::Lower).is_none());
        assert_eq!(hex("0AFF", HexCase::Any), hex("0aff", HexCase::Lower));
        assert!(["0", "0g", "\u{e9}", " 0"].iter().all(|other| hex(other, HexCase::Any).is_none()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
            let read = hex(&to_hex(&bytes), HexCase::Lower);
            prop_assert_eq!(read.as_deref(), Some(&bytes));
            for alphabet in [PADDED, UNPADDED, EITHER, ADAPTED, BCRYPT] {
                let read = base64(&to_base64(&bytes, &alphabet), &alphabet);
                prop_assert_eq!(read.as_deref(), Some(&bytes));
            }
            prop_assert!(is_itoa64_of(&to_itoa64(&bytes), bytes.len()));
            prop_assert!(!is_itoa64_of(&to_itoa64(&bytes), bytes.len() + 1));
        }
    }
}
