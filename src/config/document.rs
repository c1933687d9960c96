//! The file as a tree of values that know where they stand: the one thing that gives a problem its line and a value its
//! override. Knows nothing of keys; `shape` does.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::report::{Findings, Origin};

/// A value, and where it came from.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Origin,
}

/// What a value is.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// No key takes a date; as free data it is its text.
    Date(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Origin,
    pub(super) node: Node,
}

impl Node {
    /// Reads a file. Where its grammar is broken every place is reported, and there is no tree.
    pub(super) fn parse(text: &str, is_key: impl Fn(&str) -> bool, findings: &mut Findings) -> Option<Self> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(Origin::Absent, Origin::Span);
            findings.syntax(at, error.message(), text, &is_key);
        }
        errors.is_empty().then(|| Self { value: from_table(table.get_ref(), findings), at: Origin::Absent })
    }

    /// An empty table.
    pub(super) fn empty(at: Origin) -> Self {
        Self { value: Value::Table(Vec::new()), at }
    }

    /// The word for its type.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Date(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// For serde. What JSON cannot write was refused before.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) | Value::Date(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Boolean(word) => (*word).into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect::<Vec<_>>().into(),
            Value::Table(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

fn from_table(table: &DeTable<'_>, findings: &mut Findings) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .filter_map(|(key, value)| {
            let node = from_value(value, findings)?;
            Some(Entry { key: key.get_ref().to_string(), at: Origin::Span(key.span()), node })
        })
        .collect();
    // The parser sorts by name; headers and claims keep the order of the file.
    entries.sort_by_key(|entry| match &entry.at {
        Origin::Span(span) => span.start,
        Origin::Variable(_) | Origin::Absent => usize::MAX,
    });
    Value::Table(entries)
}

fn from_array(array: &DeArray<'_>, findings: &mut Findings) -> Value {
    Value::Array(array.iter().filter_map(|item| from_value(item, findings)).collect())
}

fn from_value(spanned: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Option<Node> {
    let at = Origin::Span(spanned.span());
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                findings.problem("", at, "this integer is too large", None);
                return None;
            }
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            Ok(_) | Err(_) => {
                findings.problem("", at, "this is not a finite number", None);
                return None;
            }
        },
        DeValue::Boolean(word) => Value::Boolean(*word),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => from_array(items, findings),
        DeValue::Table(table) => from_table(table, findings),
    };
    Some(Node { value, at })
}

/// Where each key stands, by its path.
#[derive(Default)]
pub(super) struct Places {
    known: BTreeMap<String, Origin>,
    dropped: BTreeSet<String>,
}

impl Places {
    pub(super) fn of(root: &Node, dropped: BTreeSet<String>) -> Self {
        let mut places = Self { known: BTreeMap::new(), dropped };
        places.walk(root, "");
        places
    }

    fn walk(&mut self, node: &Node, path: &str) {
        self.known.insert(path.to_owned(), node.at.clone());
        match &node.value {
            Value::Table(entries) => {
                for entry in entries {
                    let path = join(path, &entry.key);
                    self.walk(&entry.node, &path);
                    // A table that dotted keys made, and a missing part of a table, are shown at its name.
                    if let (Value::Table(_), Origin::Span(_)) = (&entry.node.value, &entry.at) {
                        self.known.insert(path, entry.at.clone());
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(item, &format!("{path}[{index}]"));
                }
            }
            Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) => {}
        }
    }

    /// Where a key stands, or, if it does not, the nearest table around it.
    pub(super) fn of_key(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            match (self.known.get(path), path.rfind(['.', '['])) {
                (Some(origin), _) => return origin.clone(),
                (None, Some(cut)) => path = path.get(..cut).unwrap_or_default(),
                (None, None) => return Origin::Absent,
            }
        }
    }

    /// Whether a key, or something around it, was already reported and left out: then it is not missed again.
    pub(super) fn is_dropped(&self, path: &str) -> bool {
        let cuts = path.match_indices(['.', '[']).map(|(at, _)| at).chain([path.len()]);
        cuts.filter_map(|cut| path.get(..cut)).any(|around| self.dropped.contains(around))
    }
}

/// The path of a key in a table.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
