//! The audit log: one line of JSON for every request, whatever became of it, each tied to the one before.
//!
//! Each worker writes lines into a buffer of its own and hands full buffers to one writer thread; a line is written at most
//! [`FLUSH_INTERVAL`] after its request ended. No worker ever waits for the output: what cannot be taken is lost and counted, and the log
//! says so itself, or requests are refused before that happens ([`OnFull`]).

pub mod backwards;
pub mod chain;
pub mod datagram;
pub mod event;
pub mod file;
pub mod queue;
pub mod record;
pub mod verify;
pub mod writer;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use data_encoding::HEXLOWER;

use crate::audit::chain::{Chain, ChainKey};
use crate::audit::datagram::Facility;
use crate::audit::queue::Queue;
use crate::audit::record::AuditRecord;
use crate::audit::writer::{Sink, Writer};

/// How often a buffer that is not full is handed on.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// A buffer is handed on from here, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a start waits for its own line to be written, so that a log that refuses does so from the first request on.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the end waits for what is left to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the name of a gate: one process.
const GATE_BYTES: usize = 6;

/// The reason of a request that was refused because it could not have been put on record.
pub const UNAVAILABLE: &str = "audit_unavailable";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub output: Output,
    pub on_full: OnFull,
    /// What may wait for the writer, in bytes, for all workers together.
    pub queue_bytes_max: usize,
    pub chain_key: Option<ChainKey>,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    File(PathBuf),
    /// A syslog daemon at a datagram socket.
    Syslog {
        path: PathBuf,
        facility: Facility,
    },
    /// The same, spoken to in journald's own protocol.
    Journald {
        path: PathBuf,
        facility: Facility,
    },
    Off,
}

impl Output {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Syslog { .. } => "syslog",
            Self::Journald { .. } => "journald",
            Self::Off => "off",
        }
    }
}

/// What becomes of requests while the log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// They are served; lines that find no room are lost, counted, and told of in the log itself.
    Count,
    /// They are answered 503 before anything is forwarded.
    Refuse,
}

/// Now, since 1970.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The buffer of one worker.
pub struct AuditLog {
    buffer: Mutex<Vec<u8>>,
    queue: Option<Arc<Queue>>,
}

impl AuditLog {
    pub fn write(&self, record: &AuditRecord<'_>) {
        let Some(queue) = &self.queue else { return };
        // What room is left belongs to requests that were forwarded.
        if record.reason == UNAVAILABLE && queue.full() {
            queue.lose(1);
            return;
        }
        let full = {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            record.write(&mut buffer);
            if buffer.len() < BUFFER_BYTES {
                return;
            }
            std::mem::replace(&mut *buffer, Vec::with_capacity(BUFFER_BYTES + 1024))
        };
        queue.push(full);
    }

    /// Whether a request must be refused, because what becomes of it could not be put on record.
    pub fn blocked(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.blocked())
    }

    fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let lines = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            queue.push(lines);
        }
    }
}

/// All buffers, and the thread that writes.
pub struct Audit {
    logs: Vec<Arc<AuditLog>>,
    queue: Option<Arc<Queue>>,
    begun: Mutex<Receiver<()>>,
    /// Says nothing, and hangs up when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

impl Audit {
    /// Opens the output and starts the writer. The error names the file.
    pub fn open(settings: &Settings, workers: usize) -> Result<Self, String> {
        let (begin, begun) = channel();
        let (end, ended) = channel::<()>();
        let mut queue = None;
        if let Some(sink) = Sink::open(&settings.output)? {
            let waiting = Arc::new(Queue::new(settings.queue_bytes_max, settings.on_full));
            let chain = Chain::new(gate_name()?, settings.chain_key.clone());
            let writer = Writer::new(waiting.clone(), sink, settings.output.name(), chain, begin);
            let run = move || {
                let _hangs_up = end;
                writer.run();
            };
            let thread = std::thread::Builder::new().name("audit".into());
            thread.spawn(run).map_err(|error| format!("the audit writer cannot be started: {error}"))?;
            queue = Some(waiting);
        }
        let log = || Arc::new(AuditLog { buffer: Mutex::default(), queue: queue.clone() });
        let logs = (0..workers).map(|_| log()).collect();
        Ok(Self { logs, queue, begun: Mutex::new(begun), ended: Mutex::new(ended) })
    }

    /// Writes the line that says that the gate starts, and waits a moment for it.
    pub fn begin(&self) {
        if let Some(queue) = &self.queue {
            queue.begin();
            let _ = self.begun.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(BEGIN_TIMEOUT);
        }
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
            queue.reopen();
        }
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.lost())
    }

    /// Whether the output does not take what it is given.
    pub fn stuck(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.stuck())
    }

    /// Writes what is left and ends the writer; nothing may be logged afterwards. An output that takes nothing is not waited for.
    pub fn close(&self) {
        self.flush();
        if let Some(queue) = &self.queue {
            queue.end();
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(CLOSE_TIMEOUT);
            if ended == Err(RecvTimeoutError::Timeout) {
                let lines = queue.give_up();
                tracing::error!(lines, "the audit log takes nothing; the gate ends, and what was not written is lost");
            }
        }
    }
}

/// A name that no other process has.
fn gate_name() -> Result<Box<str>, String> {
    let mut bytes = [0; GATE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(HEXLOWER.encode(&bytes).into())
}

#[cfg(test)]
mod tests;
