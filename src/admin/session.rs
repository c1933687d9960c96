//! The console's sessions: random ids in a bounded table in memory. They end after eight hours, at sign-out, at a restart, or
//! when more recent ones crowd them out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::permit::{AdminPermit, fingerprint};

/// How many sessions may be open; over it the oldest ends.
const MAX_SESSIONS: usize = 64;

/// How long a session lasts, used or not.
pub(super) const SESSION_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Open sessions by the digest of their id: a look into this table's memory opens none.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Instant>>);

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes for a session id")]
pub(super) struct NoRandomness;

impl Sessions {
    /// Begins a session and gives its id: 256 random bits (OWASP ASVS 7.2.3 asks for 128).
    pub(super) fn open(&self, _by: AdminPermit, now: Instant) -> Result<String, NoRandomness> {
        let mut bytes = [0_u8; 32];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let id = URL_SAFE_NO_PAD.encode(bytes);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, began| is_current(*began, now));
        if open.len() >= MAX_SESSIONS
            && let Some(oldest) = open.iter().min_by_key(|(_, began)| **began).map(|(id, _)| *id)
        {
            open.remove(&oldest);
        }
        open.insert(fingerprint(&id), now);
        Ok(id)
    }

    /// The permit of a session that is open.
    pub(super) fn permit(&self, id: &str, now: Instant) -> Option<AdminPermit> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = open.get(&fingerprint(id))?;
        is_current(*began, now).then(AdminPermit::assert_by_session)
    }

    /// Ends a session.
    pub(super) fn close(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&fingerprint(id));
    }
}

fn is_current(began: Instant, now: Instant) -> bool {
    now.saturating_duration_since(began) < SESSION_LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::{Clock, SystemClock};

    fn open(sessions: &Sessions, now: Instant) -> String {
        sessions.open(AdminPermit::assert_by_session(), now).expect("randomness")
    }

    #[test]
    fn a_session_is_open_until_it_is_closed_or_its_time_is_over() {
        let (sessions, start) = (Sessions::default(), SystemClock.monotonic());
        let (one, two) = (open(&sessions, start), open(&sessions, start));
        assert_ne!(one, two);
        assert!(sessions.permit(&one, start).is_some());
        assert!(sessions.permit("", start).is_none());
        sessions.close(&one);
        assert!(sessions.permit(&one, start).is_none());
        assert!(sessions.permit(&two, start + SESSION_LIFETIME - Duration::from_millis(1)).is_some());
        assert!(sessions.permit(&two, start + SESSION_LIFETIME).is_none());
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_session_makes_room() {
        let (sessions, start) = (Sessions::default(), SystemClock.monotonic());
        let at = |n: usize| start + Duration::from_secs(n as u64);
        let ids: Vec<String> = (0..=MAX_SESSIONS).map(|n| open(&sessions, at(n))).collect();
        let now = at(MAX_SESSIONS);
        assert!(sessions.permit(&ids[0], now).is_none());
        assert!(ids[1..].iter().all(|id| sessions.permit(id, now).is_some()));
        assert_eq!(sessions.0.lock().expect("not poisoned").len(), MAX_SESSIONS);
    }
}
