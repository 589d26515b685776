//! Why an operation was not done: a stable code for programs, a sentence with a remedy for people, a status for the socket.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::store::seal::SealError;

/// Stable; programs may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request to the socket cannot be read.
    RequestInvalid,
    RouteUnknown,
    SiteUnknown,
    ClientUnknown,
    ClientTaken,
    ClientDisabled,
    /// A public client has no secret.
    ClientPublic,
    ClientInvalid,
    RedirectUriInvalid,
    GrantTypeInvalid,
    OriginInvalid,
    /// A secret that was rotated away cannot count for so long.
    OverlapInvalid,
    RateInvalid,
    ScopeInvalid,
    /// A name that the config does not explain.
    ScopeUnknown,
    /// More than the client may have.
    ScopeTooWide,
    UserInvalid,
    LifetimeInvalid,
    LimitInvalid,
    TokenInvalid,
    TokenUnknown,
    /// A token that is to be registered is registered already.
    TokenTaken,
    GrantUnknown,
    ApiKeyInvalid,
    /// The site has no use for a client's API key.
    ApiKeyUnused,
    /// There is no key to seal with.
    SealKeyMissing,
    /// The store cannot answer.
    Store,
    /// The store is not of the kind that this is for, or is not there.
    StoreUnfit,
    /// A gate holds the store, or changes it meanwhile.
    StoreInUse,
    /// The store that is to be written holds something already.
    StoreNotEmpty,
    /// A backup cannot be written, or what is named is none.
    BackupFile,
    /// Sealing or randomness failed.
    Internal,
    /// Nobody answers on the socket, or not in words that this build knows.
    Gate,
    /// The socket may not be opened by this user.
    SocketForbidden,
    /// Said by a gate of a later version.
    #[serde(other)]
    Other,
}

impl Code {
    pub const fn status(self) -> u16 {
        match self {
            Self::RequestInvalid
            | Self::ClientInvalid
            | Self::RedirectUriInvalid
            | Self::GrantTypeInvalid
            | Self::OriginInvalid
            | Self::OverlapInvalid
            | Self::RateInvalid
            | Self::ScopeInvalid
            | Self::ScopeUnknown
            | Self::ScopeTooWide
            | Self::UserInvalid
            | Self::LifetimeInvalid
            | Self::LimitInvalid
            | Self::TokenInvalid
            | Self::BackupFile
            | Self::ApiKeyInvalid => 400,
            Self::SocketForbidden => 403,
            Self::RouteUnknown | Self::SiteUnknown | Self::ClientUnknown | Self::TokenUnknown | Self::GrantUnknown => 404,
            Self::ClientTaken
            | Self::ClientDisabled
            | Self::ClientPublic
            | Self::TokenTaken
            | Self::ApiKeyUnused
            | Self::StoreUnfit
            | Self::StoreInUse
            | Self::StoreNotEmpty
            | Self::SealKeyMissing => 409,
            Self::Internal | Self::Other => 500,
            Self::Gate => 502,
            Self::Store => 503,
        }
    }
}

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    #[serde(rename = "error")]
    pub code: Code,
    pub message: String,
}

impl AdminError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AdminError {}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::new(Code::Store, error.0)
    }
}

impl From<SealError> for AdminError {
    fn from(error: SealError) -> Self {
        Self::new(Code::Internal, error.to_string())
    }
}
