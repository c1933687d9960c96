//! What templates and expressions promise to operators, and to everybody whose password passes through them.

use serde_json::json;

use super::*;

fn render(source: &str, escape: Escape, over: serde_json::Value) -> Result<String, TemplateError> {
    Template::compile(source, escape)?.render(&context(over))
}

fn holds(source: &str, over: serde_json::Value) -> bool {
    Expression::compile(source).expect("an expression").holds(&context(over))
}

fn value(source: &str, over: serde_json::Value) -> Option<serde_json::Value> {
    Expression::compile(source).expect("an expression").value(&context(over))
}

#[test]
fn an_indent_that_is_absurd_or_no_number_fails() {
    for source in [
        "{{ 1 | tojson(indent=9) }}",
        "{{ 1 | tojson(indent=-1) }}",
        "{{ 1 | tojson(indent='  ') }}",
        "{{ 1 | tojson(x=1) }}",
    ] {
        render(source, Escape::Json, json!({})).expect_err(source);
    }
}

#[test]
fn a_template_renders_json_values() {
    let over = json!({
        "token": "a.b.c",
        "user": { "email": "a\"b<@x.y", "id": 5, "none": null, "profile": { "z": 1, "a": [true, 1.5, "é\n"] } },
    });
    for (source, expected) in [
        ("{{ user.email }}", r#""a\"b<@x.y""#),
        ("{{ user.email | tojson }}", r#""a\"b<@x.y""#),
        (
            r#"{"token": {{ token | tojson }}, "user": {{ user.profile | tojson }}}"#,
            r#"{"token": "a.b.c", "user": {"z":1,"a":[true,1.5,"é\n"]}}"#,
        ),
        ("{{ user.profile }}", r#"{"z":1,"a":[true,1.5,"é\n"]}"#),
        (
            "{{ dict(user.profile, id=user.id) | tojson(indent=2) }}",
            "{\n  \"z\": 1,\n  \"a\": [\n    true,\n    1.5,\n    \"é\\n\"\n  ],\n  \"id\": 5\n}",
        ),
        ("{{ [[], {}] | tojson(indent=1) }}", "[\n [],\n {}\n]"),
        ("{{ user.id }}", "5"),
        ("{{ user.none }}", "null"),
        ("{{ user.none | tojson }}", "null"),
        ("{{ user.email | lower }}", r#""a\"b<@x.y""#),
        ("{% if user.profile.a[0] %}{{ user.id == 5 }}{% endif %}", "true"),
    ] {
        let rendered = render(source, Escape::Json, over.clone()).expect("renders");
        assert_eq!(rendered, expected, "{source}");
        serde_json::from_str::<serde_json::Value>(&rendered).expect("what is rendered is JSON");
    }
}

#[test]
fn between_quotes_a_value_becomes_a_part_of_the_json_string() {
    let over = json!({ "name": "A\"nn\\\n", "n": 5, "token": "t", "none": null });
    for (source, expected) in [
        (
            r#"{"greeting": "Hello {{ name }}, {{- n -}} ", "name": {{ name }}}"#,
            json!({ "greeting": "Hello A\"nn\\\n,5", "name": "A\"nn\\\n" }),
        ),
        (r#"{"a\"{{ n }}": "{{ name if n == 5 else token }}"}"#, json!({ "a\"5": "A\"nn\\\n" })),
        (r#"{% if n == 5 %}{"a": "{{ token | tojson }}"}{% endif %}{# " #}"#, json!({ "a": "\"t\"" })),
        (r#"["{% raw %}{{ name }} {% endraw %}{{ token }}", {{ "}}" }}]"#, json!(["{{ name }} t", "}}"])),
    ] {
        let rendered = render(source, Escape::Json, over.clone()).expect("renders");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&rendered).expect(source), expected, "{source}");
    }
    for source in [r#"{"a": "{{ nothing }}"}"#, r#"{"a": "{{ none }}"}"#] {
        assert!(render(source, Escape::Json, over.clone()).is_err(), "{source}");
    }
}

#[test]
fn text_is_not_escaped_and_html_is() {
    let over = json!({ "name": "<b>'\"&", "yes": true, "list": [1, "a"], "n": 1.0 });
    assert_eq!(
        render("{{ name }} {{ yes }} {{ list }} {{ n }}", Escape::None, over.clone()).expect("renders"),
        "<b>'\"& true [1,\"a\"] 1.0"
    );
    assert_eq!(
        render("{{ name }} {{ yes }}", Escape::Html, over.clone()).expect("renders"),
        "&lt;b&gt;&#x27;&quot;&amp; true"
    );
    assert_eq!(
        render("<script>x = {{ name | tojson }}</script>", Escape::Html, over).expect("renders"),
        r#"<script>x = "\u003cb\u003e\u0027\"\u0026"</script>"#
    );
}

#[test]
fn a_name_that_is_not_there_is_an_error_with_its_path_and_line() {
    for source in [
        "a\n{{ user.nick }}",
        "a\n{{ user.nick | lower }}",
        "a\n{{ user.nick | urlencode }}",
        "a\n{{ user.nick | tojson }}",
        "a\n{{ user.nick | b64encode }}",
        "a\n{% if user.nick %}x{% endif %}",
        "a\n{{ user.nick.first }}",
        "a\n{% for x in user.nick %}{% endfor %}",
    ] {
        for escape in [Escape::None, Escape::Json, Escape::Html] {
            let error = render(source, escape, json!({ "user": { "id": 1 } })).expect_err(source);
            assert!(error.to_string().contains("`user.nick"), "{source}: {error}");
            assert_eq!(error.line(), Some(2), "{source}");
        }
    }
    assert_eq!(render("{{ nick | default('-') }}", Escape::None, json!({})).expect("a default"), "-");
}

#[test]
fn a_null_is_no_text() {
    let error = render("{{ user.email }}", Escape::None, json!({ "user": { "email": null } })).expect_err("a null");
    assert_eq!(error.to_string(), "`user.email` is null where text is wanted");
    assert!(render("{{ user.email }}", Escape::Html, json!({ "user": { "email": null } })).is_err());
    for filter in ["lower", "upper", "title", "capitalize", "trim", "string", "replace('a', 'b')", "trim('x')"] {
        let source = format!("{{{{ user.email | {filter} }}}}");
        let render = |email: serde_json::Value| render(&source, Escape::None, json!({ "user": { "email": email } }));
        let error = render(json!(null)).expect_err(filter);
        assert_eq!(error.to_string(), "`user.email` is null where text is wanted", "{filter}");
        assert!(render(json!("ab")).is_ok(), "{filter}");
    }
    assert_eq!(render("{{ user.email or '' }}", Escape::None, json!({ "user": { "email": null } })).expect("text"), "");
}

#[test]
fn r116_no_error_echoes_a_value() {
    let over = json!({ "password": "canary-7f3a", "n": { "canary-7f3a": 1 } });
    for source in [
        "{{ password + 1 }}",
        "{{ password | round }}",
        "{{ password | int }}",
        "{{ n | urlencode }}",
        "{{ range(password) }}",
        "{{ password | batch(password) }}",
        "{{ password.x.y }}",
        "{{ 'a' in 5 }}",
        "{{ password[password] }}",
        "{{ [1] | select(password) }}",
        "{{ [1] | map(password) }}",
        "{{ password | indent(password) }}",
        "{% for a, b in [password] %}{% endfor %}",
    ] {
        let error = render(source, Escape::Json, over.clone()).expect_err(source);
        assert!(!format!("{error} {error:?}").contains("canary"), "{source}: {error:?}");
    }
}

#[test]
fn what_does_not_compile_says_where_and_why() {
    for (source, line, word) in [
        ("{{ user", 1, "expected"),
        ("a\nb {{ user | lowr }}", 2, "no filter `lowr`"),
        ("{{ user is defind }}", 1, "no test `defind`"),
        ("{% if\n user is not defind %}{% endif %}", 2, "no test `defind`"),
        ("{{ now() }}", 1, "no function `now`"),
        ("{{ debug() }}", 1, "no function `debug`"),
        ("{{ user | pprint }}", 1, "no filter `pprint`"),
        ("{{ user.email.startswith('a') }}", 1, "no methods such as `startswith`"),
        ("{% filter uper %}a{% endfilter %}", 1, "no filter `uper`"),
        ("{{ 'it\\'s | x' | loweer }}", 1, "no filter `loweer`"),
        ("{% include 'a' %}", 1, "unknown statement"),
    ] {
        let error = Template::compile(source, Escape::None).map(|_| ()).expect_err(source);
        assert!(error.to_string().contains(word), "{source}: {error}");
        assert_eq!(error.line(), Some(line), "{source}");
    }
    for source in ["status == ", "status is in_range(3)", "headers.location | lowercase", "starts(body)"] {
        assert!(Expression::compile(source).is_err(), "{source}");
    }
}

#[test]
fn what_looks_like_a_name_but_is_none_compiles() {
    for source in [
        "{# a | nothing #}{% raw %}{{ a | nothing }}{% endraw %}",
        "{{ '}} | nothing' }} \"| nothing\" | nothing",
        "{% for c in a if not (c is none) %}{{ loop.cycle(1, 2) }}{% endfor %}",
        "{{ (a) if (b) else (c) }}{{ a['is'] is not in (1, 2) }}",
        "{%- set x = a | default(1) -%}{{- x -}}",
        "{{ uuid() }}{{ dict(a=1) }}",
        "plain { text } with | pipes (and) is this",
    ] {
        Template::compile(source, Escape::None).map(|_| ()).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}

#[test]
fn the_names_that_a_template_needs_are_known() {
    let template =
        Template::compile("{{ user.id }}{{ uuid() }}{% set a = now %}{{ a }}{{ answer.json.x }}", Escape::None)
            .expect("compiles");
    assert_eq!(template.variables(), ["answer", "now", "user"]);
    let expression = Expression::compile("status == 200 and json.user.id is defined").expect("compiles");
    assert_eq!(expression.variables(), ["json", "status"]);
}

#[test]
fn a_path_into_what_is_not_there_is_undefined_to_an_expression() {
    for (source, expected) in [
        ("json.user.id is defined", false),
        ("json.user.id is not defined", true),
        ("headers.location is endingwith('/x')", false),
        ("headers.location is not endingwith('/x')", true),
        ("'/twofa' in headers.location | default('')", false),
        ("'/twofa' in headers.location", false),
        ("status in [401, 403] and json.a.b.c == 1", false),
        ("status == 401", true),
        ("json.a > 3", false),
        ("headers.location | lower == '/x'", false),
        ("body is containing('x')", false),
        ("json.token | jwt_claims is defined", false),
        ("(json.token | jwt_claims).sub is defined", false),
        ("1 / 0 == 1", false),
        ("json.a + 1", false),
    ] {
        assert_eq!(holds(source, json!({ "status": 401, "headers": {} })), expected, "{source}");
    }
}

#[test]
fn expressions_judge_what_answers_contain() {
    let over = json!({
        "status": 302,
        "headers": { "location": "/home", "content-type": "text/html" },
        "set_cookies": { "remember": "", "user[id]": "7" },
        "body": "<p>Welcome</p>",
        "json": { "user": { "id": 7, "name": "Ann" }, "list": [{ "name": "ann" }] },
        "request": { "login": "ANN" },
    });
    for source in [
        "status in [302, 303] and headers.location is not endingwith('/users/sign_in') and set_cookies.remember is defined",
        "not set_cookies.remember",
        "set_cookies['user[id]'] == '7'",
        "headers['content-type'] is startingwith('text/')",
        "body is containing('Welcome') and 'Welcome' in body",
        "json.user.name | lower == request.login | lower",
        "json.list | length == 1 and json.list[0].name == 'ann'",
        "json.user.id == 7 and json.user.id != '7'",
    ] {
        assert!(holds(source, over.clone()), "{source}");
    }
    assert_eq!(value("json.user", over.clone()), Some(json!({ "id": 7, "name": "Ann" })));
    assert_eq!(value("json.user.id", over.clone()), Some(json!(7)));
    assert_eq!(value("json.user.id | string", over.clone()), Some(json!("7")));
    assert_eq!(value("json.none", over.clone()), None);
    assert_eq!(value("json.user.id + json.user", over), None);
}

#[test]
fn encodings_there_and_back() {
    let odd = "a/b?c=d&e#f ../é%+";
    let over = json!({ "odd": odd, "n": 5, "yes": true });
    let text = |source: &str| render(source, Escape::None, over.clone()).expect("renders");
    assert_eq!(text("{{ odd | urlencode }}"), "a%2Fb%3Fc%3Dd%26e%23f%20..%2F%C3%A9%25%2B");
    assert_eq!(text("{{ odd | urlencode | urldecode }}"), odd);
    assert_eq!(text("{{ odd | b64encode | b64decode }}"), odd);
    assert_eq!(text("{{ odd | b64urlencode | b64decode }}"), odd);
    assert_eq!(text("{{ n | urlencode }}{{ yes | urlencode }}"), "5true");
    assert_eq!(value("x | b64decode", json!({ "x": "***" })), None);
    assert_eq!(value("x | b64decode", json!({ "x": "/w==" })), None, "not UTF-8");
    assert_eq!(value("x | urldecode", json!({ "x": "%ff" })), None);
}

#[test]
fn claims_are_read_from_a_token_and_from_nothing_else() {
    // {"alg":"HS256","typ":"JWT"} . {"sub":"7","n":1}
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwibiI6MX0.c2ln";
    assert_eq!(value("t | jwt_claims", json!({ "t": token })), Some(json!({ "sub": "7", "n": 1 })));
    assert_eq!(value("(t | jwt_header).alg", json!({ "t": token })), Some(json!("HS256")));
    for bad in [json!(""), json!("a.b"), json!("a.b.c.d"), json!("a.***.c"), json!("a.WzFd.c"), json!(5), json!(null)] {
        assert_eq!(value("t | jwt_claims", json!({ "t": bad })), None, "{bad}");
    }
    let huge = format!("a.{}.c", "e".repeat(20_000));
    assert_eq!(value("t | jwt_claims", json!({ "t": huge })), None);
}

#[test]
fn work_is_bounded() {
    let list: Vec<u32> = (0..2_000).collect();
    let over = context(json!({ "list": list, "body": "x".repeat(1 << 20) }));
    let loops = "{% for a in list %}{% for b in list %}{{ a }}{% endfor %}{% endfor %}";
    let error = Template::compile(loops, Escape::None).expect("compiles").render(&over).expect_err("out of fuel");
    assert_eq!(error.to_string(), "engine ran out of fuel");
    let bomb =
        Expression::compile("(body ~ body ~ body ~ body ~ body ~ body ~ body ~ body) | length > 1").expect("compiles");
    assert_eq!(bomb.judge(&over), Judgement::Exhausted);
    let search = Expression::compile("'needle' in body or body is containing('needle')").expect("compiles");
    assert_eq!(search.judge(&over), Judgement::Fails, "a page of a megabyte may be searched");
}

#[test]
fn templates_and_expressions_go_between_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Template>();
    is_shared::<Expression>();
}
