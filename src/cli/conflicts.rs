//! `authferry conflicts`: names that legacy gives to one user and that belong to another one here. Both sides are shown, and an
//! operator chooses.

use super::failure::{Ended, Failure};
use super::operator::{Operator, block_on};
use super::options::Reach;
use super::terminal::{Person, Style, Terminal, inert};
use super::text;
use super::users::{names, pretty, public_id, standing};
use crate::admin::people_view::{ChoiceWord, ConflictChoice, ConflictView, ContestedName};
use crate::admin::view::UserSummary;
use crate::domain::conflict::Decision;

/// List conflicts over names, and resolve them by choosing
#[derive(clap::Args)]
pub(super) struct Conflicts {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List conflicts, the newest first
    List {
        /// Those that are decided too
        #[arg(long)]
        decided: bool,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Go on where the last page ended
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one conflict with both of its sides
    Show {
        /// Its number
        number: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say who keeps the name
    Resolve {
        /// Its number
        number: u64,
        #[command(flatten)]
        choice: Choice,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Choice {
    /// The name stays with the user here
    #[arg(long)]
    keep: bool,
    /// The name goes to legacy's user
    #[arg(long)]
    give: bool,
    /// The name stays, and the user here may no longer log in
    #[arg(long)]
    disable_holder: bool,
}

impl Choice {
    fn word(&self) -> ChoiceWord {
        match (self.give, self.disable_holder) {
            (true, _) => ChoiceWord::Give,
            (false, true) => ChoiceWord::DisableHolder,
            (false, false) => ChoiceWord::Keep,
        }
    }
}

impl Conflicts {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::List { decided, limit, before, json, reach } => {
                block_on(list(*decided, *before, usize::from(*limit), *json, reach, terminal))
            }
            Action::Show { number, json, reach } => block_on(show(*number, *json, reach, terminal)),
            Action::Resolve { number, choice, yes, json, reach } => {
                block_on(resolve(*number, choice.word(), Asking::unless(*yes), *json, reach, terminal))
            }
        }
    }
}

/// Whether somebody is asked before what cannot be undone.
#[derive(Clone, Copy)]
enum Asking {
    Yes,
    No,
}

impl Asking {
    fn unless(yes: bool) -> Self {
        if yes { Self::No } else { Self::Yes }
    }
}

async fn list(
    decided: bool,
    before: Option<u64>,
    limit: usize,
    json: bool,
    reach: &Reach,
    terminal: &mut Terminal,
) -> Ended {
    let operator = Operator::reach(reach, terminal).await?;
    let list = operator.conflicts(decided, before, limit).await.map_err(Failure::of)?;
    if json {
        terminal.line(pretty(&list))?;
        return Ok(());
    }
    if list.conflicts.is_empty() {
        terminal.remark(if decided { "no conflicts" } else { "no conflict waits for a decision" })?;
        return Ok(());
    }
    let rows = list.conflicts.iter().map(|conflict| {
        [
            conflict.number.to_string(),
            contested(conflict),
            conflict.holder.as_ref().map_or_else(|| "-".to_owned(), public_id),
            inert(&conflict.legacy_id),
            text::count(conflict.times),
            text::time(conflict.last_at),
            decision(conflict).to_owned(),
        ]
    });
    terminal.line(text::table(["NUMBER", "NAMES", "HELD BY", "LEGACY SAYS", "TIMES", "LAST", "DECIDED"], rows))?;
    if let Some(next) = list.next {
        let style = terminal.remark_style();
        terminal.remark(style.faint(format_args!("more with --before {next}")))?;
    }
    Ok(())
}

async fn find(operator: &Operator, number: u64) -> Result<ConflictView, Failure> {
    let conflict = operator.conflict(number).await.map_err(Failure::of)?;
    conflict.ok_or_else(|| Failure::Failed(format!("there is no conflict {number}").into()))
}

async fn show(number: u64, json: bool, reach: &Reach, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach(reach, terminal).await?;
    let conflict = find(&operator, number).await?;
    if json {
        terminal.line(pretty(&conflict))?;
    } else {
        let style = terminal.style();
        terminal.print(shown(&conflict, style))?;
    }
    Ok(())
}

async fn resolve(
    number: u64,
    word: ChoiceWord,
    asking: Asking,
    json: bool,
    reach: &Reach,
    terminal: &mut Terminal,
) -> Ended {
    let operator = Operator::reach_to_change(reach, terminal).await?;
    let conflict = find(&operator, number).await?;
    if is_over(&conflict) {
        return Err(Failure::Failed(
            format!("conflict {number} is over: its names were given to legacy's user").into(),
        ));
    }
    if let (Some(confirm), Asking::Yes) = (confirmation(word), asking) {
        if terminal.person() == Person::Absent {
            return Err(Failure::Usage("nobody is there to confirm it: add --yes".to_owned()));
        }
        let style = terminal.remark_style();
        terminal.remark(shown(&conflict, style))?;
        match terminal.ask(format_args!("type `{confirm}` to confirm: "))? {
            Some(typed) if typed == confirm => {}
            Some(_) | None => return Err(Failure::Failed("not confirmed; nothing was changed".into())),
        }
    }
    // What is given is what was shown, whatever legacy says by now.
    let names = match word {
        ChoiceWord::Give => conflict.names.iter().filter(|name| name.contested).map(|name| name.key.clone()).collect(),
        ChoiceWord::Keep | ChoiceWord::DisableHolder => Vec::new(),
    };
    let after = operator.resolve(number, &ConflictChoice { choice: word, names }).await.map_err(Failure::of)?;
    if json {
        terminal.line(pretty(&after))?;
        return Ok(());
    }
    terminal.line(match word {
        ChoiceWord::Keep => format!("conflict {number}: the name stays where it is"),
        ChoiceWord::DisableHolder => {
            format!("conflict {number}: the name stays where it is, and its holder is disabled")
        }
        ChoiceWord::Give => match (after.given_to, &after.claimant) {
            (Some(_), Some(claimant)) => format!("conflict {number}: the name belongs to {}", public_id(claimant)),
            (Some(id), None) => format!("conflict {number}: the name belongs to {id}"),
            (None, _) => format!("conflict {number}: the name is free"),
        },
    })?;
    if word == ChoiceWord::Give && after.given_to.is_none() {
        let style = terminal.remark_style();
        let who = inert(&after.legacy_id);
        let note = match after.claimant {
            Some(_) => format!("legacy's user {who} is deleted here: whoever registers first may take it"),
            None => format!(
                "legacy's user {who} brings it along at his next login; until then whoever registers first may take it"
            ),
        };
        terminal.remark(style.warning(note))?;
    }
    Ok(())
}

fn confirmation(word: ChoiceWord) -> Option<&'static str> {
    match word {
        ChoiceWord::Keep => None,
        ChoiceWord::Give => Some("give"),
        ChoiceWord::DisableHolder => Some("disable"),
    }
}

fn shown(conflict: &ConflictView, style: Style) -> String {
    let mut shown = String::new();
    let mut row = |name: &str, value: String| {
        shown.push_str(&format!("{}  {value}\n", style.faint(format_args!("{name:<17}"))));
    };
    row("conflict", format!("{}, {}", conflict.number, decision(conflict)));
    row("came up", format!("{}, last {}", times(conflict.times), text::time(conflict.last_at)));
    row("legacy says", format!("its user {} is called", inert(&conflict.legacy_id)));
    for name in &conflict.names {
        let whose = match (name.contested, name.held_by) {
            (true, _) => "  (in conflict)",
            (false, Some(_)) => "  (another user's here, or his)",
            (false, None) => "",
        };
        row("", format!("{} {}{whose}", name.kind.as_str(), inert(&name.canonical)));
    }
    let here = if is_over(conflict) { "it was taken from" } else { "here it is" };
    row(here, conflict.holder.as_ref().map_or_else(|| "nobody's any more".to_owned(), side));
    row("legacy's is", conflict.claimant.as_ref().map_or_else(|| "not here".to_owned(), side));
    shown
}

fn side(user: &UserSummary) -> String {
    let all = names(user).join(", ");
    format!("{}: {all}; {}, {}", public_id(user), standing(user.standing), user.origin.as_str())
}

fn contested(conflict: &ConflictView) -> String {
    // Of one that is over, those that were given.
    let is_meant = |name: &&ContestedName| name.contested || is_over(conflict);
    let names = conflict.names.iter().filter(is_meant).map(|name| inert(&name.canonical));
    names.collect::<Vec<_>>().join(", ")
}

/// Whether there is nothing left to choose.
fn is_over(conflict: &ConflictView) -> bool {
    conflict.decided.is_some_and(|decided| decided.decision == Decision::Given)
}

fn decision(conflict: &ConflictView) -> &'static str {
    conflict.decided.map_or("not decided", |decided| decided.decision.as_str())
}

fn times(times: u64) -> String {
    text::counted(times, "time")
}
