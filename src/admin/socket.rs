//! The unix socket of administration: owned and reachable by one user from its first moment.
//!
//! It is made in a directory that nobody else may enter and then moved to its place, because the mode of a socket that is bound in the
//! open is the umask's until it is changed, and the umask belongs to the whole process.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use data_encoding::BASE32_NOPAD;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// How often a name for the directory is tried: each is one of a million.
const NAMES_TRIED: usize = 8;

/// A listener at `path`, with mode 0600. A socket that a gate left behind is replaced; one that answers is an error. Must be called on a
/// runtime.
pub fn bind(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    check_free(path)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| {
        format!("the directory of the admin socket `{shown}` cannot be made: {error}; check `admin.socket` and its owner")
    })?;
    let cannot = |error: io::Error| format!("the admin socket `{shown}` cannot be made: {error}; check `admin.socket` and its owner");
    let closed = closed_directory(directory).map_err(cannot)?;
    let made = closed.join("s");
    let bound = UnixListener::bind(&made).and_then(|listener| {
        fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        fs::rename(&made, path)?;
        Ok(listener)
    });
    // Whatever is left there is of no use; a directory that stays behind does no harm.
    drop(fs::remove_file(&made));
    drop(fs::remove_dir(&closed));
    bound.map_err(cannot)
}

/// Refuses a path where somebody answers, and one that is no socket.
fn check_free(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the admin socket `{shown}` cannot be looked at: {error}; check `admin.socket` and its owner")),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("`{shown}` is there and is no socket; name another path as `admin.socket`, or move it away"));
        }
        Ok(_) => {}
    }
    match answers(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("another gate answers on the admin socket `{shown}`; stop it, or name another path as `admin.socket`")),
        Err(error) => Err(format!("the admin socket `{shown}` cannot be tried: {error}; remove it if no gate is running")),
    }
}

/// Whether somebody listens there, without waiting for them.
fn answers(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(false),
        // Its queue is full: it is there, and busy or stopped.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

/// A new directory for this user alone, with a name so short that the socket's path stays within the 107 bytes that it may have.
fn closed_directory(parent: &Path) -> io::Result<PathBuf> {
    let mut tried = 0;
    loop {
        let mut random = [0; 3];
        rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let path = parent.join(format!(".{}", &BASE32_NOPAD.encode(&random)[..4]));
        tried += 1;
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tried < NAMES_TRIED => {}
            made => return made.map(|()| path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("run/admin.sock");
        let listener = bind(&path).expect("a free path");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let beside: Vec<_> = fs::read_dir(directory.path().join("run")).expect("made").map(|entry| entry.expect("read").path()).collect();
        assert_eq!(beside, std::slice::from_ref(&path));
        let (asked, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(asked.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_that_answers_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("admin.sock");
        drop(net::UnixListener::bind(&path).expect("a free path"));
        let listener = bind(&path).expect("nobody answers there");
        let error = bind(&path).expect_err("this process answers there");
        assert!(error.contains("another gate answers") && error.contains("admin.sock"), "{error}");
        drop(listener);
        bind(&path).expect("nobody answers any more");
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious").expect("the directory is ours");
        let error = bind(&path).expect_err("a file is there");
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
        let below = path.join("admin.sock");
        assert!(bind(&below).is_err(), "a file is no directory");
    }
}
