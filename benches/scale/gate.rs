//! Our side of the scale bench, by the code that the gate runs. `benches/scale/run` starts it; each call prints one line of JSON.
//!
//! `bench-scale fill URL TOKENS FIRST END` keeps the tokens FIRST to END, by the import of `store copy`: pages in one pipeline each, a few at
//! a time. `bench-scale look-up URL TOKENS COUNT` looks COUNT of them up that the cache has not seen, many at once on one thread.
//! `bench-scale end URL TOKENS TIMES` ends all tokens of two clients TIMES times each, one with a thousand and one with TOKENS.
//!
//! Of the first TOKENS every second one belongs to one client and the others to a thousand clients in turn; the next TOKENS / 2 to that one
//! client too, so that it has TOKENS in the end; and a thousand more to another.

use std::env;
use std::error::Error;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scopegate::oauth::client::Client;
use scopegate::policy::scope::Scopes;
use scopegate::policy::time::Timestamp;
use scopegate::policy::token::{RECORD_VERSION, TokenHash, TokenRecord};
use scopegate::store::cached::{CachedStore, Lookup, SiteId, Unknown};
use scopegate::store::export::{Entry, Item, PAGE_ENTRIES_MAX};
use scopegate::store::kept::{Subject, digest_id};
use scopegate::store::{Backend, RedisUrl, Settings, Store, open};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const SITE: &str = "bench.local";
const CLIENTS: u64 = 1000;
const LARGE: &str = "large";
const THOUSAND: &str = "thousand";
const USERS: u64 = 10_000;
/// Tokens were issued this long ago, in seconds: every ending of the bench lies between then and now.
const AGE: u64 = 86_400;
const LIFETIME: u64 = 2 * 86_400;
/// Imports under way at a time.
const IMPORTS: usize = 4;
/// Look-ups under way at a time.
const LOOK_UPS: u64 = 64;
/// Look-ups of tokens that do not exist, so that nothing is measured but what the others take.
const WARM_UP: u64 = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, url, tokens, rest @ ..] = &*arguments else { return Err("started by benches/scale/run".into()) };
    let (settings, tokens) = (settings(url), tokens.parse()?);
    let store = open(&settings).await?;
    match (&**what, rest) {
        ("fill", [first, end]) => fill(store, tokens, first.parse()?, end.parse()?).await,
        ("look-up", [count]) => look_up(&Arc::new(CachedStore::new(store, &settings)), tokens, count.parse()?).await,
        ("end", [times]) => end(store, &settings, tokens, times.parse()?).await,
        _ => Err("started by benches/scale/run".into()),
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        backend: Backend::Redis { servers: (&RedisUrl(url.into())).into(), prefix: "sg".to_owned() },
        // A page of an import is one exchange.
        lookup_timeout: Duration::from_secs(10),
        cache_entries_max: 1_000_000,
        // Nothing is asked for twice.
        revocation_bound: Duration::from_secs(3600),
        serve_known: None,
    }
}

async fn fill(store: Arc<dyn Store>, tokens: u64, first: u64, end: u64) -> Result<(), Failure> {
    let issued = now() - AGE;
    if first == 0 {
        let names = (0..CLIENTS).map(small).chain([LARGE.to_owned(), THOUSAND.to_owned()]);
        let created = Timestamp::from_unix(issued - AGE);
        let clients = names.map(|id| entry(Item::Client(Box::new(Client::new(&id, "An app of some name", scopes("all"), created)))));
        store.import(clients.collect()).await?;
    }
    let (began, mut under_way) = (Instant::now(), JoinSet::new());
    for page in (first..end).step_by(PAGE_ENTRIES_MAX) {
        let entries = (page..end.min(page + PAGE_ENTRIES_MAX as u64))
            .map(|number| entry(Item::Token { hash: hash(number), record: record(number, tokens, issued) }))
            .collect();
        if under_way.len() == IMPORTS
            && let Some(imported) = under_way.join_next().await
        {
            imported??;
        }
        let store = Arc::clone(&store);
        under_way.spawn(async move { store.import(entries).await });
    }
    while let Some(imported) = under_way.join_next().await {
        imported??;
    }
    let json = serde_json::to_vec(&record(first, tokens, issued))?;
    println!("{{\"seconds\": {}, \"json_bytes\": {}}}", began.elapsed().as_secs_f64(), json.len());
    Ok(())
}

async fn look_up(cached: &Arc<CachedStore>, tokens: u64, count: u64) -> Result<(), Failure> {
    if count > tokens {
        return Err("there are not as many tokens".into());
    }
    // Beyond all tokens that were ever kept.
    let nobodys = tokens * 2;
    find_all(cached, nobodys..nobodys + WARM_UP, |found| matches!(found, Lookup::Unknown(Unknown::NoSuchToken))).await?;
    let (before, began, resident_before) = (cpu_seconds()?, Instant::now(), resident()?);
    find_all(cached, 0..count, |found| matches!(found, Lookup::Live(_))).await?;
    let (cpu, seconds, taken) = (cpu_seconds()? - before, began.elapsed().as_secs_f64(), resident()? - resident_before);
    println!(
        "{{\"cpu\": {cpu}, \"seconds\": {seconds}, \"hits\": {}, \"cached\": {}, \"resident\": {taken}}}",
        cached.hits(),
        cached.len()
    );
    Ok(())
}

/// Looks up the tokens with these numbers, [`LOOK_UPS`] at a time, each of which must be found `as_expected`.
async fn find_all(cached: &Arc<CachedStore>, numbers: Range<u64>, as_expected: fn(&Lookup) -> bool) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let mut under_way = JoinSet::new();
    for _ in 0..LOOK_UPS {
        let (cached, next, end) = (Arc::clone(cached), Arc::clone(&next), numbers.end);
        under_way.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok::<_, Failure>(());
                }
                let found = cached.find(SiteId(0), SITE, &hash(number), Timestamp::from_unix(now())).await?;
                if !as_expected(&found) {
                    return Err(format!("token {number}: {found:?}").into());
                }
            }
        });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

async fn end(store: Arc<dyn Store>, settings: &Settings, tokens: u64, times: u64) -> Result<(), Failure> {
    let issued = now() - AGE;
    let mut took = [Vec::new(), Vec::new()];
    for time in 1..=times {
        for (client, took) in [THOUSAND, LARGE].into_iter().zip(&mut took) {
            let began = Instant::now();
            store.revoke(SITE, &[Subject::Client(client)], Timestamp::from_unix(issued + AGE / 2 + time)).await?;
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    let cached = CachedStore::new(store, settings);
    for (number, lives) in [(0, false), (1, true), (tokens, false), (tokens + tokens / 2, false)] {
        let found = cached.find(SiteId(0), SITE, &hash(number), Timestamp::from_unix(now())).await?;
        if lives != matches!(found, Lookup::Live(_)) {
            return Err(format!("token {number} was to be {}: {found:?}", if lives { "alive" } else { "void" }).into());
        }
    }
    let told = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        format!("{{\"median\": {}, \"p99\": {}}}", took[took.len() / 2], took[took.len() * 99 / 100])
    });
    println!("{{\"{THOUSAND}\": {}, \"{LARGE}\": {}}}", told[0], told[1]);
    Ok(())
}

fn hash(number: u64) -> TokenHash {
    TokenHash::of(format!("bench token {number}").as_bytes())
}

fn small(number: u64) -> String {
    format!("client-{:03}", number % CLIENTS)
}

/// As a grant of a user would have it.
fn record(number: u64, tokens: u64, issued: u64) -> TokenRecord {
    let client = match number {
        number if number < tokens && !number.is_multiple_of(2) => small(number / 2),
        number if number < tokens + tokens / 2 => LARGE.to_owned(),
        _ => THOUSAND.to_owned(),
    };
    TokenRecord {
        v: RECORD_VERSION,
        client: client.into(),
        user: format!("user{}@example.com", number % USERS).into(),
        scopes: scopes(["read", "read write", "read:item read:customer", "all"][(number / 2 % 4) as usize]),
        grant: Some(digest_id(&number.to_string())[..22].into()),
        iat: Timestamp::from_unix(issued),
        exp: Timestamp::from_unix(issued + LIFETIME),
    }
}

fn entry(item: Item) -> Entry {
    Entry::new(SITE, item)
}

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).expect("these are scopes")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

/// User and system time of this process.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat.rsplit(')').next().ok_or("no fields")?.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64, Failure> { Ok(fields.next().ok_or("no such field")?.parse()?) };
    // A hundred ticks to the second, on every Linux.
    Ok((ticks()? + ticks()?) / 100.0)
}

/// Bytes of this process in memory.
fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no resident size")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
