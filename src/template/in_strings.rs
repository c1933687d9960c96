//! Lets `"Hello {{ name }}"` mean in a JSON template what it looks like: what stands inside a JSON string is escaped as a part of
//! it, everywhere else a value brings its own quotes. Done once, on the source. Called by `compile`.

use super::names::{Piece, pieces};

/// The filter that writes a value as a part of a JSON string; not meant for operators.
pub(super) const FILTER: &str = "in_json_string";

/// The source with the filter put behind what stands inside a JSON string. Lines stay where they are.
pub(super) fn mark(source: &str) -> String {
    let mut marked = String::with_capacity(source.len());
    let mut inside = false;
    for piece in pieces(source) {
        match piece {
            Piece::Text(text) => {
                inside = after(text, inside);
                marked.push_str(text);
            }
            Piece::Value(tag) if inside => {
                let body = tag.strip_prefix("{{").and_then(|tag| tag.strip_suffix("}}")).unwrap_or(tag);
                let (open, body) = body.strip_prefix('-').map_or(("{{", body), |body| ("{{-", body));
                let (body, close) = body.strip_suffix('-').map_or((body, "}}"), |body| (body, "-}}"));
                marked.extend([open, " (", body, ") | ", FILTER, " ", close]);
            }
            Piece::Value(tag) | Piece::Statement(tag) | Piece::Comment(tag) => marked.push_str(tag),
        }
    }
    marked
}

/// Whether the end of a text is inside a JSON string, if its beginning is or is not.
fn after(text: &str, mut inside: bool) -> bool {
    let mut escaped = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    inside
}
