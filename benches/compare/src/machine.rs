//! What machine it was, with which versions, and how quiet it was: without these no figure means anything.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::line::Spread;
use crate::peers::Bench;
use crate::process::{Cores, pin};

/// What the figures were taken on.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    pub huge_pages: String,
    pub file_system: String,
    pub open_files: u64,
    /// Name and version of everything that took part.
    pub software: Vec<(String, String)>,
}

impl Machine {
    pub fn of(bench: &Bench) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let field = |path: &str, name: &str| {
            let text = read(path);
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease"),
            huge_pages: huge.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned(),
            file_system: file_system(&bench.folder),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX),
            software: software(&bench.here, &bench.proxy_binary()),
        }
    }

    pub fn sentence(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GiB, Linux {}, {}, huge pages {}, {} open files.",
            self.processor,
            self.cores,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.file_system,
            self.huge_pages,
            self.open_files
        )
    }

    pub fn versions(&self) -> String {
        let all: Vec<String> = self.software.iter().map(|(name, version)| format!("{name} {version}")).collect();
        format!("{}.", all.join(", "))
    }
}

/// What a program says about itself, on either stream, whatever it exits with.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

fn software(here: &Path, proxy: &Path) -> Vec<(String, String)> {
    let proxy = proxy.to_string_lossy();
    let root = here.join("../..");
    let root = root.to_string_lossy();
    let package = |name: &str| said("dpkg-query", &["-W", "-f", "${Version}", name]);
    let commit = said("git", &["-C", &*root, "rev-parse", "--short=10", "HEAD"]);
    let changed =
        if said("git", &["-C", &*root, "status", "--porcelain", "-uno"]).trim().is_empty() { "" } else { ", changed" };
    let mut all = vec![
        ("authferry".to_owned(), format!("{} ({}{changed})", version(&said(&proxy, &["--version"])), commit.trim())),
        ("rustc".to_owned(), version(&said("rustc", &["--version"]))),
        ("nginx".to_owned(), version(&said("nginx", &["-v"]))),
        ("HAProxy".to_owned(), version(&said("haproxy", &["-v"]))),
        ("OpenSSL".to_owned(), version(&said("openssl", &["version"]))),
        ("Node.js".to_owned(), version(&said("node", &["--version"]))),
        ("wrk".to_owned(), package("wrk")),
        ("h2load".to_owned(), version(&said("h2load", &["--version"]))),
        ("hey".to_owned(), package("hey")),
        ("libargon2".to_owned(), package("libargon2-1")),
    ];
    let lock = fs::read_to_string(here.join("express/package-lock.json")).unwrap_or_default();
    let lock: serde_json::Value = serde_json::from_str(&lock).unwrap_or_default();
    for name in ["express", "argon2", "better-sqlite3"] {
        let version = lock["packages"][format!("node_modules/{name}")]["version"].as_str().unwrap_or("?").to_owned();
        all.push((format!("npm {name}"), version));
    }
    all
}

/// The first word that looks like a version.
fn version(text: &str) -> String {
    let words = text.split([' ', '/', '\n', '(', ')']);
    let mut versions = words
        .map(|word| word.trim_start_matches('v'))
        .filter(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    versions.next().unwrap_or("?").trim_end_matches(',').to_owned()
}

/// The file system of the longest mount point that holds the path.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && place.starts_with(fields[1]));
    holding.max_by_key(|fields| fields[1].len()).map_or_else(String::new, |fields| fields[2].to_owned())
}

/// How long the same computation took each time: on a quiet machine always as long.
#[derive(Debug, Clone, Serialize)]
pub struct Noise {
    pub when: &'static str,
    pub median_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
    /// The share of both cores' time that the hypervisor gave to others meanwhile.
    pub stolen: f64,
    /// The system's own mean of runnable threads over the last minute.
    pub load: f64,
}

impl Noise {
    /// Measures for half a second on the proxies' core.
    pub fn measure(when: &'static str, cores: &Cores) -> Self {
        let before = stolen_and_all();
        let took = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                pin(&cores.proxy);
                (0..100).map(|_| spin()).collect::<Vec<f64>>()
            });
            thread.join().unwrap_or_default()
        });
        let after = stolen_and_all();
        let mut sorted = took.clone();
        sorted.sort_by(f64::total_cmp);
        let spread = Spread::of(took);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            when,
            median_ms: spread.map_or(f64::NAN, |spread| spread.median),
            p95_ms: sorted.get(sorted.len() * 95 / 100).copied().unwrap_or(f64::NAN),
            max_ms: spread.map_or(f64::NAN, |spread| spread.max),
            stolen: (after.0 - before.0) / (after.1 - before.1).max(1.0),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN),
        }
    }

    pub fn sentence(&self) -> String {
        format!(
            "{} the run a fixed loop took {:.1} ms (95 of 100 under {:.1}, all under {:.1}), load {:.1}, stolen {:.0} %",
            self.when,
            self.median_ms,
            self.p95_ms,
            self.max_ms,
            self.load,
            self.stolen * 100.0
        )
    }
}

/// Milliseconds of always the same work.
fn spin() -> f64 {
    let started = Instant::now();
    let mut state = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..4_000_000 {
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    }
    std::hint::black_box(state);
    Duration::as_secs_f64(&started.elapsed()) * 1e3
}

/// Ticks of all cores that were stolen, and all of them.
fn stolen_and_all() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    (ticks.get(7).copied().unwrap_or(0.0), ticks.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, found) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://haproxy.org/\n", "2.6.12-1+deb12u1"),
            ("OpenSSL 3.0.15 3 Sep 2024 (Library: OpenSSL 3.0.15 3 Sep 2024)", "3.0.15"),
            ("v20.20.2\n", "20.20.2"),
            ("h2load nghttp2/1.52.0", "1.52.0"),
            ("rustc 1.95.0 (abc 2026-01-01)", "1.95.0"),
            ("", "?"),
        ] {
            assert_eq!(version(said), found);
        }
    }
}
