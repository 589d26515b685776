//! The thread that writes: it alone knows the chain, the output and what is on its way between them.
//!
//! What cannot be written is kept and tried again, every `RETRY_INTERVAL`, from the very byte that was reached; meanwhile the queue fills,
//! and what happens then is `on_full`'s to say.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::audit::chain::{Chain, Link, Sealed};
use crate::audit::datagram::Datagrams;
use crate::audit::event::{Event, Start, Torn};
use crate::audit::file::{self, Ending, Note, Noted};
use crate::audit::queue::{Pause, Queue, Task};
use crate::audit::{Output, now};

/// How often it is tried again to write what could not be written.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// A datagram that is too long, asm-generic/errno.h.
const EMSGSIZE: i32 = 90;

/// Where the bytes go.
pub enum Sink {
    Stdout(File),
    File(LogFile),
    Datagrams(Datagrams),
}

pub struct LogFile {
    path: PathBuf,
    file: File,
    identity: Option<(u64, u64)>,
    /// `None` for what is no file of its own, such as a pipe.
    note: Option<Note>,
}

impl Sink {
    /// `None` where there is nothing to write to. The error names the file.
    pub fn open(output: &Output) -> Result<Option<Self>, String> {
        let socket = |path: &Path, error| format!("no socket to reach `{}` by: {error}", path.display());
        Ok(Some(match output {
            Output::Off => return Ok(None),
            Output::Stdout => {
                let owned = io::stdout().as_fd().try_clone_to_owned();
                Self::Stdout(owned.map_err(|error| format!("standard output cannot be written to: {error}"))?.into())
            }
            Output::File(path) => {
                Self::File(LogFile::open(path).map_err(|error| format!("the audit file `{}` cannot be opened: {error}", path.display()))?)
            }
            Output::Syslog { path, facility } => {
                Self::Datagrams(Datagrams::syslog(path, *facility, host().as_deref()).map_err(|error| socket(path, error))?)
            }
            Output::Journald { path, facility } => {
                Self::Datagrams(Datagrams::journald(path, *facility).map_err(|error| socket(path, error))?)
            }
        }))
    }

    /// Writes `out` from `sent` on, and moves `sent` along.
    fn send(&mut self, out: &[u8], sent: &mut usize, queue: &Queue) -> io::Result<()> {
        while *sent < out.len() {
            let written = match self {
                Self::Stdout(file) | Self::File(LogFile { file, .. }) => file.write(&out[*sent..]),
                Self::Datagrams(datagrams) => {
                    let line = out[*sent..].split(|&byte| byte == b'\n').next().unwrap_or_default();
                    datagrams.send(line).map(|()| line.len() + 1)
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The system takes no datagram of this length, now or later.
                Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {
                    tracing::error!(%error, "a line of the audit log is lost: the socket takes no datagram of its length");
                    queue.lose(1);
                    *sent += out[*sent..].iter().take_while(|&&byte| byte != b'\n').count() + 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = file::open(path)?;
        let identity = file::identity(&file);
        let note = identity.and_then(|_| {
            let opened = Note::open(path);
            opened.inspect_err(|error| tracing::warn!(%error, path = %file::note_path(path).display(), "the note of the audit file's last line cannot be kept; a file that is cut off at its end will not show")).ok()
        });
        Ok(Self { path: path.to_owned(), file, identity, note })
    }
}

pub struct Writer {
    queue: Arc<Queue>,
    sink: Sink,
    output: &'static str,
    chain: Chain,
    /// Lines with their chains, and how many bytes of them are written.
    out: Vec<u8>,
    sent: usize,
    /// The last line before `out`.
    base: Link,
    begun: bool,
    failing: bool,
    /// Told when the first line is written, or cannot be.
    told: Option<Sender<()>>,
}

impl Writer {
    pub fn new(queue: Arc<Queue>, sink: Sink, output: &'static str, chain: Chain, told: Sender<()>) -> Self {
        let base = chain.last().clone();
        let out = Vec::with_capacity(2 * super::BUFFER_BYTES);
        Self { queue, sink, output, chain, out, sent: 0, base, begun: false, failing: false, told: Some(told) }
    }

    /// Until the queue says that it is over.
    pub fn run(mut self) {
        loop {
            let task = self.queue.take();
            if !self.begun && task != Task::End {
                self.begin();
            }
            match task {
                Task::Begin => {}
                Task::Lines(lines) => {
                    let mut rest = &lines[..];
                    while let Some(end) = memchr::memchr(b'\n', rest) {
                        self.chain.seal(&rest[..end], &mut self.out);
                        rest = &rest[end + 1..];
                    }
                }
                Task::Lost(count) => self.seal(&Event::Lost(count)),
                Task::Reopen => self.reopen(),
                Task::End => break,
            }
            if !self.deliver() {
                break;
            }
            self.told = None;
        }
        if self.begun && self.out.is_empty() {
            self.seal(&Event::End);
            self.deliver();
        }
        self.give_up();
    }

    fn seal(&mut self, event: &Event<'_>) {
        self.chain.seal(&event.line(now()), &mut self.out);
    }

    /// The first line of this process, which names the last one of the process before.
    fn begin(&mut self) {
        self.begun = true;
        let mut ending = Ending::default();
        let mut follows = None;
        if let Sink::File(log) = &self.sink
            && log.identity.is_some()
        {
            match Ending::of(&log.file) {
                Ok(found) => ending = found,
                Err(error) => tracing::warn!(%error, path = %log.path.display(), "the end of the audit file cannot be read"),
            }
            follows = file::predecessor(ending.last.clone(), noted(log, &self.chain));
            if follows != ending.last {
                let missing = follows.as_ref().map_or(0, |link| link.seq);
                tracing::warn!(
                    path = %log.path.display(),
                    last = missing,
                    "the audit file does not end in the line that was written last: it was moved away, or cut off; \
                     `scopegate audit verify` tells which"
                );
            }
            if let Some(torn) = &ending.torn {
                tracing::warn!(path = %log.path.display(), bytes = torn.bytes, "the audit file ends in a torn line: the gate was killed, or the power went");
            }
        }
        if ending.open {
            self.out.push(b'\n');
        }
        let host = host();
        let key = self.chain.key().map(|key| key.name().to_owned());
        self.seal(&Event::Start(Start {
            host: host.as_deref(),
            process: std::process::id(),
            output: self.output,
            key: key.as_deref(),
            follows,
            torn: ending.torn,
            offset: ending.offset,
        }));
    }

    /// Opens the file of that name, if it is another one by now, and goes on in it. A line that the old one has a part of stands whole in
    /// the new one.
    fn reopen(&mut self) {
        let Sink::File(log) = &mut self.sink else { return };
        let opened = match LogFile::open(&log.path) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, path = %log.path.display(), "the audit file cannot be reopened; the old one is written on");
                return;
            }
        };
        if opened.identity == log.identity {
            return;
        }
        let ending = Ending::of(&opened.file).unwrap_or_default();
        *log = opened;
        // A line of which only the line feed is missing is written.
        let sent = self.sent + usize::from(self.sent > 0 && self.out.get(self.sent) == Some(&b'\n'));
        let whole = memchr::memrchr(b'\n', &self.out[..sent]).map_or(0, |at| at + 1);
        let torn = Torn::of(&self.out[whole..sent]).or(ending.torn);
        let written = self.out[..whole].split(|&byte| byte == b'\n').rfind(|line| !line.is_empty());
        let last = written.and_then(Sealed::parse).map_or_else(|| self.base.clone(), |sealed| sealed.link());
        let rest = self.out.split_off(whole);
        self.chain.go_back(last.clone());
        self.out.clear();
        self.sent = 0;
        self.base = last.clone();
        let mut rest = rest.split(|&byte| byte == b'\n').filter_map(Sealed::parse);
        if last.seq == 0 {
            // Not even the first line was written, so it is the new file's.
            rest.next();
            self.begin();
        } else {
            if ending.open {
                self.out.push(b'\n');
            }
            let key = self.chain.key().map(|key| key.name().to_owned());
            self.seal(&Event::Continue { key: key.as_deref(), follows: last, torn });
        }
        for sealed in rest {
            self.chain.seal(sealed.body, &mut self.out);
        }
    }

    /// Writes what there is, however often it takes. `false` where the end came first.
    fn deliver(&mut self) -> bool {
        let mut last_try = false;
        while let Err(error) = self.sink.send(&self.out, &mut self.sent, &self.queue) {
            if !self.failing {
                self.failing = true;
                tracing::error!(%error, output = %self.shown(), "the audit log cannot be written; it is tried again until it can");
            }
            self.queue.set_failing(true);
            self.told = None;
            match self.queue.pause(RETRY_INTERVAL) {
                Pause::Over => {}
                Pause::Reopen => self.reopen(),
                Pause::End if last_try => return false,
                Pause::End => last_try = true,
            }
        }
        if self.failing {
            self.failing = false;
            tracing::warn!(output = %self.shown(), lost = self.queue.lost(), "the audit log is written again");
        }
        self.queue.set_failing(false);
        self.base = self.chain.last().clone();
        self.out.clear();
        self.sent = 0;
        if let Sink::File(LogFile { note: Some(note), path, .. }) = &mut self.sink
            && self.base.seq > 0
            && let Err(error) = note.write(&self.base, self.chain.key())
        {
            tracing::debug!(%error, path = %path.display(), "the note of the audit file's last line could not be written");
        }
        true
    }

    /// Counts what is left as lost.
    fn give_up(&self) {
        let own = memchr::memchr_iter(b'\n', &self.out[self.sent..]).count() as u64;
        self.queue.lose(own);
        let count = self.queue.give_up() + own;
        if count > 0 {
            tracing::error!(lines = count, output = %self.shown(), "the gate ends and could not write its audit log to the end");
        }
    }

    fn shown(&self) -> String {
        match &self.sink {
            Sink::Stdout(_) => "standard output".to_owned(),
            Sink::File(log) => log.path.display().to_string(),
            Sink::Datagrams(datagrams) => datagrams.path().display().to_string(),
        }
    }
}

/// The line that was written last, as the note beside the file has it.
fn noted(log: &LogFile, chain: &Chain) -> Option<Link> {
    let path = file::note_path(&log.path);
    let keys: Vec<_> = chain.key().cloned().into_iter().collect();
    match file::read_note(&path, &keys) {
        Ok(Noted::Last(link)) => Some(link),
        Ok(Noted::Nothing) => None,
        Ok(Noted::Wrong) => {
            // A note that was just made is empty.
            if std::fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
                tracing::warn!(path = %path.display(), "the note of the audit file's last line was written with another key, or by somebody else");
            }
            None
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the note of the audit file's last line cannot be read");
            None
        }
    }
}

/// What this machine is called; `None` where that is not said.
fn host() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
    let name = name.trim();
    // It stands in a header of syslog as well, RFC 5424 section 6.2.4.
    (!name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| name.to_owned())
}
