//! CSV after RFC 4180: fields between commas, quoted where they hold a comma, a quote or a line end, a quote inside doubled. Stricter than
//! most readers: a quote inside an unquoted field, or text after a closing quote, is a fault of the record, since readers
//! disagree about what it says.
//!
//! The records are cut here, rather than by a CSV library, since a rejected one is handed back in its own bytes.

use super::{Cut, Problem, Trouble};
use crate::exchange::format::RowFault;

#[derive(Default)]
pub(super) struct CsvCutter {
    looked_at: usize,
    at: At,
    goes_on: bool,
}

/// Where in a record the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field: the end of the field, or the first half of a doubled quote.
    Quote,
}

impl CsvCutter {
    pub(super) fn cut(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        let mut line_end = None;
        for (offset, byte) in unread.iter().enumerate().skip(self.looked_at) {
            self.at = match (self.at, byte) {
                (At::Quoted, b'"') => At::Quote,
                (At::Quoted, _) | (At::Quote | At::FieldStart, b'"') => At::Quoted,
                (At::FieldStart | At::Unquoted | At::Quote, b'\n') => {
                    line_end = Some(offset);
                    break;
                }
                (At::FieldStart | At::Unquoted | At::Quote, b',') => At::FieldStart,
                (At::FieldStart | At::Unquoted | At::Quote, _) => At::Unquoted,
            };
        }
        let (end, next) = match line_end {
            Some(offset) => (offset, offset + 1),
            None if !ended => {
                self.looked_at = unread.len();
                return Ok(Cut::More);
            }
            // The place of the record: its open quote may have swallowed half the file.
            None if self.at == At::Quoted => return Err(Trouble(0, Problem::OpenQuote)),
            None if unread.is_empty() && !self.goes_on => return Ok(Cut::End),
            None => (unread.len(), unread.len()),
        };
        let goes_on = std::mem::take(&mut self.goes_on);
        (self.looked_at, self.at) = (0, At::FieldStart);
        let record = unread.get(..end).unwrap_or_default();
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        if record.is_empty() && !goes_on {
            return Ok(Cut::Skip(next));
        }
        Ok(Cut::Record { end: record.len(), next })
    }

    pub(super) fn forget(&mut self) {
        self.looked_at = 0;
        self.goes_on = true;
    }
}

/// The fields of one raw record.
pub(in crate::exchange) fn fields(raw: &[u8]) -> Result<Vec<String>, RowFault> {
    let mut fields = Vec::new();
    let mut rest = raw;
    loop {
        let (field, after) = field(rest)?;
        fields.push(String::from_utf8(field).map_err(|_| RowFault::NOT_UTF8)?);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// The first field, and what follows its comma.
fn field(raw: &[u8]) -> Result<(Vec<u8>, Option<&[u8]>), RowFault> {
    let Some(mut rest) = raw.strip_prefix(b"\"") else {
        let (field, after) = match memchr::memchr(b',', raw) {
            Some(comma) => (raw.get(..comma).unwrap_or_default(), raw.get(comma + 1..)),
            None => (raw, None),
        };
        if field.contains(&b'"') {
            return Err(RowFault::new("record", "a quote stands inside a field that is not quoted"));
        }
        return Ok((field.to_vec(), after));
    };
    let mut field = Vec::new();
    loop {
        let Some(quote) = memchr::memchr(b'"', rest) else {
            return Err(RowFault::new("record", "a quoted field does not end"));
        };
        let (part, after) = rest.split_at(quote);
        field.extend_from_slice(part);
        match after.get(1) {
            Some(b'"') => {
                field.push(b'"');
                rest = after.get(2..).unwrap_or_default();
            }
            Some(b',') => return Ok((field, after.get(2..))),
            None => return Ok((field, None)),
            Some(_) => return Err(RowFault::new("record", "something follows the closing quote of a field")),
        }
    }
}
