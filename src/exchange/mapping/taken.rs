//! Which field of a file becomes what, in words for whoever looks before millions of rows are read: what a name does not tell is not taken
//! for anything, and nobody should learn that from users without passwords. Decides nothing; follows what [`Mapping::read`] does.

use super::{GUESSES, Mapping, Target, guess, guess_in_list, is_field};

/// What the fields of a file are taken for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// What is made of fields, and of which, the one that counts first before the others.
    pub parts: Vec<(String, Vec<String>)>,
    /// A field that may hold hashes, where none is taken for the password.
    pub perhaps_password: Option<String>,
}

/// As many fields that are nothing in particular are named.
const NAMED: usize = 20;

/// What names of fields with hashes in them have in them.
const SUSPECT: [&str; 8] = ["hash", "digest", "crypt", "secret", "pwd", "passw", "credential", "pw"];

impl Mapping {
    /// What is made of fields of these names. Never looks at what is in them.
    #[must_use]
    pub fn taken(&self, fields: &[String]) -> Taken {
        let mut groups: Vec<(Target, Vec<String>)> = Vec::new();
        let mut add = |target: &Target, field: &str| match groups.iter_mut().find(|(known, _)| known == target) {
            Some((_, names)) => names.push(field.to_owned()),
            None => groups.push((target.clone(), vec![field.to_owned()])),
        };
        for (target, field) in &self.pairs {
            add(target, field);
        }
        let (mut guessed, mut rest) = (Vec::new(), Vec::new());
        for field in fields.iter().filter(|name| !self.pairs.iter().any(|(_, field)| is_field(name, field))) {
            let in_list = || if self.reads_list { guess_in_list(field) } else { None };
            match guess(field).or_else(in_list) {
                Some((rank, target)) if self.pairs.iter().all(|(mapped, _)| !mapped.same_place(target)) => {
                    guessed.push((rank, target, field));
                }
                Some(_) | None => rest.push(field.clone()),
            }
        }
        guessed.sort_by_key(|(rank, _, _)| *rank);
        guessed.iter().for_each(|(_, target, field)| add(target, field));
        let has_password = groups.iter().any(|(target, _)| *target == Target::Password);
        let perhaps_password = rest.iter().find(|field| is_suspect(field)).cloned();
        Taken {
            parts: self.in_words(groups, rest),
            perhaps_password: perhaps_password.filter(|_| !has_password && !self.reads_list),
        }
    }

    fn in_words(&self, groups: Vec<(Target, Vec<String>)>, rest: Vec<String>) -> Vec<(String, Vec<String>)> {
        let (mut parts, mut unused) = (Vec::new(), Vec::new());
        let chooses_profile = groups.iter().any(|(target, _)| matches!(target, Target::Profile(_)));
        for (target, names) in groups {
            match target.word().filter(|_| !self.reads_list || target.is_of_a_list()) {
                Some(word) => parts.push((word, names)),
                None => unused.extend(names),
            }
        }
        if chooses_profile || self.reads_list {
            unused.extend(rest);
        } else if !rest.is_empty() {
            // One whose target another field has been given stays out of the profile if it is a secret.
            let is_secret = |field: &String| guess(field).is_some_and(|(_, target)| target.is_secret());
            let (secret, kept): (Vec<String>, Vec<String>) = rest.into_iter().partition(is_secret);
            unused.extend(secret);
            if !kept.is_empty() {
                parts.push(("only in the profile".to_owned(), shortened(kept)));
            }
        }
        if !unused.is_empty() {
            parts.push(("not used".to_owned(), shortened(unused)));
        }
        parts
    }
}

fn shortened(mut fields: Vec<String>) -> Vec<String> {
    let more = fields.len().saturating_sub(NAMED);
    if more > 0 {
        fields.truncate(NAMED);
        fields.push(format!("and {more} more"));
    }
    fields
}

fn is_suspect(field: &str) -> bool {
    let plain: String = field.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    plain == "pass" || SUSPECT.iter().any(|word| plain.contains(word)) && GUESSES.iter().all(|(name, _)| *name != plain)
}

impl Target {
    /// As `--map` has it; none for what is left out.
    fn word(&self) -> Option<String> {
        Some(match self {
            Self::Id => "id".to_owned(),
            Self::IdText => "id:text".to_owned(),
            Self::Name(kind) => kind.as_str().to_owned(),
            Self::Verified(kind) => format!("{}_verified", kind.as_str()),
            Self::Password => "password".to_owned(),
            Self::Salt => "salt".to_owned(),
            Self::Enabled => "enabled".to_owned(),
            Self::Disabled => "disabled".to_owned(),
            Self::CreatedAt => "created_at".to_owned(),
            Self::LastLoginAt => "last_login_at".to_owned(),
            Self::LastSeen => "last_seen".to_owned(),
            Self::Worth => "value".to_owned(),
            Self::Profile(name) => format!("profile.{name}"),
            Self::Nothing => return None,
        })
    }

    /// Whether a list of users has any use for it.
    fn is_of_a_list(&self) -> bool {
        match self {
            Self::Id
            | Self::IdText
            | Self::Name(_)
            | Self::Verified(_)
            | Self::LastLoginAt
            | Self::LastSeen
            | Self::Worth => true,
            Self::Password
            | Self::Salt
            | Self::Enabled
            | Self::Disabled
            | Self::CreatedAt
            | Self::Profile(_)
            | Self::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[&str], fields: &[&str], list: bool) -> (String, Option<String>) {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        let mapping = Mapping::new(&pairs, None).expect("a good mapping");
        let taken = if list { mapping.of_list() } else { mapping }.taken(&fields);
        let parts: Vec<String> =
            taken.parts.iter().map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        (parts.join(" · "), taken.perhaps_password)
    }

    #[test]
    fn what_a_field_is_taken_for_is_told_and_what_may_be_a_hash_is_pointed_at() {
        let (told, suspect) = taken(&[], &["id", "email", "hash", "name"], false);
        assert_eq!(told, "email: email · id: id · only in the profile: hash, name");
        assert_eq!(suspect.as_deref(), Some("hash"));
        for field in ["pwd", "crypted_password", "secret_digest", "pass", "bcrypt"] {
            assert_eq!(taken(&[], &["email", field], false).1.as_deref(), Some(field));
        }
        for (pairs, fields) in [
            (&["password=hash"][..], &["email", "hash"][..]),
            (&[], &["email", "pw_hash", "hash"]),
            (&[], &["email", "passport", "shoe size"]),
            (&["nothing=hash"], &["email", "hash"]),
        ] {
            assert_eq!(taken(pairs, fields, false).1, None, "{fields:?}");
        }
    }

    #[test]
    fn what_is_said_is_told_as_it_was_said_and_the_rest_goes_where_it_goes() {
        let (told, _) = taken(
            &["email=Adresse", "profile.name=full", "nothing=x"],
            &["Adresse", "full", "x", "id", "uid", "password", "size"],
            false,
        );
        assert_eq!(told, "email: Adresse · profile.name: full · id: id, uid · password: password · not used: x, size");
        let (told, _) = taken(&["password=new_hash"], &["email", "password", "new_hash"], false);
        assert_eq!(told, "password: new_hash · email: email · not used: password");
    }

    #[test]
    fn a_list_has_a_use_for_other_fields() {
        let fields = ["id", "email", "last_seen", "ltv", "password", "name"];
        let (told, suspect) = taken(&[], &fields, true);
        assert_eq!(told, "email: email · id: id · last_seen: last_seen · value: ltv · not used: password, name");
        assert_eq!(suspect, None);
        assert!(taken(&[], &fields, false).0.ends_with("only in the profile: last_seen, ltv, name"));
    }
}
