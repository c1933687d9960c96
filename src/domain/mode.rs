//! The four modes of a migration, and who answers a given user in each.

use std::fmt;
use std::str::FromStr;

/// How far the migration has come. Changed at run time; the store keeps the last value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kill switch: everything is forwarded, bodies are not even read, nothing is saved.
    Passthrough,
    /// Legacy answers; what it proves is saved, and what we would have answered is compared.
    Observe,
    /// We answer whom we know; legacy is asked for everyone else.
    Migrate,
    /// Legacy is never called.
    Retired,
}

impl Mode {
    /// Every mode, in the order a migration goes through them.
    pub const ALL: [Self; 4] = [Self::Passthrough, Self::Observe, Self::Migrate, Self::Retired];

    /// The word for it in proxy.toml, on the command line and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Observe => "observe",
            Self::Migrate => "migrate",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word given is none of the four modes.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a mode; it is one of passthrough, observe, migrate, retired")]
pub struct UnknownMode(String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word).ok_or_else(|| UnknownMode(word.to_owned()))
    }
}

/// A mode that may be put in force: `retired` only with the word itself typed, since legacy is never called after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedMode(Mode);

/// The operator did not type what `retired` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("in `retired` legacy is never called again: confirm it with the word `retired`")]
pub struct NeedsConfirmation;

impl ConfirmedMode {
    /// Checks what the operator typed.
    pub fn new(mode: Mode, typed: Option<&str>) -> Result<Self, NeedsConfirmation> {
        match (mode, typed) {
            (Mode::Passthrough | Mode::Observe | Mode::Migrate, _) | (Mode::Retired, Some("retired")) => Ok(Self(mode)),
            (Mode::Retired, _) => Err(NeedsConfirmation),
        }
    }

    /// The mode.
    #[must_use]
    pub fn mode(self) -> Mode {
        self.0
    }
}

/// Who has the word on one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answerer {
    /// Legacy answers; we watch and learn.
    Legacy,
    /// We answer where we can and ask legacy where we cannot.
    LocalFirst,
    /// We answer; there is no legacy any more.
    LocalOnly,
}

/// Percent of users answered locally in [`Mode::Migrate`]: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalShare(u8);

impl LocalShare {
    /// Everyone.
    pub const ALL: Self = Self(100);

    /// `None` over 100.
    #[must_use]
    pub fn from_percent(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Whether the user with this sticky bucket is among the share. The same user always is or is not, and raising the
    /// share only ever adds users.
    #[must_use]
    pub fn includes(self, bucket: StickyBucket) -> bool {
        bucket.0 < self.0
    }
}

/// A user's place among a hundred, the same at every login and in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickyBucket(u8);

impl StickyBucket {
    /// The bucket of a canonical key. FNV-1a: stable over releases and platforms, which the standard hasher is not; an
    /// attacker who picks his own bucket gains nothing by it.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // The low bits of FNV are the well-mixed ones only after folding the high half in.
        Self(u8::try_from((hash ^ (hash >> 32)) % 100).unwrap_or(0))
    }
}

/// Who answers in this mode. `None` in passthrough: then nobody even looks.
#[must_use]
pub fn answerer(mode: Mode, share: LocalShare, bucket: StickyBucket) -> Option<Answerer> {
    match mode {
        Mode::Passthrough => None,
        Mode::Observe => Some(Answerer::Legacy),
        Mode::Migrate if share.includes(bucket) => Some(Answerer::LocalFirst),
        Mode::Migrate => Some(Answerer::Legacy),
        Mode::Retired => Some(Answerer::LocalOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_back_from_its_own_word() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse::<Mode>().ok(), Some(mode));
        }
        assert!("Migrate".parse::<Mode>().is_err());
    }

    #[test]
    fn only_retired_needs_its_word_and_needs_it_exactly() {
        for mode in [Mode::Passthrough, Mode::Observe, Mode::Migrate] {
            assert_eq!(ConfirmedMode::new(mode, None).map(ConfirmedMode::mode), Ok(mode));
        }
        for typed in [None, Some(""), Some("yes"), Some("Retired"), Some("retired ")] {
            assert_eq!(ConfirmedMode::new(Mode::Retired, typed), Err(NeedsConfirmation), "{typed:?}");
        }
        assert_eq!(ConfirmedMode::new(Mode::Retired, Some("retired")).map(ConfirmedMode::mode), Ok(Mode::Retired));
    }

    #[test]
    fn a_raised_share_keeps_every_user_it_had() {
        for key in 0..1_000_u32 {
            let bucket = StickyBucket::of(&key.to_le_bytes());
            let first = (0..=100).find(|percent| LocalShare(*percent).includes(bucket));
            let first = first.expect("a hundred percent includes everyone");
            assert!((first..=100).all(|percent| LocalShare(percent).includes(bucket)));
        }
    }

    #[test]
    fn a_share_of_ten_percent_is_about_a_tenth_of_the_users() {
        let share = LocalShare(10);
        let included = (0..10_000)
            .filter(|n| share.includes(StickyBucket::of(format!("e:user{n}@example.com").as_bytes())))
            .count();
        assert!((800..1_200).contains(&included), "{included} of 10000");
    }

    #[test]
    fn each_mode_names_who_answers() {
        let bucket = StickyBucket(50);
        let half = LocalShare(50);
        assert_eq!(answerer(Mode::Passthrough, LocalShare::ALL, bucket), None);
        assert_eq!(answerer(Mode::Observe, LocalShare::ALL, bucket), Some(Answerer::Legacy));
        assert_eq!(answerer(Mode::Migrate, LocalShare::ALL, bucket), Some(Answerer::LocalFirst));
        assert_eq!(answerer(Mode::Migrate, half, bucket), Some(Answerer::Legacy));
        assert_eq!(answerer(Mode::Retired, LocalShare(0), bucket), Some(Answerer::LocalOnly));
    }
}
