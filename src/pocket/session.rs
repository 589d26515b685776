//! Who asks: session cookies, API keys and Bearer tokens, read with Frappe's own leniency (FACTS section 4).
//!
//! The leniency is the point: a malformed `Authorization` is a guest and no error, `sid` is believed in a cookie, a query and a body, and
//! a session outlives a bad token that came with it (T160). A gate that lets any of it through is seen at once.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use crate::pocket::fault::{Fault, random_hex};
use crate::pocket::form::Form;
use crate::pocket::oauth::token;
use crate::pocket::reply::Cookies;
use crate::pocket::request::cookie;
use crate::pocket::site::Site;

/// Sessions at a time; the next login ends them all.
const SESSIONS_MAX: usize = 1_000;

/// Every credential that the site accepts, besides passwords. No `Debug`, here and below: they are secrets.
#[derive(Default)]
pub(super) struct Credentials {
    keys: Vec<ApiKey>,
    bearers: Vec<Bearer>,
    sessions: BTreeMap<String, String>,
}

/// An API key and its secret.
struct ApiKey {
    key: String,
    secret: String,
    user: String,
}

/// A Bearer token that nobody issued and that never expires; those that the site issues are rows.
struct Bearer {
    token: String,
    user: String,
}

/// Who a request speaks for.
pub(super) struct Caller {
    pub user: String,
    /// What the answer sets; it follows the session, not the token (T101).
    pub cookies: Cookies,
}

impl Credentials {
    pub fn add_key(&mut self, key: &str, secret: &str, user: &str) {
        self.keys.push(ApiKey { key: key.to_owned(), secret: secret.to_owned(), user: user.to_owned() });
    }

    pub fn add_bearer(&mut self, token: &str, user: &str) {
        self.bearers.push(Bearer { token: token.to_owned(), user: user.to_owned() });
    }

    /// Checks a password and opens a session, from whatever part of the request `usr` and `pwd` came (T308, T309).
    pub fn login(&mut self, site: &Site, form: &Form) -> Result<Caller, Fault> {
        let user = form.text("usr").zip(form.text("pwd")).and_then(|(user, password)| site.user_with_password(user, password));
        let user = user.ok_or_else(Fault::bad_login)?;
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.clear();
        }
        let sid = random_hex();
        self.sessions.insert(sid.clone(), user.clone());
        Ok(session(site, sid, user))
    }

    pub fn logout(&mut self, headers: &HeaderMap, form: &Form) {
        if let Some(sid) = sid(headers, form) {
            self.sessions.remove(&sid);
        }
    }

    pub fn identify(&self, site: &Site, headers: &HeaderMap, form: &Form, now: Timestamp) -> Result<Caller, Fault> {
        let sid = sid(headers, form).and_then(|sid| Some((sid.clone(), self.sessions.get(&sid)?.clone())));
        let mut caller = match sid {
            Some((sid, user)) => session(site, sid, user),
            None => Caller { user: "Guest".to_owned(), cookies: Cookies::Guest },
        };
        // gunicorn joins repeated headers with a comma, which leaves one that is malformed (T146).
        let joined =
            headers.get_all(AUTHORIZATION).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",");
        let [scheme, credential] = joined.split(' ').collect::<Vec<_>>()[..] else { return Ok(caller) };
        match scheme.to_ascii_lowercase().as_str() {
            // A token overrides a session (T161), and a letter's case does not matter in it (T140).
            "bearer" => {
                let standing = self.bearers.iter().find(|bearer| bearer.token.eq_ignore_ascii_case(credential));
                if let Some(user) = standing.map(|bearer| bearer.user.clone()).or_else(|| token::bearer(site, credential, now)) {
                    caller.user = user;
                }
            }
            "token" => self.use_key(&mut caller, credential)?,
            "basic" => {
                let decoded = BASE64.decode(credential.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                self.use_key(&mut caller, &decoded.ok_or_else(Fault::bad_credential)?)?;
            }
            _ => {}
        }
        if caller.user == "Guest" { Err(Fault::bad_credential()) } else { Ok(caller) }
    }

    /// A key that is not known fails even beside a session; a known one does not override the session (T151, T165).
    fn use_key(&self, caller: &mut Caller, credential: &str) -> Result<(), Fault> {
        let (key, secret) = credential.split_once(':').ok_or_else(Fault::bad_credential)?;
        let known = self.keys.iter().find(|known| known.key == key && known.secret == secret).ok_or_else(Fault::bad_credential)?;
        if caller.user == "Guest" {
            caller.user = known.user.clone();
        }
        Ok(())
    }
}

fn session(site: &Site, sid: String, user: String) -> Caller {
    let full_name = site.full_name(&user);
    Caller { user: user.clone(), cookies: Cookies::Session { sid, user, full_name } }
}

/// The session id of an argument, else of a cookie (T162, T164).
fn sid(headers: &HeaderMap, form: &Form) -> Option<String> {
    if let Some(sid) = form.text("sid").filter(|sid| !sid.is_empty()) {
        return Some(sid.to_owned());
    }
    cookie(headers, "sid").map(str::to_owned)
}
