//! How numbers, times and tables are written for people. Pure.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

/// With a comma between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 user`, `2 users`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// In its two largest units: `3d 4h`, `12m 5s`, `0s`.
pub(super) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> = units
        .iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A point in time to the second, UTC.
pub(super) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `width` characters, the done part of them filled: full only when all is done, and never empty once something is.
pub(super) fn bar(done: u64, total: u64, width: usize) -> String {
    let wide = u64::try_from(width).unwrap_or(u64::MAX);
    let exact = done.min(total).saturating_mul(wide).checked_div(total).unwrap_or(0);
    let shown = if done > 0 { exact.max(1) } else { exact };
    let filled = usize::try_from(shown).unwrap_or(width).min(width);
    format!("{}{}", "█".repeat(filled), "░".repeat(width - filled))
}

/// A table without lines, as wide as the terminal where there is one; in a pipe no cell is wrapped.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // Nothing stands right of the last column, so nothing needs to be padded there.
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (number, shown) in
            [(0, "0"), (7, "7"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), shown);
        }
        assert_eq!((counted(1, "user").as_str(), counted(2, "user").as_str()), ("1 user", "2 users"));
    }

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_725, "1h 2m"), (90_000, "1d 1h"), (8_640_000, "100d 0h")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_done_and_empty_only_when_nothing_is() {
        for (done, total, shown) in [
            (0, 0, "░░░░"),
            (0, 9, "░░░░"),
            (1, 1_000, "█░░░"),
            (999, 1_000, "███░"),
            (1_000, 1_000, "████"),
            (7, 3, "████"),
        ] {
            assert_eq!(bar(done, total, 4), shown, "{done} of {total}");
        }
    }
}
