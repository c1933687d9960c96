//! The processes that open the stores: told what to do by lines of JSON, and answering by such lines. Each store has one of its own,
//! so that its memory can be told apart, and so that it can be killed.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::engine::{By, Engine, Kind};
use crate::measure::{self, Memory, Rate};

const ASKED: &str = "AUTHFERRY_USERS_CHILD";

/// What a child is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Stays on one core, with all threads that it starts from now on.
    Pin(usize),
    Open {
        kind: Kind,
        path: PathBuf,
        cache: usize,
    },
    Load(PathBuf),
    Read {
        by: By,
        users: u64,
        seed: u64,
        at_once: usize,
        lasting: Duration,
    },
    Write {
        first: u64,
        at_once: usize,
        lasting: Duration,
    },
    Memory,
    Close,
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done(Duration),
    Loaded { users: u64, took: Duration },
    Rate(Rate),
    Written { rate: Rate, next: u64 },
    Memory(Memory),
    Failed(String),
}

/// Does what it is told, if this process is a child.
pub fn serve_if_asked() -> Option<ExitCode> {
    std::env::var_os(ASKED)?;
    let mut engine = None;
    for line in std::io::stdin().lines() {
        let answer = line.map_err(Into::into).and_then(|line| obey(&mut engine, serde_json::from_str(&line)?));
        let answer = answer.unwrap_or_else(|error| Answer::Failed(with_causes(&*error)));
        let told = serde_json::to_string(&answer).map(|line| println!("{line}"));
        if told.is_err() || std::io::stdout().flush().is_err() {
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn obey(engine: &mut Option<Box<dyn Engine>>, order: Order) -> Outcome<Answer> {
    let started = Instant::now();
    let opened = || "no store is open";
    match order {
        Order::Pin(core) => measure::pin(core)?,
        Order::Open { kind, path, cache } => *engine = Some(kind.open(&path, cache)?),
        Order::Load(input) => {
            let users = engine.as_mut().ok_or_else(opened)?.load(&input)?;
            return Ok(Answer::Loaded { users, took: started.elapsed() });
        }
        Order::Read { by, users, seed, at_once, lasting } => {
            return Ok(Answer::Rate(engine.as_mut().ok_or_else(opened)?.read(by, users, seed, at_once, lasting)?));
        }
        Order::Write { first, at_once, lasting } => {
            let (rate, next) = engine.as_mut().ok_or_else(opened)?.write(first, at_once, lasting)?;
            return Ok(Answer::Written { rate, next });
        }
        Order::Memory => return Ok(Answer::Memory(measure::memory())),
        Order::Close => *engine = None,
    }
    Ok(Answer::Done(started.elapsed()))
}

/// A child, seen from its parent. It is killed when it is dropped.
pub struct Child {
    process: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    pub fn start() -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(ASKED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().ok_or("a child without stdin")?;
        let answers = BufReader::new(process.stdout.take().ok_or("a child without stdout")?);
        Ok(Self { process, orders, answers })
    }

    pub fn tell(&mut self, order: &Order) -> Outcome<()> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        Ok(self.orders.flush()?)
    }

    pub fn ask(&mut self, order: &Order) -> Outcome<Answer> {
        self.tell(order)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match serde_json::from_str(&line)? {
            Answer::Failed(why) => Err(format!("{order:?}: {why}").into()),
            answer => Ok(answer),
        }
    }

    /// An order that has nothing to say but that it was done. Gives how long it took.
    pub fn done(&mut self, order: &Order) -> Outcome<Duration> {
        match self.ask(order)? {
            Answer::Done(took) => Ok(took),
            other => Err(format!("{order:?}: {other:?}").into()),
        }
    }

    pub fn rate(&mut self, order: &Order) -> Outcome<Rate> {
        match self.ask(order)? {
            Answer::Rate(rate) => Ok(rate),
            other => Err(format!("{order:?}: {other:?}").into()),
        }
    }

    pub fn memory(&mut self) -> Outcome<Memory> {
        match self.ask(&Order::Memory)? {
            Answer::Memory(memory) => Ok(memory),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// As `kill -9` does.
    pub fn kill(mut self) -> Outcome<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}
