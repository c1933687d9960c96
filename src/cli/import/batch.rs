//! Records on their way into a commit: the work on them, on several threads, and how many go together. Knows nothing of the journal, and
//! nothing of how a commit is made. Called by [`super::Import`].

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::Takes;
use super::destination::{Measure, Prepared, Preparer};
use super::hashes::HashWorker;
use super::pipeline::{Chunk, Mark, Raw};
use crate::domain::user::Standing;
use crate::exchange::{Context, Format, Notes, RowFault};

/// What the work on some records makes of them.
pub(super) struct Made {
    pub(super) rows: Prepared,
    pub(super) ends: Ends,
}

/// What is known of records beside what the store will say. Each says which of the records it is about, in order.
#[derive(Default)]
pub(super) struct Ends {
    /// Of those that cannot be taken, why.
    pub(super) faults: Vec<(usize, RowFault)>,
    /// Of those of whose users there is something to know, what.
    pub(super) notes: Vec<(usize, Notes)>,
    /// Those of users who come without a password.
    pub(super) without_password: Vec<usize>,
}

/// Records that go into one commit.
pub(super) struct Batch {
    /// Given back when the batch is dropped.
    pub(super) token: Token,
    pub(super) start: Mark,
    pub(super) chunks: Vec<Chunk<Made>>,
    pub(super) rows: usize,
    /// Of the file.
    pub(super) bytes: usize,
    /// Of a request.
    pub(super) request: usize,
}

impl Batch {
    pub(super) fn of(chunk: Chunk<Made>, token: Token) -> Self {
        let mut batch = Self { token, start: chunk.start, chunks: Vec::new(), rows: 0, bytes: 0, request: 0 };
        batch.add(chunk);
        batch
    }

    pub(super) fn add(&mut self, chunk: Chunk<Made>) {
        self.rows += chunk.raw.len();
        self.bytes += chunk.raw.size();
        self.request += chunk.made.rows.size();
        self.chunks.push(chunk);
    }

    pub(super) fn has_room_for(&self, chunk: &Chunk<Made>, measure: Measure) -> bool {
        self.rows + chunk.raw.len() <= measure.rows
            && self.bytes + chunk.raw.size() <= measure.bytes
            && self.request + chunk.made.rows.size() <= measure.request
    }
}

/// As many batches are in memory: one that is being taken, and one that waits or is read.
pub(super) const BATCHES: usize = 2;

/// Leave to have a batch in memory.
pub(super) struct Token(pub(super) SyncSender<()>);

impl Drop for Token {
    fn drop(&mut self) {
        // There is room for as many as there are.
        let _nobody_waits = self.0.try_send(());
    }
}

/// The work on records: read, their hashes looked at, made ready. On one thread.
pub(super) struct Work {
    pub(super) format: &'static Format,
    pub(super) context: Arc<Context>,
    pub(super) takes: Takes,
    pub(super) hashes: HashWorker,
    pub(super) preparer: Preparer,
    /// Whether anybody will want the bytes of rejected rows.
    pub(super) keeps_bytes: bool,
}

impl Work {
    pub(super) fn on(&mut self, raw: &mut Raw) -> Made {
        let mut ends = Ends::default();
        for (index, record) in raw.records().enumerate() {
            match self.on_one(record.bytes) {
                Ok((notes, has_password)) => {
                    if notes != Notes::default() {
                        ends.notes.push((index, notes));
                    }
                    if !has_password {
                        ends.without_password.push(index);
                    }
                }
                Err(fault) => ends.faults.push((index, fault)),
            }
        }
        if !self.keeps_bytes {
            raw.forget_bytes();
        }
        Made { rows: self.preparer.take(), ends }
    }

    /// What there is to know of the user, and whether he has a password, as far as that is asked: nobody in a list has one.
    fn on_one(&mut self, raw: Option<&[u8]>) -> Result<(Notes, bool), RowFault> {
        let raw =
            raw.ok_or_else(|| RowFault::new("record", "it is larger than 1 MiB, and is not among the rejected rows"))?;
        let mut user = (self.format.parse)(raw, &self.context)?;
        match (self.takes, user.standing) {
            (Takes::Users, _) => self.hashes.look_at(&mut user)?,
            (Takes::Listed, Standing::Active | Standing::Disabled) => user = user.as_listed(),
            (Takes::Listed, Standing::Deleted) => {
                return Err(RowFault::new("standing", "a deleted user is on no list"));
            }
        }
        let is_asked = self.takes == Takes::Users && user.standing != Standing::Deleted;
        let (notes, has_password) = (user.notes, user.password.is_some() || !is_asked);
        self.preparer.add(user).map(|()| (notes, has_password))
    }
}
