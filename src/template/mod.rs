//! Templates that render requests, answers and claims, and expressions that judge answers: minijinja, compiled at start.
//!
//! A template is strict: a name that is not there is an error, never an empty string in somebody's token. An expression is
//! lenient in one thing, a path into something that is not there is undefined (`json.user.id is defined`); an expression
//! that fails is no match. Both run on bounded fuel. A leaf: used by `config`, `http`, `legacy` and `token`, knows none of them.

use std::sync::{Arc, LazyLock};

use minijinja::{Environment, UndefinedBehavior, Value};

/// Instructions that one template or expression may take: far more than any needs, far less than a loop over a hostile answer.
const FUEL: u64 = 50_000;

/// How what a template renders is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Not at all: paths, headers, form values.
    None,
    /// As JSON: an interpolated value becomes a JSON string's inside or a JSON value.
    Json,
    /// As HTML.
    Html,
}

/// A compiled template.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
}

/// A template or expression that does not compile or does not render. Shows its place, never a value.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    message: String,
}

impl Template {
    /// Compiles a template; `source` is what an operator wrote.
    pub fn compile(source: &str, escape: Escape) -> Result<Self, TemplateError> {
        let _ = (source, escape, FUEL, &*BASE);
        unimplemented!("the template helper writes this")
    }

    /// Renders it over a context that serializes to a map.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        let _ = (context, &self.environment);
        unimplemented!("the template helper writes this")
    }

    /// As an operator wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
}

impl Expression {
    /// Compiles an expression.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let _ = source;
        unimplemented!("the template helper writes this")
    }

    /// Whether it holds; an evaluation error is no.
    #[must_use]
    pub fn holds(&self, context: &Value) -> bool {
        let _ = context;
        unimplemented!("the template helper writes this")
    }

    /// Its value as JSON; none if undefined or in error.
    #[must_use]
    pub fn value(&self, context: &Value) -> Option<serde_json::Value> {
        let _ = context;
        unimplemented!("the template helper writes this")
    }

    /// As an operator wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});
