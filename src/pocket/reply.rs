//! What pocket ERP answers: JSON as Python writes it, redirects, the cookies that Frappe sets on everything.
//!
//! Frappe's bodies are compact, ASCII-only JSON; the messages inside `_server_messages` are JSON once more, with Python's default spaces.

use std::io;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use crate::pocket::pages;
use crate::pocket::request::{encoded, location};

/// Lifetime of a session cookie in Frappe, in seconds (T01).
const SESSION_SECONDS: i64 = 612_000;

const HTML: &str = "text/html; charset=utf-8";

/// One answer, before it becomes HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
    pub cookies: Cookies,
    pub location: Option<String>,
}

/// Which `Set-Cookie` lines go with an answer. Frappe writes them on every request that got as far as a session (T101), errors included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cookies {
    /// The request failed before there was a session (T117), or never needed one (T107).
    None,
    Guest,
    /// Five for Guest, then five that erase them: a failed authentication and a logout (T130, T310).
    Cleared,
    Session {
        sid: String,
        user: String,
        full_name: String,
    },
}

impl Reply {
    pub fn json(status: StatusCode, body: &Value) -> Reply {
        Reply { content_type: "application/json", ..Reply::html(status, python_json(body, Spacing::Compact)) }
    }

    pub fn html(status: StatusCode, body: String) -> Reply {
        Reply { status, content_type: HTML, body, cookies: Cookies::Guest, location: None }
    }

    pub fn redirect(target: &str) -> Reply {
        let target = location(target);
        Reply { location: Some(target.clone()), ..Reply::html(StatusCode::FOUND, pages::redirecting(&target)) }
    }

    /// A redirect of the website's own table, which has no body (T05).
    pub fn moved(target: &str) -> Reply {
        Reply { location: Some(target.to_owned()), ..Reply::html(StatusCode::MOVED_PERMANENTLY, String::new()) }
    }

    /// An answer of werkzeug's own, such as 405 and 413: no session, no JSON (T419, T542).
    pub fn page(status: StatusCode, title: &str, text: &str) -> Reply {
        let body = pages::notice(title, text).replacen("<title>", &format!("<title>{} ", status.as_u16()), 1);
        Reply::html(status, body).with_cookies(Cookies::None)
    }

    /// The answer to OPTIONS, whatever the path and the credentials (T107, T544).
    pub fn options() -> Reply {
        let reply = Reply::html(StatusCode::OK, String::new()).with_cookies(Cookies::None);
        Reply { content_type: "text/plain; charset=utf-8", ..reply }
    }

    pub fn with_cookies(mut self, cookies: Cookies) -> Reply {
        self.cookies = cookies;
        self
    }

    pub fn into_http(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // `redirect` escaped what cannot stand in a header, so that the only target lost here is one that nobody wrote.
        if let Some(target) = self.location.and_then(|target| HeaderValue::from_str(&target).ok()) {
            response.headers_mut().insert(LOCATION, target);
        }
        for line in self.cookies.lines() {
            // A name that cannot stand in a header loses its cookie, not its answer.
            if let Ok(value) = HeaderValue::from_str(&line) {
                response.headers_mut().append(SET_COOKIE, value);
            }
        }
        response
    }
}

impl Cookies {
    fn lines(&self) -> Vec<String> {
        let (sid, system_user, full_name, user) = match self {
            Cookies::None => return Vec::new(),
            Cookies::Guest | Cookies::Cleared => ("Guest", "no", "Guest", "Guest"),
            Cookies::Session { sid, user, full_name } => (sid.as_str(), "yes", full_name.as_str(), user.as_str()),
        };
        let expires = cookie_date(SESSION_SECONDS);
        let mut lines = vec![
            format!("sid={sid}; Expires={expires}; Max-Age={SESSION_SECONDS}; HttpOnly; Path=/; SameSite=Lax"),
            format!("system_user={system_user}; Path=/; SameSite=Lax"),
            format!("full_name={}; Path=/; SameSite=Lax", quoted(full_name)),
            format!("user_id={}; Path=/; SameSite=Lax", quoted(user)),
            "user_image=; Path=/; SameSite=Lax".to_owned(),
        ];
        if *self == Cookies::Cleared {
            let past = cookie_date(-86_400);
            let erased = ["full_name", "user_image", "user_id", "system_user", "sid"];
            lines.extend(erased.map(|name| format!("{name}=; Expires={past}; Path=/")));
        }
        lines
    }
}

/// The time as Frappe stores it in `creation` and `modified`.
pub(super) fn now_text() -> String {
    time_text(Timestamp::now())
}

pub(super) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

pub(super) fn today_text() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

fn cookie_date(seconds_from_now: i64) -> String {
    let now = Timestamp::now();
    let then = now.checked_add(SignedDuration::from_secs(seconds_from_now)).unwrap_or(now);
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Percent-encodes a cookie value as Python's `quote` does.
fn quoted(text: &str) -> String {
    encoded(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/'))
}

/// How Python's `json.dumps` was called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// `separators=(",", ":")`: bodies.
    Compact,
    /// The default, `", "` and `": "`: the messages inside a body.
    Spaced,
}

pub(super) fn python_json(value: &Value, spacing: Spacing) -> String {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter(spacing)))
        .expect("writing a JSON value to memory cannot fail");
    String::from_utf8(out).expect("the formatter writes ASCII only")
}

struct PythonFormatter(Spacing);

impl PythonFormatter {
    fn separator<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        match (first, self.0) {
            (true, _) => Ok(()),
            (false, Spacing::Compact) => writer.write_all(b","),
            (false, Spacing::Spaced) => writer.write_all(b", "),
        }
    }
}

impl Formatter for PythonFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for piece in fragment.chars() {
            if piece.is_ascii() {
                writer.write_all(&[piece as u8])?;
            } else {
                for unit in piece.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separator(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separator(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.0 == Spacing::Spaced { b": " } else { b":" })
    }
}
