//! Administration: operations on clients, tokens, grants and users, and their two faces, a unix socket and a terminal.
//!
//! ```text
//! terminal, cli -> door -> remote -> (socket) -> http \
//!                      -> (no gate runs)               > operations: clients, tokens, grants, wait -> store, cache
//! ```
//!
//! `moving` is about the store as a whole: a running gate hands it out through the socket by `passage`, and the command does the rest.
//!
//! An operation is the same wherever it runs: in the gate, where it also empties what the cache knows of the thing changed, or in the
//! process of a command, on the store itself. `message` is what goes through the socket, and what `--json` prints.
//!
//! Whoever can open the socket is the operator: its mode and its directory are the guard, as with any local service of the system. This
//! room does not know HTTPS, sites' traffic or OAuth's endpoints.

pub mod error;
pub mod message;

pub mod door;
pub mod http;
pub mod remote;
pub mod socket;
pub mod terminal;

mod clients;
mod flow;
mod grants;
pub mod moving;
pub mod operations;
mod passage;
mod scopes;
mod tokens;
pub mod wait;

#[cfg(test)]
mod tests;
