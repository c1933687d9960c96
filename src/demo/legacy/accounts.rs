//! The legacy's users: in memory, found by email, username or phone, with bcrypt hashes as many an old app has them.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;

/// Low, so that the demo starts at once. An app of today would take 12.
const BCRYPT_COST: u32 = 6;

/// Registrations over this many users are refused.
const MAX_USERS: usize = 10_000;

/// A user of the demo, password included: it is printed for whoever tries the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoUser {
    /// Full name.
    pub name: &'static str,
    /// Logs in by this …
    pub email: &'static str,
    /// … by this …
    pub username: &'static str,
    /// … or by this.
    pub phone: &'static str,
    /// Known to everyone.
    pub password: &'static str,
}

/// The users that every demo begins with.
pub const DEMO_USERS: [DemoUser; 5] = [
    DemoUser {
        name: "Ada Lovelace",
        email: "ada@example.com",
        username: "ada",
        phone: "+44 20 5550 0101",
        password: "analytical-engine",
    },
    DemoUser {
        name: "Grace Hopper",
        email: "grace@example.com",
        username: "grace",
        phone: "+1 202 555 0102",
        password: "nanosecond wire",
    },
    DemoUser {
        name: "Alan Turing",
        email: "alan@example.com",
        username: "alan",
        phone: "+44 20 5550 0103",
        password: "on computable numbers",
    },
    DemoUser {
        name: "Katherine Johnson",
        email: "katherine@example.com",
        username: "katherine",
        phone: "+1 304 555 0104",
        password: "go for launch",
    },
    DemoUser {
        name: "Zoë Müller",
        email: "zoe@example.com",
        username: "zoë",
        phone: "+49 30 555 0105",
        password: "pässwörter auch",
    },
];

/// One user, without the hash.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) email: String,
    pub(super) username: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) name: String,
}

/// All users.
pub(super) struct Accounts(Mutex<Vec<(Account, String)>>);

/// A password could not be hashed: no randomness for a salt, or bcrypt refuses it.
#[derive(Debug, thiserror::Error)]
#[error("a password could not be hashed")]
pub struct NoHash(#[source] Option<bcrypt::BcryptError>);

/// Why there is no new user.
pub(super) enum Unregistered {
    Exists,
    Full,
    NoHash(NoHash),
}

impl Accounts {
    pub(super) fn of_the_demo() -> Result<Self, NoHash> {
        let mut users = Vec::with_capacity(DEMO_USERS.len());
        for (id, user) in (1_001..).zip(DEMO_USERS) {
            let account = Account {
                id,
                email: user.email.to_owned(),
                username: Some(user.username.to_owned()),
                phone: Some(user.phone.to_owned()),
                name: user.name.to_owned(),
            };
            users.push((account, hash(user.password)?));
        }
        Ok(Self(Mutex::new(users)))
    }

    /// Whom a login names.
    pub(super) fn find(&self, login: &str) -> Option<Account> {
        self.entry(login).map(|(account, _)| account)
    }

    /// Whom a login and a password prove. A few milliseconds of work, off the lock.
    pub(super) fn verify(&self, login: &str, password: &str) -> Option<Account> {
        let (account, hash) = self.entry(login)?;
        // A hash of our own making is never malformed; if it were, nobody would be let in.
        bcrypt::verify(password, &hash).unwrap_or(false).then_some(account)
    }

    pub(super) fn register(&self, email: &str, name: &str, password: &str) -> Result<Account, Unregistered> {
        let hash = hash(password).map_err(Unregistered::NoHash)?;
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.iter().any(|(account, _)| account.answers_to(email)) {
            return Err(Unregistered::Exists);
        }
        if users.len() >= MAX_USERS {
            return Err(Unregistered::Full);
        }
        let id = users.last().map_or(1_001, |(account, _)| account.id + 1);
        let account = Account { id, email: email.to_owned(), username: None, phone: None, name: name.to_owned() };
        users.push((account.clone(), hash));
        Ok(account)
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn entry(&self, login: &str) -> Option<(Account, String)> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.iter().find(|(account, _)| account.answers_to(login)).cloned()
    }
}

impl Account {
    fn answers_to(&self, login: &str) -> bool {
        let named = |name: &str| name.to_lowercase() == login.to_lowercase();
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let phoned = |phone: &str| !login.contains(char::is_alphabetic) && digits(phone) == digits(login);
        named(&self.email) || self.username.as_deref().is_some_and(named) || self.phone.as_deref().is_some_and(phoned)
    }
}

fn hash(password: &str) -> Result<String, NoHash> {
    let mut salt = [0_u8; 16];
    rand::fill(&mut salt).map_err(|_| NoHash(None))?;
    let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt).map_err(|error| NoHash(Some(error)))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demo_user_logs_in_by_all_names_with_the_password_alone() {
        let accounts = Accounts::of_the_demo().expect("hashes");
        for user in DEMO_USERS {
            for login in [user.email, user.username, user.phone, &user.email.to_uppercase()] {
                let name = accounts.verify(login, user.password).map(|account| account.name);
                assert_eq!(name.as_deref(), Some(user.name), "{login}");
            }
            assert!(accounts.verify(user.email, &format!("{} ", user.password)).is_none());
            assert!(accounts.verify("nobody", user.password).is_none());
        }
        assert!(accounts.find("").is_none() && accounts.find("+").is_none());
    }

    #[test]
    fn a_name_is_registered_once() {
        let accounts = Accounts::of_the_demo().expect("hashes");
        let taken = |outcome| matches!(outcome, Err(Unregistered::Exists));
        assert!(taken(accounts.register("Ada@Example.com", "Another", "a password")));
        let new = accounts.register("new@example.com", "New", "a password").ok().expect("a free name");
        assert_eq!(new.id, 1_006);
        assert!(taken(accounts.register("new@example.com", "New", "a password")));
        assert!(accounts.verify("new@example.com", "a password").is_some());
        assert_eq!(accounts.len(), DEMO_USERS.len() + 1);
    }
}
