//! Equal simultaneous logins share one question to legacy.
//!
//! Equal means the same route, identifier, password and other fields (a tenant, a one-time code): the key is a MAC over all of them under a secret of this process, so
//! that a table of calls under way tells nothing, and nobody rides on another's right password by typing his name.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use serde_json::Value;
use tokio::sync::watch;

use super::background::Background;
use super::legacy_word::Told;
use super::ports::{AccountPermit, RouteIndex};
use crate::domain::identifier::RawIdentifier;
use crate::domain::password::Password;

/// More are not shared, but asked one by one; `max_in_flight` bounds them anyway.
const MAX_SHARED: usize = 4_096;

type Key = [u8; 32];
type Waiting = watch::Receiver<Option<Arc<Told>>>;
type Table = Arc<Mutex<HashMap<Key, UnderWay>>>;

/// The calls under way.
pub(crate) struct SharedCalls {
    secret: hmac::Key,
    under_way: Table,
}

struct UnderWay {
    waiting: Waiting,
    /// Of those who came later: each has made an attempt of his own (R65). No more than the limits admit at once.
    permits: Vec<AccountPermit>,
}

impl SharedCalls {
    pub(crate) fn new() -> Self {
        // A generator that fails leaves a random key unavailable; a fixed one still only merges equal logins.
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
            .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, b"authferry shared calls"));
        Self { secret, under_way: Arc::new(Mutex::new(HashMap::new())) }
    }

    fn key(&self, route: RouteIndex, login: &RawIdentifier, password: &Password, fields: &Value) -> Key {
        let mut mac = hmac::Context::with_key(&self.secret);
        mac.update(&route.0.to_le_bytes());
        mac.update(&login.as_str().len().to_le_bytes());
        mac.update(login.as_str().as_bytes());
        mac.update(&password.expose().len().to_le_bytes());
        mac.update(password.expose().as_bytes());
        mac.update(fields.to_string().as_bytes());
        let mut key = [0; 32];
        key.iter_mut().zip(mac.sign().as_ref()).for_each(|(to, from)| *to = *from);
        key
    }

    /// Asks, or waits for the answer to the same question. The asking itself runs to its end even if every client that waits for
    /// it has gone, and the permits of all of them are settled with the answer before anybody hears it. `None` when it could not run
    /// or died.
    #[expect(clippy::too_many_arguments, reason = "four of them are what makes two logins equal")]
    pub(crate) async fn ask<F>(
        &self,
        route: RouteIndex,
        login: &RawIdentifier,
        password: &Password,
        fields: &Value,
        background: &Background,
        permit: Option<AccountPermit>,
        work: impl FnOnce() -> F,
    ) -> Option<Arc<Told>>
    where
        F: Future<Output = Told> + Send + 'static,
    {
        let key = self.key(route, login, password, fields);
        let mut waiting = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            match under_way.get_mut(&key) {
                Some(same) => {
                    same.permits.extend(permit);
                    same.waiting.clone()
                }
                None => {
                    let (answer, waiting) = watch::channel(None);
                    let work = work();
                    let entry = if under_way.len() < MAX_SHARED {
                        under_way.insert(key, UnderWay { waiting: waiting.clone(), permits: Vec::new() });
                        Some(Entry { key: Some(key), under_way: Arc::clone(&self.under_way) })
                    } else {
                        None
                    };
                    drop(under_way);
                    background.run(async move {
                        let told = Arc::new(work.await);
                        // Off the list first: who comes now asks anew rather than getting an answer to an older question.
                        let riders = entry.map(|mut entry| entry.give_up()).unwrap_or_default();
                        permit.into_iter().chain(riders).for_each(|permit| permit.settle(told.counts()));
                        answer.send_replace(Some(told));
                    })?;
                    waiting
                }
            }
        };
        // An error means that the asking died; its value, if any, is still there to be read.
        let _ended = waiting.wait_for(Option::is_some).await.is_ok();
        waiting.borrow().clone()
    }
}

/// A place in the table, given up when the call ends, also by a panic or when it never started.
struct Entry {
    /// Taken when the place is given up: by then it may be the next call's.
    key: Option<Key>,
    under_way: Table,
}

impl Entry {
    /// Gives the place up: the permits of those who ride on the call.
    fn give_up(&mut self) -> Vec<AccountPermit> {
        let Some(key) = self.key.take() else { return Vec::new() };
        let gone = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        gone.map(|gone| gone.permits).unwrap_or_default()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn only_logins_that_are_equal_in_everything_share_a_call() {
        let calls = SharedCalls::new();
        let key = |route, login: &str, password: &str, fields: Value| {
            let login = RawIdentifier::new(login).expect("an identifier");
            let password = Password::new(Zeroizing::new(password.to_owned())).expect("a password");
            calls.key(RouteIndex(route), &login, &password, &fields)
        };
        let ann = key(0, "ann", "secret", json!({ "otp": "1" }));
        assert_eq!(ann, key(0, "ann", "secret", json!({ "otp": "1" })));
        assert_ne!(ann, key(1, "ann", "secret", json!({ "otp": "1" })), "another route");
        assert_ne!(ann, key(0, "bob", "secret", json!({ "otp": "1" })), "another user");
        assert_ne!(ann, key(0, "ann", "other", json!({ "otp": "1" })), "another password");
        assert_ne!(ann, key(0, "ann", "secret", json!({ "otp": "2" })), "another one-time code");
        assert_ne!(key(0, "ann", "secretx", json!(null)), key(0, "annsecret", "x", json!(null)), "no run-on");
    }
}
