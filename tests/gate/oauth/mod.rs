//! scopegate as an OAuth 2 provider, seen from outside. `requirements` holds the list of what the RFCs demand to the tests that show it;
//! `endpoints` are requests and answers as apps know them, for the others.

mod authentication;
mod authorization;
mod clients;
mod code;
mod consent;
mod cors;
mod documents;
mod endpoints;
mod guide;
mod introspection;
mod libraries;
mod metadata;
mod parameters;
mod race;
mod refresh;
mod registration;
mod requirements;
mod resource;
mod revocation;
mod secrets;
mod signin;
mod token;
