//! `[store] encryption`, `[password] pepper` and `[password] prehash`: named keys. What is read here is shown nowhere, not even how long it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use zeroize::Zeroizing;

use super::{Resolver, secret};
use crate::config::document::join;
use crate::config::raw::{RawEncryption, RawPepper, RawSecret, Table};
use crate::keys::{KEY_BYTES, KeyId, NamedKey};
use crate::password::Peppers;
use crate::password::formats::PrehashKeys;
use crate::store::SealingKeys;

/// The word for no key: it can name none.
const NONE: &str = "none";

const NEW_KEY: &str = "make one with `openssl rand -base64 32`";

pub(super) fn sealing(raw: Option<RawEncryption>, resolver: &mut Resolver<'_>) -> Option<Arc<SealingKeys>> {
    let raw = raw?;
    let keys = named_keys("store.encryption.keys", raw.keys, resolver);
    let seal_with = chosen("store.encryption.seal_with", raw.seal_with.as_deref(), &keys, resolver);
    match SealingKeys::new(&keys, seal_with.as_ref()) {
        Ok(keys) => Some(Arc::new(keys)),
        Err(error) => {
            resolver.problem("store.encryption", error.to_string(), "");
            None
        }
    }
}

pub(super) fn peppers(raw: Option<RawPepper>, resolver: &mut Resolver<'_>) -> Peppers {
    let Some(raw) = raw else { return Peppers::default() };
    let keys = named_keys("password.pepper.keys", raw.keys, resolver);
    let hash_with = chosen("password.pepper.hash_with", raw.hash_with.as_deref(), &keys, resolver);
    Peppers::new(keys, hash_with.as_ref()).unwrap_or_else(|error| {
        resolver.problem("password.pepper", error.to_string(), "");
        Peppers::default()
    })
}

/// The keys of other software are texts of any length, and may be what they like.
pub(super) fn prehash(raw: Table<RawSecret>, resolver: &mut Resolver<'_>) -> PrehashKeys {
    let mut keys = BTreeMap::new();
    for (name, raw) in raw.0 {
        let at = join("password.prehash", &name);
        if !PrehashKeys::is_name(&name) {
            resolver.problem(&at, "this cannot name a key", "1 to 32 lower-case letters, digits, `-` or `_`");
        }
        if let Some(key) = secret::bytes(&at, raw, resolver) {
            keys.insert(name, key);
        }
    }
    PrehashKeys::new(keys)
}

fn named_keys(table: &str, raw: Table<RawSecret>, resolver: &mut Resolver<'_>) -> Vec<NamedKey> {
    let mut keys: Vec<NamedKey> = Vec::new();
    for (name, raw) in raw.0 {
        let at = join(table, &name);
        let id = name.parse::<KeyId>().ok().filter(|_| name != NONE);
        let read = secret::bytes(&at, raw, resolver).and_then(|text| key(&at, &text, resolver));
        let Some(id) = id else {
            resolver.problem(&at, "this cannot name a key", "1 to 8 letters, digits, `-` or `_`, and not `none`");
            continue;
        };
        let Some(read) = read else { continue };
        let new = NamedKey::new(id, read);
        if let Some(same) = keys.iter().find(|other| other.expose() == new.expose()) {
            let message = format!(
                "this is the key `{}` under another name: changing from one to the other changes nothing",
                same.id()
            );
            resolver.problem(&at, message, NEW_KEY);
        }
        keys.push(new);
    }
    keys
}

fn key(at: &str, text: &[u8], resolver: &mut Resolver<'_>) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    // Room for whatever is a little too long; of more, decoding says no as well.
    let mut decoded = Zeroizing::new([0; KEY_BYTES + 4]);
    let length = B64.decode_slice(text.trim_ascii(), decoded.as_mut_slice()).ok();
    let bytes = length.filter(|length| *length == KEY_BYTES).and_then(|length| decoded.get(..length));
    let Some(bytes) = bytes else {
        resolver.problem(at, "this is no key: 32 random bytes in base64", NEW_KEY);
        return None;
    };
    if bytes.windows(2).all(|two| two.first() == two.last()) {
        resolver.problem(at, "this key is one byte over and over", NEW_KEY);
        return None;
    }
    key.copy_from_slice(bytes);
    Some(key)
}

/// The key that is used from now on. A name that is none of the keys' is a problem, unless that key itself is one already.
fn chosen(at: &str, name: Option<&str>, keys: &[NamedKey], resolver: &mut Resolver<'_>) -> Option<KeyId> {
    match name {
        None => {
            resolver.problem(at, "this names no key", "write the name of one of the keys, or `none`");
            None
        }
        Some(NONE) => None,
        Some(name) => {
            let found = keys.iter().map(NamedKey::id).find(|id| id.as_str() == name).cloned();
            if found.is_none() {
                resolver.problem(at, "none of the keys has this name", "write the name of one of the keys, or `none`");
            }
            found
        }
    }
}
