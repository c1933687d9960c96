//! One file beside an import: made late, grown line by line, cut back to a known length when an import goes on. Never overwrites what
//! it did not write, and knows nothing of rows.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::JournalError;

/// One file, made when the first line of it is written. Read by its owner alone: rejected rows have their hashes in them.
pub(super) struct SideFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    length: u64,
    is_dirty: bool,
}

impl SideFile {
    /// One that is not there yet.
    pub(super) fn begin(path: PathBuf) -> Result<Self, JournalError> {
        match path.try_exists() {
            Ok(true) => Err(JournalError::Exists(path)),
            Ok(false) => Ok(Self { path, file: None, length: 0, is_dirty: false }),
            Err(cause) => Err(JournalError::Io { path, cause }),
        }
    }

    /// As it was at this length; what was written after is cut off.
    pub(super) fn go_on(path: PathBuf, length: u64) -> Result<Self, JournalError> {
        let failed = |cause| JournalError::Io { path: path.clone(), cause };
        let there = path.try_exists().map_err(failed)?;
        if !there && length == 0 {
            return Ok(Self { path, file: None, length, is_dirty: false });
        }
        if !there {
            return Err(JournalError::Cut(path));
        }
        let mut file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < length {
            return Err(JournalError::Cut(path));
        }
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path, file: Some(BufWriter::new(file)), length, is_dirty: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// In bytes, what was not written out yet included.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| JournalError::Io { path, cause }
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
                let made = made.map_err(failed(&self.path))?;
                // Its name has to outlive a power failure too: the checkpoint will speak of it.
                let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
                synced.map_err(failed(&self.path))?;
                self.file.insert(BufWriter::new(made))
            }
        };
        file.write_all(bytes).map_err(failed(&self.path))?;
        self.length += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), JournalError> {
        self.append(text.as_bytes())?;
        self.append(b"\n")
    }

    /// Has everything on disk.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        let Some(file) = self.file.as_mut().filter(|_| self.is_dirty) else { return Ok(()) };
        let synced = file.flush().and_then(|()| file.get_ref().sync_data());
        synced.map_err(|cause| JournalError::Io { path: self.path.clone(), cause })?;
        self.is_dirty = false;
        Ok(())
    }
}
