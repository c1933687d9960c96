//! The checksums of the blocks, in memory as far as they are wanted: each block of them covers a group of 512.
//!
//! Readers share a lock for the moment of looking a checksum up; whoever changes one has it alone. Blocks that were changed are
//! written before the next sync, and earlier where there is no more room for others: earlier does no harm, since nothing refers
//! to the pages yet whose checksums changed.

use std::collections::HashMap;
use std::io::{ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ::redb::StorageBackend;

use super::layout::{BLOCK, GROUP, Place, number, put, sums_of};

/// The checksums that are in memory.
pub(super) struct Sums {
    held: RwLock<Held>,
    /// As many blocks are held at most.
    limit: usize,
    /// How often a block was written to the file: one that was read before is not put in memory after.
    written_out: AtomicU64,
}

#[derive(Default)]
struct Held {
    slots: Vec<Slot>,
    of_group: HashMap<u64, usize>,
    /// Where the search for a block that nobody used lately goes on.
    hand: usize,
}

struct Slot {
    group: u64,
    bytes: Box<[u8; BLOCK]>,
    /// Not yet in the file.
    changed: AtomicBool,
    /// Wanted since the hand passed.
    used: AtomicBool,
}

/// The byte of the file where the checksums of a group begin.
pub(super) fn position(group: u64) -> u64 {
    sums_of(group) * BLOCK as u64
}

impl Sums {
    pub(super) fn new(limit: usize) -> Self {
        Self { held: RwLock::default(), limit: limit.max(1), written_out: AtomicU64::new(0) }
    }

    /// The checksum of one block of a group.
    pub(super) fn entry(&self, base: &impl StorageBackend, group: u64, index: usize) -> Result<u64> {
        loop {
            let seen = {
                let held = self.shared();
                if let Some(slot) = held.slot(group) {
                    slot.used.store(true, Ordering::Relaxed);
                    return Ok(number(slot.bytes.as_slice(), index * 8));
                }
                self.written_out.load(Ordering::Acquire)
            };
            let bytes = load(base, group)?;
            let entry = number(bytes.as_slice(), index * 8);
            let mut held = self.alone();
            if held.slot(group).is_some() || self.written_out.load(Ordering::Acquire) != seen {
                // Somebody changed or wrote checksums since we looked; what we read may be old.
                continue;
            }
            if let Some(place) = held.room(self.limit) {
                held.put(place, Slot::new(group, bytes));
            }
            return Ok(entry);
        }
    }

    /// Changes the checksums of blocks of a group, from `first` on.
    pub(super) fn set(&self, base: &impl StorageBackend, group: u64, first: usize, entries: &[u64]) -> Result<()> {
        let mut held = self.alone();
        let slot = self.slot_of(&mut held, base, group)?;
        for (index, entry) in (first..).zip(entries) {
            put(slot.bytes.as_mut_slice(), index * 8, &entry.to_le_bytes());
        }
        slot.changed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets the groups that lie behind a file of so many blocks.
    pub(super) fn cut(&self, blocks: u64) {
        let groups = blocks.saturating_sub(1).div_ceil(GROUP);
        let mut held = self.alone();
        held.slots.retain(|slot| slot.group < groups);
        held.of_group = held.slots.iter().enumerate().map(|(place, slot)| (slot.group, place)).collect();
        held.hand = 0;
    }

    /// Clears what the last group says of blocks that are about to be added.
    pub(super) fn grow(&self, base: &impl StorageBackend, from: u64, to: u64) -> Result<()> {
        if from <= 1 || from == to {
            return Ok(());
        }
        let Place { group, index, .. } = Place::of(from);
        if index == 0 {
            return Ok(());
        }
        let mut held = self.alone();
        let slot = self.slot_of(&mut held, base, group)?;
        let stale = slot.bytes.get_mut(index * 8..).unwrap_or_default();
        if stale.iter().any(|byte| *byte != 0) {
            stale.fill(0);
            slot.changed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes whatever was changed.
    pub(super) fn write_out(&self, base: &impl StorageBackend) -> Result<()> {
        // Shared is enough: who changes a checksum has the lock alone.
        for slot in &self.shared().slots {
            slot.write_out(base, &self.written_out)?;
        }
        Ok(())
    }

    /// The block of a group, brought to memory if need be.
    fn slot_of<'held>(&self, held: &'held mut Held, base: &impl StorageBackend, group: u64) -> Result<&'held mut Slot> {
        if held.slot(group).is_none() {
            let place = match held.room(self.limit) {
                Some(place) => place,
                None => {
                    // Everything here waits for the next sync. One of them need not.
                    let place = held.hand;
                    if let Some(slot) = held.slots.get(place) {
                        slot.write_out(base, &self.written_out)?;
                    }
                    place
                }
            };
            let bytes = load(base, group)?;
            held.put(place, Slot::new(group, bytes));
        }
        let place = held.of_group.get(&group).copied();
        let slot = place.and_then(|place| held.slots.get_mut(place)).ok_or(ErrorKind::Other)?;
        slot.used.store(true, Ordering::Relaxed);
        Ok(slot)
    }

    // A panic of another holder happened in the backend, before or after a change: each slot is whole.

    fn shared(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn slot(&self, group: u64) -> Option<&Slot> {
        self.slots.get(*self.of_group.get(&group)?)
    }

    /// A place for one more block: a new one, or that of a block that is in the file and was not wanted lately. None if all wait
    /// to be written.
    fn room(&mut self, limit: usize) -> Option<usize> {
        if self.slots.len() < limit {
            return Some(self.slots.len());
        }
        for _ in 0..2 * self.slots.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = self.slots.get(place)?;
            if !slot.changed.load(Ordering::Relaxed) && !slot.used.swap(false, Ordering::Relaxed) {
                return Some(place);
            }
        }
        None
    }

    fn put(&mut self, place: usize, slot: Slot) {
        self.of_group.insert(slot.group, place);
        match self.slots.get_mut(place) {
            Some(old) => {
                self.of_group.remove(&old.group);
                *old = slot;
            }
            None => self.slots.push(slot),
        }
    }
}

impl Slot {
    fn new(group: u64, bytes: Box<[u8; BLOCK]>) -> Self {
        Self { group, bytes, changed: AtomicBool::new(false), used: AtomicBool::new(true) }
    }

    fn write_out(&self, base: &impl StorageBackend, written_out: &AtomicU64) -> Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let written = base.write(position(self.group), self.bytes.as_slice());
        written_out.fetch_add(1, Ordering::Release);
        if written.is_err() {
            self.changed.store(true, Ordering::Relaxed);
        }
        written
    }
}

/// A group that the file is too short for has no blocks yet: all its checksums are those of blocks never written.
fn load(base: &impl StorageBackend, group: u64) -> Result<Box<[u8; BLOCK]>> {
    let mut bytes = Box::new([0; BLOCK]);
    base.read(position(group), bytes.as_mut_slice())?;
    Ok(bytes)
}
