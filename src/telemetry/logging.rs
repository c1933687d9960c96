//! Structured logs to standard error: text on a terminal, JSON lines elsewhere.
//!
//! Two things hold at every level, `trace` included. Other crates log nothing below `info`, since their traces print heads,
//! bodies and records, and so passwords (R116). And no control or direction-changing character that somebody typed reaches
//! the log as itself (R115): one event is one line, and shows what was typed. Called once, by `main`; never by a library.
//!
//! Lines are written by a thread of their own. Where nobody reads them fast enough, a full pipe or a hung terminal, lines are
//! dropped and counted: requests never wait for their log.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::json_lines::JsonLines;
use super::lines::{self, Lines, Writing};

/// An error and what caused it, outermost first. The log's formats would write an error alone, and its message rarely says why:
/// every event that tells of an error logs `error = %WithCauses(&error)`.
pub struct WithCauses<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The crate whose events may be more detailed than [`FOREIGN_CAP`].
const OURS: &str = env!("CARGO_PKG_NAME");

/// The most detailed level of any other crate, whatever the operator asks for.
const FOREIGN_CAP: Level = Level::INFO;

/// `[log]`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// A level, or directives such as `info,authferry::legacy=debug`; see [`check_level`].
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// A word that stands where a level has to.
    #[error("`{0}` is not a log level; one is error, warn, info, debug, trace or off")]
    Level(String),
    /// Directives that cannot be read.
    #[error("`{directives}` is no list of log directives such as `info,authferry::legacy=debug`")]
    Directives {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        #[source]
        cause: ParseError,
    },
    /// No thread to write the lines.
    #[error("the thread that writes the log could not be started")]
    Thread(#[source] io::Error),
    /// Logging was set up before.
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] tracing_subscriber::util::TryInitError),
}

/// Where the lines of this process go; its log is one, too.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How long the end of a process may wait for its last lines.
const LAST_LINES: Duration = Duration::from_millis(1_500);

/// Sees to it that lines that still wait are written when it is dropped, within a second or two.
#[must_use = "what waits is lost when the process ends"]
pub struct LogGuard(Option<Writing>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(writing) = self.0.take() {
            writing.finish(LAST_LINES);
        }
    }
}

/// How many lines were dropped since the start because nobody read them fast enough.
#[must_use]
pub fn dropped_lines() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}

/// Starts logging to standard error, for the whole process, until the guard is dropped.
pub fn init(format: LogFormat, level: &str) -> Result<LogGuard, LoggingError> {
    let terminal = io::stderr().is_terminal();
    // https://no-color.org: any value that is not empty.
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = match (format, terminal) {
        (LogFormat::Text, _) | (LogFormat::Auto, true) => Style::Text { colour },
        (LogFormat::Json, _) | (LogFormat::Auto, false) => Style::Json,
    };
    let (lines, writing) = lines::start(io::stderr()).map_err(LoggingError::Thread)?;
    // Whoever was first goes on counting: setting up twice fails below.
    let _first = LINES.set(lines.clone());
    subscriber(style, level, lines)?.try_init().map_err(LoggingError::AlreadySet)?;
    Ok(LogGuard(Some(writing)))
}

/// Whether [`init`] would take this level: for `authferry check`.
pub fn check_level(level: &str) -> Result<(), LoggingError> {
    filter(level).map(drop)
}

/// How lines are written, the question of the terminal being settled.
#[derive(Debug, Clone, Copy)]
enum Style {
    Text { colour: bool },
    Json,
}

fn subscriber<W>(style: Style, level: &str, to: W) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let allowed = filter(level)?.and(filter_fn(may_be_logged));
    Ok(match style {
        Style::Text { colour } => {
            let fields = debug_fn(|writer, field, value| write_field(writer, field.name(), value)).delimited(" ");
            let layer = tracing_subscriber::fmt::layer().with_ansi(colour).fmt_fields(fields).with_writer(to);
            Box::new(tracing_subscriber::registry().with(layer.with_filter(allowed)))
        }
        Style::Json => {
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).event_format(JsonLines).with_writer(to);
            Box::new(tracing_subscriber::registry().with(layer.with_filter(allowed)))
        }
    })
}

/// A bare level is ours; others then log warnings. Anything else is taken as `EnvFilter` directives, but for one thing: there a
/// lone word is a target, and a misspelt level would silence everything.
fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    let directives = match level.trim().parse::<LevelFilter>() {
        // The empty word would be read as `error`.
        Ok(parsed) if !level.trim().is_empty() => format!("{},{OURS}={parsed}", parsed.min(LevelFilter::WARN)),
        Ok(_) | Err(_) => level.to_owned(),
    };
    let lone = directives.split(',').filter(|part| !part.contains(['=', '[', ']']));
    let is_level = |word: &&str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    if let Some(word) = lone.map(str::trim).find(|word| !is_level(word)) {
        return Err(LoggingError::Level(word.to_owned()));
    }
    EnvFilter::builder().parse(&directives).map_err(|cause| LoggingError::Directives { directives, cause })
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == OURS || target.strip_prefix(OURS).is_some_and(|rest| rest.starts_with("::"));
    ours || *metadata.level() <= FOREIGN_CAP
}

/// One field of a text line: `name=value`, the message without its name.
fn write_field(writer: &mut Writer<'_>, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
    if name != "message" {
        if writer.has_ansi_escapes() {
            write!(writer, "\u{1b}[2m{name}=\u{1b}[0m")?;
        } else {
            write!(writer, "{name}=")?;
        }
    }
    write!(EscapeText(writer), "{value:?}")
}

/// Characters that would act on a terminal or on the reader's eye rather than be seen (C0, C1, line separators, bidi).
pub(crate) fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes text with every active character in Rust's escaped form.
struct EscapeText<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for EscapeText<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_active(c) {
            true => write!(self.0, "{}", c.escape_default()),
            false => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, level: &str, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let to = captured.clone();
        let subscriber = subscriber(style, level, move || to.clone()).expect("a level");
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().expect("no test panics while it writes").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    const PLAIN: Style = Style::Text { colour: false };
    const STYLES: [Style; 3] = [PLAIN, Style::Text { colour: true }, Style::Json];

    #[derive(Debug, thiserror::Error)]
    #[error("the outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_logged_with_its_causes() {
        let log = |outer: &Outer| tracing::error!(error = %WithCauses(outer), "it failed");
        for style in [PLAIN, Style::Json] {
            let line = logged(style, "error", || log(&Outer(io::Error::other("the inner"))));
            assert!(line.contains("the outer: the inner"), "{line}");
        }
    }

    #[test]
    fn r116_other_crates_are_never_heard_below_info_whatever_is_asked_for() {
        for style in STYLES {
            for level in
                ["trace", "TRACE", "trace,hyper=trace", "hyper=trace,h2=debug", "authferry=trace,hyper[a]=trace"]
            {
                let lines = logged(style, level, || {
                    tracing::trace!(target: "hyper::proto::h1::io", "canary-of-trace");
                    tracing::debug!(target: "h2::codec", "canary-of-debug");
                    tracing::debug!(target: "authferry_evil", "canary-of-a-neighbour");
                    let _span = tracing::trace_span!(target: "hyper", "canary-of-a-span").entered();
                    tracing::error!(target: "rustls", "heard");
                    tracing::error!("ours");
                });
                assert!(!lines.contains("canary"), "{level}: {lines}");
                assert!(
                    lines.contains("ours") || !level.contains("authferry") && level.contains('='),
                    "{level}: {lines}"
                );
            }
        }
    }

    #[test]
    fn a_bare_level_is_ours_and_others_warn() {
        let log = || {
            tracing::debug!("our detail");
            tracing::info!(target: "redb", "their news");
            tracing::warn!(target: "redb", "their warning");
        };
        let debug = logged(PLAIN, "debug", log);
        assert!(
            debug.contains("our detail") && !debug.contains("their news") && debug.contains("their warning"),
            "{debug}"
        );
        let error = logged(PLAIN, "error", log);
        assert_eq!(error, "");
        assert_eq!(logged(PLAIN, "off", || tracing::error!("anything")), "");
    }

    const HOSTILE: &str = "a\r\n2026 INFO forged\u{1b}[31m\u{9b}31m\u{7}\u{0}\u{202e}\u{2028}\u{7f}\"}";

    #[test]
    fn r115_what_somebody_typed_cannot_forge_a_line_or_steer_a_terminal() {
        for style in STYLES {
            let lines = logged(style, "info", || {
                tracing::info!(login = HOSTILE, shown = %HOSTILE, debugged = ?HOSTILE, "tried {}", HOSTILE);
                let _span = tracing::info_span!("login", name = %HOSTILE).entered();
                tracing::info!("inside");
            });
            assert_eq!(lines.lines().count(), 2, "{lines:?}");
            // Our own colours are the only escape sequences, and red is none of theirs here.
            let uncoloured = match style {
                Style::Text { colour: true } => lines.replace("\u{1b}[", ""),
                Style::Text { colour: false } | Style::Json => lines.clone(),
            };
            let active: Vec<char> = uncoloured.chars().filter(|c| is_active(*c) && *c != '\n').collect();
            assert!(active.is_empty(), "{style:?}: {active:?} in {lines:?}");
            assert!(!lines.contains("\u{1b}[31m"), "{lines:?}");
        }
    }

    #[test]
    fn a_json_line_is_json_and_tells_what_was_typed() {
        let line = logged(Style::Json, "info", || tracing::info!(login = HOSTILE, "denied"));
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["login"], HOSTILE);
        assert_eq!(event["message"], "denied");
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn what_is_no_level_is_said_so() {
        for bad in ["", "loud", "debgu,hyper=warn", "info,", "authferry=very", "authferry[=info"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
        for good in ["info", "warn,authferry::legacy=debug", "off"] {
            assert!(check_level(good).is_ok(), "{good}");
        }
    }
}
