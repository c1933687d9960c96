//! Templates and expressions: values stay values, whatever is in them; sources of an operator never panic and end soon.

use serde_json::{Value as Json, json};

use super::others::decoded;
use crate::template::{Escape, Expression, Template, context};

/// What no message may ever hold.
const CANARY: &str = "canary-8f14e45fceea167a5a36dedd4bea2543";

/// `v`: a value for templates of ours. `t`, `x`: the source of a template or an expression, then, after a NUL, a JSON value for it.
pub fn template(data: &[u8]) {
    let Ok(text) = str::from_utf8(data.get(1..).unwrap_or_default()) else { return };
    // libFuzzer learns what it is compared with. Whoever writes the word himself may see it.
    if text.contains(CANARY) {
        return;
    }
    let (source, value) = text.split_once('\0').unwrap_or((text, "null"));
    match data.first() {
        Some(b'v') => holds_a_value(text),
        Some(b't') => renders(source, value),
        Some(b'x') => judges(source, value),
        Some(_) | None => {}
    }
}

fn holds_a_value(value: &str) {
    let with = context(json!({ "login": value }));
    let rendered = |source: &str, escape| {
        let template = Template::compile(source, escape).expect("a template of ours");
        template.render(&with).expect("rendered")
    };
    let written = rendered(r#"{"a": {{ login }}, "b": "x{{ login }}y", "c": {{ login | tojson }}}"#, Escape::Json);
    let read: Json = serde_json::from_str(&written).expect("JSON");
    assert_eq!(read, json!({"a": value, "b": format!("x{value}y"), "c": value}));

    let page = rendered("<p title='{{ login }}'>{{ login }}</p>", Escape::Html);
    for (sign, times) in [('<', 2), ('>', 2), ('\'', 2), ('"', 0)] {
        assert_eq!(page.matches(sign).count(), times, "{page}");
    }

    let path = rendered("{{ login | urlencode }}", Escape::None);
    assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{path}");
    assert_eq!(decoded(path.as_bytes()), value.as_bytes());
    for there_and_back in ["{{ login }}", "{{ login | urlencode | urldecode }}", "{{ login | b64encode | b64decode }}"]
    {
        assert_eq!(rendered(there_and_back, Escape::None), value, "{there_and_back}");
    }
}

fn values(value: &str) -> Json {
    let value: Json = serde_json::from_str(value).unwrap_or(Json::Null);
    json!({ "login": value, "json": value, "status": 200, "password": CANARY })
}

fn renders(source: &str, value: &str) {
    let shows_it = source.contains("password");
    for escape in [Escape::None, Escape::Json, Escape::Html] {
        let rendered = Template::compile(source, escape).and_then(|template| {
            assert_eq!(template.source(), source);
            template.render(&context(values(value)))
        });
        match rendered {
            Ok(text) => assert!(shows_it || !text.contains(CANARY), "a whole context in {text}"),
            Err(error) => assert!(!error.to_string().contains(CANARY), "{error}"),
        }
    }
}

fn judges(source: &str, value: &str) {
    let Ok(expression) = Expression::compile(source) else { return };
    let with = context(values(value));
    let judgement = expression.judge(&with);
    if !source.contains("uuid") {
        assert_eq!(expression.judge(&with), judgement, "judged twice");
    }
    if let Some(value) = expression.value(&with) {
        assert!(source.contains("password") || !value.to_string().contains(CANARY));
    }
}
