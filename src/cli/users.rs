//! `authferry users`: who is in the store, by page, by the start of a name, or one of them whole; and changes of one of them.

mod change;

use serde_json::Value;

use self::change::{Alias, Change, Reset};
use super::failure::{Ended, Failure};
use super::operator::{Operator, block_on};
use super::options::Reach;
use super::terminal::{Style, Terminal, inert};
use super::text;
use crate::admin::people_view::PatchWord;
use crate::admin::view::{RosterView, UserDetail, UserList, UserSummary};
use crate::domain::user::Standing;

/// List, search, show and change users
#[derive(clap::Args)]
pub(super) struct Users {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List users, page by page
    List {
        #[command(flatten)]
        page: Page,
    },
    /// Find users by the start of an email, username or phone number
    Search {
        /// How a name of theirs starts
        text: String,
        #[command(flatten)]
        page: Page,
    },
    /// Show one user, with his profile
    Show {
        /// Legacy's id, ours, or one of his names
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let a user no longer log in; enable undoes it
    Disable(Change),
    /// Let a disabled user log in again
    Enable(Change),
    /// Delete a user: his names stay reserved, legacy is never asked about him
    Delete(Change),
    /// Make a deleted user active again, without a password
    Undelete(Change),
    /// Give a user one more name, or take one from him
    #[command(subcommand)]
    Alias(Alias),
    /// Drop a user's password, so that legacy is asked for a new one
    ResetPassword(Reset),
}

#[derive(clap::Args)]
struct Page {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Users {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::List { page } => block_on(list(None, page, terminal)),
            Action::Search { text, page } => block_on(list(Some(text), page, terminal)),
            Action::Show { id, json, reach } => block_on(show(id, *json, reach, terminal)),
            Action::Disable(change) => block_on(change::stand(PatchWord::Disable, change, terminal)),
            Action::Enable(change) => block_on(change::stand(PatchWord::Enable, change, terminal)),
            Action::Delete(change) => block_on(change::stand(PatchWord::Delete, change, terminal)),
            Action::Undelete(change) => block_on(change::stand(PatchWord::Undelete, change, terminal)),
            Action::Alias(alias) => block_on(change::alias(alias, terminal)),
            Action::ResetPassword(reset) => block_on(change::reset(reset, terminal)),
        }
    }
}

async fn list(search: Option<&str>, page: &Page, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach(&page.reach, terminal).await?;
    let asked = operator.users(search, page.after.as_deref(), usize::from(page.limit)).await;
    let users = asked.map_err(Failure::of)?;
    if page.json {
        terminal.line(pretty(&users))?;
        return Ok(());
    }
    if users.users.is_empty() {
        terminal.remark(match search {
            Some(text) => format!("no user has a name that starts with `{}`", inert(text)),
            None => "no users".to_owned(),
        })?;
        return Ok(());
    }
    terminal.line(listed(&users))?;
    if let Some(next) = &users.next {
        let style = terminal.remark_style();
        terminal.remark(style.faint(format!("more with --after '{}'", inert(next))))?;
    }
    Ok(())
}

fn listed(users: &UserList) -> String {
    let rows = users.users.iter().map(|user| {
        [
            public_id(user),
            names(user).join(", "),
            user.origin.as_str().to_owned(),
            user.credential.as_str().to_owned(),
            standing(user.standing).to_owned(),
        ]
    });
    text::table(["ID", "NAMES", "ORIGIN", "PASSWORD", "STANDING"], rows)
}

async fn show(id: &str, json: bool, reach: &Reach, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach(reach, terminal).await?;
    let user = change::find(&operator, id, terminal).await?;
    if json {
        terminal.line(pretty(&user))?;
    } else {
        let style = terminal.style();
        terminal.print(shown(&user, style))?;
    }
    Ok(())
}

fn shown(user: &UserDetail, style: Style) -> String {
    let summary = &user.summary;
    let mut rows = vec![("id", public_id(summary)), ("our id", summary.id.to_string())];
    for alias in &summary.identifiers {
        let verified = match alias.verified {
            Some(true) => ", verified",
            Some(false) => ", not verified",
            None => "",
        };
        let found_by = if alias.canonical == alias.value {
            String::new()
        } else {
            format!(", found by {}", inert(&alias.canonical))
        };
        let notes = format!("{verified}{found_by}");
        let notes = notes.strip_prefix(", ").map(|notes| format!("  ({notes})")).unwrap_or_default();
        rows.push((alias.kind.as_str(), format!("{}{notes}", inert(&alias.value))));
    }
    let vouched = summary.legacy_vouched_at.map_or_else(|| "never".to_owned(), text::time);
    rows.extend([
        ("standing", standing(summary.standing).to_owned()),
        ("origin", summary.origin.as_str().to_owned()),
        ("password", password(user)),
        (
            "login",
            user.last_login_at.map_or_else(|| "none noted here".to_owned(), |at| format!("last {}", text::time(at))),
        ),
        ("created", text::time(summary.created_at)),
        ("changed", format!("{}, version {}", text::time(summary.updated_at), user.version)),
        ("vouched", vouched),
    ]);
    rows.extend(user.roster.iter().map(|roster| ("roster", roster_facts(roster))));
    let mut shown = String::new();
    for (name, value) in rows {
        shown.push_str(&format!("{}  {value}\n", style.faint(format_args!("{name:<9}"))));
    }
    shown.push_str(&format!("{}\n", style.faint("profile")));
    for line in pretty(&user.profile).lines() {
        shown.push_str(&format!("  {}\n", inert(line)));
    }
    shown
}

fn password(user: &UserDetail) -> String {
    let remark = user.hash.remark().map(|remark| format!("  ({})", inert(&remark))).unwrap_or_default();
    format!("{}{remark}", user.summary.credential.as_str())
}

fn roster_facts(roster: &RosterView) -> String {
    let seen = roster.last_seen.map_or_else(|| "not known when".to_owned(), text::time);
    let value = roster.value.map(|value| format!(", value {}", text::count(value))).unwrap_or_default();
    format!("last seen by legacy: {seen}{value}")
}

pub(super) fn public_id(user: &UserSummary) -> String {
    match &user.public_id {
        Value::String(text) => inert(text),
        other => other.to_string(),
    }
}

pub(super) fn names(user: &UserSummary) -> Vec<String> {
    user.identifiers.iter().map(|alias| inert(&alias.value)).collect()
}

pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Disabled => "disabled",
        Standing::Deleted => "deleted",
    }
}

/// JSON for people and scripts. Control characters are escaped by JSON itself; those that turn the direction of text by us.
pub(super) fn pretty(value: &impl serde::Serialize) -> String {
    // A wire struct has string keys only, which is all that JSON asks for.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && crate::telemetry::logging::is_active(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}
