//! How a grant is made: clients, and the requests that make grants of them. Pure, like `policy`, which it may import.

pub mod client;
pub mod document;
