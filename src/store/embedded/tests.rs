//! The embedded store: durability, one process at a time, damaged files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::store::contract::{client, embedded, hash, later, token};
use crate::store::export::{Entry, Item, PAGE_ENTRIES_MAX, PortableStore};

use super::*;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = embedded(directory.path());
        store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
        store.create_client("erp", &client("crm")).await.unwrap();
        store.put_credential("erp", "crm", b"sealed").await.unwrap();
    }
    let store = embedded(directory.path());
    store.ping().await.unwrap();
    assert!(store.token("erp", &hash("a")).await.unwrap().is_some());
    assert_eq!(store.client("erp", "crm").await.unwrap(), Some(client("crm")));
    assert_eq!(store.credential("erp", "crm").await.unwrap().as_deref(), Some(&b"sealed"[..]));
    assert_eq!(store.tokens_of("erp", "crm", 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_open_elsewhere_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let held = embedded(directory.path());
    let error = EmbeddedStore::open(&directory.path().join("store.redb")).err().unwrap().0;
    assert!(error.contains("store.redb") && error.contains("running gate") && error.contains("admin socket"), "{error}");
    drop(held);
    embedded(directory.path());
}

#[test]
fn the_file_and_its_directory_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("var/lib/store.redb");
    let _store = EmbeddedStore::open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_path_that_cannot_be_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for path in ["", ".", "file/store.redb"] {
        let error = EmbeddedStore::open(&directory.path().join(path)).err().unwrap().0;
        assert!(error.contains("cannot be opened"), "{error}");
    }
}

#[test]
fn a_foreign_or_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    drop(embedded(directory.path()));
    let good = fs::read(directory.path().join("store.redb")).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    let rows = [
        ("a text", b"[store]\nbackend = \"embedded\"\n".to_vec()),
        ("a long text", vec![b'#'; 100_000]),
        ("cut short", good[..5000].to_vec()),
        ("another magic number", flipped(0)),
    ];
    for (name, bytes) in rows {
        let path = directory.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let error = EmbeddedStore::open(&path).err().unwrap_or_else(|| panic!("{name} was opened")).0;
        assert!(error.contains(name) && (error.contains("backup") || error.contains("choose another path")), "{name}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
    }
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = embedded(directory.path());
    for number in 0..20 {
        store.put_token("erp", &hash(&format!("{number}")), &token("crm", "read", later())).await.unwrap();
    }
    drop(store);
    let good = fs::read(&path).unwrap();
    let mut refused = 0;
    // The head closely, then every page somewhere.
    for at in (0..512).step_by(9).chain((4096..good.len()).step_by(4099)) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x55;
        fs::write(&path, &flipped).unwrap();
        match EmbeddedStore::open(&path) {
            Err(_) => refused += 1,
            Ok(store) => {
                for number in 0..20 {
                    assert!(store.token("erp", &hash(&format!("{number}"))).await.unwrap().is_some(), "byte {at}");
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn the_database_of_another_program_or_a_later_build_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.redb");
    let database = Database::create(&other).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("cats")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(EmbeddedStore::open(&other).err().unwrap().0.contains("another program"));

    let store = embedded(directory.path());
    let transaction = store.begin().unwrap();
    transaction.open_table(META).unwrap().insert(FORMAT, 2).unwrap();
    transaction.commit().unwrap();
    drop(store);
    let error = EmbeddedStore::open(&directory.path().join("store.redb")).err().unwrap().0;
    assert!(error.contains("format 2"), "{error}");
}

#[tokio::test]
async fn a_look_up_waits_for_no_writer() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let writing = store.begin().unwrap();
    remove_token(&writing, "erp", &hash("a")).unwrap();
    assert!(store.token("erp", &hash("a")).await.unwrap().is_some(), "what is not committed is not seen");
    writing.commit().unwrap();
    assert!(store.token("erp", &hash("a")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_record_is_an_error_and_can_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let transaction = store.begin().unwrap();
    transaction.open_table(TOKENS).unwrap().insert(("erp", *hash("a").as_bytes()), &b"{}"[..]).unwrap();
    transaction.open_table(CLIENTS).unwrap().insert(("erp", "crm"), &b"{}"[..]).unwrap();
    transaction.commit().unwrap();
    assert!(store.token("erp", &hash("a")).await.unwrap_err().0.contains(&hash("a").fingerprint()));
    assert!(store.tokens_of("erp", "crm", 9).await.is_err());
    assert!(store.client("erp", "crm").await.unwrap_err().0.contains("crm"));
    assert!(store.clients("erp").await.is_err());
    assert!(store.delete_token("erp", &hash("a")).await.unwrap());
    assert_eq!(store.tokens_of("erp", "crm", 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_sweep_takes_the_oldest_few_and_leaves_what_was_prolonged() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    let transaction = store.begin().unwrap();
    for number in 0..100_u64 {
        let exp = 1000 + number;
        let hash = hash(&number.to_string());
        let json = write_token("erp", &hash, &token("crm", "read", Timestamp::from_unix(exp))).unwrap();
        transaction.open_table(TOKENS).unwrap().insert(("erp", *hash.as_bytes()), &*json).unwrap();
        transaction.open_table(CLIENT_TOKENS).unwrap().insert(("erp", "crm", exp, *hash.as_bytes()), ()).unwrap();
        transaction.open_table(EXPIRY).unwrap().insert((exp, "erp", *hash.as_bytes()), ()).unwrap();
    }
    // An entry that no longer tells the truth: it stays behind where a record that could not be read was put anew.
    let exp = later();
    let prolonged = write_token("erp", &hash("3"), &token("crm", "read", exp)).unwrap();
    transaction.open_table(EXPIRY).unwrap().insert((exp.unix(), "erp", *hash("3").as_bytes()), ()).unwrap();
    transaction.open_table(TOKENS).unwrap().insert(("erp", *hash("3").as_bytes()), &*prolonged).unwrap();
    transaction.commit().unwrap();

    store.put_token("erp", &hash("new"), &token("crm", "read", later())).await.unwrap();
    let kept = |name: &'static str| {
        let store = &store;
        async move { store.token("erp", &hash(name)).await.unwrap().is_some() }
    };
    assert!(!kept("0").await && !kept("63").await);
    assert!(kept("3").await && kept("64").await && kept("new").await);
    store.put_token("erp", &hash("newer"), &token("crm", "read", later())).await.unwrap();
    assert!(!kept("99").await && kept("3").await);

    // Not a second early, and at its very second.
    for (now, there) in [(exp.unix() - 1, true), (exp.unix(), false)] {
        let transaction = store.begin().unwrap();
        sweep(&transaction, Timestamp::from_unix(now)).unwrap();
        transaction.commit().unwrap();
        assert_eq!(kept("3").await, there);
    }
    let transaction = store.begin().unwrap();
    sweep(&transaction, exp.plus(3600)).unwrap();
    transaction.commit().unwrap();
    assert!(!kept("new").await && !kept("newer").await);
}

/// Whoever adds a table adds it to `embedded/export.rs` too, or says here that it is an index.
#[test]
fn every_table_is_exported_or_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    let tables = store.database.begin_read().unwrap();
    let mut names: Vec<String> = tables.list_tables().unwrap().map(|table| redb::TableHandle::name(&table).to_owned()).collect();
    names.sort();
    let exported = ["clients", "credentials", "notbefore", "records", "sets", "tokens"];
    let made_anew = ["client-tokens", "expiry", "record-expiry", "revocations", "scopegate"];
    let mut known = [&exported[..], &made_anew].concat();
    known.sort_unstable();
    assert_eq!(names, known);
}

#[tokio::test]
async fn an_export_is_one_state_whatever_is_written_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    let count = 3 * PAGE_ENTRIES_MAX;
    let entries = |from: usize| {
        (from..from + count).map(|number| Entry::new("erp", Item::Client(Box::new(client(&format!("c{number:06}")))))).collect()
    };
    store.import(entries(0)).await.unwrap();
    let (pages, mut exported) = tokio::sync::mpsc::channel(1);
    let export = store.export(pages);
    let take = async {
        let mut found = exported.recv().await.unwrap();
        // The export has begun, and waits for room.
        store.import(entries(count)).await.unwrap();
        store.delete_client("erp", &format!("c{:06}", count - 1)).await.unwrap();
        while let Some(page) = exported.recv().await {
            found.extend(page);
        }
        found
    };
    let (exported, found) = tokio::join!(export, take);
    assert_eq!(exported.unwrap(), 0);
    let ids: Vec<String> = found.iter().map(Entry::place).collect();
    assert_eq!((ids.len(), ids.last().unwrap().as_str()), (count, &*format!("erp:client:c{:06}", count - 1)));
}

#[tokio::test]
async fn a_damaged_record_is_named_by_an_export() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    let transaction = store.begin().unwrap();
    transaction.open_table(CLIENTS).unwrap().insert(("erp", "crm"), &b"{}"[..]).unwrap();
    transaction.commit().unwrap();
    let (pages, _exported) = tokio::sync::mpsc::channel(1);
    assert!(store.export(pages).await.unwrap_err().0.contains("client crm of site erp"));
}

/// A commit that was cut off half-way: its root is written, one of its pages is not.
#[tokio::test]
async fn after_a_torn_write_the_one_before_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = embedded(directory.path());
    store.put_token("erp", &hash("a"), &token("crm", "read", later())).await.unwrap();
    let before = fs::read(&path).unwrap();
    store.put_token("erp", &hash("b"), &token("crm", "read", later())).await.unwrap();
    // What the disk had when the power went: as the gate left it, without a clean end.
    let after = fs::read(&path).unwrap();
    drop(store);
    let (mut opened, mut rolled_back) = (0, 0);
    // The head of the file says which commit counts; any later page may have been lost.
    for page in (4096..before.len().min(after.len())).step_by(4096) {
        if before[page..page + 4096] == after[page..page + 4096] {
            continue;
        }
        let mut torn = after.clone();
        torn[page..page + 4096].copy_from_slice(&before[page..page + 4096]);
        fs::write(&path, torn).unwrap();
        let store = EmbeddedStore::open(&path).unwrap_or_else(|error| panic!("page at {page}: {error}"));
        assert!(store.token("erp", &hash("a")).await.unwrap().is_some(), "page at {page}");
        opened += 1;
        rolled_back += usize::from(store.token("erp", &hash("b")).await.unwrap().is_none());
    }
    assert!(opened > 0 && rolled_back > 0, "{opened} {rolled_back}");
}
