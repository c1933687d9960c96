//! The tour: who plays and where, then six steps that prove the point. Each is checked while it is told, so that the tour cannot
//! say what did not happen; in a pipeline it is a smoke test.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::feed::{Answered, Feed, Happening, What};
use super::stage::{PEOPLE, Stage};
use super::visitor::{APP, LOGIN, Visit};
use crate::cli::failure::{Ended, Failure};
use crate::cli::terminal::Person::{Absent, Present};
use crate::cli::terminal::{Style, Terminal};
use crate::demo::DemoUser;

/// How long the proxy's log may lag behind its answers.
const LAG: Duration = Duration::from_secs(10);

/// Between two steps, for a person who reads along.
const READING_TIME: Duration = Duration::from_millis(900);

/// The tour came to something else than it tells.
#[derive(Debug, thiserror::Error)]
#[error("the demo did not go as it should: {who} was to get {expected}, and got {got}")]
struct Surprise {
    who: String,
    expected: String,
    got: String,
}

/// Says who plays, and where to look.
pub(super) fn open(stage: &Stage, terminal: &mut Terminal) -> Ended {
    let style = terminal.style();
    terminal.line(format_args!("{}\n", style.strong("authferry demo")))?;
    terminal.line("An app with users of its own, and authferry in front of it. Nothing in the app")?;
    terminal.line("was changed, and nothing of this is left behind.\n")?;
    let token = format!("token: {}", stage.admin_token());
    for (what, url, note) in [
        ("through authferry", stage.site(), "what users open"),
        ("the app itself", stage.app(), "its own login is the legacy backend"),
        ("console, metrics", stage.console(), &token),
    ] {
        terminal.line(format_args!("  {what:<18} {}  {}", style.name(format_args!("{url:<22}")), style.faint(note)))?;
    }
    terminal.line("")?;
    for (index, person) in PEOPLE.iter().enumerate() {
        let what = if index == 0 { "its users" } else { "" };
        terminal.line(format_args!("  {what:<18} {:<22}  {}", person.email, style.faint(person.password)))?;
    }
    terminal.line("")?;
    for note in stage.notes() {
        terminal.line(format_args!("  {}\n", style.warning(note)))?;
    }
    Ok(())
}

/// Walks through the six steps.
pub(super) async fn walk(stage: &Stage, feed: &mut Feed, terminal: &mut Terminal) -> Ended {
    let [first, second, ..] = PEOPLE else { return Err(Failure::Failed("the demo has no users".into())) };
    let pace = match terminal.person() {
        Present => READING_TIME,
        Absent => Duration::ZERO,
    };
    let mut tour = Tour { stage, feed, terminal, pace, step: 0 };

    tour.step(format_args!(
        "{} logs in. authferry has never seen her, so the legacy backend is asked.",
        first_name(first)
    ))
    .await?;
    tour.log_in(first, first.password, Expected::LetIn(By::Legacy, Saved::Yes)).await?;

    tour.step("The legacy backend is switched off.").await?;
    stage.switch_legacy_off().await;

    tour.step(format_args!("{} logs in again, with the same password.", first_name(first))).await?;
    let visit = tour.log_in(first, first.password, Expected::LetIn(By::Us, Saved::No)).await?;
    tour.open_app(first, &visit).await?;

    tour.step(format_args!("{} logs in. She has not come over yet, and nobody can be asked.", first_name(second)))
        .await?;
    tour.log_in(second, second.password, Expected::TryLater).await?;

    tour.step(format_args!("The legacy backend is back. {} tries again.", first_name(second))).await?;
    stage.switch_legacy_on().await?;
    tour.log_in(second, second.password, Expected::LetIn(By::Legacy, Saved::Yes)).await?;

    tour.step(format_args!("Somebody tries {}'s account with a wrong password.", first_name(first))).await?;
    tour.log_in(first, "not-her-password", Expected::Refused).await?;

    let style = tour.style();
    tour.terminal.line(format_args!("\n{}\n", style.strong("What happened")))?;
    for line in [
        format!("{} was migrated by logging in once; nobody reset a password.", first_name(first)),
        format!("{} then logged in with the legacy backend switched off.", first_name(first)),
        format!("{} was told to try again later, not that her password is wrong.", first_name(second)),
        "A wrong password is still a wrong password.".to_owned(),
    ] {
        tour.terminal.line(format_args!("  {} {line}", style.good("✓")))?;
    }
    tour.terminal.line("")?;
    tour.terminal.flush()?;
    Ok(())
}

fn first_name(user: &DemoUser) -> &'static str {
    user.name.split(' ').next().unwrap_or(user.name)
}

/// What a step should come to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    LetIn(By, Saved),
    Refused,
    TryLater,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Legacy,
    Us,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saved {
    Yes,
    No,
}

struct Tour<'a> {
    stage: &'a Stage,
    feed: &'a mut Feed,
    terminal: &'a mut Terminal,
    pace: Duration,
    step: u32,
}

impl Tour<'_> {
    fn style(&self) -> Style {
        self.terminal.style()
    }

    async fn step(&mut self, what: impl fmt::Display) -> io::Result<()> {
        tokio::time::sleep(self.pace).await;
        self.step += 1;
        let number = self.style().strong(self.step);
        let gap = if self.step > 1 { "\n" } else { "" };
        self.terminal.line(format_args!("{gap}{number}  {what}"))?;
        self.terminal.flush()
    }

    async fn log_in(&mut self, who: &DemoUser, password: &str, expected: Expected) -> Result<Visit, Failure> {
        // What came before is not about this login.
        drop(self.feed.so_far());
        let style = self.style();
        let right = if password == who.password { "her password" } else { password };
        self.terminal.line(style.faint(format_args!("   POST {LOGIN}  {}, {right}", who.email)))?;
        let visit = self.stage.visitor().log_in(who.email, password).await.map_err(Failure::of)?;
        let (answered, saved) = self.told().await?;
        let by = if answered.source == "Local" { By::Us } else { By::Legacy };
        let comment = match (expected, visit.status) {
            (Expected::LetIn(whom, save), StatusCode::OK) if whom == by && save == saved => match (whom, save) {
                (By::Legacy, Saved::Yes) => {
                    style.good("answered by the legacy backend; her password was right: migrated")
                }
                (By::Legacy, Saved::No) => style.good("answered by the legacy backend"),
                (By::Us, _) => style.good("answered by authferry, from its own store"),
            },
            (Expected::Refused, StatusCode::UNAUTHORIZED) => style.good("the legacy backend was asked, and agrees"),
            (Expected::TryLater, StatusCode::SERVICE_UNAVAILABLE) => {
                style.good("not \"wrong password\": nobody can know that now")
            }
            (_, _) => return Err(Failure::of(surprise(who, expected, &visit, &answered, saved))),
        };
        self.terminal.line(format_args!("   {}  {comment}", style.strong(visit.status)))?;
        self.terminal.flush()?;
        Ok(visit)
    }

    /// The app has to take the token that we made for one of its own.
    async fn open_app(&mut self, who: &DemoUser, login: &Visit) -> Ended {
        let style = self.style();
        self.terminal.line(style.faint(format_args!("   GET {APP}  with the token from that answer")))?;
        let page = self.stage.visitor().open_app(login.token().unwrap_or_default()).await.map_err(Failure::of)?;
        if page.status != StatusCode::OK {
            let (expected, got) = ("the app's page".to_owned(), page.status.to_string());
            return Err(Failure::of(Surprise { who: who.name.to_owned(), expected, got }));
        }
        let comment = style.good("the app takes authferry's token for one of its own");
        self.terminal.line(format_args!("   {}  {comment}", style.strong(page.status)))?;
        self.terminal.flush()?;
        Ok(())
    }

    /// What the proxy's log says of the login that was just answered.
    async fn told(&mut self) -> Result<(Answered, Saved), Failure> {
        let mut saved = Saved::No;
        let wait = async {
            loop {
                match self.feed.next().await {
                    Happening::Migrated { .. } => saved = Saved::Yes,
                    Happening::Answered(answered) if answered.what == What::Login => return answered,
                    Happening::Answered(_) | Happening::Trouble(_) => {}
                }
            }
        };
        match tokio::time::timeout(LAG, wait).await {
            Ok(answered) => Ok((answered, saved)),
            Err(_elapsed) => Err(Failure::Failed("the demo did not go as it should: the proxy's log is silent".into())),
        }
    }
}

fn surprise(who: &DemoUser, expected: Expected, visit: &Visit, answered: &Answered, saved: Saved) -> Surprise {
    Surprise {
        who: who.name.to_owned(),
        expected: format!("{expected:?}"),
        got: format!("{} ({}, {}, saved: {saved:?})", visit.status, answered.source, answered.outcome),
    }
}
