//! What each goal is, and in which order they are measured. What is compared is measured in turns, A B A B, so that what else the
//! machine does meets both alike.

mod attacks;
mod first_logins;
pub mod forwarding;
mod hashing;
pub mod logins;
pub mod memory;
mod tls;
mod users;

use std::collections::BTreeSet;

use crate::Outcome;
use crate::line::{Id, Line};
use crate::peers::Bench;

/// A part of the table: the goals it is about, and how their lines are made.
type Part = (&'static [Id], fn(&Bench, &BTreeSet<Id>) -> Outcome<Vec<Line>>);

const PARTS: [Part; 9] = [
    (&[Id::P1, Id::P2, Id::P3], logins::known),
    (&[Id::P4], hashing::measure),
    (&[Id::P5, Id::P6], forwarding::measure),
    (&[Id::P7], tls::measure),
    (&[Id::P8], first_logins::measure),
    (&[Id::P9, Id::P10, Id::P11, Id::P14], |bench, _| users::measure(bench, bench.users)),
    (&[Id::P12], attacks::flood),
    (&[Id::P13], attacks::refusals),
    (&[Id::P15], memory::measure),
];

/// Every line that is wanted; nothing means everything. A part that fails is told in its lines, and the others go on.
pub fn all(bench: &Bench, wanted: &BTreeSet<Id>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (ids, measure) in PARTS {
        let here: BTreeSet<Id> = ids.iter().copied().filter(|id| wanted.is_empty() || wanted.contains(id)).collect();
        if here.is_empty() {
            continue;
        }
        let names: Vec<String> = here.iter().map(ToString::to_string).collect();
        eprintln!("measuring {}", names.join(", "));
        match measure(bench, &here) {
            Ok(measured) => lines.extend(measured.into_iter().filter(|line| here.contains(&line.id))),
            Err(error) => {
                eprintln!("{}: {error}", names.join(", "));
                lines.extend(here.iter().map(|id| Line::not_measured(*id, "could not be measured", error.to_string())));
            }
        }
    }
    lines.sort_by_key(|line| line.id);
    lines
}
