//! Writing users as another product's JSON: the brackets of a file, and what the products call the same things by different names.
//!
//! What a user said of himself at a registration is never written where a product reads privileges from: a registration may hold
//! `is_superuser` as well as a name. Called by the formats of this module.

use serde_json::{Map, Value, json};

use super::fields::is_e164;
use super::{Carried, Hashes, PortableName, PortableUser, RecordWriter, RowFault, WriteOptions};
use crate::domain::identifier::IdentifierKind;
use crate::domain::user::{Origin, Standing};

/// Turns one user into one item of the file.
pub(super) type Item = fn(&PortableUser, &WriteOptions) -> Result<(Value, Carried), RowFault>;

/// A file that is one JSON array, on its own or in an object.
pub(super) struct JsonFile {
    before: String,
    after: &'static str,
    item: Item,
    options: WriteOptions,
    any: bool,
    remarks: Vec<String>,
}

impl JsonFile {
    /// `before` and `after` are the text around the items.
    pub(super) fn new(before: String, after: &'static str, item: Item, options: &WriteOptions) -> Self {
        Self { before, after, item, options: options.clone(), any: false, remarks: Vec::new() }
    }

    /// Says how the product is told to read the file.
    pub(super) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remarks.push(remark.into());
        self
    }
}

impl RecordWriter for JsonFile {
    fn start(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
    }

    fn user(&mut self, user: &PortableUser, out: &mut Vec<u8>) -> Result<Carried, RowFault> {
        let (item, carried) = (self.item)(user, &self.options)?;
        let separator: &[u8] = if self.any { b",\n" } else { b"\n" };
        out.extend_from_slice(separator);
        out.extend_from_slice(item.to_string().as_bytes());
        self.any = true;
        Ok(carried)
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.after.as_bytes());
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }
}

/// The encoded hash of a user, if there is one and hashes are wanted.
pub(super) fn encoded<'a>(user: &'a PortableUser, options: &WriteOptions) -> Option<&'a str> {
    match options.hashes {
        Hashes::Included => user.password.as_ref().map(|password| password.encoded.as_str()),
        Hashes::LeftOut => None,
    }
}

/// How much of a user was carried, by whether his hash was written.
pub(super) fn carried(user: &PortableUser, written: bool) -> Carried {
    if written || user.password.is_none() { Carried::Whole } else { Carried::WithoutPassword }
}

/// A user who is deleted here: no product has a mark for that, and without one he would come back.
pub(super) fn refuse_deleted(user: &PortableUser) -> Result<(), RowFault> {
    match user.standing {
        Standing::Active | Standing::Disabled => Ok(()),
        Standing::Deleted => Err(RowFault::new("standing", "he is deleted here, and would come back there")),
    }
}

/// A user who is disabled here, for a product that has no mark for that either.
pub(super) fn refuse_disabled(user: &PortableUser) -> Result<(), RowFault> {
    refuse_deleted(user)?;
    match user.standing {
        Standing::Active => Ok(()),
        Standing::Disabled | Standing::Deleted => {
            Err(RowFault::new("standing", "he is disabled here, and would be let in there"))
        }
    }
}

/// The names of a user, as one product after the other takes some of them.
pub(super) struct Names<'a> {
    left: Vec<&'a PortableName>,
}

impl<'a> Names<'a> {
    pub(super) fn of(user: &'a PortableUser) -> Self {
        Self { left: user.names.iter().collect() }
    }

    /// The first name of a kind.
    pub(super) fn take(&mut self, kind: IdentifierKind) -> Option<&'a PortableName> {
        self.take_if(|name| name.kind == kind)
    }

    /// The first phone number in the form that APIs ask for.
    pub(super) fn take_e164(&mut self) -> Option<&'a PortableName> {
        self.take_if(|name| name.kind == IdentifierKind::Phone && is_e164(&name.value))
    }

    /// All names of a kind.
    pub(super) fn take_all(&mut self, kind: IdentifierKind) -> Vec<&'a PortableName> {
        std::iter::from_fn(|| self.take(kind)).collect()
    }

    fn take_if(&mut self, wanted: impl Fn(&PortableName) -> bool) -> Option<&'a PortableName> {
        let at = self.left.iter().position(|name| wanted(name))?;
        Some(self.left.remove(at))
    }

    /// What the product had no place for, to be kept as data.
    pub(super) fn rest(&self) -> Option<Value> {
        let names: Vec<Value> = self.left.iter().map(|name| name_as_data(name)).collect();
        (!names.is_empty()).then_some(Value::Array(names))
    }
}

fn name_as_data(name: &PortableName) -> Value {
    let mut data = json!({"kind": name.kind.as_str(), "value": name.value});
    if let (Some(verified), Some(fields)) = (name.verified, data.as_object_mut()) {
        fields.insert("verified".into(), verified.into());
    }
    data
}

/// What is known of a person, under whatever name his product has it.
pub(super) struct Person<'a> {
    profile: Option<&'a Map<String, Value>>,
    /// Whether a product vouched for the profile. If not, nothing in it may become a privilege.
    pub(super) vouched: bool,
}

/// Each with the names that the products of this module, and OpenID Connect (Core, section 5.1), have for it.
pub(super) const GIVEN_NAME: &[&str] = &["given_name", "firstName", "first_name"];
pub(super) const FAMILY_NAME: &[&str] = &["family_name", "lastName", "last_name"];
pub(super) const FULL_NAME: &[&str] = &["name", "fullName", "displayName", "display_name"];
pub(super) const NICKNAME: &[&str] = &["nickname"];
pub(super) const PICTURE: &[&str] = &["picture", "photoUrl", "imageUrl", "image_url", "avatar", "photo"];

impl<'a> Person<'a> {
    pub(super) fn of(user: &'a PortableUser) -> Self {
        let vouched = match user.origin {
            None | Some(Origin::Migrated | Origin::Imported | Origin::Roster) => true,
            Some(Origin::Registered) => false,
        };
        Self { profile: user.profile.as_object(), vouched }
    }

    /// The first of these that is a text and not empty; also in `traits`, where Kratos has them.
    pub(super) fn text(&self, keys: &[&str]) -> Option<&'a str> {
        let profile = self.profile?;
        let traits = profile.get("traits").and_then(Value::as_object);
        let found = [Some(profile), traits].into_iter().flatten().find_map(|fields| {
            keys.iter().find_map(|key| fields.get(*key).and_then(Value::as_str).filter(|text| !text.is_empty()))
        });
        found.or_else(|| self.in_kratos_name(keys))
    }

    fn in_kratos_name(&self, keys: &[&str]) -> Option<&'a str> {
        let part = match keys.first().copied() {
            Some("given_name") => "first",
            Some("family_name") => "last",
            Some(_) | None => return None,
        };
        self.profile?.get("traits")?.get("name")?.get(part)?.as_str()
    }

    /// A field that bears privileges or is the product's own: only from a profile that somebody vouched for.
    pub(super) fn own(&self, key: &str) -> Option<&'a Value> {
        self.profile.filter(|_| self.vouched)?.get(key).filter(|value| !value.is_null())
    }

    /// The same, if it is an object.
    pub(super) fn own_object(&self, key: &str) -> Option<Map<String, Value>> {
        self.own(key).and_then(Value::as_object).cloned()
    }

    /// What of the profile is not among these keys. Nothing if nothing is left.
    pub(super) fn rest(&self, known: &[&[&str]]) -> Option<Map<String, Value>> {
        let is_known = |key: &str| known.iter().any(|keys| keys.contains(&key));
        let left = self.profile?.iter().filter(|(key, value)| !is_known(key) && !value.is_null());
        let left: Map<String, Value> = left.map(|(key, value)| (key.clone(), value.clone())).collect();
        (!left.is_empty()).then_some(left)
    }
}

/// Where the rest of a profile goes among a product's free data, by who vouched for it.
pub(super) fn rest_key(person: &Person<'_>) -> &'static str {
    if person.vouched { "legacy_profile" } else { "registration" }
}

/// Adds a field, if there is a value for it.
pub(super) fn put(item: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        item.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_profile(profile: Value) -> PortableUser {
        PortableUser { profile, ..PortableUser::default() }
    }

    #[test]
    fn what_somebody_said_of_himself_is_no_privilege() {
        let mut user = of_profile(json!({"is_superuser": true, "first_name": "Eve"}));
        assert_eq!(Person::of(&user).own("is_superuser"), Some(&json!(true)));
        user.origin = Some(Origin::Registered);
        let person = Person::of(&user);
        assert_eq!(person.own("is_superuser"), None);
        assert_eq!(person.text(GIVEN_NAME), Some("Eve"));
        assert_eq!(rest_key(&person), "registration");
        user.origin = Some(Origin::Imported);
        assert!(Person::of(&user).vouched);
    }

    #[test]
    fn a_person_is_found_under_the_names_of_each_product() {
        for (profile, given) in [
            (json!({"given_name": "Ann"}), Some("Ann")),
            (json!({"firstName": "Ann"}), Some("Ann")),
            (json!({"given_name": "", "first_name": "Ann"}), Some("Ann")),
            (json!({"traits": {"name": {"first": "Ann"}}}), Some("Ann")),
            (json!({"given_name": 5}), None),
            (json!("Ann"), None),
        ] {
            assert_eq!(Person::of(&of_profile(profile.clone())).text(GIVEN_NAME), given, "{profile}");
        }
    }

    #[test]
    fn names_without_a_place_are_left_as_data() {
        let mut user = of_profile(json!({}));
        let name = |kind, value: &str, verified| PortableName { kind, value: value.into(), verified };
        user.names = vec![
            name(IdentifierKind::Email, "a@example.com", Some(true)),
            name(IdentifierKind::Email, "b@example.com", Some(false)),
            name(IdentifierKind::Phone, "0301234", None),
        ];
        let mut names = Names::of(&user);
        assert_eq!(names.take(IdentifierKind::Email).map(|name| name.value.as_str()), Some("a@example.com"));
        assert!(names.take_e164().is_none());
        let rest = json!([{"kind": "email", "value": "b@example.com", "verified": false}, {"kind": "phone", "value": "0301234"}]);
        assert_eq!(names.rest(), Some(rest));
    }
}
