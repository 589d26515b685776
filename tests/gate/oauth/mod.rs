//! scopegate as an OAuth 2 provider, seen from outside. `requirements` holds the list of what the RFCs demand to the tests that show it.

mod cors;
mod documents;
mod guide;
mod metadata;
mod registration;
mod requirements;
