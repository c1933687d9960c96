//! What a command writes to and reads from: results on standard output, remarks and errors on standard error, answers from
//! standard input. Knows whether a person is there and whether colours are welcome; a test puts buffers in its place.
//!
//! The only way to the console for every file of `cli`. Whatever was typed by a stranger goes through [`inert`] first.

use std::fmt;
use std::io::{self, BufRead, IsTerminal as _, Write};

use zeroize::Zeroizing;

/// The console, or what a test puts in its place.
pub(crate) struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    input: Box<dyn BufRead + Send>,
    out_style: Style,
    err_style: Style,
    /// Whether standard error is a terminal, where a line can be written over.
    err_is_terminal: bool,
    out_is_terminal: bool,
    person: Person,
}

/// Whether somebody sits at the console who can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Person {
    /// Standard input and standard output are terminals.
    Present,
    /// At least one of them is a file or a pipe.
    Absent,
}

impl Terminal {
    /// This process's console. Colours only on a terminal, and never with `NO_COLOR` (<https://no-color.org>) or `TERM=dumb`.
    #[must_use]
    pub(crate) fn of_process() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let welcome = set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb");
        let style = |terminal: bool| if terminal && welcome { Style::Coloured } else { Style::Plain };
        let out_is_terminal = io::stdout().is_terminal();
        let both = out_is_terminal && io::stdin().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(io::BufReader::new(io::stdin())),
            out_style: style(out_is_terminal),
            err_style: style(io::stderr().is_terminal()),
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal() && set("TERM").is_none_or(|term| term != "dumb"),
            person: if both { Person::Present } else { Person::Absent },
        }
    }

    /// A console made of these, without colours.
    #[cfg(test)]
    pub(crate) fn new(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        input: impl BufRead + Send + 'static,
        person: Person,
    ) -> Self {
        let (out, err, input) = (Box::new(out), Box::new(err), Box::new(input));
        Self {
            out,
            err,
            input,
            out_style: Style::Plain,
            err_style: Style::Plain,
            err_is_terminal: false,
            out_is_terminal: false,
            person,
        }
    }

    /// A part of the result.
    pub(crate) fn print(&mut self, text: impl fmt::Display) -> io::Result<()> {
        write!(self.out, "{text}")
    }

    /// A part of a result that is a file rather than text.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// A line of the result.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// A line beside the result.
    pub(crate) fn remark(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }

    /// How far something is: one line on standard error that is written over by the next, and by nothing where no terminal is.
    pub(crate) fn progress(&mut self, text: impl fmt::Display) -> io::Result<()> {
        if self.err_is_terminal {
            write!(self.err, "\r{text}\u{1b}[K")?;
            self.err.flush()?;
        }
        Ok(())
    }

    /// Takes the line of [`Self::progress`] away.
    pub(crate) fn end_progress(&mut self) -> io::Result<()> {
        self.progress("")
    }

    /// Hands over what was printed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }

    /// Asks on standard error, so that a redirected result stays clean. `None` at the end of the input.
    pub(crate) fn ask(&mut self, question: impl fmt::Display) -> io::Result<Option<String>> {
        write!(self.err, "{question}")?;
        self.flush()?;
        let mut answer = String::new();
        // A line of this length is nobody's answer.
        let read = io::Read::take(&mut self.input, MAX_ANSWER_BYTES).read_line(&mut answer)?;
        Ok((read > 0).then(|| answer.trim().to_owned()))
    }

    /// A line of the input as it stands there, without its end. `None` at the end of the input.
    pub(crate) fn read_line(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        let mut line = Zeroizing::new(String::with_capacity(usize::try_from(MAX_LINE_BYTES).unwrap_or_default()));
        let read = io::Read::take(&mut self.input, MAX_LINE_BYTES).read_line(&mut line)?;
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        Ok((read > 0).then_some(line))
    }

    /// Asks at the terminal itself, whatever standard input is, without showing what is typed.
    pub(crate) fn ask_hidden(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        self.flush()?;
        rpassword::prompt_password(question).map(Zeroizing::new)
    }

    /// How results may be marked up.
    #[must_use]
    pub(crate) fn style(&self) -> Style {
        self.out_style
    }

    /// How remarks may be marked up.
    #[must_use]
    pub(crate) fn remark_style(&self) -> Style {
        self.err_style
    }

    /// Whether results end up before somebody's eyes rather than in a file or a pipe.
    #[must_use]
    pub(crate) fn shows_results(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether a bar can be drawn on standard error.
    #[must_use]
    pub(crate) fn shows_progress(&self) -> bool {
        self.err_is_terminal
    }

    /// Whether somebody can be asked.
    #[must_use]
    pub(crate) fn person(&self) -> Person {
        self.person
    }
}

/// The longest line that is read, in bytes: twice the longest stored hash.
const MAX_LINE_BYTES: u64 = 8 * 1024;

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 * 1024;

/// Whether marks are put around words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// None.
    Plain,
    /// ANSI colours (ECMA-48, section 8.3.117), the eight that every theme knows.
    Coloured,
}

/// A word with its mark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked<T> {
    text: T,
    code: Option<&'static str>,
}

impl Style {
    /// A heading or a word that matters.
    pub(crate) fn strong<T>(self, text: T) -> Marked<T> {
        self.mark(text, "1")
    }

    /// What may be skipped.
    pub(crate) fn faint<T>(self, text: T) -> Marked<T> {
        self.mark(text, "2")
    }

    /// Well.
    pub(crate) fn good<T>(self, text: T) -> Marked<T> {
        self.mark(text, "32")
    }

    /// To be looked at.
    pub(crate) fn warning<T>(self, text: T) -> Marked<T> {
        self.mark(text, "33")
    }

    /// Wrong.
    pub(crate) fn bad<T>(self, text: T) -> Marked<T> {
        self.mark(text, "31")
    }

    /// A name, an address, a thing to type.
    pub(crate) fn name<T>(self, text: T) -> Marked<T> {
        self.mark(text, "36")
    }

    fn mark<T>(self, text: T, code: &'static str) -> Marked<T> {
        Marked { text, code: (self == Self::Coloured).then_some(code) }
    }
}

impl<T: fmt::Display> fmt::Display for Marked<T> {
    /// Width and the like are the text's own: marks take no room.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else { return self.text.fmt(f) };
        write!(f, "\u{1b}[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\u{1b}[0m")
    }
}

/// Text from a stranger as it may be shown: characters that would steer the terminal are written out (R115).
#[must_use]
pub(crate) fn inert(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if crate::telemetry::logging::is_active(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A buffer that is read after the terminal wrote to it.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no test panics while it writes").clone()).expect("UTF-8")
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A terminal that types this, and what it was told: results, then remarks.
    pub(in crate::cli) fn typing(input: &'static str, person: Person) -> (Terminal, Written, Written) {
        let (out, err) = (Written::default(), Written::default());
        (Terminal::new(out.clone(), err.clone(), input.as_bytes(), person), out, err)
    }

    #[test]
    fn results_and_remarks_go_their_own_ways() {
        let (mut terminal, out, err) = typing("yes\n", Person::Present);
        terminal.line("result").expect("a buffer");
        terminal.remark("remark").expect("a buffer");
        assert_eq!(terminal.ask("sure? ").expect("a buffer").as_deref(), Some("yes"));
        assert_eq!(terminal.ask("sure? ").expect("a buffer"), None);
        assert_eq!((out.text().as_str(), err.text().as_str()), ("result\n", "remark\nsure? sure? "));
    }

    #[test]
    fn a_line_is_read_as_it_stands() {
        let (mut terminal, ..) = typing(" two words \r\nlast", Person::Absent);
        let mut line = || terminal.read_line().expect("a buffer").map(|line| line.to_string());
        assert_eq!([line(), line(), line()], [Some(" two words ".to_owned()), Some("last".to_owned()), None]);
    }

    #[test]
    fn a_mark_takes_no_room_and_is_none_in_plain_style() {
        assert_eq!(format!("{:>5}|", Style::Plain.good("ab")), "   ab|");
        assert_eq!(format!("{:>5}|", Style::Coloured.good("ab")), "\u{1b}[32m   ab\u{1b}[0m|");
    }

    #[test]
    fn r115_a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(inert("a\u{1b}[31mb\r\n\u{202e}ü"), "a\\u{1b}[31mb\\r\\n\\u{202e}ü");
    }
}
