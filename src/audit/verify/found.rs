//! What a check of the log is asked, and what it says.

use serde::Serialize;

use crate::audit::chain::{ChainKey, Value};

/// Problems and notes that are told one by one; the others are counted.
pub const TOLD_MAX: usize = 100;

#[derive(Default)]
pub struct Options {
    /// Those that lines may be chained with.
    pub keys: Vec<ChainKey>,
    /// Whether gates without a key are fine although there are keys.
    pub unkeyed_too: bool,
    /// Whether the log may begin anywhere, as a part of a journal does.
    pub partial: bool,
}

/// A line that must be there.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `None` for the gate that wrote last.
    pub gate: Option<Box<str>>,
    pub seq: u64,
    pub value: Option<Value>,
}

#[derive(Debug, Serialize)]
pub struct Problem {
    pub file: String,
    pub line: u64,
    pub problem: String,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Verified {
    pub ok: bool,
    pub files: Vec<String>,
    pub bytes: u64,
    pub lines: u64,
    /// Lines that are a request's.
    pub requests: u64,
    /// The earliest and the latest time of a line.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Processes that wrote it.
    pub gates: u64,
    /// Lines that the log itself says it lost.
    pub lost: u64,
    /// Lines that were broken off and told of.
    pub torn: u64,
    /// Lines from before there was a chain.
    pub unchained: u64,
    pub problem_count: u64,
    /// The first [`TOLD_MAX`] of them.
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
}
