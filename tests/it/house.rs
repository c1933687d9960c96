//! The house itself: which module may use which, who makes a proof, and that every file says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `src`, with its path relative to it.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path: PathBuf = entry.expect("a readable entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).expect("a readable file")));
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "the walk found the sources");
    files
}

/// The top-level module that a file belongs to.
fn layer(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

/// Whether a file holds nothing but unit tests.
fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The code of a file without its unit tests, which may use anything.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// The modules of this crate that a file names.
fn used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for line in code(text).lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            used.insert(name);
        }
    }
    used
}

#[test]
fn arrows_point_one_way_and_adapters_never_import_each_other() {
    let leaves = ["domain", "service", "telemetry", "net", "template", "exchange", "keys"];
    let with = |more: &[&'static str]| -> Vec<&str> { leaves.iter().chain(more).copied().collect() };
    // A module's own settings may name another adapter's only where one is configured by the other's words.
    let allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("domain", vec![]),
        ("telemetry", vec!["domain"]),
        ("takeover", vec!["domain"]),
        ("notify", vec![]),
        ("net", vec!["domain", "telemetry"]),
        ("template", vec!["domain"]),
        ("service", vec!["domain", "telemetry"]),
        ("store", with(&[])),
        ("password", with(&[])),
        ("limits", with(&[])),
        ("token", with(&[])),
        ("legacy", with(&[])),
        ("http", with(&[])),
        ("admin", with(&[])),
        ("exchange", vec!["domain"]),
        ("keys", vec![]),
        ("demo", with(&[])),
    ]);
    let mut wrong = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| !is_test(file)) {
        let own = layer(&file).to_owned();
        let Some(allowed) = allowed.get(own.as_str()) else { continue };
        for used in used(&text) {
            if used != own && !allowed.contains(&used.as_str()) {
                wrong.push(format!("src/{file} uses crate::{used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    for (file, text) in sources().iter().filter(|(file, _)| layer(file) == "domain") {
        for word in ["async ", "tokio", "std::fs", "std::net::Tcp", "hyper", "redb", "http::", "std::thread"] {
            assert!(!code(text).contains(word), "src/{file} has `{word}`");
        }
    }
}

#[test]
fn a_proof_is_made_in_one_place_only() {
    for (constructor, maker) in [
        ("VerifiedUser::assert_by_verification", "password/"),
        ("LegacyAccepted::assert_by_connector", "legacy/"),
        ("FreshHash::assert_by_hasher", "password/"),
        ("Migrated::assert_after_commit", "store/"),
        ("ClientAddr::assert_by_trusted_walk", "http/client_addr.rs"),
        ("ClientAddr::supposed", "service/explain.rs"),
        ("Authenticated::by_registration", "service/registration.rs"),
        ("Authenticated::by_refresh_token", "service/whoami.rs"),
    ] {
        let makers: BTreeSet<String> = sources()
            .into_iter()
            .filter(|(file, _)| !is_test(file))
            .filter(|(_, text)| {
                code(text).lines().any(|line| line.contains(constructor) && !line.trim_start().starts_with("//"))
            })
            .map(|(file, _)| file)
            .collect();
        assert!(!makers.is_empty(), "nobody calls {constructor}");
        for file in makers {
            assert!(file.starts_with(maker), "src/{file} calls {constructor}");
        }
    }
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "src/{file}");
    }
}

#[test]
fn what_the_compiler_cannot_check_is_in_one_file() {
    let is_allowed = |text: &str| text.contains("unsafe_code");
    let files: Vec<String> = sources().into_iter().filter(|(_, text)| is_allowed(text)).map(|(file, _)| file).collect();
    assert_eq!(files, ["password/fill/boundary.rs"]);
}

#[test]
fn r124_no_dependency_is_below_the_floor_under_which_a_hole_is_known() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("Cargo.lock");
    let mut packages: BTreeMap<String, Vec<Vec<u64>>> = BTreeMap::new();
    let mut name = String::new();
    for line in lock.lines() {
        let value = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
        if line.starts_with("name = ") {
            name = value(line);
        } else if line.starts_with("version = ") {
            let numbers = value(line).split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect();
            packages.entry(name.clone()).or_default().push(numbers);
        }
    }
    for (name, floor) in [
        ("h2", [0, 4, 16]),
        ("rustls", [0, 23, 45]),
        ("rustls-webpki", [0, 103, 15]),
        ("bytes", [1, 11, 1]),
        ("jsonwebtoken", [10, 3, 0]),
        ("argon2", [0, 6, 0]),
        ("redb", [4, 6, 0]),
    ] {
        let versions = packages.get(name).unwrap_or_else(|| panic!("{name} is not in Cargo.lock"));
        assert!(versions.iter().all(|version| *version >= floor.to_vec()), "{name} {versions:?} is below {floor:?}");
    }
}

/// Packages beside this one that build it under a lock file of their own, with `--locked`.
const BESIDE: [&str; 3] = ["benches/compare", "benches/users", "fuzz"];

#[test]
fn lock_files_of_the_packages_beside_know_every_dependency() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = |path: &str| -> toml::Table {
        fs::read_to_string(root.join(path)).expect(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let manifest = table("Cargo.toml");
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    let package = |(name, how): (&String, &toml::Value)| {
        how.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
    };
    let wanted: BTreeSet<String> = dependencies.iter().map(package).collect();
    for beside in BESIDE {
        let lock = table(&format!("{beside}/Cargo.lock"));
        let packages = lock["package"].as_array().expect("an array");
        let ours = packages.iter().find(|package| package["name"].as_str() == Some("authferry"));
        let locked = ours.expect("it builds us")["dependencies"].as_array().expect("an array");
        let name = |entry: &toml::Value| entry.as_str()?.split(' ').next().map(str::to_owned);
        let locked: BTreeSet<String> = locked.iter().filter_map(name).collect();
        assert_eq!(locked, wanted, "{beside}/Cargo.lock is behind: run `cargo metadata` there");
    }
}
