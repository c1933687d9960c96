//! `authferry hash test` and `authferry hash formats`: what a stored hash is taken for, and whether a known password is its own, before
//! millions of its kind are imported. Prints neither the hash nor the password.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::failure::{Ended, Failure};
use super::options::ConfigFile;
use super::terminal::{Terminal, inert};
use super::text;
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::password::{Password, PasswordNormalization};
use crate::password::formats::{
    self, Bounds, Declaration, Described, MAX_ENCODED_BYTES, PrehashKeys, Terms, Unusable, Wraps,
};
use crate::password::trial::{Trial, TrialError, Verdict};

/// Try a known password against a stored hash
#[derive(clap::Args)]
pub(super) struct HashCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say what a stored hash is, and whether a password is its own
    Test(Test),
    /// List the formats that are known
    Formats {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Test {
    /// The hash; left out: a line of standard input, so that it stays out of the shell's history
    hash: Option<String>,
    /// A file with nothing but the hash
    #[arg(long, value_name = "PATH", conflicts_with = "hash")]
    file: Option<PathBuf>,
    /// The password is the next line of standard input; else it is asked for
    #[arg(long)]
    password_stdin: bool,
    /// What a bare digest is of, as '{SALT}{PASSWORD}', or whose: vbulletin, mybb, ipb, smf, joomla, mysql, symfony, aspnet
    #[arg(long, value_name = "TEMPLATE")]
    hash_template: Option<String>,
    /// The salt of a bare digest, if it does not stand behind a colon
    #[arg(long, value_name = "TEXT", requires = "hash_template")]
    hash_salt: Option<String>,
    /// What legacy does to a password before it hashes it
    #[arg(long, value_name = "FORM", default_value = "none", value_parser = normalization)]
    normalize: PasswordNormalization,
    #[command(flatten)]
    config: ConfigFile,
}

/// What takes longer is announced.
const PATIENCE: Duration = Duration::from_millis(500);

fn normalization(word: &str) -> Result<PasswordNormalization, String> {
    match word {
        "none" => Ok(PasswordNormalization::None),
        "nfc" => Ok(PasswordNormalization::Nfc),
        "nfkc" => Ok(PasswordNormalization::Nfkc),
        _ => Err("none, nfc or nfkc".to_owned()),
    }
}

impl HashCommand {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        match &self.action {
            Action::Test(test) => test.execute(terminal),
            Action::Formats { json } => list(*json, terminal),
        }
    }
}

impl Test {
    fn execute(&self, terminal: &mut Terminal) -> Ended {
        let given = self.given(terminal)?;
        let terms = self.terms(&given)?;
        let encoded = self.declared(&given)?;
        let described = match (formats::describe(&encoded, &terms), &self.hash_template) {
            (Ok(described), _) => described,
            (Err(Unusable::UnknownFormat), None) => return self.guess(&given, terms, terminal),
            (Err(why), _) => return Err(unreadable(why, &given)),
        };
        let password = self.password(terminal)?;
        let (mut trial, clock) = (Trial::new(terms), SystemClock);
        let began = clock.monotonic();
        let matched = trial.matches(&encoded, &password, self.normalize).map_err(|why| failed(why, &given))?;
        let took = clock.monotonic().saturating_duration_since(began);
        shown(&described, took, terminal)?;
        if matched {
            let style = terminal.style();
            terminal.line(style.good("the password matches"))?;
            return Ok(());
        }
        if took > PATIENCE {
            terminal.remark("it does not match; trying other readings, which takes some ten times as long")?;
        }
        let verdict = trial.explain(&encoded, &password, self.normalize).map_err(|why| failed(why, &given))?;
        if let Verdict::Mismatch(Some(advice)) = verdict {
            terminal.line(format_args!("it would match {}", inert(&advice)))?;
        }
        Err(Failure::Failed("the password does not match".into()))
    }

    fn given(&self, terminal: &mut Terminal) -> Result<Zeroizing<String>, Failure> {
        let given = match (&self.hash, &self.file) {
            (Some(hash), _) => Zeroizing::new(hash.clone()),
            (None, Some(path)) => from_file(path)?,
            (None, None) => {
                let line = terminal.read_line()?;
                line.ok_or_else(|| {
                    Failure::Usage("there is no hash: neither an argument nor on standard input".to_owned())
                })?
            }
        };
        if given.is_empty() || given.len() > MAX_ENCODED_BYTES {
            return Err(Failure::Unreadable(format!("a hash has 1 to {MAX_ENCODED_BYTES} bytes")));
        }
        Ok(given)
    }

    /// The configuration is needed for the hashes alone whose keys it has.
    fn terms(&self, given: &str) -> Result<Terms, Failure> {
        let needs_keys = given.starts_with("$prehash$");
        let keys = if needs_keys { self.config.load()?.password.prehash_keys } else { PrehashKeys::default() };
        Ok(Terms { bounds: Bounds::default(), keys })
    }

    fn declared(&self, given: &str) -> Result<Zeroizing<String>, Failure> {
        let Some(template) = &self.hash_template else { return Ok(Zeroizing::new(given.to_owned())) };
        let declaration = Declaration::new(template).map_err(|error| Failure::Usage(error.to_string()))?;
        let salt = self.hash_salt.as_ref().map(String::as_bytes);
        formats::declare(given, salt, &declaration).map_err(|error| Failure::Unreadable(error.to_string()))
    }

    fn password(&self, terminal: &mut Terminal) -> Result<Password, Failure> {
        let typed = if self.password_stdin {
            let line = terminal.read_line()?;
            line.ok_or_else(|| Failure::Usage("there is no password on standard input".to_owned()))?
        } else {
            let asked = terminal.ask_hidden("Password: ");
            asked.map_err(|error| {
                Failure::Usage(format!("there is no terminal to ask at ({error}): use --password-stdin"))
            })?
        };
        Password::new(typed).map_err(Failure::of)
    }

    /// A bare digest says nothing of itself; a known password may.
    fn guess(&self, given: &str, terms: Terms, terminal: &mut Terminal) -> Ended {
        let unknown = unreadable(Unusable::UnknownFormat, given);
        if !formats::is_bare_digest(given) {
            return Err(unknown);
        }
        let password = self.password(terminal)?;
        match Trial::new(terms).guess(given, None, &password) {
            Some(advice) => {
                terminal.line(format_args!("a bare digest, which would match: {advice}"))?;
                Err(unknown)
            }
            None => Err(unknown),
        }
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    let limit = u64::try_from(MAX_ENCODED_BYTES).unwrap_or(u64::MAX) + 2;
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| Failure::Unreadable(format!("{} cannot be read: {error}", path.display())))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Why a hash is of no use, and what it looks like.
fn unreadable(why: Unusable, given: &str) -> Failure {
    let hint = formats::hint(given).map(|hint| format!(": {hint}")).unwrap_or_default();
    Failure::Unreadable(format!("{why}{hint}"))
}

fn failed(why: TrialError, given: &str) -> Failure {
    match why {
        TrialError::Unusable(why) => unreadable(why, given),
        TrialError::OutOfMemory => Failure::of(why),
    }
}

fn shown(described: &Described, took: Duration, terminal: &mut Terminal) -> Ended {
    let style = terminal.style();
    let weak = match (described.is_weak, described.format.wraps) {
        (true, Wraps::Always | Wraps::IfWeak) => "yes: --wrap-weak wraps it at an import",
        (true, Wraps::Never) => "yes",
        (false, _) => "no",
    };
    let took = format!("{:.1} ms", took.as_secs_f64() * 1_000.0);
    for (name, value) in [
        ("format", format!("{}, made by {}", described.format.name, described.format.made_by)),
        ("parameters", inert(&described.parameters)),
        ("weak", weak.to_owned()),
        ("took", took),
    ] {
        terminal.line(format_args!("{}  {value}", style.faint(format_args!("{name:<10}"))))?;
    }
    Ok(())
}

fn list(json: bool, terminal: &mut Terminal) -> Ended {
    let wraps = |wraps| match wraps {
        Wraps::Always => "yes",
        Wraps::IfWeak => "with few rounds",
        Wraps::Never => "no",
    };
    if json {
        let formats: Vec<serde_json::Value> = formats::all()
            .map(|about| {
                let (name, made_by, shape, bounds) = (about.name, about.made_by, about.shape, about.bounded_by);
                serde_json::json!({ "name": name, "made_by": made_by, "shape": shape, "bounded_by": bounds, "wrapped": wraps(about.wraps) })
            })
            .collect();
        terminal.line(serde_json::Value::Array(formats))?;
        return Ok(());
    }
    let rows =
        formats::all().map(|about| [about.name, about.shape, wraps(about.wraps), about.made_by].map(str::to_owned));
    terminal.line(text::table(["FORMAT", "LOOKS LIKE", "WRAPPED", "MADE BY"], rows))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::terminal::Person;
    use super::super::terminal::tests::typing;
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        command: HashCommand,
    }

    /// What a command line prints, and how it ends.
    fn run(arguments: &[&str], input: &'static str) -> (String, Result<(), String>, u8) {
        let line = Line::parse_from([&["hash"], arguments].concat());
        let (mut terminal, out, _err) = typing(input, Person::Absent);
        let ended = line.command.execute(&mut terminal);
        let code = ended.as_ref().map_or_else(code, |()| 0);
        let said = ended.map_err(|failure| failure.to_string());
        (out.text(), said, code)
    }

    fn code(failure: &Failure) -> u8 {
        match failure {
            Failure::Unreadable(_) => 65,
            Failure::Usage(_) => 2,
            Failure::Failed(_) => 1,
            _ => 99,
        }
    }

    const DJANGO: &str = "sha1$fe76b$02d5916550edf7fc8c886f044887f4b1abf9b013";

    #[test]
    fn a_match_says_what_the_hash_was_taken_for() {
        let (out, ended, _) = run(&["test", DJANGO, "--password-stdin"], "hashcat\n");
        assert_eq!(ended, Ok(()));
        for part in ["django-digest", "sha1 of {SALT}{PASSWORD}", "--wrap-weak", " ms", "the password matches"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        assert!(!out.contains("02d59165") && !out.contains("hashcat"), "{out}");
    }

    #[test]
    fn the_hash_may_come_on_standard_input_or_in_a_file() {
        let input = "sha1$fe76b$02d5916550edf7fc8c886f044887f4b1abf9b013\nhashcat\n";
        assert_eq!(run(&["test", "--password-stdin"], input).1, Ok(()));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hash");
        std::fs::write(&file, format!("{DJANGO}\r\n")).expect("a file");
        let file = file.to_str().expect("UTF-8");
        assert_eq!(run(&["test", "--file", file, "--password-stdin"], "hashcat").1, Ok(()));
        let (_, ended, code) = run(&["test", "--file", "/nonexistent", "--password-stdin"], "hashcat");
        assert_eq!((ended.is_err(), code), (true, 65));
    }

    #[test]
    fn a_mismatch_fails_and_says_what_would_have_matched() {
        let bare = "01dfae6e5d4d90d9892622325959afbe:7050461";
        let (out, ended, code) =
            run(&["test", bare, "--hash-template", "{SALT}{PASSWORD}", "--password-stdin"], "hashcat\n");
        assert_eq!((ended, code), (Err("the password does not match".to_owned()), 1));
        assert!(
            out.contains("it would match if the salt is appended: --hash-template 'md5:{PASSWORD}{SALT}'"),
            "{out}"
        );
        let (out, _, code) = run(&["test", DJANGO, "--password-stdin"], "another\n");
        assert!(code == 1 && !out.contains("would match"), "{out}");
        let (out, _, _) = run(&["test", DJANGO, "--password-stdin"], " hashcat\n");
        assert!(out.contains("trimmed"), "{out}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_it_looks_like() {
        for (hash, part) in [
            ("pbkdf2_sha256$1$salt$cut", "malformed"),
            ("pbkdf2_sha256$99000000$salt$wREIWWhMdfNXr3RVTI6xlL2vRPVNNGqVtmSLMpBpe3k=", "over the bounds"),
            ("$y$j9T$salt$hash", "yescrypt"),
            ("8743b52063cd84097a65d1633f5c74f5", "md5 or NTLM"),
            ("nonsense", "no known format"),
            ("", "1 to 4096 bytes"),
        ] {
            let (_, ended, code) = run(&["test", hash, "--password-stdin"], "another\n");
            assert!(code == 65 && ended.as_ref().is_err_and(|said| said.contains(part)), "{hash}: {ended:?}");
        }
        let (out, _, code) = run(&["test", "8743b52063cd84097a65d1633f5c74f5", "--password-stdin"], "hashcat\n");
        assert!(code == 65 && out.contains("--hash-template '{PASSWORD}'"), "{out}");
        let (_, ended, code) = run(&["test", "x", "--hash-template", "{SALT}", "--password-stdin"], "x\n");
        assert!(code == 2 && ended.is_err_and(|said| said.contains("every password would match")));
        let (_, _, code) = run(&["test", "--password-stdin"], "");
        assert_eq!(code, 2, "no hash at all");
    }

    #[test]
    fn every_format_is_listed() {
        let (out, ended, _) = run(&["formats"], "");
        assert_eq!(ended, Ok(()));
        assert!(formats::all().all(|about| out.contains(about.name)), "{out}");
        let (out, _, _) = run(&["formats", "--json"], "");
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(formats::all().count()));
    }
}
