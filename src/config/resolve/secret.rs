//! Secrets: read once at start from a file, a variable, a systemd credential or, with a warning, from the file itself.
//! Nothing here tells what it read.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Resolver;
use crate::config::document::join;
use crate::config::raw::RawSecret;

/// The largest secret that is read, in bytes: a chain of PEM keys is far smaller.
const MAX_SECRET_BYTES: u64 = 64 * 1_024;

/// A secret as bytes.
pub(super) fn bytes(key: &str, raw: RawSecret, resolver: &mut Resolver<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let RawSecret { file, env, credential, value } = raw;
    let secret = match (file, env, credential, value) {
        (Some(file), None, None, None) => from_file(&join(key, "file"), Path::new(&file), resolver),
        (None, Some(name), None, None) => from_variable(&join(key, "env"), &name, resolver),
        (None, None, Some(name), None) => from_credential(&join(key, "credential"), &name, resolver),
        (None, None, None, Some(value)) => {
            let message = "this secret stands in the file itself, for everyone who can read it";
            resolver.warning(&join(key, "value"), message, "use `file`, `env` or `credential` instead of `value`");
            Some(Zeroizing::new(value.into_bytes()))
        }
        _ => {
            let help =
                "write one of `{ file = \"…\" }`, `{ env = \"…\" }`, `{ credential = \"…\" }`, `{ value = \"…\" }`";
            resolver.problem(key, "a secret comes from exactly one place", help);
            None
        }
    }?;
    if secret.is_empty() {
        resolver.problem(key, "this secret is empty", "");
        return None;
    }
    Some(secret)
}

/// A secret that has to be text.
pub(super) fn text(key: &str, raw: RawSecret, resolver: &mut Resolver<'_>) -> Option<Zeroizing<String>> {
    let bytes = bytes(key, raw, resolver)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Some(Zeroizing::new(text.to_owned())),
        Err(_) => {
            resolver.problem(key, "this secret is not UTF-8 text", "");
            None
        }
    }
}

fn from_file(key: &str, path: &Path, resolver: &mut Resolver<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let is_small = std::fs::metadata(path).map(|file| file.is_file() && file.len() <= MAX_SECRET_BYTES);
    let read = match is_small {
        Ok(true) => std::fs::read(path).map(Zeroizing::new),
        Ok(false) => {
            resolver.problem(key, format!("{} is no file of at most 64 KiB", path.display()), "");
            return None;
        }
        Err(error) => Err(error),
    };
    match read {
        Ok(mut secret) => {
            if secret.last() == Some(&b'\n') {
                secret.pop();
            }
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
            Some(secret)
        }
        Err(error) => {
            resolver.problem(key, format!("{} cannot be read: {error}", path.display()), "");
            None
        }
    }
}

fn from_variable(key: &str, name: &str, resolver: &mut Resolver<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let secret = resolver.environment.variable(name).map(|value| Zeroizing::new(value.as_bytes().to_vec()));
    if secret.is_none() {
        resolver.problem(key, format!("the environment variable {name} is not set"), "");
    }
    secret
}

fn from_credential(key: &str, name: &str, resolver: &mut Resolver<'_>) -> Option<Zeroizing<Vec<u8>>> {
    if name.contains('/') || name == ".." {
        resolver.problem(key, "a credential has a name, not a path", "");
        return None;
    }
    match resolver.environment.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from) {
        Some(directory) => from_file(key, &directory.join(name), resolver),
        None => {
            let help = "systemd sets it for units with `LoadCredential=`";
            resolver.problem(key, "the environment variable CREDENTIALS_DIRECTORY is not set", help);
            None
        }
    }
}
