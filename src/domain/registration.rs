//! What one registration comes to. The order is the rule: policy, our store, legacy's store, and only then a write.

use super::mode::Answerer;

/// Where a registration is written (`write` of a route).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteTo {
    /// To our store only.
    Local,
    /// To legacy, then to our store: the way back stays free.
    LegacyFirst,
}

/// What `get_user` said of a name, or that it was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtLegacy {
    /// Legacy has such a user.
    Found,
    /// Legacy said that it has none.
    NotFound,
    /// Legacy could not be asked, or its answer was neither.
    Unknown,
    /// There is no way to ask this legacy for a name.
    NotAsked,
}

/// The step after our own store was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTaken {
    /// Somebody has one of the names.
    Exists,
    /// Ask legacy whether it knows the name.
    AskLegacy,
    /// Nobody else to ask.
    Insert,
    /// The client's request goes on; legacy answers it, and we learn what is proven.
    RelayAndLearn,
}

/// Whom to ask next.
#[must_use]
pub fn after_taken(answerer: Answerer, taken: bool) -> AfterTaken {
    match (answerer, taken) {
        (Answerer::Legacy, _) => AfterTaken::RelayAndLearn,
        (Answerer::LocalFirst | Answerer::LocalOnly, true) => AfterTaken::Exists,
        (Answerer::LocalFirst, false) => AfterTaken::AskLegacy,
        (Answerer::LocalOnly, false) => AfterTaken::Insert,
    }
}

/// The step after legacy was asked for the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAsked {
    /// Legacy has him.
    Exists,
    /// 503: a registration now could take over somebody's name.
    Unavailable,
    /// Write it to our store.
    Insert,
    /// Create the user at legacy first.
    CreateAtLegacy,
}

/// What to make of legacy's word on the name.
#[must_use]
pub fn after_asked(at_legacy: AtLegacy, write: WriteTo) -> AfterAsked {
    match (at_legacy, write) {
        (AtLegacy::Found, _) => AfterAsked::Exists,
        (AtLegacy::Unknown, _) | (AtLegacy::NotAsked, WriteTo::Local) => AfterAsked::Unavailable,
        (AtLegacy::NotFound, WriteTo::Local) => AfterAsked::Insert,
        // Not asked: legacy itself refuses a name that it has, and what it claims has to be proven by a login.
        (AtLegacy::NotFound | AtLegacy::NotAsked, WriteTo::LegacyFirst) => AfterAsked::CreateAtLegacy,
    }
}

/// What legacy said of creating a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateWord {
    /// It says that it did. By itself this proves nothing: some say so for a taken name too (R78a).
    Created,
    /// It says no: taken, or against its own rules.
    Refused,
    /// No rule recognised the answer.
    Unrecognised,
    /// No usable answer came.
    Unavailable,
}

/// The step after legacy was told to create a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterCreated {
    /// The name was free just before: save the password.
    Save,
    /// Only a login with that password can prove it.
    ConfirmByLogin,
    /// Hand legacy's word on, save nothing.
    SaveNothing,
}

/// Whether a password that legacy claims to have taken may be saved (R78a).
#[must_use]
pub fn after_created(word: CreateWord, just_before: AtLegacy) -> AfterCreated {
    match (word, just_before) {
        (CreateWord::Created, AtLegacy::NotFound) => AfterCreated::Save,
        (CreateWord::Created, AtLegacy::Found | AtLegacy::Unknown | AtLegacy::NotAsked) => AfterCreated::ConfirmByLogin,
        (CreateWord::Refused | CreateWord::Unrecognised | CreateWord::Unavailable, _) => AfterCreated::SaveNothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_our_own_store() {
        for (answerer, taken, expected) in [
            (Answerer::Legacy, true, AfterTaken::RelayAndLearn),
            (Answerer::Legacy, false, AfterTaken::RelayAndLearn),
            (Answerer::LocalFirst, true, AfterTaken::Exists),
            (Answerer::LocalFirst, false, AfterTaken::AskLegacy),
            (Answerer::LocalOnly, true, AfterTaken::Exists),
            (Answerer::LocalOnly, false, AfterTaken::Insert),
        ] {
            assert_eq!(after_taken(answerer, taken), expected);
        }
    }

    #[test]
    fn the_table_of_legacys_word_on_a_name() {
        for (at_legacy, write, expected) in [
            (AtLegacy::Found, WriteTo::Local, AfterAsked::Exists),
            (AtLegacy::Found, WriteTo::LegacyFirst, AfterAsked::Exists),
            (AtLegacy::Unknown, WriteTo::Local, AfterAsked::Unavailable),
            (AtLegacy::Unknown, WriteTo::LegacyFirst, AfterAsked::Unavailable),
            (AtLegacy::NotAsked, WriteTo::Local, AfterAsked::Unavailable),
            (AtLegacy::NotAsked, WriteTo::LegacyFirst, AfterAsked::CreateAtLegacy),
            (AtLegacy::NotFound, WriteTo::Local, AfterAsked::Insert),
            (AtLegacy::NotFound, WriteTo::LegacyFirst, AfterAsked::CreateAtLegacy),
        ] {
            assert_eq!(after_asked(at_legacy, write), expected);
        }
    }

    #[test]
    fn r78a_a_created_of_legacys_proves_nothing_by_itself() {
        for word in [CreateWord::Created, CreateWord::Refused, CreateWord::Unrecognised, CreateWord::Unavailable] {
            for before in [AtLegacy::Found, AtLegacy::NotFound, AtLegacy::Unknown, AtLegacy::NotAsked] {
                let expected = match (word, before) {
                    (CreateWord::Created, AtLegacy::NotFound) => AfterCreated::Save,
                    (CreateWord::Created, _) => AfterCreated::ConfirmByLogin,
                    _ => AfterCreated::SaveNothing,
                };
                assert_eq!(after_created(word, before), expected, "{word:?} {before:?}");
            }
        }
    }
}
