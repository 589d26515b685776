//! What only the file can show: entries that nobody here wrote, and what is left when it is opened again.

use crate::oauth::client::Client;
use crate::store::ClientStore;
use crate::store::contract::{client, embedded};

use super::*;

#[tokio::test]
async fn a_foreign_entry_is_one_that_may_mean_anything() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    store.announce("erp", &Entry::Begin).await.unwrap();
    for (number, pairs) in [(2, &b"[\"pardon\",\"crm\"]"[..]), (3, b"no JSON"), (4, b""), (5, b"[1,2]")] {
        store
            .write(log_name("erp"), move |transaction| {
                transaction.open_table(LOG)?.insert(("erp", number), pairs)?;
                Ok(())
            })
            .await
            .unwrap();
        let entries = store.log("erp", None, 9).await.unwrap().unwrap();
        let (begin, last) = (&entries[0], entries.last().unwrap());
        assert_eq!((&*last.place, &last.entry), (&*number.to_string(), &Entry::Unknown));
        assert_eq!(store.log("erp", Some(begin), 9).await.unwrap().unwrap().len() as u64, number - 1, "it is a place like any other");
        assert_eq!(store.log("erp", Some(last), 9).await.unwrap(), Some(vec![]));
    }
}

#[tokio::test]
async fn a_place_of_another_store_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded(directory.path());
    store.announce("erp", &Entry::Begin).await.unwrap();
    for place in ["", "-", "1700000000000-0", "0", "2", "-1"] {
        let from = Logged { place: place.into(), entry: Entry::Begin };
        assert_eq!(store.log("erp", Some(&from), 9).await.unwrap(), None, "{place}");
    }
}

#[tokio::test]
async fn marks_and_the_log_are_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let place = {
        let store = embedded(directory.path());
        store.create_client("erp", &client("crm")).await.unwrap();
        store.revoke("erp", &[Subject::Disabled("crm")], Timestamp::from_unix(100)).await.unwrap();
        store.log("erp", None, 9).await.unwrap().unwrap().pop().unwrap()
    };
    let store = embedded(directory.path());
    assert_eq!(store.client("erp", "crm").await.unwrap(), Some(Client { enabled: false, ..client("crm") }));
    assert_eq!(store.log("erp", Some(&place), 9).await.unwrap(), Some(vec![]));
    assert_eq!(store.revoke("erp", &[Subject::Enabled("crm")], Timestamp::from_unix(100)).await.unwrap(), Timestamp::from_unix(101));
}
