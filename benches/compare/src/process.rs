//! The programs that are compared: started on cores of their own, watched through /proc, and ended whatever happens. Each is told to end
//! when this process does (prctl's parent-death signal, set by setpriv), when its handle is dropped, and on SIGINT and SIGTERM.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CpuSet;

use crate::Outcome;

/// How long a program may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(5);

/// Which core does what: a proxy that is measured has one alone, the load and the app have the others. In the words of taskset.
#[derive(Debug, Clone)]
pub struct Cores {
    pub proxy: String,
    pub load: String,
    pub all: String,
    /// Two, where there are as many.
    pub two: String,
}

impl Cores {
    pub fn of_this_machine() -> Self {
        let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
        Self {
            proxy: "0".into(),
            load: if last == 0 { "0".into() } else { format!("1-{last}") },
            all: format!("0-{last}"),
            two: format!("0-{}", last.min(1)),
        }
    }
}

/// Keeps this thread on such cores, as far as it may.
pub fn pin(cores: &str) {
    let numbers = |part: &str| part.parse::<usize>().ok();
    let (first, last) = cores.split_once('-').unwrap_or((cores, cores));
    if let (Some(first), Some(last)) = (numbers(first), numbers(last)) {
        let mut set = CpuSet::new();
        (first..=last).for_each(|core| set.set(core));
        let _kept_where_it_is = rustix::thread::sched_setaffinity(None, &set);
    }
}

/// Everything that runs, for the signal handler.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
/// What is deleted at the end, for it too.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Ends everything on SIGINT and SIGTERM, and deletes the folder. Called once, before anything is started.
pub fn end_on_signals(folder: &Path) -> Outcome<()> {
    use tokio::signal::unix::{SignalKind, signal};
    *FOLDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        });
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        for (signal, pause) in [(Signal::TERM, 300), (Signal::KILL, 0)] {
            for pid in running.iter() {
                let _gone_already = kill_process(*pid, signal);
            }
            std::thread::sleep(Duration::from_millis(pause));
        }
        if let Some(folder) = FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _as_far_as_it_goes = fs::remove_dir_all(folder);
        }
        std::process::exit(130);
    });
    Ok(())
}

/// A command that runs on such cores and ends with this process.
pub fn on_cores(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", cores]).arg(program).stdin(Stdio::null());
    command
}

/// A tool that ends by itself.
pub struct Tool {
    child: Child,
    called: String,
}

/// Starts a tool, which may take so long.
pub fn started(cores: &str, program: &str, arguments: &[String], longest: Duration) -> Outcome<Tool> {
    let mut command = on_cores(cores, Path::new("timeout"));
    command.args(["--kill-after=2", &longest.as_secs().max(1).to_string(), program]).args(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(Tool { child, called: format!("{program} {}", arguments.join(" ")) })
}

impl Tool {
    /// Waits for it, and gives what it printed on both streams.
    pub fn finish(self) -> Outcome<String> {
        let output = self.child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if !output.status.success() {
            return Err(format!("{}: {}\n{said}", self.called, output.status).into());
        }
        Ok(said)
    }
}

/// Runs a tool to its end, at most so long, and gives what it printed on both streams.
pub fn output(cores: &str, program: &str, arguments: &[String], longest: Duration) -> Outcome<String> {
    started(cores, program, arguments, longest)?.finish()
}

/// A port that nobody had a moment ago.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program that runs until this is dropped.
pub struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it with both streams going to a file in the folder.
    pub fn start(name: &'static str, mut command: Command, folder: &Path) -> Outcome<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        let running = Self { name, child, log };
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(running.pid());
        Ok(running)
    }

    fn pid(&self) -> Pid {
        // A child's id is never zero, and fits: the kernel's are below 2^22.
        Pid::from_child(&self.child)
    }

    /// Waits until it listens.
    pub fn listening(mut self, at: SocketAddr) -> Outcome<Self> {
        let started = Instant::now();
        loop {
            if TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok() {
                return Ok(self);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let why = ended.map_or("does not listen".to_owned(), |status| format!("ended: {status}"));
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last =
                    log.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(format!("{} {why}\n{last}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Itself and its children: nginx works in a child.
    fn pids(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// The processor time that its threads have used so far (`schedstat` of proc(5), first field).
    pub fn cpu(&self) -> Outcome<Duration> {
        let mut nanoseconds = 0;
        for pid in self.pids() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread may have ended since it was listed.
                let Ok(times) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
                nanoseconds += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The sum of a field of `status` of proc(5) that is in kB, in MB.
    fn megabytes(&self, field: &str) -> f64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            kilobytes(&status, field).unwrap_or(0.0)
        };
        self.pids().into_iter().map(of).sum::<f64>() * 1024.0 / 1e6
    }

    /// Resident now, MB.
    pub fn resident(&self) -> f64 {
        self.megabytes("VmRSS")
    }

    /// The most that was resident, MB.
    pub fn peak(&self) -> f64 {
        self.megabytes("VmHWM")
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        self.pids().into_iter().filter_map(|pid| Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())).sum()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// As `kill -9` does.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()
    }
}

/// A field of `status` of proc(5) that is in kB.
fn kilobytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.pid();
        if self.alive() {
            let _gone_already = kill_process(pid, Signal::TERM);
            let since = Instant::now();
            while self.alive() && since.elapsed() < GRACE {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _gone_already = self.child.kill();
            let _reaped = self.child.wait();
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| *running != pid);
    }
}

/// Makes a log empty: what is measured writes tens of megabytes a round.
pub fn empty_logs(folder: &Path) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            File::options().write(true).open(path)?.set_len(0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_field_of_that_name() {
        let status = "Name:\tnginx\nVmHWM:\t   12345 kB\nVmRSS:\t    9000 kB\n";
        assert_eq!((kilobytes(status, "VmHWM"), kilobytes(status, "VmRSS")), (Some(12345.0), Some(9000.0)));
        assert_eq!(kilobytes(status, "Vm"), None);
    }

    #[test]
    fn a_program_that_cannot_listen_is_told_with_its_last_words_and_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = on_cores("0", Path::new("sh"));
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let running = Running::start("sh", command, folder.path()).unwrap();
        let error = running.listening(SocketAddr::from(([127, 0, 0, 1], 9))).err().unwrap().to_string();
        assert!(error.contains("no such luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn what_runs_ends_when_its_handle_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = on_cores("0", Path::new("sleep"));
        command.arg("60");
        let running = Running::start("sleep", command, folder.path()).unwrap();
        let pid = running.child.id();
        assert!(running.cpu().is_ok() && running.descriptors() > 0);
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
