//! What an import says at its end: how many rows came to what, of whom there is something to know, why rows were rejected. Shows
//! nothing of a row but reasons. Called by [`super::going`], and for an import that was done already.

use std::path::PathBuf;

use super::super::failure::{Ended, Failure};
use super::super::terminal::Terminal;
use super::super::text;
use super::Import;
use super::journal::{Counts, Noted, reasons_beside};
use crate::exchange::Format;

/// What does not end well, but is no failure of ours.
#[derive(Debug, thiserror::Error)]
#[error("{count} of the rows {} rejected", if *count == 1 { "was" } else { "were" })]
struct SomeRejected {
    count: u64,
}

impl Import {
    /// Says what became of all rows; a failure if some were rejected. `rejects` is where they are, if they were kept.
    pub(super) fn summed_up(
        &self,
        counts: &Counts,
        first_reasons: &[String],
        rejects: Option<PathBuf>,
        format: &Format,
        terminal: &mut Terminal,
    ) -> Ended {
        let rows = [
            ("created", counts.created, "new users"),
            ("updated", counts.updated, "known users, brought up to date"),
            ("exists", counts.exists, "known users, left alone"),
            ("unchanged", counts.unchanged, "known users who lack nothing of it"),
            ("rejected", counts.rejected, "nothing was written"),
            ("total", counts.total(), ""),
        ];
        let shown =
            rows.into_iter().filter(|(word, count, _)| *count > 0 || matches!(*word, "created" | "rejected" | "total"));
        let rows = shown.map(|(word, count, told)| [word.to_owned(), text::count(count), told.to_owned()]);
        terminal.line(text::table(["RESULT", "ROWS", ""], rows))?;
        if counts.without_password > 0 {
            let count = text::count(counts.without_password);
            terminal
                .remark(format!("{count} of the created without a password: legacy is asked at their first login"))?;
        }
        self.say_notes(counts, terminal)?;
        if counts.rejected == 0 {
            return Ok(());
        }
        for reason in first_reasons {
            terminal.remark(reason)?;
        }
        if !first_reasons.is_empty() && counts.rejected > first_reasons.len() as u64 {
            terminal.remark(format!("and {} more", text::count(counts.rejected - first_reasons.len() as u64)))?;
        }
        match (rejects, &self.taking.rejects) {
            (Some(path), _) => terminal.remark(format!(
                "rejected rows are in {0}, and why in {0}.reasons.jsonl; mend them and import that file with --format {1} and what \
                 else was said of this one",
                path.display(),
                format.name
            ))?,
            (None, Some(path)) if reasons_beside(path).exists() => {
                terminal.remark(format!("why rows were rejected is in {}", reasons_beside(path).display()))?;
            }
            (None, Some(_)) => terminal.remark("the rejected rows were not kept then; --restart reads them again")?,
            (None, None) => terminal.remark("with --rejects FILE rejected rows are kept, to be mended")?,
        }
        Err(Failure::of(SomeRejected { count: counts.rejected }))
    }

    /// Says of how many users there is something to know that their records do not carry on.
    fn say_notes(&self, counts: &Counts, terminal: &mut Terminal) -> std::io::Result<()> {
        let Noted { second_factor, pending_action, left_with_legacy, dropped } = counts.noted;
        for (count, told) in [
            (second_factor, "with a second factor there: nobody asks for it here"),
            (pending_action, "with something still to be done there"),
            (left_with_legacy, "without their hash, so that legacy goes on asking for more than a password"),
            (dropped, "without their hash, which cannot be used"),
        ] {
            if count > 0 {
                terminal.remark(format!("{} {told}", text::counted(count, "user")))?;
            }
        }
        match (counts.noted == Noted::default(), &self.taking.results) {
            (true, _) => Ok(()),
            (false, Some(path)) => terminal.remark(format!("who, is in {} under `notes`", path.display())),
            (false, None) => terminal.remark("who, --results FILE says, under `notes`"),
        }
    }
}
