//! The store as a whole: a backup of it, a backup in its place, everything of it into another.
//!
//! These read everything, and no request ever waits for them: a running gate with the embedded store hands out one state of it through
//! its socket while it goes on writing; Redis is asked by the command itself. Sealed bytes stay sealed, so the encryption key is never part
//! of a backup.

use std::any::Any;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::admin::door::{hand_over, running};
use crate::admin::error::{AdminError, Code};
use crate::admin::remote::Remote;
use crate::store::copy::{Copied, CopyError, Existing, copy, each};
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::file::{Draft, Lock, directory_of, held, lock, make_directory};
use crate::store::export::{Pages, PortableStore, Tally};
use crate::store::{self, Backend, Settings, Store, StoreError};

/// The longest that one exchange with Redis may take here, where nobody's request waits for it.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a backup holds.
#[derive(Clone, Debug, Serialize)]
pub struct BackedUp {
    pub file: String,
    pub bytes: u64,
    pub holds: Tally,
    /// Things in the store that this build does not know, and that the backup has not.
    pub unknown: u64,
}

/// What a restored store holds.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    pub store: String,
    pub holds: Tally,
    /// What it held before; `None` where that cannot be said, because it was damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_before: Option<Tally>,
}

/// A copy, and how it came about.
#[derive(Clone, Debug, Serialize)]
pub struct CopiedStore {
    pub from: String,
    pub to: String,
    /// Whether a gate ran on the source meanwhile, so that what it wrote after the beginning may be missing. Of Redis nobody knows.
    pub gate_was_running: Option<bool>,
    #[serde(flatten)]
    pub copied: Copied,
}

/// Where a store's entries come from.
enum Source {
    Gate(Remote),
    Here(Arc<dyn Store>),
}

impl Source {
    /// The gate that answers on `socket` where the store is its file; otherwise the store itself, which must be there.
    async fn open(socket: &Path, settings: &Settings) -> Result<Self, AdminError> {
        if let Backend::Embedded { path } = &settings.backend {
            if let Some(gate) = running(socket).await? {
                return Ok(Self::Gate(gate));
            }
            if !path.exists() {
                let message = format!("there is no store at `{}`; name the config of the gate with --config", path.display());
                return Err(AdminError::new(Code::StoreUnfit, message));
            }
        }
        Ok(Self::Here(store::open(&patient(settings)).await?))
    }

    async fn export(&self, pages: Pages) -> Result<u64, AdminError> {
        match self {
            Self::Gate(gate) => gate.export(pages).await,
            Self::Here(store) => Ok(store.export(pages).await?),
        }
    }
}

/// Writes everything that the embedded store holds into a new store at `file`. `progress` is told the number of entries so far.
pub async fn backup(socket: &Path, settings: &Settings, file: &Path, mut progress: impl FnMut(u64)) -> Result<BackedUp, AdminError> {
    embedded_path(settings, "Redis is backed up by its own means (`appendonly yes`, its RDB file)")?;
    let cannot = |error: io::Error| file_error(file, &format!("cannot be written: {error}"));
    if fs::symlink_metadata(file).is_ok() {
        return Err(file_error(file, "is there already; name another, or move it away"));
    }
    if !directory_of(file).is_dir() {
        return Err(file_error(file, "has no directory to be in; make that first"));
    }
    let source = Source::open(socket, settings).await?;
    let draft = Draft::beside(file).map_err(cannot)?;
    let target = EmbeddedStore::open(draft.path())?;
    let mut holds = Tally::default();
    let unknown = each(&async |pages| source.export(pages).await, async |page| {
        page.iter().for_each(|entry| holds.add(entry.what()));
        target.import(page).await?;
        progress(holds.total());
        Ok::<_, AdminError>(())
    })
    .await?;
    drop(target);
    draft.put(file).map_err(cannot)?;
    let bytes = fs::metadata(file).map_err(cannot)?.len();
    Ok(BackedUp { file: file.display().to_string(), bytes, holds, unknown })
}

/// Puts a backup in the place of the embedded store, which no gate may hold.
pub async fn restore(socket: &Path, settings: &Settings, file: &Path, replace: bool) -> Result<Restored, AdminError> {
    let path = embedded_path(settings, "a backup is of an embedded store; `scopegate store copy` moves one into Redis")?;
    if same_file(file, path) {
        return Err(file_error(file, "is the store itself; name the backup"));
    }
    let in_use = || {
        let message = format!("store `{}` is held by a running gate; stop it first, or it would go on with the old one", path.display());
        AdminError::new(Code::StoreInUse, message)
    };
    let cannot_put = |error: io::Error| {
        AdminError::new(Code::Store, format!("the backup cannot be put in the place of store `{}`: {error}", path.display()))
    };
    if running(socket).await?.is_some() || held(path).map_err(cannot_put)? {
        return Err(in_use());
    }
    // Judged in a copy: opening writes, and a backup on a medium that cannot be written is a good one.
    let draft = draft_of(file, path)?;
    let holds = judge(file, draft.path()).await?;
    let before = fs::metadata(path).ok();
    let (guard, held_before) = occupy(path, replace).await?;
    // The gate's user may be another than the one who restores.
    if let Some(before) = before
        && fs::metadata(draft.path()).is_ok_and(|made| (made.uid(), made.gid()) != (before.uid(), before.gid()))
    {
        chown(draft.path(), Some(before.uid()), Some(before.gid())).map_err(cannot_put)?;
    }
    draft.put(path).map_err(cannot_put)?;
    drop(guard);
    hand_over(path)?;
    Ok(Restored { store: path.display().to_string(), holds, held_before })
}

/// A copy of the backup `file` beside `path`.
fn draft_of(file: &Path, path: &Path) -> Result<Draft, AdminError> {
    if held(file).map_err(|error| file_error(file, &format!("cannot be read: {error}; check the path and its owner")))? {
        return Err(file_error(file, "is the store of a running gate; make a backup of it with `scopegate store backup`"));
    }
    let cannot = |error: io::Error| file_error(file, &format!("cannot be copied to the directory of the store: {error}"));
    make_directory(path).map_err(cannot)?;
    let draft = Draft::beside(path).map_err(cannot)?;
    draft.copy_of(file).map_err(cannot)?;
    Ok(draft)
}

/// Reads everything in the copy of a backup as strictly as a request would.
async fn judge(file: &Path, copy: &Path) -> Result<Tally, AdminError> {
    // The copy's name means nothing to anybody.
    let unsound = |why: String| {
        let why = why.replace(&copy.display().to_string(), &file.display().to_string());
        AdminError::new(Code::BackupFile, format!("`{}` is not restored: {why}", file.display()))
    };
    if fs::metadata(copy).is_ok_and(|found| found.len() == 0) {
        return Err(unsound("it is empty".to_owned()));
    }
    let store = EmbeddedStore::open(copy).map_err(|error| unsound(error.0))?;
    let mut holds = Tally::default();
    let unknown = each(&async |pages| store.export(pages).await, async |page| {
        for entry in &page {
            entry.check()?;
            holds.add(entry.what());
        }
        Ok::<_, StoreError>(())
    })
    .await
    .map_err(|error| unsound(error.0))?;
    if unknown > 0 {
        return Err(unsound(format!("it has {unknown} things that this build does not know; restore it with the build that made it")));
    }
    Ok(holds)
}

/// What keeps everybody out of a store's file for as long as it is there.
type Guard = Box<dyn Any + Send>;

/// Keeps everybody out of the store at `path` until what is given is dropped; refuses one that holds something, unless `replace`.
async fn occupy(path: &Path, replace: bool) -> Result<(Guard, Option<Tally>), AdminError> {
    let refuse = |message: String| Err(AdminError::new(Code::StoreNotEmpty, message));
    match EmbeddedStore::open(path) {
        Ok(store) => {
            let mut before = Tally::default();
            each(&async |pages| store.export(pages).await, async |page| {
                page.iter().for_each(|entry| before.add(entry.what()));
                Ok::<_, StoreError>(())
            })
            .await?;
            if before.total() > 0 && !replace {
                return refuse(format!("store `{}` holds {}; --replace does away with them", path.display(), before.told()));
            }
            Ok((Box::new(store), Some(before)))
        }
        Err(error) if !replace => refuse(format!("{error}; --replace puts the backup in its place")),
        // Damaged, which may be why there is something to restore.
        Err(error) => match lock(path) {
            Ok(lock @ (Lock::Ours(_) | Lock::Absent)) => Ok((Box::new(lock), None)),
            Ok(Lock::Held) | Err(_) => Err(error.into()),
        },
    }
}

/// Copies everything into the store of another configuration.
pub async fn copy_to(
    socket: &Path,
    settings: &Settings,
    target: &Settings,
    existing: Existing,
    progress: impl FnMut(u64),
) -> Result<CopiedStore, AdminError> {
    let (from, to) = (named(settings), named(target));
    let same = match (&settings.backend, &target.backend) {
        (Backend::Embedded { path: one }, Backend::Embedded { path: other }) => same_file(one, other),
        (Backend::Redis { servers: one, prefix }, Backend::Redis { servers: other, prefix: below }) => {
            one.topology == other.topology && prefix == below
        }
        (Backend::Embedded { .. }, Backend::Redis { .. }) | (Backend::Redis { .. }, Backend::Embedded { .. }) => false,
    };
    if same {
        return Err(AdminError::new(Code::StoreUnfit, format!("both configs name the same store, {to}; name another config with --to")));
    }
    let source = Source::open(socket, settings).await?;
    let made_now = match &target.backend {
        Backend::Embedded { path } if !path.exists() => Some(path),
        Backend::Embedded { .. } | Backend::Redis { .. } => None,
    };
    let opened = store::open(&patient(target))
        .await
        .map_err(|error| AdminError::new(Code::Store, format!("the target cannot be opened: {error}")))?;
    let copied = copy(async |pages| source.export(pages).await, &*opened, existing, progress).await;
    drop(opened);
    made_now.map_or(Ok(()), |path| hand_over(path))?;
    let gate_was_running = match (&source, &settings.backend) {
        (Source::Gate(_), _) => Some(true),
        (Source::Here(_), Backend::Embedded { .. }) => Some(false),
        (Source::Here(_), Backend::Redis { .. }) => None,
    };
    let copied = copied.map_err(|error| match error {
        CopyError::Source(error) => error,
        CopyError::Target(error) => AdminError::new(Code::Store, format!("{to}: {error}; what was copied stays, run the command again")),
        CopyError::Occupied { only_there, otherwise } => occupied(&to, existing, &only_there, &otherwise),
        CopyError::Changing(name) => AdminError::new(
            Code::StoreInUse,
            format!("{name} changed while it was copied; stop the gates on {from}, then run the command again with --replace"),
        ),
    })?;
    Ok(CopiedStore { from, to, gate_was_running, copied })
}

fn occupied(to: &str, existing: Existing, only_there: &Tally, otherwise: &Tally) -> AdminError {
    let mut parts = Vec::new();
    if only_there.total() > 0 && existing == Existing::Refuse {
        parts.push(format!("{} that the source has not", only_there.told()));
    }
    if otherwise.total() > 0 {
        parts.push(format!("{} otherwise than the source", otherwise.told()));
    }
    let remedy = match otherwise.total() {
        0 => "--merge leaves them there, --replace removes them",
        _ => "--replace makes it what the source is, and undoes whatever was issued, spent or revoked there",
    };
    let message = format!("{to} is not empty: it has {}; nothing was copied. Name an empty one, or: {remedy}", parts.join(", and "));
    AdminError::new(Code::StoreNotEmpty, message)
}

/// For errors and reports: never the address of a Redis, which may hold a password.
fn named(settings: &Settings) -> String {
    match &settings.backend {
        Backend::Embedded { path } => format!("the embedded store `{}`", path.display()),
        Backend::Redis { prefix, .. } => format!("Redis below `{prefix}:`"),
    }
}

fn patient(settings: &Settings) -> Settings {
    Settings { lookup_timeout: settings.lookup_timeout.max(EXCHANGE_TIME_MAX), ..settings.clone() }
}

fn embedded_path<'s>(settings: &'s Settings, otherwise: &str) -> Result<&'s Path, AdminError> {
    match &settings.backend {
        Backend::Embedded { path } => Ok(path),
        Backend::Redis { .. } => Err(AdminError::new(Code::StoreUnfit, format!("the configured store is Redis: {otherwise}"))),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn file_error(file: &Path, what: &str) -> AdminError {
    AdminError::new(Code::BackupFile, format!("`{}` {what}", file.display()))
}
