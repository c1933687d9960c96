//! A backend under which nothing panics with a message: such a panic is a bug, and becomes an error of the one call.
//!
//! redb holds locks of its own while it writes. A panic that unwinds through it there poisons them, and dropping its tables on the way
//! panics once more, which ends the process. What unwinds on purpose, with a value that somebody up the stack waits for, is let
//! through: only reads do that, on which redb holds no lock.

use std::io::{Error, Result};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ::redb::{BackendError, StorageBackend};

/// What a panic is turned into.
#[derive(Debug)]
pub(super) struct Calm<B>(pub(super) B);

fn calmly<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        match said.or_else(|| panic.downcast_ref::<String>().cloned()) {
            Some(said) => Err(Error::other(format!("a bug: {said}"))),
            None => resume_unwind(panic),
        }
    })
}

impl<B: StorageBackend> StorageBackend for Calm<B> {
    fn len(&self) -> Result<u64> {
        calmly(|| self.0.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        calmly(|| self.0.read(offset, out))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        calmly(|| self.0.set_len(len))
    }

    fn sync_data(&self) -> Result<()> {
        calmly(|| self.0.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        calmly(|| self.0.write(offset, data))
    }

    fn close(&self) -> Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_an_error_and_what_unwinds_on_purpose_goes_on() {
        let error = calmly::<()>(|| panic!("call {}", 7)).err().expect("an error");
        assert_eq!(error.to_string(), "a bug: call 7");
        let panic = catch_unwind(|| calmly::<()>(|| resume_unwind(Box::new(7_u8)))).err().expect("it goes on");
        assert_eq!(panic.downcast_ref::<u8>(), Some(&7));
    }
}
