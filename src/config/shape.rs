//! Whether the file has the shape that the schema gives it: every unknown key, every value of a wrong type, every missing
//! key, in one walk. What is wrong is reported and left out, so that serde and `resolve` can look at all the rest.
//!
//! Works on the JSON schema that is made from `raw`, so that keys, types and ranges stand in one place. Also knows which
//! values are secrets, and has them masked in whatever is shown.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::document::{Entry, Node, Value, join};
use super::raw::RawConfig;
use super::report::{Findings, Origin};

/// The schema of proxy.toml.
pub(super) static SCHEMA: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(RawConfig).to_value());

/// The keys of a secret whose values are no secrets.
const SECRET_SOURCES: [&str; 3] = ["file", "env", "credential"];

/// Whether any table of the schema has this key.
pub(super) fn is_key(word: &str) -> bool {
    let has = |schema: &Json| schema.get("properties").is_some_and(|keys| keys.get(word).is_some());
    let tables = SCHEMA.get("$defs").and_then(Json::as_object);
    has(&SCHEMA) || tables.into_iter().flat_map(|tables| tables.values()).any(has)
}

/// Checks the whole file; gives back the paths of what was left out.
pub(super) fn check(root: &mut Node, findings: &mut Findings) -> BTreeSet<String> {
    let mut walk = Walk { findings, dropped: BTreeSet::new() };
    walk.value(root, Shape::of(&SCHEMA), "");
    walk.dropped
}

/// One place of the schema, references followed and `null` (an optional key) left out.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    schema: &'static Json,
}

/// What may stand at a place.
pub(super) enum Expected {
    /// Anything: free data.
    Anything,
    /// One of these words.
    Words(Vec<&'static str>),
    /// Any string.
    Text,
    /// An integer in this range.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// Items of one shape.
    Array(Shape),
    /// A table.
    Table,
    /// Any of these.
    Either(Vec<Shape>),
}

impl Shape {
    pub(super) fn of(schema: &'static Json) -> Self {
        let mut schema = schema;
        loop {
            if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
                let Some(target) = name.strip_prefix('#').and_then(|pointer| SCHEMA.pointer(pointer)) else { break };
                schema = target;
            } else if let Some([one]) = alternatives(schema).as_deref() {
                schema = one;
            } else {
                break;
            }
        }
        Self { schema }
    }

    pub(super) fn expected(self) -> Expected {
        if let Some(words) = words(self.schema) {
            return Expected::Words(words);
        }
        if let Some(alternatives) = alternatives(self.schema) {
            return Expected::Either(alternatives.into_iter().map(Self::of).collect());
        }
        let bound = |name| self.schema.get(name).and_then(Json::as_i64);
        match self.kind() {
            Some("string") => Expected::Text,
            Some("integer") => Expected::Integer(bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i64::MAX)),
            Some("boolean") => Expected::Boolean,
            Some("array") => {
                self.schema.get("items").map_or(Expected::Anything, |items| Expected::Array(Self::of(items)))
            }
            Some("object") => Expected::Table,
            Some(_) | None => Expected::Anything,
        }
    }

    fn kind(self) -> Option<&'static str> {
        let kind = self.schema.get("type")?;
        let many = || kind.as_array()?.iter().filter_map(Json::as_str).find(|kind| *kind != "null");
        kind.as_str().or_else(many)
    }

    /// The shape under a key: of that name, or of any name.
    pub(super) fn key(self, key: &str) -> Option<Self> {
        let named = self.schema.get("properties").and_then(|keys| keys.get(key));
        named.or_else(|| self.any_key()).map(Self::of)
    }

    fn any_key(self) -> Option<&'static Json> {
        self.schema.get("additionalProperties").filter(|schema| **schema != Json::Bool(false))
    }

    /// Whether its keys are the operator's.
    pub(super) fn is_open(self) -> bool {
        self.any_key().is_some()
    }

    /// Its named keys.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static str> {
        let keys = self.schema.get("properties").and_then(Json::as_object);
        keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str))
    }

    fn required(self) -> impl Iterator<Item = &'static str> {
        let keys = self.schema.get("required").and_then(Json::as_array);
        keys.into_iter().flatten().filter_map(Json::as_str)
    }

    fn is(self, mark: &str) -> bool {
        self.schema.get(mark) == Some(&Json::Bool(true))
    }

    /// What to write here, in words.
    fn words(self) -> String {
        match self.expected() {
            Expected::Anything => "a value".into(),
            Expected::Words(words) => one_of(&words),
            Expected::Text => self.schema.get("x-value").and_then(Json::as_str).unwrap_or("a string").into(),
            Expected::Integer(least, i64::MAX) => format!("an integer of at least {least}"),
            Expected::Integer(least, most) => format!("an integer from {least} to {most}"),
            Expected::Boolean => "true or false".into(),
            Expected::Array(items) => format!("an array, each item {}", items.words()),
            Expected::Table => match self.keys().collect::<Vec<_>>() {
                keys if keys.is_empty() => "a table".into(),
                keys => format!("a table with {}", list(&keys)),
            },
            Expected::Either(shapes) => {
                let words: Vec<String> = shapes.into_iter().map(Self::words).collect();
                words.join(", or ")
            }
        }
    }
}

/// What stands under `anyOf`, without `null`.
fn alternatives(schema: &'static Json) -> Option<Vec<&'static Json>> {
    let alternatives = schema.get("anyOf")?.as_array()?;
    let is_null = |schema: &Json| schema.get("type").and_then(Json::as_str) == Some("null");
    Some(alternatives.iter().filter(|schema| !is_null(schema)).collect())
}

/// The words of an enumeration: `enum`, or `oneOf` constants where each has a description.
fn words(schema: &'static Json) -> Option<Vec<&'static str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    let all: Option<Vec<_>> = schema.get("oneOf")?.as_array()?.iter().map(words).collect();
    Some(all?.into_iter().flatten().collect())
}

fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

fn one_of(words: &[&str]) -> String {
    if let [word] = words { format!("`{word}`") } else { format!("one of {}", list(words)) }
}

/// The nearest of some words, if one is near enough to be meant.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let near = known.into_iter().map(|word| (strsim::jaro_winkler(&typed, word), word));
    near.filter(|(score, _)| *score > 0.84).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, word)| word)
}

struct Walk<'a> {
    findings: &'a mut Findings,
    dropped: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Keep,
    Drop,
}

impl Walk<'_> {
    fn value(&mut self, node: &mut Node, shape: Shape, path: &str) -> Verdict {
        self.conceal(node, shape);
        let verdict = match (shape.expected(), &mut node.value) {
            (Expected::Anything, _) | (Expected::Text, Value::Text(_)) | (Expected::Boolean, Value::Boolean(_)) => {
                return Verdict::Keep;
            }
            (Expected::Words(words), Value::Text(word)) => match words.contains(&word.as_str()) {
                true => return Verdict::Keep,
                false => {
                    let meant = nearest(word, words).map(|word| format!("did you mean `{word}`?"));
                    let message = format!("this has to be {}", shape.words());
                    self.findings.problem(path, node.at.clone(), message, meant);
                    Verdict::Drop
                }
            },
            (Expected::Integer(least, most), Value::Integer(number)) if (least..=most).contains(number) => {
                return Verdict::Keep;
            }
            (Expected::Array(items), Value::Array(nodes)) => {
                let mut verdict = Verdict::Keep;
                for (index, item) in nodes.iter_mut().enumerate() {
                    // Left out alone it would shift the places of all that follow.
                    if self.value(item, items, &format!("{path}[{index}]")) == Verdict::Drop {
                        verdict = Verdict::Drop;
                    }
                }
                verdict
            }
            (Expected::Table, Value::Table(entries)) => {
                self.table(entries, shape, path, &node.at);
                return Verdict::Keep;
            }
            (Expected::Either(shapes), value) if shapes.iter().any(|shape| fits(*shape, value)) => {
                return Verdict::Keep;
            }
            (
                Expected::Words(_)
                | Expected::Text
                | Expected::Boolean
                | Expected::Integer(..)
                | Expected::Array(_)
                | Expected::Table
                | Expected::Either(_),
                _,
            ) => {
                // What stands where a table should may well be the secret that belongs into it.
                if matches!(shape.expected(), Expected::Table) {
                    self.conceal_all(node);
                }
                let message = format!("this has to be {}, and is {}", shape.words(), node.kind());
                let message = match (&node.value, shape.expected()) {
                    (Value::Integer(_), Expected::Integer(..)) => format!("this has to be {}", shape.words()),
                    _ => message,
                };
                self.findings.problem(path, node.at.clone(), message, None);
                Verdict::Drop
            }
        };
        if verdict == Verdict::Drop {
            self.dropped.insert(path.to_owned());
        }
        verdict
    }

    fn table(&mut self, entries: &mut Vec<Entry>, shape: Shape, path: &str, at: &Origin) {
        entries.retain_mut(|entry| {
            let path = join(path, &entry.key);
            match shape.key(&entry.key) {
                Some(shape) => self.value(&mut entry.node, shape, &path) == Verdict::Keep,
                None => {
                    self.conceal_all(&entry.node);
                    let known: Vec<&str> = shape.keys().collect();
                    let help = match nearest(&entry.key, known.iter().copied()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("the keys here are {}", list(&known)),
                    };
                    self.findings.problem(&*path, entry.at.clone(), "there is no such key", Some(help));
                    false
                }
            }
        });
        for key in shape.required() {
            let path = join(path, key);
            let there = entries.iter().any(|entry| entry.key == key) || self.dropped.contains(&path);
            let Some(shape) = shape.key(key).filter(|_| !there) else { continue };
            if matches!(shape.expected(), Expected::Table) && shape.required().next().is_some() {
                // What a missing table would have to hold says more than its name.
                self.table(&mut Vec::new(), shape, &path, at);
            } else {
                let help = format!("write {}", shape.words());
                self.findings.problem(&*path, at.clone(), "this key is missing", Some(help));
            }
            self.dropped.insert(path);
        }
    }

    fn conceal(&mut self, node: &Node, shape: Shape) {
        let (secret, secret_values) = (shape.is("x-secret"), shape.is("x-secret-values"));
        if shape.is("x-secret-texts") {
            self.conceal_texts(node);
        }
        match &node.value {
            Value::Table(entries) if secret || secret_values => {
                let masked = |entry: &&Entry| secret_values || !SECRET_SOURCES.contains(&entry.key.as_str());
                for entry in entries.iter().filter(masked) {
                    self.conceal_all(&entry.node);
                }
            }
            _ if secret || secret_values => self.conceal_all(node),
            _ => {}
        }
    }

    /// Masks the texts that are no templates: an access key, more often than not.
    fn conceal_texts(&mut self, node: &Node) {
        match &node.value {
            Value::Table(entries) => entries.iter().for_each(|entry| self.conceal_texts(&entry.node)),
            Value::Array(items) => items.iter().for_each(|item| self.conceal_texts(item)),
            Value::Text(text) if !text.contains("{{") => self.findings.conceal(&node.at),
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) => {}
        }
    }

    /// Masks every value in a node, and leaves keys and brackets readable.
    fn conceal_all(&mut self, node: &Node) {
        match &node.value {
            Value::Table(entries) => entries.iter().for_each(|entry| self.conceal_all(&entry.node)),
            Value::Array(items) => items.iter().for_each(|item| self.conceal_all(item)),
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) => {
                self.findings.conceal(&node.at);
            }
        }
    }
}

fn fits(shape: Shape, value: &Value) -> bool {
    match (shape.expected(), value) {
        (Expected::Words(words), Value::Text(text)) => words.contains(&text.as_str()),
        (Expected::Integer(least, most), Value::Integer(number)) => (least..=most).contains(number),
        (expected, value) => matches!(
            (expected, value),
            (Expected::Anything, _) | (Expected::Text, Value::Text(_)) | (Expected::Boolean, Value::Boolean(_))
        ),
    }
}
