//! The targets over their seeds, as part of every test run: what was found once is not lost, and no target rots.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::TARGETS;

/// Mutations of the seeds of each target.
const MUTATIONS: u32 = 2_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    entries.map(|entry| stem(entry.expect("an entry").path())).collect()
}

/// The seeds of a target, each with the name of its file.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(target);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).expect("seeds").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no seeds");
    files.into_iter().map(|file| (file.display().to_string(), fs::read(&file).expect("a seed"))).collect()
}

/// One step away from a seed, in the ways in which libFuzzer goes: bytes changed, put in, taken out, parts repeated or taken from
/// another seed.
#[derive(Debug, Clone)]
enum Step {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    Splice(prop::sample::Index, prop::sample::Index, prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use any as some;
    let step = prop_oneof![
        (some::<prop::sample::Index>(), some::<u8>()).prop_map(|(at, byte)| Step::Set(at, byte)),
        (some::<prop::sample::Index>(), some::<u8>()).prop_map(|(at, byte)| Step::Insert(at, byte)),
        (some::<prop::sample::Index>(), some::<prop::sample::Index>()).prop_map(|(at, to)| Step::Remove(at, to)),
        (some::<prop::sample::Index>(), some::<prop::sample::Index>()).prop_map(|(at, to)| Step::Repeat(at, to)),
        (some::<prop::sample::Index>(), some::<prop::sample::Index>(), some::<prop::sample::Index>())
            .prop_map(|(other, at, to)| Step::Splice(other, at, to)),
    ];
    prop::collection::vec(step, 1..6)
}

fn apply(step: &Step, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let part = |of: &[u8], a: prop::sample::Index, b: prop::sample::Index| {
        let (a, b) = (a.index(of.len() + 1), b.index(of.len() + 1));
        a.min(b)..a.max(b)
    };
    match step {
        Step::Set(at, byte) if !input.is_empty() => {
            let at = at.index(input.len());
            input[at] = *byte;
        }
        Step::Set(_, byte) => input.push(*byte),
        Step::Insert(at, byte) => input.insert(at.index(input.len() + 1), *byte),
        Step::Remove(a, b) => drop(input.drain(part(input, *a, *b))),
        Step::Repeat(a, b) => {
            let range = part(input, *a, *b);
            let (end, again) = (range.end, input[range].to_vec());
            input.splice(end..end, again);
        }
        Step::Splice(other, a, b) => {
            let other = other.get(seeds);
            let at = a.index(input.len() + 1);
            input.splice(at..at, other[part(other, *a, *b)].iter().copied());
        }
    }
    input.truncate(8 * 1024);
}

#[test]
fn every_target_has_a_program_and_seeds_and_there_are_no_others() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("seeds")), targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest");
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).expect("the program");
        assert!(program.contains(&format!("authferry::fuzzing::{name}(data)")), "{name}");
    }
}

#[test]
fn the_programs_lock_file_knows_what_the_proxy_is_built_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let lock = fs::read_to_string(fuzz().join("Cargo.lock")).expect("the lock file");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    for (key, value) in manifest["dependencies"].as_table().expect("a table") {
        let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
        let there = lock.contains(&format!("name = \"{name}\"\n"));
        assert!(there, "{name}: cargo metadata --manifest-path fuzz/Cargo.toml adds it to fuzz/Cargo.lock");
    }
}

/// A test a target, so that they run side by side and a failure says which it is.
macro_rules! replayed {
    ($($test:ident: $target:literal)*) => {$(
        #[test]
        fn $test() {
            let (_, run) = TARGETS.iter().find(|(name, _)| *name == $target).expect("a target");
            let named = seeds($target);
            let seeds: Vec<Vec<u8>> = named.iter().map(|(_, seed)| seed.clone()).collect();
            for (name, seed) in named {
                // Shown if it fails.
                println!("{name}");
                run(&seed);
            }
            let runs = Runs { cases: MUTATIONS, failure_persistence: None, ..Runs::default() };
            let strategy = (any::<prop::sample::Index>(), steps());
            let mutated = TestRunner::new(runs).run(&strategy, |(seed, steps)| {
                let mut input = seed.get(&seeds).clone();
                steps.iter().for_each(|step| apply(step, &mut input, &seeds));
                run(&input);
                Ok(())
            });
            if let Err(error) = mutated {
                panic!("{error}");
            }
        }

        const _: &str = $target;
    )*

        #[test]
        fn every_target_is_replayed() {
            let replayed: BTreeSet<&str> = [$($target),*].into();
            assert_eq!(replayed, TARGETS.iter().map(|(name, _)| *name).collect());
        }
    };
}

replayed! {
    r71_what_trusted_proxies_say_of_a_client_has_one_reading: "client_addr"
    a_configuration_is_resolved_or_refused_in_words: "config"
    r38_a_form_has_one_reading: "form"
    r1_to_r15_a_stream_that_is_passed_has_one_reading: "framing"
    r1_to_r28_an_admitted_head_keeps_the_gates_promises: "gate"
    r35_a_json_body_has_one_reading: "json"
    r27_a_canonical_path_is_one_for_routing_and_forwarding: "path"
    r53_a_stored_hash_is_bounded_before_it_is_used: "phc"
    r72_a_proxy_header_is_read_to_its_end_and_no_further: "proxy_header"
    a_record_is_read_back_as_it_was_written: "record"
    a_template_renders_what_it_escapes: "template"
}
