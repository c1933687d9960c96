//! How durations, sizes and rates are written. A reader gives back what would have been right, and never quotes what stood
//! there.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits::Quota;

const DURATION: &str = "a duration is written as \"500ms\", \"5s\", \"15m\", \"24h\", \"7d\" or \"1h30m\"";
const SIZE: &str = "a size is written as \"16KiB\", \"64MiB\" or \"1GiB\"";
const RATE: &str = "a rate is written as \"30/1m\": how many, in which time";

/// No duration or period is longer: a hundred years are a mistake.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3_600);

/// `5s`, `15m`, `1h30m`: units from the largest to the smallest, each once, and more than nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut total, mut allowed) = (text, 0_u64, units.as_slice());
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let place = allowed.iter().position(|(name, _)| *name == unit).ok_or(DURATION)?;
        let Some([(_, millis), smaller @ ..]) = allowed.get(place..) else { return Err(DURATION) };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*millis)).ok_or(DURATION)?;
        total = total.checked_add(part).ok_or(DURATION)?;
        (rest, allowed) = (after, smaller);
    }
    match Duration::from_millis(total) {
        Duration::ZERO => Err(DURATION),
        long if long > LONGEST => Err("that is more than a hundred years"),
        duration => Ok(duration),
    }
}

/// A duration, or `never`.
pub(super) fn duration_or_never(text: &str) -> Result<Option<Duration>, &'static str> {
    if text == "never" { Ok(None) } else { duration(text).map(Some) }
}

/// `64MiB`, in bytes; more than nothing.
pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SIZE),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(SIZE)?;
    if bytes == 0 { Err(SIZE) } else { Ok(bytes) }
}

/// `30/1m`, with its burst; without one, as many as the rate gives in its time.
pub(super) fn quota(rate: &str, burst: Option<u32>) -> Result<Quota, &'static str> {
    let (count, period) = rate.split_once('/').ok_or(RATE)?;
    let count: NonZeroU32 = count.parse().map_err(|_| RATE)?;
    let period = duration(period).map_err(|_| RATE)?;
    let burst = burst.and_then(NonZeroU32::new).unwrap_or(count);
    Ok(Quota { count, period, burst })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("5s", 5.0), ("15m", 900.0), ("24h", 86_400.0), ("1h30m", 5_400.0), ("500ms", 0.5), ("7d", 604_800.0)]
        {
            assert_eq!(duration(text).map(|read| read.as_secs_f64()), Ok(seconds), "{text}");
        }
        assert_eq!(duration_or_never("never"), Ok(None));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5x",
            "30m1h",
            "1h1h",
            "0s",
            "1.5h",
            "999999999999999999999h",
            "5sm",
            "200000d",
            "never",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("512B", 512), ("16KiB", 16_384), ("64MiB", 67_108_864), ("1GiB", 1_073_741_824)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "64MB", "64 MiB", "-1KiB", "0MiB", "MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read() {
        let read = quota("30/1m", None).expect("a rate");
        assert_eq!((read.count.get(), read.period.as_secs(), read.burst.get()), (30, 60, 30));
        assert_eq!(quota("30/1m", Some(5)).map(|quota| quota.burst.get()), Ok(5));
        for text in ["", "30", "30/", "/1m", "0/1m", "30/0s", "a/1m", "30/1m/2"] {
            assert!(quota(text, None).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,12}|[0-9dhms/]{0,12}") {
            let _ = (duration(&text), size(&text), quota(&text, None));
        }

        #[test]
        fn whole_units_read_back(hours in 0_u64..1_000, minutes in 1_u64..60) {
            let read = duration(&format!("{hours}h{minutes}m")).map(|read| read.as_secs());
            prop_assert_eq!(read, Ok(hours * 3_600 + minutes * 60));
        }
    }
}
