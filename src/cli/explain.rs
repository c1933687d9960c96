//! `authferry explain`: what a login under a name would come to now, for each password that could be typed, and why. No password is
//! asked for.

use std::net::IpAddr;

use super::failure::{Ended, Failure};
use super::operator::{Operator, block_on};
use super::options::Reach;
use super::terminal::{Style, Terminal, inert};
use super::users::{names, pretty, public_id};
use crate::admin::people_view::ExplainView;
use crate::service::explain::{Ending, Meaning};

/// Explain what a login would come to now, and why
#[derive(clap::Args)]
pub(super) struct Explain {
    /// As the user would type it: an email, username or phone number
    identifier: String,
    /// Say how the limits would meet a login from there
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Explain {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        block_on(async {
            let operator = Operator::reach(&self.reach, terminal).await?;
            let told = operator.explain(&self.identifier, self.from).await.map_err(Failure::of)?;
            if self.json {
                terminal.line(pretty(&told))?;
            } else {
                let style = terminal.style();
                terminal.print(shown(&told, style))?;
            }
            Ok(())
        })
    }
}

fn shown(told: &ExplainView, style: Style) -> String {
    let mut shown = String::new();
    let explanation = &told.explanation;
    let mut row = |about: &str, says: String| {
        shown.push_str(&format!("{}  {says}\n", style.faint(format_args!("{about:<9}"))));
    };
    for name in &explanation.names {
        row("looks up", format!("{} {}{}", name.kind.as_str(), inert(&name.canonical), whose(name)));
    }
    if let Some(user) = &told.record {
        row("means", format!("{} ({})", public_id(user), names(user).join(", ")));
    }
    for fact in &explanation.facts {
        row(&inert(&fact.about), inert(&fact.says));
    }
    for login in &explanation.logins {
        let outcome = match login.outcome {
            Ending::Ok => style.good(login.outcome.as_str()),
            Ending::Denied => style.warning(login.outcome.as_str()),
            Ending::Unavailable => style.bad(login.outcome.as_str()),
            Ending::SentOn => style.name(login.outcome.as_str()),
        };
        let head = format!("password {}, legacy {}", login.password.as_str(), login.legacy.as_str());
        shown.push_str(&format!(
            "\n{}: {outcome}, by {}; kept: {}\n",
            style.strong(head),
            login.by.as_str(),
            login.keeps.as_str()
        ));
        for (number, step) in (1..).zip(&login.path) {
            shown.push_str(&format!("  {number}. {}\n", inert(step)));
        }
    }
    shown
}

fn whose(name: &Meaning) -> String {
    match (name.holder, name.reserved) {
        (None, _) => ": nobody's".to_owned(),
        (Some(holder), false) => format!(": {holder}"),
        (Some(holder), true) => format!(": kept from others for {holder}"),
    }
}
