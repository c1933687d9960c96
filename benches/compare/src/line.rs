//! One line of the table: our figure, the peer's, their ratio over the pairs of one run, what we aim for, and whether it is met. Pure.

use serde::Serialize;

/// The goals of the project's performance page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
pub enum Id {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
    P12,
    P13,
    P14,
    P15,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Of several measurements of one thing: the one in the middle, and how far the others lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

impl Spread {
    /// None of nothing, and of what is no number.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), min, max, rounds: values.len() })
    }
}

/// What a figure has to come to, and what it is to come to one day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Aim {
    pub bound: Bound,
    pub goal: f64,
    pub moonshot: Option<f64>,
}

/// On which side of a goal the good is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast,
    AtMost,
}

impl Aim {
    pub const fn at_least(goal: f64, moonshot: f64) -> Self {
        Self { bound: Bound::AtLeast, goal, moonshot: Some(moonshot) }
    }

    pub const fn at_most(goal: f64, moonshot: f64) -> Self {
        Self { bound: Bound::AtMost, goal, moonshot: Some(moonshot) }
    }

    pub const fn without_moonshot(self) -> Self {
        Self { moonshot: None, ..self }
    }

    fn judge(self, value: f64) -> Verdict {
        let reached = |mark: f64| match self.bound {
            Bound::AtLeast => value >= mark,
            Bound::AtMost => value <= mark,
        };
        match self.moonshot {
            Some(moonshot) if reached(moonshot) => Verdict::Moonshot,
            Some(_) | None if reached(self.goal) => Verdict::Met,
            Some(_) | None => Verdict::Missed,
        }
    }
}

/// What came of an aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Moonshot,
    Met,
    Missed,
    /// It could not be measured; the note says why.
    NotMeasured,
    /// Nothing is aimed for: the line is there to be looked at.
    Shown,
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// Our figure over the peer's, pair by pair.
    Ratio,
    /// Our figure alone.
    Ours,
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub id: Id,
    pub what: String,
    pub unit: &'static str,
    pub ours: Option<Spread>,
    pub peer: &'static str,
    pub theirs: Option<Spread>,
    pub ratio: Option<Spread>,
    pub aim: Option<Aim>,
    pub judged: Judged,
    pub verdict: Verdict,
    pub note: String,
}

impl Line {
    /// Ours beside a peer's, each pair measured within seconds: the ratio is judged.
    pub fn pairs(
        id: Id,
        what: impl Into<String>,
        unit: &'static str,
        peer: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        Self {
            ours: Spread::of(pairs.iter().map(|(ours, _)| *ours).collect()),
            theirs: Spread::of(pairs.iter().map(|(_, theirs)| *theirs).collect()),
            ratio: Spread::of(pairs.iter().map(|(ours, theirs)| ours / theirs).collect()),
            peer,
            judged: Judged::Ratio,
            ..Self::alone(id, what, unit, &[])
        }
    }

    /// Ours with nobody beside it: the figure itself is judged.
    pub fn alone(id: Id, what: impl Into<String>, unit: &'static str, ours: &[f64]) -> Self {
        let (what, note) = (what.into(), String::new());
        let ours = Spread::of(ours.to_vec());
        let (theirs, ratio, aim, verdict) = (None, None, None, Verdict::Shown);
        Self { id, what, unit, ours, peer: "", theirs, ratio, aim, judged: Judged::Ours, verdict, note }
    }

    /// Our figure is judged, and the peer's only shown.
    pub fn judging_ours(mut self) -> Self {
        self.judged = Judged::Ours;
        match self.aim {
            Some(aim) => self.aiming(aim),
            None => self,
        }
    }

    pub fn not_measured(id: Id, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotMeasured, ..Self::alone(id, what, "", &[]) }.noting(why)
    }

    pub fn aiming(mut self, aim: Aim) -> Self {
        let value = match self.judged {
            Judged::Ratio => self.ratio,
            Judged::Ours => self.ours,
        };
        self.aim = Some(aim);
        self.verdict = value.map_or(Verdict::NotMeasured, |spread| aim.judge(spread.median));
        self
    }

    pub fn noting(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !self.note.is_empty() && !note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(&note);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle_whatever_the_order_and_the_number() {
        let odd = Spread::of(vec![3.0, 1.0, 9.0]).unwrap();
        assert_eq!(odd, Spread { median: 3.0, min: 1.0, max: 9.0, rounds: 3 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(vec![2.0, f64::NAN, f64::INFINITY]).unwrap().rounds, 1);
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn the_ratio_is_taken_pair_by_pair_and_not_of_the_medians() {
        // A machine that is twice as slow in every second pair changes nothing.
        let line = Line::pairs(Id::P5, "x", "us", "nginx", &[(10.0, 20.0), (20.0, 40.0), (10.0, 20.0)]);
        let ratio = line.ratio.unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.rounds), (0.5, 0.5, 0.5, 3));
    }

    #[test]
    fn a_verdict_knows_on_which_side_the_good_is() {
        let most = Aim::at_most(0.9, 0.8);
        for (value, verdict) in [(0.91, Verdict::Missed), (0.9, Verdict::Met), (0.8, Verdict::Moonshot)] {
            assert_eq!(most.judge(value), verdict, "{value}");
        }
        let least = Aim::at_least(2.0, 2.4);
        for (value, verdict) in [(1.99, Verdict::Missed), (2.0, Verdict::Met), (2.5, Verdict::Moonshot)] {
            assert_eq!(least.judge(value), verdict, "{value}");
        }
        assert_eq!(least.without_moonshot().judge(9.0), Verdict::Met);
    }

    #[test]
    fn what_has_no_figure_is_never_met() {
        let line = Line::pairs(Id::P1, "x", "/s", "Express", &[]).aiming(Aim::at_most(1.0, 0.5));
        assert_eq!(line.verdict, Verdict::NotMeasured);
        assert_eq!(Line::not_measured(Id::P7, "x", "no nginx").verdict, Verdict::NotMeasured);
    }

    #[test]
    fn a_line_can_show_a_peer_and_judge_ours() {
        let line = Line::pairs(Id::P15, "memory", "MB", "nginx", &[(12.0, 6.0)])
            .judging_ours()
            .aiming(Aim::at_most(20.0, 12.0));
        assert_eq!((line.verdict, line.ratio.unwrap().median), (Verdict::Moonshot, 2.0));
    }
}
