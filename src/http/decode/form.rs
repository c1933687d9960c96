//! Form bodies, `application/x-www-form-urlencoded`, read more strictly than browsers' standard does (WHATWG URL, section 5.1):
//! what readers are known to disagree on is refused (R38).
//!
//! Called by `decode` for bodies and by the router for queries. Aliases of credential fields are judged in `credentials`,
//! where it is known which fields those are.

use form_urlencoded::Serializer;

use super::DecodeError;
use crate::http::path::percent_decoded;

/// How many fields a form may have: PHP stops reading at 1,000, so that no reader sees fewer than we do.
pub const MAX_FIELDS: usize = 200;

/// Reads all fields in order; what begins like JSON is no form. Empty pairs (`a=1&&b=2`) are skipped, a name without `=` has an empty value.
pub fn parse(body: &[u8]) -> Result<Vec<(String, String)>, DecodeError> {
    // Readers that take JSON under any declared type (PHP's `php://input`, Flask's `force`) would find another request here.
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    if matches!(text.first(), Some(b'{' | b'[')) {
        return Err(DecodeError::MalformedForm);
    }
    let mut fields = Vec::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if fields.len() == MAX_FIELDS {
            return Err(DecodeError::TooManyFields);
        }
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.and_then(|at| pair.split_at_checked(at)).unwrap_or((pair, b"="));
        let field = (decode_part(name)?, decode_part(value.get(1..).unwrap_or_default())?);
        // Readers that need to be told a charset look here before they look at the rest (HTML, section 4.10.5.3.3).
        if field.0.eq_ignore_ascii_case("_charset_") && !field.1.eq_ignore_ascii_case("utf-8") {
            return Err(DecodeError::UnsupportedCharset);
        }
        fields.push(field);
    }
    Ok(fields)
}

/// The name of one parameter of a query. Its value is the app's own and may be in any charset.
pub fn name_of(pair: &str) -> Result<String, DecodeError> {
    decode_part(pair.split('=').next().unwrap_or_default().as_bytes())
}

/// Writes the fields anew, so that every reader sees what was parsed (R41).
pub fn serialize(fields: &[(String, String)], into: String) -> String {
    Serializer::new(into).extend_pairs(fields).finish()
}

fn decode_part(part: &[u8]) -> Result<String, DecodeError> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let (byte, after) = percent_decoded(after).ok_or(DecodeError::BadPercent)?;
                decoded.push(byte);
                rest = after;
            }
            b';' => return Err(DecodeError::SemicolonSeparator),
            0..=0x1f | 0x7f => return Err(DecodeError::MalformedForm),
            byte => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| DecodeError::NotUtf8)
}

#[cfg(test)]
mod tests;
