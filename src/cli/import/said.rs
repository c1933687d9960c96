//! What an import says before the first row, so that a wrong reading shows before it is in the store: what the file was taken for, and
//! which of its fields for what. Decides nothing, and shows nothing of a row. Called by [`super::Import`].

use super::super::terminal::{Terminal, inert};
use super::journal::State;
use super::source::Source;
use super::{Import, Plan};
use crate::exchange::{Format, Recognised, Taken};

/// Says what the file was taken for.
pub(super) fn say_what_it_is(
    source: &Source,
    recognised: Recognised,
    named: Option<&'static Format>,
    terminal: &mut Terminal,
) -> std::io::Result<()> {
    let Recognised { format, framing } = recognised;
    let style = terminal.remark_style();
    let otherwise = if named.is_none() { "; --format says otherwise" } else { "" };
    let taken =
        format!("{} is {} ({}), as {}{otherwise}", source.name().display(), format.name, format.title, framing.title());
    terminal.remark(style.faint(taken))
}

/// Says which fields are taken for what, where a file may have any: a hash whose name does not tell it would be left out otherwise, and
/// nobody would know before the users log in.
pub(super) fn say_what_is_taken(source: &Source, plan: &Plan, terminal: &mut Terminal) -> std::io::Result<()> {
    let fields = source.fields(plan.recognised);
    if fields.is_empty() {
        return Ok(());
    }
    // In a table those without a name have been given one.
    let header = &plan.context.header;
    let Taken { parts, perhaps_password } =
        plan.context.mapping.taken(if header.is_empty() { &fields } else { header });
    let parts: Vec<String> =
        parts.iter().map(|(what, names)| format!("{}: {}", inert(what), inert(&names.join(", ")))).collect();
    let style = terminal.remark_style();
    terminal.remark(style.faint(format!("taken as {}; --map says otherwise", parts.join(" · "))))?;
    if let Some(field) = perhaps_password {
        terminal.remark(style.warning(format!(
            "nothing is taken for the password; if `{0}` has the hashes, say --map 'password={0}'",
            inert(&field)
        )))?;
    }
    Ok(())
}

impl Import {
    /// Says which files of the interrupted import are not written on, since they were not named again.
    pub(super) fn say_what_is_not_kept_on(
        &self,
        state: Option<&State>,
        terminal: &mut Terminal,
    ) -> std::io::Result<()> {
        let (rejects, results) = state.map_or((false, false), State::kept);
        let (no_rejects, no_results) =
            (rejects && self.taking.rejects.is_none(), results && self.taking.results.is_none());
        let (words, files) = match (no_rejects, no_results) {
            (false, false) => return Ok(()),
            (true, false) => ("--rejects", "rejected rows"),
            (false, true) => ("--results", "results"),
            (true, true) => ("--rejects and --results", "rejected rows and results"),
        };
        terminal
            .remark(format!("the interrupted import had {words}, this one has not: {files} are not kept from here on"))
    }
}
