//! Users that are the same in every run, made as fast as a file is written: everybody has an email address and legacy's number,
//! every fourth a username too. The hashes have the shape of real ones and belong to no password.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Outcome;

/// One user.
pub struct Person {
    /// Which one.
    pub number: u64,
    pub email: String,
    pub username: Option<String>,
    /// Counted up from a number that old tables are at.
    pub legacy_id: u64,
    pub hash: String,
    pub created_at: u64,
    /// As JSON.
    pub profile: String,
}

const FIRST: [&str; 32] = [
    "ada",
    "alan",
    "anita",
    "barbara",
    "brian",
    "carol",
    "dennis",
    "donald",
    "edith",
    "edsger",
    "frances",
    "fred",
    "grace",
    "hedy",
    "ida",
    "jean",
    "john",
    "karen",
    "katherine",
    "ken",
    "leslie",
    "linus",
    "margaret",
    "mary",
    "niklaus",
    "radia",
    "richard",
    "rosa",
    "shafi",
    "sophie",
    "tim",
    "yukihiro",
];
const LAST: [&str; 32] = [
    "allen",
    "backus",
    "borg",
    "brooks",
    "cerf",
    "clarke",
    "dijkstra",
    "engelbart",
    "feinler",
    "goldwasser",
    "hamilton",
    "hopper",
    "johnson",
    "jones",
    "kay",
    "keller",
    "kernighan",
    "knuth",
    "lamport",
    "liskov",
    "lovelace",
    "mccarthy",
    "meltzer",
    "naur",
    "perlman",
    "ritchie",
    "rhodes",
    "shannon",
    "shaw",
    "thompson",
    "turing",
    "wirth",
];
const DOMAINS: [&str; 8] = [
    "example.com",
    "example.net",
    "example.org",
    "mail.example",
    "post.example",
    "web.example",
    "box.example",
    "uni.example",
];
const PLANS: [&str; 4] = ["free", "team", "business", "trial"];

/// SplitMix64: one step a number, no two numbers alike.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pick<'a>(from: &[&'a str], dice: u64) -> &'a str {
    from[(dice % from.len() as u64) as usize]
}

/// The address of a user: names in no order, made unique by his number, written so that neighbours lie far apart.
pub fn email(number: u64) -> String {
    let dice = mix(number);
    // Odd factors permute the numbers of 32 bits.
    let tag = (number as u32).wrapping_mul(2_654_435_761) ^ 0x5bd1_e995;
    let (first, last) = (pick(&FIRST, dice), pick(&LAST, dice >> 8));
    format!("{first}.{last}{}@{}", base36(tag), pick(&DOMAINS, dice >> 16))
}

/// The address of somebody who is not there.
pub fn nobody(number: u64) -> String {
    format!("nobody.{}", email(number))
}

/// Legacy's number of a user.
pub fn legacy_id(number: u64) -> u64 {
    100_000 + number
}

fn base36(mut number: u32) -> String {
    let mut text = Vec::with_capacity(7);
    loop {
        text.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            return String::from_utf8_lossy(&text).into_owned();
        }
    }
}

/// Base64 without padding, of as many random characters.
fn base64(seed: u64, characters: usize, into: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0;
    for at in 0..characters {
        if at % 10 == 0 {
            bits = mix(seed ^ (at as u64) << 56);
        }
        // Bits beyond the last whole byte are zero in a canonical encoding; four of the six are enough for both lengths.
        let six = if at + 1 == characters { bits & 0x30 } else { bits & 0x3f };
        into.push(ALPHABET[six as usize] as char);
        bits >>= 6;
    }
}

/// A user.
pub fn person(number: u64) -> Person {
    let dice = mix(number);
    let mut hash = String::with_capacity(97);
    hash.push_str("$argon2id$v=19$m=19456,t=2,p=1$");
    base64(dice ^ 1, 22, &mut hash);
    hash.push('$');
    // 43 characters are 32 bytes and two bits over.
    base64(dice ^ 2, 43, &mut hash);
    let (first, last) = (pick(&FIRST, dice), pick(&LAST, dice >> 8));
    let username =
        number.is_multiple_of(4).then(|| format!("{first}{}", base36((number as u32).wrapping_mul(0x9e37_79b1))));
    let profile = format!(
        r#"{{"name":"{first} {last}","locale":"en","plan":"{}","logins":{}}}"#,
        pick(&PLANS, dice >> 24),
        dice >> 40 & 0x3ff
    );
    Person {
        number,
        email: email(number),
        username,
        legacy_id: legacy_id(number),
        hash,
        created_at: 1_500_000_000 + (dice >> 32) % 250_000_000,
        profile,
    }
}

/// Writes users as authferry's own JSON lines. Gives the bytes.
pub fn write(path: &Path, users: u64) -> Outcome<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let mut bytes = 0;
    for number in 0..users {
        let line = line(&person(number));
        bytes += line.len() as u64;
        out.write_all(line.as_bytes())?;
    }
    out.into_inner()?.sync_all()?;
    Ok(bytes)
}

fn line(person: &Person) -> String {
    let username = person.username.as_ref();
    let username = username.map_or_else(String::new, |name| format!(r#",{{"kind":"username","value":"{name}"}}"#));
    format!(
        "{{\"authferry\":1,\"legacy_id\":{},\"names\":[{{\"kind\":\"email\",\"value\":\"{}\",\"verified\":true}}{username}],\
         \"password\":{{\"hash\":\"{}\"}},\"standing\":\"active\",\"created_at\":{},\"profile\":{}}}\n",
        person.legacy_id, person.email, person.hash, person.created_at, person.profile
    )
}
