//! What a token may do: pure rules over plain data, told the time and handed their bytes.
//!
//! This room does not know sockets, stores, clocks, locks or logs.

pub mod catalogue;
pub mod scope;
pub mod sensitive;
pub mod time;
pub mod token;
