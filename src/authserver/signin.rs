//! The sign-in at Frappe, from the gate's side: the browser is sent there with a state that only this very browser can bring back.
//!
//! What the gate has to remember meanwhile travels sealed in a cookie, so that whoever begins sign-ins by the thousand fills no store. The
//! state in the URL is random and is worth nothing without that cookie; the cookie names the state by its hash.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::cookies;
use crate::authserver::page::{self, Message};
use crate::authserver::random;
use crate::authserver::ticket::{self, Purpose};
use crate::oauth::pkce;
use crate::policy::query::Pairs;
use crate::policy::time::Timestamp;
use crate::policy::token::TokenHash;
use crate::store::seal::SealKey;
use crate::upstream::frappe::Frappe;

/// Seconds for which a sign-in may take.
const SIGN_IN_LIFETIME: u64 = 600;

/// Sign-ins that one browser has under way at once, and the bytes that their cookies may take together: proxies in front of the gate
/// refuse long `Cookie` headers, often from 8 KiB.
const SIGN_INS_MAX: usize = 4;
const COOKIES_BYTES_MAX: usize = 6 * 1024;

/// Bytes of one such cookie: browsers keep 4096, name included.
const COOKIE_BYTES_MAX: usize = 4000;

const COOKIE_PREFIX: &str = "__Host-sg-signin-";

const AUTHORIZE: &str = "/api/method/frappe.integrations.oauth2.authorize";

/// The longest state that is looked at, in bytes: ours have 43.
const STATE_BYTES_MAX: usize = 128;

/// What signing in takes: the gate's own client at the site, and the key that seals what must be remembered.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    pub key: &'a SealKey,
    pub login_url: &'a str,
    pub scope: &'a str,
    pub frappe: Frappe<'a>,
}

/// `None` where the operator has not set it up.
pub fn gate<'a>(call: &Call<'a>) -> Option<Gate<'a>> {
    let (sign_in, key) = (call.issuer.sign_in.as_ref()?, call.shared.seal.as_deref()?);
    let frappe = Frappe {
        upstream: call.upstream,
        frappe_site: &call.issuer.frappe_site,
        client_id: &sign_in.client_id,
        client_secret: &sign_in.client_secret,
    };
    Some(Gate { key, login_url: &sign_in.login_url, scope: &sign_in.scope, frappe })
}

/// The page for a gate that nobody has told how to sign users in.
pub fn unconfigured(call: &Call<'_>) -> Result<Answer, Failure> {
    let message = Message {
        title: "Sign-in is not set up",
        sentence: "This gate does not know yet where its users sign in.",
        advice: "Please tell the administrator of this system.",
        ..Message::new(call.issuer)
    };
    page::refuse(call.issuer, StatusCode::SERVICE_UNAVAILABLE, "sign_in_unconfigured", message)
}

/// What somebody signs in for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// An authorization request, in its parameters. It is read anew when the browser is back.
    #[serde(rename = "a")]
    Authorize(Vec<(String, String)>),
    /// The page of grants.
    #[serde(rename = "g")]
    Grants,
}

impl Errand {
    /// Where to begin it anew: a path of the gate's own.
    pub fn path(&self) -> String {
        match self {
            Self::Authorize(fields) => {
                let mut path = "/oauth/authorize?".to_owned();
                Pairs::from_fields(fields.clone()).write(&mut path);
                path
            }
            Self::Grants => "/oauth/grants".to_owned(),
        }
    }
}

/// A sign-in that is under way. No `Debug`: it holds a PKCE verifier.
#[derive(Serialize, Deserialize)]
pub struct Flow {
    pub errand: Errand,
    pub verifier: String,
    /// The SHA-256 of the state, hexadecimal.
    state: String,
    exp: Timestamp,
}

/// Sends the browser to Frappe; `None` where the errand is too long for a cookie.
pub fn begin(call: &Call<'_>, gate: &Gate<'_>, errand: Errand) -> Result<Option<Answer>, Failure> {
    let (state, verifier) = (random::secret()?, random::secret()?);
    let hash = TokenHash::of(state.as_bytes()).to_string();
    let challenge = pkce::challenge_of(&verifier);
    let flow = Flow { errand, verifier, state: hash, exp: call.now.plus(SIGN_IN_LIFETIME) };
    let sealed = ticket::seal(gate.key, &call.issuer.name, Purpose::SignIn, &flow)?;
    if sealed.len() > COOKIE_BYTES_MAX {
        return Ok(None);
    }
    let mut url = [gate.login_url, AUTHORIZE, "?"].concat();
    let fields = [
        ("client_id", gate.frappe.client_id),
        ("redirect_uri", &redirect_uri(call)),
        ("response_type", "code"),
        ("scope", gate.scope),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    Pairs::from_fields(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).write(&mut url);
    let mut answer = page::redirect(&url).because("sign_in");
    for name in surplus(call, gate.key, sealed.len()) {
        answer = answer.with(SET_COOKIE, cookies::expire(name));
    }
    Ok(Some(answer.with(SET_COOKIE, cookies::set(&cookie_name(&flow.state), &sealed, SIGN_IN_LIFETIME))))
}

/// Where Frappe sends the browser back to.
pub fn redirect_uri(call: &Call<'_>) -> String {
    call.issuer.url_of("/oauth/callback")
}

/// The sign-in that this browser began with `state`, and the name of its cookie. `None` where another browser did, or nobody.
pub fn flow(call: &Call<'_>, key: &SealKey, state: &str) -> Option<(Flow, String)> {
    if state.len() > STATE_BYTES_MAX {
        return None;
    }
    let hash = TokenHash::of(state.as_bytes()).to_string();
    let name = cookie_name(&hash);
    let flow = read(call, key, cookies::only(call.headers, &name)?)?;
    verify_slices_are_equal(flow.state.as_bytes(), hash.as_bytes()).is_ok().then_some((flow, name))
}

/// The only sign-in that this browser has under way: Frappe sends no state along with a no (T13).
pub fn only_flow(call: &Call<'_>, key: &SealKey) -> Option<(Flow, String)> {
    let mut flows = begun(call).filter_map(|(name, value)| Some((read(call, key, value)?, name.to_owned())));
    let only = flows.next()?;
    flows.next().is_none().then_some(only)
}

fn read(call: &Call<'_>, key: &SealKey, sealed: &str) -> Option<Flow> {
    ticket::open::<Flow>(key, &call.issuer.name, Purpose::SignIn, sealed).filter(|flow| call.now < flow.exp)
}

fn cookie_name(state: &str) -> String {
    [COOKIE_PREFIX, &state[..8]].concat()
}

fn begun<'a>(call: &Call<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let ours = |name: &str| {
        name.strip_prefix(COOKIE_PREFIX).is_some_and(|state| state.len() == 8 && state.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    cookies::all(call.headers).filter(move |(name, _)| ours(name))
}

/// The cookies that must go, so that another one of so many bytes has room: what does not open or has expired, then the oldest.
fn surplus<'a>(call: &Call<'a>, key: &SealKey, room: usize) -> Vec<&'a str> {
    let mut known: Vec<_> = begun(call).map(|(name, value)| (read(call, key, value).map(|flow| flow.exp), name, value.len())).collect();
    known.sort_by_key(|(exp, ..)| std::cmp::Reverse(*exp));
    let (mut count, mut bytes) = (1, room);
    let mut gone = Vec::new();
    for (exp, name, length) in known {
        count += 1;
        bytes += length;
        if exp.is_none() || count > SIGN_INS_MAX || bytes > COOKIES_BYTES_MAX {
            gone.push(name);
        }
    }
    gone
}

#[cfg(test)]
mod tests;
