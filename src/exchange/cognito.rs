//! Amazon Cognito: the users of `aws cognito-idp list-users`, and the CSV file of its user import, which takes no hashes: every
//! imported user resets his password.
//!
//! Follows "Importing users into user pools from a CSV file". Its CSV is not RFC 4180: nothing is in quotes, and a comma within a
//! value has a backslash before it. Never called but through [`FORMAT`].

use serde_json::{Map, Value};

use super::fields::{Names, Node, kind_of_name, object};
use super::giving::{self, Person};
use super::{
    Carried, CarriesHashes, Context, FileLimit, Format, Framing, Notes, PortableName, PortableUser, RecordWriter,
    RowFault, Sample, Setting, WriteFormat, WriteOptions,
};
use crate::domain::clock::UnixSeconds;
use crate::domain::credential::AbsentBecause;
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::Standing;

/// The row for it.
pub(super) const FORMAT: Format = Format {
    name: "cognito",
    title: "Amazon Cognito, list-users or import CSV",
    framings: &[Framing::Csv, Framing::JsonItems { path: "Users" }, Framing::Lines],
    detect,
    parse,
    write: Some(WriteFormat { open, limit: Some(LIMIT), hashes: CarriesHashes::No }),
    settings: &[HEADER, USERNAME],
};

/// What an import job takes.
const LIMIT: FileLimit = FileLimit { bytes: 100_000_000, users: 500_000 };

/// The longest line of it, in characters.
const MAX_LINE_CHARS: usize = 16_000;

const HEADER: Setting = Setting {
    name: "header",
    help: "the columns of the pool, as `aws cognito-idp get-csv-header` says them, with commas; the standard ones if not said",
};

const USERNAME: Setting = Setting {
    name: "username",
    help: "what a written user is called: `username` (if not said; else his email, else his phone), `email`, `phone` or `id`",
};

/// The header of a pool without custom attributes.
const STANDARD_HEADER: &str = "cognito:username,name,given_name,family_name,middle_name,nickname,preferred_username,profile,picture,\
    website,email,email_verified,gender,birthdate,zoneinfo,locale,phone_number,phone_number_verified,address,updated_at,\
    cognito:mfa_enabled";

fn detect(sample: &Sample<'_>) -> bool {
    if sample.framing.is_csv() {
        return sample.has_column("cognito:username");
    }
    sample.any_has("UserStatus") || (sample.any_has("Username") && sample.any_has("Attributes"))
}

fn parse(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    if context.framing.is_csv() { from_line(raw, context) } else { from_json(raw) }
}

/// Why such a user has no hash: another file may have one.
fn left(second_factor: bool) -> Option<AbsentBecause> {
    second_factor.then_some(AbsentBecause::LeftWithLegacy)
}

/// A user of the API: his attributes are a list of names and texts.
fn from_json(raw: &[u8]) -> Result<PortableUser, RowFault> {
    let mut record = object(raw)?;
    let root = Node::root(&record);
    let key = if root.value("Attributes").is_some() { "Attributes" } else { "UserAttributes" };
    let mut attributes = Map::new();
    for attribute in root.objects(key)? {
        let (name, value) = (attribute.needed_text("Name")?, attribute.needed_text("Value")?);
        if attributes.insert(name.to_owned(), Value::String(value.to_owned())).is_some() {
            return Err(attribute.fault("Name", "appears twice"));
        }
    }
    let (standing, created_at) = (standing(&root)?, created(&root)?);
    let second_factor = !root.list("MFAOptions")?.is_empty() || !root.list("UserMFASettingList")?.is_empty();
    let notes = Notes { second_factor, ..Notes::default() };
    let without_password = left(second_factor);
    let mut user = PortableUser { standing, created_at, notes, without_password, ..PortableUser::default() };
    let username = root.needed_text("Username")?.to_owned();
    read(&mut user, &Node::root(&attributes), &username)?;
    record.shift_remove(key);
    attributes.extend(record);
    user.profile = Value::Object(attributes);
    Ok(user)
}

fn standing(root: &Node<'_>) -> Result<Standing, RowFault> {
    let is_disabled = root.flag("Enabled")? == Some(false);
    match root.text("UserStatus")? {
        Some("ARCHIVED" | "COMPROMISED") => Ok(Standing::Disabled),
        Some(_) | None if is_disabled => Ok(Standing::Disabled),
        Some(_) | None => Ok(Standing::Active),
    }
}

/// The command line writes RFC 3339, its first version seconds with a fraction.
fn created(root: &Node<'_>) -> Result<Option<UnixSeconds>, RowFault> {
    match root.value("UserCreateDate") {
        Some(Value::Number(number)) => match number.as_f64().filter(|seconds| *seconds >= 0.0) {
            // A conversion of floats saturates.
            Some(seconds) => Ok(Some(UnixSeconds(seconds as u64))),
            None => Err(root.fault("UserCreateDate", "is a time before 1970")),
        },
        Some(_) | None => root.moment("UserCreateDate"),
    }
}

fn read(user: &mut PortableUser, attributes: &Node<'_>, username: &str) -> Result<(), RowFault> {
    let sub = attributes.text("sub")?;
    let mut names = Names::default();
    names.add(IdentifierKind::Email, attributes.text("email")?, attributes.flag("email_verified")?);
    names.add(IdentifierKind::Phone, attributes.text("phone_number")?, attributes.flag("phone_number_verified")?);
    names.add(IdentifierKind::Username, attributes.text("preferred_username")?, None);
    if sub != Some(username) {
        names.add(kind_of_name(username), Some(username), None);
    }
    let id = Value::String(sub.unwrap_or(username).to_owned());
    user.legacy_id = crate::domain::user::LegacyId::from_json(&id);
    user.names = names.or_fault("email", "is missing, and so are `phone_number` and a username")?;
    Ok(())
}

/// A line of the import file.
fn from_line(raw: &[u8], context: &Context) -> Result<PortableUser, RowFault> {
    let line = std::str::from_utf8(raw).map_err(|_| RowFault::NOT_UTF8)?;
    let fields = unescaped(line);
    if fields.len() != context.header.len() {
        let found = super::fields::counted(fields.len());
        let problem = format!("it has {found}, and the header has {}", context.header.len());
        return Err(RowFault::new("record", problem));
    }
    let filled = context.header.iter().zip(fields).filter(|(_, field)| !field.is_empty());
    let attributes: Map<String, Value> =
        filled.map(|(name, field)| (name.trim().to_owned(), Value::String(field))).collect();
    let root = Node::root(&attributes);
    let username = root.needed_text("cognito:username")?.to_owned();
    let second_factor = root.flag("cognito:mfa_enabled")? == Some(true);
    let notes = Notes { second_factor, ..Notes::default() };
    let mut user = PortableUser { notes, without_password: left(second_factor), ..PortableUser::default() };
    read(&mut user, &root, &username)?;
    user.profile = Value::Object(attributes);
    Ok(user)
}

/// Cut at each comma that has no backslash before it.
fn unescaped(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        if char == ',' {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            let is_escape = char == '\\' && chars.peek() == Some(&',');
            field.push(if is_escape { chars.next().unwrap_or(',') } else { char });
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

struct Writer {
    header: Vec<String>,
    username: Option<String>,
}

fn open(options: &WriteOptions) -> Box<dyn RecordWriter> {
    let header = options.settings.of(HEADER.name).unwrap_or(STANDARD_HEADER);
    let header = header.split(',').map(|column| column.trim().to_owned()).filter(|column| !column.is_empty()).collect();
    Box::new(Writer { header, username: options.settings.of(USERNAME.name).map(str::to_owned) })
}

impl RecordWriter for Writer {
    fn start(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header.join(",").as_bytes());
        out.push(b'\n');
    }

    fn user(&mut self, user: &PortableUser, out: &mut Vec<u8>) -> Result<Carried, RowFault> {
        let line = self.line(user)?;
        if line.chars().count() > MAX_LINE_CHARS {
            return Err(RowFault::new("record", format!("his line is longer than {MAX_LINE_CHARS} characters")));
        }
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
        Ok(giving::carried(user, false))
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn remarks(&self) -> Vec<String> {
        vec![
            "Cognito: create a user import job and upload the file; each user then resets his password at his first login".into(),
            "Cognito: the header must be the pool's own; say it with --set header=… if the pool has custom attributes".into(),
        ]
    }
}

impl Writer {
    fn line(&self, user: &PortableUser) -> Result<String, RowFault> {
        giving::refuse_disabled(user)?;
        let mut names = giving::Names::of(user);
        let (email, phone) = (names.take(IdentifierKind::Email), names.take_e164());
        let is_verified = |name: Option<&PortableName>| name.is_some_and(|name| name.verified == Some(true));
        if !is_verified(email) && !is_verified(phone) {
            let problem =
                "Cognito takes no user without a verified email or phone number: he could not reset his password";
            return Err(RowFault::new("email_verified", problem));
        }
        let username = self.username(user, &mut names, email, phone)?;
        let person = Person::of(user);
        let mut line = String::new();
        for (index, column) in self.header.iter().enumerate() {
            let value = match column.as_str() {
                "cognito:username" => username.clone(),
                "cognito:mfa_enabled" => "FALSE".to_owned(),
                "email" => email.map(|name| name.value.clone()).unwrap_or_default(),
                "email_verified" => is_verified(email).to_string().to_uppercase(),
                "phone_number" => phone.map(|name| name.value.clone()).unwrap_or_default(),
                "phone_number_verified" => is_verified(phone).to_string().to_uppercase(),
                "updated_at" => user.updated_at.map(|at| at.0.to_string()).unwrap_or_default(),
                "birthdate" => birthdate(&person)?,
                "given_name" => text(&person, giving::GIVEN_NAME),
                "family_name" => text(&person, giving::FAMILY_NAME),
                "name" => text(&person, giving::FULL_NAME),
                "picture" => text(&person, giving::PICTURE),
                other => attribute(&person, other),
            };
            if index > 0 {
                line.push(',');
            }
            push_escaped(&mut line, column, &value)?;
        }
        Ok(line)
    }

    /// Unique in the pool, and without white space.
    fn username(
        &self,
        user: &PortableUser,
        names: &mut giving::Names<'_>,
        email: Option<&PortableName>,
        phone: Option<&PortableName>,
    ) -> Result<String, RowFault> {
        let value = |name: Option<&PortableName>| name.map(|name| name.value.clone());
        let own = value(names.take(IdentifierKind::Username));
        let found = match self.username.as_deref() {
            None | Some("username") => own.or(value(email)).or(value(phone)),
            Some("email") => value(email),
            Some("phone") => value(phone),
            Some("id") => user.legacy_id.as_ref().map(|id| id.as_key().to_owned()),
            Some(_) => return Err(RowFault::new("--set username", "must be `username`, `email`, `phone` or `id`")),
        };
        let found = found.ok_or_else(|| RowFault::new("cognito:username", "he has nothing that it could be"))?;
        if found.contains(char::is_whitespace) {
            return Err(RowFault::new("cognito:username", "Cognito takes none with white space in it"));
        }
        Ok(found)
    }
}

fn text(person: &Person<'_>, keys: &[&str]) -> String {
    person.text(keys).unwrap_or_default().to_owned()
}

/// A claim of the same name; of a custom attribute also without its prefix, if somebody vouched for it.
fn attribute(person: &Person<'_>, column: &str) -> String {
    match column.strip_prefix("custom:") {
        None => text(person, &[column]),
        Some(bare) => match person.own(column).or_else(|| person.own(bare)) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
        },
    }
}

/// `mm/dd/yyyy` from ISO 8601; what is so already stays.
fn birthdate(person: &Person<'_>) -> Result<String, RowFault> {
    let Some(given) = person.text(&["birthdate", "birthDate"]) else { return Ok(String::new()) };
    match given.split('-').collect::<Vec<_>>().as_slice() {
        [year, month, day] if (year.len(), month.len(), day.len()) == (4, 2, 2) => Ok(format!("{month}/{day}/{year}")),
        [one] if one.split('/').count() == 3 => Ok((*one).to_owned()),
        _another_form => Err(RowFault::new("birthdate", "must be a date as in 1985-02-01")),
    }
}

fn push_escaped(line: &mut String, column: &str, value: &str) -> Result<(), RowFault> {
    if value.contains(['\n', '\r']) {
        return Err(RowFault::new(column.to_owned(), "has a line break, which Cognito's file has no way to write"));
    }
    if value.ends_with('\\') {
        return Err(RowFault::new(column.to_owned(), "ends in a backslash, which would escape the comma after it"));
    }
    line.push_str(&value.replace(',', "\\,"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_with_a_backslash_is_no_end_of_a_field() {
        assert_eq!(unescaped(r"a,b\,c,,\d"), ["a", "b,c", "", r"\d"]);
        assert_eq!(unescaped(""), [""]);
        let mut line = String::new();
        push_escaped(&mut line, "address", "1 Main St, Springfield").expect("a line");
        assert_eq!(unescaped(&line), ["1 Main St, Springfield"]);
        assert!(push_escaped(&mut line, "address", "1 Main St\nSpringfield").is_err());
    }
}
