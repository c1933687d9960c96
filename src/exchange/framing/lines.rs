//! One record a line. A line ends in LF or CR LF, the last one perhaps in neither; blank lines are none.

use super::Cut;

#[derive(Default)]
pub(super) struct LineCutter {
    /// Unread bytes without a line end.
    looked_at: usize,
    /// Whether a part of this line was dropped: it is a record even if what is left is blank.
    goes_on: bool,
}

impl LineCutter {
    pub(super) fn cut(&mut self, unread: &[u8], ended: bool) -> Cut {
        let line_end = memchr::memchr(b'\n', unread.get(self.looked_at..).unwrap_or_default());
        let (end, next) = match line_end {
            Some(offset) => (self.looked_at + offset, self.looked_at + offset + 1),
            None if !ended => {
                self.looked_at = unread.len();
                return Cut::More;
            }
            None if unread.is_empty() && !self.goes_on => return Cut::End,
            None => (unread.len(), unread.len()),
        };
        self.looked_at = 0;
        let line = unread.get(..end).unwrap_or_default();
        let goes_on = std::mem::take(&mut self.goes_on);
        if line.trim_ascii().is_empty() && !goes_on {
            return Cut::Skip(next);
        }
        Cut::Record { end: line.strip_suffix(b"\r").unwrap_or(line).len(), next }
    }

    pub(super) fn forget(&mut self) {
        self.looked_at = 0;
        self.goes_on = true;
    }
}
