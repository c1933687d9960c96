//! An event as one line of JSON: `timestamp`, `level`, the event's fields, `target`. Written straight into one string, since there is a
//! line for every request. Whatever was typed by somebody stands there escaped (R115). Used by [`super::logging`].

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
        write!(line, "{{\"timestamp\":\"{:.6}\",\"level\":\"", Timestamp::now())?;
        line.push_str(metadata.level().as_str());
        line.push('"');
        event.record(&mut Fields(&mut line));
        line.push_str(",\"target\":\"");
        push_escaped(&mut line, metadata.target());
        line.push_str("\"}\n");
        writer.write_str(&line)
    }
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
        // JSON has no others.
        if value.is_finite() {
            self.number(field, value);
        } else {
            self.number(field, "null");
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
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
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

    proptest! {
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
