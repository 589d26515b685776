//! What a peer can do wrong before a request is one, each with a stable code.
//!
//! The listener only finds these; whoever answers (the service) writes the reply and the audit record.

use std::error::Error;
use std::fmt;
use std::io;

/// One breach of HTTP's own rules. Its reason is part of the audit format: codes are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Violation {
    /// Not `METHOD SP target SP HTTP/1.x`.
    RequestLineMalformed,
    /// Neither HTTP/1.0 nor HTTP/1.1, such as the HTTP/2 preface on a connection without ALPN.
    VersionUnsupported,
    /// CONNECT: the gate is never a tunnel.
    ConnectRefused,
    TargetMalformed,
    TargetTooLong,
    /// More bytes than `header_bytes_max`.
    HeadTooLarge,
    /// More fields than `header_count_max`.
    TooManyFields,
    /// A field without a colon, or whose name is not a token (a space before the colon included).
    FieldMalformed,
    /// A line that continues the one before it (RFC 9112 section 5.2).
    FoldedLine,
    /// A line feed without its carriage return.
    BareLineFeed,
    /// NUL, a carriage return inside a line, or another control character.
    ControlByte,
    /// `Content-Length` with `Transfer-Encoding`, or either of them twice.
    FramingConflict,
    /// A length that is not plain digits, or that no body can have.
    LengthMalformed,
    /// Anything but a single `chunked`, or any on HTTP/1.0.
    TransferEncodingRefused,
    HostMissing,
    HostRepeated,
    HostMalformed,
    /// `Host` names another authority than the request target or `:authority` does.
    AuthorityConflict,
    /// An `Expect` other than `100-continue`.
    ExpectationRefused,
    /// The head was not complete within `header_timeout`.
    HeaderTimeout,
    /// Inside a body: a chunk size, extension or line end that is not strictly RFC 9112 section 7.1.
    ChunkMalformed,
    /// Inside a body: trailer fields, which would come after everything was decided.
    TrailerRefused,
    /// HTTP/2 with a field that belongs to a connection (RFC 9113 section 8.2.2).
    ConnectionFieldRefused,
}

impl Violation {
    /// In the order of the declaration, which is that of the counters.
    pub const ALL: [Self; 23] = [
        Self::RequestLineMalformed,
        Self::VersionUnsupported,
        Self::ConnectRefused,
        Self::TargetMalformed,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::FieldMalformed,
        Self::FoldedLine,
        Self::BareLineFeed,
        Self::ControlByte,
        Self::FramingConflict,
        Self::LengthMalformed,
        Self::TransferEncodingRefused,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostMalformed,
        Self::AuthorityConflict,
        Self::ExpectationRefused,
        Self::HeaderTimeout,
        Self::ChunkMalformed,
        Self::TrailerRefused,
        Self::ConnectionFieldRefused,
    ];

    /// The stable code.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RequestLineMalformed => "request_line_malformed",
            Self::VersionUnsupported => "version_unsupported",
            Self::ConnectRefused => "connect_refused",
            Self::TargetMalformed => "target_malformed",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::FieldMalformed => "field_malformed",
            Self::FoldedLine => "folded_line",
            Self::BareLineFeed => "bare_line_feed",
            Self::ControlByte => "control_byte",
            Self::FramingConflict => "framing_conflict",
            Self::LengthMalformed => "length_malformed",
            Self::TransferEncodingRefused => "transfer_encoding_refused",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostMalformed => "host_malformed",
            Self::AuthorityConflict => "authority_conflict",
            Self::ExpectationRefused => "expectation_refused",
            Self::HeaderTimeout => "header_timeout",
            Self::ChunkMalformed => "chunk_malformed",
            Self::TrailerRefused => "trailer_refused",
            Self::ConnectionFieldRefused => "connection_field_refused",
        }
    }

    /// The status that answers it.
    pub const fn status(self) -> u16 {
        match self {
            Self::VersionUnsupported => 505,
            Self::ConnectRefused => 405,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::ExpectationRefused => 417,
            Self::HeaderTimeout => 408,
            Self::RequestLineMalformed
            | Self::TargetMalformed
            | Self::FieldMalformed
            | Self::FoldedLine
            | Self::BareLineFeed
            | Self::ControlByte
            | Self::FramingConflict
            | Self::LengthMalformed
            | Self::TransferEncodingRefused
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::AuthorityConflict
            | Self::ChunkMalformed
            | Self::TrailerRefused
            | Self::ConnectionFieldRefused => 400,
        }
    }

    /// One sentence that is safe to show the client: nothing it sent is in it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::RequestLineMalformed => "The request line is malformed.",
            Self::VersionUnsupported => "Only HTTP/1.0 and HTTP/1.1 are spoken on this connection.",
            Self::ConnectRefused => "CONNECT is not served here.",
            Self::TargetMalformed => "The request target is malformed; characters outside RFC 3986 must be percent-encoded.",
            Self::TargetTooLong => "The request target is too long.",
            Self::HeadTooLarge => "The request header is too large.",
            Self::TooManyFields => "The request has too many header fields.",
            Self::FieldMalformed => "A header field is malformed.",
            Self::FoldedLine => "A header field is folded over several lines.",
            Self::BareLineFeed => "A line of the request header does not end in CR LF.",
            Self::ControlByte => "The request header holds a control character.",
            Self::FramingConflict => "The request says more than once how long its body is.",
            Self::LengthMalformed => "The Content-Length is malformed.",
            Self::TransferEncodingRefused => "The only Transfer-Encoding served is chunked, on HTTP/1.1.",
            Self::HostMissing => "The request has no Host.",
            Self::HostRepeated => "The request has more than one Host.",
            Self::HostMalformed => "The Host is malformed.",
            Self::AuthorityConflict => "The Host differs from the authority of the request target.",
            Self::ExpectationRefused => "The only expectation served is 100-continue.",
            Self::HeaderTimeout => "The request header did not arrive in time.",
            Self::ChunkMalformed => "The chunked body is malformed.",
            Self::TrailerRefused => "Trailer fields are not served.",
            Self::ConnectionFieldRefused => "The request holds a header field that HTTP/2 does not allow.",
        }
    }

    /// The violation behind an error that a request body ended with, where there is one.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(violation) = error.downcast_ref::<Self>() {
                return Some(*violation);
            }
            // An I/O error names as its source not what it wraps but the source of that.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Error for Violation {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io;

    use super::Violation;

    #[test]
    fn counters_and_codes_agree() {
        for (index, violation) in Violation::ALL.into_iter().enumerate() {
            assert_eq!(violation as usize, index, "{violation}");
            assert!((400..=505).contains(&violation.status()), "{violation}");
            assert!(violation.sentence().ends_with('.'), "{violation}");
        }
        let codes: HashSet<_> = Violation::ALL.into_iter().map(Violation::reason).collect();
        assert_eq!(codes.len(), Violation::ALL.len());
    }

    #[test]
    fn a_violation_is_found_behind_the_errors_that_carry_it() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, Violation::ChunkMalformed);
        let outer = io::Error::other(inner);
        assert_eq!(Violation::behind(&outer), Some(Violation::ChunkMalformed));
        assert_eq!(Violation::behind(&io::Error::other("another")), None);
    }
}
