//! The local file as a file: whether a process holds it, and how another takes its place.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;

/// Whether a process has the store at `path` open; not where there is no file.
pub fn held(path: &Path) -> io::Result<bool> {
    Ok(matches!(lock(path)?, Lock::Held))
}

/// What came of trying to have a file for oneself.
pub enum Lock {
    /// There is no file.
    Absent,
    /// Another process has it.
    Held,
    /// Until this is dropped nobody opens it.
    Ours(File),
}

/// Takes the lock that an open store has on its file.
pub fn lock(path: &Path) -> io::Result<Lock> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lock::Absent),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock::Ours(file)),
        Err(TryLockError::WouldBlock) => Ok(Lock::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A file on its way to its place, in the same directory; removed again unless it gets there.
pub struct Draft {
    path: PathBuf,
    placed: bool,
}

impl Draft {
    /// A name beside `place` that nobody has, and no file yet.
    pub fn beside(place: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let name = place.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "that names no file"))?;
        let mut draft = name.to_owned();
        draft.push(format!(".{}", HEXLOWER.encode(&random)));
        Ok(Self { path: place.with_file_name(draft), placed: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it a copy of `from`, for its owner only.
    pub fn copy_of(&self, from: &Path) -> io::Result<()> {
        let mut from = File::open(from)?;
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        io::copy(&mut from, &mut copy)?;
        copy.sync_all()
    }

    /// Moves it to `place`, over what is there, and waits until the disk has it.
    pub fn put(mut self, place: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, place)?;
        self.placed = true;
        sync_directory(place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            // What stays behind is named so that it is seen to be of no use.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory that `path` is to be in, for its owner only.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory_of(path))
}

/// Waits until the disk knows of the file in its directory.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
