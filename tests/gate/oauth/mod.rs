//! scopegate as an OAuth 2 provider, seen from outside. `requirements` holds the list of what the RFCs demand to the tests that show it;
//! `endpoints` are requests and answers as apps know them, for the others.

mod authentication;
mod endpoints;
mod guide;
mod introspection;
mod libraries;
mod race;
mod refresh;
mod requirements;
mod resource;
mod revocation;
mod secrets;
mod token;
