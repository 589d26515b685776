//! Who speaks: exactly one `Authorization` header, `Bearer` and one token, known to the store and alive at this second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::exchange::Exchange;
use crate::gateway::rejection::Rejection;
use crate::gateway::site::Site;
use crate::gateway::{Shared, Worker};
use crate::policy::time::Timestamp;
use crate::policy::token::{AccessToken, TOKEN_TEXT_MAX, TokenHash};
use crate::store::cached::{Live, Lookup, SiteId, Unknown};

/// Reads the only `Authorization` header. Frappe takes a repeated, doubly spaced or otherwise odd one for no attempt at all and goes on as
/// a guest or by the cookie (FACTS section 4; T135 to T146): here it is an attempt that failed.
pub fn bearer(headers: &HeaderMap) -> Result<AccessToken, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::NoToken)?;
    if values.next().is_some() {
        return Err(Rejection::AuthorizationInvalid("there is more than one Authorization header"));
    }
    let text = value.to_str().ok().filter(|text| text.len() <= TOKEN_TEXT_MAX + 7);
    let (scheme, token) = text
        .and_then(|text| text.split_once(' '))
        .ok_or(Rejection::AuthorizationInvalid("the Authorization header is not of the form Bearer and a token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::AuthorizationInvalid("only the Bearer scheme is accepted here"));
    }
    AccessToken::parse(token).ok_or(Rejection::AuthorizationInvalid("the token is not of a form that a token can have"))
}

impl Worker {
    /// Looks the token up. A store that cannot answer is never taken for a no.
    pub(super) async fn authenticate(&self, site: &Site, token: &AccessToken, exchange: &mut Exchange) -> Result<Arc<Live>, Rejection> {
        let hash = token.hash();
        exchange.token = Some(hash);
        let guesses = self.shared.limits.failed_authentications.as_ref();
        if let Some(guesses) = guesses
            && let Err(too_many) = guesses.check(exchange.address, self.nanos(exchange.started))
            && !self.shared.store.knows(site.id, &hash)
        {
            return Err(Rejection::FailedTooOften(too_many));
        }
        match self.shared.live(site.id, &site.name, &hash, exchange.began, exchange.started).await {
            Ok(live) => {
                exchange.live = Some(live.clone());
                Ok(live)
            }
            Err(Rejection::TokenUnknown) => {
                // Only tokens that nobody issued count: a client whose token has just expired must learn that, to refresh it.
                if let Some(guesses) = guesses {
                    let _ = guesses.count(exchange.address, self.nanos(exchange.started));
                }
                Err(Rejection::TokenUnknown)
            }
            Err(rejection) => Err(rejection),
        }
    }

    pub(super) fn nanos(&self, at: Instant) -> u64 {
        self.shared.clock.nanos(at)
    }
}

impl Shared {
    /// The token, if it is alive at `now`, which is since 1970, and `at`, which is the same moment. Asked again when a body took its time to come: nothing is forwarded on the
    /// word of a token that has expired or was revoked meanwhile (DESIGN section 6).
    pub(super) async fn live(
        &self,
        site: SiteId,
        site_name: &str,
        hash: &TokenHash,
        now: Duration,
        at: Instant,
    ) -> Result<Arc<Live>, Rejection> {
        match self.store.find_at(site, site_name, hash, Timestamp::from_unix(now.as_secs()), at).await {
            Ok(Lookup::Live(live)) => Ok(live),
            Ok(Lookup::Unknown(Unknown::Expired)) => Err(Rejection::TokenExpired),
            Ok(Lookup::Unknown(Unknown::Revoked)) => Err(Rejection::TokenRevoked),
            Ok(Lookup::Unknown(Unknown::NoSuchClient | Unknown::OlderThanClient)) => Err(Rejection::ClientUnknown),
            Ok(Lookup::Unknown(Unknown::ClientDisabled)) => Err(Rejection::ClientDisabled),
            Ok(Lookup::Unknown(Unknown::NoSuchToken)) => Err(Rejection::TokenUnknown),
            Err(error) => {
                self.complaints.utter(&format!("the token store cannot answer: {error}"));
                Err(Rejection::StoreAway)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
        }
        bearer(&headers).map(|token| token.reveal().to_owned()).map_err(|rejection| rejection.code())
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let long = format!("Bearer {}", "a".repeat(TOKEN_TEXT_MAX));
        let too_long = format!("{long}a");
        let good: [(&[u8], &str); 4] =
            [(b"Bearer abc.DEF-1_2~3+4/5==", "abc.DEF-1_2~3+4/5=="), (b"bearer t", "t"), (b"BEARER t", "t"), (long.as_bytes(), &long[7..])];
        for (value, token) in good {
            assert_eq!(read(&[value]).as_deref(), Ok(token));
        }
        let bad: [(&str, &[&[u8]]); 17] = [
            ("T135, two spaces", &[b"Bearer  t"]),
            ("T136, three parts", &[b"Bearer t x"]),
            ("T137, a tab", &[b"Bearer\tt"]),
            ("T138, the scheme alone", &[b"Bearer"]),
            ("T139, a trailing space", &[b"Bearer t "]),
            ("T142, another scheme", &[b"Digest t"]),
            ("T143, no token", &[b"Bearer "]),
            ("T144, no scheme", &[b"t"]),
            ("T145, a no-break space behind it", &[b"Bearer t\xc2\xa0"]),
            ("T146, two headers", &[b"Bearer t", b"Bearer t"]),
            ("T146, joined by a comma", &[b"Bearer t, Bearer t"]),
            ("T149, an API key", &[b"token key:secret"]),
            ("T150, Basic", &[b"Basic a2V5OnNlY3JldA=="]),
            ("padding before the end", &[b"Bearer a=b"]),
            ("only padding", &[b"Bearer =="]),
            ("quotes", &[b"Bearer \"t\""]),
            ("too long", &[too_long.as_bytes()]),
        ];
        for (why, values) in bad {
            assert_eq!(read(values), Err("authorization_invalid"), "{why}");
        }
        assert_eq!(read(&[]), Err("token_missing"));
    }
}
