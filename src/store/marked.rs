//! A client as its marks leave it.
//!
//! Disabling, deleting and rotating a secret are marks first, because a mark is one write with its entry in the log and survives a store that
//! goes back in time; the record says the same a moment later.

use crate::oauth::client::Client;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::kept::Subject;

/// Whose marks decide about a client, in the order in which [`Marked`] takes them.
pub fn subjects(id: &str) -> [Subject<'_>; 4] {
    [Subject::Disabled(id), Subject::Enabled(id), Subject::Deleted(id), Subject::Secret(id)]
}

/// The marks of [`subjects`].
pub type Marks = [Option<Timestamp>; 4];

/// The client; `None` where it was deleted.
pub fn marked(client: Client, [disabled, enabled, deleted, secret]: Marks) -> Option<Client> {
    if deleted.is_some_and(|mark| client.created <= mark) {
        return None;
    }
    // Until its deletion it was another client of the same id that was disabled.
    let enabled = client.enabled && disabled <= enabled.max(deleted);
    let client = Client { enabled, ..client };
    let since = client.secret_since.unwrap_or(client.created);
    if client.public() || secret.is_none_or(|mark| since >= mark) {
        return Some(client);
    }
    // The record is from before the rotation, and the secret that came after it is lost. It must not become a public client.
    Some(Client { secret: Some(TokenHash::from_bytes(NO_SECRET)), previous_secret: None, ..client })
}

/// No secret has this hash that anybody could find.
const NO_SECRET: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::PreviousSecret;
    use crate::policy::scope::Scopes;

    fn at(second: u64) -> Option<Timestamp> {
        Some(Timestamp::from_unix(second))
    }

    fn client() -> Client {
        let hash = TokenHash::of(b"secret");
        Client {
            secret: Some(hash),
            previous_secret: Some(PreviousSecret { hash, until: Timestamp::from_unix(99) }),
            ..Client::new("crm", "CRM", Scopes::parse("read").unwrap(), Timestamp::from_unix(10))
        }
    }

    #[test]
    fn a_client_is_disabled_from_its_mark_until_a_later_one_enables_it() {
        for (disabled, enabled, lives) in [
            (None, None, true),
            (at(5), None, false),
            (None, at(5), true),
            (at(5), at(6), true),
            (at(6), at(5), false),
            // The stores never give two alike; where they are, nothing was taken back later than it was given.
            (at(5), at(5), true),
        ] {
            let marks = [disabled, enabled, None, None];
            assert_eq!(marked(client(), marks).unwrap().enabled, lives, "{marks:?}");
            let off = Client { enabled: false, ..client() };
            assert!(!marked(off, marks).unwrap().enabled, "no mark enables a record that says otherwise");
        }
    }

    #[test]
    fn a_client_is_not_disabled_by_what_was_said_of_an_earlier_one_of_its_id() {
        for (disabled, enabled, deleted, lives) in [
            (at(5), None, at(6), true),
            (at(5), at(4), at(6), true),
            (at(7), at(4), at(6), false),
            (at(7), at(8), at(6), true),
            (at(7), None, at(6), false),
        ] {
            let marks = [disabled, enabled, deleted, None];
            assert_eq!(marked(client(), marks).unwrap().enabled, lives, "{marks:?}");
        }
    }

    #[test]
    fn a_client_that_was_created_until_its_deletion_is_none() {
        for (deleted, there) in [(None, true), (at(9), true), (at(10), false), (at(11), false)] {
            assert_eq!(marked(client(), [None, None, deleted, None]).is_some(), there, "{deleted:?}");
        }
    }

    #[test]
    fn a_secret_from_before_the_last_rotation_is_worth_nothing() {
        for (since, mark, worth) in [
            (None, None, true),
            (None, at(10), true),
            (None, at(11), false),
            (at(20), at(20), true),
            (at(20), at(21), false),
            (at(20), at(19), true),
        ] {
            let found = marked(Client { secret_since: since, ..client() }, [None, None, None, mark]).unwrap();
            assert_eq!(found.secret == client().secret, worth, "{since:?} {mark:?}");
            assert_eq!(found.previous_secret.is_some(), worth);
            assert!(!found.public(), "it is still no public client");
        }
        let public = Client { secret: None, previous_secret: None, ..client() };
        assert_eq!(marked(public.clone(), [None, None, None, at(50)]), Some(public));
    }
}
