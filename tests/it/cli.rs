//! The command line as operators and service managers meet it: the built binary, its exit codes, what it prints, its signals.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::app::ADMIN_TOKEN;
use crate::support::call_login::call_login;
use crate::support::legacy::{LegacyDouble, ann};
use crate::support::process::{Finished, PATIENCE, Process, authferry, finish, run};
use crate::support::raw_client::send;

/// A proxy that forwards everything to this address, in front of nothing else.
fn forwarding(upstream: &str, public: &str, admin: &str) -> String {
    let token = format!("token = {{ value = \"{ADMIN_TOKEN}\" }}");
    format!(
        "[[listener]]\nbind = \"{public}\"\n[upstream]\nurl = \"{upstream}\"\n[store]\npath = \"users.redb\"\n\
         [admin]\nbind = \"{admin}\"\n{token}\n[password]\nargon2id = {{ memory = \"8MiB\", iterations = 1, parallelism = 1 }}\n"
    )
}

const ANY: &str = "127.0.0.1:0";
/// The discard port, where nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

fn folder_with(config: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("proxy.toml"), config).expect("a writable folder");
    folder
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for part in said {
        assert!(finished.stdout.contains(part) || finished.stderr.contains(part), "`{part}` is not in {finished:?}");
    }
    let all = format!("{}{}", finished.stdout, finished.stderr);
    for secret in [ADMIN_TOKEN, "$argon2id$", "correct horse battery"] {
        assert!(!all.contains(secret), "{secret} is in {finished:?}");
    }
    assert!(!all.contains('\u{1b}'), "no colours in a pipe: {finished:?}");
    assert!(!all.contains("panicked"), "{finished:?}");
}

// ------------------------------------------------------------------------------------------------------ usage, version

#[test]
fn wrong_usage_exits_with_2_and_says_what_there_is() {
    let folder = TempDir::new().expect("a folder");
    for arguments in [&[][..], &["frobnicate"], &["run", "--port", "1"], &["mode", "set", "sideways"], &["users"]] {
        let finished = run(folder.path(), arguments);
        assert_ends(&finished, 2, &["--help"]);
        assert_eq!(finished.stdout, "", "help for a mistake is no result");
    }
    assert_ends(&run(folder.path(), &["frobnicate"]), 2, &["Usage: authferry", "frobnicate"]);
    assert_ends(&run(folder.path(), &["mode", "set", "sideways"]), 2, &["passthrough, observe, migrate, retired"]);
}

#[test]
fn version_and_help_and_completions_are_results() {
    let folder = TempDir::new().expect("a folder");
    assert_ends(&run(folder.path(), &["version"]), 0, &[concat!("authferry ", env!("CARGO_PKG_VERSION"))]);
    let json: Value = serde_json::from_str(&run(folder.path(), &["version", "--json"]).stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_ends(&run(folder.path(), &["--help"]), 0, &["demo", "status", "completions"]);
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef authferry"), ("fish", "complete -c authferry")] {
        assert_ends(&run(folder.path(), &["completions", shell]), 0, &[mark]);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = TempDir::new().expect("a folder");
    // More than a pipe holds, to somebody who reads nothing.
    let mut command = authferry(folder.path(), &["completions", "bash"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("a child of ours");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

// ------------------------------------------------------------------------------------------------------- configuration

#[test]
fn check_describes_a_good_configuration_and_touches_nothing() {
    let folder = folder_with(&forwarding(NOBODY, ANY, ANY));
    assert_ends(&run(folder.path(), &["check"]), 0, &["mode", "migrate", "listens"]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "only proxy.toml is there");
}

#[test]
fn a_bad_configuration_exits_with_78_and_shows_every_problem_with_its_place() {
    let folder = folder_with("[upstream]\nurl = \"nonsense\"\n[store]\npaht = \"users.redb\"\n");
    for command in ["check", "run", "status"] {
        assert_ends(&run(folder.path(), &[command]), 78, &["proxy.toml:2:", "proxy.toml:4:", "paht", "problems"]);
    }
    for command in ["check", "run"] {
        let finished = run(folder.path(), &[command, "--config", "absent.toml"]);
        assert_ends(&finished, 78, &["absent.toml", "cannot be read", "name the file with --config"]);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing was made");
}

#[test]
fn the_configuration_can_be_named_by_a_variable() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("other.toml"), forwarding(NOBODY, ANY, ANY)).expect("a writable folder");
    let mut command = authferry(folder.path(), &["check"]);
    command.env("AUTHFERRY_CONFIG", "other.toml");
    assert_ends(&finish(command, ""), 0, &["listens"]);
}

#[test]
fn the_schema_is_json() {
    let folder = TempDir::new().expect("a folder");
    let schema: Value = serde_json::from_str(&run(folder.path(), &["config", "schema"]).stdout).expect("JSON");
    assert!(schema["properties"]["upstream"].is_object(), "{schema}");
}

// ---------------------------------------------------------------------------------------------------------------- hash

#[test]
fn a_known_password_is_tried_against_a_stored_hash_and_neither_is_shown() {
    let folder = TempDir::new().expect("a folder");
    let hash = "sha1$fe76b$02d5916550edf7fc8c886f044887f4b1abf9b013";
    let tried = |arguments: &[&str], input: &str| finish(authferry(folder.path(), arguments), input);
    let right = tried(&["hash", "test", "--password-stdin"], &format!("{hash}\nhashcat\n"));
    assert_ends(&right, 0, &["django-digest", "the password matches"]);
    let wrong = tried(&["hash", "test", hash, "--password-stdin"], "hashcats\n");
    assert_ends(&wrong, 1, &["error: the password does not match"]);
    let unread = tried(&["hash", "test", "02d5916550edf7fc8c886f044887f4b1", "--password-stdin"], "hashcat\n");
    assert_ends(&unread, 65, &["md5 or NTLM", "--hash-template"]);
    for finished in [&right, &wrong, &unread] {
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!all.contains("02d59165") && !all.contains("hashcat"), "{finished:?}");
    }
    let formats = tried(&["hash", "formats"], "");
    let names = ["aspnet", "werkzeug-scrypt", "phpass"];
    assert!(formats.code == Some(0) && names.iter().all(|name| formats.stdout.contains(name)), "{formats:?}");
}

#[test]
fn what_is_proposed_for_this_machine_keeps_to_owasp_and_to_the_memory_it_was_given() {
    let folder = folder_with(&forwarding(NOBODY, ANY, ANY));
    let tuned =
        run(folder.path(), &["tune", "--target", "1ms", "--memory", "20MiB", "--config", "proxy.toml", "--json"]);
    assert_ends(&tuned, 0, &[]);
    let told: Value = serde_json::from_str(&tuned.stdout).expect("JSON");
    let proposed = &told["proposed"];
    assert_eq!(
        (&proposed["memory_kib"], &proposed["iterations"], &proposed["workers"]),
        (&19_456.into(), &2.into(), &1.into())
    );
    assert_eq!((&told["configured"]["memory_kib"], &told["configured"]["iterations"]), (&8_192.into(), &1.into()));
    assert!(told["least"]["milliseconds"].as_f64().is_some_and(|took| took > 0.0), "{told}");
    let human = run(folder.path(), &["tune", "--target", "1ms", "--memory", "20MiB"]);
    assert_ends(
        &human,
        0,
        &["OWASP's least", "argon2id = { memory = \"19MiB\", iterations = 2, parallelism = 1 }", "workers = 1"],
    );
    assert_ends(&run(folder.path(), &["tune", "--memory", "18MiB"]), 2, &["error: --memory is too little", "19 MiB"]);
    assert_ends(&run(folder.path(), &["tune", "--target", "2s"]), 2, &["1ms to 1s"]);
    assert_ends(&run(folder.path(), &["tune", "--config", "missing.toml"]), 78, &["missing.toml"]);
}

#[test]
fn a_prehashed_hash_is_tried_with_the_key_of_the_configuration() {
    // Flask-Security's own, of the fixture.
    let rows: Vec<Value> = serde_json::from_str(include_str!("fixtures/passwords.json")).expect("rows");
    let row = rows.iter().find(|row| row["format"] == "prehash").expect("a row");
    let (hash, password) = (row["hash"].as_str().expect("text"), row["password"].as_str().expect("text"));
    let configured = |key: &str| {
        let key = format!("[password.prehash]\nflask = {{ value = \"{key}\" }}\n");
        folder_with(&format!("{}{key}", forwarding(NOBODY, ANY, ANY)))
    };
    let tried = |folder: &TempDir| {
        finish(authferry(folder.path(), &["hash", "test", "--password-stdin"]), &format!("{hash}\n{password}\n"))
    };
    let folder = configured("146585145368132386173505678016728509634");
    let finished = tried(&folder);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(tried(&configured("another")).code, Some(1));
    let without = folder_with(&forwarding(NOBODY, ANY, ANY));
    let finished = tried(&without);
    assert!(finished.code == Some(65) && finished.stderr.contains("secret key that is not configured"), "{finished:?}");
    let bad = "[password.prehash]\n\"Not A Name\" = { value = \"x\" }\n";
    let folder = folder_with(&format!("{}{bad}", forwarding(NOBODY, ANY, ANY)));
    assert_ends(&run(folder.path(), &["check"]), 78, &["password.prehash", "cannot name a key"]);
}

// ----------------------------------------------------------------------------------------------------------------- run

#[test]
fn a_port_that_is_taken_is_said_and_no_store_is_made() {
    let taken = TcpListener::bind(ANY).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (public, admin, said) in
        [(address.as_str(), ANY, "another process listens there already"), (ANY, address.as_str(), "in use")]
    {
        let folder = folder_with(&forwarding(NOBODY, public, admin));
        assert_ends(&run(folder.path(), &["run"]), 1, &["error:", &address, said]);
        assert!(!folder.path().join("users.redb").exists(), "sockets come first");
    }
}

#[test]
fn r98_a_second_proxy_on_the_same_store_exits_with_a_message() {
    let folder = TempDir::new().expect("a folder");
    let first = Process::start(folder.path(), &forwarding(NOBODY, ANY, ANY));
    let second = run(folder.path(), &["run"]);
    assert_ends(&second, 1, &["users.redb", "in use by another process"]);
    first.terminate();
    assert!(first.wait().0.success(), "the first one was not disturbed");
}

#[test]
fn r96_a_file_that_is_no_store_of_ours_is_refused_and_left_as_it_is() {
    let folder = folder_with(&forwarding(NOBODY, ANY, ANY));
    let store = folder.path().join("users.redb");
    let database = [b"SQLite format 3\0".as_slice(), &[7; 8192]].concat();
    for content in [database.as_slice(), b"hello", &[0; 4096]] {
        fs::write(&store, content).expect("a writable folder");
        for arguments in [&["run"][..], &["users", "list"], &["mode", "set", "observe"]] {
            assert_ends(&run(folder.path(), arguments), 1, &["error:", "users.redb"]);
            assert_eq!(fs::read(&store).expect("the file"), content, "{arguments:?} changed it");
        }
    }
}

#[test]
fn r96_a_store_that_was_cut_short_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let process = Process::start(folder.path(), &forwarding(NOBODY, ANY, ANY));
    process.terminate();
    assert!(process.wait().0.success());
    let store = folder.path().join("users.redb");
    let whole = fs::read(&store).expect("the store");
    let half = &whole[..whole.len() / 2];
    fs::write(&store, half).expect("a writable folder");
    assert_ends(&run(folder.path(), &["run"]), 1, &["error:", "users.redb", "damaged"]);
    assert_eq!(fs::read(&store).expect("the file"), half);
}

#[test]
fn r97_a_store_that_was_here_and_is_gone_is_not_replaced_by_an_empty_one() {
    let folder = TempDir::new().expect("a folder");
    let process = Process::start(folder.path(), &forwarding(NOBODY, ANY, ANY));
    process.terminate();
    assert!(process.wait().0.success());
    let store = folder.path().join("users.redb");
    fs::remove_file(&store).expect("it was there");
    assert_ends(&run(folder.path(), &["run"]), 1, &["users.redb", "is missing"]);
    assert!(!store.exists());
}

/// An app that has taken a request and not answered it yet.
fn request_under_way(app: &TcpListener, process: &Process) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(process.public()).expect("the proxy listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").expect("a request");
    let (mut at_app, _) = app.accept().expect("the proxy connects");
    at_app.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        at_app.read_exact(&mut byte).expect("the request's head");
        head.extend(byte);
    }
    (client, at_app)
}

#[test]
fn r25_sigterm_and_sigint_finish_what_is_under_way_and_exit_with_0() {
    for name in ["TERM", "INT"] {
        let app = TcpListener::bind(ANY).expect("a port");
        let upstream = format!("http://{}", app.local_addr().expect("an address"));
        let folder = TempDir::new().expect("a folder");
        let mut process = Process::start(folder.path(), &forwarding(&upstream, ANY, ANY));
        let (mut client, mut at_app) = request_under_way(&app, &process);
        process.signal(name);
        process.wait_for("draining");
        at_app.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").expect("an answer");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the answer comes through");
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_what_is_under_way() {
    let app = TcpListener::bind(ANY).expect("a port");
    let upstream = format!("http://{}", app.local_addr().expect("an address"));
    let folder = TempDir::new().expect("a folder");
    let mut process = Process::start(folder.path(), &forwarding(&upstream, ANY, ANY));
    let (_client, _at_app) = request_under_way(&app, &process);
    process.terminate();
    process.wait_for("draining");
    process.terminate();
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("stopped at once"), "{log}");
}

// ----------------------------------------------------------------------------------------------- status, users, mode

/// A proxy with one user in its store, and the legacy that knew him.
struct Peopled {
    folder: TempDir,
    process: Process,
    _double: LegacyDouble,
}

impl Peopled {
    async fn start() -> Self {
        let double = LegacyDouble::well_behaved();
        let folder = TempDir::new().expect("a folder");
        let own = format!(
            "[[listener]]\nbind = \"{ANY}\"\n[store]\npath = \"users.redb\"\n[admin]\nbind = \"{ANY}\"\n\
             token = {{ value = \"{ADMIN_TOKEN}\" }}\n"
        );
        let config = call_login(&double, "migrate", &own);
        let process = tokio::task::block_in_place(|| Process::start(folder.path(), &config));
        let login = serde_json::json!({ "email": ann().email, "password": ann().password }).to_string();
        let json = [("Content-Type", "application/json")];
        let answer = send(process.public(), "POST", "/login", &json, &login).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let new = r#"{"email":"new@example.com","password":"correct horse battery"}"#;
        let answer = send(process.public(), "POST", "/register", &json, new).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        Self { folder, process, _double: double }
    }

    /// Runs a command that finds the proxy as operators' commands do: by the configuration, whose port the test learnt.
    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = authferry(self.folder.path(), arguments);
        command.env("AUTHFERRY__ADMIN__BIND", self.process.admin().to_string());
        finish(command, "")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(arguments);
        assert_ends(&finished, 0, &[]);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_proxy_is_asked_over_its_admin_address() {
    let peopled = Peopled::start().await;
    let status = peopled.run(&["status"]);
    assert_ends(&status, 0, &["migrate", "1 migrated · 1 registered", "legacy  1 ok"]);
    assert_eq!(status.stderr, "", "nothing to remark");
    assert!(status.stdout.lines().all(|line| line.chars().count() <= 80), "{}", status.stdout);
    let json = peopled.json(&["status", "--json"]);
    assert_eq!((json["from"].as_str(), json["users"]["migrated"].as_u64()), (Some("proxy"), Some(1)), "{json}");

    assert_ends(&peopled.run(&["users", "list"]), 0, &["NAMES", &ann().email, "new@example.com", "argon2id"]);
    assert_ends(&peopled.run(&["users", "search", "NEW@"]), 0, &["new@example.com"]);
    assert_ends(&peopled.run(&["users", "search", "nobody"]), 0, &["no user has a name that starts with `nobody`"]);
    let id = ann().id.to_string();
    assert_ends(&peopled.run(&["users", "show", &id]), 0, &[&ann().email, "migrated", "profile"]);
    assert_eq!(peopled.json(&["users", "show", &id, "--json"])["public_id"], ann().id);
    assert_ends(&peopled.run(&["users", "show", "4711"]), 1, &["there is no user `4711`"]);

    let first = peopled.json(&["users", "list", "--json", "--limit", "1"]);
    let next = first["next"].as_str().expect("a second page");
    let second = peopled.json(&["users", "list", "--json", "--limit", "1", "--after", next]);
    assert_eq!((first["users"][0]["id"] == second["users"][0]["id"], &second["next"]), (false, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_is_changed_at_run_time_and_retired_only_with_its_word() {
    let peopled = Peopled::start().await;
    assert_ends(&peopled.run(&["mode", "set", "retired"]), 2, &["--confirm retired"]);
    assert_ends(
        &peopled.run(&["mode", "set", "retired", "--confirm", "yes"]),
        2,
        &["--confirm takes the word `retired`"],
    );
    assert_eq!(peopled.json(&["mode", "show", "--json"])["mode"], "migrate");
    assert_ends(&peopled.run(&["mode", "set", "retired", "--confirm", "retired"]), 0, &["migrate -> retired"]);
    assert_ends(&peopled.run(&["mode", "show"]), 0, &["retired"]);
    let back = peopled.run(&["mode", "set", "observe"]);
    assert_ends(&back, 0, &["retired -> observe", "lacks up to 1 registration made here"]);
    assert_ends(&peopled.run(&["mode", "set", "observe"]), 0, &["observe, as before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proxy_the_store_is_opened_and_that_is_said() {
    let Peopled { folder, process, _double } = Peopled::start().await;
    process.terminate();
    let (status, log) = tokio::task::block_in_place(|| process.wait());
    assert!(status.success(), "{log}");
    let said = "opened directly: no proxy is running";
    let status = run(folder.path(), &["status"]);
    assert_ends(&status, 0, &[said, "1 migrated · 1 registered"]);
    assert!(!status.stdout.contains("logins"), "there are no counters to show: {}", status.stdout);
    let json: Value = serde_json::from_str(&run(folder.path(), &["status", "--json"]).stdout).expect("JSON");
    assert_eq!((json["from"].as_str(), json.get("logins")), (Some("store"), None), "{json}");
    assert_ends(&run(folder.path(), &["users", "search", "new@"]), 0, &[said, "new@example.com"]);
    assert_ends(&run(folder.path(), &["mode", "set", "observe"]), 0, &["in force when the proxy starts"]);

    let config = fs::read_to_string(folder.path().join("proxy.toml")).expect("the configuration");
    let process = tokio::task::block_in_place(|| Process::start(folder.path(), &config));
    let bind = process.admin().to_string();
    let mut command = authferry(folder.path(), &["mode", "show"]);
    command.env("AUTHFERRY__ADMIN__BIND", bind);
    assert_eq!(finish(command, "").stdout, "observe\n", "it was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_address_can_be_named_and_needs_the_right_token() {
    let peopled = Peopled::start().await;
    let url = format!("http://{}", peopled.process.admin());
    let elsewhere = TempDir::new().expect("a folder");
    fs::write(elsewhere.path().join("token"), format!("{ADMIN_TOKEN}\n")).expect("a writable folder");
    fs::write(elsewhere.path().join("wrong"), "guessed").expect("a writable folder");
    let status = |more: &[&str]| run(elsewhere.path(), &[&["mode", "show", "--admin", &url], more].concat());
    assert_ends(&status(&["--token-file", "token"]), 0, &["migrate"]);
    assert_ends(&status(&["--token-file", "wrong"]), 1, &["the admin token is not the one"]);
    assert_ends(&status(&["--token-file", "absent"]), 1, &["the token file absent cannot be read"]);
    assert_ends(&status(&[]), 2, &["--token-file"]);
    let gone = run(elsewhere.path(), &["status", "--admin", NOBODY, "--token-file", "token"]);
    assert_ends(&gone, 1, &["cannot be reached", "caused by"]);
    let no_url = run(elsewhere.path(), &["status", "--admin", "localhost", "--token-file", "token"]);
    assert_ends(&no_url, 2, &["is no address of an admin listener: write http://HOST:PORT"]);
}

#[test]
fn a_store_that_a_proxy_without_admin_listener_holds_is_said_to_be_so() {
    let folder = TempDir::new().expect("a folder");
    let process = Process::start(folder.path(), &forwarding(NOBODY, ANY, "off"));
    for arguments in [&["status"][..], &["users", "list"], &["mode", "set", "observe"]] {
        assert_ends(
            &run(folder.path(), arguments),
            1,
            &["in use by another process", "admin listener is off", "a command such as an import"],
        );
    }
    drop(process);
}

#[test]
fn asking_makes_no_store() {
    let folder = folder_with(&forwarding(NOBODY, ANY, "off"));
    for arguments in [&["status"][..], &["users", "list"], &["mode", "show"]] {
        assert_ends(&run(folder.path(), arguments), 1, &["there is no store at users.redb yet"]);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "only proxy.toml is there");
}

#[test]
fn r97_every_command_tells_a_store_that_is_gone_from_one_that_never_was() {
    let folder = folder_with(&forwarding(NOBODY, ANY, "off"));
    fs::write(folder.path().join("users.redb-init"), "").expect("writable");
    for (arguments, code) in [
        (&["status"][..], 1),
        (&["users", "list"], 1),
        (&["store", "backup"], 1),
        (&["store", "check"], 1),
        (&["store", "compact"], 1),
        (&["store", "reseal"], 1),
        (&["export", "--to", "everybody.jsonl"], 3),
    ] {
        assert_ends(&run(folder.path(), arguments), code, &["is missing, though one was made here", "users.redb-init"]);
    }
}

// ---------------------------------------------------------------------------------------------------------------- demo

fn demo(temporary: &Path, arguments: &[&str], input: &str) -> Finished {
    let mut command = authferry(temporary, &[&["demo"], arguments].concat());
    command.env("TMPDIR", temporary);
    finish(command, input)
}

#[test]
fn the_demo_shows_its_two_facts_by_itself_and_leaves_nothing_behind() {
    let temporary = TempDir::new().expect("a folder");
    let finished = demo(temporary.path(), &[], "");
    assert_ends(
        &finished,
        0,
        &[
            "200 OK  answered by the legacy backend; her password was right: migrated",
            "200 OK  answered by authferry, from its own store",
            "503 Service Unavailable",
            "401 Unauthorized",
            "Ada then logged in with the legacy backend switched off.",
            "Grace was told to try again later, not that her password is wrong.",
        ],
    );
    assert!(finished.stdout.lines().all(|line| line.chars().count() <= 80), "{}", finished.stdout);
    assert_eq!(finished.stderr, "");
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "the store is gone");
}

#[test]
fn the_demo_does_what_is_typed() {
    let temporary = TempDir::new().expect("a folder");
    let finished = demo(temporary.path(), &["--seconds", "50"], "l\ns\nwhat?\nl\nq\n");
    assert_ends(
        &finished,
        0,
        &["the legacy backend is off", "2 migrated", "l legacy off/on", "the legacy backend is on", "curl -i http://"],
    );
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "the store is gone");
}

#[test]
fn a_port_that_the_demo_was_told_to_use_is_not_replaced() {
    let taken = TcpListener::bind(ANY).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let temporary = TempDir::new().expect("a folder");
    for option in ["--port", "--admin-port", "--app-port"] {
        assert_ends(&demo(temporary.path(), &[option, &port], ""), 1, &["error:", &port]);
    }
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0, "nothing is left");
}
