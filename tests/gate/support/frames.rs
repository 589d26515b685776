//! HTTP/2 frames written by hand (RFC 9113), for requests that no library would send.
//!
//! Header blocks are literals without indexing and without Huffman coding (RFC 7541 section 6.2.2), so that every byte is the test's own.

use super::wire::Wire;

/// The connection preface and empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// How the gate met a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Met {
    /// With a status.
    Answered(u16),
    /// By ending the stream or the connection.
    Cut,
}

/// Sends one request on stream `stream`, and tells how it was met.
pub fn ask(wire: &mut Wire, stream: u32, fields: &[(&str, &str)], body: Option<&[u8]>) -> Met {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        literal(&mut block, name.as_bytes());
        literal(&mut block, value.as_bytes());
    }
    let end = if body.is_none() { END_STREAM } else { 0 };
    wire.send(frame(HEADERS, END_HEADERS | end, stream, &block));
    if let Some(body) = body {
        wire.send(frame(DATA, END_STREAM, stream, body));
    }
    answer(wire, stream)
}

fn answer(wire: &mut Wire, wanted: u32) -> Met {
    loop {
        let Some(head) = wire.read(9) else { return Met::Cut };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let Some(payload) = wire.read(length) else { return Met::Cut };
        match head[3] {
            HEADERS if stream == wanted => return Met::Answered(status(&payload)),
            RST_STREAM if stream == wanted => return Met::Cut,
            GOAWAY => return Met::Cut,
            SETTINGS if head[4] & ACK == 0 => wire.send(frame(SETTINGS, ACK, 0, &[])),
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A string as RFC 7541 section 5.2 writes it, its length in a 7-bit prefix.
fn literal(block: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        short @ 0..127 => block.push(u8::try_from(short).expect("below 127")),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("below 128") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("below 128"));
        }
    }
    block.extend_from_slice(text);
}

/// The `:status` that opens a header block: indexed for the seven common ones, else a literal value for entry 8.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size (RFC 7541 section 6.3) may stand before it.
    let block = if block.first().is_some_and(|byte| byte & 0xe0 == 0x20) { &block[1..] } else { block };
    match block {
        [indexed @ 0x88..=0x8e, ..] => INDEXED[usize::from(indexed - 0x88)],
        [0x08 | 0x18 | 0x48, 3, digits @ ..] => digits[..3].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
        [0x08 | 0x18 | 0x48, length @ (0x82 | 0x83), coded @ ..] => huffman_digits(&coded[..usize::from(length & 0x7f)]),
        _ => panic!("a header block that begins with {:02x?}", &block[..block.len().min(8)]),
    }
}

/// Three digits in RFC 7541's Huffman code: `0` to `2` take five bits, `3` to `9` six.
fn huffman_digits(coded: &[u8]) -> u16 {
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize, start: u16| (0..count).fold(start, |value, _| value << 1 | bits.next().unwrap_or(1));
    (0..3).fold(0, |status, _| {
        let five = take(5, 0);
        let digit = match five {
            0..=2 => five,
            // 011001 is `3`, and so on up to `9`.
            _ => take(1, five) - 0b01_1001 + 3,
        };
        status * 10 + digit
    })
}
