//! Problems and warnings: what is wrong, under which key, where it stands, what would be right. Renders them as compilers do.
//!
//! Holds cut-out lines only, never the file, and every value that is or may be a secret is masked before it is cut out
//! ([`Findings::finish`]). Filled by `document`, `shape` and `resolve`; printed by `cli`.

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
        self.found.push((Severity::Problem, key.into(), message.into(), help, origin));
    }

    pub(super) fn warning(
        &mut self,
        key: impl Into<String>,
        origin: Origin,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.found.push((Severity::Warning, key.into(), message.into(), help, origin));
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

    /// Cuts the lines out, masked, in the order of the file: the problems if there are any, else the warnings.
    pub(super) fn finish(mut self, origin: &str, text: &str) -> Result<Vec<Warning>, Problems> {
        let failed = self.has_problems();
        let wanted = if failed { Severity::Problem } else { Severity::Warning };
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
        let findings: Vec<Finding> = findings.collect();
        if failed { Err(Problems { problems: findings }) } else { Ok(findings) }
    }
}

/// What stands in the place of a secret, whatever its length.
const MASK: &str = "***";

/// Longer lines are cut: nobody reads them, and a terminal wraps the caret away.
const MAX_SHOWN: usize = 200;

/// Cuts the line out in which `span` begins.
fn excerpt(origin: &str, text: &str, span: &Range<usize>, secrets: &[Range<usize>]) -> Excerpt {
    let at = floor_char_boundary(text, span.start);
    let (before, after) = text.split_at(at);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = after.find('\n').map_or(text.len(), |newline| at + newline);
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
    let (caret, end) = (shown.start.unwrap_or(0), shown.end.unwrap_or(shown.width));
    let text: String = shown.text.trim_end().chars().take(MAX_SHOWN).collect();
    let caret = caret.min(MAX_SHOWN);
    let width = end.min(MAX_SHOWN).min(text.chars().count()).saturating_sub(caret).max(1);
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

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
