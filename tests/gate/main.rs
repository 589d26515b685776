//! What a client, an upstream and an operator see of the gate: the real binary on free ports, held to its contracts from outside.
//!
//! `support` is what the tests stand on; `admin` the commands that need no running gate; `audit` the log of who did what; `bypass` is the table of everything that Frappe
//! lets a narrow token do; `ordinary` the traffic that must pass unharmed; `edge` the wire; `store` what happens when the store fails;
//! `faults` that revocations hold whatever fails; `clients` the libraries that people use; `browser` what people see; `house` the order of the source.

mod admin;
mod audit;
mod browser;
mod bypass;
mod clients;
mod commands;
mod edge;
mod faults;
mod house;
mod oauth;
mod ordinary;
mod store;
mod support;
