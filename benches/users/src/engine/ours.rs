//! authferry's own store, through its port: the lookups and saves of a login, and its import from the command line.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use authferry::domain::clock::{SystemClock, UnixSeconds};
use authferry::domain::credential::StoredHash;
use authferry::domain::identifier::{Identifier, IdentifierKind, IdentifierRules, RawIdentifier};
use authferry::domain::password::PasswordNormalization;
use authferry::domain::proof::{FreshHash, LegacyAccepted, LegacyIdentity, ToldBy};
use authferry::domain::user::{LegacyId, Origin, Version};
use authferry::service::ports::{Found, ProvenUser, Saved, UserStore};
use authferry::store::{self, StoreSettings};
use authferry::telemetry::Metrics;
use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::{By, Engine};
use crate::Outcome;
use crate::measure::{self, Latencies, Memory, Rate, cpu_time};
use crate::people::{Person, mix, person};

pub struct Ours {
    store: Arc<dyn UserStore>,
    /// One thread, as each of the proxy's own has one.
    runtime: Runtime,
}

impl Ours {
    pub fn open(path: &Path, cache_bytes: usize) -> Outcome<Self> {
        let settings = StoreSettings::without_keys(path.to_owned(), cache_bytes);
        let store = store::open(&settings, Arc::new(Metrics::new()), Arc::new(SystemClock))?;
        Ok(Self { store, runtime: Builder::new_current_thread().enable_time().build()? })
    }
}

impl Engine for Ours {
    fn load(&mut self, _input: &Path) -> Outcome<u64> {
        Err("authferry's store is loaded by its own command".into())
    }

    fn read(&mut self, by: By, users: u64, seed: u64, at_once: usize, lasting: Duration) -> Outcome<Rate> {
        let (store, rules) = (&*self.store, IdentifierRules::default());
        let (cpu, started) = (cpu_time(), Instant::now());
        let one = |number: u64| async move {
            let (mut latencies, mut dice) = (Latencies::default(), seed ^ number << 48);
            while started.elapsed() < lasting {
                dice = dice.wrapping_add(1);
                let key = by.key(mix(dice) % users);
                let asked = Instant::now();
                let found = match by {
                    By::LegacyId => store.find_public(&key).await?.is_some(),
                    By::Email | By::Unknown => {
                        let candidates = rules.candidates(&RawIdentifier::new(&key)?);
                        matches!(store.find(&candidates).await?.found, Found::One(_))
                    }
                };
                latencies.push(asked.elapsed());
                if found != (by != By::Unknown) {
                    return Err(format!("{key} was {}found", if found { "" } else { "not " }).into());
                }
            }
            Outcome::Ok(latencies)
        };
        let all = self.runtime.block_on(try_join_all((0..at_once as u64).map(one)))?;
        let mut latencies = Latencies::default();
        all.into_iter().for_each(|some| latencies.extend(some));
        // One after the other, the making of the keys is left out, as it is for the others.
        let took = if at_once == 1 { latencies.sum() } else { started.elapsed() };
        Ok(Rate::of(latencies, took, cpu_time() - cpu))
    }

    fn write(&mut self, first: u64, at_once: usize, lasting: Duration) -> Outcome<(Rate, u64)> {
        let store = &*self.store;
        let (cpu, started) = (cpu_time(), Instant::now());
        let next = std::cell::Cell::new(first);
        let one = |_| async {
            let mut latencies = Latencies::default();
            while started.elapsed() < lasting {
                let number = next.replace(next.get() + 1);
                let proven = proven(&person(number))?;
                let asked = Instant::now();
                let saved = store.save_proven(proven).await?;
                latencies.push(asked.elapsed());
                if !matches!(saved, Saved::Created(_)) {
                    return Err(format!("user {number} is not new: {saved:?}").into());
                }
            }
            Outcome::Ok(latencies)
        };
        let all = self.runtime.block_on(try_join_all((0..at_once).map(one)))?;
        let mut latencies = Latencies::default();
        all.into_iter().for_each(|some| latencies.extend(some));
        Ok((Rate::of(latencies, started.elapsed(), cpu_time() - cpu), next.get()))
    }
}

/// Where the command line writes down what memory it took.
const AS_COMMAND: &str = "AUTHFERRY_USERS_COMMAND";

/// Is `authferry`, if this process was started as such: the whole command line, with the allocator that it has.
pub fn command_if_asked() -> Option<ExitCode> {
    let memory = std::env::var_os(AS_COMMAND)?;
    let code = authferry::cli::main();
    let written = serde_json::to_vec(&measure::memory()).map(|bytes| fs::write(memory, bytes));
    Some(if matches!(written, Ok(Ok(()))) { code } else { ExitCode::FAILURE })
}

/// Runs `authferry import` on a file, into a store that is not there yet.
pub fn import(input: &Path, path: &Path, cache: usize, batch: Option<u32>) -> Outcome<(Duration, Memory)> {
    let (config, memory) = (path.with_extension("toml"), path.with_extension("memory"));
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:9\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"off\"\n\
         [token]\nkind = \"none\"\n[store]\npath = {path:?}\ncache = \"{}MiB\"\n",
        cache >> 20
    );
    fs::write(&config, text)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("authferry").env(AS_COMMAND, &memory).stdin(Stdio::null());
    command.arg("import").arg(input).args(["--format", "jsonl"]).arg("--config").arg(&config);
    if let Some(batch) = batch {
        command.args(["--batch", &batch.to_string()]);
    }
    let started = Instant::now();
    let output = command.output()?;
    let took = started.elapsed();
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(format!("authferry import: {}", String::from_utf8_lossy(&said)).into());
    }
    Ok((took, serde_json::from_slice(&fs::read(memory)?)?))
}

/// A user whom legacy proved, as a first login saves him.
fn proven(person: &Person) -> Outcome<ProvenUser> {
    let rules = IdentifierRules::default();
    let mut names: Vec<Identifier> = vec![rules.identifier(IdentifierKind::Email, &person.email, Some(true))?];
    if let Some(username) = &person.username {
        names.push(rules.identifier(IdentifierKind::Username, username, None)?);
    }
    let identity = LegacyIdentity {
        id: LegacyId::from_json(&person.legacy_id.into()).ok_or("a number is an id")?,
        identifiers: names.clone(),
        profile: serde_json::from_str(&person.profile)?,
        told_by: ToldBy::Owner,
    };
    Ok(ProvenUser {
        accepted: LegacyAccepted::assert_by_connector(identity),
        hash: FreshHash::assert_by_hasher(StoredHash::new(person.hash.clone(), PasswordNormalization::None)),
        origin: Origin::Migrated,
        asked: names.into_iter().map(|name| name.normalized).collect(),
        based_on: Version(u64::MAX),
        at: UnixSeconds(person.created_at),
    })
}
