//! How a command ends when it does not end well: the message, its causes, and the exit code. The only place that knows exit codes.
//!
//! Codes: 0 done, 1 failed, 2 wrong usage (clap's own as well), 3 an import or export that could not go on, 65 data that cannot be
//! read and 78 wrong configuration (`EX_DATAERR` and `EX_CONFIG` of sysexits.h).

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::terminal::Terminal;

/// The end of a command: nothing to say, or why not.
pub(crate) type Ended = Result<(), Failure>;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is wrong. The text is complete: every problem, rendered.
    #[error("{0}")]
    Config(String),
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// What was given to be looked at cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Everything else, with its causes.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
    /// Work of many parts that could not go on, with its causes: some parts are done.
    #[error(transparent)]
    Stopped(Box<dyn Error + Send + Sync>),
    /// What was printed could not be written.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

impl Failure {
    /// From an error of another layer.
    pub(crate) fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }

    /// From what keeps work of many parts from going on.
    pub(crate) fn stopped(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Stopped(Box::new(error))
    }

    /// Says what went wrong on standard error, each cause on a line of its own, and gives the exit code.
    pub(crate) fn report(&self, terminal: &mut Terminal) -> ExitCode {
        if matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read our output has seen enough, as `head` does.
            return ExitCode::SUCCESS;
        }
        let style = terminal.remark_style();
        let said = match self {
            Self::Config(problems) => terminal.remark(problems.trim_end()),
            Self::Usage(_) | Self::Unreadable(_) | Self::Failed(_) | Self::Stopped(_) | Self::Output(_) => {
                let mut said = terminal.remark(format_args!("{} {self}", style.bad("error:")));
                let (mut cause, mut before) = (self.source(), self.to_string());
                while let Some(error) = cause {
                    let text = error.to_string();
                    // Some messages already tell their cause.
                    if !before.contains(&text) {
                        said = said.and_then(|()| terminal.remark(format_args!("  caused by: {text}")));
                    }
                    (cause, before) = (error.source(), text);
                }
                said
            }
        };
        // There is nobody left to tell that telling failed; the exit code still says it.
        drop(said.and_then(|()| terminal.flush()));
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreadable(_) => 65,
            Self::Stopped(_) => 3,
            Self::Config(_) => 78,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Person;
    use crate::cli::terminal::tests::typing;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn a_failure_is_one_message_and_a_line_for_each_cause() {
        let (mut terminal, out, err) = typing("", Person::Absent);
        Failure::of(Outer("the outer", io::Error::other("the inner"))).report(&mut terminal);
        assert_eq!(err.text(), "error: the outer\n  caused by: the inner\n");
        assert_eq!(out.text(), "");
    }

    #[test]
    fn a_cause_that_the_message_tells_is_not_told_twice() {
        let (mut terminal, _out, err) = typing("", Person::Absent);
        Failure::of(Outer("it failed: no room", io::Error::other("no room"))).report(&mut terminal);
        assert_eq!(err.text(), "error: it failed: no room\n");
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        for (failure, code) in [
            (Failure::of(io::Error::other("x")), 1),
            (Failure::Output(io::Error::other("x")), 1),
            (Failure::Usage("x".into()), 2),
            (Failure::Unreadable("x".into()), 65),
            (Failure::stopped(io::Error::other("x")), 3),
            (Failure::Config("x".into()), 78),
        ] {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let (mut terminal, _out, err) = typing("", Person::Absent);
        let gone = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(gone.report(&mut terminal), ExitCode::SUCCESS);
        assert_eq!(err.text(), "");
    }
}
