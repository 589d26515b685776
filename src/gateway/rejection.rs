//! Every no of the gateway, with its status, its stable reason and its headers.

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::audit;
use crate::exchange::rate;
use crate::exchange::read::Unread;
use crate::limiter::TooMany;
use crate::policy::refusal::{Reason, Refusal};
use crate::reply::Reply;
use crate::upstream::error::UpstreamError;

/// How long a client should wait before it asks again when a store or an upstream is away, in seconds.
const AWAY_RETRY_SECONDS: u64 = 2;

/// The reason of an upload that the upstream answered before it had the whole of it.
pub const ANSWERED_EARLY: &str = "upstream_early";

/// Why the gateway says no.
#[derive(Debug)]
pub enum Rejection {
    /// The rules say no, whoever asks or with these scopes.
    Refused(Refusal),
    /// No `Authorization` header at all.
    NoToken,
    /// Something that is no single Bearer token.
    AuthorizationInvalid(&'static str),
    TokenUnknown,
    TokenExpired,
    /// Its user, its client or its grant was revoked since.
    TokenRevoked,
    ClientDisabled,
    ClientUnknown,
    /// The store could not be asked: nobody knows whether the token is good.
    StoreAway,
    /// The credential for the upstream cannot be read, or not be had.
    CredentialAway,
    /// There is nothing to show the upstream for a token that comes of no sign-in.
    CredentialMissing,
    /// The site no longer takes its own tokens of the grant, which has ended.
    GrantRefused,
    /// The audit log cannot be written, and the operator rather serves nothing than what is not on record.
    Unrecordable,
    LimitedByClient(TooMany),
    LimitedByAddress(TooMany),
    FailedTooOften(TooMany),
    BodyTooLarge(u64),
    BodySlow,
    /// More bodies are on their way than the gate can hold.
    BodiesFull,
    BodyBroken,
    /// The client went away before its body had ended.
    BodyAbandoned,
    /// The upstream said yes to an upload before it had the whole of it.
    AnsweredEarly,
    ContentEncoded,
    HeaderRepeated(&'static str),
    Upstream(UpstreamError),
}

impl Rejection {
    /// Stable; for audit lines, metrics and clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.code(),
            Self::NoToken => "token_missing",
            Self::AuthorizationInvalid(_) => "authorization_invalid",
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::ClientDisabled => "client_disabled",
            Self::ClientUnknown => "client_unknown",
            Self::StoreAway => "store_unavailable",
            Self::CredentialAway => "credential_unavailable",
            Self::CredentialMissing => "credential_missing",
            Self::GrantRefused => "grant_refused_by_site",
            Self::Unrecordable => audit::UNAVAILABLE,
            Self::LimitedByClient(_) => "rate_client",
            Self::LimitedByAddress(_) => "rate_address",
            Self::FailedTooOften(_) => "rate_failed_authentications",
            Self::BodyTooLarge(_) => Reason::BodyTooLarge.code(),
            Self::BodySlow => "body_timeout",
            Self::BodiesFull => "bodies_full",
            Self::BodyBroken | Self::BodyAbandoned => "body_broken",
            Self::AnsweredEarly => ANSWERED_EARLY,
            Self::ContentEncoded => "content_encoding",
            Self::HeaderRepeated(_) => "header_repeated",
            Self::Upstream(error) => error.code(),
        }
    }

    /// Whether a time limit was what ended it.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::BodySlow | Self::Upstream(UpstreamError::Timeout(_)))
    }

    /// Whether a question to the store on the request's behalf, after the fact, would be too much: it came too often, the store is away, or
    /// nothing is served at all.
    pub fn ends_all(&self) -> bool {
        matches!(self, Self::LimitedByAddress(_) | Self::FailedTooOften(_) | Self::StoreAway | Self::Unrecordable)
    }

    /// Whether nobody is there to be answered.
    pub fn abandoned(&self) -> bool {
        matches!(self, Self::BodyAbandoned)
    }

    /// The answer. `challenge` begins the `WWW-Authenticate` of the site: scheme and realm.
    pub fn into_reply(self, challenge: &str) -> Reply {
        let code = self.code();
        let reply = |status: StatusCode, message: &str| Reply::new(status, code, message);
        let unauthorized = |message: &str| {
            // RFC 6750 section 3.1: the sentence is ours, without quotes, and nothing the client sent.
            let value = format!("{challenge}, error=\"invalid_token\", error_description=\"{message}\"");
            reply(StatusCode::UNAUTHORIZED, message).with(WWW_AUTHENTICATE, header(&value))
        };
        match self {
            Self::Refused(refusal) => refused(refusal, challenge),
            // RFC 6750 section 3.1: no error code for a request without credentials.
            Self::NoToken => {
                reply(StatusCode::UNAUTHORIZED, "this needs a token in the Authorization header").with(WWW_AUTHENTICATE, header(challenge))
            }
            Self::AuthorizationInvalid(message) => unauthorized(message),
            Self::TokenUnknown => unauthorized("the token is not known here"),
            Self::TokenExpired => unauthorized("the token has expired"),
            Self::TokenRevoked => unauthorized("the token was revoked"),
            Self::GrantRefused => unauthorized("the site has ended the sign-in behind the token; the user must be asked again"),
            Self::ClientDisabled => unauthorized("the client of the token is disabled"),
            Self::ClientUnknown => unauthorized("the client of the token is gone"),
            Self::StoreAway => {
                away(reply(StatusCode::SERVICE_UNAVAILABLE, "tokens cannot be checked at the moment; the token may be good"))
            }
            Self::CredentialAway => away(reply(StatusCode::SERVICE_UNAVAILABLE, "the request cannot be passed on at the moment")),
            Self::Unrecordable => {
                away(reply(StatusCode::SERVICE_UNAVAILABLE, "the request cannot be put on record at the moment, and was not passed on"))
            }
            // Not the token's fault, so no challenge: a new one would be worth as little.
            Self::CredentialMissing => {
                reply(StatusCode::FORBIDDEN, "this client cannot act on the site by itself; an operator must set it up")
            }
            Self::LimitedByClient(too_many) => {
                limited(reply(StatusCode::TOO_MANY_REQUESTS, "this client has used up its quota"), "client", too_many)
            }
            Self::LimitedByAddress(too_many) => {
                limited(reply(StatusCode::TOO_MANY_REQUESTS, "this address has used up its quota"), "address", too_many)
            }
            Self::FailedTooOften(too_many) => limited(
                reply(StatusCode::TOO_MANY_REQUESTS, "too many unknown tokens came from this address"),
                "failed-authentications",
                too_many,
            ),
            Self::BodyTooLarge(most) => reply(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {most} bytes")),
            Self::BodySlow => reply(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
            Self::BodiesFull => away(reply(StatusCode::SERVICE_UNAVAILABLE, "too many bodies are on their way at the moment")),
            Self::BodyBroken | Self::BodyAbandoned => reply(StatusCode::BAD_REQUEST, "the body broke off"),
            Self::AnsweredEarly => reply(StatusCode::BAD_GATEWAY, "the site answered before it had the whole of the body"),
            Self::ContentEncoded => reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body with a Content-Encoding is not let through"),
            Self::HeaderRepeated(name) => reply(StatusCode::BAD_REQUEST, &format!("the header {name} stands more than once")),
            Self::Upstream(error) => {
                let message = match &error {
                    UpstreamError::Timeout(_) => "the site did not answer in time",
                    UpstreamError::Body(_) => "the body broke off",
                    _ => "the site could not be reached, or gave no proper answer",
                };
                reply(error.status(), message)
            }
        }
    }
}

fn refused(refusal: Refusal, challenge: &str) -> Reply {
    let status = StatusCode::from_u16(refusal.reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut reply = Reply::new(status, refusal.reason.code(), refusal.message);
    if !refusal.allow.is_empty() {
        reply = reply.with(ALLOW, header(&refusal.allow));
    }
    match (refusal.reason, refusal.scope) {
        (Reason::InsufficientScope, Some(scope)) => {
            let value =
                format!("{challenge}, error=\"insufficient_scope\", error_description=\"the token lacks a scope\", scope=\"{scope}\"");
            reply.with(WWW_AUTHENTICATE, header(&value))
        }
        // RFC 6750 section 3.1: a token in the wrong place is an invalid request.
        (Reason::TokenMisplaced, _) => {
            let value = format!("{challenge}, error=\"invalid_request\", error_description=\"the token is in the wrong place\"");
            reply.with(WWW_AUTHENTICATE, header(&value))
        }
        _ => reply,
    }
}

fn away(reply: Reply) -> Reply {
    reply.with(RETRY_AFTER, HeaderValue::from(AWAY_RETRY_SECONDS))
}

fn limited(mut reply: Reply, name: &str, too_many: TooMany) -> Reply {
    rate::limited(&mut reply.headers, name, &too_many);
    reply
}

/// Header values here are built from configuration and our own sentences; what could not stand in a header is left out.
fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("Bearer"))
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unread> for Rejection {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge(most) => Self::BodyTooLarge(most),
            Unread::Slow => Self::BodySlow,
            Unread::Full => Self::BodiesFull,
            Unread::Broken => Self::BodyBroken,
            Unread::Abandoned => Self::BodyAbandoned,
        }
    }
}

impl From<UpstreamError> for Rejection {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}
