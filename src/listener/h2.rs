//! The rules of HTTP/1 heads again, on what HTTP/2 was translated to; and the clock of an HTTP/2 connection.
//!
//! The `h2` crate has seen to most of RFC 9113 section 8 (pseudo-header fields, upper case, connection fields, body length): such requests are
//! reset before they come here. What is checked here twice is what a smuggled request would be made of.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Request, header};

use crate::listener::clock::Clock;
use crate::listener::connection::Connection;
use crate::listener::head::{self, HeadBounds};
use crate::listener::pace::PaceBounds;
use crate::listener::violation::Violation;

/// What an HTTP/2 request does wrong, if it does.
pub fn violation<B>(request: &Request<B>, bounds: &HeadBounds) -> Option<Violation> {
    check(request, bounds).err()
}

fn check<B>(request: &Request<B>, bounds: &HeadBounds) -> Result<(), Violation> {
    if request.method() == Method::CONNECT {
        return Err(Violation::ConnectRefused);
    }
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).as_bytes();
    if target.len() > bounds.target_bytes_max {
        return Err(Violation::TargetTooLong);
    }
    match target {
        [b'/', ..] => head::path_and_query(target)?,
        b"*" if request.method() == Method::OPTIONS => {}
        _ => return Err(Violation::TargetMalformed),
    }
    if request.headers().len() > bounds.fields_max {
        return Err(Violation::TooManyFields);
    }
    let (mut host, mut length) = (None, None);
    for (name, value) in request.headers() {
        let value = value.as_bytes();
        if name == header::HOST {
            if host.replace(value).is_some() {
                return Err(Violation::HostRepeated);
            }
        } else if name == header::CONTENT_LENGTH {
            if length.replace(head::plain_length(value)?).is_some() {
                return Err(Violation::FramingConflict);
            }
        } else if name == header::TRANSFER_ENCODING || name == header::CONNECTION || name == header::UPGRADE {
            return Err(Violation::ConnectionFieldRefused);
        } else if name == header::EXPECT && !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Violation::ExpectationRefused);
        }
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (None, None) => Err(Violation::HostMissing),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err(Violation::AuthorityConflict),
        (Some(one), _) | (None, Some(one)) => head::authority(one),
    }
}

/// What the time has come for on an HTTP/2 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// No request for too long.
    Idle,
    /// The peer's flow control lets too little of the answers through.
    Stalled,
}

/// Watches an HTTP/2 connection. A peer may keep its window shut while it answers on the TCP level, which the pace of writes does not
/// see: so the answers of a connection, taken together, have a least pace too.
#[derive(Default)]
pub struct Watch {
    clock: Clock,
    phase: Phase,
    bytes: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    /// Requests are with the service.
    Serving,
    /// Answers wait for the peer.
    Outgoing,
}

impl Watch {
    /// Begins to wait anew.
    pub fn restart(&mut self) {
        self.clock.stop();
    }

    pub fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection, idle_timeout: Duration, pace: &PaceBounds) -> Poll<Overdue> {
        let (waiting, bytes) = connection.outgoing();
        let phase = match connection.open() {
            0 => Phase::Idle,
            _ if waiting > 0 => Phase::Outgoing,
            _ => Phase::Serving,
        };
        if phase != self.phase {
            self.phase = phase;
            self.bytes = bytes;
            self.clock.stop();
        }
        match phase {
            Phase::Serving => Poll::Pending,
            Phase::Idle => self.clock.poll(cx, idle_timeout).map(|()| Overdue::Idle),
            Phase::Outgoing => loop {
                ready!(self.clock.poll(cx, pace.window));
                if pace.too_slow(bytes.wrapping_sub(self.bytes)) {
                    return Poll::Ready(Overdue::Stalled);
                }
                self.bytes = bytes;
                self.clock.stop();
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::violation;
    use crate::listener::head::HeadBounds;
    use crate::listener::violation::Violation;

    const BOUNDS: HeadBounds = HeadBounds { bytes_max: 400, fields_max: 3, target_bytes_max: 60 };

    type Fields = &'static [(&'static str, &'static str)];

    fn judge(method: &str, uri: &str, fields: &[(&str, &str)]) -> Option<Violation> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        violation(&request.body(()).unwrap(), &BOUNDS)
    }

    #[test]
    fn lawful_requests_pass() {
        assert_eq!(judge("GET", "https://a/x?y", &[]), None);
        assert_eq!(judge("GET", "https://A/x?y", &[("host", "a")]), None);
        assert_eq!(judge("GET", "/x", &[("host", "a:8443")]), None);
        assert_eq!(judge("POST", "https://a/x", &[("content-length", "5"), ("expect", "100-continue")]), None);
    }

    #[test]
    fn what_would_be_smuggled_is_refused() {
        let long = format!("https://a/{}", "x".repeat(60));
        let rows: [(&str, &str, &str, Fields, Violation); 19] = [
            ("CONNECT", "CONNECT", "a:443", &[], Violation::ConnectRefused),
            ("long target", "GET", &long, &[], Violation::TargetTooLong),
            ("bytes above ASCII", "GET", "https://a/\u{e9}", &[], Violation::TargetMalformed),
            ("no slash", "GET", "https://a?x", &[], Violation::TargetMalformed),
            ("asterisk", "GET", "*", &[("host", "a")], Violation::TargetMalformed),
            ("too many fields", "GET", "https://a/", &[("a", ""), ("b", ""), ("c", ""), ("d", "")], Violation::TooManyFields),
            ("no authority", "GET", "/", &[], Violation::HostMissing),
            ("another host", "GET", "https://a/", &[("host", "b")], Violation::AuthorityConflict),
            ("another port", "GET", "https://a/", &[("host", "a:1")], Violation::AuthorityConflict),
            ("two hosts", "GET", "https://a/", &[("host", "a"), ("host", "a")], Violation::HostRepeated),
            ("user information", "GET", "https://u@a/", &[], Violation::HostMalformed),
            ("two lengths", "POST", "https://a/", &[("content-length", "5"), ("content-length", "5")], Violation::FramingConflict),
            ("signed length", "POST", "https://a/", &[("content-length", "+5")], Violation::LengthMalformed),
            ("list of lengths", "POST", "https://a/", &[("content-length", "5, 5")], Violation::LengthMalformed),
            ("transfer coding", "POST", "https://a/", &[("transfer-encoding", "chunked")], Violation::ConnectionFieldRefused),
            ("connection", "POST", "https://a/", &[("connection", "authorization")], Violation::ConnectionFieldRefused),
            ("upgrade", "GET", "https://a/", &[("upgrade", "h2c")], Violation::ConnectionFieldRefused),
            ("expectation", "GET", "https://a/", &[("expect", "x")], Violation::ExpectationRefused),
            ("host malformed", "GET", "/", &[("host", "a, b")], Violation::HostMalformed),
        ];
        for (what, method, uri, fields, expected) in rows {
            assert_eq!(judge(method, uri, fields), Some(expected), "{what}");
        }
    }
}
