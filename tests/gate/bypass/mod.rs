//! The table of FACTS section 2: everything that a narrow token can make a real Frappe do. Each row that was verified or read in the source is
//! a test of its own, built from the recorded requests: sent again byte for byte over TLS with a live token of ours in place of the recorded
//! one, it must be refused before anything reaches the upstream, or be taken for what it really does.

mod deletes;
mod reads;
mod secrets;
mod writes;

use crate::support::exchange::exchange;
use crate::support::gate::Gate;
use crate::support::setup::{API_KEY, Setup};
use crate::support::upstream::{Seen, Upstream};
use crate::support::verdict::{forbidden, insufficient_scope, reason};
use crate::support::wire::{Reply, Wire};

/// A gate before an upstream that would say yes to anything.
pub struct Stage {
    pub upstream: Upstream,
    pub gate: Gate,
}

impl Stage {
    pub fn new() -> Self {
        let upstream = Upstream::json("{}");
        let gate = Setup::new(&upstream).start();
        Self { upstream, gate }
    }

    /// Sends a recorded request with a token of `scopes`.
    pub fn replay(&self, case: &str, scopes: &str) -> Reply {
        Wire::tls(&self.gate).exchange(exchange(case).with_bearer(&self.gate.token(scopes)))
    }

    /// The request that it was forwarded as.
    pub fn forwarded(&self, case: &str, scopes: &str) -> Seen {
        let before = self.upstream.requests().len();
        let reply = self.replay(case, scopes);
        assert_eq!(reply.status, 200, "`{case}` is allowed with `{scopes}`: {}", reply.text());
        let requests = self.upstream.requests();
        assert_eq!(requests.len(), before + 1, "`{case}` goes upstream once: {requests:#?}");
        let seen = requests.into_iter().next_back().expect("there is one");
        assert_only_ours(&seen);
        seen
    }
}

/// Each case, with each of the scopes, is refused as 4xx with a reason, and the upstream sees not even a connection.
fn refused(cases: &[&str], scopes: &[&str]) {
    each(cases, scopes, |reply, case, scopes| {
        reason(reply);
        assert!((400..500).contains(&reply.status) && reply.status != 401, "`{case}` with `{scopes}`: {reply:?} {}", reply.text());
    });
}

/// The same, and it is not for lack of a scope.
fn refused_to_all(cases: &[&str], scopes: &[&str]) {
    each(cases, scopes, |reply, _, _| forbidden(reply));
}

/// Each case is refused because its true effect needs another scope, and the answer names it.
fn refused_for_want_of(cases: &[&str], scopes: &[&str], needed: &str) {
    each(cases, scopes, |reply, case, _| {
        let named = insufficient_scope(reply);
        assert!(named.split(' ').any(|scope| scope == needed), "`{case}` needs `{needed}`, and the answer says `{named}`");
    });
}

fn each(cases: &[&str], scopes: &[&str], check: impl Fn(&Reply, &str, &str)) {
    let stage = Stage::new();
    for case in cases {
        for scopes in scopes {
            let reply = stage.replay(case, scopes);
            match exchange(case).method() {
                // Nothing but the status and the fields can be seen of an answer to HEAD.
                "HEAD" => assert!((400..500).contains(&reply.status) && reply.status != 401, "`{case}` with `{scopes}`: {reply:?}"),
                _ => check(&reply, case, scopes),
            }
            stage.upstream.assert_untouched();
        }
    }
}

/// Each case has no effect on Frappe as recorded; here it is refused, or goes upstream as the plain read that it looks like.
fn refused_or_harmless(cases: &[&str], scopes: &str) {
    let stage = Stage::new();
    for case in cases {
        let before = stage.upstream.requests().len();
        let reply = stage.replay(case, scopes);
        let requests = stage.upstream.requests();
        if requests.len() == before {
            reason(&reply);
            continue;
        }
        let seen = requests.last().expect("one more than before");
        assert_eq!(requests.len(), before + 1, "`{case}`");
        assert_eq!(seen.method, exchange(case).method(), "`{case}`");
        assert!(seen.target.starts_with("/api/resource/ToDo"), "`{case}` went upstream as {}", seen.target);
        assert_only_ours(seen);
    }
}

/// What went upstream carries our credential and nobody else's, and no header that a Frappe or its server would act upon.
fn assert_only_ours(seen: &Seen) {
    let expected = format!("token {}", API_KEY);
    assert_eq!(seen.header("authorization"), Some(expected.as_str()), "{seen:#?}");
    for (name, _) in &seen.headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "header `{name}` went upstream");
    }
    let unwanted = [
        "cookie",
        "frappe-authorization-source",
        "path-info",
        "remote-addr",
        "script-name",
        "x-forwarded-prefix",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-script-name",
        "x-use-x-accel-redirect",
    ];
    for name in unwanted {
        assert_eq!(seen.header(name), None, "header `{name}` went upstream");
    }
}
