//! One request and what became of it: written to the audit log and counted exactly once, when it is dropped.
//!
//! It travels with the request and then with the body of the answer. Whatever ends the request (the last byte, a time limit, a client
//! that goes away, a drain) drops it, so no path can forget the record.

pub mod answer;
pub mod body;
pub mod cors;
pub mod held;
pub mod rate;
pub mod read;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method};

use crate::audit::record::{AuditRecord, Outcome};
use crate::audit::{self, AuditLog};
use crate::policy::operation::{Operation, Target};
use crate::policy::token::TokenHash;
use crate::store::cached::Live;
use crate::telemetry::WorkerCounters;

/// What one worker thread writes down of its requests.
pub struct Books {
    pub log: Arc<AuditLog>,
    pub counters: Arc<WorkerCounters>,
}

pub struct Exchange {
    books: Arc<Books>,
    pub request_id: HeaderValue,
    /// Since 1970.
    pub began: Duration,
    pub started: Instant,
    pub address: IpAddr,
    address_text: HeaderValue,
    method: Option<Method>,
    pub site: Option<Arc<str>>,
    pub token: Option<TokenHash>,
    pub live: Option<Arc<Live>>,
    /// Who an OAuth endpoint was spoken to for, where no token says it.
    named: Named,
    pub subject: Subject,
    pub allowed: bool,
    /// Whether the answer is a no of the gate's own, be it the rules' or for want of an upstream.
    pub refused: bool,
    pub reason: &'static str,
    pub status: u16,
    pub timed_out: bool,
    /// Whether the client went away before its request had ended.
    pub abandoned: bool,
    pub bytes_in: u64,
    /// Of an upload, whose bytes are counted as they pass.
    pub upload: Option<Arc<AtomicU64>>,
    pub bytes_out: u64,
    /// Until the head of the upstream's answer.
    pub upstream: Option<Duration>,
    /// Whether the answer is out to its last byte.
    pub complete: bool,
}

#[derive(Default)]
struct Named {
    client: Option<Arc<str>>,
    user: Option<Arc<str>>,
    scopes: Option<Box<str>>,
}

/// What the operation was, in the words of the record.
#[derive(Default)]
pub struct Subject {
    effect: Option<&'static str>,
    doctype: Option<Box<str>>,
    name: Option<Box<str>>,
    rpc: Option<Box<str>>,
}

impl Subject {
    /// One of the gate's own OAuth endpoints.
    pub fn endpoint(&mut self, name: &'static str) {
        self.rpc = Some(name.into());
    }

    pub fn of(operation: &Operation<'_>) -> Self {
        let doctypes = || operation.doctypes().collect::<Vec<_>>().join(", ").into_boxed_str();
        let mut subject = Self { effect: Some(operation.effect.as_str()), ..Self::default() };
        match &operation.target {
            Target::Doctype { doctype } => subject.doctype = Some(doctype.as_ref().into()),
            Target::Document { doctype, name } => {
                subject.doctype = Some(doctype.as_ref().into());
                subject.name = Some(name.as_ref().into());
            }
            Target::Rpc { name, doctypes: named } => {
                subject.rpc = Some(name.as_ref().into());
                subject.doctype = (!named.is_empty()).then(doctypes);
            }
            Target::Path { path, .. } => subject.name = Some(path.as_ref().into()),
        }
        subject
    }
}

impl Exchange {
    pub fn begin(books: Arc<Books>, request_id: HeaderValue, address: IpAddr, address_text: HeaderValue, method: Option<Method>) -> Self {
        Self {
            books,
            request_id,
            began: audit::now(),
            started: Instant::now(),
            address,
            address_text,
            method,
            site: None,
            token: None,
            live: None,
            named: Named::default(),
            subject: Subject::default(),
            allowed: false,
            refused: false,
            reason: "unanswered",
            status: 0,
            timed_out: false,
            abandoned: false,
            bytes_in: 0,
            upload: None,
            bytes_out: 0,
            upstream: None,
            complete: false,
        }
    }

    /// Remembers what the request would do.
    pub fn classified(&mut self, operation: &Operation<'_>) {
        self.subject = Subject::of(operation);
    }

    /// Remembers who spoke to an OAuth endpoint, for whom, and about what.
    pub fn note(&mut self, client: Option<Arc<str>>, user: Option<Arc<str>>, scopes: Option<Box<str>>, token: Option<TokenHash>) {
        self.named = Named { client, user, scopes };
        self.token = token;
    }

    /// Whether it could not be put on record, and so must not be served.
    pub fn unrecordable(&self) -> bool {
        self.books.log.blocked()
    }

    fn outcome(&self) -> Outcome {
        if self.timed_out {
            Outcome::TimedOut
        } else if self.abandoned || !self.complete {
            Outcome::Abandoned
        } else if self.refused {
            Outcome::Refused
        } else {
            Outcome::Served
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let total = self.started.elapsed();
        let outcome = self.outcome();
        self.books.counters.count(self.status, self.reason, outcome.as_str(), total, self.upstream);
        let mut fingerprint = [0; 16];
        let token = self.token.as_ref().map(|token| token.write_fingerprint(&mut fingerprint));
        let record = self.live.as_ref().map(|live| &live.record);
        self.books.log.write(&AuditRecord {
            began: self.began,
            request_id: self.request_id.to_str().unwrap_or_default(),
            site: self.site.as_deref(),
            address: self.address_text.to_str().unwrap_or_default(),
            client: record.map(|record| &*record.client).or(self.named.client.as_deref()),
            user: record.map(|record| &*record.user).or(self.named.user.as_deref()),
            token,
            scopes: record.map(|record| record.scopes.as_str()).or(self.named.scopes.as_deref()),
            method: self.method.as_ref().map(Method::as_str),
            effect: self.subject.effect,
            doctype: self.subject.doctype.as_deref(),
            name: self.subject.name.as_deref(),
            rpc: self.subject.rpc.as_deref(),
            allowed: self.allowed,
            reason: self.reason,
            status: self.status,
            outcome,
            bytes_in: self.upload.as_ref().map_or(self.bytes_in, |received| received.load(Ordering::Relaxed)),
            bytes_out: self.bytes_out,
            total,
            upstream: self.upstream,
        });
    }
}
