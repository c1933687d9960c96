//! Stored hashes: bounded before anything is computed, and ours are read back as they were written (R53).

use crate::password::formats::{Bounds, Unusable, recognise};
use crate::password::fuzzed::{reencoded, verify};

/// An encoded hash.
pub fn phc(data: &[u8]) {
    let Ok(encoded) = str::from_utf8(data) else { return };
    let bounds = Bounds::default();
    match recognise(encoded, &bounds) {
        Ok("argon2") => {
            let [memory, passes, lanes] = argon2_costs(encoded);
            assert!(memory <= u64::from(bounds.memory_kib) && memory * passes <= bounds.work_kib, "{encoded}");
            assert!((1..=u64::from(bounds.lanes)).contains(&lanes) && passes >= 1 && memory >= 8 * lanes, "{encoded}");
            if let Some(written) = reencoded(encoded) {
                assert_eq!(recognise(&written, &bounds), Ok("argon2"), "{written}");
                assert_eq!(reencoded(&written).as_deref(), Some(written.as_str()));
            }
            // What is within the bounds has an answer, whatever the lengths of its salt and tag. Only cheap ones are computed.
            if memory * passes <= 64 {
                assert!(verify(encoded, b"password", &bounds).is_some(), "{encoded}");
            }
        }
        Ok("bcrypt") => {
            let cost = encoded.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
            assert!(cost.is_some_and(|cost| (4..=bounds.bcrypt_cost).contains(&cost)), "{encoded}");
            if cost == Some(4) {
                assert!(verify(encoded, b"password", &bounds).is_some(), "{encoded}");
            }
        }
        Ok(other) => panic!("a format without properties: {other}"),
        Err(Unusable::UnknownFormat | Unusable::Malformed | Unusable::OverBounds | Unusable::Keyed) => {
            let none = Bounds { memory_kib: 0, work_kib: 0, lanes: 0, bcrypt_cost: 0 };
            assert!(recognise(encoded, &none).is_err(), "refused under wide bounds, and not under narrow ones");
        }
        Err(Unusable::DefectiveMaker) => panic!("said before any password was seen"),
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
