//! Tickets: what a page hands to the form behind it, sealed, so that the form can say only what the page did.
//!
//! A ticket names the browser session that it was made for, and a purpose. Whoever has no key can make none, whoever has another session
//! cannot use one, and the ticket of one form opens nothing for another.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use data_encoding::BASE64URL_NOPAD;
use http::HeaderName;
use http::header::ORIGIN;

use crate::authserver::call::{Call, Failure};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::policy::time::Timestamp;
use crate::store::seal::SealKey;

/// The longest ticket that is opened, in bytes.
const TICKET_BYTES_MAX: usize = 32 * 1024;

/// What a ticket is for. The place it is sealed for has a `:`, which no id of a credential has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A sign-in that is under way, in a cookie.
    SignIn,
    Consent,
    Withdraw,
    SignOut,
}

impl Purpose {
    const fn place(self) -> &'static str {
        match self {
            Self::SignIn => "ticket:sign-in",
            Self::Consent => "ticket:consent",
            Self::Withdraw => "ticket:withdraw",
            Self::SignOut => "ticket:sign-out",
        }
    }
}

/// A ticket for one session.
#[derive(Serialize, Deserialize)]
pub struct Ticket<T> {
    /// The id of the session that it was made for.
    session: String,
    exp: Timestamp,
    pub what: T,
}

impl<T> Ticket<T> {
    pub fn new(session: &str, exp: Timestamp, what: T) -> Self {
        Self { session: session.to_owned(), exp, what }
    }

    /// Whether it counts at `now` for the session of this id.
    pub fn holds(&self, session: &str, now: Timestamp) -> bool {
        self.session == session && now < self.exp
    }
}

/// Seals `value`, as text for a cookie or a form.
pub fn seal<T: Serialize>(key: &SealKey, site: &str, purpose: Purpose, value: &T) -> Result<String, Failure> {
    let failed = || OAuthError::new(ErrorCode::ServerError, "a ticket cannot be sealed; try again");
    let json = serde_json::to_vec(value).map_err(|_| failed())?;
    Ok(BASE64URL_NOPAD.encode(&key.seal(site, purpose.place(), &json).map_err(|_| failed())?))
}

/// What was sealed for this purpose; `None` for anything that was not.
pub fn open<T: DeserializeOwned>(key: &SealKey, site: &str, purpose: Purpose, text: &str) -> Option<T> {
    if text.len() > TICKET_BYTES_MAX {
        return None;
    }
    let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    serde_json::from_slice(&key.open(site, purpose.place(), &sealed).ok()?).ok()
}

/// Whether a form may have come from a page of the gate's own, as far as the browser says. Tickets are what keeps other sites out; this
/// keeps them out twice.
pub fn from_own_page(call: &Call<'_>) -> bool {
    let origin = call.headers.get_all(ORIGIN).iter().all(|origin| origin.as_bytes() == call.issuer.url.as_bytes());
    let fetched = call.headers.get_all(SEC_FETCH_SITE).iter().all(|site| site.as_bytes() == b"same-origin");
    origin && fetched
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        SealKey::from_hex(&SealKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_ticket_opens_for_its_purpose_site_and_key_only() {
        let key = key();
        let text = seal(&key, "erp", Purpose::Consent, &"hello").unwrap_or_else(|_| panic!("it seals"));
        let open = |key: &SealKey, site: &str, purpose, text: &str| open::<String>(key, site, purpose, text);
        assert_eq!(open(&key, "erp", Purpose::Consent, &text).as_deref(), Some("hello"));
        for purpose in [Purpose::SignIn, Purpose::Withdraw, Purpose::SignOut] {
            assert_eq!(open(&key, "erp", purpose, &text), None, "{purpose:?}");
        }
        assert_eq!(open(&key, "crm", Purpose::Consent, &text), None);
        assert_eq!(open(&super::tests::key(), "erp", Purpose::Consent, &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(open(&key, "erp", Purpose::Consent, std::str::from_utf8(&changed).unwrap()), None, "changed at {at}");
        }
        for text in ["", "AA", &text[..text.len() - 1], &format!("{text}="), &"A".repeat(TICKET_BYTES_MAX + 1)] {
            assert_eq!(open(&key, "erp", Purpose::Consent, text), None);
        }
    }

    #[test]
    fn a_ticket_counts_for_its_session_until_it_ends() {
        let ticket = Ticket::new("abc", Timestamp::from_unix(10), ());
        assert!(ticket.holds("abc", Timestamp::from_unix(9)));
        assert!(!ticket.holds("abc", Timestamp::from_unix(10)));
        assert!(!ticket.holds("abd", Timestamp::from_unix(9)));
        assert!(!ticket.holds("", Timestamp::from_unix(9)));
    }
}
