//! The audit log: one line of JSON for every request, whatever became of it.
//!
//! The shape is fixed (`README.md`, "The audit log"): every field in every line, in one order, `null` where there is nothing to say. Never a
//! token, a secret, a cookie or a body. Each worker writes lines into a buffer of its own and hands full buffers to one writer
//! thread; a line is in the file at most [`FLUSH_INTERVAL`] after its request ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a buffer that is not full is handed on.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// A buffer is handed on from here, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// Buffers on their way to the writer: with more, the disk is too slow and lines are lost, and counted.
const QUEUE_MAX: usize = 256;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    File(PathBuf),
    Off,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream's answer went out to its end.
    Served,
    /// The gate answered itself.
    Refused,
    /// A time limit ended it.
    TimedOut,
    /// The client went away, or the answer broke off.
    Abandoned,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is kept of one request.
#[derive(Clone, Debug)]
pub struct AuditRecord<'a> {
    /// When it began, since 1970.
    pub began: Duration,
    pub request_id: &'a str,
    pub site: Option<&'a str>,
    pub address: &'a str,
    pub client: Option<&'a str>,
    pub user: Option<&'a str>,
    /// First bytes of the token's hash.
    pub token: Option<&'a str>,
    pub scopes: Option<&'a str>,
    /// `None` where there was no request to have one.
    pub method: Option<&'a str>,
    pub effect: Option<&'a str>,
    pub doctype: Option<&'a str>,
    pub name: Option<&'a str>,
    pub rpc: Option<&'a str>,
    /// `allow`, or `refuse`.
    pub allowed: bool,
    pub reason: &'a str,
    pub status: u16,
    pub outcome: Outcome,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub total: Duration,
    pub upstream: Option<Duration>,
}

impl AuditRecord<'_> {
    /// Appends the line, with its line feed.
    pub fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(br#"{"time":""#);
        write_time(self.began, line);
        word(line, br#"","request_id":""#, self.request_id);
        text(line, br#"","site":"#, self.site);
        word(line, br#","address":""#, self.address);
        text(line, br#"","client":"#, self.client);
        text(line, br#","user":"#, self.user);
        text(line, br#","token":"#, self.token);
        text(line, br#","scopes":"#, self.scopes);
        text(line, br#","method":"#, self.method);
        text(line, br#","effect":"#, self.effect);
        text(line, br#","doctype":"#, self.doctype);
        text(line, br#","name":"#, self.name);
        text(line, br#","rpc":"#, self.rpc);
        word(line, br#","decision":""#, if self.allowed { "allow" } else { "refuse" });
        word(line, br#"","reason":""#, self.reason);
        number(line, br#"","status":"#, u64::from(self.status));
        word(line, br#","outcome":""#, self.outcome.as_str());
        number(line, br#"","bytes_in":"#, self.bytes_in);
        number(line, br#","bytes_out":"#, self.bytes_out);
        number(line, br#","total_us":"#, micros(self.total));
        match self.upstream {
            Some(upstream) => number(line, br#","upstream_us":"#, micros(upstream)),
            None => line.extend_from_slice(br#","upstream_us":null"#),
        }
        line.extend_from_slice(b"}\n");
    }
}

/// A word of our own, which needs no escapes. Its closing quote belongs to whatever follows.
fn word(line: &mut Vec<u8>, key: &[u8], value: &str) {
    line.extend_from_slice(key);
    line.extend_from_slice(value.as_bytes());
}

fn text(line: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    line.extend_from_slice(key);
    match value {
        None => line.extend_from_slice(b"null"),
        Some(value) if is_plain(value) => {
            line.push(b'"');
            line.extend_from_slice(value.as_bytes());
            line.push(b'"');
        }
        // Writing into a Vec does not fail, and text is always JSON.
        Some(value) => serde_json::to_writer(line, value).unwrap_or(()),
    }
}

/// Whether text stands in JSON as it is. Every byte is looked at, whatever the first said: that is faster.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\'))
}

fn number(line: &mut Vec<u8>, key: &[u8], value: u64) {
    line.extend_from_slice(key);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Appends RFC 3339 with microseconds in UTC. Civil date from days after Howard Hinnant's `civil_from_days`, years 1970 to 9999.
fn write_time(since_epoch: Duration, line: &mut Vec<u8>) {
    let seconds = since_epoch.as_secs();
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(9999);
    let second = seconds % 86_400;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, width: usize, mut value: u64| {
        for digit in out[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 6, u64::from(since_epoch.subsec_micros()));
    line.extend_from_slice(&out);
}

/// Now, since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The buffer of one worker.
pub struct AuditLog {
    buffer: Mutex<Vec<u8>>,
    queue: Option<SyncSender<Message>>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Lines(Vec<u8>),
    Reopen,
    End,
}

impl AuditLog {
    pub fn write(&self, record: &AuditRecord<'_>) {
        let Some(queue) = &self.queue else { return };
        let full = {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            record.write(&mut buffer);
            if buffer.len() < BUFFER_BYTES {
                return;
            }
            std::mem::replace(&mut *buffer, Vec::with_capacity(BUFFER_BYTES + 1024))
        };
        self.hand_on(queue, full);
    }

    fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let lines = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            self.hand_on(queue, lines);
        }
    }

    fn hand_on(&self, queue: &SyncSender<Message>, lines: Vec<u8>) {
        if let Err(TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines))) =
            queue.try_send(Message::Lines(lines))
        {
            let count = lines.iter().filter(|&&byte| byte == b'\n').count();
            self.lost.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// All buffers, and the thread that writes.
pub struct Audit {
    logs: Vec<Arc<AuditLog>>,
    queue: Option<SyncSender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lost: Arc<AtomicU64>,
}

impl Audit {
    /// Opens the output and starts the writer. The error names the file.
    pub fn open(output: &Output, workers: usize) -> Result<Self, String> {
        let lost = Arc::new(AtomicU64::new(0));
        let (queue, writer) = match Sink::open(output)? {
            None => (None, None),
            Some(sink) => {
                let (sender, receiver) = sync_channel(QUEUE_MAX);
                let counted = lost.clone();
                let thread = std::thread::Builder::new()
                    .name("audit".into())
                    .spawn(move || write_all(sink, &receiver, &counted))
                    .map_err(|error| format!("the audit writer cannot be started: {error}"))?;
                (Some(sender), Some(thread))
            }
        };
        let log = || Arc::new(AuditLog { buffer: Mutex::default(), queue: queue.clone(), lost: lost.clone() });
        let logs = (0..workers).map(|_| log()).collect();
        Ok(Self { logs, queue, writer: Mutex::new(writer), lost })
    }

    /// The buffer of worker `index`.
    pub fn log(&self, index: usize) -> Arc<AuditLog> {
        self.logs[index].clone()
    }

    /// Hands every buffer on; called every [`FLUSH_INTERVAL`].
    pub fn flush(&self) {
        self.logs.iter().for_each(|log| log.flush());
    }

    /// Opens the file anew, after it was moved away.
    pub fn reopen(&self) {
        self.flush();
        if let Some(queue) = &self.queue {
            // A full queue is a disk that does not keep up; waiting for it here stops nothing but this signal.
            let _ = queue.send(Message::Reopen);
        }
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends the writer; nothing may be logged afterwards.
    pub fn close(&self) {
        self.flush();
        if let Some(queue) = &self.queue {
            let _ = queue.send(Message::End);
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    fn open(output: &Output) -> Result<Option<Self>, String> {
        match output {
            Output::Off => Ok(None),
            Output::Stdout => Ok(Some(Self::Stdout)),
            Output::File(path) => {
                let file = open_file(path).map_err(|error| format!("the audit file `{}` cannot be opened: {error}", path.display()))?;
                Ok(Some(Self::File { path: path.clone(), file }))
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines).and_then(|()| out.flush())
            }
            Self::File { file, .. } => file.write_all(lines),
        }
    }
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn write_all(mut sink: Sink, queue: &Receiver<Message>, lost: &AtomicU64) {
    let mut failing = false;
    while let Ok(message) = queue.recv() {
        match message {
            Message::Lines(lines) => match sink.write(&lines) {
                Ok(()) => failing = false,
                Err(error) => {
                    let count = lines.iter().filter(|&&byte| byte == b'\n').count();
                    lost.fetch_add(count as u64, Ordering::Relaxed);
                    if !failing {
                        tracing::error!(%error, lines = count, "the audit log cannot be written; lines are lost and counted");
                    }
                    failing = true;
                }
            },
            Message::End => return,
            Message::Reopen => {
                if let Sink::File { path, file } = &mut sink {
                    match open_file(path) {
                        Ok(opened) => *file = opened,
                        Err(error) => {
                            tracing::error!(%error, path = %path.display(), "the audit file cannot be reopened; the old one is written on");
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord<'static> {
        AuditRecord {
            began: Duration::new(1_795_000_000, 120_003_000),
            request_id: "0123456789abcdef01234567",
            site: Some("erp.example.com"),
            address: "192.0.2.7",
            client: Some("crm"),
            user: Some("ann@example.com"),
            token: Some("9f86d081884c7d65"),
            scopes: Some("read write"),
            method: Some("GET"),
            effect: Some("read"),
            doctype: Some("Sales Order"),
            name: Some("SO-\"1\"\n\u{e9}"),
            rpc: None,
            allowed: true,
            reason: "ok",
            status: 200,
            outcome: Outcome::Served,
            bytes_in: 0,
            bytes_out: 1023,
            total: Duration::from_micros(1234),
            upstream: Some(Duration::from_micros(1100)),
        }
    }

    #[test]
    fn a_line_has_its_fixed_shape() {
        let mut line = Vec::new();
        record().write(&mut line);
        let refused = AuditRecord {
            site: None,
            client: None,
            user: None,
            token: None,
            scopes: None,
            effect: None,
            doctype: None,
            name: None,
            allowed: false,
            reason: "host_unknown",
            status: 404,
            outcome: Outcome::Refused,
            upstream: None,
            ..record()
        };
        refused.write(&mut line);
        let text = String::from_utf8(line).expect("a line is UTF-8");
        assert_eq!(text, include_str!("../tests/golden/audit.jsonl"));
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON");
        }
    }

    #[test]
    fn times_are_utc_to_the_microsecond() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_200, 0, "2024-03-01T00:00:00.000000Z"),
            (4_102_444_799, 0, "2099-12-31T23:59:59.000000Z"),
        ];
        for (seconds, nanos, expected) in cases {
            let mut line = Vec::new();
            write_time(Duration::new(seconds, nanos), &mut line);
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
    }

    #[test]
    fn every_line_reaches_the_file_and_a_moved_file_is_opened_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.log");
        let audit = Audit::open(&Output::File(path.clone()), 2).expect("the log opens");
        for index in 0..1000 {
            audit.log(index % 2).write(&record());
        }
        audit.flush();
        let moved = dir.path().join("audit.log.1");
        std::fs::rename(&path, &moved).expect("the file moves");
        audit.reopen();
        audit.log(0).write(&record());
        audit.close();
        let lines = |path| std::fs::read_to_string(path).expect("the file reads").lines().count();
        assert_eq!((lines(moved), lines(path)), (1000, 1));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Audit::open(&Output::File("/nonexistent/audit.log".into()), 1).map(|_| ()).expect_err("it must fail");
        assert!(error.contains("/nonexistent/audit.log"), "{error}");
    }
}
