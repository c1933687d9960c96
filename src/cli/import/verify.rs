//! Known passwords first: an import may demand that some credentials verify against the hashes in the file before anything is written, so
//! that a wrong reading of the hashes shows now and not at ten million logins. Reads the file on its own; never shows a password or a
//! hash.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::super::terminal::{Terminal, inert};
use super::Plan;
use super::source::Source;
use crate::domain::identifier::{IdentifierRules, NormalizedIdentifier, RawIdentifier};
use crate::domain::password::Password;
use crate::exchange::{HashFate, PortableUser};
use crate::password::trial::{Trial, Verdict};

/// The largest file of known credentials, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why the demand is not met.
#[derive(Debug, thiserror::Error)]
enum Unmet {
    #[error("the file of known credentials {} cannot be read", path.display())]
    Unreadable {
        path: std::path::PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{verified} of the {known} known credentials verified, and {wanted} were demanded; nothing was imported")]
    TooFew { verified: usize, known: usize, wanted: usize },
}

/// One known login.
struct Known {
    name: String,
    password: Password,
    /// What became of it.
    said: Option<String>,
    verified: bool,
}

/// Reads the whole import once, tries every known login that is in it, and fails unless enough verify. Names are compared as those who log
/// in will be told apart: by the rules of the store that the rows go to.
pub(super) fn demand(
    credentials: &Path,
    at_least: usize,
    file: &Path,
    rules: IdentifierRules,
    plan: &Plan,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    // What a shell hands over as `<(zcat …)` is a pipe with a name.
    if file == Path::new("-") || fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Failure::Usage(
            "--verify-credentials reads the file twice, which standard input and pipes cannot be".to_owned(),
        ));
    }
    let mut known = read(credentials)?;
    if known.len() < at_least {
        return Err(Failure::Usage(format!(
            "there are {} known credentials, fewer than --at-least {at_least}",
            known.len()
        )));
    }
    let mut by_name: HashMap<NormalizedIdentifier, Vec<usize>> = HashMap::new();
    for (index, login) in known.iter().enumerate() {
        if let Ok(raw) = RawIdentifier::new(&login.name) {
            for key in rules.candidates(&raw).keys() {
                by_name.entry(key.clone()).or_default().push(index);
            }
        }
    }
    let mut trial = Trial::new(plan.terms.clone());
    let mut records =
        Source::open(file).and_then(|source| source.records(plan.recognised, None)).map_err(Failure::stopped)?;
    // Where the file breaks off, the import itself says so.
    while let Ok(Some(piece)) = records.next_piece() {
        let user = match piece.bytes.map(|raw| (plan.recognised.format.parse)(raw, &plan.context)) {
            Some(Ok(user)) => user,
            Some(Err(fault)) if fault.is_of_a_setting() => return Err(Failure::Usage(fault.to_string())),
            Some(Err(_)) | None => continue,
        };
        let names = user.names.iter().filter_map(|name| rules.identifier(name.kind, &name.value, None).ok());
        let mut found: Vec<usize> = names.filter_map(|name| by_name.get(&name.normalized)).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        for index in found {
            if let Some(login) = known.get_mut(index) {
                try_one(&mut trial, login, &user);
            }
        }
    }
    let verified = known.iter().filter(|login| login.verified).count();
    for login in known.iter().filter(|login| !login.verified) {
        let said = login.said.as_deref().unwrap_or("is not in the file");
        terminal.remark(format!("{}: {said}", inert(&login.name)))?;
    }
    if verified < at_least {
        return Err(Failure::stopped(Unmet::TooFew { verified, known: known.len(), wanted: at_least }));
    }
    terminal.remark(format!("{verified} of the {} known credentials verified", known.len()))?;
    Ok(())
}

fn try_one(trial: &mut Trial, login: &mut Known, user: &PortableUser) {
    let Some(password) = &user.password else {
        let why = match user.notes.hash {
            HashFate::Taken => "has no password in the file",
            HashFate::LeftWithLegacy => "is asked for more than a password there, and comes without it",
            HashFate::Dropped => "has a hash in the file that cannot be used",
        };
        login.said = Some(why.to_owned());
        return;
    };
    match trial.explain(&password.encoded, &login.password, password.normalization) {
        Ok(Verdict::Match) => login.verified = true,
        Ok(Verdict::Mismatch(None)) => login.said = Some("the password does not match".to_owned()),
        Ok(Verdict::Mismatch(Some(hint))) => {
            login.said = Some(format!("the password does not match; it would {hint}"));
        }
        Err(error) => login.said = Some(error.to_string()),
    }
}

/// A login a line: the name, a tab, the password to the end of the line. Without a tab the first space parts them.
fn read(path: &Path) -> Result<Vec<Known>, Failure> {
    let failed = |cause| Failure::of(Unmet::Unreadable { path: path.to_owned(), cause });
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        return Err(Failure::Usage(format!("{} is larger than 1 MiB", path.display())));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let mut known = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let parts = line.split_once('\t').or_else(|| line.split_once(' '));
        let login = parts.and_then(|(name, password)| {
            let password = Password::new(Zeroizing::new(password.to_owned())).ok()?;
            Some(Known { name: name.to_owned(), password, said: None, verified: false })
        });
        let wrong =
            || Failure::Usage(format!("{}, line {number}: write the name, a tab, and the password", path.display()));
        known.push(login.ok_or_else(wrong)?);
    }
    Ok(known)
}
