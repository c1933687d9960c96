//! Rows of an import as they wait for the writer: what can be made of them ahead is made on whatever thread reads them, and lies in two
//! buffers a chunk, so that a row in waiting costs little more than its record. The one thread that writes is left with what only it can
//! do.
//!
//! A row from which nothing can be made ahead is kept whole, and taken by itself. Any other can be had back as it was, for whoever has to
//! decide about it (`Ready::incoming`).

use uuid::Uuid;

use super::super::fault::Fault;
use super::super::record::{Codec, MAX_RECORD_BYTES};
use super::super::schema::{Counted, IdBytes};
use crate::domain::clock::UnixSeconds;
use crate::domain::identifier::NormalizedIdentifier;
use crate::domain::import::Incoming;
use crate::domain::roster::{self, Place};
use crate::domain::user::{LegacyId, Standing, User, UserId, Version};

/// More than a record grows by once it has its version and is sealed, in bytes.
const GROWTH: usize = 1_024;

/// Rows in their order.
#[derive(Default)]
pub(in crate::store::redb) struct Ready {
    rows: Vec<Row>,
    /// Their records, without what only the writer knows.
    drafts: Vec<u8>,
    /// Their keys, one behind the other: of each row its names, then its legacy id.
    keys: String,
    /// Where each ends.
    ends: Vec<u32>,
}

/// As many rows are in one at most, so that their places fit 32 bits: each may be as large as a record.
const MAX_ROWS: usize = 2_048;

/// One row.
struct Row {
    made: Made,
    /// The id of ours that it came with.
    given: Option<IdBytes>,
    last_login_at: Option<UnixSeconds>,
    /// Where its keys begin, which of them is the first, how many names there are, and whether a legacy id follows.
    keys: u32,
    first: u32,
    names: u32,
    has_legacy_id: bool,
}

/// What was made of a row.
enum Made {
    Draft(Draft),
    /// Nothing.
    Whole(Box<Incoming>),
}

struct Draft {
    begin: u32,
    personal: u32,
    end: u32,
    place: Option<Place>,
    counted: Counted,
    /// Whether the row said when its user was created, and when he last changed.
    says_created: bool,
    says_updated: bool,
}

impl Ready {
    /// All of these rows.
    pub(super) fn of(rows: Vec<Incoming>, codec: &Codec, at: UnixSeconds) -> Vec<Self> {
        let mut all = Vec::new();
        rows.into_iter().for_each(|row| Self::push_to(&mut all, row, codec, at));
        all
    }

    /// Adds a row to the last of these, or begins another; `at` is what a row gets that does not say when its user was created.
    pub(in crate::store::redb) fn push_to(all: &mut Vec<Self>, row: Incoming, codec: &Codec, at: UnixSeconds) {
        if all.last().is_none_or(|last| last.rows.len() >= MAX_ROWS) {
            all.push(Self::default());
        }
        if let Some(last) = all.last_mut() {
            last.push(row, codec, at);
        }
    }

    fn push(&mut self, row: Incoming, codec: &Codec, at: UnixSeconds) {
        let (keys, first) = (place(self.keys.len()), place(self.ends.len()));
        // What is only reserved has no place in a record; it is sorted with the names, so that it is seen whom it concerns.
        let names = row.identifiers.iter().map(|name| &name.normalized).chain(&row.reserved);
        let count = row.identifiers.len() + row.reserved.len();
        for key in names.map(NormalizedIdentifier::as_key).chain(row.legacy_id.as_ref().map(LegacyId::as_key)) {
            self.keys.push_str(key);
            self.ends.push(place(self.keys.len()));
        }
        let names = place(count);
        let (given, last_login_at) = (row.id.map(|id| id.0.into_bytes()), row.last_login_at);
        let has_legacy_id = row.legacy_id.is_some();
        let made = match row.standing {
            // Tombstones lose what a row may need once more, and are few.
            Standing::Deleted => Made::Whole(Box::new(row)),
            Standing::Active | Standing::Disabled if !row.reserved.is_empty() => Made::Whole(Box::new(row)),
            // Somebody new is not to be made of it.
            Standing::Active | Standing::Disabled if row.is_nameless() => Made::Whole(Box::new(row)),
            Standing::Active | Standing::Disabled => self.draft(row, codec, at),
        };
        self.rows.push(Row { made, given, last_login_at, keys, first, names, has_legacy_id });
    }

    /// An empty one, with room for about as much as another has.
    pub(in crate::store::redb) fn with_room_for(other: &Self) -> Self {
        let room = |length: usize| length + length / 16;
        Self {
            rows: Vec::with_capacity(room(other.rows.len())),
            drafts: Vec::with_capacity(room(other.drafts.len())),
            keys: String::with_capacity(room(other.keys.len())),
            ends: Vec::with_capacity(room(other.ends.len())),
        }
    }

    /// How many there are.
    pub(in crate::store::redb) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = At<'_>> {
        self.rows.iter().map(|row| At { ready: self, row })
    }

    fn draft(&mut self, row: Incoming, codec: &Codec, at: UnixSeconds) -> Made {
        let (says_created, says_updated) = (row.created_at.is_some(), row.updated_at.is_some());
        let (given, last_login_at) = (row.id, row.last_login_at);
        let user = row.into_user(given.unwrap_or(UserId(Uuid::nil())), at);
        let begin = self.drafts.len();
        let personal = codec.draft(&user, &mut self.drafts);
        let length = self.drafts.len() - begin;
        let draft = Draft {
            begin: place(begin),
            personal: place(personal),
            end: place(self.drafts.len()),
            place: roster::place(&user, last_login_at),
            counted: Counted::of(&user),
            says_created,
            says_updated,
        };
        if length > MAX_RECORD_BYTES - GROWTH {
            self.drafts.truncate(begin);
            return Made::Whole(Box::new(incoming(user, &draft, given, last_login_at)));
        }
        Made::Draft(draft)
    }
}

/// A place in a buffer of at most [`MAX_ROWS`] records.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The row that a user was made of.
fn incoming(user: User, draft: &Draft, id: Option<UserId>, last_login_at: Option<UnixSeconds>) -> Incoming {
    Incoming {
        id,
        legacy_id: user.legacy_id,
        identifiers: user.identifiers,
        reserved: Vec::new(),
        profile: user.profile,
        credential: user.credential,
        standing: user.standing,
        origin: user.origin,
        created_at: Some(user.created_at).filter(|_| draft.says_created),
        updated_at: Some(user.updated_at).filter(|_| draft.says_updated),
        legacy_vouched_at: user.legacy_vouched_at,
        last_login_at,
        roster: user.roster,
    }
}

/// One row, and the chunk that it is in.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    ready: &'a Ready,
    row: &'a Row,
}

/// What is counted of a user who is written.
pub(super) struct Facts {
    pub(super) place: Option<Place>,
    pub(super) counted: Counted,
}

impl<'a> At<'a> {
    /// Its names, as keys, in its own order; those that are only reserved last.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        self.keys().take(self.row.names as usize)
    }

    /// Its legacy id, as a key.
    pub(super) fn legacy_id(self) -> Option<&'a str> {
        if self.row.has_legacy_id { self.keys().nth(self.row.names as usize) } else { None }
    }

    fn keys(self) -> impl Iterator<Item = &'a str> {
        let Ready { keys, ends, .. } = self.ready;
        let ends = ends.get(self.row.first as usize..).unwrap_or_default();
        ends.iter().scan(self.row.keys as usize, |begin, end| {
            let key = keys.get(*begin..*end as usize);
            *begin = *end as usize;
            key
        })
    }

    /// The id of ours that it came with.
    pub(super) fn given(self) -> Option<IdBytes> {
        self.row.given
    }

    pub(super) fn last_login_at(self) -> Option<UnixSeconds> {
        self.row.last_login_at
    }

    /// What is counted of it; none of a row that has to be taken by itself.
    pub(super) fn facts(self) -> Option<Facts> {
        match &self.row.made {
            Made::Draft(draft) => Some(Facts { place: draft.place, counted: draft.counted }),
            Made::Whole(_) => None,
        }
    }

    /// Puts its record into `out`, instead of what is there.
    pub(super) fn record(self, id: IdBytes, version: Version, codec: &Codec, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Made::Draft(draft) = &self.row.made else {
            return Err(Fault::damage("a row that is kept whole has no record"));
        };
        Ok(codec.finish(self.parts(draft), UserId(Uuid::from_bytes(id)), version, out)?)
    }

    /// The row as it came.
    pub(super) fn incoming(self, codec: &Codec) -> Result<Incoming, Fault> {
        let row = self.row;
        let draft = match &row.made {
            Made::Whole(row) => return Ok(row.copied()),
            Made::Draft(draft) => draft,
        };
        let (given, mut record) = (row.given.map(|id| UserId(Uuid::from_bytes(id))), Vec::new());
        let id = given.unwrap_or(UserId(Uuid::nil()));
        codec.finish(self.parts(draft), id, Version(0), &mut record)?;
        Ok(incoming(codec.decode(id, &record)?, draft, given, row.last_login_at))
    }

    fn parts(self, draft: &Draft) -> (&'a [u8], &'a [u8]) {
        let part = |begin: u32, end: u32| self.ready.drafts.get(begin as usize..end as usize).unwrap_or_default();
        (part(draft.begin, draft.personal), part(draft.personal, draft.end))
    }
}
