//! A disk in memory that can lose power and fail: behind redb's `StorageBackend`, for the crash tests of the store.
//!
//! It writes down every call. At any call the power may go: what was synced stays, and of what was written since, any sectors
//! stay and any are lost, in any order (a sector is written whole or not at all). A failed sync is the unkind one of real
//! kernels: what it did not write is forgotten, and the next sync succeeds without it.

#![allow(clippy::indexing_slicing, reason = "that is how a test fails")]

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use authferry::store::redb::Medium;
use redb::StorageBackend;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// A small generator of numbers (SplitMix64), so that a failed run can be had again from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// One call that changes the disk.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// How calls fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// They do not.
    #[default]
    None,
    /// The call of this number, reads counted too, fails once.
    Once(u64),
    /// The write of this number is done by half, and fails. Any other call of this number fails too.
    Short(u64),
    /// The call of this number fails for want of room, if it writes.
    NoRoom(u64),
    /// The sectors of this block of 4 KiB cannot be read.
    BadBlock(u64),
    /// The calls of these two numbers fail.
    Twice(u64, u64),
    /// No write and no sync succeeds.
    ReadOnly,
    /// Nothing succeeds.
    Dead,
    /// Sectors that were never written cannot be.
    Full,
    /// The call of this number panics.
    Panic(u64),
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees: everything written.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was called since the last sync.
    pending: Vec<Call>,
    /// All calls that changed something, when they are kept.
    trace: Option<Vec<Call>>,
    calls: u64,
    trouble: Trouble,
    dice: u64,
    /// Syncs wait while it is closed.
    gate_closed: bool,
    waiting_at_gate: usize,
    /// What a power cut leaves is nobody's concern: nothing is remembered for it.
    never_cut: bool,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<State>, Condvar)>);

impl Disk {
    /// A disk that holds this, all of it synced.
    pub(crate) fn of(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().durable.clone_from(&image);
        disk.state().live = image;
        disk
    }

    /// A disk that holds this and does not lose power again: far cheaper, for who opens many.
    pub(crate) fn never_cut(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.state().live = image;
        disk.state().never_cut = true;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic that was asked for leaves nothing half done.
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// Changes a bit behind everybody's back.
    pub(crate) fn flip(&self, at: usize) {
        let mut state = self.state();
        state.live[at] ^= 0x10;
        state.durable[at] ^= 0x10;
    }

    /// One block of 4 KiB.
    pub(crate) fn block(&self, number: usize) -> Vec<u8> {
        self.state().live[number * 4_096..][..4_096].to_vec()
    }

    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.state().live.len()
    }

    /// The number that the next call has.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn record(&self) {
        self.state().trace = Some(Vec::new());
    }

    /// How many calls were recorded.
    pub(crate) fn recorded(&self) -> usize {
        self.state().trace.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn take_trace(&self) -> Vec<Call> {
        self.state().trace.take().expect("it was recorded")
    }

    /// What a power cut now would leave.
    pub(crate) fn after_power_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let state = self.state();
        survivors(&state.durable, &state.pending, dice)
    }

    /// Keeps every sync waiting until the gate opens.
    pub(crate) fn close_gate(&self) {
        self.state().gate_closed = true;
    }

    pub(crate) fn open_gate(&self) {
        self.state().gate_closed = false;
        self.0.1.notify_all();
    }

    /// Waits until a sync waits at the gate.
    pub(crate) fn wait_for_sync(&self) {
        let state = self.state();
        drop(self.0.1.wait_while(state, |state| state.waiting_at_gate == 0).expect("no panic"));
    }

    /// Counts a call, and says whether it fails.
    fn call(&self, kind: Kind) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let fails = match state.trouble {
            Trouble::None | Trouble::Full | Trouble::BadBlock(_) => false,
            Trouble::Once(at) | Trouble::Short(at) => number == at,
            Trouble::NoRoom(at) => number == at && kind != Kind::Read,
            Trouble::Twice(first, second) => number == first || number == second,
            Trouble::ReadOnly => kind != Kind::Read,
            Trouble::Dead => true,
            Trouble::Panic(at) => {
                assert!(number != at, "a panic was asked for at call {at}");
                false
            }
        };
        if !fails {
            return Ok(state);
        }
        if kind == Kind::Sync {
            // Some of it reached the disk; the rest is forgotten, and reads still show it.
            let mut dice = Dice(state.dice ^ number);
            let pending = std::mem::take(&mut state.pending);
            state.durable = survivors(&state.durable, &pending, &mut dice);
        }
        match state.trouble {
            Trouble::NoRoom(_) => Err(ErrorKind::StorageFull.into()),
            _ => Err(Error::other("the disk failed")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Sync,
}

/// What of the pending calls is on the disk after a power cut.
fn survivors(durable: &[u8], pending: &[Call], dice: &mut Dice) -> Vec<u8> {
    let mut image = durable.to_vec();
    let lengths: Vec<usize> = pending
        .iter()
        .filter_map(|call| match call {
            Call::SetLen(len) => Some(*len as usize),
            Call::Write(..) | Call::Sync => None,
        })
        .collect();
    // Each sector may hold any of the versions written to it, or the one from before.
    let mut versions: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
    for call in pending {
        let Call::Write(offset, data) = call else { continue };
        let (mut at, mut rest) = (*offset as usize, data.as_slice());
        while !rest.is_empty() {
            let (part, after) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
            versions.entry(at / SECTOR).or_default().push((at, part));
            (at, rest) = (at + part.len(), after);
        }
    }
    // One cut in four keeps nearly all, one keeps nearly nothing, two are mixed.
    let (keep, of) = [(1, 2), (15, 16), (1, 16), (1, 2)][dice.roll(4)];
    let longest = lengths.iter().copied().chain([durable.len()]).max().unwrap_or(0);
    image.resize(longest, 0);
    for (_sector, writes) in versions {
        if dice.roll(of) >= keep {
            continue;
        }
        // Versions up to some one, in their order: sectors of one page may be of different writes.
        let upto = if dice.roll(3) == 0 { dice.roll(writes.len()) + 1 } else { writes.len() };
        for (at, part) in &writes[..upto] {
            if at + part.len() <= image.len() {
                image[*at..at + part.len()].copy_from_slice(part);
            }
        }
    }
    let choice = dice.roll(lengths.len() + 1);
    image.resize(*lengths.get(choice).unwrap_or(&durable.len()), 0);
    image
}

/// The images that power cuts leave during a trace that began with `durable`: for each number of calls that had been made, some.
pub(crate) fn power_cuts(
    durable: Vec<u8>,
    trace: &[Call],
    dice: &mut Dice,
    cuts: usize,
    mut each: impl FnMut(usize, Vec<u8>, &mut Dice),
) {
    let (mut durable, mut live) = (durable.clone(), durable);
    let mut pending = Vec::new();
    for (made, call) in trace.iter().enumerate() {
        for _ in 0..cuts {
            each(made, survivors(&durable, &pending, dice), dice);
        }
        apply(&mut live, call);
        match call {
            Call::Sync => {
                durable.clone_from(&live);
                pending.clear();
            }
            Call::Write(..) | Call::SetLen(_) => pending.push(call.clone()),
        }
    }
    each(trace.len(), survivors(&durable, &pending, dice), dice);
}

fn apply(bytes: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write(offset, data) => {
            let start = *offset as usize;
            bytes.resize(bytes.len().max(start + data.len()), 0);
            bytes[start..start + data.len()].copy_from_slice(data);
        }
        Call::SetLen(len) => bytes.resize(*len as usize, 0),
        Call::Sync => {}
    }
}

impl State {
    fn made(&mut self, call: Call) {
        apply(&mut self.live, &call);
        if let Some(trace) = &mut self.trace {
            trace.push(call.clone());
        }
        if !self.never_cut {
            self.pending.push(call);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.call(Kind::Read)?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.call(Kind::Read)?;
        let start = offset as usize;
        if let Trouble::BadBlock(block) = state.trouble
            && start / 4_096 <= block as usize
            && block as usize * 4_096 < start + out.len()
        {
            // EIO.
            return Err(Error::from_raw_os_error(5));
        }
        let bytes = state.live.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.call(Kind::Write)?.made(Call::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.call(Kind::Sync)?;
        if state.gate_closed {
            state.waiting_at_gate += 1;
            self.0.1.notify_all();
            state = self.0.1.wait_while(state, |state| state.gate_closed).expect("no panic");
            state.waiting_at_gate -= 1;
        }
        if let Some(trace) = &mut state.trace {
            trace.push(Call::Sync);
        }
        if !state.never_cut {
            state.durable = state.live.clone();
            state.pending.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let failed = self.call(Kind::Write).err();
        let mut state = self.state();
        if let Some(error) = failed {
            if matches!(state.trouble, Trouble::Short(_)) {
                state.made(Call::Write(offset, data[..data.len() / 2].to_vec()));
            }
            return Err(error);
        }
        if state.trouble == Trouble::Full {
            let start = offset as usize;
            let there = state.live.get(start..start + data.len());
            // Sectors of zeros stand for holes: what was never written.
            if there.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0)) {
                return Err(ErrorKind::StorageFull.into());
            }
        }
        state.made(Call::Write(offset, data.to_vec()));
        Ok(())
    }
}

impl Medium for Disk {
    type Backend = Self;

    fn open(&self) -> Result<Self> {
        Ok(self.clone())
    }
}
