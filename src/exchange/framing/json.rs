//! The items of one JSON array: of the file itself, or of one key of the object that the file is. Knows strings, escapes and nesting, and
//! nothing else of what an item says.

use super::{Cut, Problem, Trouble};

/// The longest key of the file's object that is looked at, in bytes.
const MAX_KEY_BYTES: usize = 4 * 1024;

pub(super) struct JsonCutter {
    path: &'static str,
    state: State,
    value: Value,
    looked_at: usize,
    found: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first bracket.
    Start,
    /// Behind `{`.
    FirstKey,
    /// Behind a comma of the file's object.
    Key,
    /// Behind a key of the file's object: the one that is wanted, or not.
    Colon { wanted: bool },
    /// Before the wanted array.
    Array,
    /// In a value of the file's object that is not wanted.
    Unwanted,
    /// Behind a value of the file's object.
    BehindValue,
    /// Behind `[`.
    FirstItem,
    /// Behind a comma of the array.
    NextItem,
    /// In an item, which the unread bytes begin with.
    Item,
    /// Behind an item.
    BehindItem,
    /// Behind the last bracket.
    Closed,
}

impl JsonCutter {
    pub(super) fn new(path: &'static str) -> Self {
        Self { path, state: State::Start, value: Value::default(), looked_at: 0, found: false }
    }

    /// As if an item had just ended.
    pub(super) fn go_on_after_an_item(&mut self) {
        self.state = State::BehindItem;
        self.found = true;
    }

    pub(super) fn forget(&mut self) {
        self.looked_at = 0;
    }

    pub(super) fn cut(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        match self.state {
            State::Item => self.cut_item(unread, ended),
            State::Unwanted => self.skip_unwanted(unread, ended),
            State::Start
            | State::FirstKey
            | State::Key
            | State::Colon { .. }
            | State::Array
            | State::BehindValue
            | State::FirstItem
            | State::NextItem
            | State::BehindItem
            | State::Closed => self.between(unread, ended),
        }
    }

    fn cut_item(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        match self.value.read(unread, self.looked_at)? {
            Some(end) => {
                (self.looked_at, self.value, self.state) = (0, Value::default(), State::BehindItem);
                Ok(Cut::Record { end, next: end })
            }
            None if ended => Err(Trouble(unread.len(), Problem::Truncated)),
            None => {
                self.looked_at = unread.len();
                Ok(Cut::More)
            }
        }
    }

    fn skip_unwanted(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        match self.value.read(unread, 0)? {
            Some(end) => {
                (self.value, self.state) = (Value::default(), State::BehindValue);
                Ok(Cut::Skip(end))
            }
            None if ended => Err(Trouble(unread.len(), Problem::Truncated)),
            None if unread.is_empty() => Ok(Cut::More),
            None => Ok(Cut::Skip(unread.len())),
        }
    }

    /// One step between values: white space, or one token.
    fn between(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        let blank = unread.iter().take_while(|byte| is_space(**byte)).count();
        if blank > 0 {
            return Ok(Cut::Skip(blank));
        }
        let Some(byte) = unread.first() else {
            return match (ended, self.state) {
                (false, _) => Ok(Cut::More),
                (true, State::Closed) if self.found => Ok(Cut::End),
                (true, State::Closed) => Err(Trouble(0, Problem::NoKey(self.path))),
                (true, _) => Err(Trouble(0, Problem::Truncated)),
            };
        };
        let (state, problem) = match (self.state, byte) {
            (State::Start, b'[') if self.path.is_empty() => {
                self.found = true;
                (State::FirstItem, None)
            }
            (State::Start, b'{') if !self.path.is_empty() => (State::FirstKey, None),
            (State::Start, _) if self.path.is_empty() => (State::Start, Some(Problem::NoArray)),
            (State::Start, _) => (State::Start, Some(Problem::NoObject)),
            (State::FirstKey | State::Key, b'"') => return self.key(unread, ended),
            (State::FirstKey | State::BehindValue, b'}') => (State::Closed, None),
            (State::BehindValue, b',') => (State::Key, None),
            (State::Colon { wanted: true }, b':') if self.found => (State::Array, Some(Problem::KeyTwice(self.path))),
            (State::Colon { wanted: true }, b':') => (State::Array, None),
            (State::Colon { wanted: false }, b':') => (State::Unwanted, None),
            (State::Array, b'[') => {
                self.found = true;
                (State::FirstItem, None)
            }
            (State::Array, _) => (State::Array, Some(Problem::KeyIsNoArray(self.path))),
            (State::FirstItem | State::BehindItem, b']') => (self.behind_the_array(), None),
            (State::NextItem, b']') => (State::NextItem, Some(Problem::TrailingComma)),
            (State::FirstItem | State::NextItem, b',') => (State::NextItem, Some(Problem::MissingItem)),
            (State::FirstItem | State::NextItem, _) => {
                self.state = State::Item;
                return Ok(Cut::Skip(0));
            }
            (State::BehindItem, b',') => (State::NextItem, None),
            (State::BehindItem, _) => (State::BehindItem, Some(Problem::BetweenItems)),
            (State::Closed, _) => (State::Closed, Some(Problem::AfterEnd)),
            (State::FirstKey | State::Key | State::Colon { .. } | State::BehindValue, _) => {
                (self.state, Some(Problem::Malformed))
            }
            // Never asked here: `cut` sends them elsewhere.
            (State::Item | State::Unwanted, _) => (self.state, Some(Problem::Malformed)),
        };
        if let Some(problem) = problem {
            return Err(Trouble(0, problem));
        }
        self.state = state;
        // An unwanted value begins behind its colon, perhaps behind white space, which its reader skips.
        Ok(Cut::Skip(1))
    }

    fn behind_the_array(&self) -> State {
        if self.path.is_empty() { State::Closed } else { State::BehindValue }
    }

    /// A key of the file's object, whole.
    fn key(&mut self, unread: &[u8], ended: bool) -> Result<Cut, Trouble> {
        let mut key = Value::default();
        match key.read(unread, 0)? {
            Some(end) => {
                let text = unread.get(1..end.saturating_sub(1)).unwrap_or_default();
                self.state = State::Colon { wanted: text == self.path.as_bytes() };
                Ok(Cut::Skip(end))
            }
            None if ended => Err(Trouble(unread.len(), Problem::Truncated)),
            None if unread.len() > MAX_KEY_BYTES => Err(Trouble(0, Problem::LongKey)),
            None => Ok(Cut::More),
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// How far one value has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Value {
    kind: Kind,
    /// How many brackets are open, and of which kind each is: a bit each, the last opened the lowest, 1 for `{`.
    depth: u32,
    open: u128,
    in_string: bool,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// Nothing but white space so far.
    #[default]
    Unknown,
    /// A string, an array or an object: ends with its own last byte.
    Closed,
    /// A number or a word: ends where something else begins.
    Open,
}

impl Value {
    /// Reads on from an offset; gives where the value ends, once that is known.
    fn read(&mut self, unread: &[u8], from: usize) -> Result<Option<usize>, Trouble> {
        let mut at = from;
        while let Some(byte) = unread.get(at) {
            if self.in_string && !self.escaped {
                // Strings are most of a file.
                let rest = unread.get(at..).unwrap_or_default();
                match memchr::memchr2(b'"', b'\\', rest) {
                    None => return Ok(None),
                    Some(skipped) if skipped > 0 => {
                        at += skipped;
                        continue;
                    }
                    Some(_) => {}
                }
            }
            match self.step(*byte).map_err(|problem| Trouble(at, problem))? {
                Step::Goes => at += 1,
                Step::EndsBehind => return Ok(Some(at + 1)),
                Step::EndsBefore => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<Step, Problem> {
        if self.escaped {
            self.escaped = false;
            return Ok(Step::Goes);
        }
        if self.in_string {
            match byte {
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return Ok(if self.depth == 0 { Step::EndsBehind } else { Step::Goes });
                }
                _ => {}
            }
            return Ok(Step::Goes);
        }
        match (self.kind, byte) {
            (Kind::Open, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => return Ok(Step::EndsBefore),
            (Kind::Open, b'"' | b'[' | b'{' | b':') => return Err(Problem::BetweenItems),
            (Kind::Unknown, b' ' | b'\t' | b'\n' | b'\r') | (Kind::Open, _) => {}
            (Kind::Unknown | Kind::Closed, b'"') => (self.kind, self.in_string) = (Kind::Closed, true),
            (Kind::Unknown | Kind::Closed, b'[' | b'{') => {
                if self.depth == 127 {
                    return Err(Problem::TooDeep);
                }
                self.kind = Kind::Closed;
                self.depth += 1;
                self.open = (self.open << 1) | u128::from(byte == b'{');
            }
            (Kind::Closed, b']' | b'}') => {
                if (self.open & 1 == 1) != (byte == b'}') {
                    return Err(Problem::Mismatched);
                }
                self.depth -= 1;
                self.open >>= 1;
                if self.depth == 0 {
                    return Ok(Step::EndsBehind);
                }
            }
            (Kind::Unknown, b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => self.kind = Kind::Open,
            (Kind::Unknown, _) => return Err(Problem::NoValue),
            (Kind::Closed, _) => {}
        }
        Ok(Step::Goes)
    }
}

enum Step {
    /// The value goes on.
    Goes,
    /// This byte is its last.
    EndsBehind,
    /// The byte before was its last.
    EndsBefore,
}

/// The keys of the object that a file is, as far as its beginning shows them whole.
pub(in crate::exchange) fn keys(head: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    let Some(mut rest) = head.trim_ascii_start().strip_prefix(b"{") else { return keys };
    loop {
        rest = rest.trim_ascii_start();
        let mut key = Value::default();
        let Ok(Some(end)) = key.read(rest, 0) else { return keys };
        let (text, behind) = rest.split_at(end);
        let Ok(text) = serde_json::from_slice::<String>(text) else { return keys };
        keys.push(text);
        let Some(value) = behind.trim_ascii_start().strip_prefix(b":") else { return keys };
        let mut reader = Value::default();
        let Ok(Some(end)) = reader.read(value, 0) else { return keys };
        let Some(next) = value.get(end..).unwrap_or_default().trim_ascii_start().strip_prefix(b",") else {
            return keys;
        };
        rest = next;
    }
}
