//! proxy.toml as an operator meets it: the files that we ship load, what is wrong is told in one run, with its key, its line and
//! what would be right, and nobody's secret is ever shown.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use authferry::cli;
use authferry::config::{Config, Environment, Place, Problems, load, schema};
use authferry::domain::mode::Mode;
use authferry::http::settings::{Bind, ClientAuth, LegacyWay, Session};
use authferry::net::tls::TlsSettings;
use authferry::token::settings::ClaimValue;
use serde_json::Value;

/// The least that a configuration needs.
const MINIMAL: &str = "[upstream]\nurl = \"http://127.0.0.1:3000\"\n";

const CANARY: &str = "canary-7f3a9";

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::new(variables.iter().copied(), NonZeroUsize::new(4).expect("not zero"))
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    Config::from_text(text, "proxy.toml", &environment(variables))
}

fn valid(text: &str) -> Config {
    read(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems_with(text: &str, variables: &[(&str, &str)]) -> Problems {
    match read(text, variables) {
        Ok(_) => panic!("this was taken for valid:\n{text}"),
        Err(problems) => problems,
    }
}

fn problems(text: &str) -> Problems {
    problems_with(text, &[])
}

/// Key, line, and message of each problem.
fn listed(problems: &Problems) -> Vec<(String, usize, String)> {
    let line = |place: &Place| match place {
        Place::Line(excerpt) => excerpt.line,
        Place::Variable(_) | Place::Whole(_) => 0,
    };
    problems.list().iter().map(|problem| (problem.key.clone(), line(&problem.place), problem.message.clone())).collect()
}

/// Whether some problem has this key, and a message or help with these words.
fn tells(problems: &Problems, key: &str, words: &str) -> bool {
    let told = |problem: &&authferry::config::Finding| {
        problem.key == key
            && format!("{} {}", problem.message, problem.help.as_deref().unwrap_or_default()).contains(words)
    };
    problems.list().iter().any(|problem| told(&problem))
}

#[track_caller]
fn assert_tells(text: &str, key: &str, words: &str) {
    let problems = problems(text);
    assert!(tells(&problems, key, words), "no problem of `{key}` says `{words}`:\n{problems}");
}

#[track_caller]
fn assert_warns(text: &str, key: &str, words: &str) {
    let config = valid(text);
    let warned = config.warnings.iter().any(|warning| warning.key == key && warning.message.contains(words));
    assert!(warned, "no warning of `{key}` says `{words}`:\n{:#?}", config.warnings);
}

fn contract() -> String {
    fs::read_to_string("tests/it/fixtures/contract.toml").expect("the fixture")
}

// ------------------------------------------------------------------------------------------------- files that we ship

#[test]
fn the_annotated_proxy_toml_loads() {
    let config = load(Some(Path::new("proxy.toml")), &environment(&[])).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.edge.routes.len(), 3);
}

#[test]
fn every_key_of_the_contract_loads_and_means_what_it_says() {
    let config = valid(&contract());
    assert_eq!(config.migration.mode, Mode::Migrate);
    assert_eq!(config.migration.revalidate_after, None);
    assert_eq!(config.edge.listeners[0].bind, Bind::Tcp("127.0.0.1:8080".parse().expect("an address")));
    assert_eq!(config.edge.upstream.response_timeout, Duration::from_secs(30));
    assert_eq!(config.legacy.breaker.open_for, Duration::from_secs(15));
    let names: Vec<&str> = config.edge.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["login", "register", "web-login"]);
    assert_eq!((config.edge.routes[0].legacy, config.edge.routes[2].legacy), (LegacyWay::Call, LegacyWay::Forward));
    assert_eq!(config.edge.routes[2].session, Session::Forward);
    assert!(config.legacy.routes[0].is_none() && config.legacy.routes[2].is_some());
    assert!(config.legacy.get_user.as_ref().is_some_and(|rules| !rules.needs_answer));
    let token = config.token.as_ref().expect("a token");
    let claims: Vec<&str> = token.claims.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((claims, token.subject_claim.as_str()), (vec!["sub", "email", "admin"], "sub"));
    assert!(matches!(&token.claims[2].1, ClaimValue::Fixed(Value::Bool(false))));
    assert_eq!((config.password.memory_kib, config.password.workers.get()), (19 * 1_024, 4));
    assert_eq!(config.limits.per_account.period, Duration::from_secs(900));
    assert_eq!(config.store.cache_bytes, 64 << 20);
    assert_eq!(config.admin.bind, "127.0.0.1:9090".parse().ok());
}

#[test]
fn the_contract_holds_no_key_that_proxy_toml_lacks() {
    fn keys(table: &toml::Table, path: &str, into: &mut Vec<String>) {
        for (key, value) in table {
            let path = format!("{path}.{key}");
            match value {
                toml::Value::Table(table) => keys(table, &path, into),
                toml::Value::Array(items) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|table| keys(table, &path, into));
                }
                _ => {}
            }
            into.push(path);
        }
    }
    let of = |text: &str| {
        let mut found = Vec::new();
        keys(&text.parse().expect("TOML"), "", &mut found);
        found
    };
    let ours = of(&fs::read_to_string("proxy.toml").expect("proxy.toml"));
    let missing: Vec<String> = of(&contract()).into_iter().filter(|key| !ours.contains(key)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_least_configuration_is_an_upstream() {
    let config = valid(MINIMAL);
    assert_eq!(config.edge.listeners.len(), 1);
    assert_eq!(config.legacy.target, config.edge.upstream.target, "legacy is the upstream where nothing else is said");
    assert!(config.token.is_none() && config.admin.token.is_none());
}

// ----------------------------------------------------------------------------------------------------------- rendering

#[test]
fn a_problem_is_shown_with_its_line_a_caret_its_key_and_what_would_be_right() {
    let shown =
        problems("[upstream]\nurl = \"http://127.0.0.1:3000\"\nconnect_timeout = \"2 parsecs\"   # far\n").to_string();
    let expected = r#"error: this value cannot be read
 --> proxy.toml:3:19
  |
3 | connect_timeout = "2 parsecs"   # far
  |                   ^^^^^^^^^^^
  = key: upstream.connect_timeout
  = help: a duration is written as "500ms", "5s", "15m", "24h", "7d" or "1h30m"

1 problem in the configuration"#;
    assert_eq!(shown, expected);
}

#[test]
fn an_unknown_key_is_refused_and_the_one_that_was_meant_is_named() {
    let shown =
        problems(&format!("{MINIMAL}\n[[route]]\nname = \"login\"\nactoin = \"login\"\nmatch.path = \"/login\"\n"))
            .to_string();
    let expected = r#"error: there is no such key
 --> proxy.toml:6:1
  |
6 | actoin = ***
  | ^^^^^^
  = key: route[0].actoin
  = help: did you mean `action`?
"#;
    assert!(shown.starts_with("error: this key is missing\n --> proxy.toml:4:1\n"), "{shown}");
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_place_in_a_line_is_counted_in_characters_and_tabs_do_not_move_the_caret() {
    let shown = problems("[upstream]\nurl = \"http://x\"\n\t preserve_host = \"\u{e4}\u{1f980}\"\n").to_string();
    assert!(shown.contains("3 |   preserve_host = \"\u{e4}\u{1f980}\"\n  |                   ^^^^\n"), "{shown}");
}

#[test]
fn a_long_line_is_shown_around_its_caret() {
    let claims: Vec<String> = (0..60).map(|n| format!("claim_{n} = {n}")).collect();
    let text = format!("{MINIMAL}[token]\nkey = {{ env = \"KEY\" }}\nclaims = {{ {}, iat = 1 }}\n", claims.join(", "));
    let shown = problems_with(&text, &[("KEY", "0123456789abcdef0123456789abcdef")]).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let (line, carets) = (lines[3], lines[4]);
    let (caret, width) = (carets.find('^').expect("a caret"), carets.matches('^').count());
    let pointed: String = line.chars().skip(caret).take(width).collect();
    assert_eq!((pointed.as_str(), line.chars().count() < 160), ("1", true), "{shown}");
    assert!(shown.contains("= key: token.claims.iat"));
}

#[test]
fn all_broken_places_of_a_file_that_is_no_toml_are_told() {
    let problems = problems("[upstream]\nurl = http\n[store]\npath = \n[log\n");
    let lines: Vec<usize> = listed(&problems).into_iter().map(|(_, line, _)| line).collect();
    assert!([2, 4, 5].iter().all(|line| lines.contains(line)), "{problems}");
}

#[test]
fn every_problem_is_found_in_one_run_in_the_order_of_the_file() {
    let text = r#"
[migration]
mode = "migrat"
local_share = 101
recheck_budget = "often"

[[listener]]
bind = "localhost"

[upstream]
url = "ftp://127.0.0.1"
response_timout = "30s"

[legacy]
max_in_flight = "many"

[[route]]
name = "login"
action = "login"
match = { path = "login" }
request = { login = "email", password = "/password" }
legacy = "call"
reply.ok = { status = 99, json = '{"a": {{ tokn }}}' }

[store]
cache = "64MB"

[password]
argon2id = { memory = "4MiB" }

[trusted_proxies]
cidrs = ["10.0.0.0/8", "ten"]

[admin]
bind = "9090"

[log]
level = "loud"
"#;
    let problems = problems(text);
    let keys: Vec<String> = listed(&problems).into_iter().map(|(key, ..)| key).collect();
    let expected = [
        "migration.mode",
        "migration.local_share",
        "migration.recheck_budget",
        "listener[0].bind",
        "upstream.url",
        "upstream.response_timout",
        "legacy.max_in_flight",
        "route[0].match.path",
        "route[0].request.login",
        "route[0].legacy",
        "route[0].reply.ok.status",
        "route[0].reply.ok.json",
        "store.cache",
        "password.argon2id.memory",
        "trusted_proxies.cidrs[1]",
        "admin.bind",
        "log.level",
    ];
    assert_eq!(keys, expected, "{problems}");
}

#[test]
fn a_value_of_a_wrong_type_is_not_missed_a_second_time() {
    let problems = problems("[upstream]\nurl = 3000\n");
    assert_eq!(
        listed(&problems),
        [("upstream.url".to_owned(), 2, "this has to be a string, and is an integer".to_owned())]
    );
}

#[test]
fn what_was_refused_for_its_type_is_not_reported_as_missing() {
    let with_key = problems(&format!("{MINIMAL}[token]\nkey = 5\n"));
    assert_eq!(listed(&with_key).len(), 1, "{with_key}");
    let text = contract();
    let start = text.find("[legacy.get_user]").expect("the table");
    let end = start + text[start..].find("[identity]").expect("the next table");
    let table =
        problems(&format!("legacy.get_user = 5\n{}{}", text[..start].replace("[legacy]", "[legacy_]"), &text[end..]));
    assert!(
        !table.list().iter().any(|problem| problem.key.ends_with("write") || problem.key.ends_with("from")),
        "{table}"
    );
}

#[test]
fn a_missing_upstream_is_told_by_the_key_that_is_needed() {
    assert_tells("", "upstream.url", "this key is missing");
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let shown = problems(&format!("{MINIMAL}\"\\u001b[31mred\" = 1\n")).to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

// ------------------------------------------------------------------------------------------------------------- secrets

#[test]
fn r116_no_secret_is_shown_whatever_is_wrong_around_it() {
    let broken = [
        // A secret where its table should be, misspelled, doubled, of a wrong type, beside another mistake.
        format!("{MINIMAL}[token]\nkey = \"{CANARY}\"\n"),
        format!("{MINIMAL}[token]\nkey = {{ valeu = \"{CANARY}\" }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"{CANARY}\", file = \"/nowhere\" }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = [\"{CANARY}\"] }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"{CANARY}\" }}\nttl = \"long\"\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"{CANARY}\" , unknown = 1 }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"{CANARY}\" }}\nalgorithm = \"RS256\"\n"),
        format!("{MINIMAL}[token]\nkye = {{ value = \"{CANARY}\" }}\n"),
        format!("{MINIMAL}[tokne]\nkey = {{ value = \"{CANARY}\" }}\n"),
        format!("{MINIMAL}tokne = {{ key = {{ value = \"{CANARY}\" }} }}\n"),
        format!("token = \"{CANARY}\"\n{MINIMAL}"),
        format!("{MINIMAL}[admin]\ntoken = {{ value = '''\n{CANARY}\n''', x = 1 }}\nbind = 1\n"),
        // Named keys.
        format!("{MINIMAL}[store.encryption]\nseal_with = \"a\"\nkeys.a = \"{CANARY}\"\n"),
        format!("{MINIMAL}[store.encryption]\nseal_with = \"a\"\nkeys.a = {{ value = \"{CANARY}\" }}\n"),
        format!("{MINIMAL}[store.encryption]\nseal_with = \"a\"\nkeys = \"{CANARY}\"\n"),
        format!("{MINIMAL}[password.pepper]\nhash_with = \"a\"\nkeys.a = {{ valeu = \"{CANARY}\" }}\n"),
        format!("{MINIMAL}[password]\npepper = {{ hash_with = 1, keys = {{ a = {{ value = \"{CANARY}\" }} }} }}\n"),
        // A file that cannot even be read.
        format!("{MINIMAL}[token]\nkey = {{ value = {CANARY} }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"{CANARY} }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"\"\"\n{CANARY}==\n\\q\n\"\"\" }}\n"),
        format!("{MINIMAL}[token]\nkey = {{ value = \"\"\"\n{CANARY}== \\q\n\"\"\" }}\n"),
        // A password in a URL, a header that is sent to legacy.
        format!("[upstream]\nurl = \"http://user:{CANARY}@host\"\n"),
        format!(
            "{MINIMAL}[legacy.get_user]\nrequest = {{ path = \"/\", headers = {{ authorization = \"Bearer {CANARY} {{{{ x\" }} }}\n"
        ),
        format!("{MINIMAL}[legacy.login]\nrequest = {{ path = 5, form = {{ key = \"{CANARY}\" }} }}\n"),
        format!("{MINIMAL}[legacy.login]\nrequest = {{ path = 5, json = {{ a = [\"{CANARY}\"] }} }}\n"),
        format!(
            "{MINIMAL}[legacy.get_user]\nrequest = {{ path = 5, headers = {{ authorization = \"Bearer {CANARY}\" }} }}\n"
        ),
    ];
    for text in broken {
        let problems = problems(&text);
        let shown = format!("{problems} {problems:?}");
        assert!(!shown.contains(CANARY), "{text}\nshows the secret:\n{shown}");
    }
}

#[test]
fn r116_no_secret_is_shown_by_check_or_its_warnings() {
    let text = format!(
        "{MINIMAL}[token]\nkey = {{ value = \"{CANARY}\" }}\n[admin]\ntoken = {{ value = \"{CANARY}\" }}\n[legacy.get_user]\nrequest \
         = {{ path = \"/u\", headers = {{ authorization = \"{CANARY}\" }} }}\nfound = \"true\"\nnot_found = \"false\"\nuser = {{ id = \
         \"json.id\", email = \"json.email\" }}\n"
    );
    let config = valid(&text);
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let shown = format!("{}{}{:?}", cli::check::describe(&config), warnings.join("\n"), config.warnings);
    assert!(warnings.len() >= 3 && !shown.contains(CANARY), "{shown}");
}

#[test]
fn r116_no_secret_of_the_environment_is_shown() {
    let variables = [
        ("AUTHFERRY__TOKEN__KEY", CANARY),
        ("AUTHFERRY__TOKEN__KYE__VALUE", CANARY),
        ("AUTHFERRY__ADMIN__TOKEN__VALUE", CANARY),
        ("AUTHFERRY__MIGRATION__MODE", CANARY),
        ("AUTHFERRY__MIGRATION__LOCAL_SHARE", CANARY),
        ("AUTHFERRY__LOG__LEVEL", CANARY),
        ("AUTHFERRY__STORE__CACHE", CANARY),
    ];
    let problems = problems_with(MINIMAL, &variables);
    assert!(problems.list().len() >= 6 && !format!("{problems} {problems:?}").contains(CANARY), "{problems}");
}

#[test]
fn secrets_come_from_a_file_a_variable_and_a_credential() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("a file");
    let (file, directory) = (file.display().to_string(), directory.path().display().to_string());
    for (source, variables) in [
        (format!("file = {file:?}"), vec![]),
        ("env = \"SECRET\"".to_owned(), vec![("SECRET", "0123456789abcdef0123456789abcdef")]),
        ("credential = \"secret\"".to_owned(), vec![("CREDENTIALS_DIRECTORY", directory.as_str())]),
    ] {
        let text = format!("{MINIMAL}[token]\nkey = {{ {source} }}\n");
        let config = read(&text, &variables).unwrap_or_else(|problems| panic!("{problems}"));
        let token = config.token.expect("a token");
        assert_eq!(token.key.as_slice(), b"0123456789abcdef0123456789abcdef", "{source}");
        assert!(!config.warnings.iter().any(|warning| warning.key.starts_with("token.key")));
    }
}

#[test]
fn a_secret_that_cannot_be_had_is_a_problem_with_its_key() {
    let with = |source: &str| format!("{MINIMAL}[token]\nkey = {{ {source} }}\n");
    assert_tells(&with("file = \"/nowhere/at/all\""), "token.key.file", "cannot be read");
    assert_tells(&with("file = \"/dev/zero\""), "token.key.file", "no file");
    assert_tells(&with("env = \"NOT_SET\""), "token.key.env", "NOT_SET is not set");
    assert_tells(&with("credential = \"x\""), "token.key.credential", "CREDENTIALS_DIRECTORY is not set");
    assert_tells(&with("credential = \"../x\""), "token.key.credential", "a name, not a path");
    assert_tells(&with("value = \"\""), "token.key", "empty");
    assert_tells(&with(""), "token.key", "exactly one place");
    assert_tells(&with("env = \"A\", file = \"b\""), "token.key", "exactly one place");
}

/// 32 bytes and their base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// `[store.encryption]` and `[password.pepper]` alike: which key is used, and the keys.
fn keyed(chosen: &str, keys: &str) -> [(String, &'static str); 2] {
    let (seal, hash) = match chosen {
        "" => (String::new(), String::new()),
        id => (format!("seal_with = \"{id}\"\n"), format!("hash_with = \"{id}\"\n")),
    };
    [
        (format!("{MINIMAL}[store.encryption]\n{seal}{keys}\n"), "store.encryption"),
        (format!("{MINIMAL}[password.pepper]\n{hash}{keys}\n"), "password.pepper"),
    ]
}

#[test]
fn r56_r102_named_keys_are_read_and_one_of_them_is_chosen() {
    let two = format!("keys.2025 = {{ value = \"{KEY}\" }}\nkeys.2026 = {{ value = \" {OTHER_KEY}\\n\" }}");
    for (chosen, current) in [("2025", Some("2025")), ("2026", Some("2026")), ("none", None)] {
        let [(sealed, _), (peppered, _)] = keyed(chosen, &two);
        let config = valid(&sealed);
        let keys = config.store.keys.sealing.as_ref().expect("keys");
        assert_eq!(keys.current().map(authferry::keys::KeyId::as_str), current);
        assert_eq!(keys.checks().map(|check| check.id.as_str().to_owned()).collect::<Vec<_>>(), ["2025", "2026"]);
        let config = valid(&peppered);
        assert_eq!(config.store.keys.peppers.len(), 2, "the store is told what hashes need");
        assert_eq!(config.password.peppers.checks().len(), 2);
        let shown = format!("{:?}{:?}", config.password, config.store);
        let said = [cli::check::describe(&valid(&sealed)), cli::check::describe(&config)].concat();
        assert_eq!(said.contains("sealed with the key"), current.is_some(), "{said}");
        assert_eq!(said.contains("peppered with the key"), current.is_some(), "{said}");
        assert!(!said.contains(KEY) && !said.contains(OTHER_KEY), "{said}");
        assert!(shown.contains("2026") && !shown.contains(KEY) && !shown.contains("0123456789abcdef"), "{shown}");
    }
    let config = valid(MINIMAL);
    assert!(config.store.keys.sealing.is_none() && config.store.keys.peppers.is_empty());
    let variables = [
        ("AUTHFERRY__STORE__ENCRYPTION__SEAL_WITH", "2026"),
        ("AUTHFERRY__STORE__ENCRYPTION__KEYS__2026__ENV", "SEALING_KEY"),
        ("SEALING_KEY", KEY),
    ];
    let config = read(MINIMAL, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.store.keys.sealing.is_some(), "by the environment alone");
}

#[test]
fn r56_r102_what_is_no_key_or_names_none_is_refused() {
    let one = |id: &str, key: &str| format!("keys.{id} = {{ value = \"{key}\" }}");
    let tells = |chosen: &str, keys: &str, at: &str, words: &str| {
        for (text, table) in keyed(chosen, keys) {
            let key = if at.is_empty() { table.to_owned() } else { format!("{table}.{at}") };
            let key = if table == "password.pepper" { key.replace("seal_with", "hash_with") } else { key };
            assert_tells(&text, &key, words);
        }
    };
    for no_key in ["", "c2hvcnQ=", &KEY[..43], "0123456789abcdef0123456789abcdef", &[KEY, KEY].concat()] {
        tells("a", &one("a", no_key), "keys.a", if no_key.is_empty() { "empty" } else { "32 random bytes in base64" });
    }
    tells("a", &one("a", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "keys.a", "over and over");
    tells("a", &format!("{}\n{}", one("a", KEY), one("b", KEY)), "keys.b", "the key `a` under another name");
    for id in ["none", "too-long-a-name", "a.b"] {
        let quoted = if id.contains('.') { format!("\"{id}\"") } else { id.to_owned() };
        tells("none", &one(&quoted, KEY), &format!("keys.{quoted}"), "1 to 8 letters");
    }
    tells("b", &one("a", KEY), "seal_with", "none of the keys has this name");
    tells("", &one("a", KEY), "seal_with", "");
}

#[test]
fn a_secret_in_the_file_itself_is_warned_of() {
    assert_warns(
        &format!("{MINIMAL}[admin]\ntoken = {{ value = \"x\" }}\n"),
        "admin.token.value",
        "in the file itself",
    );
}

// --------------------------------------------------------------------------------------------------------- environment

#[test]
fn a_variable_overrides_its_key_typed_as_the_key_is() {
    let variables = [
        ("AUTHFERRY__STORE__PATH", "/data/users.redb"),
        ("AUTHFERRY__MIGRATION__MODE", "observe"),
        ("AUTHFERRY__MIGRATION__LOCAL_SHARE", "25"),
        ("AUTHFERRY__UPSTREAM__PRESERVE_HOST", "false"),
        ("AUTHFERRY__LISTENER__0__BIND", "127.0.0.1:0"),
        ("AUTHFERRY__ROUTE__1__NAME", "sign-up"),
        ("AUTHFERRY__ROUTE__0__MATCH__EXACT", "true"),
        ("AUTHFERRY__ROUTE__0__REPLY__DENIED__STATUS", "403"),
        ("AUTHFERRY__PASSWORD__WORKERS", "2"),
        ("AUTHFERRY__PASSWORD__ARGON2ID__ITERATIONS", "3"),
        ("AUTHFERRY__TRUSTED_PROXIES__CIDRS__0", "10.0.0.0/8"),
        ("AUTHFERRY__TOKEN__CLAIMS__ADMIN", "true"),
        ("AUTHFERRY__ADMIN__BIND", "off"),
        ("AUTHFERRY_CONFIG", "this is no override"),
    ];
    let config = read(&contract(), &variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.store.path, Path::new("/data/users.redb"));
    assert_eq!(config.migration.mode, Mode::Observe);
    assert!(!config.edge.upstream.preserve_host);
    assert!(matches!(config.edge.listeners[0].bind, Bind::Tcp(addr) if addr.port() == 0));
    assert_eq!(&*config.edge.routes[1].name, "sign-up");
    assert!(config.edge.routes[0].matcher.exact);
    assert_eq!(config.edge.routes[0].replies.denied.as_ref().map(|reply| reply.status.as_u16()), Some(403));
    assert_eq!((config.password.workers.get(), config.password.iterations), (2, 3));
    assert_eq!(config.edge.trusted_proxies.cidrs.len(), 1);
    assert!(matches!(&config.token.expect("a token").claims[2].1, ClaimValue::Fixed(Value::Bool(true))));
    assert_eq!(config.admin.bind, None);
}

#[test]
fn variables_alone_can_make_tables_lists_and_a_whole_configuration() {
    let variables = [
        ("AUTHFERRY__UPSTREAM__URL", "http://127.0.0.1:3000"),
        ("AUTHFERRY__UPSTREAM__IDENTITY_HEADERS__X_REMOTE_USER", "{{ user.login }}"),
        ("AUTHFERRY__TOKEN__KEY__ENV", "KEY"),
        ("KEY", "0123456789abcdef0123456789abcdef"),
        ("AUTHFERRY__LISTENER__0__BIND", "127.0.0.1:0"),
        ("AUTHFERRY__LISTENER__1__BIND", "unix:/run/authferry.sock"),
    ];
    // A header's name cannot be told from its variable alone: `_` stays what it is where the file does not have the header.
    let config = read("", &variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.edge.listeners.len(), 2);
    assert_eq!(config.edge.upstream.identity_headers[0].0, "x_remote_user");
    assert!(config.token.is_some());
}

#[test]
fn a_variable_that_names_no_key_is_a_problem() {
    for (name, words) in [
        ("AUTHFERRY__STORE__PAHT", "did you mean AUTHFERRY__STORE__PATH?"),
        ("AUTHFERRY__", "names no key"),
        ("AUTHFERRY__NOTHING", "names no key"),
        ("AUTHFERRY__STORE", "this is a table"),
        ("AUTHFERRY__TRUSTED_PROXIES__CIDRS", "this is a list"),
        ("AUTHFERRY__STORE__PATH__X", "there is no key under"),
        ("AUTHFERRY__LISTENER__7__BIND", "not a place in this list"),
        ("AUTHFERRY__LISTENER__X__BIND", "not a place in this list"),
        ("AUTHFERRY__PASSWORD__QUEUE", "takes an integer"),
        ("AUTHFERRY__UPSTREAM__PRESERVE_HOST", "takes `true` or `false`"),
    ] {
        let problems = problems_with(MINIMAL, &[(name, "word")]);
        let shown = problems.to_string();
        assert!(
            shown.contains(words) && shown.contains(&format!("--> environment variable {name}\n")),
            "{name}: {shown}"
        );
    }
}

#[test]
fn an_override_is_held_to_the_rules_of_its_key() {
    let problems =
        problems_with(MINIMAL, &[("AUTHFERRY__STORE__CACHE", "many"), ("AUTHFERRY__MIGRATION__LOCAL_SHARE", "101")]);
    let shown = problems.to_string();
    assert!(
        tells(&problems, "store.cache", "a size is written as")
            && tells(&problems, "migration.local_share", "from 0 to 100")
    );
    assert!(shown.contains("environment variable AUTHFERRY__STORE__CACHE"), "{shown}");
}

// ------------------------------------------------------------------------------------------------------------- meaning

/// The contract's login route, with one line replaced by another.
fn changed(from: &str, to: &str) -> String {
    let text = contract();
    assert!(text.contains(from), "the fixture has no line `{from}`");
    text.replacen(from, to, 1)
}

#[test]
fn values_are_refused_with_what_would_be_right() {
    for (from, to, key, words) in [
        ("connect_timeout = \"2s\"", "connect_timeout = \"2\"", "upstream.connect_timeout", "a duration is written as"),
        (
            "revalidate_after = \"never\"",
            "revalidate_after = \"ever\"",
            "migration.revalidate_after",
            "a duration is written as",
        ),
        ("cache = \"64MiB\"", "cache = \"64MB\"", "store.cache", "a size is written as"),
        ("rate = \"30/1m\"", "rate = \"30\"", "limits.per_ip.rate", "a rate is written as"),
        ("bind = \"127.0.0.1:8080\"", "bind = \"unix:relative\"", "listener[0].bind", "unix:/run"),
        ("bind = \"127.0.0.1:9090\"", "bind = \"on\"", "admin.bind", "\"off\""),
        (
            "header = \"x-forwarded-for\"",
            "header = \"x-forwarded-fro\"",
            "trusted_proxies.header",
            "did you mean `x-forwarded-for`?",
        ),
        ("cidrs = []", "cidrs = [\"10.0.0.0/33\"]", "trusted_proxies.cidrs[0]", "not a network"),
        ("memory = \"19MiB\"", "memory = \"7MiB\"", "password.argon2id.memory", "from 8MiB"),
        ("ipv6_prefix = 64", "ipv6_prefix = 129", "limits.per_ip.ipv6_prefix", "from 1 to 128"),
        ("level = \"info\"", "level = \"infos\"", "log.level", "not a level"),
        ("workers = \"auto\"", "workers = 0", "password.workers", "from 1 to 1024, or `auto`"),
        ("url = \"http://127.0.0.1:3000\"", "url = \"127.0.0.1:3000\"", "upstream.url", "http"),
        ("url = \"http://127.0.0.1:3000\"", "url = \"http://127.0.0.1:8080\"", "upstream.url", "in circles"),
        ("bind = \"127.0.0.1:9090\"", "bind = \"127.0.0.1:8080\"", "admin.bind", "a public listener has this address"),
    ] {
        assert_tells(&changed(from, to), key, words);
    }
}

#[test]
fn templates_and_expressions_are_compiled_and_their_names_are_checked() {
    for (from, to, key, words) in [
        ("\"{{ password }}\"", "\"{{ pasword }}\"", "legacy.login.request.json.password", "there is no `pasword` here"),
        ("\"{{ login }}\"", "\"{{ login \"", "legacy.login.request.json.email", "cannot be compiled"),
        ("{{ login | urlencode }}", "{{ login | urlencod }}", "legacy.get_user.request.path", "no filter `urlencod`"),
        ("{{ login | urlencode }}", "{{ login }}", "legacy.get_user.request.path", "another path"),
        ("found = \"status == 200\"", "found = \"status = 200\"", "legacy.get_user.found", "cannot be compiled"),
        ("found = \"status == 200\"", "found = \"stats == 200\"", "legacy.get_user.found", "there is no `stats` here"),
        (
            "forward.denied = \"status in",
            "forward.denied = \"code in",
            "route[2].forward.denied",
            "there is no `code` here",
        ),
        ("{{ user.email }}", "{{ user.mail }}", "token.claims.email", "`user.mail` is not there"),
        (
            "\"token\": {{ token | tojson }}",
            "\"token\": {{ tokne | tojson }}",
            "route[0].reply.ok.json",
            "there is no `tokne` here",
        ),
        (
            "\"token\": {{ token | tojson }}",
            "\"token\": {{ token | tojson }",
            "route[0].reply.ok.json",
            "cannot be compiled",
        ),
        (
            "\"token\": {{ token | tojson }}",
            "\"token\" {{ token | tojson }}",
            "route[0].reply.ok.json",
            "renders no JSON",
        ),
        (
            "'{\"error\": \"invalid credentials\"}'",
            "'{\"error\": \"{{ token }}\"}'",
            "route[0].reply.denied.json",
            "there is no `token`",
        ),
    ] {
        assert_tells(&changed(from, to), key, words);
    }
}

#[test]
fn what_a_route_asks_of_other_tables_has_to_be_there() {
    let without = |table: &str| {
        let text = contract();
        let start = text.find(&format!("[{table}]")).expect("the table");
        let end = text[start + 1..].find("\n[").map_or(text.len(), |end| start + 1 + end);
        format!("{}{}", &text[..start], &text[end..])
    };
    assert_tells(&without("legacy.login"), "route[0].legacy", "[legacy.login]");
    assert_tells(&without("legacy.get_user"), "route[1].write", "[legacy.get_user]");
    assert_tells(&without("legacy.get_user"), "route[2].forward.user.from", "[legacy.get_user]");
    assert_tells(&without("token"), "route[0].reply.ok.json", "there is no `token` here");
    assert_tells(&changed("write = \"local\"", "write = \"legacy_first\""), "route[1].write", "[legacy.register]");
    assert_tells(
        &changed("request = { login = \"/email\", password = \"/password\" }", "request = {}"),
        "route[0].request.login",
        "where the name is",
    );
    assert_tells(&changed("forward.denied", "# forward.denied"), "route[2].forward.denied", "missing");
    assert_tells(&changed("forward.user = { from = \"get_user\" }", ""), "route[2].forward.user", "who logged in");
    assert_tells(
        &changed(
            "path = \"/internal/users/{{ login | urlencode }}\"",
            "path = \"/me\", headers = { authorization = \"Bearer {{ answer.json.t }}\" }",
        ),
        "route[1].write",
        "made of `login`",
    );
    let get_user = "[[route]]\nname = \"me\"\naction = \"get_user\"\nmatch = { method = \"GET\", path = \"/me\" }\n";
    assert_tells(&format!("{MINIMAL}{get_user}"), "route[0].action", "without a `[token]`");
    let refresh = "[[route]]\nname = \"r\"\naction = \"refresh\"\nmatch = { path = \"/r\" }\nrequest.token = \"/t\"\n";
    assert_tells(&format!("{}{refresh}", contract()), "route[3].refreshes", "[tokens.refresh]");
}

#[test]
fn after_legacys_end_nothing_is_asked_of_its_tables() {
    let text = format!(
        "[migration]\nmode = \"retired\"\n{MINIMAL}[[route]]\nname = \"login\"\naction = \"login\"\nmatch.path = \"/login\"\nrequest = {{ \
         login = \"/email\", password = \"/password\" }}\n"
    );
    assert_eq!(valid(&text).edge.routes.len(), 1);
}

#[test]
fn routes_that_cannot_work_are_refused() {
    for (from, to, key, words) in [
        ("name = \"register\"", "name = \"login\"", "route[1].name", "another route has this name"),
        ("name = \"register\"", "name = \"re gister\"", "route[1].name", "name of a route"),
        ("path = \"/api/login\"", "path = \"/api//login\"", "route[0].match.path", "empty or dotted"),
        ("path = \"/api/login\"", "path = \"/api/login?x=1\"", "route[0].match.path", "match.query"),
        ("path = \"/api/login\"", "path = \"/api/%6cogin\"", "route[0].match.path", "plain ASCII"),
        (
            "method = \"POST\", path = \"/api/login\"",
            "method = \"post\", path = \"/api/login\"",
            "route[0].match.method",
            "in capitals",
        ),
        (
            "method = \"POST\", path = \"/api/login\"",
            "method = \"GET\", path = \"/api/login\"",
            "route[0].match.method",
            "no body",
        ),
        (
            "login = \"/email\", password = \"/password\" }",
            "login = \"email\", password = \"/password\" }",
            "route[0].request.login",
            "JSON pointer",
        ),
        (
            "login = \"/email\", password = \"/password\" }",
            "login = \"/a\", password = \"/a\" }",
            "route[0].request.password",
            "the same field",
        ),
        ("status = 401, json", "status = 204, json", "route[0].reply.denied.status", "has no body"),
        (
            "location = \"/\"",
            "content-length = \"5\"",
            "route[2].reply.ok.headers.content-length",
            "writes this header itself",
        ),
        ("location = \"/\"", "\"a b\" = \"5\"", "route[2].reply.ok.headers.\"a b\"", "name of a header"),
        ("body = \"<p>Wrong", "json = \"1\", body = \"<p>Wrong", "route[2].reply.denied", "one body"),
        ("user = { id = \"json.user.id\", ", "user = { ", "legacy.login.user.id", "stable id"),
        ("action = \"register\"", "action = \"change_password\"", "route[1].legacy", "no `call`"),
    ] {
        assert_tells(&changed(from, to), key, words);
    }
}

#[test]
fn a_cookie_that_browsers_refuse_is_refused() {
    let with = |cookie: &str| {
        format!("{MINIMAL}[token]\nkey = {{ value = \"0123456789abcdef0123456789abcdef\" }}\ncookie = {{ {cookie} }}\n")
    };
    assert_tells(&with("name = \"__Host-s\", path = \"/app\""), "token.cookie.name", "browsers refuse");
    assert_tells(&with("name = \"s\", secure = false, same_site = \"None\""), "token.cookie.same_site", "not `secure`");
    assert_tells(&with("name = \"a b\""), "token.cookie.name", "name of a cookie");
    let cookie = valid(&with("name = \"__Host-s\"")).cookie.expect("a cookie");
    assert_eq!((cookie.same_site, cookie.secure, cookie.http_only), (Some("Lax"), true, true));
}

#[test]
fn tls_files_have_to_be_there_and_be_pem_and_no_key_is_quoted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (cert, key) = (directory.path().join("tls.pem"), directory.path().join("tls.key"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(&cert, made.cert.pem()).expect("written");
    fs::write(&key, CANARY).expect("written");
    let text = format!("[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ cert = {cert:?}, key = {key:?} }}\n{MINIMAL}");
    let problems = problems(&text);
    assert!(
        tells(&problems, "listener[0].tls.key", "no private key") && !problems.to_string().contains(CANARY),
        "{problems}"
    );
    assert_eq!(problems.list().len(), 1);
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    assert!(valid(&text).edge.listeners[0].tls.is_some());
}

#[test]
fn every_tls_file_is_tried_and_told_under_its_own_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (write("a.pem", &made.cert.pem()), write("a.key", &made.signing_key.serialize_pem()));
    let other = rcgen::KeyPair::generate().expect("a key");
    let other_key = write("other.key", &other.serialize_pem());
    let nameless = rcgen::CertificateParams::new(vec![]).expect("parameters").self_signed(&other).expect("made");
    let (nameless, nonsense) = (write("nameless.pem", &nameless.pem()), write("nonsense", CANARY));
    let listener = |tls: &str| format!("[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ {tls} }}\n{MINIMAL}");
    let pair = format!("cert = {cert:?}, key = {key:?}");

    let whole = format!("{pair}, also = [{{ {pair} }}], client_ca = {cert:?}");
    let tls = valid(&listener(&whole)).edge.listeners.remove(0).tls.expect("TLS");
    assert_eq!(tls.certificates().count(), 2);
    assert_eq!(tls.clients.expect("asked").demand, ClientAuth::Required, "whoever names a CA wants certificates");
    for (tls, key, words) in [
        (format!("cert = {cert:?}, key = {other_key:?}"), "listener[0].tls.key", "is not the key of the certificate"),
        (
            format!("{pair}, also = [{{ cert = {cert:?}, key = {nonsense:?} }}]"),
            "listener[0].tls.also[0].key",
            "no private key",
        ),
        (
            format!("{pair}, also = [{{ cert = {nameless:?}, key = {other_key:?} }}]"),
            "listener[0].tls.also[0].cert",
            "no DNS name",
        ),
        (format!("{pair}, also = [{{ cert = {cert:?} }}]"), "listener[0].tls.also[0].key", "missing"),
        (format!("{pair}, client_ca = {nonsense:?}"), "listener[0].tls.client_ca", "no certificate in PEM"),
        (format!("{pair}, client_auth = \"optional\""), "listener[0].tls.client_auth", "whose client certificates"),
    ] {
        assert_tells(&listener(&tls), key, words);
        assert!(!problems(&listener(&tls)).to_string().contains(CANARY));
    }

    let target = |url: &str, tls: &str| format!("[upstream]\nurl = \"{url}\"\ntls = {{ {tls} }}\n");
    let right = target("https://app:443", &format!("ca = {cert:?}, {pair}, server_name = \"app.internal\""));
    let config = valid(&right);
    assert_eq!(config.edge.upstream.tls.server_name, "app.internal".try_into().ok());
    assert_eq!(config.legacy.tls, config.edge.upstream.tls, "legacy is the upstream");
    let elsewhere = format!("{right}[legacy]\nurl = \"https://legacy\"\n");
    assert_eq!(valid(&elsewhere).legacy.tls, TlsSettings::default(), "nobody else is shown our certificate");
    let own = format!("{right}[legacy]\ntls = {{ ca = {cert:?} }}\n");
    let own = valid(&own).legacy.tls;
    assert!(own.ca.is_some() && own.identity.is_none() && own.server_name.is_none());
    for (url, tls, key, words) in [
        ("http://app", "server_name = \"app\"".to_owned(), "upstream.tls", "nothing would be encrypted"),
        ("https://app", format!("cert = {cert:?}"), "upstream.tls.cert", "without its key"),
        ("https://app", format!("key = {key:?}"), "upstream.tls.key", "without its certificate"),
        ("https://app", format!("cert = {cert:?}, key = {other_key:?}"), "upstream.tls.key", "is not the key"),
        ("https://app", format!("ca = {nonsense:?}"), "upstream.tls.ca", "no certificate in PEM"),
        ("https://app", "server_name = \"a b\"".to_owned(), "upstream.tls.server_name", "neither a DNS name"),
        ("https://app", "verify = false".to_owned(), "upstream.tls.verify", "no such key"),
    ] {
        assert_tells(&target(url, &tls), key, words);
    }
}

// ------------------------------------------------------------------------------------------------------------ warnings

#[test]
fn what_is_seldom_wise_is_warned_of_and_loads() {
    for (from, to, key, words) in [
        ("only-for-the-demo-change-me-32-bytes!", "short", "token.key", "shorter than the 32 bytes"),
        ("memory = \"19MiB\"", "memory = \"12MiB\"", "password.argon2id.memory", "OWASP"),
        ("iterations = 2", "iterations = 1", "password.argon2id.iterations", "OWASP"),
        ("workers = \"auto\"", "workers = 64", "password.workers", "4 cores"),
        ("bind = \"127.0.0.1:9090\"", "bind = \"0.0.0.0:9090\"", "admin.bind", "from other machines"),
        ("token = { value = \"only-for-the-demo\" }", "", "admin.token", "stay locked"),
        ("bind = \"127.0.0.1:8080\"", "bind = \"0.0.0.0:8080\"", "listener[0].bind", "plain HTTP"),
        ("cidrs = []", "cidrs = [\"0.0.0.0/0\"]", "trusted_proxies.cidrs[0]", "everybody is trusted"),
        ("session = \"forward\"", "session = \"forward\"", "route[2].session", "cannot be retired"),
        ("path = \"/api/register\"", "path = \"/API/Login/\"", "route[1].match.path", "`login` takes them before"),
        (
            "reply.unavailable =",
            "reply.unknown = { status = 404 }\nreply.unavailable =",
            "route[0].reply.unknown",
            "have an account",
        ),
        ("sub = \"{{ user.id }}\", ", "", "token.claims", "nobody can be found"),
    ] {
        assert_warns(&changed(from, to), key, words);
    }
    assert_warns(MINIMAL, "route", "nobody comes over");
    let described = cli::check::describe(&valid(MINIMAL));
    assert!(
        described.contains("no routes: everything is forwarded") && !described.contains("a local yes"),
        "{described}"
    );
}

#[test]
fn a_template_that_fails_for_who_has_no_email_is_warned_of_unless_it_is_a_claim_that_is_left_out() {
    let claim = "email = \"{{ user.email }}\"";
    let warned = |text: &str, key: &str| valid(text).warnings.iter().any(|warning| warning.key == key);
    assert!(!warned(&contract(), "token.claims.email"), "left out for him");
    assert!(cli::check::describe(&valid(&contract())).contains("left out for who has no such name: `email`"));
    for (to, key) in [
        ("email = \"{{ user.email | lower }}\"", "token.claims.email"),
        ("email = \"mailto:{{ user.email }}\"", "token.claims.email"),
        ("email = { json = '\"{{ user.email }}\"' }", "token.claims.email.json"),
        ("sub = \"{{ user.email }}\"", "token.claims.sub"),
    ] {
        let from = if to.starts_with("sub") { "sub = \"{{ user.id }}\"" } else { claim };
        assert_warns(&changed(from, to), key, "fails for a user who has no email, and his login is answered with 500");
    }
    for to in [
        "email = \"{{ user.email or '' }}\"",
        "email = \"{% if user.email %}{{ user.email | lower }}{% endif %}\"",
        "email = { json = \"{{ user.email | tojson }}\" }",
        "email = \"{{- user.email -}}\"",
    ] {
        let text = changed(claim, to);
        assert!(!warned(&text, "token.claims.email") && !warned(&text, "token.claims.email.json"), "{to}");
    }
    let reply = "reply.ok = { status = 200, json = '{\"token\": {{ token | tojson }}, \"user\": {{ user.profile | tojson }}}' }";
    let lacking = "reply.ok = { status = 200, headers = { x-user = \"{{ user.username }}\" }, json = '{\"tel\": \"{{ user.phone }}\"}' }";
    let text = contract().replace(reply, lacking);
    let headers = "[upstream]\nidentity_headers = { x-name = \"{{ user.username }}\", x-login = \"{{ user.login }}\" }";
    let text = text.replace("[upstream]", headers);
    for (key, words) in [
        ("route[0].reply.ok.headers.x-user", "no username, and his request is answered with 500"),
        ("route[0].reply.ok.json", "no phone, and his request is answered with 500"),
        ("upstream.identity_headers.x-name", "no username, and the app is told nothing"),
    ] {
        assert_warns(&text, key, words);
    }
    assert!(!warned(&text, "upstream.identity_headers.x-login"));
}

#[test]
fn routes_of_one_path_that_ask_for_different_fields_or_values_do_not_overlap() {
    let route = |name: &str, matcher: &str| {
        format!("[[route]]\nname = \"{name}\"\naction = \"logout\"\nmatch = {{ path = \"/index.php\", {matcher} }}\n")
    };
    for (first, second, overlap) in [
        ("query = { action = \"a\" }", "query = { action = \"b\" }", false),
        ("fields = [\"/a\"]", "fields = [\"/b\"]", false),
        ("fields = [\"/a\"]", "fields = [\"/b\", \"/a\"]", true),
        ("method = \"POST\"", "method = \"DELETE\"", false),
        ("exact = true", "exact = false", false),
        ("exact = false", "query = { action = \"b\" }", true),
    ] {
        let config = valid(&format!("{MINIMAL}{}{}", route("one", first), route("two", second)));
        let warned = config.warnings.iter().any(|warning| warning.key == "route[1].match.path");
        assert_eq!(warned, overlap, "{first} before {second}");
    }
}

#[test]
fn owasps_other_setting_of_one_pass_over_more_memory_is_not_warned_of() {
    let text = changed("memory = \"19MiB\", iterations = 2", "memory = \"46MiB\", iterations = 1");
    assert!(!valid(&text).warnings.iter().any(|warning| warning.key.starts_with("password.")));
}

#[test]
fn r108_without_an_admin_token_there_is_none() {
    let config = valid(MINIMAL);
    assert!(config.admin.bind.is_some_and(|bind| bind.ip().is_loopback()) && config.admin.token.is_none());
}

// ------------------------------------------------------------------------------------------------------ check, schema

#[test]
fn check_says_what_will_happen() {
    let said = cli::check::describe(&valid(&contract()));
    for part in [
        "mode       migrate: we answer whom we know",
        "listens    127.0.0.1:8080, plain HTTP",
        "legacy     http://127.0.0.1:3000 (the upstream), at most 5s a question",
        "at most 76 MiB for hashing: 4 threads of 19 MiB",
        "POST /api/login",
        "POST /users/sign_in with user[email], user[password]",
        "goes on to the app: not retirable",
        "HTTP Basic",
        "warning: route[2].session (proxy.toml:86:11)",
        "users.redb",
    ] {
        assert!(said.contains(part), "`{part}` is not said:\n{said}");
    }
}

#[test]
fn r43a_check_lists_the_doors_that_no_route_covers() {
    let said = cli::check::describe(&valid(&changed(
        "match = { method = \"POST\", path = \"/api/login\" }",
        "match = { path = \"/api/login\", exact = true }",
    )));
    for part in [
        "other spellings of /api/login",
        "without the query or fields of web-login",
        "no route with action delete_user",
        "the app itself, if it can be reached past authferry",
        "HTTP Basic, which the app may take on any path",
        "XML-RPC, GraphQL",
        "bodies of GET, HEAD and OPTIONS",
        "login: /api/login as a form; it is taken as JSON only",
        "web-login: /users/sign_in as JSON; it is taken as a form only",
    ] {
        assert!(said.contains(part), "`{part}` is not said:\n{said}");
    }
    assert!(!said.contains("WordPress") && !said.contains("X-Forwarded-Prefix"), "{said}");
}

#[test]
fn r43a_check_says_which_routes_can_be_reached_another_way() {
    let route = |name: &str, method: &str, matcher: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\naction = \"login\"\nmatch = {{ method = \"{method}\", {matcher} }}\n\
             request = {{ form = true, login = \"log\", password = \"pwd\" }}\nlegacy = \"forward\"\n\
             forward.success = \"status == 302 and set_cookies.session is defined\"\nforward.denied = \"status == 200\"\n\
             forward.user = {{ id = \"json.id\", username = \"json.name\" }}\n"
        )
    };
    let said = |routes: &[String]| cli::check::describe(&valid(&format!("{MINIMAL}{}", routes.concat())));
    for (routes, part) in [
        (
            vec![route("one", "POST", "path = \"/login\""), route("two", "POST", "path = \"/login.json\"")],
            "/login.json is another spelling of /login: what two does not take there goes to one",
        ),
        (
            vec![route("one", "POST", "path = \"/login\""), route("two", "PUT", "path = \"/Login/\"")],
            "/login takes a login by POST (one) and by PUT (two)",
        ),
        (vec![route("one", "POST", "path = \"/blog/wp-login.php\", fields = [\"log\"]")], "WordPress: /xmlrpc.php"),
        (
            vec![route("one", "POST", "path = \"/index.php\", query = { do = \"login\" }")],
            "multipart bodies over 2 MiB are not looked into for `do`",
        ),
        (
            vec![route("one", "POST", "path = \"/login\", exact = true")],
            "most frameworks take for it: `match.exact` of one",
        ),
        (vec!["[trusted_proxies]\ncidrs = [\"10.0.0.0/8\"]\n".to_owned()], "X-Forwarded-Prefix and its like"),
        (Vec::new(), "nothing: no route takes a password"),
    ] {
        let said = said(&routes);
        assert!(said.contains(part), "`{part}` is not said:\n{said}");
    }
    let apart = said(&[
        route("one", "POST", "path = \"/login\", exact = true"),
        route("two", "POST", "path = \"/login.json\""),
        route("three", "POST", "path = \"/session\""),
    ]);
    assert!(!apart.contains("another spelling of"), "{apart}");
    let observing = said(&["[migration]\nmode = \"observe\"\n".to_owned(), route("one", "POST", "path = \"/login\"")]);
    assert!(observing.contains("in `observe` all of it is handed on and counted"), "{observing}");
}

/// Every key of the schema: path, type, default, description.
fn documented_keys() -> Vec<(String, String, String, String)> {
    fn target<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return target(root, root.pointer(name.trim_start_matches('#')).expect("a definition"));
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(any) if any.len() == 2 && any[1].get("type") == Some(&Value::from("null")) => target(root, &any[0]),
            _ => schema,
        }
    }
    fn kind(root: &Value, schema: &Value) -> String {
        let schema = target(root, schema);
        let words = |list: &Value| -> Vec<String> {
            let word = |item: &Value| item.get("const").unwrap_or(item).as_str().map(|word| format!("`{word}`"));
            list.as_array().into_iter().flatten().filter_map(word).collect()
        };
        if let Some(value) = schema.get("x-value").and_then(Value::as_str) {
            return value.trim_start_matches("an ").trim_start_matches("a ").to_owned();
        }
        if let Some(list) = schema.get("enum").or_else(|| schema.get("oneOf")) {
            return words(list).join(", ");
        }
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            return any.iter().map(|schema| kind(root, schema)).collect::<Vec<_>>().join(" or ");
        }
        match schema.get("type") {
            None => "any".to_owned(),
            Some(Value::Array(kinds)) => kinds[0].as_str().unwrap_or_default().replace("object", "table"),
            Some(Value::String(kind)) if kind == "object" => "table".to_owned(),
            Some(Value::String(word)) if word == "array" => format!("list of {}", kind(root, &schema["items"])),
            Some(kind) => kind.as_str().unwrap_or_default().to_owned(),
        }
    }
    /// A table that stands in several places is written out in the first.
    fn walk(root: &Value, schema: &Value, path: &str, keys: &mut Vec<(String, String, String, String)>) {
        let schema = target(root, schema);
        let same = format!("the keys of `{schema:p}`");
        if let Some((first, ..)) = keys.iter().find(|(.., text)| *text == same).cloned() {
            keys.push((path.to_owned(), "table".to_owned(), String::new(), format!("as `{first}`")));
            return;
        }
        keys.push((path.to_owned(), String::new(), String::new(), same));
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let of = target(root, property);
            let item =
                of.get("items").map(|items| target(root, items)).filter(|items| items.get("properties").is_some());
            let open = of
                .get("additionalProperties")
                .map(|any| target(root, any))
                .filter(|any| any.get("properties").is_some());
            if let Some(item) = item {
                walk(root, item, &format!("{path}[]"), keys);
            } else if let Some(open) = open {
                walk(root, open, &format!("{path}.NAME"), keys);
            } else if of.get("properties").is_some() {
                walk(root, of, &path, keys);
            } else {
                let default = match property.get("default") {
                    _ if required.contains(&key.as_str()) => "needed".to_owned(),
                    None | Some(Value::Null) => String::new(),
                    Some(default) => format!("`{default}`"),
                };
                let text = property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
                keys.push((path, kind(root, property), default, text));
            }
        }
    }
    let (root, mut keys) = (schema(), Vec::new());
    walk(&root, &root, "", &mut keys);
    keys.retain(|(.., text)| !text.starts_with("the keys of "));
    keys
}

#[test]
fn every_key_is_documented_with_its_type_default_and_meaning() {
    let keys = documented_keys();
    assert!(keys.len() > 100, "the walk found the keys: {}", keys.len());
    let mut table = String::from("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for (key, kind, default, text) in &keys {
        assert!(!text.is_empty(), "`{key}` has no description");
        table.push_str(&format!("| `{key}` | {kind} | {default} | {} |\n", text.replace('|', "\\|")));
    }
    let path = "docs/configuration.md";
    let document = fs::read_to_string(path).expect("docs/configuration.md");
    let (start, end) = ("<!-- keys: made from the schema -->\n", "<!-- /keys -->");
    let before = document.split_once(start).expect("the start of the table").0;
    let after = document.split_once(end).expect("the end of the table").1;
    let expected = format!("{before}{start}{table}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &expected).expect("written");
    } else {
        assert!(document == expected, "run this test with UPDATE_DOCS=1: the table of keys is not the schema's");
    }
}

#[test]
fn the_schema_is_json_and_says_which_keys_there_are() {
    let schema: Value = serde_json::from_str(&cli::schema::text()).expect("JSON");
    assert_eq!(schema["title"], "proxy.toml");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["$defs"].as_object().is_some_and(|names| names.keys().all(|name| !name.starts_with("Raw"))));
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let problems = load(Some(Path::new("/nowhere/proxy.toml")), &environment(&[])).err().expect("a problem");
    assert!(problems.to_string().contains("/nowhere/proxy.toml"), "{problems}");
}

/// Whatever is put in the place of a value is refused or taken with a word of ours: the walk over the schema and serde agree.
#[test]
fn no_value_of_any_type_in_any_place_is_refused_without_a_reason() {
    let text = contract();
    for (number, line) in text.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if key.starts_with('#') || key.starts_with(' ') {
            continue;
        }
        for value in [
            "1",
            "-1",
            "1.5",
            "true",
            "\"x\"",
            "[]",
            "[1]",
            "[[]]",
            "{}",
            "{ x = 1 }",
            "1979-05-27",
            "99999999999999999",
        ] {
            let changed: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(at, line)| if at == number { format!("{key} = {value}") } else { line.to_owned() })
                .collect();
            if let Err(problems) = read(&changed.join("\n"), &[]) {
                assert!(!problems.to_string().contains("a reason that was not found"), "{key} = {value}");
            }
        }
    }
}

#[test]
fn every_configuration_under_examples_loads() {
    let variables = [("DJANGO_SECRET_KEY", "django-insecure-0123456789abcdef0123456789abcdef")];
    let mut seen = Vec::new();
    for entry in fs::read_dir("examples").expect("a folder of examples") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = load(Some(&path), &environment(&variables)).unwrap_or_else(|problems| panic!("{problems}"));
            // Their keys stand in them to be read; of everything else there is nothing to be said.
            let (warned, about) = (&config.warnings, |key: &str| key.contains("token"));
            assert!(warned.iter().all(|warning| about(&warning.key)), "{}: {warned:#?}", path.display());
            seen.push(path);
        }
    }
    assert!(seen.len() >= 2, "{seen:?}");
}

#[test]
fn the_configuration_of_djoser_says_what_its_author_meant() {
    let variables = [("DJANGO_SECRET_KEY", "django-insecure-0123456789abcdef0123456789abcdef")];
    let config = load(Some(Path::new("examples/django-djoser.toml")), &environment(&variables));
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.legacy.get_user.as_ref().is_some_and(|rules| rules.needs_answer));
    let token = config.token.expect("a token");
    assert_eq!((token.subject_claim.as_str(), token.named.len()), ("user_id", 1));
    assert_eq!((token.named[0].name.as_str(), token.named[0].ttl), ("refresh", Duration::from_secs(86_400)));
}

#[test]
fn tokens_of_two_purposes_must_be_told_apart_by_a_fixed_claim() {
    let alike = "\n[tokens.refresh]\nttl = \"24h\"\nclaims = { sub = \"{{ user.id }}\" }\n";
    assert_tells(&format!("{}{alike}", contract()), "tokens.refresh", "taken for the other");
    let only_one_side = "\n[tokens.refresh]\nttl = \"24h\"\nclaims = { sub = \"{{ user.id }}\", kind = \"refresh\" }\n";
    let access = contract().replace(", admin = false", "");
    assert_tells(&format!("{access}{only_one_side}"), "tokens.refresh", "taken for the other");
}

#[test]
fn a_forwarded_login_proven_by_nothing_but_a_redirect_is_warned_of() {
    let weak = contract().replace(" and set_cookies.remember is defined", "");
    assert_ne!(weak, contract());
    assert_warns(&weak, "route[2].forward.success", "signed in already");
    assert!(valid(&contract()).warnings.iter().all(|warning| warning.key != "route[2].forward.success"));
}
