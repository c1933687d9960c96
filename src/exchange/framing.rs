//! Cuts a stream into raw records, each bounded, without ever holding the whole of it.
//!
//! ```text
//! bytes -> Splitter (a buffer of a record and a block) -> a cutter for the framing -> Piece: a record in its own bytes, or too large
//! ```
//!
//! However the stream comes in blocks, the records are the same. A record is not judged here: what is no JSON inside an item, or no
//! number where one should be, is found by the format's `parse`, and concerns that record alone. What is wrong between the
//! records - a file cut short, a comma too many - ends the reading with its line and byte, since nobody could say what follows.

mod csv;
mod json;
mod lines;

use std::io::{self, Read};

use aws_lc_rs::digest::{Context as Digest, SHA256};

use self::csv::CsvCutter;
use self::json::JsonCutter;
use self::lines::LineCutter;
use super::format::{Framing, MAX_RECORD_BYTES};

pub(super) use self::csv::fields as csv_fields;
pub(super) use self::json::keys as json_keys;

/// As much is read at once, in bytes.
const BLOCK: usize = 256 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where something stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub byte: u64,
    /// Its line, from 1.
    pub line: u64,
    /// Records before it.
    pub records: u64,
}

impl Place {
    /// Of the first byte.
    pub const START: Self = Self { byte: 0, line: 1, records: 0 };
}

/// What a file holds next.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The record in its own bytes; none for one over [`MAX_RECORD_BYTES`].
    pub bytes: Option<&'a [u8]>,
    /// Its number, from 1; a CSV header has none.
    pub number: u64,
    /// The line that it begins in, from 1.
    pub line: u64,
}

/// The file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The system refused.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// What stands there belongs to no record.
    #[error("line {line}, byte {byte}: {problem}")]
    At {
        /// Where, from 1.
        line: u64,
        /// Where, from 0.
        byte: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The beginning is not what it was when the import began.
    #[error("the file has changed in its first {0} bytes, which were read before")]
    Changed(u64),
}

/// What is wrong between records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else begins the file.
    #[error("the file is no JSON array")]
    NoArray,
    /// Something else begins the file.
    #[error("the file is no JSON object")]
    NoObject,
    /// The object has no such key.
    #[error("the file's object has no key `{0}`")]
    NoKey(&'static str),
    /// Its value is something else.
    #[error("the value of `{0}` is no array")]
    KeyIsNoArray(&'static str),
    /// The same array twice.
    #[error("the file's object has the key `{0}` twice")]
    KeyTwice(&'static str),
    /// A key over 4 KiB.
    #[error("a key of the file's object is too long")]
    LongKey,
    /// `,]`
    #[error("a comma stands before the end of the array")]
    TrailingComma,
    /// `[,` or `,,`
    #[error("an item is missing before a comma")]
    MissingItem,
    /// Something else than a comma or the end.
    #[error("something stands between two items that is no comma")]
    BetweenItems,
    /// Something else than a key, colon, comma or end.
    #[error("the file's object is malformed")]
    Malformed,
    /// `{]`
    #[error("a bracket closes what another kind of bracket opened")]
    Mismatched,
    /// More than 127 levels.
    #[error("an item is nested deeper than 127 levels")]
    TooDeep,
    /// What begins no JSON value.
    #[error("an item is no JSON value")]
    NoValue,
    /// After the last bracket.
    #[error("something follows the end of the array")]
    AfterEnd,
    /// The end came too early.
    #[error("the file ends in the middle: it was cut short")]
    Truncated,
    /// A quote that does not close.
    #[error("the file ends inside a quoted field: a quote is missing, or the file was cut short")]
    OpenQuote,
}

/// What a cutter says of the unread bytes.
enum Cut {
    /// So many belong to no record.
    Skip(usize),
    /// A record ends before `end`, and the next may begin at `next`.
    Record { end: usize, next: usize },
    /// More bytes are needed; all of these have been looked at.
    More,
    /// There is nothing more.
    End,
}

/// A problem, and how far into the unread bytes.
struct Trouble(usize, Problem);

/// One framing at work. Unread bytes begin with the record that is being cut, or between records; what was looked at is not looked
/// at again.
enum Cutter {
    Lines(LineCutter),
    Json(JsonCutter),
    Csv(CsvCutter),
}

impl Cutter {
    fn cut(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        match self {
            Self::Lines(cutter) => Ok(cutter.cut(unread, ended)),
            Self::Json(cutter) => cutter.cut(unread, ended),
            Self::Csv(cutter) => cutter.cut(unread, ended),
        }
    }

    /// Everything that was looked at is dropped; the record goes on.
    fn forget(&mut self) {
        match self {
            Self::Lines(cutter) => cutter.forget(),
            Self::Json(cutter) => cutter.forget(),
            Self::Csv(cutter) => cutter.forget(),
        }
    }
}

/// Cuts one stream.
pub struct Splitter<R> {
    input: R,
    cutter: Cutter,
    buffer: Vec<u8>,
    /// Where the unread bytes begin in `buffer`, and where they end.
    begin: usize,
    end: usize,
    /// Whether `input` is at its end.
    ended: bool,
    /// Of the first unread byte.
    place: Place,
    /// Of everything before it.
    digest: Digest,
    /// Whether the record at hand is over the limit, and its beginning dropped; the line that it began in.
    oversized: Option<u64>,
    framing: Framing,
}

impl<R: Read> Splitter<R> {
    /// From the first byte.
    pub fn new(input: R, framing: Framing) -> Self {
        let cutter = match framing {
            Framing::Lines => Cutter::Lines(LineCutter::default()),
            Framing::JsonItems { path } => Cutter::Json(JsonCutter::new(path)),
            Framing::Csv | Framing::CsvWithoutHeader => Cutter::Csv(CsvCutter::default()),
        };
        Self {
            input,
            cutter,
            buffer: Vec::new(),
            begin: 0,
            end: 0,
            ended: false,
            place: Place::START,
            digest: Digest::new(&SHA256),
            oversized: None,
            framing,
        }
    }

    /// From a place between two records that [`Self::place`] gave, with what [`Self::fingerprint`] gave there: everything before it is
    /// read once more, and must be what it was.
    pub fn resume(input: R, framing: Framing, at: Place, fingerprint: [u8; 32]) -> Result<Self, Broken> {
        let mut splitter = Self::new(input, framing);
        let mut left = at.byte;
        while left > 0 {
            if splitter.unread().is_empty() && !splitter.fill()? {
                return Err(Broken::Changed(at.byte));
            }
            let here = splitter.unread().len();
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(here);
            splitter.consume(count);
            left -= count as u64;
        }
        if splitter.fingerprint() != fingerprint {
            return Err(Broken::Changed(at.byte));
        }
        splitter.place = at;
        if let Cutter::Json(cutter) = &mut splitter.cutter
            && at.records > 0
        {
            cutter.go_on_after_an_item();
        }
        Ok(splitter)
    }

    /// Where the next record may begin.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// SHA-256 of every byte before [`Self::place`].
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.digest.clone().finish().as_ref());
        out
    }

    /// Whether there is nothing behind [`Self::place`].
    pub fn is_at_end(&mut self) -> Result<bool, Broken> {
        while self.unread().is_empty() {
            if !self.fill()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The header of a CSV file, which comes before its records; empty for other framings. Called once, first.
    pub fn header(&mut self) -> Result<Vec<u8>, Broken> {
        match self.framing {
            Framing::Csv => {}
            Framing::Lines | Framing::JsonItems { .. } | Framing::CsvWithoutHeader => return Ok(Vec::new()),
        }
        let header = self.next_piece()?.and_then(|piece| piece.bytes.map(<[u8]>::to_vec)).unwrap_or_default();
        self.place.records = 0;
        Ok(header)
    }

    /// The next record; none at the end.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, Broken> {
        if self.place.byte == 0 {
            self.skip_byte_order_mark()?;
        }
        let (start, end, line) = loop {
            let unread = self.buffer.get(self.begin..self.end).unwrap_or_default();
            let cut = self.cutter.cut(unread, self.ended);
            match cut.map_err(|Trouble(offset, problem)| self.broken(offset, problem))? {
                Cut::Skip(count) => self.consume(count),
                Cut::Record { end, next } => {
                    let start = self.begin;
                    let line = self.oversized.unwrap_or(self.place.line);
                    self.consume(next);
                    self.place.records += 1;
                    break (start, start + end, line);
                }
                Cut::More => {
                    if unread.len() > MAX_RECORD_BYTES {
                        self.oversized = self.oversized.or(Some(self.place.line));
                        let count = unread.len();
                        self.consume(count);
                        self.cutter.forget();
                    }
                    self.fill()?;
                }
                Cut::End => return Ok(None),
            }
        };
        let bytes = self.buffer.get(start..end).filter(|bytes| bytes.len() <= MAX_RECORD_BYTES);
        let bytes = if self.oversized.take().is_some() { None } else { bytes };
        Ok(Some(Piece { bytes, number: self.place.records, line }))
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    fn skip_byte_order_mark(&mut self) -> Result<(), Broken> {
        while self.unread().len() < BYTE_ORDER_MARK.len() && self.fill()? {}
        if self.unread().starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    /// Counts the first unread bytes as read.
    fn consume(&mut self, count: usize) {
        let bytes = self.buffer.get(self.begin..self.begin + count).unwrap_or_default();
        self.digest.update(bytes);
        self.place.byte += bytes.len() as u64;
        self.place.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.begin += bytes.len();
    }

    /// Reads one more block. `false` at the end.
    fn fill(&mut self) -> Result<bool, Broken> {
        if self.ended {
            return Ok(false);
        }
        // What was read is dropped only when it is the larger part: each byte is moved once on average.
        if self.begin > self.end / 2 {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.buffer.len() - self.end < BLOCK / 2 {
            self.buffer.resize(self.buffer.len() + BLOCK, 0);
        }
        let read = loop {
            match self.input.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.end += count;
        self.ended = count == 0;
        read.map(|count| count > 0).map_err(Broken::Read)
    }

    fn broken(&self, offset: usize, problem: Problem) -> Broken {
        let before = self.buffer.get(self.begin..self.begin + offset).unwrap_or_default();
        Broken::At {
            line: self.place.line + memchr::memchr_iter(b'\n', before).count() as u64,
            byte: self.place.byte + offset as u64,
            problem,
        }
    }
}

#[cfg(test)]
mod tests;
