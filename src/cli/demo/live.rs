//! After the tour: what happens, a line each as it happens, and the commands of whoever watches.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::feed::{Answered, Feed, Happening, What};
use super::keyboard::{COMMANDS, Command, listen};
use super::stage::{PEOPLE, Stage};
use super::visitor::LOGIN;
use crate::cli::failure::{Ended, Failure};
use crate::cli::operator::{Answering, Operator};
use crate::cli::status::board;
use crate::cli::terminal::{Marked, Style, Terminal, inert};
use crate::cli::text;

/// Time between two visitors of the traffic.
const BETWEEN_VISITS: Duration = Duration::from_millis(700);

/// Visitors of the traffic at once: more would only wait for each other.
const MAX_VISITORS: usize = 8;

/// Users whose names are remembered.
const MAX_NAMES: usize = 10_000;

/// Whether visitors come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    Flowing,
    Still,
}

/// Shows what happens and does what is typed, until somebody quits.
pub(super) async fn watch(stage: &Stage, feed: &mut Feed, traffic: Traffic, terminal: &mut Terminal) -> Ended {
    let operator = stage.operator()?;
    let mut live = Live { stage, terminal, operator, names: BTreeMap::new(), migrated: BTreeSet::new() };
    live.invite()?;
    let (mut traffic, mut visits) = (traffic, JoinSet::new());
    let mut ticks = interval(BETWEEN_VISITS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut commands = listen();
    let mut typing = true;
    loop {
        tokio::select! {
            happening = feed.next() => live.show(happening, feed.left_out()).await?,
            command = commands.recv(), if typing => match command {
                Some(Command::Quit) => return Ok(()),
                Some(Command::Legacy) => live.toggle_legacy().await?,
                Some(Command::Status) => live.status().await?,
                Some(Command::Traffic) => {
                    traffic = if traffic == Traffic::Flowing { Traffic::Still } else { Traffic::Flowing };
                    live.say(if traffic == Traffic::Flowing { "visitors come and go" } else { "no more visitors" })?;
                }
                Some(Command::Help) => live.help()?,
                // The end of a file that was typed for us: from here on only a signal or the time ends it.
                None => typing = false,
            },
            _ = ticks.tick(), if traffic == Traffic::Flowing => {
                while visits.try_join_next().is_some() {}
                if visits.len() < MAX_VISITORS {
                    visits.spawn(visit(stage));
                }
            }
        }
    }
}

/// One visitor of the traffic: mostly somebody who knows his password, at times somebody who does not.
fn visit(stage: &Stage) -> impl Future<Output = ()> + Send + 'static {
    let visitor = stage.visitor().clone();
    // The random part of a version 7 UUID: chance enough for a play.
    let chance = usize::try_from(uuid::Uuid::now_v7().as_u64_pair().1 & 0xffff).unwrap_or(0);
    let person = PEOPLE.get(chance % PEOPLE.len());
    async move {
        let Some(person) = person else { return };
        let password = if (chance >> 8).is_multiple_of(8) { "mistyped" } else { person.password };
        // What came of it is in the feed.
        drop(visitor.log_in(person.email, password).await);
    }
}

struct Live<'a> {
    stage: &'a Stage,
    terminal: &'a mut Terminal,
    operator: Operator,
    /// By public id.
    names: BTreeMap<String, String>,
    /// Saved, and the login that did it not shown yet.
    migrated: BTreeSet<String>,
}

impl Live<'_> {
    fn style(&self) -> Style {
        self.terminal.style()
    }

    fn invite(&mut self) -> io::Result<()> {
        let style = self.style();
        self.terminal.line(format_args!("{}\n", style.strong("Your turn")))?;
        let site = self.stage.site();
        self.terminal.line(format_args!("  {}", style.name(format_args!("curl -i {site}{LOGIN} \\"))))?;
        self.terminal.line(format_args!("       {}", style.name("-H 'content-type: application/json' \\")))?;
        // The third: the tour leaves him where he was.
        if let Some(person) = PEOPLE.get(2) {
            let body = serde_json::json!({ "login": person.username, "password": person.password });
            self.terminal.line(format_args!("       {}\n", style.name(format_args!("-d '{body}'"))))?;
        }
        self.terminal.line(format_args!("  or open {} in a browser\n", style.name(site)))?;
        self.help()
    }

    fn help(&mut self) -> io::Result<()> {
        let style = self.style();
        let commands: Vec<String> =
            COMMANDS.iter().map(|(letter, does)| format!("{} {does}", style.strong(letter))).collect();
        self.terminal.line(format_args!("  {}  {}\n", commands.join("   "), style.faint("(and Enter)")))?;
        self.terminal.flush()
    }

    fn say(&mut self, what: &str) -> io::Result<()> {
        let style = self.style();
        self.terminal.line(format_args!("{}  {}", now(style), style.strong(what)))?;
        self.terminal.flush()
    }

    async fn toggle_legacy(&mut self) -> Ended {
        if self.stage.is_legacy_on().await {
            self.stage.switch_legacy_off().await;
            self.say("the legacy backend is off")?;
        } else {
            self.stage.switch_legacy_on().await?;
            self.say("the legacy backend is on")?;
        }
        Ok(())
    }

    async fn status(&mut self) -> Ended {
        let status = self.operator.status().await.map_err(Failure::of)?;
        let style = self.style();
        self.terminal.line(format_args!("\n{}", board::draw(Answering::Proxy, &status, style)))?;
        let asked = text::counted(self.stage.legacy_logins().await, "login");
        self.terminal.line(style.faint(format_args!("the legacy backend itself has judged {asked}\n")))?;
        self.terminal.flush()?;
        Ok(())
    }

    async fn show(&mut self, happening: Happening, left_out: u64) -> Ended {
        let style = self.style();
        match happening {
            // Told with the login that did it.
            Happening::Migrated { user } => {
                if self.migrated.len() < MAX_NAMES {
                    self.migrated.insert(user);
                }
            }
            Happening::Trouble(what) => {
                self.terminal.line(format_args!("{}  {}", now(style), style.warning(inert(&what))))?;
            }
            Happening::Answered(answered) => {
                let who = match &answered.user {
                    Some(id) => self.name(id).await,
                    None => "somebody".to_owned(),
                };
                let migrated = answered.user.as_ref().is_some_and(|id| self.migrated.remove(id));
                let said = sentence(&answered, style);
                let note = if migrated { style.strong("  migrated").to_string() } else { String::new() };
                self.terminal.line(format_args!("{}  {:<24} {said}{note}", now(style), inert(&who)))?;
            }
        }
        if left_out > 0 {
            self.terminal.line(style.faint(format_args!("          … and {left_out} more")))?;
        }
        self.terminal.flush()?;
        Ok(())
    }

    /// What a user is called. Somebody who registered a moment ago is asked for once.
    async fn name(&mut self, id: &str) -> String {
        if let Some(name) = self.names.get(id) {
            return name.clone();
        }
        let found = self.operator.user(id).await.ok().flatten();
        let name = found.and_then(|user| user.summary.identifiers.into_iter().next().map(|alias| alias.value));
        let name = name.unwrap_or_else(|| format!("user {id}"));
        if self.names.len() < MAX_NAMES {
            self.names.insert(id.to_owned(), name.clone());
        }
        name
    }
}

/// What came of it and who said so, in at most 44 columns.
fn sentence(answered: &Answered, style: Style) -> Marked<String> {
    let (done, here) = (
        match answered.what {
            What::Login => "logged in",
            What::Registration => "registered",
        },
        answered.source == "Local",
    );
    match answered.outcome.as_str() {
        "ok" if here => style.good(format!("{done:<10} answered by authferry")),
        "ok" => style.name(format!("{done:<10} answered by legacy")),
        "denied" if here => style.bad("refused    by authferry".to_owned()),
        "denied" => style.bad("refused    by legacy".to_owned()),
        "exists" => style.bad("refused    the name is taken".to_owned()),
        "unavailable" => style.warning("503        legacy cannot be asked; try later".to_owned()),
        "limited" => style.warning("429        too many attempts".to_owned()),
        other => style.warning(inert(&other.replace('_', " "))),
    }
}

/// The time of day, UTC.
fn now(style: Style) -> Marked<String> {
    use crate::domain::clock::{Clock as _, SystemClock};
    let seconds = SystemClock.wall().0 % 86_400;
    style.faint(format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_a_sentence_that_fits() {
        for what in [What::Login, What::Registration] {
            for source in ["Local", "Legacy", "Edge"] {
                for outcome in
                    ["ok", "denied", "challenge", "unavailable", "unrecognised", "limited", "malformed", "exists"]
                {
                    let answered = Answered { what, source: source.into(), outcome: outcome.into(), user: None };
                    let said = sentence(&answered, Style::Plain).to_string();
                    assert!((3..=44).contains(&said.chars().count()), "{said}");
                }
            }
        }
        let ok = Answered { what: What::Login, source: "Local".into(), outcome: "ok".into(), user: None };
        assert_eq!(sentence(&ok, Style::Plain).to_string(), "logged in  answered by authferry");
    }
}
