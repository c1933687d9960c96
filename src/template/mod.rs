//! Templates that render requests, answers and claims, and expressions that judge answers: minijinja, compiled at start.
//!
//! A template is strict: a name that is not there is an error, never an empty string in somebody's token; so is a null where
//! text is wanted. An expression is lenient in one thing, a path into something that is not there is undefined
//! (`json.user.id is defined`); an expression that fails is no match. Both run on bounded fuel, load no files and include
//! nothing. A leaf: used by `config`, `http`, `legacy` and `token`, knows none of them.

mod filters;
mod in_strings;
mod names;

use std::sync::{Arc, LazyLock};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

pub use minijinja::{Value, context};

/// Instructions that one template or expression may take, one for every 64 bytes read or written included: enough to search
/// a page of some megabytes, far less than a loop over a hostile answer.
const FUEL: u64 = 200_000;

/// The name under which each template lies in its own environment.
const NAME: &str = "template";

/// How what a template renders is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Not at all: paths, headers, form values. Lists and objects are written as JSON.
    None,
    /// As JSON: an interpolated value becomes a JSON value with its own quotes; between quotes of the template, a part of that
    /// string.
    Json,
    /// As HTML.
    Html,
}

/// A compiled template.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
    /// What it always renders to, where nothing in it depends on a context.
    fixed: Option<Arc<str>>,
}

/// A template or expression that does not compile or does not render. Shows its place and the names in its source, never a
/// value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    message: String,
    line: Option<usize>,
}

impl TemplateError {
    /// The line in the source, from 1, where it is known.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The words of the engine are about the source alone as long as nothing has been evaluated.
    fn at_compiling(error: &Error) -> Self {
        let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Self { message: what, line: error.line() }
    }

    /// The engine's words may quote what it worked on, so only the kind of error is kept, and `hint`, which is of our making.
    fn at_rendering(error: &Error, hint: Option<String>) -> Self {
        let message = hint.unwrap_or_else(|| error.kind().to_string());
        Self { message, line: error.line() }
    }
}

/// A context out of anything that serializes to a map.
#[must_use]
pub fn context(of: impl serde::Serialize) -> Value {
    Value::from(Serde(of))
}

impl Template {
    /// Compiles a template; `source` is what an operator wrote. Filters, tests and functions that do not exist are errors here,
    /// not at the first login.
    pub fn compile(source: &str, escape: Escape) -> Result<Self, TemplateError> {
        let mut environment = STRICT.clone();
        environment.set_auto_escape_callback(move |_| match escape {
            Escape::None => AutoEscape::None,
            Escape::Json => AutoEscape::Json,
            Escape::Html => AutoEscape::Html,
        });
        let marked = match escape {
            Escape::Json => in_strings::mark(source),
            Escape::None | Escape::Html => source.to_owned(),
        };
        environment.add_template_owned(NAME, marked).map_err(|error| TemplateError::at_compiling(&error))?;
        names::check_template(&environment, source)?;
        let mut template = Self { environment: Arc::new(environment), source: source.into(), fixed: None };
        if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
            template.fixed = Some(template.render(&Value::UNDEFINED)?.into());
        }
        Ok(template)
    }

    /// Whether it renders to the same whatever its context is.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// Whether a name stands in it; where it does not, nothing of that name is ever looked at.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.fixed.is_none() && self.source.contains(name)
    }

    /// Renders it over a context that serializes to a map.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        if let Some(fixed) = &self.fixed {
            return Ok(String::from(&**fixed));
        }
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(context));
        rendered.map_err(|error| TemplateError::at_rendering(&error, self.missing(context)))
    }

    /// The names that it expects in its context, sorted.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        self.undeclared(Depth::Names)
    }

    /// As an operator wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    fn undeclared(&self, depth: Depth) -> Vec<String> {
        let template = self.environment.get_template(NAME);
        let found = template.map(|template| template.undeclared_variables(depth == Depth::Paths)).unwrap_or_default();
        without_globals(&self.environment, found)
    }

    /// Which of the paths in it lead nowhere, or to a null.
    fn missing(&self, context: &Value) -> Option<String> {
        self.undeclared(Depth::Paths).into_iter().find_map(|path| {
            let mut value = context.clone();
            for part in path.split('.') {
                value = value.get_attr(part).unwrap_or(Value::UNDEFINED);
            }
            if value.is_undefined() {
                Some(format!("`{path}` is not there"))
            } else {
                value.is_none().then(|| format!("`{path}` is null where text is wanted"))
            }
        })
    }
}

/// Whether `user` or `user.email` is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Names,
    Paths,
}

fn without_globals(environment: &Environment<'_>, found: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_global = |name: &str| environment.globals().any(|(global, _)| global == name);
    let mut names: Vec<String> = found.into_iter().filter(|name| !is_global(name)).collect();
    names.sort_unstable();
    names
}

/// What an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It holds.
    Holds,
    /// It does not, or it failed on what it was given.
    Fails,
    /// It took more work than any may: the answer is made to be expensive, and nothing may be concluded from it.
    Exhausted,
}

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<minijinja::Expression<'static, 'static>>,
    source: Arc<str>,
    variables: Arc<[String]>,
}

impl Expression {
    /// Compiles an expression. Filters, tests and functions that do not exist are errors here.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let compiled =
            LENIENT.compile_expression_owned(source.to_owned()).map_err(|error| TemplateError::at_compiling(&error))?;
        names::check_expression(&LENIENT, source)?;
        let variables = without_globals(&LENIENT, compiled.undeclared_variables(false)).into();
        Ok(Self { compiled: Arc::new(compiled), source: source.into(), variables })
    }

    /// Whether it holds; an evaluation error is no.
    #[must_use]
    pub fn holds(&self, context: &Value) -> bool {
        self.judge(context) == Judgement::Holds
    }

    /// Whether it holds, for a caller who draws conclusions from a no.
    #[must_use]
    pub fn judge(&self, context: &Value) -> Judgement {
        match self.compiled.eval(context) {
            Ok(value) if value.is_true() => Judgement::Holds,
            Ok(_) => Judgement::Fails,
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Judgement::Exhausted,
            Err(_) => Judgement::Fails,
        }
    }

    /// Its value as JSON; none if undefined or in error.
    #[must_use]
    pub fn value(&self, context: &Value) -> Option<serde_json::Value> {
        let value = self.compiled.eval(context).ok().filter(|value| !value.is_undefined())?;
        serde_json::to_value(value).ok()
    }

    /// The names that it expects in its context, sorted.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// As an operator wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// For templates.
static STRICT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = environment(UndefinedBehavior::Strict);
    filters::refuse_nulls(&mut environment);
    environment
});

/// For expressions.
static LENIENT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::Chainable));

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    // The engine's own filters, because only those of the environment account for the fuel they burn; what could show a whole
    // context, a password with it, is taken out.
    let mut environment = Environment::new();
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(write_value);
    filters::add_to(&mut environment);
    environment
}

/// Writes one interpolated value. Where text is wanted, values are written as JSON writes them, not as Python does, and a null
/// is an error: "None" would be somebody's email.
fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    use minijinja::value::ValueKind;

    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let json = *state.auto_escape() == AutoEscape::Json;
    match value.kind() {
        ValueKind::None if !json => Err(Error::new(ErrorKind::InvalidOperation, "null where text is wanted")),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        ValueKind::Map | ValueKind::Seq if !json => {
            minijinja::escape_formatter(out, state, &Value::from(filters::json_text(value)?))
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

#[cfg(test)]
mod tests;
