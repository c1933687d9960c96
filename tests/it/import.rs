//! `authferry import` with the built binary on real files and stores: what is taken, what is rejected and why, and that killed at any point
//! and run again it comes to the same end.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::ADMIN_TOKEN;
use crate::support::process::{Finished, Process, authferry, finish, run};

/// bcrypt of "correctbatteryhorsestapler", cost 4, made by Python's `bcrypt`.
const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

/// A proxy in front of nothing, for its store and its admin listener.
fn config() -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[store]\npath = \"users.redb\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = {{ value = \"{ADMIN_TOKEN}\" }}\n\
         [password]\nargon2id = {{ memory = \"8MiB\", iterations = 1, parallelism = 1 }}\n"
    )
}

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("proxy.toml"), config()).expect("writable");
    folder
}

fn write(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).expect("writable");
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn import(folder: &TempDir, arguments: &[&str]) -> Finished {
    let all: Vec<&str> = ["import"].into_iter().chain(arguments.iter().copied()).collect();
    run(folder.path(), &all)
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, said: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for part in said {
        assert!(finished.stdout.contains(part) || finished.stderr.contains(part), "`{part}` is not in {finished:?}");
    }
    let all = format!("{}{}", finished.stdout, finished.stderr);
    for secret in [ADMIN_TOKEN, "$2b$", "$argon2", "correctbatteryhorsestapler"] {
        assert!(!all.contains(secret), "{secret} is in {finished:?}");
    }
    assert!(!all.contains("panicked"), "{finished:?}");
}

/// How often each result came, from a results file.
fn results(text: &str) -> Vec<(u64, String)> {
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    rows.map(|row| {
        let why = row["problem"].as_str().unwrap_or_default();
        let word = row["result"].as_str().expect("a word");
        // Ids are new each time.
        (
            row["record"].as_u64().expect("a number"),
            format!("{word} {} {}", row["field"], why.split(',').next().unwrap_or_default()),
        )
    })
    .collect()
}

/// Everybody in the store, without what differs between two imports of one file.
fn everybody(folder: &TempDir) -> Vec<String> {
    let exported = run(folder.path(), &["export", "--to", "everybody.jsonl", "--force"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let text = read(folder, "everybody.jsonl");
    let mut users: Vec<String> = text
        .lines()
        .map(|line| {
            let mut user: Value = serde_json::from_str(line).expect("JSON lines");
            for field in ["id", "created_at", "updated_at"] {
                user.as_object_mut().expect("an object").shift_remove(field);
            }
            user.to_string()
        })
        .collect();
    users.sort();
    users
}

/// A row of our own.
fn line(number: usize) -> String {
    json!({
        "authferry": 1, "legacy_id": number, "standing": "active", "profile": {"name": format!("User {number}")},
        "names": [{"kind": "email", "value": format!("User{number}@Example.com"), "verified": true}],
        "password": {"hash": BCRYPT},
    })
    .to_string()
}

#[test]
fn a_table_is_imported_by_its_header_and_by_what_is_said_of_it() {
    let folder = folder();
    write(&folder, "users.csv", &format!("uid,mail,pw,full name\n17,Ann@x.y,{BCRYPT},\"Ann, A\"\n18,bob@x.y,,Bob\n"));
    let done = import(&folder, &["users.csv", "--map", "password=pw", "--map", "profile.name=full name"]);
    assert_ends(&done, 0, &["users.csv is csv", "--format says otherwise", "created", "2"]);
    let users = everybody(&folder);
    assert_eq!(users.len(), 2);
    let ann: Value = serde_json::from_str(&users[0]).expect("JSON");
    assert_eq!(
        ann,
        json!({
            "authferry": 1, "legacy_id": 17, "names": [{"kind": "email", "value": "Ann@x.y"}],
            "password": {"hash": BCRYPT}, "standing": "active", "origin": "imported", "profile": {"name": "Ann, A"}
        })
    );
    let bob: Value = serde_json::from_str(&users[1]).expect("JSON");
    assert_eq!((&bob["origin"], &bob["without_password"]), (&json!("roster"), &json!("roster")));
}

#[test]
fn what_each_column_or_key_is_taken_for_is_told_and_who_comes_without_a_password_is_counted() {
    let folder = folder();
    write(&folder, "users.csv", &format!("id,email,hash,name\n17,a@x.y,{BCRYPT},Ann\n18,b@x.y,,Bob\n"));
    let told = "taken as email: email · id: id · only in the profile: hash, name";
    for arguments in [&["users.csv", "--dry-run"][..], &["users.csv"]] {
        let done = import(&folder, arguments);
        let said = [told, "--map 'password=hash'", "2 of the created without a password: legacy is asked"];
        assert_ends(&done, 0, &said);
    }
    let mapped = ["users.csv", "--map", "password=hash", "--restart", "--on-conflict", "replace"];
    let done = import(&folder, &mapped);
    assert_ends(&done, 0, &["taken as password: hash · email: email", "updated"]);
    assert!(!done.stderr.contains("of the created"), "{done:?}");
    write(
        &folder,
        "users.jsonl",
        &format!("{{\"mail\":\"c@x.y\",\"pwd\":\"{BCRYPT}\"}}\n{{\"mail\":\"d@x.y\",\"size\":4}}\n"),
    );
    assert_ends(
        &import(&folder, &["users.jsonl"]),
        0,
        &["taken as email: mail · only in the profile: pwd, size", "'password=pwd'"],
    );
    // Our own say it themselves.
    write(&folder, "own.jsonl", &line(7));
    assert!(!import(&folder, &["own.jsonl"]).stderr.contains("taken as"));
}

#[test]
fn where_it_is_said_what_the_fields_are_the_format_need_not_be_said() {
    let folder = folder();
    write(&folder, "users.txt", "Kunde,Adresse\n17,a@x.y\n");
    let mapped = ["--map", "email=Adresse", "--map", "id=Kunde"];
    assert_ends(&import(&folder, &[&["users.txt"][..], &mapped].concat()), 0, &["users.txt is csv", "created"]);
    write(&folder, "users.json", "{\"Kunde\":18,\"Adresse\":\"b@x.y\"}\n");
    assert_ends(&import(&folder, &[&["users.json"][..], &mapped].concat()), 0, &["users.json is jsonl", "created"]);
    assert_eq!(everybody(&folder).len(), 2);
}

#[test]
fn an_import_that_goes_on_without_its_files_says_that_they_end_there() {
    let folder = folder();
    write(&folder, "users.jsonl", &(0..30_000).map(|number| format!("{}\n", line(number))).collect::<String>());
    let plain = ["import", "users.jsonl", "--batch", "500"];
    let kept = [&plain[..], &["--results", "results.jsonl", "--rejects", "bad.jsonl"]].concat();
    assert!(killed_at(folder.path(), &kept, 500_000), "killed in the middle");
    let said = ["going on", "had --rejects and --results, this one has not: rejected rows and results are not kept"];
    assert_ends(&run(folder.path(), &plain), 0, &said);
}

#[test]
fn reasons_are_said_to_be_in_a_file_only_where_there_is_one() {
    let folder = folder();
    write(&folder, "users.csv", "id,email,password\n1,a@x.y,nonsense\n");
    assert_ends(&import(&folder, &["users.csv"]), 1, &["--rejects FILE"]);
    let again = import(&folder, &["users.csv", "--rejects", "bad.csv"]);
    assert_ends(&again, 1, &["imported already", "not kept then", "--restart"]);
    assert!(!again.stderr.contains("reasons.jsonl"), "{again:?}");
}

#[test]
fn wrong_usage_and_files_that_are_nothing_are_refused_before_anything_is_written() {
    let folder = folder();
    write(&folder, "users.csv", "email,name\na@x.y,Ann\n");
    write(&folder, "odd.txt", "<users/>");
    write(&folder, "empty.json", "");
    write(&folder, "packed.gz", "\u{1f}");
    fs::write(folder.path().join("packed.gz"), b"\x1f\x8b\x08\x00").expect("writable");
    for (arguments, code, said) in [
        (&["users.csv", "--map", "email"][..], 2, "WHAT=FIELD"),
        (&["users.csv", "--map", "email=post"], 2, "no column `post`"),
        (&["users.csv", "--set", "key=1"], 2, "wants no `key`"),
        (&["users.csv", "--on-conflict", "guess"], 2, "skip, merge, replace"),
        (&["users.csv", "--format", "guess"], 2, "jsonl"),
        (&["users.csv", "--at-least", "1"], 2, "--verify-credentials"),
        (&["absent.csv"], 3, "cannot be read"),
        (&["odd.txt"], 2, "--format"),
        (&["empty.json"], 2, "empty"),
        (&["packed.gz"], 2, "compressed"),
        (&["users.csv", "--format", "jsonl"], 2, "not of the format jsonl"),
    ] {
        assert_ends(&import(&folder, arguments), code, &[said]);
        assert!(!folder.path().join("users.redb").exists(), "{arguments:?}");
    }
}

#[test]
fn each_row_that_cannot_be_taken_is_rejected_with_its_reason_and_can_be_mended() {
    let folder = folder();
    let row = |email: &str, id: &str, hash: &str| {
        format!(
            "{{\"authferry\":1,\"legacy_id\":{id},\"standing\":\"active\",\"names\":[{{\"kind\":\"email\",\"value\":\"{email}\"}}],\
             \"password\":{{\"hash\":\"{hash}\"}}}}"
        )
    };
    let good = row("a@x.y", "1", BCRYPT);
    let rows = [
        good.clone(),
        row("A@X.Y", "2", BCRYPT),
        row(" b@x.y", "3", BCRYPT),
        row("c@x.y", "4", "nonsense"),
        row("c@x.y", "{}", BCRYPT),
        "{\"authferry\":1,".to_owned(),
        good,
        row("d@x.y", "5", BCRYPT),
    ];
    write(&folder, "users.jsonl", &rows.join("\n"));
    let done = import(&folder, &["users.jsonl", "--rejects", "bad.jsonl", "--results", "all.jsonl"]);
    assert_ends(&done, 1, &["created", "rejected", "bad.jsonl", "bad.jsonl.reasons.jsonl"]);
    // The first few are told at once.
    assert_ends(&done, 1, &["line 2: email: the email belongs to another user", "line 6: record: the JSON ends"]);
    let told = results(&read(&folder, "all.jsonl"));
    assert_eq!(told.len(), 8);
    for (number, said) in [
        (1, "created"),
        (2, "rejected \"email\" the email belongs to another user"),
        (3, "rejected \"email\" the identifier begins or ends with white space"),
        (4, "rejected \"password\" the hash is of no known format"),
        (5, "rejected \"legacy_id\" it is no text"),
        (6, "rejected \"record\" the JSON ends too early"),
        (7, "exists"),
        (8, "created"),
    ] {
        let (record, text) = &told[number - 1];
        assert!(*record == number as u64 && text.starts_with(said), "{number}: {text}");
    }
    let rejected = read(&folder, "bad.jsonl");
    assert_eq!(rejected.lines().collect::<Vec<_>>(), rows[1..6].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(read(&folder, "bad.jsonl.reasons.jsonl").lines().count(), 5);
    assert!(!read(&folder, "bad.jsonl.reasons.jsonl").contains("$2b$"), "no hash in a reason");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(folder.path().join("bad.jsonl")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "hashes are in it");

    assert_ends(&import(&folder, &["users.jsonl", "--restart", "--rejects", "bad.jsonl"]), 2, &["exists already"]);
    let mended = rejected.replace("A@X.Y", "a2@x.y").replace("\" b@x.y", "\"b@x.y").replace("nonsense", BCRYPT);
    let mended: Vec<&str> = mended.lines().filter(|line| line.ends_with("}}")).collect();
    write(&folder, "mended.jsonl", &mended[..3].join("\n"));
    assert_ends(&import(&folder, &["mended.jsonl"]), 0, &["created", "3"]);
    assert_eq!(everybody(&folder).len(), 5);
}

#[test]
fn bad_hashes_can_be_dropped_so_that_legacy_is_asked() {
    let folder = folder();
    write(&folder, "users.csv", "id,email,password\n1,a@x.y,nonsense\n");
    assert_ends(&import(&folder, &["users.csv"]), 1, &["rejected", "--rejects FILE"]);
    assert_ends(&import(&folder, &["users.csv", "--drop-bad-hashes"]), 0, &["created"]);
    assert!(everybody(&folder)[0].contains("\"origin\":\"roster\""));
}

/// A file in which rows repeat, clash and lack things, some of them far apart.
fn tangled(count: usize) -> String {
    let mut rows = Vec::new();
    for number in 0..count {
        rows.push(line(number));
        match number % 7 {
            1 => rows.push(line(number / 2)),
            3 => rows.push(line(number).replace("\"legacy_id\":", "\"legacy_id\":9")),
            5 => rows.push(line(number).replace(BCRYPT, "nonsense")),
            6 => rows.push(line(number / 3).replace("\"name\":\"User", "\"name\":\"Nick")),
            _ => {}
        }
    }
    rows.join("\n")
}

#[test]
fn a_dry_run_says_what_the_real_one_does_and_writes_nothing() {
    for policy in ["skip", "merge", "replace"] {
        let folder = folder();
        write(&folder, "first.jsonl", &tangled(60));
        import(&folder, &["first.jsonl"]);
        let before = fs::read(folder.path().join("users.redb")).expect("a store");
        write(&folder, "users.jsonl", &tangled(150).replace("User 1", "Neu 1"));
        let shared = ["users.jsonl", "--on-conflict", policy, "--batch", "40"];
        let dry =
            import(&folder, &[&shared[..], &["--dry-run", "--results", "dry.jsonl", "--rejects", "dry.bad"]].concat());
        assert_ends(&dry, 1, &["dry run", "created", "rejected"]);
        assert!(fs::read(folder.path().join("users.redb")).expect("a store") == before, "not a byte was written");
        let real = import(&folder, &[&shared[..], &["--results", "real.jsonl", "--rejects", "real.bad"]].concat());
        assert_eq!((dry.code, &dry.stdout), (real.code, &real.stdout), "{policy}");
        let same = |name: &str| results(&read(&folder, &format!("{name}.jsonl")));
        assert_eq!(same("dry"), same("real"), "{policy}");
        assert_eq!(read(&folder, "dry.bad"), read(&folder, "real.bad"), "{policy}");
    }
    let folder = folder();
    write(&folder, "users.jsonl", &tangled(50));
    assert_ends(&import(&folder, &["users.jsonl", "--dry-run"]), 1, &["created"]);
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "no store was made: {left:?}");
}

#[test]
fn the_size_of_the_batches_changes_nothing() {
    let mut ends = Vec::new();
    for batch in ["1", "7", "64", "50000"] {
        let folder = folder();
        write(&folder, "users.jsonl", &tangled(80));
        let done = import(&folder, &["users.jsonl", "--on-conflict", "merge", "--batch", batch, "--results", "r"]);
        ends.push((done.code, done.stdout, results(&read(&folder, "r")), everybody(&folder)));
    }
    for end in &ends[1..] {
        assert_eq!(end, &ends[0]);
    }
}

/// Starts an import and kills it once its results file is this long, or lets it end. `true` if it was killed.
fn killed_at(folder: &Path, arguments: &[&str], length: u64) -> bool {
    let mut command = authferry(folder, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = command.spawn().expect("the binary starts");
    loop {
        if child.try_wait().expect("a child of ours").is_some() {
            return false;
        }
        if fs::metadata(folder.join("results.jsonl")).is_ok_and(|file| file.len() >= length) {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
            return true;
        }
        std::thread::yield_now();
    }
}

#[test]
fn killed_at_any_point_and_run_again_it_comes_to_the_same_end() {
    let (rows, kills) = if std::env::var_os("AUTHFERRY_LONG").is_some() { (60_000, 40) } else { (3_000, 6) };
    let whole = folder();
    write(&whole, "users.jsonl", &tangled(rows));
    let arguments = ["import", "users.jsonl", "--results", "results.jsonl", "--rejects", "bad.jsonl", "--batch", "100"];
    let expected = run(whole.path(), &arguments);
    assert_eq!(expected.code, Some(1), "{expected:?}");
    let length = read(&whole, "results.jsonl").len() as u64;

    let folder = folder();
    write(&folder, "users.jsonl", &tangled(rows));
    let mut killed = 0;
    for kill in 1..=kills {
        killed += u32::from(killed_at(folder.path(), &arguments, length * kill / (kills + 1)));
    }
    assert!(killed > 0, "it was never under way when it was to be killed");
    let last = run(folder.path(), &arguments);
    assert_ends(&last, 1, &["created", "rejected"]);
    assert_eq!(last.stdout, expected.stdout, "the same summary: {}", last.stderr);
    assert_eq!(results(&read(&folder, "results.jsonl")), results(&read(&whole, "results.jsonl")), "each row once");
    assert_eq!(read(&folder, "bad.jsonl"), read(&whole, "bad.jsonl"));
    assert_eq!(everybody(&folder), everybody(&whole));

    let again = run(folder.path(), &arguments);
    assert_ends(&again, 1, &["imported already", "--restart"]);
    assert_eq!(again.stdout, expected.stdout);
}

#[test]
fn an_interrupted_import_says_where_it_goes_on_and_refuses_a_file_that_has_changed() {
    let folder = folder();
    let text = (0..30_000).map(|number| format!("{}\n", line(number))).collect::<String>();
    write(&folder, "users.jsonl", &text);
    let arguments = ["import", "users.jsonl", "--results", "results.jsonl", "--batch", "500"];
    assert!(killed_at(folder.path(), &arguments, 500_000), "killed in the middle");
    // Behind its first 64 KiB, by which the file is known.
    write(&folder, "users.jsonl", &text.replace("User 700\"", "User seven\""));
    assert_ends(&run(folder.path(), &arguments), 3, &["has changed"]);
    // Within them it is another file.
    write(&folder, "users.jsonl", &text.replace("User 7\"", "User seven\""));
    assert_ends(&run(folder.path(), &arguments), 2, &["exists already", "the file's beginning or the options are not"]);
    write(&folder, "users.jsonl", &text);
    let done = run(folder.path(), &arguments);
    assert_ends(&done, 0, &["going on where it was interrupted: at row", "30,000"]);
    assert_eq!(read(&folder, "results.jsonl").lines().count(), 30_000);
    fs::remove_file(folder.path().join("results.jsonl")).expect("there");
    let restarted = run(folder.path(), &[&arguments[..], &["--restart"]].concat());
    assert_ends(&restarted, 0, &["exists", "30,000"]);
}

#[test]
fn a_file_that_is_cut_short_is_taken_as_far_as_it_goes_and_that_is_said() {
    let folder = folder();
    write(&folder, "users.json", &format!("[{},\n{},\n{{\"authferry\":1", line(1), line(2)));
    let done = import(&folder, &["users.json", "--format", "jsonl"]);
    assert_ends(&done, 2, &["not of the format"]);
    write(&folder, "users.csv", "id,email\n1,a@x.y\n2,\"b@x.y\n3,c@x.y\n");
    let done = import(&folder, &["users.csv"]);
    assert_ends(&done, 3, &["created", "line 3, byte 17", "a quote is missing", "--restart"]);
    write(&folder, "users.csv", "id,email\n1,a@x.y\n2,\"b@x.y\"\n3,c@x.y\n");
    assert_ends(&import(&folder, &["users.csv", "--restart"]), 0, &["created", "exists"]);
    assert_eq!(everybody(&folder).len(), 3);
}

#[test]
fn standard_input_is_a_file_too() {
    let folder = folder();
    let command = authferry(folder.path(), &["import", "-"]);
    assert_ends(&finish(command, &format!("{}\n{}", line(1), line(2))), 0, &["standard input is jsonl", "created"]);
    let command = authferry(folder.path(), &["import", "-"]);
    assert_ends(&finish(command, &format!("{}\n{}", line(1), line(2))), 0, &["imported already"]);
}

#[test]
fn known_credentials_have_to_verify_first() {
    let folder = folder();
    write(&folder, "users.jsonl", &format!("{}\n{}", line(1), line(2)));
    write(
        &folder,
        "known.txt",
        "USER1@example.com\tcorrectbatteryhorsestapler\nuser2@example.com\twrong\nuser3@example.com\tx\n",
    );
    let arguments = ["users.jsonl", "--verify-credentials", "known.txt", "--at-least"];
    let done = import(&folder, &[&arguments[..], &["2"]].concat());
    assert_ends(
        &done,
        3,
        &["1 of the 3 known credentials verified", "does not match", "is not in the file", "nothing was imported"],
    );
    assert_eq!(everybody(&folder).len(), 0);
    assert_ends(&import(&folder, &[&arguments[..], &["4"]].concat()), 2, &["fewer than --at-least 4"]);
    assert_ends(&import(&folder, &[&arguments[..], &["1"]].concat()), 0, &["1 of the 3", "created"]);
}

#[test]
fn a_running_proxy_takes_the_rows_over_its_admin_listener() {
    let folder = folder();
    let proxy = Process::start(folder.path(), &config());
    let admin = format!("http://{}", proxy.admin());
    write(&folder, "token", ADMIN_TOKEN);
    write(&folder, "users.jsonl", &tangled(800));
    let reach = ["--admin", admin.as_str(), "--token-file", "token"];
    let arguments = [&["users.jsonl", "--results", "online.jsonl", "--rejects", "online.bad"][..], &reach].concat();
    let online = import(&folder, &arguments);
    assert_ends(&online, 1, &["created", "rejected"]);
    assert_ends(
        &import(&folder, &arguments[..1].iter().chain(&reach).copied().collect::<Vec<_>>()),
        1,
        &["imported already"],
    );
    assert_ends(&import(&folder, &["users.jsonl", "--dry-run"]), 2, &["in use by another process", "--store"]);
    assert_ends(&run(folder.path(), &["export", "--to", "x"]), 3, &["no hash leaves a running proxy", "store backup"]);
    proxy.terminate();
    proxy.wait();

    let offline = self::folder();
    write(&offline, "users.jsonl", &tangled(800));
    let done = import(&offline, &["users.jsonl", "--results", "r.jsonl", "--rejects", "r.bad"]);
    assert_eq!((online.code, &online.stdout), (done.code, &done.stdout), "the same as without a proxy");
    assert_eq!(results(&read(&folder, "online.jsonl")), results(&read(&offline, "r.jsonl")));
    assert_eq!(everybody(&folder), everybody(&offline));
}

/// What becomes of a batch of rows on its way to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnTheWay {
    /// It gets there, and its answer back.
    Passes,
    /// It gets there, and the answer is that it came too late.
    AnswerIsLate,
    /// It does not get there.
    Busy,
}

/// Stands before an admin listener, and has each batch go the next of these ways. Gives its own address.
fn on_the_way(admin: SocketAddr, mut ways: Vec<OnTheWay>) -> SocketAddr {
    ways.reverse();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a connection");
            let Some((head, body)) = request(&mut client) else { continue };
            let way = if head.starts_with("POST") { ways.pop() } else { None };
            let answer = match way.unwrap_or(OnTheWay::Passes) {
                OnTheWay::Passes => forwarded(admin, own, &head, &body),
                OnTheWay::AnswerIsLate => {
                    assert!(forwarded(admin, own, &head, &body).starts_with(b"HTTP/1.1 200"), "the rows are in");
                    late()
                }
                OnTheWay::Busy => late(),
            };
            client.write_all(&answer).expect("written");
        }
    });
    own
}

fn late() -> Vec<u8> {
    let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"later"}"#;
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 4].to_vec()).expect("text");
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head, bytes[end + 4..].to_vec()));
            }
        }
        match client.read(&mut chunk).expect("readable") {
            // A connection that was opened ahead and is not needed.
            0 => return None,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn forwarded(admin: SocketAddr, own: SocketAddr, head: &str, body: &[u8]) -> Vec<u8> {
    let mut proxy = TcpStream::connect(admin).expect("a proxy");
    let head = head.replace(&own.to_string(), &admin.to_string()).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    proxy.write_all(head.as_bytes()).and_then(|()| proxy.write_all(body)).expect("written");
    let mut answer = Vec::new();
    proxy.read_to_end(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_batch_whose_answer_comes_too_late_is_taken_once() {
    let folder = folder();
    let proxy = Process::start(folder.path(), &config());
    let ways = vec![OnTheWay::AnswerIsLate, OnTheWay::Busy, OnTheWay::Passes, OnTheWay::AnswerIsLate];
    let admin = format!("http://{}", on_the_way(proxy.admin(), ways));
    write(&folder, "token", ADMIN_TOKEN);
    write(&folder, "users.jsonl", &tangled(800));
    let arguments = [
        "users.jsonl",
        "--results",
        "online.jsonl",
        "--rejects",
        "online.bad",
        "--admin",
        &admin,
        "--token-file",
        "token",
    ];
    let online = import(&folder, &arguments);
    assert_ends(&online, 1, &["created", "rejected"]);
    proxy.terminate();
    proxy.wait();
    let offline = self::folder();
    write(&offline, "users.jsonl", &tangled(800));
    let done = import(&offline, &["users.jsonl", "--results", "r.jsonl", "--rejects", "r.bad"]);
    assert_eq!(online.stdout, done.stdout, "each row was counted once");
    assert_eq!(results(&read(&folder, "online.jsonl")), results(&read(&offline, "r.jsonl")));
    assert_eq!(read(&folder, "online.bad"), read(&offline, "r.bad"));
    assert_eq!(everybody(&folder), everybody(&offline));
}

#[test]
fn a_proxy_elsewhere_says_what_is_done_to_passwords() {
    let folder = folder();
    let proxy = Process::start(folder.path(), &config().replace("[password]", "[password]\nnormalize = \"nfkc\""));
    let admin = format!("http://{}", proxy.admin());
    write(&folder, "token", ADMIN_TOKEN);
    write(&folder, "users.csv", &format!("id,email,password\n1,a@x.y,{BCRYPT}\n"));
    let reach = ["--admin", admin.as_str(), "--token-file", "token"];
    assert_ends(&import(&folder, &[&["users.csv"][..], &reach].concat()), 0, &["created"]);
    proxy.terminate();
    proxy.wait();
    assert!(everybody(&folder)[0].contains("\"normalization\":\"nfkc\""));
}

#[test]
fn somebody_imported_logs_in_is_what_it_is_for_and_a_tombstone_stays_one() {
    let folder = folder();
    write(&folder, "users.jsonl", &line(1).replace("\"active\"", "\"deleted\""));
    assert_ends(&import(&folder, &["users.jsonl"]), 0, &["created"]);
    write(&folder, "again.jsonl", &line(1));
    for policy in ["skip", "merge", "replace"] {
        let done = import(&folder, &["again.jsonl", "--on-conflict", policy, "--results", policy]);
        assert_ends(&done, 1, &["rejected"]);
        assert!(read(&folder, policy).contains("deleted users do not come back"));
    }
    let users = everybody(&folder);
    assert!(
        users.len() == 1 && users[0].contains("\"standing\":\"deleted\"") && !users[0].contains("password\":{"),
        "{users:?}"
    );
}

#[test]
fn a_file_that_only_begins_like_one_that_was_imported_is_imported() {
    let folder = folder();
    // Longer than the beginning by which a file is known.
    let rows = |count: usize| (0..count).map(|number| format!("{}\n", line(number))).collect::<String>();
    assert!(rows(600).len() > 2 * 64 * 1024);
    write(&folder, "users.jsonl", &rows(600)[..rows(500).len()]);
    assert_ends(&import(&folder, &["users.jsonl"]), 0, &["created", "500"]);
    assert_ends(&import(&folder, &["users.jsonl"]), 0, &["imported already"]);
    // Next month's export, or the whole of a file that had been cut short.
    write(&folder, "users.jsonl", &rows(600));
    let done = import(&folder, &["users.jsonl", "--results", "r"]);
    assert_ends(&done, 0, &["created", "100", "exists", "500"]);
    assert!(!done.stderr.contains("already"), "{done:?}");
    assert_eq!(read(&folder, "r").lines().count(), 600);
    assert_ends(&import(&folder, &["users.jsonl"]), 0, &["imported already", "600"]);
    // As long, and other behind its beginning.
    write(&folder, "users.jsonl", &rows(600).replace("User 590\"", "User  90\""));
    assert_ends(&import(&folder, &["users.jsonl", "--on-conflict", "merge"]), 0, &["unchanged", "600"]);
    write(&folder, "users.jsonl", &rows(600).replace("User 590\"", "Nick 590\""));
    assert_ends(&import(&folder, &["users.jsonl", "--on-conflict", "merge"]), 0, &["updated", "1"]);
    // A pipe can be looked at only once.
    let through_a_pipe = |text: &str| finish(authferry(folder.path(), &["import", "-"]), text);
    assert_ends(&through_a_pipe(&rows(600)), 0, &["exists", "600"]);
    assert_ends(&through_a_pipe(&rows(600)), 0, &["imported already"]);
    for other in [rows(601), rows(599), rows(600).replace("User 590", "Nick 590")] {
        assert_ends(&through_a_pipe(&other), 3, &["begins like what was imported already", "--restart"]);
    }
    assert_eq!(everybody(&folder).len(), 600);
}

#[test]
fn a_header_that_nobody_can_be_sure_of_is_refused_and_a_column_without_a_name_is_kept() {
    let folder = folder();
    // As `select users.*, profiles.*` makes them.
    write(&folder, "users.csv", "id,email,id,Name,name\n1,a@x.y,900,A,B\n");
    assert_ends(&import(&folder, &["users.csv"]), 2, &["the column `id` appears twice"]);
    write(&folder, "users.csv", "id,email,,\n1,a@x.y,more,still more\n");
    assert_ends(&import(&folder, &["users.csv"]), 0, &["created"]);
    let user: Value = serde_json::from_str(&everybody(&folder)[0]).expect("JSON");
    assert_eq!(user["profile"], json!({"id": "1", "email": "a@x.y", "column 3": "more", "column 4": "still more"}));
}

#[test]
fn a_file_in_another_encoding_or_with_another_separator_says_what_to_do() {
    let folder = folder();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (bytes, said) in [
        (utf16("\u{feff}id,email\n1,a@x.y\n"), "iconv -f UTF-16"),
        (utf16("id,email\n1,a@x.y\n"), "iconv -f UTF-16"),
        (b"id;email\n1;a@x.y\n".to_vec(), "parted by ';'"),
        (b"id\temail\n1\ta@x.y\n".to_vec(), "parted by '\\t'"),
        (b"BZh91AY&SY".to_vec(), "bzcat"),
        (b"\xfd7zXZ\x00\x00".to_vec(), "xzcat"),
    ] {
        fs::write(folder.path().join("users.csv"), bytes).expect("writable");
        assert_ends(&import(&folder, &["users.csv"]), 2, &[said]);
    }
    write(&folder, "users.csv", "id;email\n1;a@x.y\n");
    assert_ends(&import(&folder, &["users.csv", "--format", "csv"]), 2, &["parted by ';'"]);
    // Of names that nobody knows too, and where a column is said that is not there.
    for (header, separator) in
        [("Kunden-Nr;E-Mail Adresse;Name, Vorname", "';'"), ("Kunden-Nr\tE-Mail Adresse", "'\\t'")]
    {
        write(&folder, "users.csv", &format!("{header}\n1;a@x.y;A, B\n"));
        let said = [separator, "commas are wanted", &format!("csv.reader(sys.stdin, delimiter={separator})")];
        for arguments in [
            &["users.csv"][..],
            &["users.csv", "--map", "email=E-Mail Adresse"],
            &["users.csv", "--format", "csv"],
            &["users.csv", "--format", "csv", "--map", "email=E-Mail Adresse"],
        ] {
            assert_ends(&import(&folder, arguments), 2, &said);
        }
    }
    fs::write(folder.path().join("users.csv"), b"id,email\n1,f\xfcr@x.y\n2,b@x.y\n").expect("writable");
    assert_ends(&import(&folder, &["users.csv", "--rejects", "bad"]), 1, &["created", "rejected"]);
    assert!(read(&folder, "bad.reasons.jsonl").contains("it is not UTF-8"));
    assert_eq!(fs::read(folder.path().join("bad")).expect("there"), b"id,email\n1,f\xfcr@x.y\n", "in its own bytes");
}

#[test]
fn hashes_of_mysql_are_taken_without_their_star() {
    let folder = folder();
    // select password('password')
    write(&folder, "users.csv", "id,email,password\n1,a@x.y,*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19\n2,b@x.y,*\n");
    write(&folder, "known.txt", "a@x.y\tpassword\n");
    let verified = ["users.csv", "--verify-credentials", "known.txt", "--at-least", "1"];
    assert_ends(&import(&folder, &["users.csv", "--rejects", "bad"]), 1, &["rejected"]);
    assert!(read(&folder, "bad.reasons.jsonl").contains("--hash-template mysql"));
    let done = import(&folder, &[&verified[..], &["--hash-template", "mysql"]].concat());
    assert_ends(&done, 0, &["1 of the 1 known credentials verified", "created"]);
}

#[test]
fn what_is_said_wrongly_of_the_whole_file_is_wrong_usage_and_no_fault_of_its_rows() {
    let folder = folder();
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exchange/firebase/users.json").display().to_string();
    for (more, said) in [
        (&[][..], "--set signer-key: is not said"),
        (&["--set", "signer-key=a2V5", "--drop-bad-hashes"], "--set salt-separator: is not said"),
        (&["--set", "hash-algo=MD5"], "--set hash-algo: must be"),
    ] {
        assert_ends(&import(&folder, &[&[&*file], more].concat()), 2, &[said]);
        assert_ends(&import(&folder, &[&[&*file, "--dry-run"], more].concat()), 2, &[said]);
    }
    assert_eq!(everybody(&folder).len(), 0, "nor is anybody taken who has no hash");
}

#[test]
fn known_credentials_are_looked_up_as_the_configuration_has_names() {
    let folder = folder();
    write(&folder, "proxy.toml", &format!("{}[identity]\nusername = \"exact\"\n", config()));
    write(&folder, "users.csv", &format!("id,username,password\n1,Ann,{BCRYPT}\n2,ann,\n"));
    write(&folder, "known.txt", "Ann\tcorrectbatteryhorsestapler\n");
    let arguments = ["users.csv", "--verify-credentials", "known.txt", "--at-least", "1"];
    assert_ends(&import(&folder, &arguments), 0, &["1 of the 1 known credentials verified", "created", "2"]);
    write(&folder, "known.txt", "ann\tcorrectbatteryhorsestapler\n");
    let done = import(&folder, &[&arguments[..], &["--restart"]].concat());
    assert_ends(&done, 3, &["has no password in the file", "nothing was imported"]);
}

#[test]
fn who_has_a_second_factor_is_named_and_counted() {
    let folder = folder();
    let row = |number: u32, more: Value| {
        let mut row =
            json!({"user_id": format!("auth0|{number}"), "email": format!("u{number}@x.y"), "password_hash": BCRYPT});
        row.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        row
    };
    let factors = json!({"mfa_factors": [{"totp": {"secret": "JBSWY3DPEHPK3PXP"}}]});
    let rows =
        json!([row(1, json!({})), row(2, factors.clone()), row(3, factors), row(4, json!({"password_hash": "x"}))]);
    write(&folder, "users.json", &rows.to_string());
    write(&folder, "known.txt", "u2@x.y\tcorrectbatteryhorsestapler\n");
    let asked = import(&folder, &["users.json", "--verify-credentials", "known.txt", "--at-least", "1"]);
    assert_ends(&asked, 3, &["is asked for more than a password there"]);
    let done = import(&folder, &["users.json", "--results", "r.jsonl", "--drop-bad-hashes"]);
    let said = [
        "2 users with a second factor",
        "2 users without their hash, so that legacy goes on asking",
        "1 user without their hash, which cannot be used",
        "r.jsonl under `notes`",
    ];
    assert_ends(&done, 0, &said);
    let notes: Vec<Value> = read(&folder, "r.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON lines")["notes"].clone())
        .collect();
    let factor = json!(["second_factor", "hash_left_with_legacy"]);
    assert_eq!(notes, [json!(null), factor.clone(), factor, json!(["hash_dropped"])]);
    let folder = self::folder();
    write(&folder, "users.json", &rows.to_string());
    let done = import(&folder, &["users.json", "--set", "second-factor=ignore", "--set", "unusable-hash=drop"]);
    assert_ends(&done, 0, &["2 users with a second factor there: nobody asks for it here", "--results FILE"]);
    assert!(!done.stderr.contains("goes on asking"), "{done:?}");
}

/// The `notes` of each row of a results file, and its result.
fn noted(folder: &TempDir, name: &str) -> Vec<(String, Value)> {
    let text = read(folder, name);
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    rows.map(|row| (row["result"].as_str().expect("a word").to_owned(), row["notes"].clone())).collect()
}

/// Everybody in the store, by his legacy id.
fn by_id(folder: &TempDir) -> Vec<Value> {
    let users = everybody(folder).into_iter().map(|user| serde_json::from_str::<Value>(&user).expect("JSON"));
    let mut users: Vec<Value> = users.collect();
    users.sort_by_key(|user| user["legacy_id"].to_string());
    users
}

#[test]
fn auth0s_export_and_then_its_hashes_leave_a_second_factor_with_legacy_and_profiles_as_they_are() {
    let folder = folder();
    let export = [
        json!({"user_id": "auth0|1", "email": "ann@x.y", "name": "Ann", "mfa_factors": [{"totp": {"secret": "JB"}}]}),
        json!({"user_id": "auth0|2", "email": "bob@x.y", "name": "Bob"}),
    ];
    let hash = |number: u32, email: &str| json!({"_id": {"$oid": number.to_string()}, "email": email, "email_verified": true, "passwordHash": BCRYPT, "tenant": "x"});
    let lines = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    write(&folder, "export.jsonl", &lines(&export));
    write(&folder, "hashes.jsonl", &lines(&[hash(1, "ann@x.y"), hash(2, "bob@x.y")]));
    let format = ["--format", "auth0"];
    let done = import(&folder, &[&["export.jsonl"][..], &format].concat());
    assert_ends(&done, 0, &["1 user with a second factor there"]);
    let merge = [&["hashes.jsonl", "--on-conflict", "merge", "--results", "merged"][..], &format].concat();
    assert_ends(&import(&folder, &merge), 0, &["1 user without their hash, so that legacy goes on asking"]);
    let left = json!(["hash_left_with_legacy"]);
    assert_eq!(noted(&folder, "merged"), [("updated".into(), left.clone()), ("updated".into(), Value::Null)]);
    let told = |users: &[Value]| -> Vec<(Value, Value, Value)> {
        let told = |user: &Value| {
            (user["password"].clone(), user["without_password"].clone(), user["profile"]["name"].clone())
        };
        users.iter().map(told).collect()
    };
    let users = by_id(&folder);
    let (ann, bob) = (json!("left_with_legacy"), json!({"hash": BCRYPT}));
    let expected = [(Value::Null, ann.clone(), json!("Ann")), (bob.clone(), Value::Null, json!("Bob"))];
    assert_eq!(told(&users), expected);
    assert_eq!(users[0]["profile"]["mfa_factors"][0]["totp"]["secret"], "JB");
    // Once more: there is nothing left but the hash.
    let again = ["hashes.jsonl", "--on-conflict", "merge", "--results", "again", "--restart"];
    assert_ends(&import(&folder, &[&again[..], &format].concat()), 0, &["1 user without their hash"]);
    assert_eq!(noted(&folder, "again"), [("unchanged".into(), left), ("unchanged".into(), Value::Null)]);
    // Who takes an own export to another store takes that too.
    assert_eq!(run(folder.path(), &["export", "--to", "own.jsonl"]).code, Some(0));
    let other = self::folder();
    write(&other, "own.jsonl", &read(&folder, "own.jsonl"));
    assert_ends(&import(&other, &["own.jsonl"]), 0, &["created", "2"]);
    assert_eq!(told(&by_id(&other)), expected);
    // And an operator may say otherwise.
    let replace = ["hashes.jsonl", "--on-conflict", "replace", "--restart"];
    assert_ends(&import(&folder, &[&replace[..], &format].concat()), 0, &["updated", "2"]);
    assert_eq!(told(&by_id(&folder)), [(bob.clone(), Value::Null, json!("Ann")), (bob, Value::Null, json!("Bob"))]);
}

#[test]
fn a_second_factor_in_a_newer_export_takes_the_imported_hash_away() {
    let row = json!({"user_id": "auth0|1", "email": "ann@x.y", "password_hash": BCRYPT});
    let mut newer = row.clone();
    newer["mfa_factors"] = json!([{"totp": {"secret": "JB"}}]);
    for policy in ["merge", "replace"] {
        let folder = folder();
        write(&folder, "old.json", &json!([row]).to_string());
        assert_ends(&import(&folder, &["old.json"]), 0, &["created"]);
        write(&folder, "new.json", &json!([newer]).to_string());
        let done = import(&folder, &["new.json", "--on-conflict", policy]);
        assert_ends(&done, 0, &["updated", "1 user without their hash, so that legacy goes on asking"]);
        let ann = by_id(&folder).remove(0);
        assert_eq!(
            (&ann["password"], &ann["without_password"]),
            (&Value::Null, &json!("left_with_legacy")),
            "{policy}"
        );
    }
}

#[test]
fn a_row_without_a_name_to_log_in_with_makes_nobody_and_still_finds_whom_its_id_names() {
    let folder = folder();
    write(&folder, "users.csv", &format!("id,email,password\n1,,{BCRYPT}\n2,ann,{BCRYPT}\n3,bob@x.y,\n"));
    let said = ["line 2: names: there is no name in it", "line 3: email: it has no `@`", "created", "1"];
    assert_ends(&import(&folder, &["users.csv"]), 1, &said);
    write(&folder, "hashes.csv", &format!("id,email,password\n3,,{BCRYPT}\n"));
    assert_ends(&import(&folder, &["hashes.csv", "--on-conflict", "merge"]), 0, &["updated"]);
    let bob = by_id(&folder).remove(0);
    assert_eq!((&bob["legacy_id"], &bob["password"]["hash"]), (&json!(3), &json!(BCRYPT)));
}

#[test]
fn each_file_beside_an_import_is_a_file_of_its_own() {
    let folder = folder();
    write(&folder, "users.jsonl", &line(1));
    assert_ends(&import(&folder, &["users.jsonl", "--rejects", "x", "--results", "x"]), 2, &["named twice"]);
    let beside = ["users.jsonl", "--rejects", "x", "--results", "x.reasons.jsonl"];
    assert_ends(&import(&folder, &beside), 2, &["named twice"]);
    // A row that is too large is said, and there is nothing to keep of it.
    write(&folder, "users.jsonl", &format!("{}\n{}\n", line(1), line(2).replace("User 2", &"x".repeat(1 << 20))));
    let done = import(&folder, &["users.jsonl", "--rejects", "bad"]);
    assert_ends(&done, 1, &["why rows were rejected is in bad.reasons.jsonl"]);
    assert!(read(&folder, "bad.reasons.jsonl").contains("larger than 1 MiB") && !folder.path().join("bad").exists());
}
