//! Every rule of a message head, as one table, and however it is cut.

use http::{Method, Uri};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

use super::{Complete, Framing, Head, HeadBounds, is_token, path_and_query};
use crate::listener::violation::Violation;

const BOUNDS: HeadBounds = HeadBounds { bytes_max: 400, fields_max: 5, target_bytes_max: 100 };

fn read(head: &[u8]) -> Result<Option<Complete>, Violation> {
    Head::default().read(head, &BOUNDS)
}

#[test]
fn lawful_heads_pass_and_say_how_the_body_is_framed() {
    let none = Framing::Length(0);
    let rows: [(&str, &str, Framing); 19] = [
        ("the least", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", none),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", none),
        ("no space after the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", none),
        ("white space around values", "GET / HTTP/1.1\r\nHost: \t a \t \r\nContent-Length:\t 5 \r\n\r\n", Framing::Length(5)),
        ("names in any case", "GET / HTTP/1.1\r\nhOsT: a\r\ncONTENT-lENGTH: 7\r\n\r\n", Framing::Length(7)),
        ("zero length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", none),
        (
            "the longest length",
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n",
            Framing::Length(999_999_999_999_999_999),
        ),
        ("chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked),
        ("chunked in any case", "POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: Chunked\r\n\r\n", Framing::Chunked),
        ("expect", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", Framing::Length(1)),
        ("host with port", "GET / HTTP/1.1\r\nHost: erp.example.com:8443\r\n\r\n", none),
        ("IPv6 host", "GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", none),
        ("absolute form of the same authority", "GET http://A.example/x?y HTTP/1.1\r\nHost: a.EXAMPLE\r\n\r\n", none),
        ("absolute form without a path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", none),
        ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", none),
        ("a method nobody knows is the service's to refuse", "frob / HTTP/1.1\r\nHost: a\r\n\r\n", none),
        ("empty value", "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n", none),
        ("bytes above ASCII in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", none),
        ("JSON in a path, as Frappe clients send it", "GET /api/x/{\"a\"}?f=[['a','=',1]] HTTP/1.1\r\nHost: a\r\n\r\n", none),
    ];
    for (what, head, framing) in rows {
        let with_more = format!("{head}GET /next");
        assert_eq!(read(with_more.as_bytes()), Ok(Some(Complete { len: head.len(), framing })), "{what}");
    }
}

#[test]
fn everything_that_two_servers_could_read_differently_is_refused() {
    let line = "GET / HTTP/1.1\r\nHost: a\r\n";
    let rows = [
        // The request line.
        ("empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("space first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("tab as separator", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("no version (HTTP/0.9)", "GET /\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("method that is no token", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("short version", "GET / HTTP/1\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("long version", "GET / HTTP/1.10\r\nHost: a\r\n\r\n".into(), Violation::RequestLineMalformed),
        ("version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Violation::VersionUnsupported),
        ("version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n".into(), Violation::VersionUnsupported),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Violation::VersionUnsupported),
        ("TLS on a plain port", "\u{16}\u{3}\u{1}\u{2}".into(), Violation::RequestLineMalformed),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), Violation::ConnectRefused),
        // The target.
        ("fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("fragment in the query", "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("no slash first", "GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("bytes above ASCII", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("control character", "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("NUL", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("DEL", "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("tab", "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("asterisk for another method", "GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("authority form", "GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("user information", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("absolute form without authority", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::TargetMalformed),
        ("absolute form of another authority", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::AuthorityConflict),
        ("absolute form of another port", "GET http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::AuthorityConflict),
        ("target too long", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100)), Violation::TargetTooLong),
        ("target without an end", format!("GET /{}", "a".repeat(400)), Violation::TargetTooLong),
        // Line ends and control characters.
        ("bare line feeds", "GET / HTTP/1.1\nHost: a\n\n".into(), Violation::BareLineFeed),
        ("bare line feed after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".into(), Violation::BareLineFeed),
        ("bare line feed as the empty line", format!("{line}\n"), Violation::BareLineFeed),
        ("bare line feed, then the empty line", format!("{line}X: y\n\r\n"), Violation::BareLineFeed),
        ("bare carriage return in a value", format!("{line}X: a\rb\r\n\r\n"), Violation::ControlByte),
        ("carriage return twice", format!("{line}X: a\r\r\n\r\n"), Violation::ControlByte),
        ("carriage return hides a field", format!("{line}X: a\rContent-Length: 5\r\n\r\n"), Violation::ControlByte),
        ("carriage return in a name", format!("{line}X\r: a\r\n\r\n"), Violation::FieldMalformed),
        ("NUL in a value", format!("{line}X: a\0b\r\n\r\n"), Violation::ControlByte),
        ("escape in a value", format!("{line}X: a\u{1b}[0m\r\n\r\n"), Violation::ControlByte),
        ("vertical tab in a value", format!("{line}X: a\u{b}b\r\n\r\n"), Violation::ControlByte),
        ("DEL in a value", format!("{line}X: a\u{7f}\r\n\r\n"), Violation::ControlByte),
        ("NUL in a name", format!("{line}X\0: a\r\n\r\n"), Violation::FieldMalformed),
        // Fields.
        ("folded with a space", format!("{line}X: a\r\n b\r\n\r\n"), Violation::FoldedLine),
        ("folded with a tab", format!("{line}X: a\r\n\tb\r\n\r\n"), Violation::FoldedLine),
        ("folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), Violation::FoldedLine),
        ("space before the colon", format!("{line}Content-Length : 5\r\n\r\n"), Violation::FieldMalformed),
        ("tab before the colon", format!("{line}Transfer-Encoding\t: chunked\r\n\r\n"), Violation::FieldMalformed),
        ("space in a name", format!("{line}Content Length: 5\r\n\r\n"), Violation::FieldMalformed),
        ("empty name", format!("{line}: a\r\n\r\n"), Violation::FieldMalformed),
        ("no colon", format!("{line}X\r\n\r\n"), Violation::FieldMalformed),
        ("name above ASCII", format!("{line}\u{e9}: a\r\n\r\n"), Violation::FieldMalformed),
        ("quoted name", format!("{line}\"X\": a\r\n\r\n"), Violation::FieldMalformed),
        ("too many fields", format!("{line}A:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n"), Violation::TooManyFields),
        ("too many bytes", format!("{line}A: {}\r\n\r\n", "a".repeat(400)), Violation::HeadTooLarge),
        ("too many bytes without an end", format!("{line}A: {}", "a".repeat(400)), Violation::HeadTooLarge),
        // Framing.
        ("length and encoding", format!("{line}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), Violation::FramingConflict),
        ("encoding and length", format!("{line}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), Violation::FramingConflict),
        ("two lengths", format!("{line}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), Violation::FramingConflict),
        ("two equal lengths", format!("{line}Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), Violation::FramingConflict),
        ("list of lengths", format!("{line}Content-Length: 5, 5\r\n\r\n"), Violation::LengthMalformed),
        ("signed length", format!("{line}Content-Length: +5\r\n\r\n"), Violation::LengthMalformed),
        ("negative length", format!("{line}Content-Length: -5\r\n\r\n"), Violation::LengthMalformed),
        ("hexadecimal length", format!("{line}Content-Length: 0x5\r\n\r\n"), Violation::LengthMalformed),
        ("fractional length", format!("{line}Content-Length: 5.0\r\n\r\n"), Violation::LengthMalformed),
        ("octal-looking length", format!("{line}Content-Length: 010\r\n\r\n"), Violation::LengthMalformed),
        ("many zeros", format!("{line}Content-Length: 00\r\n\r\n"), Violation::LengthMalformed),
        ("empty length", format!("{line}Content-Length: \r\n\r\n"), Violation::LengthMalformed),
        ("length beyond a u64", format!("{line}Content-Length: 18446744073709551617\r\n\r\n"), Violation::LengthMalformed),
        ("space in a length", format!("{line}Content-Length: 1 1\r\n\r\n"), Violation::LengthMalformed),
        ("quoted length", format!("{line}Content-Length: \"5\"\r\n\r\n"), Violation::LengthMalformed),
        ("digits of another script", format!("{line}Content-Length: \u{665}\r\n\r\n"), Violation::LengthMalformed),
        ("identity", format!("{line}Transfer-Encoding: identity\r\n\r\n"), Violation::TransferEncodingRefused),
        ("gzip, chunked", format!("{line}Transfer-Encoding: gzip, chunked\r\n\r\n"), Violation::TransferEncodingRefused),
        ("chunked twice in one", format!("{line}Transfer-Encoding: chunked, chunked\r\n\r\n"), Violation::TransferEncodingRefused),
        ("chunked, identity", format!("{line}Transfer-Encoding: chunked, identity\r\n\r\n"), Violation::TransferEncodingRefused),
        ("xchunked", format!("{line}Transfer-Encoding: xchunked\r\n\r\n"), Violation::TransferEncodingRefused),
        ("quoted", format!("{line}Transfer-Encoding: \"chunked\"\r\n\r\n"), Violation::TransferEncodingRefused),
        ("with a parameter", format!("{line}Transfer-Encoding: chunked;q=1\r\n\r\n"), Violation::TransferEncodingRefused),
        ("comma at the end", format!("{line}Transfer-Encoding: chunked,\r\n\r\n"), Violation::TransferEncodingRefused),
        ("vertical tab before chunked", format!("{line}Transfer-Encoding: \u{b}chunked\r\n\r\n"), Violation::TransferEncodingRefused),
        ("empty encoding", format!("{line}Transfer-Encoding:\r\n\r\n"), Violation::TransferEncodingRefused),
        ("two encodings", format!("{line}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), Violation::FramingConflict),
        (
            "encoding on HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            Violation::TransferEncodingRefused,
        ),
        // Host and Expect.
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), Violation::HostMissing),
        ("no host on HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".into(), Violation::HostMissing),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), Violation::HostRepeated),
        ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), Violation::HostMalformed),
        ("list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), Violation::HostMalformed),
        ("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Violation::HostMalformed),
        ("host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into(), Violation::HostMalformed),
        ("host with a letter port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".into(), Violation::HostMalformed),
        ("host with an empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n".into(), Violation::HostMalformed),
        ("host with two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n".into(), Violation::HostMalformed),
        ("host with a port beyond all", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n".into(), Violation::HostMalformed),
        ("open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".into(), Violation::HostMalformed),
        ("brackets around no address", "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n".into(), Violation::HostMalformed),
        ("bytes after a bracket", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n".into(), Violation::HostMalformed),
        ("escaped host", "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n".into(), Violation::HostMalformed),
        ("another expectation", format!("{line}Expect: 200-ok\r\n\r\n"), Violation::ExpectationRefused),
        ("list of expectations", format!("{line}Expect: 100-continue, x\r\n\r\n"), Violation::ExpectationRefused),
    ];
    for (what, head, violation) in rows {
        assert_eq!(read(head.as_bytes()), Err(violation), "{what}");
        assert_eq!(in_pieces(head.as_bytes(), &[1; 500]), Err(violation), "{what}, byte by byte");
    }
}

#[test]
fn the_bounds_are_exact() {
    let head = |filler: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(filler));
    let fixed = head(0).len();
    assert!(matches!(read(head(400 - fixed).as_bytes()), Ok(Some(Complete { len: 400, .. }))));
    assert_eq!(read(head(401 - fixed).as_bytes()), Err(Violation::HeadTooLarge));
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    assert!(matches!(read(target(100).as_bytes()), Ok(Some(_))));
    assert_eq!(read(target(101).as_bytes()), Err(Violation::TargetTooLong));
}

#[test]
fn what_passes_here_passes_the_crates_that_read_it_next() {
    for byte in 0..=u8::MAX {
        assert_eq!(is_token(byte), Method::from_bytes(&[byte]).is_ok(), "method {byte:#x}");
        for target in [[b'/', byte], [b'?', byte]] {
            let whole = [b"/".as_slice(), &target].concat();
            // The crate takes bytes above ASCII where they are UTF-8, and cuts fragments off: both are refused here.
            let ours = path_and_query(&whole).is_ok();
            let theirs = Uri::try_from(whole.as_slice()).is_ok() && byte.is_ascii() && byte != b'#';
            assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(&whole));
        }
    }
}

/// The verdict on a head that arrives in pieces of the given lengths.
fn in_pieces(bytes: &[u8], pieces: &[usize]) -> Result<Option<Complete>, Violation> {
    let mut head = Head::default();
    let mut there = 0;
    for piece in pieces {
        there = (there + piece).min(bytes.len());
        if let verdict @ (Ok(Some(_)) | Err(_)) = head.read(&bytes[..there], &BOUNDS) {
            return verdict;
        }
    }
    head.read(bytes, &BOUNDS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_arrive(
        lines in prop::collection::vec(prop::sample::select(LINES), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        pieces in prop::collection::vec(1usize..40, 0..60),
    ) {
        let mut bytes: Vec<u8> = ["GET /a?b=c HTTP/1.1\r\n"].into_iter().chain(lines).collect::<String>().into_bytes();
        bytes.extend_from_slice(b"\r\n");
        if let Some((index, byte)) = flip {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(in_pieces(&bytes, &pieces), read(&bytes));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&bytes);
    }
}

const LINES: &[&str] = &[
    "Host: a\r\n",
    "Host: a:80\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: +5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "X: y\n",
    "X : y\r\n",
    "X: a\rb\r\n",
    " folded\r\n",
    "no colon\r\n",
    "Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    "\r\n",
];
