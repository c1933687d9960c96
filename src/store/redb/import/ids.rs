//! Keys of ours for many new users at once: what [`Uuid::new_v7`] makes, without asking the system for random bytes each time. Called by
//! [`super`].

use aws_lc_rs::rand::fill;
use uuid::{ClockSequence as _, ContextV7, Timestamp, Uuid};

use crate::domain::clock::UnixSeconds;
use crate::domain::user::UserId;

/// Random bytes that are asked for at once.
const AT_ONCE: usize = 1_024;

/// Bits of the counter that a context keeps, above 32 random ones (RFC 9562, section 6.2, method 1).
const COUNTER_BITS: u32 = 42;

/// Makes one key after the other.
#[derive(Default)]
pub(super) struct NextIds {
    random: Vec<u8>,
}

impl NextIds {
    /// The next key; the context keeps those of one second in order.
    pub(super) fn next(&mut self, keys: &ContextV7, at: UnixSeconds) -> UserId {
        let Some(random) = self.random() else {
            return UserId(Uuid::new_v7(Timestamp::from_unix(keys, at.0, 0)));
        };
        let (counter, seconds, nanos) = keys.generate_timestamp_sequence(at.0, 0);
        let counter = u128::from(counter) & ((1 << COUNTER_BITS) - 1);
        let millis = u128::from(seconds) * 1_000 + u128::from(nanos / 1_000_000);
        // 48 bits of time, 4 of version, 12 of the counter, 2 of variant, 30 of the counter, 32 random ones.
        let (high, low) = (counter >> 30, counter & ((1 << 30) - 1));
        let id = millis << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low << 32 | u128::from(random);
        UserId(Uuid::from_u128(id))
    }

    fn random(&mut self) -> Option<u32> {
        if self.random.len() < 4 {
            self.random.resize(AT_ONCE, 0);
            if fill(&mut self.random).is_err() {
                self.random.clear();
            }
        }
        let rest = self.random.len().checked_sub(4)?;
        let random = self.random.get(rest..)?.try_into().ok().map(u32::from_le_bytes);
        self.random.truncate(rest);
        random
    }
}

#[cfg(test)]
mod tests {
    use uuid::Variant;

    use super::*;

    #[test]
    fn keys_are_of_version_7_and_in_order_among_those_that_are_made_one_by_one() {
        let (keys, mut ids) = (ContextV7::new(), NextIds::default());
        let at = UnixSeconds(1_790_000_000);
        let mut before = UserId(Uuid::nil());
        for number in 0..2_000 {
            let id = match number % 3 {
                0 => UserId(Uuid::new_v7(Timestamp::from_unix(&keys, at.0, 0))),
                _ => ids.next(&keys, at),
            };
            assert_eq!((id.0.get_version_num(), id.0.get_variant()), (7, Variant::RFC4122));
            assert_eq!(id.0.get_timestamp().map(|time| time.to_unix().0), Some(at.0));
            assert!(before < id, "{before} is not before {id}");
            before = id;
        }
    }
}
