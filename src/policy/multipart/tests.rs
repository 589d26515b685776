//! Multipart bodies, whole and cut, and what is refused in them.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Field, Scanner};

const OPENING: &str = "--b0\r\nContent-Disposition: form-data; name=\"doctype\"\r\n\r\nLead\r\n";
const FILE: &str = "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n--b\r\n\r\n-- more\r\n";
const CLOSING: &str = "--b0--\r\n";

fn scan(body: &[u8], size: usize) -> Result<Vec<Field>, String> {
    let mut scanner = Scanner::new("b0");
    for chunk in body.chunks(size.max(1)) {
        scanner.push(chunk).map_err(|refusal| refusal.to_string())?;
    }
    scanner.finish().map_err(|refusal| refusal.to_string())
}

#[test]
fn fields_and_files_are_told_apart_however_the_body_is_cut() {
    let body = format!("{OPENING}{FILE}--b0\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n{CLOSING}");
    let expected = vec![
        Field { name: "doctype".into(), value: Some("Lead".into()) },
        Field { name: "file".into(), value: None },
        Field { name: "empty".into(), value: Some(String::new()) },
    ];
    for size in 1..body.len() {
        assert_eq!(scan(body.as_bytes(), size).as_ref(), Ok(&expected), "in chunks of {size}");
    }
    assert_eq!(scan(b"--b0--\r\n", 3), Ok(vec![]));
    assert_eq!(scan(b"--b0--", 1), Ok(vec![]));
}

#[test]
fn what_two_readers_could_cut_differently_is_refused() {
    let part = |head: &str| format!("--b0\r\n{head}\r\n\r\nx\r\n{CLOSING}");
    let cases: Vec<(&str, String)> = vec![
        ("an empty body", String::new()),
        ("a preamble, which werkzeug skips", format!("hello\r\n{OPENING}{CLOSING}")),
        ("an epilogue, which some read on", format!("{OPENING}{CLOSING}more")),
        ("no closing boundary", OPENING.into()),
        (
            "a boundary behind a bare LF: werkzeug begins a part there",
            format!(
                "{OPENING}--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\n--b0\r\nContent-Disposition: form-data; name=\"cmd\"\r\n\r\ny\r\n{CLOSING}"
            ),
        ),
        ("a boundary behind a bare CR", part("Content-Disposition: form-data; name=\"a\"").replace("x\r\n--b0", "x\r--b0")),
        ("the boundary in the middle of a line", part("Content-Disposition: form-data; name=\"a\"").replace('x', "x--b0y")),
        ("a longer boundary, the same to a prefix reader", part("Content-Disposition: form-data; name=\"a\"").replace("--b0--", "--b0x--")),
        (
            "space behind a boundary, which werkzeug trims",
            format!("--b0 \r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n{CLOSING}"),
        ),
        ("bare LF in the head", part("Content-Disposition: form-data; name=\"a\"\nX: y")),
        ("a folded head line", part("Content-Disposition: form-data;\r\n name=\"a\"")),
        ("no disposition", part("Content-Type: text/plain")),
        ("two dispositions", part("Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"cmd\"")),
        ("two names", part("Content-Disposition: form-data; name=\"a\"; name=\"cmd\"")),
        ("an extended name", part("Content-Disposition: form-data; name*=UTF-8''cmd")),
        ("a continued name", part("Content-Disposition: form-data; name*0=\"c\"; name*1=\"md\"")),
        ("an escaped name", part("Content-Disposition: form-data; name=\"c\\md\"")),
        ("an empty name", part("Content-Disposition: form-data; name=\"\"")),
        ("an attachment", part("Content-Disposition: attachment; name=\"a\"")),
        ("another parameter", part("Content-Disposition: form-data; name=\"a\"; size=3")),
        ("another transfer encoding", part("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64")),
        ("a field in another charset", part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-16")),
        ("an unknown head field", part("Content-Disposition: form-data; name=\"a\"\r\nX-Name: cmd")),
        (
            "a second charset before the first",
            part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=iso-8859-1; x=charset=utf-8"),
        ),
        ("an unquoted name with a tab, where werkzeug ends it", part("Content-Disposition: form-data; name=cmd\tx")),
        ("an unquoted name with a tab behind it", part("Content-Disposition: form-data; name=cmd\t; filename=\"x\"")),
        ("an unquoted name with a letter beyond ASCII", part("Content-Disposition: form-data; name=cmd\u{e4}")),
        ("an unquoted name with a quote", part("Content-Disposition: form-data; name=c\"md\"")),
        ("an empty unquoted file name, which werkzeug drops", part("Content-Disposition: form-data; name=\"a\"; filename=")),
        ("a parameter behind a quote", part("Content-Disposition: form-data; name=\"a\"b; filename=\"x\"")),
        ("a space before the equals sign", part("Content-Disposition: form-data; name =\"a\"")),
        ("a space before the colon", part("Content-Disposition : form-data; name=\"a\"")),
        ("a head line without a colon", part("Content-Disposition: form-data; name=\"a\"\r\nname")),
    ];
    for (why, body) in cases {
        for size in [1, 7, body.len().max(1)] {
            assert!(scan(body.as_bytes(), size).is_err(), "{why}: {body:?} in chunks of {size}");
        }
    }
}

#[test]
fn a_long_field_is_refused_and_a_long_file_passes_in_constant_memory() {
    let long = "y".repeat(3 * super::FIELD_BYTES_MAX);
    let field = format!("--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{long}\r\n{CLOSING}");
    assert!(scan(field.as_bytes(), 4096).is_err());

    let mut scanner = Scanner::new("b0");
    scanner.push(b"--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n").expect("a file's head");
    for _ in 0..100 {
        scanner.push(long.as_bytes()).expect("a file's bytes");
        assert!(scanner.held.len() < 64, "{} bytes held", scanner.held.len());
    }
    scanner.push(b"\r\n--b0--\r\n").expect("the end");
    assert!(scanner.complete());
}

/// Bodies in the grammar of multipart, and beside it.
pub(in crate::policy) fn nasty_multipart() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "--b0\r\n", "\r\n--b0\r\n", "\r\n--b0--\r\n", "--b0--", "--b0", "\r\n", "\n", "\r", "\r\n\r\n", "Content-Disposition: form-data; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\n\r\n", "Content-Disposition: form-data; name=cmd\r\n\r\nx",
            "content-disposition:form-data;name=\"f\"; filename=\"x\"\r\nContent-Type: text/plain\r\n\r\n", "; filename=\"\"", "; filename*=utf-8''x", "value", " ", "\t",
            "ä", "-", "--b",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    // A part that is well formed but for what stands in its value or behind its name.
    let value = prop::collection::vec(piece.clone(), 0..2).prop_map(|pieces| pieces.concat());
    let parameter = prop::sample::select(vec![
        "name=\"a\"",
        "name=a",
        "NAME=\"b\"",
        "name=\"ä\"",
        "name=\"a;b\"",
        "name=\"%22\"",
        "name=\"a\"; filename=\"x y\"",
        "name=\"a\";filename=x",
        "name=\"a\"; filename=\"\"",
        "name=\"a\"; filename*=UTF-8''%C3%A4",
        "name=a\t",
        "name=\"a\" ",
        "name=\"a\"; filename=",
        "name= \"a\"",
        "name=a b",
        "filename=\"x\"; name=\"a\"",
        "name=\"a\";",
        "name=''",
    ]);
    let part = (parameter, value).prop_map(|(parameter, value)| {
        [b"--b0\r\nContent-Disposition: form-data; ", parameter.as_bytes(), b"\r\n\r\n", &value, b"\r\n"].concat()
    });
    prop_oneof![
        1 => prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
        3 => prop::collection::vec(part, 0..4).prop_map(|parts| [parts.concat(), b"--b0--\r\n".to_vec()].concat()),
    ]
}

proptest! {
    #[test]
    fn a_body_means_the_same_wherever_it_is_cut(body in nasty_multipart(), cuts in prop::collection::vec(1_usize..40, 1..6)) {
        let whole = scan(&body, body.len());
        prop_assert_eq!(&scan(&body, 1), &whole);
        let mut scanner = Scanner::new("b0");
        let mut rest = body.as_slice();
        let mut turn = 0;
        let cut = loop {
            if rest.is_empty() {
                break scanner.finish().map_err(|refusal| refusal.to_string());
            }
            let (chunk, tail) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
            if let Err(refusal) = scanner.push(chunk) {
                break Err(refusal.to_string());
            }
            rest = tail;
            turn += 1;
        };
        prop_assert_eq!(cut.is_ok(), whole.is_ok());
        if whole.is_ok() {
            prop_assert_eq!(cut, whole);
        }
    }
}

#[test]
fn nobody_spends_our_time_with_small_chunks_or_a_boundary_of_dashes() {
    let started = Instant::now();
    // A head that comes byte by byte is searched again for each of them: its length bounds that.
    let name = "n".repeat(super::PART_HEAD_MAX - 100);
    let part = format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n\r\n");
    assert!(scan(format!("{part}{part}{part}{CLOSING}").as_bytes(), 1).is_ok());
    // Every byte of this file could begin the boundary.
    let boundary = "-".repeat(69) + "b";
    let mut scanner = Scanner::new(&boundary);
    scanner.push(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n").as_bytes()).expect("a head");
    scanner.push("-".repeat(1_000_000).as_bytes()).expect("a file");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
