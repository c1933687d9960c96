//! After a list that is said to be complete: who is known from earlier lists only, and is not in this one, is gone from legacy. They are
//! counted, some are named, and they are forgotten where that is wanted too; nobody who has come over is touched.

use super::super::failure::Failure;
use super::super::terminal::{Terminal, inert};
use super::super::text;
use super::destination::{Destination, NotTaken};
use crate::admin::roster::{Forget, Forgotten, MAX_FORGOTTEN, MAX_PAGE};
use crate::admin::view::CredentialView;
use crate::domain::roster::{Bucket, Day, is_only_listed};
use crate::domain::user::{UserId, Version};
use crate::service::ports::StragglerQuery;

/// As many are named.
const NAMED: usize = 10;

/// What becomes of who is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are counted.
    Counted,
    /// They are counted and forgotten.
    Forgotten,
}

/// Somebody who is known from lists only.
struct Listed {
    id: UserId,
    version: Version,
    name: String,
}

/// Looks at everybody who is known from lists only. `present` are the users whom the file named.
pub(super) async fn look(
    destination: &Destination,
    mut present: Vec<UserId>,
    what: Missing,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    present.sort_unstable();
    let (mut missing, mut forgotten, mut named) = (0_u64, 0_u64, Vec::new());
    let mut after = None;
    loop {
        let (page, next) = page(destination, after).await.map_err(Failure::stopped)?;
        let gone: Vec<Listed> = page.into_iter().filter(|listed| present.binary_search(&listed.id).is_err()).collect();
        missing += gone.len() as u64;
        named.extend(gone.iter().take(NAMED.saturating_sub(named.len())).map(|listed| listed.name.clone()));
        if what == Missing::Forgotten {
            for some in gone.chunks(MAX_FORGOTTEN) {
                forgotten += forget(destination, some).await.map_err(Failure::stopped)?;
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    say(missing, forgotten, &named, what, terminal)
}

fn say(missing: u64, forgotten: u64, named: &[String], what: Missing, terminal: &mut Terminal) -> Result<(), Failure> {
    if missing == 0 {
        terminal.remark("everybody who is known from lists only is in this one")?;
        return Ok(());
    }
    let (who, are) = (text::counted(missing, "user"), if missing == 1 { "is" } else { "are" });
    terminal.remark(format!("{who} known from earlier lists only {are} not in this one"))?;
    for name in named {
        terminal.remark(format!("  {}", inert(name)))?;
    }
    if missing > named.len() as u64 {
        terminal.remark("  …")?;
    }
    match what {
        Missing::Counted => terminal.remark("if they are gone from legacy, --forget-missing forgets them")?,
        Missing::Forgotten => {
            let others = if forgotten < missing { "; the others changed meanwhile" } else { "" };
            terminal.remark(format!("{} forgotten{others}", text::count(forgotten)))?;
        }
    }
    Ok(())
}

async fn page(destination: &Destination, after: Option<String>) -> Result<(Vec<Listed>, Option<String>), NotTaken> {
    match destination {
        Destination::Store { store, .. } => {
            let query = StragglerQuery { days: Bucket::All.days(Day::LAST), min_value: 0, after, limit: MAX_PAGE };
            let page = store.stragglers(query).await.map_err(NotTaken::Store)?;
            let listed = page.users.into_iter().filter(is_only_listed).map(|user| Listed {
                id: user.id,
                version: user.version,
                name: user.identifiers.first().map_or_else(|| user.id.to_string(), |name| name.value.to_string()),
            });
            Ok((listed.collect(), page.next))
        }
        Destination::Proxy { operator, .. } => {
            let page = operator.stragglers(Bucket::All, 0, after.as_deref()).await.map_err(NotTaken::Proxy)?;
            let only_listed = page.stragglers.into_iter().filter(|user| match user.credential {
                CredentialView::NoneRoster | CredentialView::NoneLeft => true,
                CredentialView::Argon2id | CredentialView::Imported | CredentialView::NoneReset => false,
            });
            let listed = only_listed.map(|user| Listed {
                id: user.id,
                version: Version(user.version),
                name: user.identifiers.first().map_or_else(|| user.id.to_string(), |name| name.value.clone()),
            });
            Ok((listed.collect(), page.next))
        }
    }
}

async fn forget(destination: &Destination, some: &[Listed]) -> Result<u64, NotTaken> {
    match destination {
        Destination::Store { store, .. } => {
            let users = some.iter().map(|listed| (listed.id, listed.version)).collect();
            store.forget_listed(users).await.map_err(NotTaken::Store)
        }
        Destination::Proxy { operator, .. } => {
            let users = some.iter().map(|listed| Forgotten { id: listed.id, version: listed.version.0 }).collect();
            let answer = operator.forget(&Forget { users }).await.map_err(NotTaken::Proxy)?;
            Ok(answer.forgotten)
        }
    }
}
