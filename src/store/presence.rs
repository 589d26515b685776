//! Which gateways follow a site's log, and which of them have applied it up to a certain place.
//!
//! A gateway says every second that it follows a site, so that whoever takes something back can tell when every gateway knows of it: the
//! log gets a `wait` entry behind the revocation, each gateway that has applied the log that far says so under the entry's name, and
//! those that were seen a moment ago and do not say so are the ones to look after.
//!
//! By site, because a gateway need not serve them all. None of this is part of the argument for which a revocation holds (`ledger`): a
//! gateway that is silent here lets nobody in either, once the bound is over.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::store::StoreError;

/// How often a gateway says that it lives.
pub const BEAT: Duration = Duration::from_secs(1);

/// A gateway that was seen within this lives, as far as is known: two beats may be lost.
pub const LIVE: Duration = Duration::from_secs(3);

/// How long a gateway is remembered that went without a word.
pub const KEPT: Duration = Duration::from_secs(3600);

/// Gateways of a site that are remembered; those that were seen last.
pub const GATEWAYS_MAX: usize = 1_000;

/// How long it is remembered who has answered to a name: longer than anybody waits.
pub const APPLIED_KEPT: Duration = Duration::from_secs(120);

/// The longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Hexadecimal digits of what tells one gateway from the next on the same host with the same process id.
const ID_DIGITS: usize = 16;

/// Where Linux says what a machine or a container is called.
const HOST_FILE: &str = "/proc/sys/kernel/hostname";

/// A gateway, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gateway {
    host: Box<str>,
    process: u32,
    id: Box<str>,
}

impl Gateway {
    /// This process, as a gateway of its own at each call.
    pub fn here() -> Self {
        let host = std::fs::read_to_string(HOST_FILE).unwrap_or_default();
        // Nobody gains anything by guessing it; it must only differ, and these states do.
        let id = RandomState::new().hash_one(std::process::id());
        Self { host: plain(host.trim()), process: std::process::id(), id: format!("{id:016x}").into() }
    }

    /// How stores write it: `<id> <host>:<process>`.
    pub fn write(&self) -> String {
        format!("{} {self}", self.id)
    }

    /// What [`Self::write`] wrote; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let (id, place) = text.split_once(' ')?;
        let (host, process) = place.split_once(':')?;
        let hexadecimal = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let named = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(of_host);
        let gateway = Self { host: host.into(), process: process.parse().ok()?, id: id.into() };
        // One spelling for each: neither `+1` nor `01` is a process.
        (hexadecimal && named && gateway.write() == text).then_some(gateway)
    }
}

/// For people: `<host>:<process>`.
impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.process)
    }
}

const fn of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A host's name with nothing in it that could be taken for something else.
fn plain(host: &str) -> Box<str> {
    let letters = host.bytes().take(HOST_BYTES_MAX).map(|byte| if of_host(byte) { char::from(byte) } else { '-' });
    let host: String = letters.collect();
    if host.is_empty() { "unknown".into() } else { host.into() }
}

/// A gateway, and how long ago it said that it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub gateway: Gateway,
    pub ago: Duration,
}

impl Seen {
    pub fn lives(&self) -> bool {
        self.ago <= LIVE
    }
}

#[async_trait]
pub trait PresenceStore: Send + Sync {
    /// Says that a gateway follows the log of a site just now.
    async fn present(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError>;
    /// Says that it has ended.
    async fn absent(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError>;
    /// Who follows the log of a site, or did so within [`KEPT`] and went without a word; in no certain order. The store's clock measures.
    async fn gateways(&self, site: &str) -> Result<Vec<Seen>, StoreError>;
    /// Says that a gateway has applied the log of a site up to the `wait` entries of these names.
    async fn acknowledge(&self, site: &str, names: &[Box<str>], gateway: &Gateway) -> Result<(), StoreError>;
    /// Who has said so of one of them, within [`APPLIED_KEPT`].
    async fn acknowledged(&self, site: &str, name: &str) -> Result<BTreeSet<Gateway>, StoreError>;
}

/// The same in the memory of the only process that there is.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// By site: when each gateway was last seen.
    seen: HashMap<Box<str>, HashMap<Gateway, Instant>>,
    /// By site and name.
    applied: HashMap<(Box<str>, Box<str>), Answers>,
}

#[derive(Debug)]
struct Answers {
    /// Until when they are remembered.
    until: Instant,
    of: BTreeSet<Gateway>,
}

impl Memory {
    pub fn present(&self, site: &str, gateway: &Gateway) {
        let now = Instant::now();
        let mut remembered = self.lock();
        let seen = remembered.seen.entry(site.into()).or_default();
        seen.insert(gateway.clone(), now);
        seen.retain(|_, at| now.duration_since(*at) < KEPT);
        if seen.len() > GATEWAYS_MAX
            && let Some(oldest) = seen.iter().min_by_key(|(_, at)| **at).map(|(gateway, _)| gateway.clone())
        {
            seen.remove(&oldest);
        }
    }

    pub fn absent(&self, site: &str, gateway: &Gateway) {
        if let Some(seen) = self.lock().seen.get_mut(site) {
            seen.remove(gateway);
        }
    }

    pub fn gateways(&self, site: &str) -> Vec<Seen> {
        let now = Instant::now();
        let remembered = self.lock();
        let seen = remembered.seen.get(site).into_iter().flatten();
        seen.map(|(gateway, at)| Seen { gateway: gateway.clone(), ago: now.duration_since(*at) }).collect()
    }

    pub fn acknowledge(&self, site: &str, names: &[Box<str>], gateway: &Gateway) {
        let now = Instant::now();
        let mut remembered = self.lock();
        remembered.applied.retain(|_, answers| now < answers.until);
        for name in names {
            let name = (site.into(), name.clone());
            let answers = remembered.applied.entry(name).or_insert_with(|| Answers { until: now, of: BTreeSet::new() });
            answers.until = now + APPLIED_KEPT;
            answers.of.insert(gateway.clone());
        }
    }

    pub fn acknowledged(&self, site: &str, name: &str) -> BTreeSet<Gateway> {
        let remembered = self.lock();
        remembered.applied.get(&(site.into(), name.into())).map(|answers| answers.of.clone()).unwrap_or_default()
    }

    /// Each change of it is whole, whatever became of the thread that made it.
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_read_as_it_was_written() {
        let here = Gateway::here();
        assert_eq!(Gateway::read(&here.write()), Some(here.clone()));
        assert!(here.to_string().ends_with(&format!(":{}", std::process::id())), "{here}");
        assert_ne!(Gateway::here(), here, "the next one is another");
        for text in ["0123456789abcdef gw-1.example:4711", "ffffffffffffffff a:0", "0000000000000000 A_b:4294967295"] {
            let gateway = Gateway::read(text).expect(text);
            assert_eq!((gateway.write(), gateway.to_string()), (text.to_owned(), text[17..].to_owned()));
        }
        assert!(Gateway::read(&format!("0123456789abcdef {}:1", "x".repeat(253))).is_some());
    }

    #[test]
    fn anything_else_is_no_gateway() {
        for text in [
            "",
            "gw-1:4711",
            " gw-1:4711",
            "0123456789abcde gw-1:4711",
            "0123456789abcdef0 gw-1:4711",
            "0123456789ABCDEF gw-1:4711",
            "0123456789abcdeg gw-1:4711",
            "0123456789abcdef  gw-1:4711",
            "0123456789abcdef gw-1",
            "0123456789abcdef gw-1:",
            "0123456789abcdef :4711",
            "0123456789abcdef gw-1:+4711",
            "0123456789abcdef gw-1:04711",
            "0123456789abcdef gw-1:-1",
            "0123456789abcdef gw-1:4294967296",
            "0123456789abcdef gw-1:4711 ",
            "0123456789abcdef gw-1:47:11",
            "0123456789abcdef g\u{1b}[2J:4711",
            "0123456789abcdef gé:4711",
            &format!("0123456789abcdef {}:1", "x".repeat(254)),
        ] {
            assert_eq!(Gateway::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_host_is_called_by_what_can_be_read_back() {
        for (host, called) in [("gw-1", "gw-1"), ("", "unknown"), ("a b:c", "a-b-c"), ("\u{e4}", "--"), ("x\n", "x-")] {
            assert_eq!(&*plain(host), called, "{host:?}");
        }
        assert_eq!(plain(&"x".repeat(300)).len(), HOST_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_forgets() {
        let memory = Memory::default();
        let (first, second) = (Gateway::here(), Gateway::here());
        memory.present("erp", &first);
        memory.acknowledge("erp", &["a".into()], &first);
        tokio::time::advance(APPLIED_KEPT - Duration::from_secs(1)).await;
        memory.acknowledge("erp", &["b".into()], &first);
        assert!(memory.acknowledged("erp", "a").contains(&first));
        tokio::time::advance(Duration::from_secs(1)).await;
        memory.acknowledge("erp", &["b".into()], &second);
        assert!(memory.acknowledged("erp", "a").is_empty());
        assert_eq!(memory.acknowledged("erp", "b").len(), 2);
        tokio::time::advance(KEPT).await;
        memory.present("erp", &second);
        assert_eq!(memory.gateways("erp"), [Seen { gateway: second, ago: Duration::ZERO }]);
        for _ in 0..GATEWAYS_MAX + 5 {
            memory.present("erp", &Gateway::here());
        }
        assert_eq!(memory.gateways("erp").len(), GATEWAYS_MAX);
    }
}
