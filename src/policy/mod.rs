//! What a token may do: pure rules over plain data, told the time and handed their bytes.
//!
//! This room does not know sockets, stores, clocks, locks or logs.
//!
//! A request becomes an [`operation::Operation`] (or a [`refusal::Refusal`]) in `classify`, out of what the readers below it
//! understood of its path, query and body; `decision` holds the operation against a token's scopes.

pub mod coverage;
pub mod scope;
pub mod time;
pub mod token;

pub mod classify;
pub mod decision;
pub mod operation;
pub mod refusal;

pub mod arguments;
pub mod catalogue;
pub mod reach;
pub mod sensitive;

pub mod content_type;
pub mod json;
pub mod multipart;
pub mod path;
pub mod query;

pub mod quota;

#[cfg(test)]
mod tests;
