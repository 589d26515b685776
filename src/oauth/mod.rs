//! How a grant is made: clients, and the requests that make grants of them. Pure, like `policy`, which it may import.

pub mod authorization;
pub mod claims;
pub mod client;
pub mod consent;
pub mod document;
pub mod error;
pub mod metadata;
pub mod origin;
pub mod parameters;
pub mod pkce;
pub mod records;
pub mod redirect;
pub mod registration;
pub mod scopes;
pub mod sealed_answer;
pub mod signing;
pub mod token;
pub mod words;
