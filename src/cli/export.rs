//! `authferry export`: everybody, in our own formats or in one that another product reads.
//!
//! Reads a store file, never the admin API: no hash leaves a running proxy, and a file is one state, where pages of a store that goes on
//! changing are many. While a proxy runs, an online backup is exported (`--store`).

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::failure::{Ended, Failure};
use super::import::settings;
use super::operator::{block_on, say_opened};
use super::options::ConfigFile;
use super::progress::Progress;
use super::terminal::{Terminal, inert};
use super::text;
use crate::domain::clock::{Clock, SystemClock, UnixSeconds};
use crate::domain::user::{Standing, User, UserId};
use crate::exchange::{
    Carried, CarriesHashes, FORMATS, FileLimit, Format, Hashes, PortableName, PortableUser, RecordWriter, RowFault,
    WriteFormat, WriteOptions, format_named,
};
use crate::service::ports::{OnDamage, StoreError, UnreadUsers, UserQuery, UserStore};
use crate::store::{self, StoreSettings};
use crate::telemetry::Metrics;

/// Take everybody out, into a file
#[derive(clap::Args)]
pub(super) struct Export {
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", value_parser = clap::builder::PossibleValuesParser::new(
        FORMATS.iter().filter(|format| format.write.is_some()).map(|format| format.name)))]
    format: String,
    /// Where to; `-` for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    to: PathBuf,
    /// Leave the password hashes out
    #[arg(long)]
    no_hashes: bool,
    /// Put the file in the place of one that is there
    #[arg(long)]
    force: bool,
    /// As many files as it takes, each as large as that product takes them
    #[arg(long)]
    split: bool,
    /// What the format wants to know; a value @PATH is read from that file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Another store than the configuration's: a backup, as one of a running proxy
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Users are read in pages of so many.
const PAGE: usize = 1_000;

/// As many users who cannot be written are named.
const NAMED: usize = 20;

/// Why an export could not go on.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the store cannot be read")]
    Store(#[source] StoreError),
    #[error("{} exists already; --force puts the export in its place", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written", path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    #[error(
        "the store {} is in use by another process, a proxy or a command, and no hash leaves a running proxy: make a backup with \
         `authferry store backup`, and export that with --store FILE", .0.display()
    )]
    InUse(PathBuf),
}

/// What does not end well, but is no failure of ours.
#[derive(Debug, thiserror::Error)]
#[error("{count} could not be written")]
struct SomeLeftOut {
    count: String,
}

/// What of a damaged store is in no export.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store is damaged: {unread} could not be read, the others were written; `authferry store check` tells what is wrong, and a backup \
     may have them (export --store BACKUP)"
)]
struct Damaged {
    unread: String,
}

/// What was written so far.
#[derive(Debug, Default)]
struct Counts {
    written: u64,
    without_password: u64,
    tombstones: u64,
    refused: u64,
    unread: u64,
    files: u64,
}

impl Export {
    pub(super) fn execute(&self, terminal: &mut Terminal) -> Ended {
        block_on(self.run(terminal))
    }

    async fn run(&self, terminal: &mut Terminal) -> Ended {
        let format = format_named(&self.format);
        let Some((format, write)) = format.and_then(|format| format.write.map(|write| (format, write))) else {
            return Err(Failure::Usage(format!("{} is only read", self.format)));
        };
        let hashes = match (self.no_hashes, write.hashes) {
            (false, CarriesHashes::Yes) => Hashes::Included,
            (true, _) | (false, CarriesHashes::No) => Hashes::LeftOut,
        };
        let to_stdout = self.to == Path::new("-");
        if to_stdout && hashes == Hashes::Included && terminal.shows_results() {
            return Err(Failure::Usage(
                "hashes are not shown on a terminal; name a file with --to, or say --no-hashes".to_owned(),
            ));
        }
        if to_stdout && self.split {
            return Err(Failure::Usage("--split needs --to FILE".to_owned()));
        }
        let options = WriteOptions { hashes, settings: settings(&self.set, format)?, columns: Vec::new() };
        let store = self.open(terminal)?;
        let target = Target::begin(&self.to, self.force, self.split.then_some(write.limit).flatten());
        let target = target.map_err(|stopped| Failure::Usage(stopped.to_string()))?;
        let (counts, refused, lost, reserved) = (Counts::default(), Vec::new(), BTreeSet::new(), HashMap::new());
        let mut writing = Writing { format, write, options, target, counts, refused, lost, reserved };
        let remarks = writing.all(&*store, terminal).await.map_err(|stopped| match stopped {
            Stopped::Output(error) => Failure::Output(error),
            other => Failure::stopped(other),
        })?;
        writing.summed_up(remarks, terminal)
    }

    fn open(&self, terminal: &mut Terminal) -> Result<Arc<dyn UserStore>, Failure> {
        let config = self.config.load()?;
        let (metrics, clock) = (Arc::new(Metrics::new()), Arc::new(SystemClock) as Arc<dyn Clock>);
        if let Some(path) = &self.store {
            if !path.exists() {
                return Err(Failure::Usage(format!("there is no store at {}", path.display())));
            }
            let settings = StoreSettings { path: path.clone(), ..config.store };
            return store::open_scratch(&settings, metrics, clock).map_err(Failure::stopped);
        }
        if let Some(missing) = store::missing_though_made(&config.store.path) {
            return Err(Failure::stopped(missing));
        }
        if !config.store.path.exists() {
            return Err(Failure::Failed(format!("there is no store at {} yet", config.store.path.display()).into()));
        }
        let opened = store::open(&config.store, metrics, clock).map_err(|error| match error {
            store::OpenError::Locked(path) => Failure::stopped(Stopped::InUse(path)),
            other => Failure::stopped(other),
        })?;
        say_opened(&config.store.path, terminal)?;
        Ok(opened)
    }
}

/// An export under way.
struct Writing {
    format: &'static Format,
    write: WriteFormat,
    options: WriteOptions,
    target: Target,
    counts: Counts,
    refused: Vec<String>,
    /// What could not be read beside users.
    lost: BTreeSet<&'static str>,
    /// Names that are kept for users who do not bear them: only our own formats have a place for them.
    reserved: HashMap<UserId, Vec<PortableName>>,
}

/// One file's writer, and what of it waits to be written out.
struct Open {
    writer: Box<dyn RecordWriter>,
    out: Vec<u8>,
    users: u64,
    bytes: u64,
}

impl Writing {
    async fn all(&mut self, store: &dyn UserStore, terminal: &mut Terminal) -> Result<Vec<String>, Stopped> {
        let counts = self.unless_damaged(store.counts().await, "how many there are")?;
        let total = counts.map(|counts| counts.total() + counts.deleted);
        if is_ours(self.format) {
            let reserved = self.unless_damaged(store.reserved().await, "which names are kept from others for whom")?;
            for (user, name) in reserved.unwrap_or_default() {
                let name = PortableName { kind: name.kind(), value: name.text().to_owned(), verified: None };
                self.reserved.entry(user).or_default().push(name);
            }
        }
        let mut progress = Progress::begin(terminal, "users", total, 0, 0);
        let mut open = self.open()?;
        let mut after = None;
        let mut read = 0;
        loop {
            let query = UserQuery { after, limit: PAGE, on_damage: OnDamage::StepOver, ..UserQuery::default() };
            let page = store.list(query).await.map_err(Stopped::Store)?;
            let ids: Vec<_> = page.users.iter().map(|user| user.id).collect();
            let logins = self.logins(store, &ids).await?;
            read += page.users.len() as u64;
            self.unread(&page.unread);
            for (user, login) in page.users.into_iter().zip(logins) {
                self.user(user, login, &mut open, terminal)?;
            }
            self.target.write(&mut open.out, terminal)?;
            let shown = progress.at(terminal, read, read);
            shown.map_err(Stopped::Output)?;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        progress.end();
        self.close(&mut open, terminal)
    }

    /// What was read; none, and that noted, if it is damaged: most of everybody is worth more than nothing.
    fn unless_damaged<T>(&mut self, read: Result<T, StoreError>, what: &'static str) -> Result<Option<T>, Stopped> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Corrupt(_)) => {
                self.lost.insert(what);
                Ok(None)
            }
            Err(other) => Err(Stopped::Store(other)),
        }
    }

    /// When these users last logged in, one by one where a page of times cannot be read.
    async fn logins(&mut self, store: &dyn UserStore, ids: &[UserId]) -> Result<Vec<Option<UnixSeconds>>, Stopped> {
        match store.last_login(ids).await {
            Ok(logins) => return Ok(logins),
            Err(StoreError::Corrupt(_)) => {}
            Err(other) => return Err(Stopped::Store(other)),
        }
        let mut logins = Vec::with_capacity(ids.len());
        for id in ids {
            let login = store.last_login(std::slice::from_ref(id)).await;
            let login = self.unless_damaged(login, "when some of them last logged in")?;
            logins.push(login.and_then(|login| login.into_iter().next().flatten()));
        }
        Ok(logins)
    }

    fn unread(&mut self, unread: &UnreadUsers) {
        for id in &unread.ids {
            self.counts.unread += 1;
            self.name(format!("user {id}: his record is damaged"));
        }
        if unread.perhaps_more {
            self.lost.insert("who else there may be: the tables of names are damaged too");
        }
    }

    fn open(&mut self) -> Result<Open, Stopped> {
        self.target.next_file()?;
        self.counts.files += 1;
        let mut open = Open { writer: (self.write.open)(&self.options), out: Vec::new(), users: 0, bytes: 0 };
        open.writer.start(&mut open.out);
        open.bytes = open.out.len() as u64;
        Ok(open)
    }

    fn close(&mut self, open: &mut Open, terminal: &mut Terminal) -> Result<Vec<String>, Stopped> {
        open.writer.finish(&mut open.out);
        self.target.write(&mut open.out, terminal)?;
        self.target.finish_file()?;
        Ok(open.writer.remarks())
    }

    fn user(
        &mut self,
        user: User,
        login: Option<UnixSeconds>,
        open: &mut Open,
        terminal: &mut Terminal,
    ) -> Result<(), Stopped> {
        let is_ours = is_ours(self.format);
        match user.standing {
            // Another product has no place for somebody who is not to come back.
            Standing::Deleted if !is_ours => {
                self.counts.tombstones += 1;
                return Ok(());
            }
            Standing::Deleted | Standing::Active | Standing::Disabled => {}
        }
        let (id, own_id) = (user.public_id(), user.id);
        let mut user = PortableUser::of(user, login);
        user.reserved = self.reserved.remove(&own_id).unwrap_or_default();
        let bound_here = !is_ours && user.password.as_ref().is_some_and(|password| is_keyed(&password.encoded));
        if bound_here {
            user.password = None;
        }
        let before = open.out.len();
        let mut carried = open.writer.user(&user, &mut open.out);
        let length = (open.out.len() - before) as u64;
        if carried.is_ok() && open.users > 0 && !self.target.has_room(open.users, open.bytes + length) {
            open.out.truncate(before);
            // What there is to remark is the same of each file, and told of the last.
            self.close(open, terminal)?;
            *open = self.open()?;
            carried = open.writer.user(&user, &mut open.out);
        }
        match carried {
            Ok(carried) => {
                open.users += 1;
                open.bytes += length;
                self.counts.written += 1;
                let lost = bound_here || carried == Carried::WithoutPassword;
                self.counts.without_password += u64::from(lost);
            }
            Err(fault) => self.refuse(&id, &fault),
        }
        Ok(())
    }

    fn refuse(&mut self, id: &serde_json::Value, fault: &RowFault) {
        self.counts.refused += 1;
        self.name(format!("user {}: {}", inert(&id.to_string()), inert(&fault.to_string())));
    }

    fn name(&mut self, left_out: String) {
        if self.refused.len() < NAMED {
            self.refused.push(left_out);
        }
    }

    fn summed_up(self, remarks: Vec<String>, terminal: &mut Terminal) -> Ended {
        let counts = &self.counts;
        for refused in &self.refused {
            terminal.remark(format!("left out: {refused}"))?;
        }
        let place = match &self.target.path {
            None => "standard output".to_owned(),
            Some(path) if counts.files > 1 => format!("{} files beside {}", counts.files, path.display()),
            Some(path) => path.display().to_string(),
        };
        terminal.remark(format!("{} to {place}, as {}", text::counted(counts.written, "user"), self.format.name))?;
        if counts.without_password > 0 {
            let why = match self.options.hashes {
                Hashes::LeftOut => "hashes were left out",
                Hashes::Included => "this product takes no hash of their kind, or it needs a key of ours",
            };
            terminal.remark(format!("{} without a password: {why}", text::counted(counts.without_password, "user")))?;
        }
        if counts.tombstones > 0 {
            terminal.remark(format!("{} not written: deleted here", text::counted(counts.tombstones, "user")))?;
        }
        if let Some(limit) = self.write.limit.filter(|_| counts.files == 1)
            && (counts.written > limit.users || self.target.written > limit.bytes)
        {
            let most = at_most(limit);
            terminal.remark(format!("{} takes at most {most} in a file; --split makes several", self.format.name))?;
        }
        for remark in remarks {
            terminal.remark(remark)?;
        }
        for lost in &self.lost {
            terminal.remark(format!("the store is damaged, and does not tell {lost}"))?;
        }
        let left_out = SomeLeftOut { count: text::counted(counts.refused, "user") };
        match (counts.refused > 0, counts.unread > 0 || !self.lost.is_empty()) {
            (false, false) => Ok(()),
            (true, false) => Err(Failure::of(left_out)),
            (refused, true) => {
                if refused {
                    terminal.remark(left_out)?;
                }
                Err(Failure::of(Damaged { unread: text::counted(counts.unread, "user") }))
            }
        }
    }
}

/// A limit in words, less what has none.
fn at_most(FileLimit { bytes, users }: FileLimit) -> String {
    let said = |most: u64, unit| (most < u64::MAX).then(|| text::counted(most, unit));
    let parts: Vec<String> = [said(bytes, "byte"), said(users, "user")].into_iter().flatten().collect();
    parts.join(" and ")
}

/// Whether a format has a place for everything of a user.
fn is_ours(format: &Format) -> bool {
    matches!(format.name, "jsonl" | "csv")
}

/// Whether nobody else can verify a hash: it was made with a key of this deployment.
fn is_keyed(encoded: &str) -> bool {
    encoded.starts_with("$argon2") && encoded.contains("keyid=") || encoded.starts_with("$prehash$")
}

/// Where an export goes: standard output, one file, or several. A file has its name once it is whole.
struct Target {
    path: Option<PathBuf>,
    force: bool,
    limit: Option<FileLimit>,
    file: Option<(BufWriter<File>, PathBuf, PathBuf)>,
    number: u32,
    written: u64,
}

impl Target {
    fn begin(to: &Path, force: bool, limit: Option<FileLimit>) -> Result<Self, Stopped> {
        let path = (to != Path::new("-")).then(|| to.to_owned());
        if let Some(path) = path.as_ref().filter(|path| !force && limit.is_none() && path.exists()) {
            return Err(Stopped::Exists(path.clone()));
        }
        Ok(Self { path, force, limit, file: None, number: 0, written: 0 })
    }

    fn has_room(&self, users: u64, bytes: u64) -> bool {
        // What closes the file has to fit as well.
        const CLOSING: u64 = 64;
        self.limit.is_none_or(|limit| users < limit.users && bytes + CLOSING <= limit.bytes)
    }

    /// `users.json`, or `users-0001.json` where there are several.
    fn name(&self, path: &Path) -> PathBuf {
        if self.limit.is_none() {
            return path.to_owned();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        path.with_file_name(format!("{stem}-{:04}{ending}", self.number))
    }

    fn next_file(&mut self) -> Result<(), Stopped> {
        let Some(path) = &self.path else { return Ok(()) };
        self.number += 1;
        let name = self.name(path);
        if !self.force && name.exists() {
            return Err(Stopped::Exists(name));
        }
        let mut unnamed = name.as_os_str().to_owned();
        unnamed.push(format!(".{}.part", Uuid::now_v7().simple()));
        let unnamed = PathBuf::from(unnamed);
        // Personal data always, and hashes as a rule.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed);
        let made = made.map_err(|cause| Stopped::Io { path: unnamed.clone(), cause })?;
        self.file = Some((BufWriter::new(made), unnamed, name));
        Ok(())
    }

    fn write(&mut self, out: &mut Vec<u8>, terminal: &mut Terminal) -> Result<(), Stopped> {
        self.written += out.len() as u64;
        let written = match &mut self.file {
            Some((file, unnamed, _)) => {
                file.write_all(out).map_err(|cause| Stopped::Io { path: unnamed.clone(), cause })
            }
            None => terminal.raw(out).map_err(Stopped::Output),
        };
        out.clear();
        written
    }

    fn finish_file(&mut self) -> Result<(), Stopped> {
        let Some((mut file, unnamed, name)) = self.file.take() else { return Ok(()) };
        let synced = file.flush().and_then(|()| file.get_ref().sync_all());
        let named = synced.and_then(|()| {
            if self.force {
                fs::rename(&unnamed, &name)
            } else {
                // A link fails where a rename would replace; some file systems have none.
                match fs::hard_link(&unnamed, &name) {
                    Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists && !name.exists() => {
                        fs::rename(&unnamed, &name)
                    }
                    linked => linked.and_then(|()| fs::remove_file(&unnamed)),
                }
            }
        });
        named.map_err(|cause| {
            drop(fs::remove_file(&unnamed));
            match cause.kind() {
                io::ErrorKind::AlreadyExists => Stopped::Exists(name.clone()),
                _ => Stopped::Io { path: name.clone(), cause },
            }
        })
    }
}

impl Drop for Target {
    /// A file that is not whole is none.
    fn drop(&mut self) {
        if let Some((_, unnamed, _)) = self.file.take() {
            drop(fs::remove_file(unnamed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_limit_is_not_said_to_have_one() {
        for (bytes, users, said) in [
            (500_000, u64::MAX, "500,000 bytes"),
            (u64::MAX, 10_000, "10,000 users"),
            (100_000_000, 500_000, "100,000,000 bytes and 500,000 users"),
        ] {
            assert_eq!(at_most(FileLimit { bytes, users }), said);
        }
    }
}
