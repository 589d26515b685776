//! The embedded store: durability, one process at a time, damaged files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::store::contract::{client, embedded, hash, later, token};

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
