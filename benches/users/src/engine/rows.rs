//! A user as the other two stores keep him: a key, the bytes of a record as long as authferry's, and what leads to it; and the
//! loading of a file in sorted chunks, read by one thread while another writes, which both have in common.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::By;
use crate::Outcome;
use crate::measure::{Latencies, Rate, cpu_time};
use crate::people::{Person, mix, person};

/// A user's key: in the order of his number, as UUIDs of version 7 are in the order of their time.
pub type Key = [u8; 16];

/// How many users share a transaction while a file is loaded.
const CHUNK: usize = 65_536;

/// One user.
pub struct Row {
    pub key: Key,
    pub record: Vec<u8>,
    pub names: Vec<String>,
    pub legacy_id: String,
}

/// As much of a line of ours as is kept.
#[derive(Deserialize)]
struct Line<'a> {
    legacy_id: u64,
    #[serde(borrow)]
    names: Vec<Name<'a>>,
    #[serde(borrow)]
    password: Password<'a>,
    created_at: u64,
    #[serde(borrow)]
    profile: &'a RawValue,
}

#[derive(Deserialize)]
struct Name<'a> {
    kind: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct Password<'a> {
    hash: &'a str,
}

impl Row {
    fn of_line(number: u64, line: &str) -> Outcome<Self> {
        let line: Line<'_> = serde_json::from_str(line)?;
        let name = |kind: &str| line.names.iter().find(|name| name.kind == kind).map(|name| name.value);
        let email = name("email").ok_or("a line without an email address")?;
        let (hash, profile) = (line.password.hash, line.profile.get());
        Ok(Self::new(number, line.legacy_id, email, name("username"), hash, line.created_at, profile))
    }

    pub fn of(person: &Person) -> Self {
        let Person { number, legacy_id, email, username, hash, created_at, profile } = person;
        Self::new(*number, *legacy_id, email, username.as_deref(), hash, *created_at, profile)
    }

    fn new(
        number: u64,
        legacy_id: u64,
        email: &str,
        username: Option<&str>,
        hash: &str,
        created_at: u64,
        profile: &str,
    ) -> Self {
        let key = (0x0190_0000_0000_7000_8000_0000_0000_0000_u128 | u128::from(number)).to_be_bytes();
        let legacy_id = legacy_id.to_string();
        let mut record = Vec::with_capacity(320);
        record.extend_from_slice(&[1, 0, 2, 1, 0]);
        record.extend_from_slice(&created_at.to_be_bytes());
        record.extend_from_slice(&created_at.to_be_bytes());
        let names: Vec<String> =
            [Some(format!("e:{email}")), username.map(|name| format!("u:{name}"))].into_iter().flatten().collect();
        for text in [hash, &legacy_id, profile].into_iter().chain(names.iter().map(String::as_str)) {
            record.extend_from_slice(&(text.len() as u16).to_be_bytes());
            record.extend_from_slice(text.as_bytes());
        }
        Self { key, record, names, legacy_id }
    }
}

/// Reads a record as far as a login needs it. Gives whether it is whole.
pub fn decode(record: &[u8]) -> Option<(String, String, Value)> {
    let mut rest = record.get(21..)?;
    let mut texts = Vec::with_capacity(4);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        rest = after;
    }
    let profile = serde_json::from_str(texts.get(2)?).ok()?;
    Some((texts.first()?.clone(), texts.get(3)?.clone(), profile))
}

/// Loads a file: `write` takes one sorted chunk after the other, while the next ones are read.
pub fn load(input: &Path, mut write: impl FnMut(&[Row]) -> Outcome<()>) -> Outcome<u64> {
    let lines = BufReader::with_capacity(1 << 20, File::open(input)?);
    std::thread::scope(|threads| {
        let (chunks, ready) = sync_channel::<Vec<Row>>(2);
        let reader = threads.spawn(move || -> Outcome<u64> {
            let (mut chunk, mut number) = (Vec::with_capacity(CHUNK), 0);
            for line in lines.lines() {
                chunk.push(Row::of_line(number, &line?)?);
                number += 1;
                if chunk.len() == CHUNK {
                    chunks.send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)))?;
                }
            }
            chunks.send(chunk)?;
            Ok(number)
        });
        for chunk in ready {
            write(&chunk)?;
        }
        reader.join().map_err(|_| "the reading thread panicked")?
    })
}

/// The names of a chunk in order, each with its user's key, and the ids likewise.
pub fn sorted(chunk: &[Row]) -> (Vec<(&str, &Key)>, Vec<(&str, &Key)>) {
    let mut names: Vec<_> =
        chunk.iter().flat_map(|row| row.names.iter().map(|name| (name.as_str(), &row.key))).collect();
    let mut ids: Vec<_> = chunk.iter().map(|row| (row.legacy_id.as_str(), &row.key)).collect();
    names.sort_unstable();
    ids.sort_unstable();
    (names, ids)
}

/// One question after the other.
pub fn read(
    by: By,
    users: u64,
    seed: u64,
    lasting: Duration,
    mut find: impl FnMut(&str) -> Outcome<bool>,
) -> Outcome<Rate> {
    let (mut latencies, cpu, started, mut dice) = (Latencies::default(), cpu_time(), Instant::now(), seed);
    while started.elapsed() < lasting {
        dice = dice.wrapping_add(1);
        let key = by.key(mix(dice) % users);
        let asked = Instant::now();
        let found = find(&key)?;
        latencies.push(asked.elapsed());
        if found != (by != By::Unknown) {
            return Err(format!("{key} was {}found", if found { "" } else { "not " }).into());
        }
    }
    let took = latencies.sum();
    Ok(Rate::of(latencies, took, cpu_time() - cpu))
}

/// One transaction after the other, each of so many new users.
pub fn write(
    mut first: u64,
    at_once: usize,
    lasting: Duration,
    mut save: impl FnMut(&[Row]) -> Outcome<()>,
) -> Outcome<(Rate, u64)> {
    let (mut latencies, cpu, started) = (Latencies::default(), cpu_time(), Instant::now());
    while started.elapsed() < lasting {
        let rows: Vec<Row> = (first..).take(at_once).map(|number| Row::of(&person(number))).collect();
        first += at_once as u64;
        let asked = Instant::now();
        save(&rows)?;
        // Everybody in a transaction waits for all of it.
        (0..at_once).for_each(|_| latencies.push(asked.elapsed()));
    }
    let took = started.elapsed();
    Ok((Rate::of(latencies, took, cpu_time() - cpu), first))
}
