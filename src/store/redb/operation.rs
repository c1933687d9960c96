//! One write as it waits for the writer, and its answer as it waits for the commit.
//!
//! [`Migrated`] is made here alone, from [`OnDisk`], which [`super::writer`] makes alone, after the commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::activity::{self, Activity};
use super::fault::{Fault, SharedCause};
use super::import::Rows;
use super::people::ResolveWritten;
use super::renew::Renewed;
use super::slot::Generation;
use super::writes::{Batch, SaveWritten, Taken, UpdateWritten};
use crate::domain::conflict::Resolution;
use crate::domain::import::Imported;
use crate::domain::mode::Mode;
use crate::domain::proof::Migrated;
use crate::domain::user::{UserId, Version};
use crate::service::ports::{
    ImportBatch, Inserted, NewUser, ProvenUser, Resolved, Saved, StoreError, Updated, UserChange,
};

/// Where an answer goes. Nobody may be there any more: the write goes on regardless (R91).
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A write, with where its answer goes.
pub(super) enum Operation {
    SaveProven(Box<ProvenUser>, Reply<Saved>),
    InsertNew(Box<NewUser>, Reply<Inserted>),
    Update(UserId, Version, UserChange, Reply<Updated>),
    Resolve(u64, Resolution, Reply<Resolved>),
    ForgetListed(Vec<(UserId, Version)>, Reply<u64>),
    Import(Box<ImportBatch<Rows>>, Reply<Vec<Imported>>),
    SetMode(Mode, Reply<()>),
    /// Writes records anew, some of those after this one.
    Renew(Option<UserId>, Reply<Renewed>),
    /// Writes times of logins that wait. Nobody waits for it.
    WriteLogins(Arc<Activity>, activity::Taken),
    /// Shows that the writer works.
    Probe(Reply<()>),
    /// A read found that the file cannot be used on.
    Reopen(Generation),
}

/// The transaction that an answer rests on is on disk, or changed nothing.
pub(super) struct OnDisk(());

impl OnDisk {
    /// Called by the writer alone, after the commit.
    pub(super) fn assert_after_commit() -> Self {
        Self(())
    }

    fn migrated(&self, id: UserId, version: Version) -> Migrated {
        Migrated::assert_after_commit(id, version)
    }
}

/// What became of the transaction that an operation was part of.
pub(super) enum Fate {
    /// It holds.
    OnDisk(OnDisk),
    /// Nothing of it was written.
    NotWritten(SharedCause),
    /// Nobody knows.
    Unknown(SharedCause),
}

/// An operation that was applied and waits for the commit.
pub(super) struct Applied(Box<dyn FnOnce(&Fate) + Send>);

impl Applied {
    fn new<T: Send + 'static>(reply: Reply<T>, answer: impl FnOnce(&OnDisk) -> T + Send + 'static) -> Self {
        Self(Box::new(move |fate| {
            let result = match fate {
                Fate::OnDisk(on_disk) => Ok(answer(on_disk)),
                Fate::NotWritten(cause) => Err(StoreError::Unavailable(cause.clone().into())),
                Fate::Unknown(cause) => Err(StoreError::OutcomeUnknown(cause.clone().into())),
            };
            let _gone = reply.send(result);
        }))
    }

    /// Answers the caller.
    pub(super) fn settle(self, fate: &Fate) {
        (self.0)(fate);
    }
}

/// What came of applying an operation.
pub(super) enum Outcome {
    /// Its answer waits for the commit.
    Applied(Applied),
    /// It alone failed and wrote nothing; its caller has been told.
    FailedAlone,
    /// It failed halfway, or the file did: the transaction must not be committed. Its caller is told once the store is no longer said to
    /// be well; nobody waits for some.
    Spoiled(SharedCause, Option<Applied>),
    /// The file is to be opened again, if it is still this one.
    Reopen(Generation),
}

impl Operation {
    /// Applies it to the transaction.
    pub(super) fn apply(self, batch: &mut Batch<'_>) -> Outcome {
        batch.start_operation();
        match self {
            Self::SaveProven(proven, reply) => {
                let written = batch.save_proven(*proven);
                finish(batch, reply, written, |written, on_disk| match written {
                    SaveWritten::Created(id, version) => Saved::Created(on_disk.migrated(id, version)),
                    SaveWritten::Updated(id, version) => Saved::Updated(on_disk.migrated(id, version)),
                    SaveWritten::Conflict(with) => Saved::Conflict { with },
                    SaveWritten::Settled(with) => Saved::Settled { with },
                    SaveWritten::Stale => Saved::Stale,
                    SaveWritten::Closed => Saved::Closed,
                })
            }
            Self::InsertNew(new, reply) => {
                let written = batch.insert_new(*new);
                finish(batch, reply, written, |written, on_disk| match written {
                    Ok(user) => Inserted::Inserted(on_disk.migrated(user.id, user.version), Box::new(user)),
                    Err(Taken) => Inserted::Exists,
                })
            }
            Self::Update(id, based_on, change, reply) => {
                let written = batch.update(id, based_on, change);
                finish(batch, reply, written, |written, on_disk| match written {
                    UpdateWritten::Done(id, version) => Updated::Done(on_disk.migrated(id, version)),
                    UpdateWritten::Stale => Updated::Stale,
                    UpdateWritten::Missing => Updated::Missing,
                    UpdateWritten::Refused(why) => Updated::Refused(why),
                })
            }
            Self::Resolve(number, resolution, reply) => {
                let written = batch.resolve(number, resolution);
                finish(batch, reply, written, |written, _on_disk| match written {
                    ResolveWritten::Done { given_to } => Resolved::Done { given_to },
                    ResolveWritten::Missing => Resolved::Missing,
                    ResolveWritten::Refused(why) => Resolved::Refused(why),
                })
            }
            Self::ForgetListed(users, reply) => {
                let written = batch.forget_listed(&users);
                finish(batch, reply, written, |forgotten, _on_disk| forgotten)
            }
            Self::Import(rows, reply) => {
                let written = batch.import(*rows);
                finish(batch, reply, written, |results, _on_disk| results)
            }
            Self::SetMode(mode, reply) => {
                let written = batch.keep_mode(mode);
                finish(batch, reply, written, |(), _on_disk| ())
            }
            Self::Renew(after, reply) => {
                let written = batch.renew(after);
                finish(batch, reply, written, |renewed, _on_disk| renewed)
            }
            Self::WriteLogins(logins, taken) => match batch.write_logins(&taken) {
                Ok(()) => Outcome::Applied(Applied(Box::new(move |fate| match fate {
                    Fate::OnDisk(_) => logins.written(&taken),
                    Fate::NotWritten(_) | Fate::Unknown(_) => logins.postpone(),
                }))),
                Err(fault) => {
                    logins.postpone();
                    let spoils = batch.operation_wrote() || fault.needs_reopening();
                    if spoils { Outcome::Spoiled(fault.shared().1, None) } else { Outcome::FailedAlone }
                }
            },
            Self::Probe(reply) => finish(batch, reply, Ok(()), |(), _on_disk| ()),
            Self::Reopen(generation) => Outcome::Reopen(generation),
        }
    }

    /// Tells the caller that nothing was written.
    pub(super) fn refuse(self, cause: &SharedCause) {
        let error = || StoreError::Unavailable(cause.clone().into());
        match self {
            Self::SaveProven(_, reply) => drop(reply.send(Err(error()))),
            Self::InsertNew(_, reply) => drop(reply.send(Err(error()))),
            Self::Update(_, _, _, reply) => drop(reply.send(Err(error()))),
            Self::Resolve(_, _, reply) => drop(reply.send(Err(error()))),
            Self::ForgetListed(_, reply) => drop(reply.send(Err(error()))),
            Self::Import(_, reply) => drop(reply.send(Err(error()))),
            Self::Renew(_, reply) => drop(reply.send(Err(error()))),
            Self::SetMode(_, reply) | Self::Probe(reply) => drop(reply.send(Err(error()))),
            Self::WriteLogins(logins, _) => logins.postpone(),
            Self::Reopen(_) => {}
        }
    }
}

fn finish<W: Send + 'static, T: Send + 'static>(
    batch: &mut Batch<'_>,
    reply: Reply<T>,
    written: Result<W, Fault>,
    answer: impl FnOnce(W, &OnDisk) -> T + Send + 'static,
) -> Outcome {
    match written {
        Ok(written) => Outcome::Applied(Applied::new(reply, move |on_disk| answer(written, on_disk))),
        Err(fault) => {
            let spoils = batch.operation_wrote() || fault.needs_reopening();
            let (fault, cause) = fault.shared();
            let tell = move || drop(reply.send(Err(fault.into())));
            if spoils {
                return Outcome::Spoiled(cause, Some(Applied(Box::new(move |_fate| tell()))));
            }
            tell();
            Outcome::FailedAlone
        }
    }
}
