//! What a person types during the demo: one letter and Enter. Read by a thread of its own, which ends with the process.

use std::io::BufRead as _;

use tokio::sync::mpsc;

/// What a person can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Switch the legacy off, or on again.
    Legacy,
    /// How far the migration is.
    Status,
    /// Let visitors come and go, or stop them.
    Traffic,
    /// The end.
    Quit,
    /// Anything else: tell what there is.
    Help,
}

/// Every command as the help shows it.
pub(super) const COMMANDS: [(&str, &str); 4] =
    [("l", "legacy off/on"), ("s", "status"), ("t", "traffic on/off"), ("q", "quit")];

impl Command {
    fn of(line: &str) -> Self {
        match line.trim().to_ascii_lowercase().as_str() {
            "l" | "legacy" => Self::Legacy,
            "s" | "status" => Self::Status,
            "t" | "traffic" => Self::Traffic,
            "q" | "quit" | "exit" => Self::Quit,
            _ => Self::Help,
        }
    }
}

/// The commands as they are typed; the channel closes at the end of the input.
pub(super) fn listen() -> mpsc::Receiver<Command> {
    let (sender, commands) = mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(Command::of(&line)).is_err() {
                return;
            }
        }
    });
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_letter_or_its_word_and_anything_else_asks_for_help() {
        for (typed, command) in [
            ("l\n", Command::Legacy),
            (" S ", Command::Status),
            ("traffic", Command::Traffic),
            ("Q", Command::Quit),
            ("", Command::Help),
            ("ls", Command::Help),
        ] {
            assert_eq!(Command::of(typed), command, "{typed:?}");
        }
        assert!(COMMANDS.iter().all(|(letter, _)| Command::of(letter) != Command::Help));
    }
}
