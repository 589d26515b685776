//! The log in a file: where it ends, how it is opened, and the note of its last line that is kept beside it.
//!
//! A process that is killed, or a machine that loses its power, may leave the beginning of a line. The next one ends it with a line feed
//! and says so, in a line of its own that the chain speaks for. The note (`FILE.state`) names the last line that was written: without it
//! nobody could tell a file that was cut off at its end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

use crate::audit::backwards::Backwards;
use crate::audit::chain::{Chain, ChainKey, LINE_BYTES_MAX, Link, Sealed, recompute, shown, value};
use crate::audit::event::Torn;

/// How many lines without a chain are looked past for one that has it.
const LINES_PAST_MAX: usize = 64;
const BLOCK_BYTES: usize = 64 * 1024;
/// The note is written over in place, so it always has this many bytes.
const NOTE_BYTES: usize = 192;

/// Opens the file to append to it, and makes it where it is not there.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        // A pipe without a reader could not be opened, and one whose reader goes away would take what is in it along.
        return options.read(true).write(true).open(path);
    }
    options.append(true).read(true).create(true).mode(0o640);
    match options.open(path) {
        // To write is enough where the file may not be read: its end is then not looked at.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    }
}

/// Which file it is, whatever it is called by now; `None` for what is none.
pub fn identity(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| (found.dev(), found.ino()))
}

/// How a file ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The last line that has a chain.
    pub last: Option<Link>,
    /// What stands behind the last line feed and is no line.
    pub torn: Option<Torn>,
    /// Whether a line feed is missing, behind a torn line or a whole one.
    pub open: bool,
    /// Where the next line will stand, behind the line feed that is missing.
    pub offset: u64,
}

impl Ending {
    pub fn of(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut ending = Self { offset: length, ..Self::default() };
        let mut lines = Backwards::new(file, length);
        let mut past = 0;
        while let Some(range) = lines.line()? {
            let at_end = range.end == length;
            let line = if range.end - range.start <= LINE_BYTES_MAX as u64 {
                let mut line = vec![0; (range.end - range.start) as usize];
                file.read_exact_at(&mut line, range.start)?;
                Some(line)
            } else {
                None
            };
            if at_end && range.end > range.start {
                ending.open = true;
                ending.offset = length + 1;
            }
            if let Some(sealed) = line.as_deref().and_then(Sealed::parse) {
                ending.last = Some(sealed.link());
                return Ok(ending);
            }
            if at_end && range.end > range.start {
                ending.torn = Some(Torn { bytes: range.end - range.start, sha256: digest_of(file, range.start, range.end)? });
            }
            past += 1;
            if past > LINES_PAST_MAX {
                break;
            }
        }
        Ok(ending)
    }
}

/// As `chain::fingerprint`, of what may be too long to be held.
fn digest_of(file: &File, mut from: u64, to: u64) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut block = vec![0; BLOCK_BYTES];
    while from < to {
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        file.read_exact_at(&mut block[..length], from)?;
        context.update(&block[..length]);
        from += length as u64;
    }
    Ok(HEXLOWER.encode(&context.finish().as_ref()[..16]))
}

/// Where the note of a file is.
pub fn note_path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".state");
    name.into()
}

/// The note of the last line, sealed as a line is.
pub struct Note {
    file: File,
    input: Vec<u8>,
}

impl Note {
    pub fn open(log: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(note_path(log))?;
        Ok(Self { file, input: Vec::new() })
    }

    pub fn write(&mut self, last: &Link, key: Option<&ChainKey>) -> io::Result<()> {
        self.input.clear();
        let mut seal = Chain::new(last.gate.clone(), key.cloned());
        seal.go_back(Link { seq: last.seq - 1, ..last.clone() });
        seal.seal(format!("{{\"last\":\"{}\"", shown(&last.value)).as_bytes(), &mut self.input);
        self.input.resize(NOTE_BYTES - 1, b' ');
        self.input.push(b'\n');
        self.file.write_all_at(&self.input, 0)
    }
}

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
pub enum Noted {
    /// There is none.
    Nothing,
    Last(Link),
    /// It is not as a gate with this key writes it.
    Wrong,
}

/// Reads the note beside a log, with any of the keys.
pub fn read_note(path: &Path, keys: &[ChainKey]) -> io::Result<Noted> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Noted::Nothing),
        read => read?,
    };
    let Some(sealed) = Sealed::parse(text.trim_ascii_end()) else { return Ok(Noted::Wrong) };
    let last = sealed.body.strip_prefix(br#"{"last":""#).and_then(|rest| rest.strip_suffix(b"\""));
    let Some(value) = last.and_then(|last| std::str::from_utf8(last).ok()).and_then(value) else {
        return Ok(Noted::Wrong);
    };
    let mut scratch = Vec::new();
    let keys = keys.iter().map(Some).chain(keys.is_empty().then_some(None));
    for key in keys {
        if recompute(key, &value, sealed.covered, &mut scratch) == sealed.value {
            return Ok(Noted::Last(Link { value, ..sealed.link() }));
        }
    }
    Ok(Noted::Wrong)
}

/// Which line the first of a new process comes behind: the one that the note names, unless the file has more of the same gate.
pub fn predecessor(file: Option<Link>, noted: Option<Link>) -> Option<Link> {
    match (file, noted) {
        (Some(file), Some(noted)) if file.gate == noted.gate && file.seq >= noted.seq => Some(file),
        (_, Some(noted)) => Some(noted),
        (file, None) => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(count: usize) -> (Vec<u8>, Link) {
        let mut chain = Chain::new("0a1b2c3d4e5f".into(), None);
        let mut out = Vec::new();
        (0..count).for_each(|at| chain.seal(format!("{{\"a\":{at}").as_bytes(), &mut out));
        (out, chain.last().clone())
    }

    fn ending(bytes: &[u8]) -> Ending {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.log");
        std::fs::write(&path, bytes).expect("a file");
        Ending::of(&open(&path).expect("it opens")).expect("it is read")
    }

    #[test]
    fn the_end_of_a_file_is_seen_for_what_it_is() {
        let (whole, last) = sealed(3);
        let length = whole.len() as u64;
        let behind = |torn, open, offset| Ending { last: Some(last.clone()), torn, open, offset };
        assert_eq!(ending(b""), Ending::default());
        assert_eq!(ending(&whole), behind(None, false, length));
        // All of a line but its line feed.
        assert_eq!(ending(&whole[..whole.len() - 1]), behind(None, true, length));
        for fragment in [&b"{\"time"[..], &[0; 200_000], b"x"] {
            let offset = length + fragment.len() as u64 + 1;
            assert_eq!(ending(&[&whole, fragment].concat()), behind(Torn::of(fragment), true, offset));
        }
        // Something else wrote into it.
        assert_eq!(ending(&[&whole, &b"hello\n"[..]].concat()), behind(None, false, length + 6));
        // It was written before there was a chain.
        assert_eq!(ending(b"{}\n{}\n"), Ending { offset: 6, ..Ending::default() });
        assert_eq!(ending(b"{}\n{\"a"), Ending { torn: Torn::of(b"{\"a"), open: true, offset: 7, last: None });
    }

    #[test]
    fn a_note_is_read_with_its_key_and_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("audit.log");
        let path = note_path(&log);
        assert_eq!(read_note(&path, &[]).expect("no file"), Noted::Nothing);
        let (_, last) = sealed(3);
        let keys = [ChainKey::new(b"one"), ChainKey::new(b"two")];
        for key in [None, Some(&keys[0])] {
            let mut note = Note::open(&log).expect("it opens");
            note.write(&Link { seq: 123_456, ..last.clone() }, key).expect("it is written");
            note.write(&last, key).expect("it is written");
            let own: Vec<ChainKey> = key.cloned().into_iter().collect();
            assert_eq!(read_note(&path, &own).expect("it is read"), Noted::Last(last.clone()));
            let other = if key.is_some() { &keys[1..] } else { &keys[..] };
            assert_eq!(read_note(&path, other).expect("it is read"), Noted::Wrong);
        }
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!(text.len(), NOTE_BYTES);
        std::fs::write(&path, text.replace("\"seq\":3", "\"seq\":2")).expect("it is written");
        assert_eq!(read_note(&path, &keys).expect("it is read"), Noted::Wrong, "an older line is not the last one");
    }

    #[test]
    fn a_new_process_comes_behind_the_last_line_that_anybody_knows_of() {
        let link = |gate: &str, seq| Some(Link { gate: gate.into(), seq, value: [b'0'; 32] });
        for (file, noted, expected) in [
            (None, None, None),
            (link("a", 5), None, link("a", 5)),
            // The file was moved away while no gate ran.
            (None, link("a", 5), link("a", 5)),
            (link("a", 6), link("a", 5), link("a", 6)),
            // The file was cut off.
            (link("a", 4), link("a", 5), link("a", 5)),
            (link("a", 9), link("b", 5), link("b", 5)),
        ] {
            assert_eq!(predecessor(file.clone(), noted.clone()), expected, "{file:?} {noted:?}");
        }
    }
}
