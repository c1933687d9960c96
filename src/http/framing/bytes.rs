//! Classes of bytes, and runs of them.

/// `tchar` of RFC 9110, section 5.6.2.
const TOKEN: u8 = 1;
/// What `http` takes in a path, less what is refused with a reason of its own.
const PATH: u8 = 2;
/// The same in a query.
const QUERY: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let token = matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
            | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        let path = matches!(byte, 0x21..=0x22 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7e);
        let query = matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e);
        #[expect(clippy::indexing_slicing, reason = "in a constant, and a byte is below 256")]
        {
            classes[byte as usize] = (token as u8 * TOKEN) | (path as u8 * PATH) | (query as u8 * QUERY);
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

fn is(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

pub(super) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

pub(super) fn is_path(byte: u8) -> bool {
    is(byte, PATH)
}

pub(super) fn is_query(byte: u8) -> bool {
    is(byte, QUERY)
}

/// `field-vchar`, spaces and tabs (RFC 9110, section 5.5): everything but control bytes.
pub(super) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// How many bytes from the first on are in a class.
pub(super) fn run(bytes: &[u8], is_in: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_in(*byte)).unwrap_or(bytes.len())
}

/// How many bytes from the first on may stand in a field's value; eight at a time, since values are most of a head.
pub(super) fn value_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let as_zero = word ^ (ONES * 0x7f);
        let delete = as_zero.wrapping_sub(ONES) & !as_zero;
        // A borrow can only mark bytes above one that is marked rightly: the run ends somewhere in these eight, or not.
        if (control | delete) & HIGH != 0 {
            let here = run(eight, is_value);
            if here < eight.len() {
                return bytes.len() - rest.len() + here;
            }
        }
        rest = after;
    }
    bytes.len() - rest.len() + run(rest, is_value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r15_every_byte_is_in_the_classes_that_the_rfcs_put_it_in() {
        for byte in 0..=u8::MAX {
            let name = http::HeaderName::from_bytes(&[byte]).is_ok();
            assert_eq!(is_token(byte), name, "{byte}");
            assert_eq!(is_value(byte), http::HeaderValue::from_bytes(&[byte]).is_ok(), "{byte}");
            let in_path = http::uri::PathAndQuery::try_from(&[b'/', byte, b'a'][..]).is_ok();
            let apart = matches!(byte, b'?' | b'#' | 0x80..);
            assert_eq!(is_path(byte), in_path && !apart, "{byte}");
            let in_query = http::uri::PathAndQuery::try_from(&[b'/', b'?', byte, b'a'][..]).is_ok();
            let apart = matches!(byte, b'#' | 0x80..);
            assert_eq!(is_query(byte), in_query && !apart, "{byte}");
        }
    }

    proptest! {
        #[test]
        fn a_run_found_eight_at_a_time_is_the_run_found_byte_by_byte(
            bytes in prop::collection::vec(prop_oneof![8 => 0x1e_u8..=0xff, 1 => 0x7d_u8..=0x81, 1 => 0_u8..=0x20], 0..40),
        ) {
            prop_assert_eq!(value_run(&bytes), run(&bytes, is_value));
        }
    }
}
