//! An event as one line of JSON: `timestamp`, `level`, the event's fields, `target`. Written straight into one string, since there is a
//! line for every request. Whatever was typed by somebody stands there escaped (R115). Used by [`super::logging`].

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logging::is_active;

/// What most lines have room in.
const USUAL_LENGTH: usize = 320;

/// Formats events. Spans are not shown: there are none.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = String::with_capacity(USUAL_LENGTH);
        line.push_str("{\"timestamp\":\"");
        push_timestamp(&mut line, Timestamp::now())?;
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push('"');
        event.record(&mut Fields(&mut line));
        line.push_str(",\"target\":\"");
        push_escaped(&mut line, metadata.target());
        line.push_str("\"}\n");
        writer.write_str(&line)
    }
}

thread_local! {
    /// The second that was written last, and how it is written.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Appends a time as RFC 3339 has it, to the microsecond. Lines come by the thousand in a second, whose text is made once.
fn push_timestamp(line: &mut String, at: Timestamp) -> fmt::Result {
    let (second, micros) = (at.as_second(), at.subsec_microsecond());
    if micros < 0 {
        // Before 1970 seconds are counted backwards.
        return write!(line, "{at:.6}");
    }
    SECOND.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            text.clear();
            write!(text, "{:.0}", Timestamp::from_second(second).unwrap_or(at))?;
            *last = second;
        }
        line.push_str(text.strip_suffix('Z').unwrap_or(text));
        write!(line, ".{micros:06}Z")
    })
}

/// Appends `,"name":value` for each field.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        push_escaped(self.0, field.name().strip_prefix("r#").unwrap_or(field.name()));
        self.0.push_str("\":");
    }

    fn number(&mut self, field: &Field, number: impl fmt::Display) {
        self.name(field);
        // Writing to a string cannot fail; should the number's own text, a shorter line is better than none.
        let _written = write!(self.0, "{number}");
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.0.push('"');
        push_escaped(self.0, value);
        self.0.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push('"');
        // As in `number`.
        let _written = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Most are times to the microsecond: where thousandths are the whole number its shortest text is theirs.
        let thousandths = (value * 1000.0).round();
        if (0.0..1e12).contains(&thousandths) && thousandths / 1000.0 == value {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in that range")]
            let thousandths = thousandths as u64;
            self.name(field);
            push_thousandths(self.0, thousandths);
        // JSON has no others.
        } else if value.is_finite() {
            self.number(field, value);
        } else {
            self.number(field, "null");
        }
    }
}

/// Appends a number of thousandths as a decimal fraction without needless zeros.
fn push_thousandths(line: &mut String, thousandths: u64) {
    // Writing to a string cannot fail.
    let _written = write!(line, "{}", thousandths / 1000);
    let mut fraction = thousandths % 1000;
    if fraction != 0 {
        line.push('.');
        for place in [100, 10, 1] {
            if fraction == 0 {
                break;
            }
            line.push(char::from_digit(u32::try_from(fraction / place).unwrap_or(0), 10).unwrap_or('0'));
            fraction %= place;
        }
    }
}

/// Escapes all that is written through it.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

/// Appends text as it stands inside a JSON string, with every active character escaped.
fn push_escaped(line: &mut String, text: &str) {
    // All of them, rather than up to the first: that is done for many at once.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        return line.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // All active characters are in the basic plane. As in `Fields::number`.
            c if is_active(c) => drop(write!(line, "\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_written_as_its_own_crate_writes_it() {
        for micros in [
            0,
            1,
            999_999,
            1_000_000,
            1_790_000_000_123_456,
            1_790_000_000_000_000,
            1_790_000_001_000_007,
            -1,
            -5_000_000,
        ] {
            let at = Timestamp::from_microsecond(micros).expect("a time");
            let mut line = String::new();
            push_timestamp(&mut line, at).expect("written");
            assert_eq!(line, format!("{at:.6}"));
        }
    }

    proptest! {
        #[test]
        fn thousandths_are_written_as_the_number_that_they_are(thousandths in prop_oneof![0..5_000_u64, 0..1_000_000_000_000_u64]) {
            let mut line = String::new();
            push_thousandths(&mut line, thousandths);
            prop_assert_eq!(line, format!("{}", thousandths as f64 / 1000.0));
        }

        #[test]
        fn text_in_a_line_is_the_text_that_was_logged_and_nothing_in_it_acts(text in any::<String>()) {
            let mut line = String::from("\"");
            push_escaped(&mut line, &text);
            line.push('"');
            prop_assert!(!line.chars().any(is_active), "{:?}", line);
            prop_assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), text);
        }
    }
}
