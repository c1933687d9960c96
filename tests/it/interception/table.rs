//! The table of docs/edge.md: which variants of a login each app takes for one, and what the proxy makes of them. Made from what the
//! apps say, so that it cannot age.

use std::collections::BTreeSet;
use std::fs;

use super::backends::{APPS, App, Backend, Flavour};
use super::variants::{Catalogue, Change};
use super::wire::{Back, Peer, Wire};
use super::{Outcome, Proxies, login_of, outcome};

/// A row: what people read, and what is changed. `{path}`, `{folder}` and `{name}` are those of the app's login.
type Row = (&'static str, fn(&str) -> Vec<Change>);

fn path(template: &str, app: &str) -> Vec<Change> {
    let (folder, name) = app.rsplit_once('/').expect("a path in a folder");
    let path = template.replace("{path}", app).replace("{folder}", folder).replace("{name}", name);
    vec![Change::Path(path)]
}

const JSON: &str = r#"{"email":"$N","password":"$P"}"#;
const FORM: &str = "email=$N&password=$P";
const MULTIPART: &str = "--B\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n$N\r\n--B\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n$P\r\n--B--\r\n";

const ROWS: [Row; 40] = [
    ("`POST /api/login`, as configured", |_| Vec::new()),
    ("`/API/LOGIN`", |app| vec![Change::Path(app.to_ascii_uppercase())]),
    ("`/api/login/`", |app| path("{path}/", app)),
    ("`/api/login.json`", |app| path("{path}.json", app)),
    ("`/api/login;x=1`", |app| path("{path};x=1", app)),
    ("`/api;x=1/login`", |app| path("{folder};x=1/{name}", app)),
    ("`/api/login%20`", |app| path("{path}%20", app)),
    ("`/%61pi/login`", |app| vec![Change::Path(app.replacen('a', "%61", 1))]),
    ("`/%2561pi/login`", |app| vec![Change::Path(app.replacen('a', "%2561", 1))]),
    ("`//api/login`", |app| path("/{path}", app)),
    ("`/api//login`", |app| path("{folder}//{name}", app)),
    ("`/api/./login`", |app| path("{folder}/./{name}", app)),
    ("`/api/x/../login`", |app| path("{folder}/x/../{name}", app)),
    ("`/api%2flogin`", |app| path("{folder}%2f{name}", app)),
    ("`/api%5clogin`", |app| path("{folder}%5c{name}", app)),
    ("`/api/login%00`", |app| path("{path}%00", app)),
    ("`/api/login/x`", |app| path("{path}/x", app)),
    ("`/index.php/api/login`", |app| path("/index.php{path}", app)),
    ("`http://app.example/api/login`", |app| path("http://app.example{path}", app)),
    ("`/other`, `X-Original-URL: /api/login`", |_| {
        vec![Change::Path("/other".to_owned()), Change::Header("X-Original-URL: $T")]
    }),
    ("`/x/api/login`, `X-Script-Name: /x`", |app| {
        [path("/x{path}", app), vec![Change::Header("X-Script-Name: /x")]].concat()
    }),
    ("`GET` with the body", |_| vec![Change::Method("GET")]),
    ("`PUT`", |_| vec![Change::Method("PUT")]),
    ("`post`", |_| vec![Change::Method("post")]),
    ("`GET`, `X-HTTP-Method-Override: POST`", |_| {
        vec![Change::Method("GET"), Change::Header("X-HTTP-Method-Override: POST")]
    }),
    ("`POST`, `X-HTTP-Method-Override: PUT`", |_| vec![Change::Header("X-HTTP-Method-Override: PUT")]),
    ("credentials in the query alone", |_| vec![Change::Query("?email=$N&password=$P"), Change::Body("")]),
    ("`GET` with credentials in the query", |_| {
        vec![Change::Method("GET"), Change::Query("?email=$N&password=$P"), Change::Body("")]
    }),
    ("another name in the query", |_| vec![Change::Query("?email=$O")]),
    ("another name in a cookie", |_| vec![Change::Header("Cookie: email=$O")]),
    ("JSON", |_| vec![Change::Type("application/json"), Change::Body(JSON)]),
    ("JSON as `text/plain`", |_| vec![Change::Type("text/plain"), Change::Body(JSON)]),
    ("JSON as a form", |_| vec![Change::Type("application/x-www-form-urlencoded"), Change::Body(JSON)]),
    ("JSON with a key twice", |_| {
        let twice = r#"{"email":"$O","email":"$N","password":"$P"}"#;
        vec![Change::Type("application/json"), Change::Body(twice)]
    }),
    ("a form", |_| vec![Change::Type("application/x-www-form-urlencoded"), Change::Body(FORM)]),
    ("a form with a field twice", |_| {
        let twice = "email=$N&email=$O&password=$P";
        vec![Change::Type("application/x-www-form-urlencoded"), Change::Body(twice)]
    }),
    ("a form with `email[]` too", |_| {
        let alias = "email=$N&email[]=$O&password=$P";
        vec![Change::Type("application/x-www-form-urlencoded"), Change::Body(alias)]
    }),
    ("a form in UTF-16 by its `charset`", |_| {
        vec![Change::Type("application/x-www-form-urlencoded; charset=utf-16"), Change::Body(FORM)]
    }),
    ("multipart", |_| vec![Change::Type("multipart/form-data; boundary=B"), Change::Body(MULTIPART)]),
    ("chunked", |_| vec![Change::Header("Transfer-Encoding: chunked")]),
];

/// What an app and the proxy before it make of each row.
async fn judged_by(app: App) -> Option<Vec<(bool, Outcome, u16)>> {
    let backend = Backend::start(app).await?;
    let proxies = Proxies::before(&backend, app).await;
    let catalogue = Catalogue::new(app.path, app.format);
    let (mut direct, mut call) = (Wire::new(backend.address, Peer::App), Wire::new(proxies.call.public, Peer::Proxy));
    let mut judged = Vec::new();
    for (number, (_, changes)) in ROWS.iter().enumerate() {
        let variant = catalogue.variant(catalogue.changed(&changes(app.path)), number);
        let taken = match direct.exchange(&variant.method, &variant.bytes).await {
            Back::Answer(head) => login_of(&head).is_some(),
            Back::Closed => false,
        };
        let back = call.exchange(&variant.method, &variant.bytes).await;
        let status = match &back {
            Back::Answer(head) => head.status,
            Back::Closed => 0,
        };
        judged.push((taken, outcome(&back), status));
    }
    Some(judged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_the_table_in_the_documentation_is_what_the_apps_and_the_proxy_do() {
    let mut columns = Vec::new();
    for app in APPS {
        let Some(judged) = judged_by(app).await else { return };
        columns.push((app, judged));
    }
    let mut frameworks: Vec<&str> = APPS.iter().map(|app| app.framework).collect();
    frameworks.dedup();
    let mut table =
        format!("| request | {} | authferry |\n|{}\n", frameworks.join(" | "), " --- |".repeat(frameworks.len() + 2));
    for (row, (label, _)) in ROWS.iter().enumerate() {
        let taken = |framework: &str, flavour: Flavour| {
            columns.iter().any(|(app, judged)| app.framework == framework && app.flavour == flavour && judged[row].0)
        };
        let cells = frameworks.iter().map(|framework| {
            match (taken(framework, Flavour::Plain), taken(framework, Flavour::Lenient)) {
                (true, true) => "login",
                (false, true) => "if lenient",
                (true, false) => "if plain",
                (false, false) => "-",
            }
        });
        let cells: Vec<&str> = cells.collect();
        let made: BTreeSet<String> =
            columns.iter().map(|(_, judged)| in_words(&judged[row].1, judged[row].2)).collect();
        let made: Vec<String> = made.into_iter().collect();
        table += &format!("| {label} | {} | {} |\n", cells.join(" | "), made.join(" or "));
    }
    let path = "docs/edge.md";
    let document = fs::read_to_string(path).expect("docs/edge.md");
    let (start, end) = ("<!-- variants: made from what the apps do -->\n", "<!-- /variants -->");
    let before = document.split_once(start).expect("the start of the table").0;
    let after = document.split_once(end).expect("the end of the table").1;
    let expected = format!("{before}{start}{table}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, &expected).expect("written");
    } else {
        assert!(document == expected, "run this test with UPDATE_DOCS=1: the table of variants should be\n{table}");
    }
}

fn in_words(outcome: &Outcome, status: u16) -> String {
    match outcome {
        Outcome::Intercepted => "taken".to_owned(),
        Outcome::Refused => format!("refused, {status}"),
        Outcome::PassedOn(None) => "passed on, no login".to_owned(),
        Outcome::PassedOn(Some(_)) => panic!("a bypass"),
        Outcome::Failed => panic!("failed with {status}"),
    }
}
