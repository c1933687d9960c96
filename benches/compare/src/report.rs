//! The table, as text, Markdown and JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::line::{Aim, Bound, Id, Judged, Line, Spread, Verdict};
use crate::machine::{Machine, Noise};

/// Everything that a run has to say.
#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    pub noise: Vec<Noise>,
    pub quick: bool,
    pub lines: Vec<Line>,
}

const COLUMNS: [&str; 9] =
    ["goal", "figure", "authferry", "peer", "peer's", "ratio (min-max)", "aim", "moonshot", "verdict"];

pub fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

pub fn text(report: &Report) -> String {
    let rows: Vec<[String; 9]> =
        std::iter::once(COLUMNS.map(str::to_owned)).chain(report.lines.iter().map(row)).collect();
    let widths: [usize; 9] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = format!("{}\n\n", heading(report));
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column {
                2 | 4 => write!(out, "{gap}{cell:>width$}"),
                _ => write!(out, "{gap}{cell:<width$}"),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    let notes = notes(report);
    if !notes.is_empty() {
        let _ = write!(out, "\n{}", notes.join("\n"));
        out.push('\n');
    }
    out.push_str(&format!("\n{}\n", summary(report)));
    out
}

pub fn markdown(report: &Report) -> String {
    let mut out = format!("{}\n\n| {} |\n", heading(report), COLUMNS.join(" | "));
    out.push_str("| --- | --- | ---: | --- | ---: | --- | --- | --- | --- |\n");
    for line in &report.lines {
        let _ = writeln!(out, "| {} |", row(line).map(|cell| cell.replace('|', "/")).join(" | "));
    }
    let notes = notes(report);
    if !notes.is_empty() {
        let _ = write!(out, "\n{}\n", notes.iter().map(|note| format!("- {note}")).collect::<Vec<_>>().join("\n"));
    }
    out.push_str(&format!("\n{}\n", summary(report)));
    out
}

fn heading(report: &Report) -> String {
    let machine = &report.machine;
    let noise = report.noise.iter().map(Noise::sentence).collect::<Vec<_>>().join("; ");
    let how = if report.quick { " This was a quick run: few and short rounds." } else { "" };
    format!("{}\n{}\nNoise: {noise}.{how}", machine.sentence(), machine.versions())
}

fn notes(report: &Report) -> Vec<String> {
    let noted = report.lines.iter().filter(|line| !line.note.is_empty());
    noted.map(|line| format!("{} {}: {}", line.id, line.what, line.note)).collect()
}

fn summary(report: &Report) -> String {
    let count = |wanted: &[Verdict]| report.lines.iter().filter(|line| wanted.contains(&line.verdict)).count();
    // How many of a goal's lines, and how many of them were missed.
    let mut goals: BTreeMap<Id, (usize, usize)> = BTreeMap::new();
    for line in report.lines.iter().filter(|line| line.verdict != Verdict::Shown) {
        let (all, missed) = goals.entry(line.id).or_default();
        *all += 1;
        *missed += usize::from(line.verdict == Verdict::Missed);
    }
    let missed = goals.iter().filter(|(_, (_, missed))| *missed > 0).map(|(id, (all, missed))| match all - missed {
        0 => id.to_string(),
        _ => format!("{id} ({missed} of {all})"),
    });
    let missed = missed.collect::<Vec<_>>().join(", ");
    format!(
        "{} lines met, {} of them as far as the moonshot; {} missed; {} not measured. Missed: {}.",
        count(&[Verdict::Met, Verdict::Moonshot]),
        count(&[Verdict::Moonshot]),
        count(&[Verdict::Missed]),
        count(&[Verdict::NotMeasured]),
        if missed.is_empty() { "none" } else { &missed }
    )
}

fn row(line: &Line) -> [String; 9] {
    let aim = |mark: fn(Aim) -> Option<f64>| {
        line.aim.and_then(|aim| Some(aimed(line, aim.bound, mark(aim)?))).unwrap_or_default()
    };
    let figure = if line.unit.is_empty() { line.what.clone() } else { format!("{} ({})", line.what, line.unit) };
    let median = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |spread| shown(spread.median));
    let theirs = if line.peer.is_empty() { String::new() } else { median(line.theirs) };
    [
        line.id.to_string(),
        figure,
        median(line.ours),
        line.peer.to_owned(),
        theirs,
        line.ratio.map_or_else(String::new, |ratio| match ratio.rounds {
            1 => format!("{:.2}", ratio.median),
            _ => format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max),
        }),
        aim(|aim| Some(aim.goal)),
        aim(|aim| aim.moonshot),
        match line.verdict {
            Verdict::Moonshot => "met (moonshot)",
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::NotMeasured => "not measured",
            Verdict::Shown => "",
        }
        .to_owned(),
    ]
}

fn aimed(line: &Line, bound: Bound, mark: f64) -> String {
    let sign = match bound {
        Bound::AtLeast => ">=",
        Bound::AtMost => "<=",
    };
    match line.judged {
        Judged::Ratio => format!("{sign} {mark}x"),
        Judged::Ours => format!("{sign} {}", shown(mark)),
    }
}

/// As many digits as mean something.
pub fn shown(value: f64) -> String {
    if value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        return out;
    }
    let precise = if value >= 100.0 { format!("{value:.1}") } else { format!("{value:.2}") };
    let short = precise.trim_end_matches('0').trim_end_matches('.');
    if short.is_empty() { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: Vec<Line>) -> Report {
        let noise = vec![Noise { when: "before", median_ms: 5.0, p95_ms: 6.0, max_ms: 9.0, stolen: 0.01, load: 1.5 }];
        Report { machine: Machine::default(), noise, quick: true, lines }
    }

    #[test]
    fn numbers_are_shown_with_as_many_digits_as_mean_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.456, "0.46"),
            (29.61, "29.61"),
            (2.0, "2"),
            (126.04, "126"),
            (126.4, "126.4"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn the_table_says_what_was_aimed_for_and_what_was_missed() {
        let lines = vec![
            Line::pairs(Id::P5, "forwarding", "us", "nginx", &[(33.0, 30.0), (36.0, 30.0)])
                .aiming(Aim::at_most(0.9, 0.8)),
            Line::alone(Id::P15, "idle", "MB", &[11.5]).aiming(Aim::at_most(20.0, 12.0)),
            Line::not_measured(Id::P7, "TLS", "nginx did not start"),
        ];
        let text = text(&report(lines.clone()));
        let five = text.lines().find(|line| line.starts_with("P5 ")).unwrap();
        for part in ["34.5", "nginx", "30", "1.15 (1.10-1.20)", "<= 0.9x", "<= 0.8x", "MISSED"] {
            assert!(five.contains(part), "{part} in {five}");
        }
        assert!(text.contains("met (moonshot)") && text.contains("<= 20"), "{text}");
        assert!(text.contains("P7 TLS: nginx did not start"), "{text}");
        assert!(
            text.contains("1 lines met, 1 of them as far as the moonshot; 1 missed; 1 not measured. Missed: P5."),
            "{text}"
        );
        let markdown = markdown(&report(lines.clone()));
        let wide = markdown.lines().filter(|line| line.starts_with('|')).all(|line| line.matches('|').count() == 10);
        assert!(wide, "{markdown}");
        let json: serde_json::Value = serde_json::from_str(&json(&report(lines))).unwrap();
        assert_eq!(json["lines"][0]["verdict"], "missed");
        assert_eq!(json["lines"][0]["id"], "P5");
    }
}
