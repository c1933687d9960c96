//! What becomes of the hash in a row before it goes anywhere: one that cannot be verified rejects the row or is dropped, a weak one may be
//! wrapped. Never decides whether a password is right.

use crate::exchange::{HashFate, PortableUser, RowFault};
use crate::password::Peppers;
use crate::password::formats::{Terms, Unusable, WrapError, WrapParams, Wrapper, hint, is_weak};

/// What the operator wants of hashes.
#[derive(Clone)]
pub(super) struct Hashes {
    unusable: OfUnusable,
    wrap: Option<WrapParams>,
    terms: Terms,
    peppers: Peppers,
}

/// What becomes of a row whose hash cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfUnusable {
    Rejected,
    /// The user is taken without it: legacy is asked at his first login.
    TakenWithout,
}

/// The same at work on one thread.
pub(super) struct HashWorker {
    unusable: OfUnusable,
    terms: Terms,
    peppers: Peppers,
    wrapper: Option<Wrapper>,
}

impl Hashes {
    /// `wrap` is `full` or `quick`.
    pub(super) fn new(
        drop_unusable: bool,
        wrap: Option<&str>,
        terms: Terms,
        peppers: Peppers,
    ) -> Result<Self, WrapError> {
        let unusable = if drop_unusable { OfUnusable::TakenWithout } else { OfUnusable::Rejected };
        let wrap = wrap.map(|how| if how == "quick" { WrapParams::QUICK } else { WrapParams::FULL });
        let hashes = Self { unusable, wrap, terms, peppers };
        // What cannot be set up on this thread can be on none.
        hashes.wrapper()?;
        Ok(hashes)
    }

    fn wrapper(&self) -> Result<Option<Wrapper>, WrapError> {
        self.wrap.map(|params| Wrapper::new(params, self.terms.clone())).transpose()
    }

    pub(super) fn worker(&self) -> HashWorker {
        // It could be set up when the import began.
        let wrapper = self.wrapper().unwrap_or_default();
        let (terms, peppers) = (self.terms.clone(), self.peppers.clone());
        HashWorker { unusable: self.unusable, terms, peppers, wrapper }
    }
}

impl HashWorker {
    /// Looks at a user's hash, and does with it what is wanted.
    pub(super) fn look_at(&mut self, user: &mut PortableUser) -> Result<(), RowFault> {
        let Some(password) = &mut user.password else { return Ok(()) };
        match (is_weak(&password.encoded, &self.terms), self.unusable) {
            (Ok(is_weak), _) => {
                if let Some(wrapper) = self.wrapper.as_mut().filter(|_| is_weak) {
                    let wrapped = wrapper.wrap(&password.encoded);
                    let wrapped = wrapped.map_err(|error| RowFault::new("password", error.to_string()))?;
                    if let Some(wrapped) = wrapped {
                        password.encoded = wrapped;
                    }
                }
                Ok(())
            }
            // Our own, out of an export: the table of formats knows no keys of ours.
            (Err(Unusable::Keyed), _) if self.peppers.were_in(&password.encoded, &self.terms.bounds) => Ok(()),
            (Err(_), OfUnusable::TakenWithout) => {
                user.password = None;
                user.notes.hash = HashFate::Dropped;
                Ok(())
            }
            (Err(why @ Unusable::UnknownFormat), OfUnusable::Rejected) => {
                let hint = hint(&password.encoded).map(|hint| format!("; {hint}")).unwrap_or_default();
                Err(RowFault::new("password", format!("{why}{hint}")))
            }
            (Err(why), OfUnusable::Rejected) => Err(RowFault::new("password", why.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::password::PasswordNormalization;
    use crate::exchange::PortablePassword;

    fn looked_at(hashes: &Hashes, encoded: &str) -> Result<Option<String>, RowFault> {
        let password = PortablePassword::new(encoded.to_owned(), PasswordNormalization::None);
        let mut user = PortableUser { password: Some(password), ..PortableUser::default() };
        hashes.worker().look_at(&mut user)?;
        Ok(user.password.map(|password| password.encoded.as_str().to_owned()))
    }

    fn hashes(drop_unusable: bool, wrap: Option<&str>) -> Hashes {
        Hashes::new(drop_unusable, wrap, Terms::default(), Peppers::default()).expect("parameters")
    }

    #[test]
    fn a_hash_that_cannot_be_used_rejects_the_row_or_is_dropped() {
        let fault = looked_at(&hashes(false, None), "nonsense").expect_err("of no format");
        assert!(fault.field == "password" && !fault.to_string().contains("nonsense"), "{fault}");
        assert_eq!(looked_at(&hashes(true, None), "nonsense"), Ok(None));
        let over =
            "$argon2id$v=19$m=4194304,t=9,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        assert!(looked_at(&hashes(false, None), over).is_err(), "R53");
    }

    #[test]
    fn a_weak_hash_is_wrapped_if_that_is_wanted_and_a_strong_one_never() {
        let (weak, strong) =
            ("$md5$5f4dcc3b5aa765d61d8327deb882cf99", "$2b$10$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie");
        let weak_one = looked_at(&hashes(false, None), weak);
        let wrapped = looked_at(&hashes(false, Some("quick")), weak);
        if weak_one.is_ok() {
            assert!(wrapped.is_ok_and(|wrapped| wrapped.is_some_and(|wrapped| wrapped.starts_with("$wrapped$"))));
        }
        assert_eq!(looked_at(&hashes(false, Some("quick")), strong), Ok(Some(strong.to_owned())));
    }
}
