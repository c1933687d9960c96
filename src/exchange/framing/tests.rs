//! Cutting streams: each framing, each trouble, and any blocks.

use proptest::prelude::*;

use super::*;

/// Gives its bytes in blocks of these lengths, then one by one.
struct Blocks<'a>(&'a [u8], Vec<usize>);

impl Read for Blocks<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.1.pop().unwrap_or(1).clamp(1, out.len()).min(self.0.len());
        let (now, later) = self.0.split_at(count);
        out[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

/// Number, line and bytes of each record, and how it ended.
type Cuts = (Vec<(u64, u64, Option<Vec<u8>>)>, Result<(), String>);

fn all(mut splitter: Splitter<impl Read>) -> Cuts {
    let mut records = Vec::new();
    loop {
        match splitter.next_piece() {
            Ok(Some(piece)) => records.push((piece.number, piece.line, piece.bytes.map(<[u8]>::to_vec))),
            Ok(None) => return (records, Ok(())),
            Err(broken) => return (records, Err(broken.to_string())),
        }
    }
}

fn cut(text: &[u8], framing: Framing) -> Cuts {
    all(Splitter::new(text, framing))
}

fn texts(text: &str, framing: Framing) -> Vec<String> {
    let (records, ended) = cut(text.as_bytes(), framing);
    assert_eq!(ended, Ok(()), "{text:?}");
    records.into_iter().map(|(_, _, bytes)| String::from_utf8(bytes.expect("small")).expect("UTF-8")).collect()
}

fn trouble(text: &str, framing: Framing) -> String {
    cut(text.as_bytes(), framing).1.expect_err(text)
}

const ARRAY: Framing = Framing::JsonItems { path: "" };
const USERS: Framing = Framing::JsonItems { path: "users" };

#[test]
fn lines_end_in_lf_or_cr_lf_or_nothing_and_blank_ones_are_none() {
    for (text, expected) in [
        ("", &[][..]),
        ("\n\r\n  \n", &[]),
        ("{}", &["{}"]),
        ("{}\n", &["{}"]),
        ("\u{feff}{\"a\":1}\r\n\r\n{\"b\":2}\r\n", &["{\"a\":1}", "{\"b\":2}"]),
        ("a\n\n \nb", &["a", "b"]),
    ] {
        assert_eq!(texts(text, Framing::Lines), expected, "{text:?}");
    }
    let (records, _) = cut(b"\n{}\n\n{}\n", Framing::Lines);
    assert_eq!(records.iter().map(|(number, line, _)| (*number, *line)).collect::<Vec<_>>(), [(1, 2), (2, 4)]);
}

#[test]
fn items_of_an_array_are_cut_whatever_is_in_them() {
    for (text, expected) in [
        ("[]", &[][..]),
        (" [ ] \n", &[]),
        ("[{}]", &["{}"]),
        ("[1, \"a,]\" ,null,[2,[3]],{\"a\":\"}\\\"]\"}]", &["1", "\"a,]\"", "null", "[2,[3]]", "{\"a\":\"}\\\"]\"}"]),
        ("\u{feff}[\n{\"a\":\"\\\\\"},\n{}]\n", &["{\"a\":\"\\\\\"}", "{}"]),
    ] {
        assert_eq!(texts(text, ARRAY), expected, "{text:?}");
    }
}

#[test]
fn an_array_is_found_under_its_key_and_nowhere_deeper() {
    for (text, expected) in [
        ("{\"users\":[]}", &[][..]),
        ("{\"realm\":\"x\",\"users\":[{},{}]}", &["{}", "{}"]),
        ("{ \"a\" : { \"users\" : [7] } , \"b\":[1,2], \"users\" : [ 1 ] , \"c\" : -1.5e3 }", &["1"]),
        ("{\"n\":12,\"t\":true,\"s\":\"\\\"users\\\":[9]\",\"users\":[3]}", &["3"]),
    ] {
        assert_eq!(texts(text, USERS), expected, "{text:?}");
    }
}

#[test]
fn what_is_wrong_between_items_is_told_with_its_place() {
    for (text, framing, expected) in [
        ("[{}", ARRAY, "line 1, byte 3: the file ends in the middle: it was cut short"),
        ("[\n{},\n{\"a\":", ARRAY, "line 3, byte 11: the file ends in the middle: it was cut short"),
        ("[{},]", ARRAY, "line 1, byte 4: a comma stands before the end of the array"),
        ("[,{}]", ARRAY, "line 1, byte 1: an item is missing before a comma"),
        ("[{},,{}]", ARRAY, "line 1, byte 4: an item is missing before a comma"),
        ("[{}\n{}]", ARRAY, "line 2, byte 4: something stands between two items that is no comma"),
        ("[{}] x", ARRAY, "line 1, byte 5: something follows the end of the array"),
        ("[{]}", ARRAY, "line 1, byte 2: a bracket closes what another kind of bracket opened"),
        ("[?]", ARRAY, "line 1, byte 1: an item is no JSON value"),
        ("{}", ARRAY, "line 1, byte 0: the file is no JSON array"),
        ("", ARRAY, "line 1, byte 0: the file ends in the middle: it was cut short"),
        ("[]", USERS, "line 1, byte 0: the file is no JSON object"),
        ("{}", USERS, "line 1, byte 2: the file's object has no key `users`"),
        ("{\"users\":{}}", USERS, "line 1, byte 9: the value of `users` is no array"),
        ("{\"users\":[],\"users\":[]}", USERS, "line 1, byte 19: the file's object has the key `users` twice"),
        ("{\"users\":[1]", USERS, "line 1, byte 12: the file ends in the middle: it was cut short"),
        ("{\"users\":[1],}", USERS, "line 1, byte 13: the file's object is malformed"),
        (
            "a,\"b\nc",
            Framing::Csv,
            "line 1, byte 0: the file ends inside a quoted field: a quote is missing, or the file was cut short",
        ),
    ] {
        assert_eq!(trouble(text, framing), expected, "{text:?}");
    }
    let deep = format!("[{}", "[".repeat(200));
    assert!(trouble(&deep, ARRAY).contains("nested deeper than 127"));
    let long_key = format!("{{\"{}\":1}}", "k".repeat(600_000));
    assert!(trouble(&long_key, USERS).contains("key of the file's object is too long"));
}

#[test]
fn records_before_the_trouble_are_given() {
    let (records, ended) = cut(b"[{\"a\":1},{\"b\":2},]", ARRAY);
    assert_eq!((records.len(), ended.is_err()), (2, true));
}

#[test]
fn csv_records_may_hold_line_ends_and_commas_in_quotes() {
    let text = "id,name\r\n1,\"Ann, \"\"A\"\"\nSecond\"\r\n\r\n2,Bo\n3,";
    let records = texts(text, Framing::CsvWithoutHeader);
    assert_eq!(records, ["id,name", "1,\"Ann, \"\"A\"\"\nSecond\"", "2,Bo", "3,"]);
    assert_eq!(csv_fields(records[1].as_bytes()), Ok(vec!["1".to_owned(), "Ann, \"A\"\nSecond".to_owned()]));
    assert_eq!(csv_fields(b"3,"), Ok(vec!["3".to_owned(), String::new()]));
    let mut splitter = Splitter::new(text.as_bytes(), Framing::Csv);
    assert_eq!(splitter.header().expect("readable"), b"id,name");
    let first = splitter.next_piece().expect("readable").expect("a record");
    assert_eq!((first.number, first.line), (1, 2), "the header has no number");
}

#[test]
fn csv_that_two_readers_would_read_differently_is_a_fault_of_its_record() {
    for record in ["a\"b,c", "\"a\"b,c", "\"a", "a,\u{0}b\"", "\"a\" ,b"] {
        assert!(csv_fields(record.as_bytes()).is_err(), "{record:?}");
    }
    assert!(csv_fields(b"\xff,b").is_err(), "no UTF-8");
}

#[test]
fn a_record_over_the_limit_is_told_and_the_next_one_is_read() {
    let large = "x".repeat(MAX_RECORD_BYTES + 1);
    let fits = "y".repeat(MAX_RECORD_BYTES - 2);
    for (text, framing) in [
        (format!("1\n{large}\n\"{fits}\"\n2\n"), Framing::Lines),
        (format!("[1,\"{large}\",\n\"{fits}\",2]"), ARRAY),
        (format!("{{\"big\":\"{large}\",\"users\":[1,\"{large}\",\n\"{fits}\",2]}}"), USERS),
        (format!("1\n\"{large}\"\n\"{fits}\"\n2"), Framing::CsvWithoutHeader),
    ] {
        let (records, ended) = cut(text.as_bytes(), framing);
        assert_eq!(ended, Ok(()), "{framing:?}");
        let sizes: Vec<Option<usize>> = records.iter().map(|(_, _, bytes)| bytes.as_ref().map(Vec::len)).collect();
        assert_eq!(sizes, [Some(1), None, Some(MAX_RECORD_BYTES), Some(1)], "{framing:?}");
    }
}

#[test]
fn reading_goes_on_at_a_place_only_if_everything_before_it_is_what_it_was() {
    for (text, framing) in [
        ("{\"a\":1}\n{\"b\":2}\n{\"c\":3}", Framing::Lines),
        ("[{\"a\":1},\n{\"b\":2},{\"c\":3}]", ARRAY),
        ("{\"x\":1,\"users\":[{\"a\":1},{\"b\":2},{\"c\":3}],\"y\":[]}", USERS),
        ("h\na\nb\nc\n", Framing::Csv),
    ] {
        let mut splitter = Splitter::new(text.as_bytes(), framing);
        splitter.header().expect("readable");
        splitter.next_piece().expect("readable").expect("a record");
        let (place, fingerprint) = (splitter.place(), splitter.fingerprint());
        let rest = all(splitter);
        let resumed = Splitter::resume(text.as_bytes(), framing, place, fingerprint).expect("the same file");
        assert_eq!(all(resumed), rest, "{framing:?}");
        let mut changed = text.as_bytes().to_vec();
        changed[0] ^= 1;
        let resumed = Splitter::resume(changed.as_slice(), framing, place, fingerprint);
        assert!(matches!(resumed.err(), Some(Broken::Changed(_))));
        let short = Splitter::resume(&text.as_bytes()[..1], framing, place, fingerprint);
        assert!(matches!(short.err(), Some(Broken::Changed(_))));
    }
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Lines), Just(ARRAY), Just(USERS), Just(Framing::CsvWithoutHeader),]
}

proptest! {
    #[test]
    fn however_the_bytes_come_the_records_are_the_same(
        text in "(\u{feff})?[\\[{]?([\\[\\]{}\",:\\\\ \na1]|\"users\":|\r\n|\\{\"a\":\"b\"\\},?){0,40}",
        framing in framings(),
        blocks in proptest::collection::vec(1_usize..20, 0..20),
    ) {
        let whole = cut(text.as_bytes(), framing);
        let in_blocks = all(Splitter::new(Blocks(text.as_bytes(), blocks), framing));
        prop_assert_eq!(whole, in_blocks);
    }

    #[test]
    fn joined_records_give_the_input_back(items in proptest::collection::vec("[a-z]{0,5}(\"\"|,|\n|\\\\|é){0,3}", 1..20)) {
        let quoted: Vec<String> = items.iter().map(|item| serde_json::json!({"k": item}).to_string()).collect();
        let lines = quoted.join("\n");
        prop_assert_eq!(texts(&lines, Framing::Lines).join("\n"), lines);
        let array = format!("[{}]", quoted.join(","));
        prop_assert_eq!(format!("[{}]", texts(&array, ARRAY).join(",")), array);
        let csv: Vec<String> = items.iter().map(|item| format!("1,\"{}\"", item.replace('"', "\"\""))).collect();
        let csv = csv.join("\n");
        prop_assert_eq!(texts(&csv, Framing::CsvWithoutHeader).join("\n"), csv);
    }

    #[test]
    fn no_bytes_make_a_cutter_panic_or_go_on_for_ever(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), framing in framings()
    ) {
        let (records, _) = cut(&bytes, framing);
        prop_assert!(records.len() <= bytes.len());
        let _ = csv_fields(&bytes);
    }

    #[test]
    fn what_serde_writes_is_cut_as_serde_reads_it(values in proptest::collection::vec(
        prop_oneof![any::<i64>().prop_map(serde_json::Value::from), ".{0,20}".prop_map(serde_json::Value::from),
            proptest::collection::hash_map(".{0,5}", ".{0,9}", 0..4).prop_map(|map| serde_json::json!(map))], 0..12)
    ) {
        for text in [serde_json::json!(values).to_string(), serde_json::to_string_pretty(&values).expect("JSON")] {
            let items: Vec<serde_json::Value> =
                texts(&text, ARRAY).iter().map(|item| serde_json::from_str(item).expect("an item")).collect();
            prop_assert_eq!(&items, &values);
        }
    }
}
