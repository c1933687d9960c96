//! Which bytes may stand in a field's value (RFC 9110, section 5.5), and runs of them. For whoever judges raw heads: requests in
//! `http::framing`, answers in `net::guard`.

/// `field-vchar`, spaces and tabs: everything but control bytes.
#[must_use]
pub fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// How many bytes from the first on may stand in a field's value; many at a time, since values are most of a head.
#[must_use]
pub fn value_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let mut rest = bytes;
    // Without a way out in between, so that the compiler makes a few wide comparisons of it.
    while let Some((many, after)) = rest.split_first_chunk::<32>()
        && many.iter().fold(true, |all, byte| all & (*byte >= b' ' || *byte == b'\t') & (*byte != 0x7f))
    {
        rest = after;
    }
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let as_zero = word ^ (ONES * 0x7f);
        let delete = as_zero.wrapping_sub(ONES) & !as_zero;
        // A borrow can only mark bytes above one that is marked rightly: the run ends somewhere in these eight, or not.
        if (control | delete) & HIGH != 0 {
            let here = byte_by_byte(eight);
            if here < eight.len() {
                return bytes.len() - rest.len() + here;
            }
        }
        rest = after;
    }
    bytes.len() - rest.len() + byte_by_byte(rest)
}

fn byte_by_byte(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_value(*byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_found_eight_at_a_time_is_the_run_found_byte_by_byte(
            bytes in prop::collection::vec(prop_oneof![60 => 0x20_u8..=0x7e, 8 => 0x1e_u8..=0xff, 1 => 0x7d_u8..=0x81, 1 => 0_u8..=0x20], 0..140),
        ) {
            prop_assert_eq!(value_run(&bytes), byte_by_byte(&bytes));
        }
    }
}
