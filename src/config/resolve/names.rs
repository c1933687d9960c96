//! What templates and expressions may name in each place, compiled at start and tried on a sample: a mistyped name is found
//! when the file is read, not at somebody's login.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::Resolver;
use crate::domain::identifier::IdentifierKind;
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
    user_without(None)
}

/// The same, but for his names of one kind.
fn user_without(lacks: Option<IdentifierKind>) -> Value {
    let name = |kind, text: &str| if lacks == Some(kind) { Value::from(()) } else { Value::from(text) };
    Value::from_pairs([
        ("id", Value::from("1")),
        ("email", name(IdentifierKind::Email, "ada@example.org")),
        ("username", name(IdentifierKind::Username, "ada")),
        ("phone", name(IdentifierKind::Phone, "491511234567")),
        ("login", Value::from("ada")),
        ("profile", Value::from_object(Anything)),
    ])
}

/// Which name of a user a template is, if it is that and nothing else: `{{ user.email }}`.
pub(super) fn name_alone(source: &str) -> Option<IdentifierKind> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let path = inner.trim_matches(|c: char| c == '-' || c.is_whitespace());
    let name = path.strip_prefix("user.")?;
    IdentifierKind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// Warns of a template that renders for a complete user and not for one who has no email, username or phone number: nobody has to
/// have each. `around` is what else the template sees, `then` what comes of it.
pub(super) fn tell_who_fails(
    key: &str,
    template: &Template,
    around: &[(&'static str, Value)],
    then: &str,
    resolver: &mut Resolver<'_>,
) {
    for kind in IdentifierKind::ALL {
        let others = around.iter().filter(|(name, _)| *name != "user").cloned();
        let context = Value::from_pairs(others.chain([("user", user_without(Some(kind)))]));
        if let Err(error) = template.render(&context) {
            let name = kind.as_str();
            let message = format!("this template fails for a user who has no {name}, and {then}: {error}");
            let help = format!(
                "write `{{% if user.{name} %}}…{{% endif %}}`, or `{{{{ user.{name} or \"\" }}}}`, if there may be such users"
            );
            resolver.warning(key, message, &help);
        }
    }
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
