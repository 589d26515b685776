//! scopegate as an OAuth 2 provider, seen from outside. `requirements` holds the list of what the RFCs demand to the tests that show it.

mod authorization;
mod clients;
mod code;
mod consent;
mod guide;
mod parameters;
mod requirements;
mod signin;
