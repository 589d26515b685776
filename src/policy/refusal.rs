//! Every reason for which the rules say no, with its stable code, its status and one safe sentence.
//!
//! Codes are public: they stand in error bodies, audit lines and metrics, and are never renamed. A sentence repeats nothing of the
//! request but names that were read as such (a parameter name of ours, a doctype, an RPC name).

use std::borrow::Cow;
use std::fmt;

/// Why a request is refused by the rules alone, whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The path can be read in two ways, or is not a path at all (DESIGN section 10 rule 3).
    PathInvalid,
    /// No route leads there.
    RouteUnknown,
    /// The route exists, for other methods.
    MethodNotAllowed,
    /// `POST` on a document name, or `/method/` behind it: `execute_doc_method` (FACTS W9, R9).
    DocumentMethod,
    QueryInvalid,
    BodyNotAllowed,
    BodyTypeUnsupported,
    BodyInvalid,
    BodyTooLarge,
    /// A key that makes Frappe do something else than its path says (FACTS R2, R8, R17).
    ParameterForbidden,
    /// A key that decides stands more than once.
    ParameterRepeated,
    ParameterMissing,
    ParameterInvalid,
    /// The body speaks of another document than the path.
    DocumentMismatch,
    /// A token in the query or the body (RFC 6750 section 5.3).
    TokenMisplaced,
    /// The RPC stands in no catalogue.
    RpcUnknown,
    RpcForbidden,
    DoctypeForbidden,
    DoctypeReadOnly,
    FieldForbidden,
    InsufficientScope,
}

impl Reason {
    pub const fn code(self) -> &'static str {
        match self {
            Self::PathInvalid => "path_invalid",
            Self::RouteUnknown => "route_unknown",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::DocumentMethod => "document_method",
            Self::QueryInvalid => "query_invalid",
            Self::BodyNotAllowed => "body_not_allowed",
            Self::BodyTypeUnsupported => "body_type_unsupported",
            Self::BodyInvalid => "body_invalid",
            Self::BodyTooLarge => "body_too_large",
            Self::ParameterForbidden => "parameter_forbidden",
            Self::ParameterRepeated => "parameter_repeated",
            Self::ParameterMissing => "parameter_missing",
            Self::ParameterInvalid => "parameter_invalid",
            Self::DocumentMismatch => "document_mismatch",
            Self::TokenMisplaced => "token_misplaced",
            Self::RpcUnknown => "rpc_unknown",
            Self::RpcForbidden => "rpc_forbidden",
            Self::DoctypeForbidden => "doctype_forbidden",
            Self::DoctypeReadOnly => "doctype_read_only",
            Self::FieldForbidden => "field_forbidden",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    pub const fn status(self) -> u16 {
        match self {
            Self::RouteUnknown => 404,
            Self::MethodNotAllowed | Self::DocumentMethod => 405,
            Self::BodyTooLarge => 413,
            Self::BodyTypeUnsupported => 415,
            Self::RpcUnknown
            | Self::RpcForbidden
            | Self::DoctypeForbidden
            | Self::DoctypeReadOnly
            | Self::FieldForbidden
            | Self::InsufficientScope => 403,
            Self::PathInvalid
            | Self::QueryInvalid
            | Self::BodyNotAllowed
            | Self::BodyInvalid
            | Self::ParameterForbidden
            | Self::ParameterRepeated
            | Self::ParameterMissing
            | Self::ParameterInvalid
            | Self::DocumentMismatch
            | Self::TokenMisplaced => 400,
        }
    }
}

/// A refusal: the reason and a sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub message: Cow<'static, str>,
    /// The methods that the route takes, for `Allow` (RFC 9110 section 15.5.6); empty unless the method is what was wrong.
    pub allow: Cow<'static, str>,
    /// The scope that would have sufficed, for RFC 6750 section 3.1; only with [`Reason::InsufficientScope`].
    pub scope: Option<Box<str>>,
}

impl Refusal {
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), allow: Cow::Borrowed(""), scope: None }
    }

    pub fn method(reason: Reason, allow: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { allow: allow.into(), ..Self::new(reason, message) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.message)
    }
}

impl std::error::Error for Refusal {}
