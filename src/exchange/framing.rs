//! Cuts a stream into raw records, each bounded, without ever holding the whole of it.

use super::format::RowFault;

/// The fields of one raw CSV record.
pub(super) fn csv_fields(raw: &[u8]) -> Result<Vec<String>, RowFault> {
    let mut fields = Vec::new();
    let mut rest = raw;
    loop {
        let (field, after) = csv_field(rest)?;
        fields.push(String::from_utf8(field).map_err(|_| RowFault::new("record", "it is not UTF-8"))?);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// The first field, and what follows its comma.
fn csv_field(raw: &[u8]) -> Result<(Vec<u8>, Option<&[u8]>), RowFault> {
    let Some(quoted) = raw.strip_prefix(b"\"") else {
        return Ok(match raw.iter().position(|byte| *byte == b',') {
            Some(comma) => {
                let (field, after) = raw.split_at(comma);
                (field.to_vec(), after.get(1..))
            }
            None => (raw.to_vec(), None),
        });
    };
    let mut field = Vec::new();
    let mut rest = quoted;
    loop {
        let Some(quote) = rest.iter().position(|byte| *byte == b'"') else {
            return Err(RowFault::new("record", "a quoted field does not end"));
        };
        let (part, after) = rest.split_at(quote);
        field.extend_from_slice(part);
        match after.get(1) {
            Some(b'"') => {
                field.push(b'"');
                rest = after.get(2..).unwrap_or_default();
            }
            Some(b',') => return Ok((field, after.get(2..))),
            None => return Ok((field, None)),
            Some(_) => return Err(RowFault::new("record", "something follows the quotes of a field")),
        }
    }
}
