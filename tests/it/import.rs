//! `authferry import` with the built binary on real files and stores: what is taken, what is rejected and why, and that killed at any point
//! and run again it comes to the same end.

use std::fs;
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
        (&["odd.txt"], 3, "--format"),
        (&["empty.json"], 3, "empty"),
        (&["packed.gz"], 3, "compressed"),
        (&["users.csv", "--format", "jsonl"], 3, "not of the format jsonl"),
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
    assert_ends(&done, 3, &["not of the format"]);
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
    assert_ends(&import(&folder, &["users.jsonl", "--dry-run"]), 2, &["in use by a running proxy", "--store"]);
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
