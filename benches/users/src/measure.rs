//! Time, memory and what machine it was.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::Advice;
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How long each of many things took.
#[derive(Default)]
pub struct Latencies {
    nanoseconds: Vec<u32>,
}

impl Latencies {
    pub fn push(&mut self, took: Duration) {
        self.nanoseconds.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    pub fn len(&self) -> usize {
        self.nanoseconds.len()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.iter().map(|one| u64::from(*one)).sum())
    }

    pub fn extend(&mut self, other: Self) {
        self.nanoseconds.extend(other.nanoseconds);
    }

    /// The value that so many of a hundred lie under, in microseconds.
    pub fn percentile(&mut self, percent: f64) -> f64 {
        if self.nanoseconds.is_empty() {
            return f64::NAN;
        }
        let at = ((self.nanoseconds.len() - 1) as f64 * percent / 100.0).round() as usize;
        f64::from(*self.nanoseconds.select_nth_unstable(at).1) / 1_000.0
    }
}

/// What a stretch of work came to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Rate {
    /// Things done a second.
    pub per_second: f64,
    /// Median, microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
    /// Processor time each, of all threads, microseconds.
    pub cpu: f64,
}

impl Rate {
    pub fn of(mut latencies: Latencies, took: Duration, cpu: Duration) -> Self {
        let done = latencies.len().max(1) as f64;
        Self {
            per_second: latencies.len() as f64 / took.as_secs_f64(),
            p50: latencies.percentile(50.0),
            p99: latencies.percentile(99.0),
            cpu: cpu.as_secs_f64() * 1e6 / done,
        }
    }
}

/// The processor time that all threads of this process have taken so far.
pub fn cpu_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(of_thread).sum())
}

/// What a process holds, in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The most that was resident at once.
    pub peak: u64,
    /// Resident now.
    pub resident: u64,
    /// Of that, what is no page of a file: LMDB's pages are the system's own.
    pub anonymous: u64,
}

/// Of this process.
pub fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory { peak: field("VmHWM"), resident: field("VmRSS"), anonymous: field("RssAnon") }
}

/// Keeps this thread, and those that it starts from now on, on one core.
pub fn pin(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Has the system forget the pages of a file, as after a restart of the machine.
pub fn forget_pages(path: &Path) -> Outcome<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// Has the system read a file into its memory, as far as it has room.
pub fn remember_pages(path: &Path) -> Outcome<()> {
    std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
    Ok(())
}

/// Free bytes where a path is.
pub fn free_bytes(path: &Path) -> Outcome<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail * about.f_frsize)
}

/// The bytes that a file takes on its disk.
pub fn bytes_on_disk(path: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path)?.blocks() * 512)
}

/// What machine this is.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory: u64,
    pub kernel: String,
    pub file_system: String,
    /// Writing and syncing 4 KiB, median, microseconds.
    pub sync: f64,
}

impl Machine {
    pub fn of(directory: &Path) -> Outcome<Self> {
        let field = |file: &str, name: &str| -> String {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let memory = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: file_system(directory),
            sync: sync_time(directory)?,
        })
    }
}

/// The file system of the longest mount point that holds the path.
fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let place = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && place.starts_with(fields[1]));
    holding.max_by_key(|fields| fields[1].len()).map_or_else(String::new, |fields| fields[2].to_owned())
}

fn sync_time(directory: &Path) -> Outcome<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut latencies = Latencies::default();
    for _ in 0..200 {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    Ok(latencies.percentile(50.0))
}
