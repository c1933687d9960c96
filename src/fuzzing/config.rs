//! proxy.toml: resolved, or refused in words that name a place; never a panic, never a secret in what is shown.

use std::num::NonZeroUsize;

use crate::cli::check::describe;
use crate::config::{Config, Environment, Finding, Place};
use crate::http::router::Router;

/// What no message may ever hold.
const CANARY: &str = "canary-8f14e45fceea167a5a36dedd4bea2543";

/// A configuration.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // libFuzzer learns what it is compared with. Whoever writes the word himself may see it.
    if text.contains(CANARY) {
        return;
    }
    let environment = Environment::new([("SECRET", CANARY)], NonZeroUsize::MIN);
    match Config::from_text(text, "proxy.toml", &environment) {
        Ok(config) => {
            let page = describe(&config);
            assert!(page.ends_with('\n') && !page.contains(CANARY));
            assert!(Router::new(&config.edge.routes).is_ok(), "a route that was accepted cannot be matched");
            config.warnings.iter().for_each(|warning| is_shown_well(warning, text));
        }
        Err(problems) => {
            assert!(!problems.list().is_empty());
            problems.list().iter().for_each(|problem| is_shown_well(problem, text));
            let shown = problems.to_string();
            assert!(!shown.contains(CANARY) && !shown.contains("for a reason that was not found"), "{shown}");
        }
    }
}

fn is_shown_well(finding: &Finding, text: &str) {
    assert!(!finding.message.is_empty());
    let shown = finding.to_string();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    match &finding.place {
        Place::Line(excerpt) => {
            let line = text.split('\n').nth(excerpt.line - 1);
            assert!(line.is_some_and(|line| excerpt.column <= line.chars().count() + 2), "{shown}");
            assert!(excerpt.width >= 1 && excerpt.caret <= excerpt.text.chars().count() + 1, "{shown}");
            assert!(!excerpt.text.contains('\n'));
        }
        Place::Variable(_) | Place::Whole(_) => assert!(!finding.key.is_empty(), "neither a place nor a key: {shown}"),
    }
}
