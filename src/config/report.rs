//! Problems and warnings: what is wrong, under which key, where it stands, what would be right. Renders them as compilers do.
//!
//! Holds cut-out lines only, never the file, and every value that is or may be a secret is masked before it is cut out
//! ([`Findings::conceal`]). Filled by `document`, `shape` and `resolve`; printed by `cli`.

use std::fmt;
use std::ops::Range;

/// Why there is no configuration: at least one problem, in the order of the file.
#[derive(Debug)]
pub struct Problems {
    problems: Vec<Finding>,
}

impl Problems {
    /// Each of them.
    #[must_use]
    pub fn list(&self) -> &[Finding] {
        &self.problems
    }

    pub(super) fn single(message: String, help: Option<String>, origin: &str) -> Self {
        let place = Place::Whole(origin.to_owned());
        Self { problems: vec![Finding { severity: Severity::Problem, key: String::new(), message, help, place }] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let count = self.problems.len();
        write!(f, "{count} {} in the configuration", if count == 1 { "problem" } else { "problems" })
    }
}

impl std::error::Error for Problems {}

/// Something that may be meant, but is seldom wise.
pub type Warning = Finding;

/// One problem or warning. Its text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    severity: Severity,
    /// The key it is about, as `route[1].match.path`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Where it stands.
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Problem,
    Warning,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    Line(Excerpt),
    /// In an environment variable, by its name.
    Variable(String),
    /// The file as a whole.
    Whole(String),
}

/// One line of the file, secrets masked, and what is pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub origin: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line as it is shown.
    pub text: String,
    /// Characters of `text` before the caret.
    pub caret: usize,
    /// How many carets.
    pub width: usize,
}

impl fmt::Display for Finding {
    /// ```text
    /// error: this is not a duration: 5 parsecs
    ///   --> proxy.toml:12:11
    ///    |
    /// 12 | timeout = "5 parsecs"
    ///    |           ^^^^^^^^^^^
    ///    = key: legacy.timeout
    ///    = help: write it as "5s", "15m", "24h" or "1h30m"
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Problem => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", self.message)?;
        let margin = match &self.place {
            Place::Line(excerpt) => {
                let number = excerpt.line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{margin}--> {}:{}:{}", excerpt.origin, excerpt.line, excerpt.column)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", excerpt.text)?;
                writeln!(f, "{margin} | {}{}", " ".repeat(excerpt.caret), "^".repeat(excerpt.width))?;
                margin
            }
            Place::Variable(name) => {
                writeln!(f, " --> environment variable {name}")?;
                " ".to_owned()
            }
            Place::Whole(origin) => {
                writeln!(f, " --> {origin}")?;
                " ".to_owned()
            }
        };
        if !self.key.is_empty() {
            writeln!(f, "{margin} = key: {}", self.key)?;
        }
        match &self.help {
            Some(help) => writeln!(f, "{margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

/// Where a value came from, before its line is cut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Bytes of the file.
    Span(Range<usize>),
    /// An environment variable.
    Variable(String),
    /// Nowhere: it is missing.
    Absent,
}

/// Problems and warnings as they are found, and the places that may not be shown.
#[derive(Default)]
pub(super) struct Findings {
    found: Vec<(Severity, String, String, Option<String>, Origin)>,
    secrets: Vec<Range<usize>>,
}

impl Findings {
    pub(super) fn problem(
        &mut self,
        key: impl Into<String>,
        origin: Origin,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add(Severity::Problem, key.into(), message.into(), help, origin);
    }

    pub(super) fn warning(
        &mut self,
        key: impl Into<String>,
        origin: Origin,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add(Severity::Warning, key.into(), message.into(), help, origin);
    }

    /// A place where the file cannot even be read. Nothing tells a secret from the rest there, so every word of the line that
    /// is no key is masked.
    pub(super) fn syntax(&mut self, origin: Origin, message: &str, text: &str, is_key: impl Fn(&str) -> bool) {
        if let Origin::Span(span) = &origin {
            let (start, end) = line_around(text, span.start);
            let line = text.get(start..end).unwrap_or_default();
            let is_sign = |c: char| c.is_whitespace() || "=[]{}.,\"'".contains(c);
            let mut word_start = 0;
            for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
                if is_sign(c) {
                    let word = line.get(word_start..at).unwrap_or_default();
                    if !word.is_empty() && !is_key(word) {
                        self.secrets.push(start + word_start..start + at);
                    }
                    word_start = at + c.len_utf8();
                }
            }
        }
        self.add(Severity::Problem, String::new(), message.to_owned(), None, origin);
    }

    fn add(&mut self, severity: Severity, key: String, message: String, help: Option<String>, origin: Origin) {
        // What stands in a file must not steer the terminal that it is shown on.
        let plain = |text: String| text.replace(|c: char| c.is_control(), "\u{fffd}");
        let (key, message) = (plain(key), plain(message));
        // One cause may be met twice, as in a header that stands in several answers.
        let met = self
            .found
            .iter()
            .any(|(of, at, what, _, place)| (*of, at, what, place) == (severity, &key, &message, &origin));
        if !met {
            self.found.push((severity, key, message, help.map(plain), origin));
        }
    }

    /// These bytes of the file are masked in whatever is shown.
    pub(super) fn conceal(&mut self, origin: &Origin) {
        if let Origin::Span(span) = origin {
            self.secrets.push(span.clone());
        }
    }

    pub(super) fn has_problems(&self) -> bool {
        self.found.iter().any(|(severity, ..)| *severity == Severity::Problem)
    }

    /// Why there is no configuration. Says something even if nobody found anything, which would be a bug of ours.
    pub(super) fn into_problems(self, origin: &str, text: &str) -> Problems {
        let problems = self.cut_out(Severity::Problem, origin, text);
        if problems.is_empty() {
            return Problems::single(
                "the file cannot be resolved, for a reason that was not found".into(),
                None,
                origin,
            );
        }
        Problems { problems }
    }

    pub(super) fn into_warnings(self, origin: &str, text: &str) -> Vec<Warning> {
        self.cut_out(Severity::Warning, origin, text)
    }

    /// Cuts the lines out, masked, in the order of the file.
    fn cut_out(mut self, wanted: Severity, origin: &str, text: &str) -> Vec<Finding> {
        self.found.retain(|(severity, ..)| *severity == wanted);
        self.found.sort_by_key(|(.., place)| match place {
            Origin::Span(span) => (0, span.start),
            Origin::Absent => (1, 0),
            Origin::Variable(_) => (2, 0),
        });
        let secrets = &self.secrets;
        let findings = self.found.into_iter().map(|(severity, key, message, help, place)| Finding {
            severity,
            key,
            message,
            help,
            place: match place {
                Origin::Span(span) => Place::Line(excerpt(origin, text, &span, secrets)),
                Origin::Variable(name) => Place::Variable(name),
                Origin::Absent => Place::Whole(origin.to_owned()),
            },
        });
        findings.collect()
    }
}

/// What stands in the place of a secret, whatever its length.
const MASK: &str = "***";

/// Longer lines are cut: nobody reads them, and a terminal wraps the caret away.
const MAX_SHOWN: usize = 140;

/// Cuts the line out in which `span` begins.
fn excerpt(origin: &str, text: &str, span: &Range<usize>, secrets: &[Range<usize>]) -> Excerpt {
    let (line_start, line_end) = line_around(text, span.start);
    let before = text.get(..floor_char_boundary(text, span.start)).unwrap_or_default();
    let mut shown = Shown::default();
    for (offset, c) in text.get(line_start..line_end).unwrap_or_default().char_indices() {
        let offset = line_start + offset;
        shown.caret_at(offset, span);
        match secrets.iter().position(|secret| secret.contains(&offset)) {
            Some(secret) => shown.mask(secret),
            None => shown.push(c),
        }
    }
    shown.caret_at(line_end, span);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    let line = before.matches('\n').count() + 1;
    let (text, caret, width) = shown.window();
    Excerpt { origin: origin.to_owned(), line, column, text, caret, width }
}

#[derive(Default)]
struct Shown {
    text: String,
    width: usize,
    masking: Option<usize>,
    start: Option<usize>,
    end: Option<usize>,
}

impl Shown {
    fn caret_at(&mut self, offset: usize, span: &Range<usize>) {
        if offset >= span.start && self.start.is_none() {
            self.start = Some(self.width);
        }
        if offset >= span.end && self.end.is_none() {
            self.end = Some(self.width);
        }
    }

    /// The part of the line around the caret, the place of the caret in it, and its width.
    fn window(self) -> (String, usize, usize) {
        let text = self.text.trim_end();
        let length = text.chars().count();
        // What is pointed at behind the last visible character is shown right behind it.
        let (start, end) = (self.start.unwrap_or(0).min(length), self.end.unwrap_or(length).min(length));
        let skipped = if end > MAX_SHOWN { start.saturating_sub(MAX_SHOWN / 4) } else { 0 };
        let mut shown: String = text.chars().skip(skipped).take(MAX_SHOWN).collect();
        let mut caret = start - skipped;
        if skipped > 0 {
            shown.insert(0, '…');
            caret += 1;
        }
        if length > skipped + MAX_SHOWN {
            shown.push('…');
        }
        let width = (end - skipped).min(MAX_SHOWN) + usize::from(skipped > 0);
        (shown, caret, width.saturating_sub(caret).max(1))
    }

    fn mask(&mut self, secret: usize) {
        if self.masking != Some(secret) {
            self.masking = Some(secret);
            self.text.push_str(MASK);
            self.width += MASK.len();
        }
    }

    fn push(&mut self, c: char) {
        self.masking = None;
        // A tab would move the caret, a control character the terminal.
        self.text.push(if c.is_control() { ' ' } else { c });
        self.width += 1;
    }
}

/// Where the line around a place begins and ends.
fn line_around(text: &str, at: usize) -> (usize, usize) {
    let at = floor_char_boundary(text, at);
    let (before, after) = text.split_at(at);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (start, after.find('\n').map_or(text.len(), |newline| at + newline))
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
