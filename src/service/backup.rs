//! What an operator is told of a backup that is made while the store serves. Plain values: the store makes them, the admin API
//! hands them on, the command line reads them.

use std::fmt;

/// The longest name of a backup, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// The name of a backup: of a file in the folder that the configuration names, and never of one elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupName(String);

/// A name that could lead elsewhere, or that a shell would stumble over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a backup's name is up to {MAX_NAME_BYTES} letters, digits, dots, hyphens and underscores, and begins with a letter or a digit"
)]
pub struct BadBackupName;

impl BackupName {
    /// Takes a name that is one.
    pub fn parse(name: &str) -> Result<Self, BadBackupName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && name.len() <= MAX_NAME_BYTES && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadBackupName)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupStep {
    /// Rows are copied.
    Copying,
    /// What was written is read back and compared.
    Verifying,
    /// The file is there, whole and on disk.
    Done,
    /// There is no file.
    Failed,
}

/// The backup that was started last.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupView {
    /// The file that it makes, or made.
    pub file: String,
    /// How far it is.
    pub step: BackupStep,
    /// Rows that were copied or compared.
    pub rows: u64,
    /// Rows that there are to copy and to compare.
    pub rows_total: u64,
    /// The file's length in bytes, once it is done.
    pub bytes: Option<u64>,
    /// Users in it, tombstones left out, once it is done.
    pub users: Option<u64>,
    /// Why it failed.
    pub problem: Option<String>,
}

/// What became of the wish for a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupStart {
    /// It is being made.
    Started(BackupView),
    /// Another one is being made.
    Busy(BackupView),
    /// There is a file of this name, and no backup overwrites one.
    Exists(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_backup_never_leads_out_of_its_folder() {
        for name in ["users-2026-11-23.backup", "a", "1", "A_b.c-D", &"a".repeat(100)] {
            assert_eq!(BackupName::parse(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
        let refused = ["", ".", "..", ".hidden", "-rf", "a/b", "../a", "/etc/passwd", "a\\b", "a b", "a\0", "ü", "a\n"];
        for name in refused.into_iter().map(str::to_owned).chain(["a".repeat(101)]) {
            assert_eq!(BackupName::parse(&name), Err(BadBackupName), "{name:?}");
        }
    }
}
