//! The keys of a batch, sorted, so that tables are walked in their own order; and which rows share one. Called by [`super`].

use super::super::schema::IdBytes;
use super::ready::At;
use crate::domain::import::own_id;

/// A name or a legacy id.
pub(super) struct Key<'a> {
    /// Its first 16 bytes as a number: most comparisons need no more, and need not go where the text lies.
    prefix: u128,
    pub(super) text: &'a str,
    /// Whose.
    pub(super) row: u32,
}

/// All keys of a batch, each kind in its order.
pub(super) struct Keys<'a> {
    pub(super) names: Vec<Key<'a>>,
    pub(super) legacy_ids: Vec<Key<'a>>,
    /// Ids of ours, and legacy ids that read like one.
    pub(super) ids: Vec<(IdBytes, u32)>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(rows: &[At<'a>]) -> Self {
        let mut names = Vec::with_capacity(rows.len() + rows.len() / 2);
        let mut legacy_ids = Vec::with_capacity(rows.len());
        let mut ids = Vec::new();
        for (number, row) in (0..).zip(rows) {
            names.extend(row.names().map(|name| Key::of(name, number)));
            ids.extend(row.given().map(|id| (id, number)));
            if let Some(id) = row.legacy_id() {
                legacy_ids.push(Key::of(id, number));
                // It would be this user's public id, and may be another's already.
                ids.extend(own_id(id).map(|id| (id.0.into_bytes(), number)));
            }
        }
        sort(&mut names);
        sort(&mut legacy_ids);
        ids.sort_unstable();
        Self { names, legacy_ids, ids }
    }

    /// Marks the rows that share a key with another.
    pub(super) fn entangle(&self, entangled: &mut [bool]) {
        for keys in [&self.names, &self.legacy_ids] {
            entangle(entangled, keys.iter().map(|key| ((key.prefix, key.text), key.row)));
        }
        entangle(entangled, self.ids.iter().copied());
    }
}

impl<'a> Key<'a> {
    fn of(text: &'a str, row: u32) -> Self {
        let mut prefix = [0; 16];
        let known = text.len().min(prefix.len());
        if let (Some(into), Some(from)) = (prefix.get_mut(..known), text.as_bytes().get(..known)) {
            into.copy_from_slice(from);
        }
        Self { prefix: u128::from_be_bytes(prefix), text, row }
    }
}

fn sort(keys: &mut [Key<'_>]) {
    // What is shorter than the prefix is filled up with zeros, which come first: the prefix never says otherwise than the text.
    keys.sort_unstable_by(|one, other| {
        one.prefix.cmp(&other.prefix).then_with(|| one.text.cmp(other.text)).then(one.row.cmp(&other.row))
    });
}

/// Marks the rows of neighbours with equal keys, of a sorted list.
pub(super) fn entangle<K: PartialEq>(entangled: &mut [bool], keys: impl Iterator<Item = (K, u32)>) {
    let mut before: Option<(K, u32)> = None;
    for (key, row) in keys {
        if let Some((same, other)) = &before
            && *same == key
            && *other != row
        {
            for row in [*other, row] {
                if let Some(entangled) = entangled.get_mut(row as usize) {
                    *entangled = true;
                }
            }
        }
        before = Some((key, row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_texts_do_and_equal_ones_are_told() {
        let texts = ["e:a", "e:a\u{0}", "e:aaaaaaaaaaaaaab", "e:aaaaaaaaaaaaaa", "u:", "e:a", "é", "e:aaaaaaaaaaaaaaa"];
        let mut keys: Vec<Key<'_>> = (0..).zip(texts).map(|(row, text)| Key::of(text, row)).collect();
        sort(&mut keys);
        let mut expected = texts;
        expected.sort_unstable();
        assert_eq!(keys.iter().map(|key| key.text).collect::<Vec<_>>(), expected);
        let all = Keys { names: keys, legacy_ids: Vec::new(), ids: vec![([1; 16], 2), ([1; 16], 2), ([1; 16], 6)] };
        let mut entangled = [false; 8];
        all.entangle(&mut entangled);
        assert_eq!(entangled, [true, false, true, false, false, true, true, false]);
    }
}
