//! `authferry status`: how far the migration is and how everyone is doing, once or again and again.

pub(super) mod board;

use std::time::Duration;

use serde::Serialize;

use super::failure::{Ended, Failure};
use super::operator::{Answering, Operator, block_on};
use super::options::Reach;
use super::terminal::{Person, Terminal};
use super::users::pretty;
use crate::admin::roster::RosterView;
use crate::admin::view::Status;
use crate::domain::mode::Mode;
use crate::service::ports::UserCounts;

/// Show the migration's progress and its counters
#[derive(clap::Args)]
pub(super) struct StatusCommand {
    /// As JSON; with --watch one object a line
    #[arg(long)]
    json: bool,
    /// Again and again, every so many seconds [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

impl StatusCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match self.watch {
            None => block_on(self.once(terminal)),
            Some(seconds) => block_on(self.watch(Duration::from_secs(seconds), terminal)),
        }
    }

    async fn once(&self, terminal: &mut Terminal) -> Ended {
        let (answering, status) = self.look(terminal).await?;
        if self.json {
            terminal.line(pretty(&Report::of(answering, &status)))?;
        } else {
            let style = terminal.style();
            terminal.print(board::draw(answering, &status, style))?;
        }
        Ok(())
    }

    /// Ends with the process. A proxy that goes away is no end: it may come back.
    async fn watch(&self, every: Duration, terminal: &mut Terminal) -> Ended {
        let in_place = terminal.person() == Person::Present && !self.json;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut first = true;
        loop {
            ticks.tick().await;
            // Reached anew each time: a store that we kept open would keep a proxy from starting.
            let looked = match self.look(terminal).await {
                Err(failure @ Failure::Failed(_)) if !first => Err(failure),
                other => Ok(other?),
            };
            first = false;
            let style = terminal.style();
            let shown = match looked {
                Ok((answering, status)) if self.json => {
                    serde_json::json!(Report::of(answering, &status)).to_string() + "\n"
                }
                Ok((answering, status)) => board::draw(answering, &status, style),
                Err(failure) if in_place => format!("{}\n", style.bad(failure)),
                Err(failure) => {
                    let said = terminal.remark_style().bad(failure).to_string();
                    terminal.remark(said)?;
                    continue;
                }
            };
            if in_place {
                // Home, and clear what is below (ECMA-48: CUP, ED).
                terminal.print("\u{1b}[H\u{1b}[J")?;
            }
            terminal.print(shown)?;
            if in_place {
                terminal.line(style.faint(format_args!("\nevery {} s; Ctrl-C ends", every.as_secs())))?;
            }
            terminal.flush()?;
        }
    }

    async fn look(&self, terminal: &mut Terminal) -> Result<(Answering, Status), Failure> {
        let operator = Operator::reach(&self.reach, terminal).await?;
        Ok((operator.answering(), operator.status().await.map_err(Failure::of)?))
    }
}

/// What `--json` prints. A store that was opened directly has no counters, and says none rather than zero.
#[derive(Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
enum Report<'a> {
    Proxy(&'a Status),
    Store { version: &'a str, mode: Mode, users: Option<&'a UserCounts>, roster: Option<&'a RosterView> },
}

impl<'a> Report<'a> {
    fn of(answering: Answering, status: &'a Status) -> Self {
        match answering {
            Answering::Proxy => Self::Proxy(status),
            Answering::Store => {
                let (users, roster) = (status.users.as_ref(), status.roster.as_ref());
                Self::Store { version: &status.version, mode: status.mode, users, roster }
            }
        }
    }
}
