//! Fetches public documents.

/// A fetcher.
pub struct Fetcher;
