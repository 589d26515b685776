//! The map of the token cache beside moka's, for the same tokens: bytes for each, and nanoseconds for a hit.
//!
//! `cargo bench --bench token_map`. Each measurement runs in a process of its own, so that none finds what another left in the heap. The
//! rounds of the two are interleaved, and what is printed is the median of the rounds.

use std::env;
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::future::Cache;
use scopegate::policy::scope::Scopes;
use scopegate::policy::time::Timestamp;
use scopegate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use scopegate::store::cached::SiteId;
use scopegate::store::tokens::{Keyed, TokenKey, Tokens};

const ENTRIES_MAX: u64 = 1_000_000;
const ROUNDS: usize = 5;
/// Of each thread, in each round.
const HITS: u32 = 4_000_000;
const MAPS: [&str; 2] = ["tokens", "moka"];

/// Tokens and threads.
const CASES: [(u32, usize); 6] = [(1_000, 1), (100_000, 1), (800_000, 1), (1_000, 2), (800_000, 2), (1, 2)];

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().position(|argument| argument == "--measure") {
        Some(at) => measure(&arguments[at + 1..]),
        None => table(),
    }
}

fn table() {
    println!("| | tokens | moka |\n|---|---|---|");
    for entries in [50_000, 200_000, 800_000] {
        let [tokens, moka] = MAPS.map(|map| run(&[map, "memory", &entries.to_string()]));
        let value = run(&["nothing", "memory", &entries.to_string()]);
        println!("| bytes per token, {entries} of {ENTRIES_MAX}; what is known of it takes {value:.0} | {tokens:.0} | {moka:.0} |");
    }
    for (entries, threads) in CASES {
        let arguments = [entries.to_string(), threads.to_string()];
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (map, rounds) in MAPS.iter().zip(&mut rounds) {
                rounds.push(run(&[map, "hits", &arguments[0], &arguments[1]]));
            }
        }
        let [tokens, moka] = rounds.map(|mut rounds| {
            rounds.sort_by(f64::total_cmp);
            rounds[ROUNDS / 2]
        });
        println!("| ns per hit; tokens in turn: {entries}, threads: {threads} | {tokens:.0} | {moka:.0} |");
    }
}

/// The one number that this program prints when it measures.
fn run(arguments: &[&str]) -> f64 {
    let program = env::current_exe().expect("a program knows where it lies");
    let output = Command::new(program).arg("--measure").args(arguments).output().expect("it runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn measure(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse::<u32>().expect("a number");
    let entries = number(2);
    match (&*arguments[0], &*arguments[1]) {
        ("tokens", "memory") => memory(|| ours(ENTRIES_MAX, entries), Tokens::len),
        ("moka", "memory") => memory(|| mokas(entries), |cache| cache.entry_count() as usize),
        // What is known of tokens, alone.
        ("nothing", "memory") => memory(|| (0..entries).map(|number| Arc::new(value(number))).collect::<Vec<_>>(), Vec::len),
        ("tokens", "hits") => {
            // Four times the room, so that each of them finds a place and every look-up is a hit.
            let map = ours(4 * ENTRIES_MAX, entries);
            assert_eq!(map.len(), entries as usize);
            hits(entries, number(3), |key| map.get(key).expect("it is there").judged());
        }
        ("moka", "hits") => {
            let map = mokas(entries);
            hits(entries, number(3), |key| now(map.get(key)).expect("it is there").judged());
        }
        other => panic!("{other:?}"),
    }
}

fn memory<M>(fill: impl FnOnce() -> M, len: impl FnOnce(&M) -> usize) {
    let before = resident();
    let map = fill();
    println!("{:.1}", (resident() - before) as f64 / len(&map) as f64);
    black_box(map);
}

fn hits(entries: u32, threads: u32, asked: impl Fn(&TokenKey) -> u64 + Sync) {
    let keys: Vec<TokenKey> = (0..entries).map(key).collect();
    let start = Barrier::new(threads as usize);
    let times: Vec<Duration> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (keys, asked, start) = (&keys, &asked, &start);
                scope.spawn(move || {
                    // Threads start apart, and go through the tokens in the same order.
                    let mut turn = keys.len() / threads as usize * thread as usize;
                    let mut go = |count| {
                        for _ in 0..count {
                            turn = if turn + 1 < keys.len() { turn + 1 } else { 0 };
                            black_box(asked(black_box(&keys[turn])));
                        }
                    };
                    go(HITS / 4);
                    start.wait();
                    let began = Instant::now();
                    go(HITS);
                    began.elapsed()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let slowest = times.into_iter().max().expect("there is a thread");
    println!("{:.2}", slowest.as_nanos() as f64 / f64::from(HITS));
}

fn key(number: u32) -> TokenKey {
    TokenKey { site: SiteId(0), hash: TokenHash::of(&number.to_ne_bytes()) }
}

/// What is known of a token, as the cache has it.
struct Value {
    key: TokenKey,
    record: TokenRecord,
    asked: u64,
}

impl Value {
    /// Reads what a look-up reads.
    const fn judged(&self) -> u64 {
        self.asked + self.record.exp.unix()
    }
}

impl Keyed for Value {
    fn key(&self) -> &TokenKey {
        &self.key
    }
}

fn value(number: u32) -> Value {
    Value { key: key(number), record: record(number), asked: u64::from(number) }
}

/// The same for moka, which keeps the key by itself.
struct MokaValue {
    record: TokenRecord,
    asked: u64,
}

impl MokaValue {
    const fn judged(&self) -> u64 {
        self.asked + self.record.exp.unix()
    }
}

/// Clients are shared, as in the cache; users are not.
fn record(number: u32) -> TokenRecord {
    thread_local! {
        static CLIENT: Arc<str> = "crm".into();
    }
    TokenRecord {
        v: RECORD_VERSION,
        client: CLIENT.with(Arc::clone),
        user: format!("user{number}@example.com").into(),
        scopes: Scopes::parse("read write").expect("scopes"),
        grant: None,
        iat: Timestamp::from_unix(1_800_000_000),
        exp: Timestamp::from_unix(1_800_003_600),
    }
}

fn ours(entries_max: u64, entries: u32) -> Tokens<Value> {
    let tokens = Tokens::new(entries_max);
    for number in 0..entries {
        tokens.insert(Arc::new(value(number)));
    }
    tokens
}

fn mokas(entries: u32) -> Cache<TokenKey, Arc<MokaValue>, RandomState> {
    let cache =
        Cache::builder().max_capacity(ENTRIES_MAX).time_to_idle(Duration::from_secs(3600)).build_with_hasher(RandomState::default());
    for number in 0..entries {
        let value = MokaValue { record: record(number), asked: u64::from(number) };
        now(cache.insert(key(number), Arc::new(value)));
    }
    now(cache.run_pending_tasks());
    assert_eq!(cache.entry_count(), u64::from(entries));
    cache
}

/// Nothing here waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says what a process takes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
