//! `AUTHFERRY__STORE__PATH` and its like: a variable for every scalar key, nested tables and array places joined by two
//! underscores, read as the type that the key has. Put into the document before it is checked, so that an override is
//! held to the same rules as a line of the file. A variable that names no key is a problem; its value is never shown.

use super::document::{Entry, Node, Value};
use super::environment::{Environment, OVERRIDE_PREFIX};
use super::report::{Findings, Origin};
use super::shape::{Expected, SCHEMA, Shape, nearest};

/// Applies all of them.
pub(super) fn apply(root: &mut Node, environment: &Environment, findings: &mut Findings) {
    for (variable, segments, text) in environment.overrides() {
        let at = Origin::Variable(variable.to_owned());
        let outcome = resolve(root, &segments).and_then(|target| set(root, &target, text, &at));
        if let Err((message, help)) = outcome {
            findings.problem("", at, message, help);
        }
    }
}

type Refusal = (String, Option<String>);

/// A key that was found under a variable's name.
struct Target {
    steps: Vec<Step>,
    shape: Shape,
}

enum Step {
    Key(String),
    Index(usize),
}

/// How a key is written in a variable's name.
fn spelling(key: &str) -> String {
    key.to_ascii_uppercase().replace('-', "_")
}

fn resolve(root: &Node, segments: &[&str]) -> Result<Target, Refusal> {
    let (mut shape, mut node, mut steps) = (Shape::of(&SCHEMA), Some(root), Vec::new());
    let mut above = OVERRIDE_PREFIX.to_owned();
    for segment in segments {
        let free_list =
            |node: &Node| matches!(shape.expected(), Expected::Anything) && matches!(node.value, Value::Array(_));
        let expected = if node.is_some_and(free_list) { Expected::Array(shape) } else { shape.expected() };
        match expected {
            Expected::Table | Expected::Anything => {
                let key = key_in(shape, node, segment).ok_or_else(|| unknown(shape, &above, segment))?;
                shape = shape.key(&key).unwrap_or(shape);
                node = node.and_then(|node| child(node, &key));
                steps.push(Step::Key(key));
            }
            Expected::Array(items) => {
                let length = node.map_or(0, items_of);
                let index = segment.parse().ok().filter(|index| *index <= length);
                let index: usize = index.ok_or_else(|| {
                    (format!("`{segment}` is not a place in this list: from 0 to {length}, the next free one"), None)
                })?;
                shape = items;
                node = node.and_then(|node| match &node.value {
                    Value::Array(items) => items.get(index),
                    _ => None,
                });
                steps.push(Step::Index(index));
            }
            Expected::Words(_) | Expected::Text | Expected::Integer(..) | Expected::Boolean | Expected::Either(_) => {
                return Err((format!("there is no key under `{}`", above.trim_end_matches('_')), None));
            }
        }
        above.push_str(segment);
        above.push_str("__");
    }
    Ok(Target { steps, shape })
}

fn items_of(node: &Node) -> usize {
    match &node.value {
        Value::Array(items) => items.len(),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::Table(_) => {
            0
        }
    }
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::Array(_) => {
            None
        }
    }
}

/// The key that a segment names: one of the schema, or in an open table one of the file, or else a new one in lower case.
fn key_in(shape: Shape, node: Option<&Node>, segment: &str) -> Option<String> {
    let wanted = segment.to_ascii_uppercase();
    if let Some(key) = shape.keys().find(|key| spelling(key) == wanted) {
        return Some(key.to_owned());
    }
    let open = shape.is_open() || matches!(shape.expected(), Expected::Anything);
    let there = node.into_iter().flat_map(|node| match &node.value {
        Value::Table(entries) => entries.as_slice(),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::Array(_) => {
            &[]
        }
    });
    let there = there.map(|entry| &entry.key).find(|key| spelling(key) == wanted).cloned();
    (open && !segment.is_empty()).then(|| there.unwrap_or_else(|| segment.to_ascii_lowercase()))
}

fn unknown(shape: Shape, above: &str, segment: &str) -> Refusal {
    let meant = nearest(segment, shape.keys()).map(|key| format!("did you mean {above}{}?", spelling(key)));
    ("this variable names no key".to_owned(), meant)
}

fn set(root: &mut Node, target: &Target, text: &str, at: &Origin) -> Result<(), Refusal> {
    let mut node = root;
    for step in &target.steps {
        node = match step {
            Step::Key(key) => {
                if !matches!(node.value, Value::Table(_)) {
                    *node = Node::empty(at.clone());
                }
                let Value::Table(entries) = &mut node.value else { return Ok(()) };
                let place = entries.iter().position(|entry| entry.key == *key).unwrap_or(entries.len());
                if place == entries.len() {
                    entries.push(Entry { key: key.clone(), at: at.clone(), node: Node::empty(at.clone()) });
                }
                let Some(entry) = entries.get_mut(place) else { return Ok(()) };
                &mut entry.node
            }
            Step::Index(index) => {
                if !matches!(node.value, Value::Array(_)) {
                    *node = Node { value: Value::Array(Vec::new()), at: at.clone() };
                }
                let Value::Array(items) = &mut node.value else { return Ok(()) };
                if *index == items.len() {
                    items.push(Node::empty(at.clone()));
                }
                let Some(item) = items.get_mut(*index) else { return Ok(()) };
                item
            }
        };
    }
    *node = Node { value: typed(target.shape, node, text)?, at: at.clone() };
    Ok(())
}

/// The text as the type that the key has.
fn typed(shape: Shape, node: &Node, text: &str) -> Result<Value, Refusal> {
    let refused = |message: &str| (message.to_owned(), None);
    let integer = || text.trim().parse().map(Value::Integer).ok();
    let boolean = || text.trim().parse().map(Value::Boolean).ok();
    match shape.expected() {
        Expected::Words(_) | Expected::Text => Ok(Value::Text(text.to_owned())),
        Expected::Integer(..) => integer().ok_or_else(|| refused("this key takes an integer")),
        Expected::Boolean => boolean().ok_or_else(|| refused("this key takes `true` or `false`")),
        Expected::Either(_) => Ok(integer().unwrap_or_else(|| Value::Text(text.to_owned()))),
        Expected::Anything => match &node.value {
            Value::Integer(_) => integer().ok_or_else(|| refused("this key holds an integer in the file")),
            Value::Boolean(_) => boolean().ok_or_else(|| refused("this key holds `true` or `false` in the file")),
            Value::Float(_) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                Ok(_) | Err(_) => Err(refused("this key holds a number in the file")),
            },
            Value::Text(_) | Value::Date(_) | Value::Array(_) | Value::Table(_) => Ok(Value::Text(text.to_owned())),
        },
        Expected::Array(_) => Err(refused("this is a list: name one place of it, as __0")),
        Expected::Table => Err(refused("this is a table: name a key in it")),
    }
}
