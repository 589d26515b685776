//! Where a chunked body ends: RFC 9112 section 7.1, strictly, without extensions and trailers.
//!
//! hyper decodes the same bytes after this. Chunk extensions are where servers disagree about line ends, and no client needs them.

use crate::listener::violation::Violation;

/// Hexadecimal digits of a chunk size; more would not fit a `u64`.
const SIZE_DIGITS_MAX: u8 = 16;

/// How far one chunked body has been followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    Size {
        size: u64,
        digits: u8,
    },
    /// The LF that ends a size line.
    SizeFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// CR and LF after the data of a chunk.
    DataReturn,
    DataFeed,
    /// CR and LF after the last chunk, in place of trailers.
    EndReturn,
    EndFeed,
    /// The body is over.
    End,
}

impl Chunked {
    pub const START: Self = Self::Size { size: 0, digits: 0 };

    /// Follows the body into `bytes`: how many of them belong to it, up to its end, theirs, or a byte that breaks the rules.
    pub fn follow(&mut self, bytes: &[u8]) -> (usize, Result<(), Violation>) {
        let mut at = 0;
        while *self != Self::End {
            if let Self::Data { left } = self {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += data;
                *left -= data as u64;
                if *left > 0 {
                    break;
                }
                *self = Self::DataReturn;
            }
            let Some(byte) = bytes.get(at) else { break };
            match self.step(*byte) {
                Ok(next) => *self = next,
                Err(violation) => return (at, Err(violation)),
            }
            at += 1;
        }
        (at, Ok(()))
    }

    fn step(self, byte: u8) -> Result<Self, Violation> {
        match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                Ok(Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Self::Size { size, digits: 1.. }, b'\r') => Ok(Self::SizeFeed { size }),
            (Self::SizeFeed { size: 0 }, b'\n') => Ok(Self::EndReturn),
            (Self::SizeFeed { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataReturn, b'\r') => Ok(Self::DataFeed),
            (Self::DataFeed, b'\n') => Ok(Self::START),
            (Self::EndReturn, b'\r') => Ok(Self::EndFeed),
            (Self::EndFeed, b'\n') => Ok(Self::End),
            (Self::EndReturn, _) => Err(Violation::TrailerRefused),
            _ => Err(Violation::ChunkMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Chunked;
    use crate::listener::violation::Violation;

    #[test]
    fn lawful_bodies_end_where_they_end() {
        let rows: [(&str, &[u8], usize); 6] = [
            ("nothing", b"0\r\n\r\nGET", 5),
            ("one chunk", b"3\r\nabc\r\n0\r\n\r\nGET", 13),
            ("two chunks, upper and lower case", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\nx", 35),
            ("leading zeros", b"0003\r\nabc\r\n00\r\n\r\n", 17),
            ("data that looks like the end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", 15),
            ("data that looks like a request", b"4\r\nGET \r\n0\r\n\r\n", 14),
        ];
        for (what, bytes, len) in rows {
            let mut whole = Chunked::START;
            assert_eq!(whole.follow(bytes), (len, Ok(())), "{what}");
            assert_eq!(whole, Chunked::End, "{what}");
            let mut piecewise = Chunked::START;
            let taken: usize = bytes.chunks(1).map(|byte| piecewise.follow(byte).0).sum();
            assert_eq!((taken, piecewise), (len, Chunked::End), "{what}, byte by byte");
        }
    }

    #[test]
    fn everything_else_is_refused_at_its_byte() {
        let rows: [(&str, &[u8], usize, Violation); 18] = [
            ("no size", b"\r\nabc", 0, Violation::ChunkMalformed),
            ("space before the size", b" 3\r\nabc", 0, Violation::ChunkMalformed),
            ("space after the size", b"3 \r\nabc", 1, Violation::ChunkMalformed),
            ("sign", b"+3\r\nabc", 0, Violation::ChunkMalformed),
            ("minus", b"-1\r\n", 0, Violation::ChunkMalformed),
            ("prefix", b"0x3\r\nabc", 1, Violation::ChunkMalformed),
            ("extension", b"3;a=b\r\nabc", 1, Violation::ChunkMalformed),
            ("extension of the last chunk", b"0;a\r\n\r\n", 1, Violation::ChunkMalformed),
            ("seventeen digits", b"00000000000000003\r\n", 16, Violation::ChunkMalformed),
            ("bare line feed after the size", b"3\nabc", 1, Violation::ChunkMalformed),
            ("bare carriage return", b"3\rabc", 2, Violation::ChunkMalformed),
            ("data longer than said", b"3\r\nabcd\r\n", 6, Violation::ChunkMalformed),
            ("line feed alone after the data", b"3\r\nabc\n0\r\n\r\n", 6, Violation::ChunkMalformed),
            ("carriage return alone after the data", b"3\r\nabc\r0\r\n\r\n", 7, Violation::ChunkMalformed),
            ("trailer", b"0\r\nX: y\r\n\r\n", 3, Violation::TrailerRefused),
            ("trailer of framing", b"0\r\nContent-Length: 3\r\n\r\n", 3, Violation::TrailerRefused),
            ("bare line feed at the end", b"0\r\n\n", 3, Violation::TrailerRefused),
            ("carriage return alone at the end", b"0\r\n\rG", 4, Violation::ChunkMalformed),
        ];
        for (what, bytes, at, violation) in rows {
            let mut chunked = Chunked::START;
            assert_eq!(chunked.follow(bytes), (at, Err(violation)), "{what}");
        }
    }
}
