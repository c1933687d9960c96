//! Where the body of an answer ends, and what of the bytes on the connection is its data (RFC 9112, sections 6.3 and 7.1). Chunk extensions
//! are passed over and trailers dropped, both within bounds; blanks behind a size are what some old servers write. Pure.

use bytes::{Buf as _, Bytes};

use super::super::field_value::is_value;

/// The most bytes of extensions and blanks, and of trailers, of one body, besides as many as it has data.
const OVERHEAD: usize = 16 * 1024;
/// So many more each chunk may have: there are servers that write its size into a field of a fixed width.
const PADDING: usize = 16;

/// Why chunks cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::net) enum ChunkFault {
    #[error("a chunk has no proper size")]
    Size,
    #[error("a chunk or its size does not end where it should")]
    Ending,
    #[error("a chunk extension or a trailer has a control byte")]
    Control,
    #[error("a trailer has no proper name")]
    TrailerName,
    #[error("there are too many extensions and trailers")]
    Overhead,
}

/// How much of a body is still to come.
#[derive(Debug)]
pub(super) struct Framing(Kind);

#[derive(Debug)]
enum Kind {
    Length(u64),
    Chunked(Chunks),
    UntilClosed,
}

impl Default for Framing {
    /// Nothing is.
    fn default() -> Self {
        Self(Kind::Length(0))
    }
}

impl Framing {
    pub(super) fn of_length(length: u64) -> Self {
        Self(Kind::Length(length))
    }

    pub(super) fn chunked() -> Self {
        Self(Kind::Chunked(Chunks { place: Place::Size, size: 0, overhead: 0, fault: None }))
    }

    pub(super) fn until_closed() -> Self {
        Self(Kind::UntilClosed)
    }

    pub(super) fn is_end(&self) -> bool {
        match &self.0 {
            Kind::Length(left) => *left == 0,
            Kind::Chunked(chunks) => chunks.place == Place::Done,
            Kind::UntilClosed => false,
        }
    }

    pub(super) fn ends_by_closing(&self) -> bool {
        matches!(self.0, Kind::UntilClosed)
    }

    /// How much is still to come, where that was announced.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Length(left) => Some(*left),
            Kind::Chunked(_) | Kind::UntilClosed => None,
        }
    }

    /// Takes data out of what was read, and leaves what is behind the body. None where more has to be read first, or at the end, which is
    /// noticed with the last data if it is there.
    pub(super) fn take(&mut self, read: &mut Bytes) -> Result<Option<Bytes>, ChunkFault> {
        if read.is_empty() {
            return Ok(None);
        }
        match &mut self.0 {
            Kind::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= length as u64;
                Ok((length > 0).then(|| read.split_to(length)))
            }
            Kind::Chunked(chunks) => chunks.take(read),
            Kind::UntilClosed => Ok(Some(std::mem::take(read))),
        }
    }
}

/// Where in the chunks the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where a size begins.
    Size,
    /// Behind a digit of one.
    Digits,
    /// In blanks behind it.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Behind the last chunk, or behind a trailer.
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

#[derive(Debug)]
struct Chunks {
    place: Place,
    /// The size as read so far, then what is left of the data.
    size: u64,
    overhead: usize,
    /// What is wrong behind the data that was handed on last.
    fault: Option<ChunkFault>,
}

impl Chunks {
    fn take(&mut self, read: &mut Bytes) -> Result<Option<Bytes>, ChunkFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.pass(read)?;
        if self.place != Place::Data || read.is_empty() {
            return Ok(None);
        }
        let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(read.len());
        self.size -= length as u64;
        if self.size == 0 {
            self.place = Place::DataCr;
        }
        let data = read.split_to(length);
        self.fault = self.pass(read).err();
        Ok(Some(data))
    }

    /// Passes what is no data.
    fn pass(&mut self, read: &mut Bytes) -> Result<(), ChunkFault> {
        let mut passed = 0;
        while let (Some(byte), false) = (read.get(passed), matches!(self.place, Place::Data | Place::Done)) {
            self.place = self.step(*byte)?;
            passed += 1;
        }
        read.advance(passed);
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<Place, ChunkFault> {
        match (self.place, byte) {
            (Place::Size | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = if self.place == Place::Size { 0 } else { self.size };
                self.size = size.checked_mul(16).ok_or(ChunkFault::Size)? | digit;
                Ok(Place::Digits)
            }
            (Place::Digits | Place::Blank, b' ' | b'\t') => self.overhead(Place::Blank),
            (Place::Digits | Place::Blank, b';') => self.overhead(Place::Extension),
            (Place::Digits | Place::Blank | Place::Extension, b'\r') => Ok(Place::SizeLf),
            (Place::Extension, byte) if is_value(byte) => self.overhead(Place::Extension),
            (Place::SizeLf, b'\n') if self.size == 0 => Ok(Place::TrailerStart),
            (Place::SizeLf, b'\n') => {
                let won = usize::try_from(self.size).unwrap_or(usize::MAX).saturating_add(PADDING);
                self.overhead = self.overhead.saturating_sub(won);
                Ok(Place::Data)
            }
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::Size),
            (Place::TrailerStart, b'\r') => Ok(Place::EndLf),
            (Place::EndLf, b'\n') => Ok(Place::Done),
            (Place::Trailer, b'\r') => Ok(Place::TrailerLf),
            (Place::TrailerLf, b'\n') => Ok(Place::TrailerStart),
            (Place::TrailerStart | Place::TrailerName, byte) if is_token(byte) => self.overhead(Place::TrailerName),
            (Place::TrailerName, b':') => self.overhead(Place::Trailer),
            (Place::Trailer, byte) if is_value(byte) => self.overhead(Place::Trailer),
            (Place::Size | Place::Digits | Place::Blank, _) => Err(ChunkFault::Size),
            (Place::SizeLf | Place::DataCr | Place::DataLf | Place::TrailerLf | Place::EndLf, _) => {
                Err(ChunkFault::Ending)
            }
            (Place::TrailerStart | Place::TrailerName, _) => Err(ChunkFault::TrailerName),
            (Place::Extension | Place::Trailer, _) => Err(ChunkFault::Control),
            (place @ (Place::Data | Place::Done), _) => Ok(place),
        }
    }

    fn overhead(&mut self, next: Place) -> Result<Place, ChunkFault> {
        self.overhead += 1;
        if self.overhead > OVERHEAD { Err(ChunkFault::Overhead) } else { Ok(next) }
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data, whether it ended, and what was left.
    fn read(framing: &mut Framing, text: &[u8]) -> Result<(Vec<u8>, bool, Vec<u8>), ChunkFault> {
        let (mut bytes, mut data) = (Bytes::copy_from_slice(text), Vec::new());
        while let Some(part) = framing.take(&mut bytes)? {
            data.extend_from_slice(&part);
        }
        Ok((data, framing.is_end(), bytes.to_vec()))
    }

    #[test]
    fn chunks_are_read_to_their_end_and_no_further() {
        for (text, data, ended, left) in [
            ("4\r\nhalf\r\n0\r\n\r\n", "half", true, ""),
            ("4\r\nhalf\r\n0\r\n\r\nHTTP/1.1 200", "half", true, "HTTP/1.1 200"),
            ("4  \r\nhalf\r\n0;a=\"b\";c\r\nTrailer: x\r\nb: y\r\n\r\nmore", "half", true, "more"),
            ("0000000000000001\r\na\r\nA;\r\n0123456789\r\n00\r\n\r\n", "a0123456789", true, ""),
            ("4\r\nhalf\r\n", "half", false, ""),
            ("4\r\nha", "ha", false, ""),
            ("4\r\nhalf\r\n0\r\n", "half", false, ""),
            ("", "", false, ""),
        ] {
            let expected = (data.as_bytes().to_vec(), ended, left.as_bytes().to_vec());
            assert_eq!(read(&mut Framing::chunked(), text.as_bytes()), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn r20_chunks_that_others_could_read_otherwise_are_malformed() {
        use ChunkFault::{Control, Ending, Overhead, Size, TrailerName};
        for (text, fault) in [
            ("\r\n", Size),
            ("x\r\n", Size),
            ("-1\r\n", Size),
            ("0x4\r\n", Size),
            (" 4\r\nhalf\r\n", Size),
            ("4 4\r\n", Size),
            ("4\nhalf\n", Size),
            ("10000000000000000\r\n", Size),
            ("4\r\r\n", Ending),
            ("4;a\nb\r\n", Control),
            ("4\r\nhalfx", Ending),
            ("4\r\nhalf\n0\r\n\r\n", Ending),
            ("4\r\nhalf\rx", Ending),
            ("0\r\n\n", TrailerName),
            ("0\r\nno trailer\r\n\r\n", TrailerName),
            ("0\r\n: b\r\n\r\n", TrailerName),
            ("0\r\na: b\n\r\n", Control),
            ("0\r\n\rx", Ending),
        ] {
            assert_eq!(read(&mut Framing::chunked(), text.as_bytes()), Err(fault), "{text:?}");
        }
        let long = "a".repeat(OVERHEAD);
        assert_eq!(read(&mut Framing::chunked(), format!("4;{long}").as_bytes()), Err(Overhead));
        assert_eq!(read(&mut Framing::chunked(), format!("0\r\na:{long}").as_bytes()), Err(Overhead));
    }

    #[test]
    fn a_long_body_may_have_padded_sizes() {
        let text = "1       \r\na\r\n".repeat(OVERHEAD);
        let (data, ended, left) =
            read(&mut Framing::chunked(), format!("{text}0       \r\n\r\n").as_bytes()).expect("chunks");
        assert_eq!((data.len(), ended, left.len()), (OVERHEAD, true, 0));
        let more = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20);
        assert_eq!(read(&mut Framing::chunked(), more.as_bytes()), Err(ChunkFault::Overhead));
    }

    #[test]
    fn what_is_right_before_a_fault_is_handed_on() {
        let (mut framing, mut bytes) = (Framing::chunked(), Bytes::from_static(b"4\r\nhalf\r\nnonsense\r\n"));
        assert_eq!(framing.take(&mut bytes), Ok(Some(Bytes::from_static(b"half"))));
        assert_eq!(framing.take(&mut bytes), Err(ChunkFault::Size));
        assert!(!framing.is_end());
    }

    proptest! {
        #[test]
        fn a_body_means_the_same_in_whatever_pieces_it_comes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in prop::option::of(0_usize..200),
            noise in prop::option::of((0_usize..200, any::<u8>())),
            pieces in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let chunk = |part: &Vec<u8>| [format!("{:X};x\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
            let mut text = [parts.iter().flat_map(chunk).collect::<Vec<_>>(), b"0\r\na: b\r\n\r\n".to_vec()].concat();
            text.truncate(cut.unwrap_or(text.len()));
            if let Some((at, byte)) = noise
                && let Some(place) = text.get_mut(at)
            {
                *place = byte;
            }
            let whole = read(&mut Framing::chunked(), &text);
            if cut.is_none() && noise.is_none() {
                prop_assert_eq!(&whole, &Ok((parts.concat(), true, Vec::new())));
            }
            let (mut framing, mut rest, mut data, mut left) = (Framing::chunked(), &text[..], Vec::new(), Vec::new());
            let mut fault = None;
            for length in pieces.into_iter().cycle() {
                if rest.is_empty() || fault.is_some() {
                    break;
                }
                let (piece, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                match read(&mut framing, piece) {
                    Ok((more, _, behind)) => {
                        data.extend(more);
                        left.extend(behind);
                    }
                    Err(found) => fault = Some(found),
                }
            }
            prop_assert_eq!(fault.map_or_else(|| Ok((data, framing.is_end(), left)), Err), whole);
        }
    }
}
