//! Classes of bytes, and runs of them.

pub(super) use crate::net::field_value::value_run;

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

/// How many bytes from the first on are in a class.
pub(super) fn run(bytes: &[u8], is_in: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_in(*byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::field_value::is_value;

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
}
