//! What a request costs inside the gate, step by step: `cargo bench --bench hot_path`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use scopegate::audit::{AuditRecord, Outcome};
use scopegate::oauth::client::Client;
use scopegate::policy::catalogue::Catalogue;
use scopegate::policy::classify::{Body, Head, Rules};
use scopegate::policy::decision::NamedScopes;
use scopegate::policy::quota::Quota;
use scopegate::policy::scope::Scopes;
use scopegate::policy::time::Timestamp;
use scopegate::policy::token::{AccessToken, RECORD_VERSION, TokenHash, TokenRecord};
use scopegate::store::cached::{CachedStore, SiteId};
use scopegate::store::embedded::EmbeddedStore;
use scopegate::store::{Backend, ClientStore as _, Settings, TokenStore as _};

const SITE: &str = "bench.local";
const NOW: u64 = 1_795_000_000;

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).expect("scopes")
}

fn head<'a>(method: &'a str, path: &'a str, query: Option<&'a str>, json: bool) -> Head<'a> {
    Head { method, path, query, content_type: json.then_some(b"application/json"), has_body: json }
}

fn classify(criterion: &mut Criterion) {
    let rules = Rules { catalogue: Catalogue::builtin(), opened: Vec::new(), paths: Vec::new() };
    let fields = "fields=%5B%22name%22%2C%22customer%22%5D&filters=%5B%5B%22status%22%2C%22%3D%22%2C%22Open%22%5D%5D&limit_page_length=20";
    let body = br#"{"lead_name":"OAuth Lead","email_id":"oauth@test.com","items":[{"item_code":"ITEM-0001","qty":2}]}"#;
    let cases: [(&str, Head<'_>, Body<'_>); 4] = [
        ("read of a document", head("GET", "/api/resource/Item/ITEM-0001", None, false), Body::None),
        ("list with fields and filters", head("GET", "/api/resource/Sales%20Order", Some(fields), false), Body::None),
        ("RPC", head("GET", "/api/method/frappe.client.get_count", Some("doctype=Item"), false), Body::None),
        ("create from JSON", head("POST", "/api/resource/Lead", None, true), Body::Bytes(body)),
    ];
    let mut group = criterion.benchmark_group("classify");
    for (name, head, body) in &cases {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let draft = rules.head(black_box(*head)).expect("a lawful head");
                let body = match body {
                    Body::Bytes(bytes) => Body::Bytes(bytes),
                    _ => Body::None,
                };
                black_box(rules.finish(draft, body).expect("a lawful request"));
            });
        });
    }
    group.finish();
}

fn decide(criterion: &mut Criterion) {
    let rules = Rules { catalogue: Catalogue::builtin(), opened: Vec::new(), paths: Vec::new() };
    let draft = rules.head(head("GET", "/api/resource/Sales%20Order/SO-1", None, false)).expect("a lawful head");
    let operation = rules.finish(draft, Body::None).expect("a lawful request").operation;
    let named = NamedScopes::new([(Box::from("sales"), scopes("read:customer read:sales-order"))]);
    let mut group = criterion.benchmark_group("decide");
    for (name, text) in
        [("broad", "read write"), ("one doctype of three", "read:item read:lead read:sales-order"), ("a named scope", "openid sales")]
    {
        let scopes = scopes(text);
        group.bench_function(name, |bencher| bencher.iter(|| named.decide(black_box(&scopes), black_box(&operation)).expect("allowed")));
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Arc::new(EmbeddedStore::open(&path).expect("a store"));
    let token = AccessToken::from_random([7; 32]);
    let client = Client::new("app", "App", scopes("all"), Timestamp::from_unix(NOW - 60));
    let record = TokenRecord {
        v: RECORD_VERSION,
        client: "app".into(),
        user: "ann@example.com".into(),
        scopes: scopes("read write"),
        grant: None,
        iat: Timestamp::from_unix(NOW),
        exp: Timestamp::from_unix(u64::from(u32::MAX)),
    };
    runtime.block_on(async {
        store.create_client(SITE, &client).await.expect("a client");
        store.put_token(SITE, &token.hash(), &record).await.expect("a token");
    });
    let cached = |bound| {
        let settings = Settings {
            backend: Backend::Embedded { path: path.clone() },
            lookup_timeout: Duration::from_millis(50),
            cache_entries_max: 1000,
            revocation_bound: bound,
            serve_known: None,
        };
        CachedStore::new(store.clone(), &settings)
    };
    let now = Timestamp::from_unix(NOW + 1);
    let mut group = criterion.benchmark_group("token");
    group.bench_function("hash", |bencher| bencher.iter(|| black_box(TokenHash::of(black_box(token.reveal().as_bytes())))));
    let (warm, hash) = (cached(Duration::from_secs(3600)), token.hash());
    group.bench_function("warm look-up", |bencher| {
        bencher.iter(|| runtime.block_on(warm.find_at(SiteId(0), SITE, black_box(&hash), now, Instant::now())).expect("an answer"));
    });
    let cold = cached(Duration::from_nanos(1));
    group.bench_function("look-up in the embedded store", |bencher| {
        // An answer that counts for a nanosecond is always too late, which is an answer as well.
        bencher.iter(|| drop(black_box(runtime.block_on(cold.find_at(SiteId(0), SITE, &hash, now, Instant::now())))));
    });
    group.finish();
}

fn account(criterion: &mut Criterion) {
    let record = AuditRecord {
        began: Duration::new(NOW, 120_003_000),
        request_id: "0123456789abcdef01234567",
        site: Some(SITE),
        address: "192.0.2.7",
        client: Some("app"),
        user: Some("ann@example.com"),
        token: Some("9f86d081884c7d65"),
        scopes: Some("read write"),
        method: Some("GET"),
        effect: Some("read"),
        doctype: Some("Item"),
        name: Some("ITEM-0001"),
        rpc: None,
        allowed: true,
        reason: "ok",
        status: 200,
        outcome: Outcome::Served,
        bytes_in: 0,
        bytes_out: 1023,
        total: Duration::from_micros(1234),
        upstream: Some(Duration::from_micros(1100)),
    };
    let mut group = criterion.benchmark_group("account");
    let mut line = Vec::with_capacity(1024);
    group.bench_function("audit line", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&record).write(&mut line);
        });
    });
    let quota = Quota { requests: 6000, period: Duration::from_secs(60), burst: 1000 };
    group.bench_function("quota", |bencher| bencher.iter(|| black_box(quota.ask(black_box(5_000_000_000), black_box(6_000_000_000)))));
    group.finish();
}

criterion_group!(benches, classify, decide, look_up, account);
criterion_main!(benches);
