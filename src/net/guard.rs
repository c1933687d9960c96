//! What an answer's head must be before it is parsed (R15, R20): parsers take a lone LF for the end of a line, empty lines before an
//! answer, and any number of interim answers. A backend that lets a user's LF into a header means something else by it than a parser
//! reads, and that difference is a split answer. Adds no copy, and never looks at a body. Pure; used by [`super::wire`].

use super::field_value::value_run;

/// The largest head of an answer, in bytes.
pub(super) const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// How many interim answers (1xx) may come before the answer. A server that sends more is not going to answer.
const MAX_INTERIM: u8 = 16;

/// Why a head is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadFault {
    #[error("it does not begin as an HTTP/1 answer does")]
    StatusLine,
    #[error("a CR or an LF stands alone in its head")]
    LineEnd,
    #[error("a line of its head is folded")]
    Folded,
    #[error("its head has a control byte")]
    Control,
    #[error("its head is too large")]
    TooLarge,
    #[error("it has too many interim answers")]
    Interim,
    #[error("something came before the request")]
    Unasked,
}

/// How far a head has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Unfinished,
    /// The rest is the body's.
    Whole,
}

/// A head as it arrives, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Head {
    place: Place,
    /// Bytes so far, all interim answers included.
    length: usize,
    /// Bytes so far of this status line's fixed part.
    fixed: usize,
    is_interim: bool,
    is_switch: bool,
    interim: u8,
}

/// Where in a head the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `HTTP/1.x nnn`.
    #[default]
    Status,
    Line,
    /// Behind a CR at the end of a line.
    LineEnd,
    /// At the start of a line.
    Start,
    /// Behind a CR at the start of a line.
    End,
}

impl Head {
    /// Reads on. What stands behind the end of the head is the body, and is not looked at.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Read, HeadFault> {
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            if self.place == Place::Line {
                // What may stand in a line is most of a head, and is passed at once.
                let run = value_run(rest.get(..MAX_ANSWER_HEAD - self.length).unwrap_or(rest));
                if let (1.., Some(after)) = (run, rest.get(run..)) {
                    self.length += run;
                    rest = after;
                    continue;
                }
            }
            rest = after;
            self.length += 1;
            if self.length > MAX_ANSWER_HEAD {
                return Err(HeadFault::TooLarge);
            }
            self.place = match (self.place, *byte) {
                (Place::Status, byte) => self.status(byte)?,
                (Place::LineEnd, b'\n') => Place::Start,
                (Place::End, b'\n') => match self.end()? {
                    Read::Whole => return Ok(Read::Whole),
                    Read::Unfinished => Place::Status,
                },
                (Place::LineEnd | Place::End, _) => return Err(HeadFault::LineEnd),
                (Place::Start, b'\r') => Place::End,
                (Place::Start, b' ' | b'\t') => return Err(HeadFault::Folded),
                (Place::Line, b'\r') => Place::LineEnd,
                (Place::Start | Place::Line, b'\n') => return Err(HeadFault::LineEnd),
                (Place::Start | Place::Line, b'\t' | b' '..=b'~' | 0x80..) => Place::Line,
                (Place::Start | Place::Line, 0..=8 | 11..=31 | 127) => return Err(HeadFault::Control),
            };
        }
        Ok(Read::Unfinished)
    }

    /// `HTTP/1.1 200` and what follows it directly; RFC 9112, section 4.
    fn status(&mut self, byte: u8) -> Result<Place, HeadFault> {
        const FIXED: &[u8] = b"HTTP/1.";
        let fits = match self.fixed {
            at @ 0..=6 => FIXED.get(at) == Some(&byte),
            7 => matches!(byte, b'0' | b'1'),
            8 => byte == b' ',
            9 => {
                self.is_interim = byte == b'1';
                self.is_switch = self.is_interim;
                matches!(byte, b'1'..=b'5')
            }
            10 => {
                self.is_switch &= byte == b'0';
                byte.is_ascii_digit()
            }
            11 => {
                self.is_switch &= byte == b'1';
                byte.is_ascii_digit()
            }
            // Without a reason some servers leave the blank out as well.
            _ => matches!(byte, b' ' | b'\r'),
        };
        if !fits {
            return Err(HeadFault::StatusLine);
        }
        self.fixed += 1;
        Ok(match (self.fixed, byte) {
            (..=12, _) => Place::Status,
            (_, b'\r') => Place::LineEnd,
            (_, _) => Place::Line,
        })
    }

    fn end(&mut self) -> Result<Read, HeadFault> {
        if !self.is_interim || self.is_switch {
            return Ok(Read::Whole);
        }
        self.interim += 1;
        self.fixed = 0;
        if self.interim > MAX_INTERIM { Err(HeadFault::Interim) } else { Ok(Read::Unfinished) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(text: impl AsRef<[u8]>) -> Result<Read, HeadFault> {
        Head::default().read(text.as_ref())
    }

    #[test]
    fn a_head_is_read_to_its_end_and_the_body_is_not() {
        for head in [
            "HTTP/1.1 200 OK\r\na: b\r\n\r\n",
            "HTTP/1.0 404 Not Found\r\n\r\n",
            "HTTP/1.1 500\r\n\r\n",
            "HTTP/1.1 500 \r\n\r\n",
            "HTTP/1.1 200 \u{fc}\tx\r\na:\u{fc}\tb\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(judged(format!("{head}\n\0 anything")), Ok(Read::Whole), "{head}");
            assert_eq!(judged(&head[..head.len() - 1]), Ok(Read::Unfinished), "{head}");
        }
    }

    #[test]
    fn r15_r20_heads_that_two_readers_could_read_differently_are_not_read() {
        use HeadFault::{Control, Folded, Interim, LineEnd, StatusLine, TooLarge};
        for (head, fault) in [
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", StatusLine),
            ("\nHTTP/1.1 200 OK\r\n\r\n", StatusLine),
            (" HTTP/1.1 200 OK\r\n\r\n", StatusLine),
            ("http/1.1 200 OK\r\n\r\n", StatusLine),
            ("HTTP/2.0 200 OK\r\n\r\n", StatusLine),
            ("HTTP/1.2 200 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1  200 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1\t200 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 099 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 600 OK\r\n\r\n", StatusLine),
            ("HTTP/1.1 200\n\r\n", StatusLine),
            ("HTTP/1.1 200\tOK\r\n\r\n", StatusLine),
            ("HTTP/1.1 200 OK\n\r\n", LineEnd),
            ("HTTP/1.1 200 OK\r\r\n\r\n", LineEnd),
            ("HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n", LineEnd),
            ("HTTP/1.1 200 OK\r\na: b\rc: d\r\n\r\n", LineEnd),
            ("HTTP/1.1 200 OK\r\na: b\r\n\n", LineEnd),
            ("HTTP/1.1 200 OK\r\na: b\r\n\r \n", LineEnd),
            ("HTTP/1.1 200 OK\r\n\n", LineEnd),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Folded),
            ("HTTP/1.1 200 OK\r\n\ta: b\r\n\r\n", Folded),
            ("HTTP/1.1 200 O\0K\r\n\r\n", Control),
            ("HTTP/1.1 200 OK\r\n\0a: b\r\n\r\n", Control),
            ("HTTP/1.1 200 OK\r\na: \x7f\r\n\r\n", Control),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\n\r\n", LineEnd),
        ] {
            assert_eq!(judged(head), Err(fault), "{head:?}");
        }
        assert_eq!(judged("HTTP/1.1 102 Processing\r\n\r\n".repeat(17)), Err(Interim));
        let long = |length| format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(length));
        let around = long(0).len();
        assert_eq!(judged(long(MAX_ANSWER_HEAD - around)), Ok(Read::Whole));
        assert_eq!(judged(long(MAX_ANSWER_HEAD - around + 1)), Err(TooLarge));
    }

    #[test]
    fn r15_every_control_byte_but_the_tab_is_refused_wherever_it_stands() {
        for byte in 0..=255_u8 {
            let is_control = matches!(byte, 0..=8 | 10..=31 | 127);
            let head = [b"HTTP/1.1 200 OK\r\na: b", &[byte][..], b"c\r\n\r\n"].concat();
            assert_eq!(judged(&head).is_err(), is_control, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn a_head_means_the_same_in_whatever_pieces_it_comes(
            text in "(HTTP/1\\.1 (100|200|101) ?[a\r\n]{0,3}\r\n)?(a: [b\r\n\t]{0,3}\r\n){0,3}\r\n[a\r\n]{0,5}",
            pieces in prop::collection::vec(1_usize..7, 1..40),
        ) {
            let whole = judged(&text);
            let (mut head, mut rest, mut read) = (Head::default(), text.as_bytes(), Ok(Read::Unfinished));
            for length in pieces.into_iter().cycle() {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                read = head.read(piece);
                if rest.is_empty() || read != Ok(Read::Unfinished) {
                    break;
                }
            }
            prop_assert_eq!(read, whole);
        }
    }
}
