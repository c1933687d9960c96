//! Files whose fields are the operator's own: which column or key is what, said with `--map`, else guessed from its name. Used by the
//! formats `csv` and `jsonl`; pure.

mod taken;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

pub use self::taken::Taken;
use super::fields::is_no_moment;
use super::format::RowFault;
use super::{PortableName, PortablePassword, PortableRoster, PortableUser};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::IdentifierKind;
use crate::domain::password::PasswordNormalization;
use crate::domain::user::{LegacyId, Standing};

/// What `--map` and `--hash-template` said.
#[derive(Clone, Default)]
pub struct Mapping {
    pairs: Vec<(Target, String)>,
    hashes: Option<HashReader>,
    /// Whether the file is read as a list of users: when they were last seen and their value are looked for, hashes are not.
    reads_list: bool,
}

/// What a field becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// The id at legacy: a number where it looks like one.
    Id,
    /// The same, as text whatever it looks like.
    IdText,
    Name(IdentifierKind),
    Verified(IdentifierKind),
    Password,
    Salt,
    Enabled,
    Disabled,
    CreatedAt,
    LastLoginAt,
    LastSeen,
    Worth,
    /// A field of the profile, under this name.
    Profile(String),
    /// Nothing: left out.
    Nothing,
}

/// Whether a file tells numbers from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typing {
    /// It does, as JSON.
    Typed,
    /// Everything is text, as in CSV.
    AllText,
}

/// A `--map` or `--hash-template` that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMapping {
    /// It is not `WHAT=FIELD`.
    #[error("`{0}` is not of the form WHAT=FIELD, as in email=mail")]
    Form(String),
    /// There is nothing of that name.
    #[error("`{0}` is nothing that a field can become; {WORDS}, profile.NAME or nothing")]
    Word(String),
    /// Only names of people may come several times.
    #[error("`{0}` is mapped twice")]
    Twice(String),
    /// The column is not in the file.
    #[error("the file has no column `{0}`; it has {1}")]
    NoColumn(String, String),
    /// Nothing in the file could name anybody.
    #[error("no column is an id, an email, a username or a phone number; say which with --map, as in email={0}")]
    NoName(String),
    /// Its columns are parted by something else than a comma, as it seems.
    #[error("the columns of the file seem to be parted by {0:?}; {how}", how = with_commas(*.0))]
    Separator(char),
}

/// What seems to part the columns of a header that says nothing to a reader of commas.
#[must_use]
pub fn other_separator(header: &[String]) -> Option<char> {
    let line = header.join(",");
    let commas = header.len().saturating_sub(1);
    let parts = |separator: &char| line.matches(*separator).count() > commas && !line.trim_end().ends_with(*separator);
    [';', '\t', '|'].into_iter().find(parts)
}

/// What to do about a file whose columns are parted by something else than commas.
#[must_use]
pub fn with_commas(separator: char) -> String {
    format!(
        "commas are wanted between them, as this writes them: python3 -c \"import csv, sys; \
         csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter={separator:?}))\" < FILE > commas.csv"
    )
}

const WORDS: &str = "id, id:text, email, username, phone, email_verified, username_verified, phone_verified, password, salt, enabled, \
                     disabled, created_at, last_login_at, last_seen, value";

/// Makes one text of a bare hash and its salt, as `password::formats` has it; a hash that says what it is stays as it is. The error says
/// what is wrong, never the hash. Given by whoever knows hashes.
pub type HashReader = Arc<dyn Fn(&str, Option<&str>) -> Result<String, String> + Send + Sync>;

impl Target {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "id" => Self::Id,
            "id:text" => Self::IdText,
            "email" => Self::Name(IdentifierKind::Email),
            "username" => Self::Name(IdentifierKind::Username),
            "phone" => Self::Name(IdentifierKind::Phone),
            "email_verified" => Self::Verified(IdentifierKind::Email),
            "username_verified" => Self::Verified(IdentifierKind::Username),
            "phone_verified" => Self::Verified(IdentifierKind::Phone),
            "password" => Self::Password,
            "salt" => Self::Salt,
            "enabled" => Self::Enabled,
            "disabled" => Self::Disabled,
            "created_at" => Self::CreatedAt,
            "last_login_at" => Self::LastLoginAt,
            "last_seen" => Self::LastSeen,
            "value" => Self::Worth,
            "nothing" => Self::Nothing,
            other => Self::Profile(other.strip_prefix("profile.").filter(|name| !name.is_empty())?.to_owned()),
        })
    }

    /// Whether several fields may become it.
    fn may_repeat(&self) -> bool {
        match self {
            Self::Name(_) | Self::Nothing | Self::Profile(_) => true,
            Self::Id
            | Self::IdText
            | Self::Verified(_)
            | Self::Password
            | Self::Salt
            | Self::Enabled
            | Self::Disabled
            | Self::CreatedAt
            | Self::LastLoginAt
            | Self::LastSeen
            | Self::Worth => false,
        }
    }

    /// Whether it must stay out of a profile.
    fn is_secret(&self) -> bool {
        matches!(self, Self::Password | Self::Salt | Self::Nothing)
    }

    fn same_place(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Id | Self::IdText, Self::Id | Self::IdText))
    }
}

/// Field names in lower case without anything but letters and digits, and what they are taken for; of several in one record the one
/// that stands first here counts.
static GUESSES: &[(&str, Target)] = &[
    ("email", Target::Name(IdentifierKind::Email)),
    ("emailaddress", Target::Name(IdentifierKind::Email)),
    ("mail", Target::Name(IdentifierKind::Email)),
    ("useremail", Target::Name(IdentifierKind::Email)),
    ("primaryemail", Target::Name(IdentifierKind::Email)),
    ("username", Target::Name(IdentifierKind::Username)),
    ("userlogin", Target::Name(IdentifierKind::Username)),
    ("loginname", Target::Name(IdentifierKind::Username)),
    ("login", Target::Name(IdentifierKind::Username)),
    ("phone", Target::Name(IdentifierKind::Phone)),
    ("phonenumber", Target::Name(IdentifierKind::Phone)),
    ("mobile", Target::Name(IdentifierKind::Phone)),
    ("mobilephone", Target::Name(IdentifierKind::Phone)),
    ("telephone", Target::Name(IdentifierKind::Phone)),
    ("userid", Target::Id),
    ("id", Target::Id),
    ("uid", Target::Id),
    ("legacyid", Target::Id),
    ("externalid", Target::Id),
    ("passwordhash", Target::Password),
    ("hashedpassword", Target::Password),
    ("encryptedpassword", Target::Password),
    ("passworddigest", Target::Password),
    ("pwhash", Target::Password),
    ("userpass", Target::Password),
    ("passwd", Target::Password),
    ("password", Target::Password),
    ("passwordsalt", Target::Salt),
    ("salt", Target::Salt),
    ("emailverified", Target::Verified(IdentifierKind::Email)),
    ("isemailverified", Target::Verified(IdentifierKind::Email)),
    ("emailconfirmed", Target::Verified(IdentifierKind::Email)),
    ("phoneverified", Target::Verified(IdentifierKind::Phone)),
    ("phonenumberverified", Target::Verified(IdentifierKind::Phone)),
    ("enabled", Target::Enabled),
    ("isenabled", Target::Enabled),
    ("isactive", Target::Enabled),
    ("active", Target::Enabled),
    ("disabled", Target::Disabled),
    ("isdisabled", Target::Disabled),
    ("blocked", Target::Disabled),
    ("banned", Target::Disabled),
    ("suspended", Target::Disabled),
    ("createdat", Target::CreatedAt),
    ("created", Target::CreatedAt),
    ("datejoined", Target::CreatedAt),
    ("registeredat", Target::CreatedAt),
    ("userregistered", Target::CreatedAt),
    ("lastloginat", Target::LastLoginAt),
    ("lastlogin", Target::LastLoginAt),
    ("lastsigninat", Target::LastLoginAt),
];

/// What a list of users has besides.
static GUESSES_OF_LISTS: &[(&str, Target)] = &[
    ("lastseen", Target::LastSeen),
    ("lastseenat", Target::LastSeen),
    ("lastactive", Target::LastSeen),
    ("lastactiveat", Target::LastSeen),
    ("lastactivity", Target::LastSeen),
    ("lastvisit", Target::LastSeen),
    ("value", Target::Worth),
    ("lifetimevalue", Target::Worth),
    ("ltv", Target::Worth),
];

/// The same in a list of users. In any other file a column named `value` may be anything.
fn guess_in_list(field: &str) -> Option<(usize, &'static Target)> {
    let plain: String = field.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let at = GUESSES_OF_LISTS.iter().position(|(name, _)| *name == plain)?;
    GUESSES_OF_LISTS.get(at).map(|(_, target)| (GUESSES.len() + at, target))
}

fn guess(field: &str) -> Option<(usize, &'static Target)> {
    let plain: String = field.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    GUESSES.iter().enumerate().find(|(_, (name, _))| *name == plain).map(|(rank, (_, target))| (rank, target))
}

/// Whether a record with these fields could name anybody, by their names alone.
pub(super) fn is_telling<'a>(fields: impl Iterator<Item = &'a str>) -> bool {
    let mut targets = fields.filter_map(guess);
    targets.any(|(_, target)| matches!(target, Target::Name(_)))
}

impl Mapping {
    /// Of the words on the command line.
    pub fn new(pairs: &[String], hashes: Option<HashReader>) -> Result<Self, BadMapping> {
        let mut mapping = Self { pairs: Vec::new(), hashes, reads_list: false };
        for pair in pairs {
            let (word, field) = pair.split_once('=').ok_or_else(|| BadMapping::Form(pair.clone()))?;
            if field.is_empty() {
                return Err(BadMapping::Form(pair.clone()));
            }
            let target = Target::named(word).ok_or_else(|| BadMapping::Word(word.to_owned()))?;
            if !target.may_repeat() && mapping.pairs.iter().any(|(known, _)| known.same_place(&target)) {
                return Err(BadMapping::Twice(word.to_owned()));
            }
            mapping.pairs.push((target, field.to_owned()));
        }
        Ok(mapping)
    }

    /// For a file that is read as a list of users.
    #[must_use]
    pub fn of_list(self) -> Self {
        Self { reads_list: true, ..self }
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.hashes.is_none()
    }

    /// Whether a CSV file with this header has what was mapped, and something that names people.
    pub fn check(&self, header: &[String]) -> Result<(), BadMapping> {
        let or_separator = |bad| other_separator(header).map_or(bad, BadMapping::Separator);
        for (_, field) in &self.pairs {
            if !header.iter().any(|column| is_field(column, field)) {
                return Err(or_separator(BadMapping::NoColumn(field.clone(), header.join(", "))));
            }
        }
        let mapped =
            self.pairs.iter().any(|(target, _)| matches!(target, Target::Name(_) | Target::Id | Target::IdText));
        let guessed = header
            .iter()
            .filter_map(|column| guess(column))
            .any(|(_, target)| matches!(target, Target::Name(_) | Target::Id));
        if mapped || guessed {
            return Ok(());
        }
        Err(or_separator(BadMapping::NoName(header.first().cloned().unwrap_or_default())))
    }

    /// Makes a user of a record's fields.
    pub(super) fn read(
        &self,
        fields: Map<String, Value>,
        typing: Typing,
        normalization: PasswordNormalization,
    ) -> Result<PortableUser, RowFault> {
        let mut taken: Vec<(&Target, &Value)> = Vec::new();
        for (target, field) in &self.pairs {
            taken.extend(look_up(&fields, field).map(|value| (target, value)));
        }
        let is_mapped = |name: &str| self.pairs.iter().any(|(_, field)| is_field(name, field));
        let mut guessed: Vec<(usize, &Target, &Value)> = fields
            .iter()
            .filter(|(name, _)| !is_mapped(name))
            .filter_map(|(name, value)| {
                let in_list = || if self.reads_list { guess_in_list(name) } else { None };
                guess(name).or_else(in_list).map(|(rank, target)| (rank, target, value))
            })
            .filter(|(_, target, _)| self.pairs.iter().all(|(mapped, _)| !mapped.same_place(target)))
            .collect();
        guessed.sort_by_key(|(rank, _, _)| *rank);
        for (_, target, value) in guessed {
            if target.may_repeat() || taken.iter().all(|(known, _)| !known.same_place(target)) {
                taken.push((target, value));
            }
        }
        let mut user = PortableUser::default();
        let mut profile = Map::new();
        let (mut hash, mut salt) = (None, None);
        for (target, value) in &taken {
            match target {
                Target::Id => user.legacy_id = legacy_id(value, typing)?,
                Target::IdText => user.legacy_id = text(value).as_deref().and_then(text_id),
                Target::Name(kind) => {
                    user.names.extend(text(value).map(|value| PortableName { kind: *kind, value, verified: None }));
                }
                Target::Verified(_) => {}
                Target::Password => hash = text(value),
                Target::Salt => salt = text(value),
                Target::Enabled if truth("enabled", value)? == Some(false) => user.standing = Standing::Disabled,
                Target::Disabled if truth("disabled", value)? == Some(true) => user.standing = Standing::Disabled,
                Target::Enabled | Target::Disabled => {}
                Target::CreatedAt => user.created_at = time("created_at", value)?,
                Target::LastLoginAt => user.last_login_at = time("last_login_at", value)?,
                Target::LastSeen => roster(&mut user).last_seen = time("last_seen", value)?,
                Target::Worth => roster(&mut user).value = worth(value)?,
                Target::Profile(name) => drop(profile.insert(name.clone(), (*value).clone())),
                Target::Nothing => {}
            }
        }
        for (target, value) in &taken {
            if let Target::Verified(kind) = target {
                let verified = truth("verified", value)?;
                user.names.iter_mut().filter(|name| name.kind == *kind).for_each(|name| name.verified = verified);
            }
        }
        if !self.reads_list {
            user.password = self.password(hash, salt.as_deref(), normalization)?;
        }
        user.profile = if profile.is_empty() { self.whole_profile(fields) } else { Value::Object(profile) };
        Ok(user)
    }

    fn password(
        &self,
        hash: Option<String>,
        salt: Option<&str>,
        normalization: PasswordNormalization,
    ) -> Result<Option<PortablePassword>, RowFault> {
        // What products write for "no password".
        let is_none = |hash: &String| hash.starts_with('!') || hash.starts_with('*') && of_mysql(hash).is_none();
        let Some(hash) = hash.filter(|hash| !is_none(hash) && hash != "NULL") else { return Ok(None) };
        let encoded = match (&self.hashes, salt) {
            (Some(hashes), salt) => {
                hashes(of_mysql(&hash).unwrap_or(&hash), salt).map_err(|problem| RowFault::new("password", problem))?
            }
            (None, None) => hash,
            // A hash that is one text has its salt in it; a salt beside it says that this one has not.
            (None, Some(_)) if hash.starts_with(['$', '{']) || hash.contains('$') => hash,
            (None, Some(_)) => {
                let problem = "there is a salt beside the hash; say how they belong together with --hash-template";
                return Err(RowFault::new("password", problem));
            }
        };
        Ok(Some(PortablePassword::new(encoded, normalization)))
    }

    /// Everything that was said, less the password and its salt.
    fn whole_profile(&self, mut fields: Map<String, Value>) -> Value {
        let is_secret = |name: &str| {
            let mut mapped = self.pairs.iter().filter(|(_, field)| is_field(name, field)).peekable();
            match mapped.peek() {
                Some(_) => mapped.any(|(target, _)| target.is_secret()),
                None => guess(name).is_some_and(|(_, target)| target.is_secret()),
            }
        };
        fields.retain(|name, _| !is_secret(name));
        for (_, field) in self.pairs.iter().filter(|(target, field)| target.is_secret() && field.contains('.')) {
            remove(&mut fields, field);
        }
        Value::Object(fields)
    }
}

/// The digits of MySQL's `PASSWORD()`, which has a star before them.
fn of_mysql(hash: &str) -> Option<&str> {
    let digits = hash.strip_prefix('*')?;
    (digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn roster(user: &mut PortableUser) -> &mut PortableRoster {
    user.roster.get_or_insert(PortableRoster { last_seen: None, value: None })
}

fn is_field(name: &str, wanted: &str) -> bool {
    name == wanted || name.trim().eq_ignore_ascii_case(wanted)
}

/// A field by its name, or by names with dots between them where it lies deeper.
fn look_up<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some((_, value)) = fields.iter().find(|(name, _)| is_field(name, path)) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = fields.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn remove(fields: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => drop(fields.remove(path)),
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = fields.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// The text of a value; none for what says nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn text_id(text: &str) -> Option<LegacyId> {
    LegacyId::from_json(&Value::String(text.to_owned()))
}

/// In a table text that is written like an integer is one: everything is text there, and an app's tokens have the id as a number.
fn legacy_id(value: &Value, typing: Typing) -> Result<Option<LegacyId>, RowFault> {
    let Some(text) = text(value).filter(|text| text != "NULL") else { return Ok(None) };
    let id = match (typing, text.parse::<i64>()) {
        (Typing::Typed, _) => LegacyId::from_json(value),
        (Typing::AllText, Ok(number)) if number.to_string() == text => LegacyId::from_json(&Value::from(number)),
        (Typing::AllText, Ok(_) | Err(_)) => text_id(&text),
    };
    id.map(Some).ok_or_else(|| RowFault::new("id", "it is no text of up to 255 bytes, and no whole number"))
}

fn worth(value: &Value) -> Result<Option<u64>, RowFault> {
    let Some(text) = text(value) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| RowFault::new("value", "it is no whole number from 0 up"))
}

fn truth(field: &'static str, value: &Value) -> Result<Option<bool>, RowFault> {
    let Some(text) = text(value) else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "null" => Ok(None),
        "true" | "t" | "1" | "yes" | "y" | "on" => Ok(Some(true)),
        "false" | "f" | "0" | "no" | "n" | "off" => Ok(Some(false)),
        _ => Err(RowFault::new(field, "it is neither true nor false, yes nor no, 1 nor 0")),
    }
}

/// A point in time as products write it: seconds or milliseconds since 1970, or a date and time, UTC where no zone is said.
pub(super) fn time(field: &'static str, value: &Value) -> Result<Option<UnixSeconds>, RowFault> {
    let Some(text) = text(value) else { return Ok(None) };
    let text = text.trim();
    if is_no_moment(text) || text == "NULL" {
        return Ok(None);
    }
    if let Ok(number) = text.parse::<u64>() {
        // Seconds reach this number in the year 5138.
        return Ok(Some(UnixSeconds(if number >= 100_000_000_000 { number / 1_000 } else { number })));
    }
    let in_utc = |local: DateTime| local.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).ok();
    let at =
        text.parse::<Timestamp>().ok().or_else(|| text.parse::<DateTime>().ok().and_then(in_utc)).or_else(|| {
            text.parse::<Date>().ok().and_then(|date| in_utc(date.to_datetime(jiff::civil::Time::midnight())))
        });
    match at {
        Some(at) => Ok(Some(UnixSeconds(u64::try_from(at.as_second()).unwrap_or(0)))),
        None => {
            Err(RowFault::new(field, "it is no time that is known; write 2026-01-31T12:00:00Z, or seconds since 1970"))
        }
    }
}

#[cfg(test)]
mod tests;
