//! `authferry users disable | enable | delete | undelete | alias | reset-password`: one user changed. He is looked at first, and the
//! change only holds if he is still as he was seen; what cannot be undone asks for a word, or for `--yes`.

use super::super::failure::{Ended, Failure};
use super::super::operator::Operator;
use super::super::options::Reach;
use super::super::terminal::{Person, Terminal, inert};
use super::{names, pretty, public_id};
use crate::admin::people_view::{PatchWord, UserPatch};
use crate::admin::view::UserDetail;
use crate::domain::identifier::IdentifierKind;

/// Whom to change, and how it is said.
#[derive(clap::Args)]
pub(super) struct Change {
    /// Legacy's id, ours, or one of his names
    id: String,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct How {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// With `reset-password`.
#[derive(clap::Args)]
pub(super) struct Reset {
    #[command(flatten)]
    change: Change,
    /// Even if he cannot log in any more
    #[arg(long)]
    anyway: bool,
}

/// With `alias`.
#[derive(clap::Subcommand)]
pub(super) enum Alias {
    /// Give a user one more name to log in by
    Add {
        #[command(flatten)]
        name: Name,
    },
    /// Take a name from a user
    Remove {
        #[command(flatten)]
        name: Name,
        /// Let others have it; otherwise it stays reserved for him
        #[arg(long)]
        free: bool,
    },
}

#[derive(clap::Args)]
pub(super) struct Name {
    /// Legacy's id, ours, or one of his names
    id: String,
    /// Which kind of name
    #[arg(value_parser = kinds())]
    kind: IdentifierKind,
    /// The name
    value: String,
    #[command(flatten)]
    how: How,
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = IdentifierKind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(IdentifierKind::ALL.map(IdentifierKind::as_str)).try_map(|word| {
        let kind = IdentifierKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        kind.ok_or_else(|| format!("`{word}` is no kind of name"))
    })
}

/// Changes a user's standing.
pub(super) async fn stand(word: PatchWord, change: &Change, terminal: &mut Terminal) -> Ended {
    make(&change.id, UserPatch::plain(word), &change.how, terminal).await
}

/// Drops a user's password.
pub(super) async fn reset(reset: &Reset, terminal: &mut Terminal) -> Ended {
    let patch = UserPatch { anyway: reset.anyway, ..UserPatch::plain(PatchWord::ResetPassword) };
    make(&reset.change.id, patch, &reset.change.how, terminal).await
}

/// Gives or takes a name.
pub(super) async fn alias(alias: &Alias, terminal: &mut Terminal) -> Ended {
    let (word, name, free) = match alias {
        Alias::Add { name } => (PatchWord::AddAlias, name, false),
        Alias::Remove { name, free } => (PatchWord::RemoveAlias, name, *free),
    };
    let (kind, value) = (Some(name.kind), Some(name.value.clone()));
    make(&name.id, UserPatch { kind, value, free, ..UserPatch::plain(word) }, &name.how, terminal).await
}

async fn make(id: &str, mut patch: UserPatch, how: &How, terminal: &mut Terminal) -> Ended {
    let operator = Operator::reach_to_change(&how.reach, terminal).await?;
    let user = find(&operator, id, terminal).await?;
    if let Some(word) = confirmation(patch.change).filter(|_| !how.yes) {
        confirm(&user, &patch, word, terminal)?;
    }
    patch.version = Some(user.version);
    let changed = operator.change_user(&user.summary.id.to_string(), &patch).await.map_err(Failure::of)?;
    if how.json {
        terminal.line(pretty(&changed))?;
    } else {
        terminal.line(format_args!("{}: {}", done(patch.change), who(&changed.user)))?;
    }
    let style = terminal.remark_style();
    for note in &changed.notes {
        terminal.remark(style.faint(inert(note)))?;
    }
    Ok(())
}

/// By id, or else by a name that means exactly one user.
pub(super) async fn find(operator: &Operator, id: &str, terminal: &mut Terminal) -> Result<UserDetail, Failure> {
    if let Some(user) = operator.user(id).await.map_err(Failure::of)? {
        return Ok(user);
    }
    let meant = operator.explain(id, None).await.map_err(Failure::of)?.explanation.user;
    let by_name = match meant {
        Some(key) => operator.user(&key.to_string()).await.map_err(Failure::of)?,
        None => None,
    };
    let user = by_name.ok_or_else(|| Failure::Failed(format!("there is no user `{}`", inert(id)).into()))?;
    let style = terminal.remark_style();
    terminal.remark(style.faint(format_args!("`{}` is a name of the user {}", inert(id), public_id(&user.summary))))?;
    Ok(user)
}

/// What has to be typed for what cannot be undone.
fn confirmation(change: PatchWord) -> Option<&'static str> {
    match change {
        PatchWord::Delete => Some("delete"),
        PatchWord::ResetPassword => Some("reset"),
        PatchWord::RemoveAlias => Some("remove"),
        PatchWord::Disable | PatchWord::Enable | PatchWord::Undelete | PatchWord::AddAlias => None,
    }
}

fn confirm(user: &UserDetail, patch: &UserPatch, word: &str, terminal: &mut Terminal) -> Ended {
    if terminal.person() == Person::Absent {
        return Err(Failure::Usage("nobody is there to confirm it: add --yes".to_owned()));
    }
    let what = match patch.change {
        PatchWord::Delete => "his password and profile go for good; his names and ids stay reserved",
        PatchWord::ResetPassword => "his password here goes for good",
        PatchWord::RemoveAlias if patch.free => "the name finds nobody any more, and whoever comes first may take it",
        PatchWord::RemoveAlias => "the name finds nobody any more, and stays reserved for him",
        PatchWord::Disable | PatchWord::Enable | PatchWord::Undelete | PatchWord::AddAlias => "it can be undone",
    };
    terminal.remark(format_args!("{}: {what}", who(user)))?;
    match terminal.ask(format_args!("type `{word}` to confirm: "))? {
        Some(typed) if typed == word => Ok(()),
        Some(_) | None => Err(Failure::Failed("not confirmed; nothing was changed".into())),
    }
}

fn done(change: PatchWord) -> &'static str {
    match change {
        PatchWord::Disable => "disabled",
        PatchWord::Enable => "enabled",
        PatchWord::Delete => "deleted",
        PatchWord::Undelete => "undeleted",
        PatchWord::AddAlias => "name added",
        PatchWord::RemoveAlias => "name removed",
        PatchWord::ResetPassword => "password dropped",
    }
}

fn who(user: &UserDetail) -> String {
    let names = names(&user.summary).join(", ");
    if names.is_empty() { public_id(&user.summary) } else { format!("{} ({names})", public_id(&user.summary)) }
}
