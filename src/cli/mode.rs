//! `authferry mode`: which mode is in force, and putting another one in force. `retired` needs its word typed, here or at the
//! prompt; going back says what legacy lacks.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::{Ended, Failure};
use super::operator::{Answering, Operator, block_on};
use super::options::Reach;
use super::terminal::{Person, Terminal};
use super::text;
use super::users::pretty;
use crate::admin::roster::RosterView;
use crate::admin::view::{ModeChange, ModeView};
use crate::domain::mode::Mode;

/// Show or change the migration mode
#[derive(clap::Args)]
pub(super) struct ModeCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show the mode in force
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Put a mode in force
    Set {
        /// Which mode
        #[arg(value_parser = modes())]
        mode: Mode,
        /// For `retired`: that word, instead of a prompt
        #[arg(long, value_name = "WORD")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// The words, listed in the help and completed by shells.
fn modes() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(Mode::ALL.map(Mode::as_str)).try_map(|word| word.parse())
}

impl ModeCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::Show { json, reach } => block_on(show(*json, reach, terminal)),
            Action::Set { mode, confirm, reach } => block_on(set(*mode, confirm.as_deref(), reach, terminal)),
        }
    }
}

async fn show(json: bool, reach: &Reach, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach(reach, terminal).await?;
    let view = operator.mode().await.map_err(Failure::of)?;
    if json {
        terminal.line(pretty(&view))?;
    } else {
        terminal.line(view.mode)?;
        terminal.remark(terminal.remark_style().faint(meaning(view.mode)))?;
    }
    Ok(())
}

async fn set(to: Mode, confirm: Option<&str>, reach: &Reach, terminal: &mut Terminal) -> Ended {
    if let (Mode::Retired, Some(word)) = (to, confirm)
        && word != Mode::Retired.as_str()
    {
        return Err(Failure::Usage(format!(
            "--confirm takes the word `{to}`, and nothing else; the mode was not changed"
        )));
    }
    let operator = Operator::reach_to_change(reach, terminal).await?;
    let before = operator.mode().await.map_err(Failure::of)?;
    if before.mode == to {
        terminal.line(format_args!("{to}, as before"))?;
        return Ok(());
    }
    let confirm = match (to, confirm) {
        (Mode::Retired, None) => Some(ask_to_confirm(&operator, terminal).await?),
        (Mode::Retired, Some(word)) => {
            warn_of_retiring(&operator, terminal).await?;
            Some(word.to_owned())
        }
        (Mode::Passthrough | Mode::Observe | Mode::Migrate, _) => None,
    };
    let after = operator.set_mode(&ModeChange { mode: to, confirm }).await.map_err(Failure::of)?;
    terminal.line(format_args!("{} -> {}", before.mode, after.mode))?;
    let when = match operator.answering() {
        Answering::Proxy => "in force now",
        Answering::Store => "in force when the proxy starts",
    };
    let style = terminal.remark_style();
    terminal.remark(style.faint(format_args!("{when}: {}", meaning(to))))?;
    if let Some(lacking) = legacy_lacks(before.mode, &after) {
        terminal.remark(style.warning(lacking))?;
    }
    Ok(())
}

async fn ask_to_confirm(operator: &Operator, terminal: &mut Terminal) -> Result<String, Failure> {
    if terminal.person() == Person::Absent {
        return Err(Failure::Usage("in `retired` legacy is never called again: add --confirm retired".to_owned()));
    }
    warn_of_retiring(operator, terminal).await?;
    match terminal.ask("legacy will never be called again; type `retired` to confirm: ")? {
        Some(word) if word == Mode::Retired.as_str() => Ok(word),
        Some(_) | None => Err(Failure::Failed("not confirmed; nothing was changed".into())),
    }
}

/// Says who will not be able to log in any more, as far as that is known.
async fn warn_of_retiring(operator: &Operator, terminal: &mut Terminal) -> Ended {
    let roster = operator.status().await.map_err(Failure::of)?.roster;
    let style = terminal.remark_style();
    if let Some(denied) = roster.as_ref().and_then(RosterView::denied_by_retiring) {
        terminal.remark(style.warning(denied))?;
    }
    if roster.is_none_or(|roster| roster.listed == 0) {
        // Nobody has told us whom legacy knows.
        terminal.remark("users who have never logged in through authferry will not be able to log in")?;
    }
    Ok(())
}

/// What legacy does not know when it answers again.
fn legacy_lacks(before: Mode, after: &ModeView) -> Option<String> {
    let back = match (before, after.mode) {
        (Mode::Migrate | Mode::Retired, Mode::Passthrough | Mode::Observe) => true,
        (Mode::Passthrough | Mode::Observe | Mode::Migrate | Mode::Retired, _) => false,
    };
    let registered = after.registered_here.filter(|registered| back && *registered > 0)?;
    Some(format!(
        "legacy answers again, and lacks up to {} made here: those that were not written there too (write = \"legacy_first\")",
        text::counted(registered, "registration")
    ))
}

/// What a mode is, in a line.
pub(super) fn meaning(mode: Mode) -> &'static str {
    match mode {
        Mode::Passthrough => "everything is forwarded, no body is read, nothing saved",
        Mode::Observe => "legacy answers; what it proves is saved and compared",
        Mode::Migrate => "we answer whom we know; legacy is asked for everyone else",
        Mode::Retired => "we answer; legacy is never called",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::terminal::tests::typing;
    use crate::config::{Config, Environment};
    use crate::domain::clock::SystemClock;
    use crate::telemetry::Metrics;

    /// What `mode set retired` comes to, and is told, when this is typed.
    fn retire(typed: &'static str, person: Person) -> (Ended, String) {
        retire_with(None, typed, person)
    }

    fn retire_with(confirm: Option<&str>, typed: &'static str, person: Person) -> (Ended, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, store) = (folder.path().join("proxy.toml"), folder.path().join("users.redb"));
        let text =
            format!("[upstream]\nurl = \"http://127.0.0.1:9\"\n[store]\npath = {store:?}\n[admin]\nbind = \"off\"\n");
        std::fs::write(&path, &text).expect("a file");
        let config = Config::from_text(&text, "proxy.toml", &Environment::of_process());
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        drop(crate::store::open(&config.store, Arc::new(Metrics::new()), Arc::new(SystemClock)).expect("a new store"));
        let (mut terminal, out, err) = typing(typed, person);
        let ended = block_on(set(Mode::Retired, confirm, &Reach::by(path), &mut terminal));
        (ended, out.text() + &err.text())
    }

    #[test]
    fn a_person_is_asked_for_the_word_and_nothing_else_will_do() {
        let (ended, said) = retire("retired\n", Person::Present);
        assert!(ended.is_ok() && said.contains("type `retired` to confirm") && said.contains("-> retired"), "{said}");
        for typed in ["yes\n", "\n", "Retired\n", ""] {
            let (ended, said) = retire(typed, Person::Present);
            assert!(matches!(ended, Err(Failure::Failed(_))) && !said.contains("->"), "{typed:?}: {said}");
        }
    }

    #[test]
    fn nobody_is_asked_where_nobody_is() {
        let (ended, said) = retire("retired\n", Person::Absent);
        assert!(matches!(ended, Err(Failure::Usage(_))) && !said.contains("->"), "{said}");
    }

    #[test]
    fn another_word_than_its_own_confirms_nothing_and_is_wrong_usage() {
        for word in ["yes", "", "Retired"] {
            for person in [Person::Absent, Person::Present] {
                let (ended, said) = retire_with(Some(word), "retired\n", person);
                assert!(matches!(ended, Err(Failure::Usage(_))) && !said.contains("->"), "{word:?}: {said}");
            }
        }
        let (ended, said) = retire_with(Some("retired"), "", Person::Absent);
        assert!(ended.is_ok() && said.contains("-> retired"), "{said}");
    }

    #[test]
    fn only_the_way_back_to_legacy_says_what_it_lacks() {
        for before in Mode::ALL {
            for mode in Mode::ALL {
                let back = matches!(before, Mode::Migrate | Mode::Retired)
                    && matches!(mode, Mode::Passthrough | Mode::Observe);
                let said = |registered_here| legacy_lacks(before, &ModeView { mode, registered_here });
                assert_eq!(said(Some(3)).is_some(), back, "{before} -> {mode}");
                assert_eq!(said(Some(0)), None);
                assert_eq!(said(None), None);
            }
        }
        let one = legacy_lacks(Mode::Migrate, &ModeView { mode: Mode::Observe, registered_here: Some(1) });
        assert!(one.expect("said").contains("up to 1 registration made here"));
    }
}
