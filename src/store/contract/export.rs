//! Everything out of a store and into another, both ways; and what a copy refuses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenRecord;
use crate::store::contract::{PATIENCE, client, embedded, hash, later, redis, token};
use crate::store::copy::{Copied, CopyError, Existing, copy, each};
use crate::store::embedded::EmbeddedStore;
use crate::store::export::{Entry, Item, PAGE_ENTRIES_MAX, Page, Tally, What};
use crate::store::kept::{Kind, Set, Subject, digest_id};
use crate::store::redis_server::RedisServer;
use crate::store::{Store, StoreError, wall_clock};

contract! {
    everything_that_lives_is_exported_and_nothing_else
    a_copy_in_either_store_is_the_same_and_a_second_one_changes_nothing
    what_expires_expires_in_the_copy_too
    a_copy_over_other_data_is_refused_and_writes_nothing
    merged_and_replaced_are_what_they_say
    a_revocation_in_the_target_is_never_taken_back
    an_export_that_nobody_wants_ends
    what_no_store_takes_is_not_imported
    many_pages_are_as_good_as_one
}

/// Fills a store with two of everything, over two sites.
async fn fill(store: &dyn Store) {
    for site in ["erp.example.com", "shop"] {
        let crm = Client { origins: vec!["https://crm.example.com".to_owned()], enabled: site == "shop", ..client("crm") };
        assert!(store.create_client(site, &crm).await.unwrap());
        let granted = TokenRecord { grant: Some("g-1".into()), ..token("crm", "read write:sales-order", later()) };
        store.put_token(site, &hash("a"), &granted).await.unwrap();
        store.put_token(site, &hash("b"), &token("crm", "all", Timestamp::from_unix(u64::MAX))).await.unwrap();
        store.put_credential(site, "g-1", b"\x01sealed\0\xff").await.unwrap();
        for (kind, id, expires) in [
            (Kind::Grant, "g-1".to_owned(), None),
            (Kind::Refresh, hash("r").to_string(), Some(later())),
            (Kind::Keys, "signing".to_owned(), None),
            (Kind::Code, hash("c").to_string(), Some(later())),
            (Kind::Session, hash("s").to_string(), Some(later())),
            (Kind::Lease, "g-1".to_owned(), Some(later())),
        ] {
            assert!(store.create_record(site, kind, &id, br#"{"v":1,"of":"\u00fc"}"#, expires).await.unwrap());
        }
        let user = digest_id("sam@example.com");
        let origin = digest_id("https://crm.example.com");
        for (set, of, member) in
            [(Set::GrantsOfUser, &*user, "g-1"), (Set::GrantsOfClient, "crm", "g-1"), (Set::ClientsOfOrigin, &*origin, "crm")]
        {
            store.enter(site, set, of, member).await.unwrap();
        }
        for subject in [Subject::Client("crm"), Subject::User("user:with:colons@example.com"), Subject::Grant("g-0"), Subject::Latest] {
            store.raise(site, &[(subject.field(), Timestamp::from_unix(1_700_000_000))]).await.unwrap();
        }
    }
}

/// Everything in a store, by place.
async fn all(store: &dyn Store) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    each(&async |pages| store.export(pages).await, async |page| {
        for entry in page {
            entry.check()?;
            found.insert(entry.place(), entry);
        }
        Ok::<_, StoreError>(())
    })
    .await
    .unwrap();
    found
}

async fn lasting(store: &dyn Store) -> BTreeMap<String, Entry> {
    all(store).await.into_iter().filter(|(_, entry)| !entry.what().passing()).collect()
}

async fn copied(from: &dyn Store, to: &dyn Store, existing: Existing) -> Result<Copied, CopyError<StoreError>> {
    copy(async |pages| from.export(pages).await, to, existing, |_| {}).await
}

/// The tallies of a refusal: only in the target, and there otherwise.
async fn refused(from: &dyn Store, to: &dyn Store, existing: Existing) -> (Tally, Tally) {
    match copied(from, to, existing).await {
        Err(CopyError::Occupied { only_there, otherwise }) => (only_there, otherwise),
        other => panic!("not refused: {other:?}"),
    }
}

/// An empty store of each kind.
struct Targets {
    embedded: EmbeddedStore,
    redis: Arc<dyn Store>,
    _directory: TempDir,
    _server: RedisServer,
}

impl Targets {
    async fn new() -> Self {
        let (directory, server) = (tempfile::tempdir().unwrap(), RedisServer::start());
        Self {
            embedded: embedded(directory.path()),
            redis: Arc::new(redis(&server, PATIENCE).await),
            _directory: directory,
            _server: server,
        }
    }

    fn each(&self) -> [&dyn Store; 2] {
        [&self.embedded, &*self.redis]
    }
}

fn beside(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&directory.join("other.redb")).unwrap()
}

async fn everything_that_lives_is_exported_and_nothing_else(store: Arc<dyn Store>) {
    assert!(all(&*store).await.is_empty());
    fill(&*store).await;
    let past = Timestamp::from_unix(1_700_000_000);
    store.put_token("shop", &hash("old"), &token("crm", "read", past)).await.unwrap();
    store.create_record("shop", Kind::Refresh, &hash("old").to_string(), br#"{"v":1}"#, Some(past)).await.unwrap();
    let just_now = Timestamp::from_unix(wall_clock().unix() - 5);
    store.put_token("shop", &hash("just now"), &token("crm", "read", just_now)).await.unwrap();
    store.delete_token("shop", &hash("b")).await.unwrap();
    store.delete_record("shop", Kind::Code, &hash("c").to_string()).await.unwrap();
    let found = all(&*store).await;
    let mut tally = Tally::default();
    found.values().for_each(|entry| tally.add(entry.what()));
    let counted: Vec<u64> = [
        What::Clients,
        What::Tokens,
        What::Grants,
        What::RefreshTokens,
        What::Credentials,
        What::SigningKeys,
        What::Marks,
        What::Listings,
        What::Codes,
        What::Sessions,
        What::Leases,
    ]
    .map(|what| tally.of(what))
    .to_vec();
    assert_eq!(counted, [2, 3, 2, 2, 2, 2, 8, 6, 1, 2, 2], "{tally:?}");
    let user = &found["shop:notbefore:user:user:with:colons@example.com"];
    assert_eq!(user.item, Item::Mark { subject: "user:user:with:colons@example.com".to_owned(), at: past });
    let client = Client { origins: vec!["https://crm.example.com".to_owned()], ..client("crm") };
    assert_eq!(found["shop:client:crm"].item, Item::Client(Box::new(client)));
    for entry in found.values() {
        let json = serde_json::to_string(entry).unwrap();
        assert_eq!(&serde_json::from_str::<Entry>(&json).unwrap(), entry, "{json}");
    }
}

async fn a_copy_in_either_store_is_the_same_and_a_second_one_changes_nothing(store: Arc<dyn Store>) {
    fill(&*store).await;
    let expected = lasting(&*store).await;
    let targets = Targets::new().await;
    for target in targets.each() {
        let first = copied(&*store, target, Existing::Refuse).await.unwrap();
        assert_eq!((first.copied.total(), first.same.total(), first.unknown), (expected.len() as u64, 0, 0));
        assert_eq!((first.left_out.of(What::Codes), first.left_out.of(What::Sessions), first.left_out.total()), (2, 2, 6));
        assert_eq!(all(target).await, expected, "{}", target.kind());
        for existing in [Existing::Refuse, Existing::Merge, Existing::Replace] {
            let second = copied(&*store, target, existing).await.unwrap();
            assert_eq!((second.copied.total(), second.same.total()), (0, expected.len() as u64), "{existing:?}");
            assert_eq!((second.removed.total(), second.kept.total()), (0, 0));
        }
        assert_eq!(all(target).await, expected);
        // What the store makes for itself is there as well.
        assert_eq!(target.clients("shop").await.unwrap(), store.clients("shop").await.unwrap());
        assert_eq!(target.tokens_of("shop", "crm", 9).await.unwrap(), store.tokens_of("shop", "crm", 9).await.unwrap());
        assert_eq!(
            target.members("shop", Set::GrantsOfClient, "crm").await.unwrap(),
            store.members("shop", Set::GrantsOfClient, "crm").await.unwrap()
        );
    }
    let from_redis = beside(targets._directory.path());
    copied(&*targets.redis, &from_redis, Existing::Refuse).await.unwrap();
    assert_eq!(all(&from_redis).await, expected, "there and back");
}

async fn what_expires_expires_in_the_copy_too(store: Arc<dyn Store>) {
    let soon = wall_clock().plus(60);
    store.create_record("erp", Kind::Refresh, "r", br#"{"v":1}"#, Some(soon)).await.unwrap();
    store.create_record("erp", Kind::Grant, "g", br#"{"v":1}"#, None).await.unwrap();
    let targets = Targets::new().await;
    for target in targets.each() {
        copied(&*store, target, Existing::Refuse).await.unwrap();
        let found = all(target).await;
        let Item::Record { expires: Some(at), .. } = found["erp:refresh:r"].item else { panic!("{found:?}") };
        assert!(at.unix().abs_diff(soon.unix()) <= 1, "{at:?} for {soon:?}");
        assert!(matches!(found["erp:grant:g"].item, Item::Record { expires: None, .. }));
    }
}

async fn a_copy_over_other_data_is_refused_and_writes_nothing(store: Arc<dyn Store>) {
    fill(&*store).await;
    let targets = Targets::new().await;
    for target in targets.each() {
        target.put_token("erp.example.com", &hash("own"), &token("crm", "read", later())).await.unwrap();
        target.raise("shop", &[(Subject::User("new@example.com").field(), later())]).await.unwrap();
        let before = all(target).await;
        let (only_there, otherwise) = refused(&*store, target, Existing::Refuse).await;
        assert_eq!((only_there.of(What::Tokens), only_there.of(What::Marks), only_there.total(), otherwise.total()), (1, 1, 2, 0));
        assert_eq!(all(target).await, before);

        // The same token and the same client, but otherwise: a refresh token that was spent is the same case.
        target.put_token("shop", &hash("a"), &token("crm", "all", later())).await.unwrap();
        target.create_client("shop", &client("crm")).await.unwrap();
        target.create_record("shop", Kind::Refresh, &hash("r").to_string(), br#"{"v":1,"spent":1}"#, None).await.unwrap();
        let before = all(target).await;
        for existing in [Existing::Refuse, Existing::Merge] {
            let (_, otherwise) = refused(&*store, target, existing).await;
            assert_eq!((otherwise.of(What::Tokens), otherwise.of(What::Clients), otherwise.of(What::RefreshTokens)), (1, 1, 1));
            assert_eq!(all(target).await, before);
        }
    }
}

async fn merged_and_replaced_are_what_they_say(store: Arc<dyn Store>) {
    fill(&*store).await;
    let expected = lasting(&*store).await;
    let targets = Targets::new().await;
    for target in targets.each() {
        target.put_token("other", &hash("own"), &token("own", "read", later())).await.unwrap();
        target.create_client("other", &client("own")).await.unwrap();
        target.create_record("other", Kind::Session, "s", br#"{"v":1}"#, Some(later())).await.unwrap();
        target.enter("other", Set::GrantsOfClient, "own", "g").await.unwrap();
        target.put_credential("other", "g", b"sealed").await.unwrap();
        let own = lasting(target).await;
        let merged = copied(&*store, target, Existing::Merge).await.unwrap();
        assert_eq!((merged.copied.total(), merged.kept.total()), (expected.len() as u64, own.len() as u64));
        let mut both = expected.clone();
        both.extend(own.clone());
        assert_eq!(lasting(target).await, both);

        target.put_credential("shop", "g-1", b"another").await.unwrap();
        let replaced = copied(&*store, target, Existing::Replace).await.unwrap();
        assert_eq!((replaced.copied.of(What::Credentials), replaced.copied.total()), (1, 1));
        assert_eq!((replaced.removed.of(What::Sessions), replaced.removed.total()), (1, own.len() as u64 + 1));
        assert_eq!(all(target).await, expected);
        assert_eq!(target.clients("other").await.unwrap(), []);
        assert_eq!(target.tokens_of("other", "own", 9).await.unwrap(), []);
    }
}

async fn a_revocation_in_the_target_is_never_taken_back(store: Arc<dyn Store>) {
    fill(&*store).await;
    let targets = Targets::new().await;
    for target in targets.each() {
        target.raise("shop", &[(Subject::Client("crm").field(), Timestamp::from_unix(1_800_000_000))]).await.unwrap();
        target.raise("shop", &[(Subject::User("gone@example.com").field(), Timestamp::from_unix(5))]).await.unwrap();
        target.raise("shop", &[(Subject::Grant("g-0").field(), Timestamp::from_unix(5))]).await.unwrap();
        copied(&*store, target, Existing::Replace).await.unwrap();
        for (subject, at) in [
            (Subject::Client("crm"), 1_800_000_000),
            (Subject::User("gone@example.com"), 5),
            // The later one of the source.
            (Subject::Grant("g-0"), 1_700_000_000),
        ] {
            assert_eq!(target.mark("shop", &[subject]).await.unwrap(), Some(Timestamp::from_unix(at)), "{subject:?}");
        }
    }
}

async fn an_export_that_nobody_wants_ends(store: Arc<dyn Store>) {
    fill(&*store).await;
    let (pages, wanted) = tokio::sync::mpsc::channel(1);
    drop(wanted);
    store.export(pages).await.unwrap();
    let failed = each(&async |pages| store.export(pages).await, async |_| Err::<(), _>(StoreError("enough".to_owned()))).await;
    assert_eq!(failed.unwrap_err().0, "enough");
}

async fn what_no_store_takes_is_not_imported(store: Arc<dyn Store>) {
    let mark = |subject: &str| Item::Mark { subject: subject.to_owned(), at: Timestamp::from_unix(1) };
    let record = |id: &str, json: &[u8]| Item::Record { kind: Kind::Grant, id: id.to_owned(), json: json.to_vec(), expires: None };
    let member = |of: &str, member: &str| Item::Member { set: Set::GrantsOfUser, of: of.to_owned(), member: member.to_owned() };
    let good = Entry::new("erp", Item::Client(Box::new(client("good"))));
    for (site, item) in [
        ("erp:x", Item::Client(Box::new(client("crm")))),
        ("", mark("client:crm")),
        ("erp", Item::Client(Box::new(client("a:b")))),
        ("erp", Item::Client(Box::new(Client { v: 2, ..client("crm") }))),
        ("erp", Item::Token { hash: hash("a"), record: token("a b", "read", later()) }),
        ("erp", Item::Credential { id: "{a}".to_owned(), sealed: Vec::new() }),
        ("erp", Item::Credential { id: "a".to_owned(), sealed: vec![0; 70_000] }),
        ("erp", record("a:b", br#"{"v":1}"#)),
        ("erp", record("a", br#"{"v":2}"#)),
        ("erp", record("a", b"{")),
        ("erp", member("a:b", "c")),
        ("erp", member("a", "")),
        ("erp", mark("crm")),
        ("erp", mark("cat:crm")),
    ] {
        let bad = Entry::new(site, item);
        assert!(store.import(vec![good.clone(), bad.clone()]).await.is_err(), "{bad:?}");
        assert!(all(&*store).await.is_empty(), "{bad:?}: none of a page that is refused");
    }
}

async fn many_pages_are_as_good_as_one(store: Arc<dyn Store>) {
    let count = 2 * PAGE_ENTRIES_MAX + 7;
    let mut page = Page::default();
    for number in 0..count {
        let entry = Entry::new("erp", Item::Token { hash: hash(&number.to_string()), record: token("crm", "read", later()) });
        if let Some(full) = page.put(entry) {
            store.import(full).await.unwrap();
        }
    }
    // Members and marks come through steps of their own.
    let members = (0..count).map(|number| Item::Member { set: Set::GrantsOfClient, of: "crm".to_owned(), member: format!("g-{number}") });
    for item in members {
        if let Some(full) = page.put(Entry::new("erp", item)) {
            store.import(full).await.unwrap();
        }
    }
    store.import(page.take()).await.unwrap();
    assert_eq!(all(&*store).await.len(), 2 * count);
    let targets = Targets::new().await;
    for target in targets.each() {
        let done = copied(&*store, target, Existing::Refuse).await.unwrap();
        assert_eq!((done.copied.of(What::Tokens), done.copied.of(What::Listings)), (count as u64, count as u64));
        assert_eq!(target.tokens_of("erp", "crm", usize::MAX).await.unwrap().len(), count);
    }
}
