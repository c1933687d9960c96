//! The status as people read it: lines for a terminal of 80 columns. Pure: the status in, text out.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::admin::roster::{NO_LIST, REMEDY, RosterView};
use crate::admin::view::{HealthView, LegacyStatus, OutcomeCount, Progress, Status, StoreView};
use crate::cli::mode::meaning;
use crate::cli::operator::Answering;
use crate::cli::terminal::{Marked, Style, inert};
use crate::cli::text::{bar, count, counted, duration};
use crate::domain::mode::Mode;
use crate::domain::roster::Bucket;
use crate::service::ports::UserCounts;

/// Characters of the progress bar.
const BAR_WIDTH: usize = 30;

/// Characters of a row's right side, so that it fits into 80 columns.
const ROW_WIDTH: usize = 68;

/// A way of marking a line.
type Mark = fn(Style, String) -> Marked<String>;

/// Draws it. Of a store that was opened directly there are users and the mode, and nothing else to tell.
pub(in crate::cli) fn draw(answering: Answering, status: &Status, style: Style) -> String {
    let mut board = Board { text: String::new(), style };
    match answering {
        Answering::Proxy => {
            board.head(status);
            board.progress(status.progress());
            board.users(status.users.as_ref());
            board.roster(status.roster.as_ref());
            board.denominator(status);
            board.outcomes("logins", &status.logins);
            board.outcomes("registered", &status.registrations);
            board.saves(status);
            board.comparisons(status);
            board.legacy(&status.legacy);
            board.alarms(status);
        }
        Answering::Store => {
            board.row("mode", format_args!("{}  {}", style.strong(status.mode), style.faint(meaning(status.mode))));
            board.progress(status.progress());
            board.users(status.users.as_ref());
            board.roster(status.roster.as_ref());
            board.denominator(status);
        }
    }
    board.text
}

/// No mark.
const PLAIN: Mark = |_, line| Style::Plain.strong(line);

struct Board {
    text: String,
    style: Style,
}

impl Board {
    /// A name on the left, what there is to say on the right.
    fn row(&mut self, name: &str, said: impl fmt::Display) {
        let name = self.style.faint(format_args!("{name:<11}")).to_string();
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.text, "{name} {said}");
    }

    /// Phrases after a lead, on as many rows as they need.
    fn list(&mut self, name: &str, lead: &str, phrases: Vec<String>, mark: Mark) {
        let mut lines: Vec<String> = Vec::new();
        for phrase in phrases {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 3 + phrase.chars().count() + lead.len() <= ROW_WIDTH => {
                    line.push_str(" · ");
                    line.push_str(&phrase);
                }
                Some(_) | None => lines.push(phrase),
            }
        }
        let (mut name, mut lead) = (name, lead.to_owned());
        for line in lines {
            let marked = mark(self.style, line);
            self.row(name, format_args!("{lead}{marked}"));
            (name, lead) = ("", " ".repeat(lead.len()));
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }

    fn head(&mut self, status: &Status) {
        let style = self.style;
        let up = Duration::try_from(status.at.duration_since(status.started_at)).unwrap_or_default();
        let is_damaged = status.alarms.get("store_damage").is_some_and(|times| *times > 0);
        let health = match health(&status.health, is_damaged) {
            (word, Well::Yes) => style.good(word),
            (word, Well::Partly) => style.warning(word),
            (word, Well::No) => style.bad(word),
        };
        self.row("authferry", format_args!("{}  up {}  {health}", inert(&status.version), duration(up)));
        self.row("mode", format_args!("{}  {}", style.strong(status.mode), style.faint(meaning(status.mode))));
        self.gap();
    }

    fn progress(&mut self, progress: Progress) {
        let (done, total) = progress.parts();
        let Some(percent) = progress.percent() else { return };
        let of_what = match progress {
            Progress::OfKnownUsers { .. } => "known users can log in without legacy",
            Progress::OfLogins { .. } => "successful logins did without legacy",
        };
        let bar = self.style.good(bar(done, total, BAR_WIDTH)).to_string();
        self.row("progress", format_args!("{bar} {percent:>3} %"));
        self.row("", format_args!("{} of {} {of_what}", count(done), count(total)));
    }

    fn users(&mut self, users: Option<&UserCounts>) {
        let Some(users) = users else {
            let unreadable = self.style.bad("the store cannot be read").to_string();
            return self.row("users", unreadable);
        };
        let by_origin = [
            (users.migrated, "migrated"),
            (users.registered, "registered"),
            (users.imported, "imported"),
            (users.roster, "from a roster"),
        ];
        match phrases(by_origin) {
            none if none.is_empty() => self.row("users", "none yet"),
            some => self.list("users", &format!("{}  ", count(users.total())), some, PLAIN),
        }
        let besides =
            [(users.without_password, "without a password"), (users.disabled, "disabled"), (users.deleted, "deleted")];
        self.list("", "", phrases(besides), PLAIN);
        if users.conflicts > 0 {
            self.list("", "", vec![counted(users.conflicts, "unresolved conflict")], Style::warning);
        }
    }

    /// Who has come over and who has not, the pace, and what can be said of the rest. Nothing where nobody is known to be missing.
    fn roster(&mut self, roster: Option<&RosterView>) {
        let Some(roster) = roster.filter(|roster| roster.tells()) else { return };
        let mut name = "not over";
        for row in roster.buckets.iter().filter(|row| row.known() > 0) {
            let (left, known) = (count(row.stragglers), count(row.known()));
            let share = row.percent().unwrap_or(100);
            let line = format!("{:<20} {left:>11} of {known:>11}, {share:>3} % are over", row.bucket.title());
            let mark = if row.stragglers > 0 { PLAIN } else { Style::good };
            let marked = mark(self.style, line).to_string();
            self.row(name, marked);
            name = "";
        }
        let all = roster.of(Bucket::All);
        if let Some(share) = all.percent_of_value() {
            let left = count(all.straggler_value);
            self.wrapped("value", &format!("{share} % of it is over; who is not is worth {left}"), PLAIN);
        }
        let pace = roster.pace;
        let (came, active) = (count(pace.came_over), count(pace.came_over_active));
        self.wrapped("pace", &format!("{came} came over in {} days, {active} of them active before", pace.days), PLAIN);
        let (who, forecast) = roster.forecast();
        let acts = forecast.calls_for_action();
        let said = format!("{who}: {}", forecast.sentence());
        self.wrapped("forecast", &said, if acts { Style::warning } else { PLAIN });
        if acts {
            self.wrapped("", REMEDY, PLAIN);
        }
        if let Some(denied) = roster.denied_by_retiring() {
            self.wrapped("retiring", &denied, PLAIN);
        }
    }

    /// Where no list of legacy's users was read: that "of all" means "of those whom we happen to know", and how to change that.
    fn denominator(&mut self, status: &Status) {
        let is_known = status.roster.as_ref().is_none_or(|roster| roster.listed > 0);
        // Whoever is not over by then does not come any more.
        let is_over = match status.mode {
            Mode::Retired => true,
            Mode::Passthrough | Mode::Observe | Mode::Migrate => false,
        };
        if !is_known && !is_over {
            self.wrapped("of all", NO_LIST, PLAIN);
        }
    }

    /// A sentence on as many rows as it needs.
    fn wrapped(&mut self, name: &str, sentence: &str, mark: Mark) {
        let mut name = name;
        let mut line = String::new();
        for word in sentence.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > ROW_WIDTH {
                let marked = mark(self.style, std::mem::take(&mut line)).to_string();
                self.row(name, marked);
                name = "";
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let marked = mark(self.style, line).to_string();
        self.row(name, marked);
    }

    /// A line for each source, its outcomes in the order of their number.
    fn outcomes(&mut self, name: &str, counts: &[OutcomeCount]) {
        let mut by_source: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
        for row in counts.iter().filter(|row| row.count > 0) {
            by_source.entry(&row.source).or_default().push((row.count, &row.outcome));
        }
        if by_source.is_empty() {
            return self.row(name, "none since the start");
        }
        let mut name = name;
        for (source, mut outcomes) in by_source {
            outcomes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            self.list(name, &format!("{:<7} ", answered_by(source)), phrases(outcomes), PLAIN);
            name = "";
        }
    }

    fn saves(&mut self, status: &Status) {
        self.list("saved", "", phrases(words(&status.migrations)), PLAIN);
        self.list("not saved", "", phrases(words(&status.migration_failures)), Style::warning);
    }

    fn comparisons(&mut self, status: &Status) {
        let mut name = "compared";
        for cell in status.comparisons.iter().filter(|cell| cell.count > 0) {
            let said = format!("{} x  here {}, legacy {}", count(cell.count), inert(&cell.local), inert(&cell.legacy));
            self.row(name, said);
            name = "";
        }
    }

    fn legacy(&mut self, legacy: &LegacyStatus) {
        let style = self.style;
        let breaker = if legacy.breaker_open {
            style.bad("not asked: it failed again and again, and is given a rest")
        } else {
            style.good("asked when needed")
        };
        self.row("legacy", format_args!("{breaker}, {} under way", count(legacy.in_flight)));
        let mut by_operation: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
        for row in legacy.requests.iter().filter(|row| row.count > 0) {
            by_operation.entry(&row.operation).or_default().push((row.count, &row.outcome));
        }
        for (operation, outcomes) in by_operation {
            self.list("", &format!("{:<8} ", inert(operation)), phrases(outcomes), PLAIN);
        }
    }

    fn alarms(&mut self, status: &Status) {
        self.list("alarms", "", phrases(words(&status.alarms)), Style::bad);
        self.list("attacks", "", phrases(words(&status.attack_signals)), Style::bad);
        if status.password_queue > 0 {
            self.row("waiting", counted(status.password_queue, "password"));
        }
    }
}

/// How well somebody is.
enum Well {
    Yes,
    Partly,
    No,
}

/// `is_damaged`: blocks of the store's file were met that cannot be read. Users whose records lie elsewhere are served as ever.
fn health(health: &HealthView, is_damaged: bool) -> (&'static str, Well) {
    match (health.started, health.draining, health.store) {
        (_, true, _) => ("draining", Well::Partly),
        (false, false, _) => ("starting", Well::Partly),
        (true, false, StoreView::Ready) if is_damaged => ("ready, but the store's file is damaged", Well::Partly),
        (true, false, StoreView::Ready) => ("ready", Well::Yes),
        (true, false, StoreView::ReadOnly) => ("the store takes no writes", Well::Partly),
        (true, false, StoreView::Down) => ("the store is down", Well::No),
    }
}

fn answered_by(source: &str) -> &str {
    match source {
        "local" => "here",
        "edge" => "refused",
        other => other,
    }
}

fn words(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (u64, &str)> {
    counts.iter().map(|(word, count)| (*count, word.as_str()))
}

/// `1,200 ok`, `20 denied`; zeros left out.
fn phrases<'a>(counts: impl IntoIterator<Item = (u64, &'a str)>) -> Vec<String> {
    let some = counts.into_iter().filter(|(number, _)| *number > 0);
    some.map(|(number, word)| format!("{} {}", count(number), plain(word))).collect()
}

/// A word of a metric as people write it.
fn plain(word: &str) -> String {
    inert(&word.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::roster::{BecauseView, BucketView, ForecastView, PaceView};
    use crate::admin::view::{ComparisonCount, LegacyCount};
    use crate::domain::mode::Mode;

    fn outcome(source: &str, outcome: &str, count: u64) -> OutcomeCount {
        OutcomeCount { source: source.into(), outcome: outcome.into(), count }
    }

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            mode: Mode::Migrate,
            at: jiff::Timestamp::from_second(100_000).expect("a time"),
            started_at: jiff::Timestamp::from_second(10_000).expect("a time"),
            health: HealthView { started: true, ready: true, draining: false, store: StoreView::Ready },
            users: Some(UserCounts {
                migrated: 1_200,
                registered: 40,
                roster: 760,
                without_password: 760,
                disabled: 3,
                conflicts: 1,
                ..UserCounts::default()
            }),
            roster: Some(roster([(20, 1), (40, 60), (700, 500), (400, 90), (0, 107), (1_240, 757)])),
            logins: vec![outcome("legacy", "ok", 1_200), outcome("local", "denied", 20), outcome("local", "ok", 9_000)],
            registrations: vec![],
            migrations: BTreeMap::from([("login".into(), 1_200)]),
            migration_failures: BTreeMap::from([("store_busy".into(), 2)]),
            comparisons: vec![ComparisonCount { local: "yes".into(), legacy: "no".into(), count: 4 }],
            legacy: LegacyStatus {
                breaker_open: false,
                in_flight: 2,
                requests: vec![LegacyCount { operation: "login".into(), outcome: "accepted".into(), count: 1_200 }],
            },
            alarms: BTreeMap::from([("conflict".into(), 1)]),
            attack_signals: BTreeMap::new(),
            password_queue: 0,
        }
    }

    /// Over and not over, in the order of the buckets.
    fn roster(sums: [(u64, u64); 6]) -> RosterView {
        let bucket = |(bucket, (over, stragglers))| BucketView {
            bucket,
            over,
            stragglers,
            over_value: over * 3,
            straggler_value: stragglers,
        };
        RosterView {
            listed: 1_900,
            buckets: Bucket::ALL.into_iter().zip(sums).map(bucket).collect(),
            pace: PaceView { days: 14, came_over: 70, came_over_active: 14, arrived: 3, registered: 2 },
            forecast_active: ForecastView::By { month: "2027-01".into(), weeks: 10 },
            forecast_all: ForecastView::NotByThemselves { still_to_come: 80, because: BecauseView::ThePaceFalls },
        }
    }

    #[test]
    fn the_board_of_a_running_proxy() {
        let expected = "\
authferry   0.1.0  up 1d 1h  ready
mode        migrate  we answer whom we know; legacy is asked for everyone else

progress    ██████████████████░░░░░░░░░░░░  62 %
            1,240 of 1,997 known users can log in without legacy
users       2,000  1,200 migrated · 40 registered · 760 from a roster
            760 without a password · 3 disabled
            1 unresolved conflict
not over    active in 30 days              1 of          21,  95 % are over
            active in 90 days             60 of         100,  40 % are over
            active in 365 days           500 of       1,200,  58 % are over
            last seen longer ago          90 of         490,  81 % are over
            never seen                   107 of         107,   0 % are over
            all                          757 of       1,997,  62 % are over
value       83 % of it is over; who is not is worth 757
pace        70 came over in 14 days, 14 of them active before
forecast    active in 90 days: at the pace of the last 14 days through by about
            2027-01
retiring    60 of 100 users active in 90 days are not over, 757 of 1,997 in all:
            retiring denies them
logins      legacy  1,200 ok
            here    9,000 ok · 20 denied
registered  none since the start
saved       1,200 login
not saved   2 store busy
compared    4 x  here yes, legacy no
legacy      asked when needed, 2 under way
            login    1,200 accepted
alarms      1 conflict
";
        assert_eq!(draw(Answering::Proxy, &status(), Style::Plain), expected);
    }

    #[test]
    fn a_store_opened_directly_tells_users_and_mode_only() {
        let shown = draw(Answering::Store, &status(), Style::Plain);
        assert!(shown.starts_with("mode        migrate") && shown.contains("users       2,000"), "{shown}");
        assert!(shown.contains("active in 90 days") && shown.contains("retiring"), "{shown}");
        for absent in ["logins", "legacy  ", "up ", "ready", "alarms"] {
            assert!(!shown.contains(absent), "{absent} in {shown}");
        }
    }

    #[test]
    fn every_line_fits_into_80_columns_in_every_mode() {
        for mode in Mode::ALL {
            let mut many = Status { mode, ..status() };
            many.users = Some(UserCounts {
                migrated: 123_456_789,
                registered: 123_456_789,
                imported: 123_456_789,
                roster: 123_456_789,
                disabled: 123_456_789,
                without_password: 123_456_789,
                deleted: 123_456_789,
                conflicts: 10_000,
            });
            many.roster = Some(roster([(123_456_789, 123_456_789); 6]));
            let outcomes = ["ok", "denied", "challenge", "unavailable", "unrecognised", "limited", "malformed"];
            many.logins = outcomes.iter().map(|word| outcome("legacy", word, 123_456_789)).collect();
            let shown = draw(Answering::Proxy, &many, Style::Plain);
            assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        }
    }

    #[test]
    fn without_a_list_it_is_said_that_nobody_knows_of_how_many_and_how_to_know() {
        for answering in [Answering::Proxy, Answering::Store] {
            for (mode, listed, said) in [
                (Mode::Observe, 0, true),
                (Mode::Migrate, 0, true),
                (Mode::Migrate, 1, false),
                (Mode::Retired, 0, false),
            ] {
                let mut without = Status { mode, ..status() };
                without.roster = without.roster.map(|roster| RosterView { listed, ..roster });
                let shown = draw(answering, &without, Style::Plain);
                assert_eq!(shown.contains("authferry roster import"), said, "{mode} {listed}: {shown}");
                assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
            }
        }
    }

    #[test]
    fn where_waiting_is_not_enough_it_is_said_what_to_do() {
        let mut waiting = status();
        waiting.roster = Some(roster([(21, 0), (100, 0), (700, 500), (400, 90), (0, 107), (1_240, 697)]));
        let roster = waiting.roster.as_mut().expect("just put there");
        roster.forecast_active = ForecastView::Done;
        let shown = draw(Answering::Proxy, &waiting, Style::Plain);
        assert!(shown.contains("all: the pace falls: about 80 more may come"), "{shown}");
        assert!(shown.contains("authferry roster stragglers"), "{shown}");
        waiting.roster = None;
        let shown = draw(Answering::Proxy, &waiting, Style::Plain);
        assert!(!shown.contains("not over") && !shown.contains("forecast"), "nobody is known to be missing: {shown}");
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let mut ill = status();
        ill.users = None;
        ill.legacy.breaker_open = true;
        ill.health.store = StoreView::Down;
        let shown = draw(Answering::Proxy, &ill, Style::Plain);
        for said in ["the store cannot be read", "not asked", "the store is down"] {
            assert!(shown.contains(said), "{said} not in {shown}");
        }
    }

    #[test]
    fn a_store_that_is_ready_and_damaged_is_not_called_ready_alone() {
        let mut damaged = status();
        damaged.alarms.insert("store_damage".into(), 3);
        let shown = draw(Answering::Proxy, &damaged, Style::Plain);
        assert!(shown.contains("ready, but the store's file is damaged"), "{shown}");
        assert!(shown.contains("3 store damage"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
}
