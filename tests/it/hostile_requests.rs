//! Hostile requests against the built binary, byte by byte, with a recorder behind it: two corpora that others wrote, and requests of our
//! own making by the thousand (R1-R16, R28, R125), ten million of them with `AUTHFERRY_LONG=1`.
//!
//! What shows that a request did no harm is not its answer but what came out on the other side: every byte that the upstream gets is
//! held to one canonical grammar (R6), every request there must be one that was sent, and the request that is hidden wherever one
//! could be, the canary, must never come.

mod client;
mod corpora;
mod exceptions;
mod generator;
mod grammar;
mod operators;
mod recorder;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use self::client::{Answer, Exchange, exchange};
use self::corpora::{Case, Expected, Says, Whole};
use self::exceptions::{NEUTRALIZED, REFUSED_THOUGH_VALID};
use self::generator::{Generated, Verdict, connection};
use self::grammar::show;
use self::operators::OPERATORS;
use self::recorder::{Recorder, Seen, echo};
use crate::support::process::Process;
use crate::support::raw_client::send;

/// How long nothing has to come before a client says that it has no more. Only what announces more than it holds waits for it.
const QUIET: Duration = Duration::from_millis(200);
/// For requests that are whole: there is nothing to say.
const NEVER: Duration = Duration::from_secs(50);

/// A proxy in front of a recorder. The second listener wants PROXY headers.
struct Edge {
    process: Process,
    recorder: Recorder,
    _folder: TempDir,
}

impl Edge {
    fn before(recorder: Recorder) -> Self {
        let folder = TempDir::new().expect("a folder");
        let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
        let config = format!(
            "{listener}{listener}proxy_protocol = true\n[upstream]\nurl = \"http://{}\"\n[store]\npath = \"users.redb\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n[log]\nlevel = \"error,authferry::cli::run=info,authferry::app::running=info\"\n\
             [password]\nargon2id = {{ memory = \"8MiB\", iterations = 1, parallelism = 1 }}\n",
            recorder.address
        );
        let process = tokio::task::block_in_place(|| Process::start(folder.path(), &config));
        Self { process, recorder, _folder: folder }
    }

    /// Ends the proxy in good order, and gives what the recorder has found. Nothing went wrong inside.
    async fn end(self) -> Arc<recorder::Findings> {
        let metrics = send(self.process.admin(), "GET", "/metrics", &[], "").await.body;
        assert!(metrics.lines().any(|line| line == "authferry_panics_total 0"), "a panic: {metrics}");
        self.process.terminate();
        let (status, log) = tokio::task::block_in_place(|| self.process.wait());
        assert!(status.success(), "it ended with {status}: {log}");
        self.recorder.findings.clone()
    }
}

// ------------------------------------------------------------------------------------------------------------- the corpora

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Refused,
    Neutralized,
    Passed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpora_of_others_do_no_harm_and_what_is_valid_in_them_passes() {
    let Some(cases) = corpora::cases() else { return };
    let edge = Edge::before(Recorder::keeping().await);
    let (mut wrong, mut figures, mut completed) = (Vec::new(), BTreeMap::<_, usize>::new(), 0);
    let mut used = Vec::new();
    for case in &cases {
        let whole = case.whole();
        if whole.host_added {
            completed += 1;
            let outcome = run(&edge, case, case.as_written()).await;
            if !matches!(&outcome, Ok((seen, _)) if seen.is_empty()) {
                wrong.push(format!("{} {} without a host: {outcome:?}", case.corpus, case.name));
            }
        }
        match run(&edge, case, &whole.bytes)
            .await
            .and_then(|(seen, exchange)| judge_case(case, &whole, &seen, &exchange))
        {
            Ok((became, exception)) => {
                used.extend(exception);
                *figures
                    .entry((case.corpus.as_str(), case.verdict == Says::Valid, became, exception.is_some()))
                    .or_default() += 1;
            }
            Err(what) => wrong.push(format!(
                "{} {} ({}; {}): {what}\n    {}",
                case.corpus,
                case.name,
                case.title,
                case.says,
                show(&whole.bytes)
            )),
        }
    }
    let findings = edge.end().await;
    wrong.extend(findings.violations());
    wrong.extend(findings.take().iter().map(|seen| format!("came late: {seen:?}")));
    for (corpus, name, _) in REFUSED_THOUGH_VALID.iter().chain(NEUTRALIZED) {
        if !used.contains(&(*corpus, *name)) {
            wrong.push(format!("{corpus} {name} is in the tables and no exception"));
        }
    }
    println!(
        "{} cases, {completed} of them once more as they were written, without a host: refused for that",
        cases.len()
    );
    for ((corpus, valid, became, exception), count) in &figures {
        let (valid, exception) =
            (if *valid { "valid" } else { "invalid" }, if *exception { " (listed exceptions)" } else { "" });
        println!("{corpus}: {count} {valid} cases {became:?}{exception}");
    }
    println!(
        "{} requests at the recorder, {} more that broke off",
        findings.whole.load(Ordering::Relaxed),
        findings.cut.load(Ordering::Relaxed)
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Sends a case and a sound request behind it; gives what came out of the case on the other side.
async fn run(edge: &Edge, case: &Case, bytes: &[u8]) -> Result<(Vec<Seen>, Exchange), String> {
    let to = if case.wants_proxy_protocol() { edge.process.listener(1) } else { edge.process.public() };
    let waits = case.verdict == Says::Valid && listed(REFUSED_THOUGH_VALID, case).is_none();
    let quiet = if waits { NEVER } else { QUIET };
    let bytes = [bytes, b"GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n"].concat();
    let exchange = exchange(to, Ipv4Addr::LOCALHOST, &bytes, quiet).await?;
    let mut seen = edge.recorder.findings.take();
    seen.retain(|seen| seen.head.target != "/next");
    Ok((seen, exchange))
}

type Exception = (&'static str, &'static str);

fn listed(table: &[(&'static str, &'static str, &'static str)], case: &Case) -> Option<Exception> {
    let mut listed = table.iter().map(|(corpus, name, _)| (*corpus, *name));
    listed.find(|(corpus, name)| *corpus == case.corpus && *name == case.name)
}

fn judge_case(
    case: &Case,
    whole: &Whole,
    seen: &[Seen],
    exchange: &Exchange,
) -> Result<(Became, Option<Exception>), String> {
    let answers = &exchange.answers;
    if let Some(odd) = answers.iter().find(|answer| answer.echo.is_none() && !answer.is_refusal()) {
        return Err(format!("answered with {}", odd.status));
    }
    match (case.verdict, seen.is_empty()) {
        (Says::Invalid, true) => Ok((Became::Refused, None)),
        (Says::Invalid, false) => {
            let exception = listed(NEUTRALIZED, case).ok_or_else(|| format!("passed as {seen:?}"))?;
            Ok((Became::Neutralized, Some(exception)))
        }
        (Says::Valid, true) => {
            let exception = listed(REFUSED_THOUGH_VALID, case).ok_or_else(|| format!("answered with {answers:?}"))?;
            Ok((Became::Refused, Some(exception)))
        }
        (Says::Valid, false) => {
            let same = |(seen, expected): (&Seen, &Expected)| {
                seen.head.method == expected.method && seen.head.target == expected.target && seen.body == expected.body
            };
            let all = seen.len() == whole.expected.len() && seen.iter().zip(&whole.expected).all(same);
            if all { Ok((Became::Passed, None)) } else { Err(format!("passed as {seen:?}")) }
        }
    }
}

// ----------------------------------------------------------------------------------------------------------- our own making

/// How many requests are made; ten million with `AUTHFERRY_LONG=1`, or as many as `AUTHFERRY_HOSTILE_REQUESTS` says.
fn wanted() -> u64 {
    let asked = std::env::var("AUTHFERRY_HOSTILE_REQUESTS").ok().map(|text| text.parse().expect("a number"));
    asked.unwrap_or(if std::env::var_os("AUTHFERRY_LONG").is_some() { 10_000_000 } else { 6_000 })
}

/// The same requests each time, unless another seed is asked for.
fn seed() -> u64 {
    std::env::var("AUTHFERRY_HOSTILE_SEED").ok().map_or(1, |text| text.parse().expect("a number"))
}

/// What became of the requests of an operator.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    passed: u64,
    refused: u64,
    /// The connection ended instead of an answer, or after an earlier refusal.
    unanswered: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_requests_arrive_as_themselves_or_not_at_all() {
    const AT_ONCE: usize = 24;
    let (wanted, seed) = (wanted(), seed());
    let edge = Edge::before(Recorder::counting().await);
    let to = edge.process.public();
    let (next, made) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, made, findings) = (next.clone(), made.clone(), edge.recorder.findings.clone());
        clients.spawn(async move {
            let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
            while made.load(Ordering::Relaxed) < wanted && findings.violations().is_empty() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let requests = connection(seed, number);
                let before = made.fetch_add(requests.len() as u64, Ordering::Relaxed);
                if before / 500_000 != (before + requests.len() as u64) / 500_000 {
                    println!("{before} requests so far");
                }
                if let Err(what) = converse(to, number, &requests, &mut tallies).await {
                    findings.violation(format!("seed {seed}, connection {number}: {what}"));
                }
            }
            tallies
        });
    }
    let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
    while let Some(client) = clients.join_next().await {
        for (operator, tally) in client.expect("no panic") {
            let sum = tallies.entry(operator).or_default();
            sum.passed += tally.passed;
            sum.refused += tally.refused;
            sum.unanswered += tally.unanswered;
        }
    }
    let findings = edge.end().await;
    let violations = findings.violations();
    for (operator, tally) in &tallies {
        println!(
            "{operator}: {} passed, {} refused, {} without an answer",
            tally.passed, tally.refused, tally.unanswered
        );
    }
    println!(
        "{} requests over {} connections with {} operators; {} came whole to the recorder, {} broke off; {} violations",
        made.load(Ordering::Relaxed),
        next.load(Ordering::Relaxed),
        OPERATORS.len(),
        findings.whole.load(Ordering::Relaxed),
        findings.cut.load(Ordering::Relaxed),
        violations.len()
    );
    assert!(violations.is_empty(), "{}", violations.join("\n\n"));
    assert!(tallies.len() > OPERATORS.len(), "every operator had its turn");
}

/// Sends the requests of one connection and holds the answers against them.
async fn converse(
    to: SocketAddr,
    number: u64,
    requests: &[Generated],
    tallies: &mut BTreeMap<&'static str, Tally>,
) -> Result<(), String> {
    let bytes = requests.iter().flat_map(|request| request.bytes.iter().copied()).collect::<Vec<_>>();
    // From everywhere on the loopback: no address is met so often that its ports run out.
    let [.., b, c, d] = number.to_be_bytes();
    let from = Ipv4Addr::new(127, b, c, d.clamp(1, 254));
    let exchange = exchange(to, from, &bytes, QUIET).await?;
    let mut answers = exchange.answers.iter().peekable();
    // Set when the proxy may have ended the connection for good reason.
    let mut ended = exchange.starved;
    for request in requests {
        let tally = tallies.entry(request.operator).or_default();
        let wrong = |answer: Option<&Answer>| {
            Err(format!(
                "{} ({}) got {answer:?}\n    {}\n  all: {:?}",
                request.case,
                request.operator,
                show(&request.bytes),
                exchange.answers
            ))
        };
        let own =
            |answer: &&Answer| answer.echo.as_deref().is_some_and(|echo| echo.split(' ').next() == Some(&request.case));
        let answer = answers.next();
        match (request.verdict, answer) {
            (_, None) if ended => tally.unanswered += 1,
            (Verdict::Cut, None) => (tally.unanswered, ended) = (tally.unanswered + 1, true),
            (Verdict::Pass | Verdict::May, Some(answer)) if own(&answer) => {
                let expected = echo(&request.case, &request.method, &request.target, &request.body);
                let (echo, target) = (answer.echo.as_deref().unwrap_or_default(), request.target.len());
                // What may pass may do so with its target spelled anew.
                let is_same = if request.verdict == Verdict::Pass {
                    echo == expected
                } else {
                    echo.split(' ').take(4).eq(expected[..expected.len() - target].split(' ').take(4))
                };
                if !is_same {
                    return wrong(Some(answer));
                }
                tally.passed += 1;
                // Not kept open without being asked, or not sure of what follows until the upstream has said whether it switches.
                ended |= ["HTTP/1.0", "an upgrade to a WebSocket"].contains(&request.operator);
            }
            (Verdict::Refuse | Verdict::Cut | Verdict::May, Some(answer)) if answer.is_refusal() => {
                (tally.refused, ended) = (tally.refused + 1, true);
            }
            (Verdict::Pass | Verdict::May | Verdict::Cut | Verdict::Refuse, answer) => return wrong(answer),
        }
    }
    match answers.next() {
        None => Ok(()),
        Some(more) => Err(format!(
            "an answer to nothing: {more:?} after {:?}",
            requests.iter().map(|request| &request.case).collect::<Vec<_>>()
        )),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorder_would_notice_what_comes_to_it_as_it_was_sent() {
    for (number, operator) in (0..).zip(OPERATORS).filter(|(_, operator)| operator.verdict == Verdict::Refuse) {
        let recorder = Recorder::counting().await;
        let requests = connection(1, number);
        let bytes: Vec<u8> =
            requests.into_iter().find(|request| request.operator == operator.name).expect("its turn").bytes;
        let _broken_off = exchange(recorder.address, Ipv4Addr::LOCALHOST, &bytes, QUIET).await;
        assert!(!recorder.findings.violations().is_empty(), "{}: {}", operator.name, show(&bytes));
    }
}
