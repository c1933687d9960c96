//! The chunks of one body (RFC 9112, section 7.1), more strictly than hyper: sizes have no leading whitespace and at most 16 digits,
//! lines end in CRLF, extensions and trailers are well-formed and bounded (R5, R13).

use super::bytes::{is_token, value_run};

/// The most hexadecimal digits of a size, leading zeros included.
const SIZE_DIGITS: u32 = 16;
/// The most bytes of extensions and trailers of one body together.
const OVERHEAD: usize = 4 * 1024;
/// The most trailer lines. hyper takes no more than 100.
const TRAILER_LINES: u32 = 64;

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChunkFault {
    /// A size that is none, or that has too many digits.
    #[error("a chunk has no proper size")]
    Size,
    /// No CRLF where there has to be one.
    #[error("a chunk or its size does not end where it should")]
    Ending,
    /// An extension without a name, or with control bytes.
    #[error("a chunk extension is malformed")]
    Extension,
    /// A trailer that is no field, or that would frame or route the message.
    #[error("a trailer is malformed")]
    Trailer,
    /// Too much besides the data.
    #[error("there are too many extensions and trailers")]
    Overhead,
}

impl ChunkFault {
    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "chunk_size",
            Self::Ending => "chunk_ending",
            Self::Extension => "chunk_extension",
            Self::Trailer => "chunk_trailer",
            Self::Overhead => "chunk_overhead",
        }
    }
}

/// How far a piece was fine, and what came then.
pub(super) struct ChunksRead {
    pub(super) passed: usize,
    pub(super) outcome: Result<Progress, ChunkFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The piece is at its end, the body is not.
    More,
    /// The body is at its end.
    Done,
}

/// Where in the chunks we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Size,
    /// Behind a `;`, where a name has to come.
    ExtensionStart,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// The chunks of one body.
#[derive(Debug)]
pub(super) struct Chunks {
    part: Part,
    /// The size as read so far, then what is left of the data.
    size: u64,
    digits: u32,
    overhead: usize,
    lines: u32,
    /// The name of the trailer, as far as names are looked at.
    name: [u8; 17],
    name_length: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { part: Part::Size, size: 0, digits: 0, overhead: 0, lines: 0, name: [0; 17], name_length: 0 }
    }
}

impl Chunks {
    pub(super) fn read(&mut self, piece: &[u8]) -> ChunksRead {
        let mut rest = piece;
        loop {
            let Some(first) = rest.first() else {
                return ChunksRead { passed: piece.len(), outcome: Ok(Progress::More) };
            };
            let step = self.step(*first, rest);
            let passed = piece.len() - rest.len();
            match step {
                Ok(Some(length)) => rest = rest.get(length..).unwrap_or_default(),
                Ok(None) => return ChunksRead { passed: passed + 1, outcome: Ok(Progress::Done) },
                Err(fault) => return ChunksRead { passed, outcome: Err(fault) },
            }
        }
    }

    /// Takes one byte, or a run that begins with it, and says how many; `None` for the last byte of the body.
    fn step(&mut self, first: u8, rest: &[u8]) -> Result<Option<usize>, ChunkFault> {
        let length = match self.part {
            Part::Size => return self.size(first).map(|()| Some(1)),
            Part::ExtensionStart if matches!(first, b' ' | b'\t') => self.overhead(1)?,
            Part::ExtensionStart if is_token(first) => {
                self.part = Part::Extension;
                self.overhead(1)?
            }
            Part::ExtensionStart => return Err(ChunkFault::Extension),
            Part::Extension | Part::TrailerValue if first == b'\r' => {
                self.part = if self.part == Part::Extension { Part::SizeLf } else { Part::TrailerLf };
                1
            }
            Part::Extension => match self.bounded(rest, value_run)? {
                0 => return Err(if first == b'\n' { ChunkFault::Ending } else { ChunkFault::Extension }),
                length => length,
            },
            Part::SizeLf if first == b'\n' => {
                self.part = if self.size == 0 { Part::TrailerStart } else { Part::Data };
                1
            }
            Part::Data => {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(rest.len());
                self.size -= here as u64;
                if self.size == 0 {
                    self.part = Part::DataCr;
                }
                here
            }
            Part::DataCr if first == b'\r' => {
                self.part = Part::DataLf;
                1
            }
            Part::DataLf if first == b'\n' => {
                (self.part, self.digits) = (Part::Size, 0);
                1
            }
            Part::TrailerStart if first == b'\r' => {
                self.part = Part::EndLf;
                1
            }
            Part::TrailerStart => {
                self.lines += 1;
                if self.lines > TRAILER_LINES {
                    return Err(ChunkFault::Overhead);
                }
                (self.part, self.name_length) = (Part::TrailerName, 0);
                return self.trailer_name(first).map(Some);
            }
            Part::TrailerName => return self.trailer_name(first).map(Some),
            Part::TrailerValue => match self.bounded(rest, value_run)? {
                0 => return Err(ChunkFault::Trailer),
                length => length,
            },
            Part::TrailerLf if first == b'\n' => {
                self.part = Part::TrailerStart;
                self.overhead(2)?;
                1
            }
            Part::EndLf if first == b'\n' => return Ok(None),
            Part::SizeLf | Part::DataCr | Part::DataLf | Part::TrailerLf | Part::EndLf => {
                return Err(ChunkFault::Ending);
            }
        };
        Ok(Some(length))
    }

    fn size(&mut self, byte: u8) -> Result<(), ChunkFault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if self.digits == SIZE_DIGITS {
                return Err(ChunkFault::Size);
            }
            self.size = if self.digits == 0 { 0 } else { self.size << 4 } | u64::from(digit);
            self.digits += 1;
            return Ok(());
        }
        self.part = match byte {
            b'\r' if self.digits > 0 => Part::SizeLf,
            b';' if self.digits > 0 => {
                self.overhead(1)?;
                Part::ExtensionStart
            }
            b'\n' if self.digits > 0 => return Err(ChunkFault::Ending),
            _ => return Err(ChunkFault::Size),
        };
        Ok(())
    }

    fn trailer_name(&mut self, byte: u8) -> Result<usize, ChunkFault> {
        self.overhead(1)?;
        if is_token(byte) {
            if let Some(place) = self.name.get_mut(self.name_length) {
                *place = byte.to_ascii_lowercase();
            }
            self.name_length += 1;
            return Ok(1);
        }
        // Fields that say where a message ends or goes have no place behind it (RFC 9110, section 6.5.1).
        let frames = self
            .name
            .get(..self.name_length)
            .is_some_and(|name| matches!(name, b"content-length" | b"transfer-encoding" | b"host"));
        if byte != b':' || self.name_length == 0 || frames {
            return Err(ChunkFault::Trailer);
        }
        self.part = Part::TrailerValue;
        Ok(1)
    }

    /// A run that counts as overhead; none longer than may still be.
    fn bounded(&mut self, rest: &[u8], of: impl Fn(&[u8]) -> usize) -> Result<usize, ChunkFault> {
        let allowed = OVERHEAD - self.overhead;
        match of(rest.get(..allowed).unwrap_or(rest)) {
            // Whatever comes now, it is too much.
            0 if allowed == 0 => Err(ChunkFault::Overhead),
            length => self.overhead(length),
        }
    }

    fn overhead(&mut self, length: usize) -> Result<usize, ChunkFault> {
        if length > OVERHEAD - self.overhead {
            return Err(ChunkFault::Overhead);
        }
        self.overhead += length;
        Ok(length)
    }
}
