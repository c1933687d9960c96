//! What templates and expressions may name in each place, compiled at start and tried on a sample: a mistyped name is found
//! when the file is read, not at somebody's login.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::Resolver;
use crate::template::{Escape, Expression, Template, Value};

/// Where a template or expression stands, and so what it sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// The request of `[legacy.login]` and `[legacy.register]`.
    Credentials,
    /// The request of `[legacy.get_user]`.
    Name,
    /// Any expression over an answer.
    Answer,
    /// A claim, an identity header.
    User,
}

impl Sees {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Credentials => &["login", "password", "fields"],
            Self::Name => &["login", "answer", "fields"],
            Self::Answer => &["status", "headers", "set_cookies", "body", "json", "request"],
            Self::User => &["user"],
        }
    }
}

impl Resolver<'_> {
    pub(super) fn template(&mut self, key: &str, source: &str, escape: Escape, sees: Sees) -> Option<Template> {
        self.template_over(key, source, escape, sees.names())
    }

    pub(super) fn template_over(
        &mut self,
        key: &str,
        source: &str,
        escape: Escape,
        names: &[&str],
    ) -> Option<Template> {
        match Template::compile(source, escape) {
            Ok(template) => self.knows(key, &template.variables(), names).then_some(template),
            Err(error) => {
                self.problem(key, format!("this template cannot be compiled: {error}"), "");
                None
            }
        }
    }

    pub(super) fn expression(&mut self, key: &str, source: &str) -> Option<Expression> {
        match Expression::compile(source) {
            Ok(expression) => {
                let names = Sees::Answer.names();
                self.knows(key, expression.variables(), names).then_some(expression)
            }
            Err(error) => {
                self.problem(key, format!("this expression cannot be compiled: {error}"), "");
                None
            }
        }
    }

    /// An optional expression: `Some(None)` where there is none.
    pub(super) fn optional_expression(&mut self, key: &str, source: Option<&String>) -> Option<Option<Expression>> {
        match source {
            Some(source) => self.expression(key, source).map(Some),
            None => Some(None),
        }
    }

    fn knows(&mut self, key: &str, used: &[String], names: &[&str]) -> bool {
        let unknown: Vec<&String> = used.iter().filter(|name| !names.contains(&name.as_str())).collect();
        for name in &unknown {
            let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            self.problem(key, format!("there is no `{name}` here"), &format!("what is there: {}", known.join(", ")));
        }
        unknown.is_empty()
    }
}

/// A user as templates see him, complete, with a profile that has whatever is asked for.
pub(super) fn sample_user() -> Value {
    Value::from_pairs([
        ("id", Value::from("1")),
        ("email", Value::from("ada@example.org")),
        ("username", Value::from("ada")),
        ("phone", Value::from("491511234567")),
        ("login", Value::from("ada")),
        ("profile", Value::from_object(Anything)),
    ])
}

/// Whether a template looks into the profile, whose form only legacy knows.
pub(super) fn looks_into_profile(source: &str) -> bool {
    source.contains("profile")
}

/// An empty object that has every attribute.
#[derive(Debug)]
struct Anything;

impl Object for Anything {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        Some(Value::from_dyn_object(Arc::clone(self)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }
}
