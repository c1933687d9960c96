//! A stored hash in a record. An Argon2id hash in the form in which everybody writes it is kept as its numbers and bytes, about 57
//! of them instead of 97 characters; every other text is kept as it is. Which of the two is no choice: a hash has one encoding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as B64;
use zeroize::Zeroizing;

use super::wire::{BadRecord, Decoder, Encoder};

/// What our own hashes, and those that are written alike, begin with.
const PREFIX: &str = "$argon2id$v=19$m=";

/// The longest salt, tag or key id that is kept as bytes; of more the text is kept.
const MAX_PART_BYTES: usize = 64;

/// An Argon2id hash, taken apart.
pub(super) struct Parts {
    numbers: Numbers,
    /// Empty where no key was used.
    key_id: Vec<u8>,
    salt: Vec<u8>,
    tag: Zeroizing<Vec<u8>>,
}

/// What such a hash took: memory in KiB, iterations, lanes.
type Numbers = [u32; 3];

impl Parts {
    /// Takes a text apart that [`text_of`] puts together again, to the byte; no other one.
    pub(super) fn of(encoded: &str) -> Option<Self> {
        let mut fields = encoded.strip_prefix(PREFIX)?.split('$');
        let (params, salt, tag) = (fields.next()?, fields.next()?, fields.next()?);
        let mut params = params.split(',');
        let memory_kib = params.next()?.parse().ok()?;
        let iterations = params.next()?.strip_prefix("t=")?.parse().ok()?;
        let lanes = params.next()?.strip_prefix("p=")?.parse().ok()?;
        let key_id = match params.next() {
            None => Vec::new(),
            Some(key_id) => B64.decode(key_id.strip_prefix("keyid=")?).ok()?,
        };
        let (salt, tag) = (B64.decode(salt).ok()?, Zeroizing::new(B64.decode(tag).ok()?));
        let parts = Self { numbers: [memory_kib, iterations, lanes], key_id, salt, tag };
        // Whatever else may be odd about the text - a zero in front, a field too many - is seen here.
        (*text_of(parts.numbers, &parts.key_id, &parts.salt, &parts.tag)? == encoded).then_some(parts)
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        self.numbers.iter().for_each(|number| out.number((*number).into()));
        out.bytes(&self.key_id);
        out.bytes(&self.salt);
        out.bytes(&self.tag);
    }

    /// Reads the PHC string of what [`Self::encode`] wrote. Each lookup of a user does: nothing is copied but into the text.
    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Zeroizing<String>, BadRecord> {
        let numbers = [input.narrow("hash")?, input.narrow("hash")?, input.narrow("hash")?];
        let (key_id, salt, tag) = (input.bytes("hash")?, input.bytes("hash")?, input.bytes("hash")?);
        text_of(numbers, key_id, salt, tag).ok_or(BadRecord::Value("hash"))
    }
}

/// The PHC string; none if a part is too long to be kept as bytes.
fn text_of(numbers: Numbers, key_id: &[u8], salt: &[u8], tag: &[u8]) -> Option<Zeroizing<String>> {
    let encoded = [key_id, salt, tag].map(|part| part.len().div_ceil(3) * 4);
    if [key_id, salt, tag].iter().any(|part| part.len() > MAX_PART_BYTES) {
        return None;
    }
    // A little more than it comes to, so that no copy is left behind by growing; all of it is cleared when it goes.
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 48 + encoded.iter().sum::<usize>()));
    text.push_str(PREFIX);
    for (number, name) in numbers.into_iter().zip([",t=", ",p=", ""]) {
        push_number(&mut text, number);
        text.push_str(name);
    }
    if !key_id.is_empty() {
        text.push_str(",keyid=");
        B64.encode_string(key_id, &mut text);
    }
    for part in [salt, tag] {
        text.push('$');
        B64.encode_string(part, &mut text);
    }
    Some(text)
}

fn push_number(text: &mut String, number: u32) {
    let digits = number.checked_ilog10().unwrap_or(0);
    for place in (0..=digits).rev() {
        text.push(char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8));
    }
}

/// The name of the key that an Argon2id hash was peppered with; none for every other text.
pub(super) fn key_id_of(encoded: &str) -> Option<String> {
    String::from_utf8(Parts::of(encoded)?.key_id).ok().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

    fn bytes(parts: &Parts) -> Vec<u8> {
        let mut out = Encoder(Vec::new());
        parts.encode(&mut out);
        out.0
    }

    #[test]
    fn our_own_hash_takes_about_sixty_bytes_and_comes_back_to_the_byte() {
        for text in [OURS.to_owned(), OURS.replace("p=1$", "p=1,keyid=MjAyNg$")] {
            let parts = Parts::of(&text).expect("one of ours");
            let bytes = bytes(&parts);
            assert!(bytes.len() <= 60, "{} bytes", bytes.len());
            let again = Parts::decode(&mut Decoder(&bytes)).expect("what was written");
            assert_eq!(*again, text);
            assert!(again.capacity() <= text.len() + 48, "{} bytes are cleared", again.capacity());
        }
        assert_eq!(key_id_of(OURS), None);
        assert_eq!(key_id_of(&OURS.replace("p=1$", "p=1,keyid=MjAyNg$")).as_deref(), Some("2026"));
    }

    #[test]
    fn what_would_not_come_back_to_the_byte_stays_a_text() {
        for text in [
            OURS.replace("m=19456", "m=019456"),
            OURS.replace("m=19456", "m=+19456"),
            OURS.replace("v=19", "v=16"),
            OURS.replace("argon2id", "argon2i"),
            OURS.replace("p=1$", "p=1,data=AAAA$"),
            OURS.replace("p=1$", "p=1,keyid=$"),
            OURS.replace("p=1$", "p=1,keyid=MjAyNg,data=AAAA$"),
            OURS.replace("dA$", "dB$"),
            OURS.replace("dA$", "dA==$"),
            format!("{OURS}$more"),
            format!("{OURS}\n"),
            format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ${}", "A".repeat(88)),
            "$2b$10$x".to_owned(),
            String::new(),
        ] {
            assert!(Parts::of(&text).is_none(), "{text}");
            assert_eq!(key_id_of(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_alike(bytes_in in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut input = Decoder(&bytes_in);
            if let Ok(text) = Parts::decode(&mut input) {
                let read = &bytes_in[..bytes_in.len() - input.0.len()];
                let again = Parts::of(&text).expect("its own text");
                prop_assert_eq!(bytes(&again), read);
            }
        }

        #[test]
        fn whatever_is_taken_apart_is_put_together_alike(
            m: u32, t: u32, p: u32, key in "[0-9a-z]{0,8}",
            salt in proptest::collection::vec(any::<u8>(), 0..70), tag in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            let keyid = if key.is_empty() { String::new() } else { format!(",keyid={}", B64.encode(&key)) };
            let text = format!("$argon2id$v=19$m={m},t={t},p={p}{keyid}${}${}", B64.encode(&salt), B64.encode(&tag));
            let fits = salt.len() <= MAX_PART_BYTES && tag.len() <= MAX_PART_BYTES;
            let parts = Parts::of(&text);
            prop_assert_eq!(parts.is_some(), fits);
            if let Some(parts) = parts {
                prop_assert_eq!(&*text_of(parts.numbers, &parts.key_id, &parts.salt, &parts.tag).expect("it fits"), &text);
            }
        }
    }
}
