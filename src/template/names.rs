//! Finds the filters, tests and functions that a source names, so that a mistyped one is found when the file is read and not
//! at somebody's login: the engine itself looks them up only when it gets there. Called by `compile`.

use minijinja::{Environment, ErrorKind};

use super::TemplateError;

/// Refuses an expression that names something unknown.
pub(super) fn check_expression(environment: &Environment<'_>, source: &str) -> Result<(), TemplateError> {
    check(environment, source, 1)
}

/// Refuses a template that names something unknown.
pub(super) fn check_template(environment: &Environment<'_>, source: &str) -> Result<(), TemplateError> {
    let mut line = 1;
    for piece in pieces(source) {
        let text = match piece {
            Piece::Value(tag) | Piece::Statement(tag) => {
                check(environment, tag, line)?;
                tag
            }
            Piece::Text(text) | Piece::Comment(text) => text,
        };
        line += lines(text);
    }
    Ok(())
}

/// A part of a template's source, its signs included.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    /// What is written as it stands.
    Text(&'a str),
    /// `{{ … }}`
    Value(&'a str),
    /// `{% … %}`
    Statement(&'a str),
    /// `{# … #}`
    Comment(&'a str),
}

/// Takes a template's source apart. Put together again, the pieces are the source.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest, mut raw) = (Vec::new(), source, false);
    while let Some((text, tag, after)) = next_tag(rest) {
        pieces.push(Piece::Text(text));
        let word = tag.trim_matches(|c: char| matches!(c, '{' | '}' | '%' | '-' | '+') || c.is_whitespace());
        let is_statement = tag.starts_with("{%");
        pieces.push(match (raw, is_statement) {
            (true, true) if word == "endraw" => Piece::Statement(tag),
            (true, true | false) => Piece::Text(tag),
            (false, true) => Piece::Statement(tag),
            (false, false) if tag.starts_with("{{") => Piece::Value(tag),
            (false, false) => Piece::Comment(tag),
        });
        raw = if raw { word != "endraw" || !is_statement } else { word == "raw" && is_statement };
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The text before the next tag, the tag, and what follows.
fn next_tag(source: &str) -> Option<(&str, &str, &str)> {
    let start = ["{{", "{%", "{#"].iter().filter_map(|open| source.find(open)).min()?;
    let (text, tag) = source.split_at(start);
    let close = match tag.as_bytes().get(1)? {
        b'{' => "}}",
        b'%' => "%}",
        _ => "#}",
    };
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if open == c => quote = None,
            Some(_) => {}
            None if close != "#}" && matches!(c, '"' | '\'') => quote = Some(c),
            None if tag.get(at..).is_some_and(|rest| rest.starts_with(close)) => {
                let (tag, after) = tag.split_at(at + 2);
                return Some((text, tag, after));
            }
            None => {}
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    Pipe,
    Dot,
    Open,
    Other,
}

/// What stands before a parenthesis without being a function.
const OPERATORS: [&str; 11] = ["not", "in", "and", "or", "if", "else", "elif", "is", "set", "with", "for"];

fn check(environment: &Environment<'_>, source: &str, first_line: usize) -> Result<(), TemplateError> {
    let tokens = tokens(source);
    let at = |index: usize| tokens.get(index).map_or(Token::Other, |(token, _)| *token);
    for (index, (token, offset)) in tokens.iter().enumerate() {
        let Token::Name(name) = *token else { continue };
        let (before, two_before) = (at(index.wrapping_sub(1)), at(index.wrapping_sub(2)));
        let is_test = before == Token::Name("is") && two_before != Token::Dot
            || before == Token::Name("not") && two_before == Token::Name("is");
        let unknown = if before == Token::Pipe || before == Token::Name("filter") && index == 1 {
            (!has_filter(environment, name)).then(|| format!("there is no filter `{name}`"))
        } else if is_test && name != "not" {
            (!has_test(environment, name)).then(|| format!("there is no test `{name}`"))
        } else if at(index + 1) != Token::Open || OPERATORS.contains(&name) || two_before == Token::Name("loop") {
            None
        } else if before == Token::Dot {
            Some(format!("values have no methods such as `{name}`: use a filter or a test"))
        } else {
            let known = environment.globals().any(|(global, _)| global == name);
            (!known).then(|| format!("there is no function `{name}`"))
        };
        if let Some(message) = unknown {
            let line = first_line + lines(source.get(..*offset).unwrap_or_default());
            return Err(TemplateError { message, line: Some(line) });
        }
    }
    Ok(())
}

/// The engine tells an unknown name from a known one that is called without a value.
fn has_filter(environment: &Environment<'_>, name: &str) -> bool {
    let called = environment.empty_state().apply_filter(name, &[]);
    !called.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
}

fn has_test(environment: &Environment<'_>, name: &str) -> bool {
    let called = environment.empty_state().perform_test(name, &[]);
    !called.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
}

/// Names and the few signs that tell what a name is, with their offsets; strings and white space are left out.
fn tokens(source: &str) -> Vec<(Token<'_>, usize)> {
    let mut tokens = Vec::new();
    let mut chars = source.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let token = match c {
            '"' | '\'' => {
                let mut escaped = false;
                for (_, inner) in chars.by_ref() {
                    match inner {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        _ if inner == c => break,
                        _ => {}
                    }
                }
                Token::Other
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let mut end = start + c.len_utf8();
                while let Some((at, more)) = chars.next_if(|(_, next)| next.is_alphanumeric() || *next == '_') {
                    end = at + more.len_utf8();
                }
                if c.is_ascii_digit() { Token::Other } else { Token::Name(source.get(start..end).unwrap_or_default()) }
            }
            '|' => Token::Pipe,
            '.' => Token::Dot,
            '(' => Token::Open,
            // The signs that open a tag are nothing that a name could follow on.
            '{' | '%' if tokens.is_empty() => continue,
            '-' | '+' if tokens.is_empty() => continue,
            _ if c.is_whitespace() => continue,
            _ => Token::Other,
        };
        tokens.push((token, start));
    }
    tokens
}
