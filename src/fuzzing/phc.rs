//! Stored hashes: bounded before anything is computed, and read back as they were written (R53).

use crate::password::formats::{Bounds, MAX_ENCODED_BYTES, Unusable, hint, recognise};
use crate::password::fuzzed::{reencoded, rounds, verify};

/// Under which nothing can be asked for.
const NOTHING: Bounds =
    Bounds { memory_kib: 0, work_kib: 0, lanes: 0, bcrypt_cost: 0, scrypt_kib: 0, pbkdf2_rounds: 0, digest_rounds: 0 };

/// Of the fast digests, so many are computed here.
const CHEAP_ROUNDS: u64 = 2_000;

/// An encoded hash.
pub fn phc(data: &[u8]) {
    let Ok(encoded) = str::from_utf8(data) else { return };
    let bounds = Bounds::default();
    match recognise(encoded, &bounds) {
        Ok(name) => {
            assert!(encoded.len() <= MAX_ENCODED_BYTES, "{name}");
            let written = reencoded(encoded).expect("what is recognised is written");
            let again = recognise(&written, &bounds);
            assert!(again.is_ok(), "{name}: {encoded} is written as {}, which is {again:?}", *written);
            assert_eq!(reencoded(&written), Some(written), "{encoded}");
            if let Some(rounds) = rounds(encoded) {
                assert!(rounds <= bounds.pbkdf2_rounds.max(bounds.digest_rounds), "{encoded}");
            }
            // What is within the bounds has an answer, whatever its lengths. Only cheap ones are computed.
            if rounds(encoded).map_or_else(|| is_cheap(name, encoded), |rounds| rounds <= CHEAP_ROUNDS) {
                for password in [&b"password"[..], b"", &[0xff; 1_024]] {
                    assert!(verify(encoded, password, &bounds).is_some(), "{encoded}");
                }
            }
        }
        Err(Unusable::UnknownFormat | Unusable::Malformed | Unusable::OverBounds | Unusable::Keyed) => {
            assert!(recognise(encoded, &NOTHING).is_err(), "refused under wide bounds, and not under narrow ones");
            assert!(verify(encoded, b"password", &bounds).is_none(), "{encoded}");
        }
    }
    drop(hint(encoded));
}

/// Whether a hard one asks for little, by the numbers that stand in it: an upper limit of each is enough.
fn is_cheap(name: &str, encoded: &str) -> bool {
    let bounds = Bounds::default();
    match name {
        "argon2" => {
            let [memory, passes, lanes] = argon2_costs(encoded);
            assert!(memory <= u64::from(bounds.memory_kib) && memory * passes <= bounds.work_kib, "{encoded}");
            assert!((1..=u64::from(bounds.lanes)).contains(&lanes) && passes >= 1 && memory >= 8 * lanes, "{encoded}");
            memory * passes <= 64
        }
        "bcrypt" => {
            let cost = encoded.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
            assert!(cost.is_some_and(|cost| (4..=bounds.bcrypt_cost).contains(&cost)), "{encoded}");
            cost == Some(4)
        }
        // The smallest scrypt of all.
        _ => encoded.contains("$ln=1,r=1,p=1$") || encoded.contains("m=8,t=1,p=1$"),
    }
}

/// `m`, `t` and `p` as they stand in the text.
fn argon2_costs(encoded: &str) -> [u64; 3] {
    let parameters = encoded.split('$').find(|part| part.contains("m=") && part.contains(',')).unwrap_or_default();
    ["m", "t", "p"].map(|wanted| {
        let mut values = parameters.split(',').filter_map(|pair| pair.split_once('='));
        // The crate takes the last, for the bounds and for the computation.
        let last = values.rfind(|(name, _)| *name == wanted);
        last.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| default_cost(wanted))
    })
}

/// What a PHC string means that leaves a parameter out, by the crate that reads it.
fn default_cost(name: &str) -> u64 {
    u64::from(match name {
        "m" => argon2::Params::DEFAULT_M_COST,
        "t" => argon2::Params::DEFAULT_T_COST,
        _ => argon2::Params::DEFAULT_P_COST,
    })
}
