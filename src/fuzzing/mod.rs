//! What must hold for every input, each a function over bytes. The programs in `fuzz/` run them with libFuzzer for as long as
//! one likes; the tests here replay every seed of `fuzz/seeds` and thousands of mutations of them. What a run finds is added to
//! the seeds, so that it stays found.
//!
//! Never in the product: compiled with `cfg(fuzzing)` and for tests alone. A property that does not hold is a panic.

#![allow(clippy::expect_used, clippy::panic, reason = "a property that does not hold has to stop the run")]

mod client_addr;
mod config;
mod form;
mod framing;
mod gate;
mod json;
mod others;
mod path;
mod phc;
mod proxy_header;
mod record;
mod template;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

pub use self::client_addr::client_addr;
pub use self::config::config;
pub use self::form::form;
pub use self::framing::framing;
pub use self::gate::gate;
pub use self::json::json;
pub use self::path::path;
pub use self::phc::phc;
pub use self::proxy_header::proxy_header;
pub use self::record::record;
pub use self::template::template;
use crate::config::{Config, Environment};

/// A target: its name, and what runs it on one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its program in `fuzz/fuzz_targets` and of its folder in `fuzz/seeds`.
pub const TARGETS: [Target; 11] = [
    ("client_addr", client_addr),
    ("config", config),
    ("form", form),
    ("framing", framing),
    ("gate", gate),
    ("json", json),
    ("path", path),
    ("phc", phc),
    ("proxy_header", proxy_header),
    ("record", record),
    ("template", template),
];

/// The configuration that we ship: its routes, shapes and bounds are those that the targets work with.
static SHIPPED: LazyLock<Config> = LazyLock::new(|| {
    let environment = Environment::new([], NonZeroUsize::MIN);
    Config::from_text(include_str!("../../proxy.toml"), "proxy.toml", &environment).expect("what we ship is valid")
});

/// An input that is taken apart: numbers first, texts after them. An input that is too short goes on with zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = usize::from(self.byte()) % choices.len();
        choices.get(index).expect("an index below the length").clone()
    }

    /// As much text as the next byte says and as is UTF-8.
    fn text(&mut self) -> &'a str {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}
