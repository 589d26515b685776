//! scopegate: a reverse proxy that makes OAuth 2 scopes mean something on Frappe and ERPNext REST APIs.
//!
//! The rooms stand here in reading order; `src/README.md` is the map.

pub mod app;
pub mod cli;
pub mod config;
pub mod router;

pub mod admin;
pub mod gateway;

pub mod exchange;

pub mod audit;
pub mod limiter;
pub mod listener;
pub mod outbound;
pub mod store;
pub mod upstream;

pub mod oauth;
pub mod policy;

pub mod pocket;
pub mod reply;
pub mod telemetry;
pub mod wording;
