//! The few shapes that records and conflicts are made of, and what can be wrong with them. Decides nothing about their meaning.

/// The largest record, in bytes. Legacy's answers and clients' bodies are bounded well below it.
pub(in crate::store::redb) const MAX_RECORD_BYTES: usize = 1 << 20;

/// What is wrong with a record. Names the field, never its content.
#[derive(Debug, thiserror::Error)]
pub(in crate::store::redb) enum BadRecord {
    /// A newer version wrote it.
    #[error("a record has format {0}, which this version does not know")]
    UnknownFormat(u8),
    /// It ends before, or goes on after, what it should hold.
    #[error("a record is cut short or too long at its {0}")]
    Length(&'static str),
    /// A field holds what was never written there.
    #[error("a record's {0} is none that was ever written")]
    Value(&'static str),
    /// It would be larger than [`MAX_RECORD_BYTES`].
    #[error("a record would be {0} bytes long, over the limit of {MAX_RECORD_BYTES}")]
    TooLarge(usize),
    /// It was changed, stood for another user, or was sealed with a key that is not there.
    #[error(
        "a record's sealed part cannot be opened: it is another user's, was changed, or needs a key that is not there"
    )]
    NotOpened,
    /// The system gives no random bytes.
    #[error("a record could not be sealed")]
    NotSealed,
}

/// Writes.
pub(in crate::store::redb) struct Encoder(pub(in crate::store::redb) Vec<u8>);

impl Encoder {
    pub(in crate::store::redb) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Unsigned LEB128: seven bits a byte, the lowest first.
    pub(in crate::store::redb) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(in crate::store::redb) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(in crate::store::redb) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

/// Reads what [`Encoder`] wrote; whatever the bytes are, it neither panics nor reserves memory on their word.
pub(in crate::store::redb) struct Decoder<'a>(pub(in crate::store::redb) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(in crate::store::redb) fn byte(&mut self, field: &'static str) -> Result<u8, BadRecord> {
        let (first, rest) = self.0.split_first().ok_or(BadRecord::Length(field))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(in crate::store::redb) fn number(&mut self, field: &'static str) -> Result<u64, BadRecord> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the 64th bit alone, and only the first may end in zero: one number, one encoding.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(BadRecord::Value(field));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadRecord::Value(field))
    }

    /// A number that fits a narrower type.
    pub(in crate::store::redb) fn narrow<T: TryFrom<u64>>(&mut self, field: &'static str) -> Result<T, BadRecord> {
        T::try_from(self.number(field)?).map_err(|_| BadRecord::Value(field))
    }

    pub(in crate::store::redb) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], BadRecord> {
        let (array, rest) = self.0.split_first_chunk().ok_or(BadRecord::Length(field))?;
        self.0 = rest;
        Ok(*array)
    }

    pub(in crate::store::redb) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], BadRecord> {
        let length = usize::try_from(self.number(field)?).map_err(|_| BadRecord::Length(field))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(BadRecord::Length(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(in crate::store::redb) fn text(&mut self, field: &'static str) -> Result<&'a str, BadRecord> {
        str::from_utf8(self.bytes(field)?).map_err(|_| BadRecord::Value(field))
    }

    /// Everything that is left.
    pub(in crate::store::redb) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_back(number: u64) {
            let mut out = Encoder(Vec::new());
            out.number(number);
            let mut input = Decoder(&out.0);
            prop_assert_eq!(input.number("number").ok(), Some(number));
            prop_assert!(input.0.is_empty());
        }

        #[test]
        fn a_number_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut input = Decoder(&bytes);
            if let Ok(number) = input.number("number") {
                let mut out = Encoder(Vec::new());
                out.number(number);
                prop_assert_eq!(out.0.as_slice(), &bytes[..bytes.len() - input.0.len()]);
            }
        }
    }
}
