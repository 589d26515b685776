//! Queries and forms, read and written.

use proptest::prelude::*;

use super::{PAIRS_MAX, Pairs};
use crate::policy::refusal::Reason;

fn read(raw: &[u8]) -> Option<Vec<(String, String)>> {
    let pairs = Pairs::parse(raw, Reason::QueryInvalid).ok()?;
    Some(pairs.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Why, the raw text, the pairs.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn pairs_are_read_as_python_reads_them() {
    #[rustfmt::skip]
    let cases: &[Row<'_>] = &[
        ("nothing", "", &[]),
        ("T218: an encoded name", "%63m%64=x", &[("cmd", "x")]),
        ("T219: each of equal names", "cmd=&cmd=x", &[("cmd", ""), ("cmd", "x")]),
        ("T220: `;` separates nothing", "x=1;cmd=y", &[("x", "1;cmd=y")]),
        ("`+` is a space in names too", "a+b=c+d", &[("a b", "c d")]),
        ("an encoded plus", "a=%2B", &[("a", "+")]),
        ("the first `=` divides", "a=b=c", &[("a", "b=c")]),
        ("no `=`", "a", &[("a", "")]),
        ("no name", "=a", &[("", "a")]),
        ("empty parts are skipped", "&&a=1&&", &[("a", "1")]),
        ("only `=`", "=", &[("", "")]),
        ("a `%` without digits stands for itself", "a=100%&b=%zz&c=%4", &[("a", "100%"), ("b", "%zz"), ("c", "%4")]),
        ("decoded once", "a=%2541", &[("a", "%41")]),
        ("an encoded `&` divides nothing", "a=1%26cmd=x", &[("a", "1&cmd=x")]),
        ("UTF-8", "n=%C3%A4%e2%82%ac", &[("n", "ä€")]),
        ("raw UTF-8", "n=ä", &[("n", "ä")]),
        ("line breaks in a value are text", "a=%0d%0a", &[("a", "\r\n")]),
    ];
    for (why, raw, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read(raw.as_bytes()), Some(expected), "{why}: {raw}");
    }
}

#[test]
fn what_python_would_repair_is_refused() {
    #[rustfmt::skip]
    let cases: &[(&str, &[u8])] = &[
        ("a byte that is no UTF-8, encoded", b"a=%ff"),
        ("a raw byte that is no UTF-8", b"a=\xff"),
        ("half a character", b"a=%c3"),
        ("half a character before the next pair", b"a=%c3&b=%a4"),
        ("an overlong letter", b"%c1%a3md=x"),
        ("a surrogate", b"a=%ed%a0%80"),
        ("NUL in a value", b"a=x%00y"),
        ("NUL in a name, which C would end there", b"cmd%00=x"),
        ("a line break in a name", b"cmd%0a=x"),
        ("a tab in a name", b"cmd%09=x"),
        ("DEL in a name", b"cmd%7f=x"),
    ];
    for (why, raw) in cases {
        assert_eq!(read(raw), None, "{why}: {}", raw.escape_ascii());
    }
    assert!(read("a&".repeat(PAIRS_MAX).as_bytes()).is_some());
    assert!(read("a&".repeat(PAIRS_MAX + 1).as_bytes()).is_none(), "more pairs than are read");
}

#[test]
fn removing_takes_every_pair_of_that_name() {
    let mut pairs = Pairs::parse(b"cmd=a&x=1&%63md=b", Reason::QueryInvalid).expect("pairs");
    pairs.remove("cmd");
    let mut text = String::new();
    pairs.write(&mut text);
    assert_eq!(text, "x=1");
}

/// Forms as attackers and bad clients write them.
pub(in crate::policy) fn nasty_form() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "&", "=", "+", "%", ";", "a", "cmd", "c%6dd", "%63md", "fields", "[\"name\"]", "%00", "%0A", "%C3%A4", "%ff", "%2", "%25", "%26", "%3D", "ä",
            "[]", "\"", " ", "#", "?", "/", "\u{1f980}",
        ])
        .prop_map(str::to_owned),
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02X}")),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&raw);
    }

    #[test]
    fn what_is_accepted_reads_the_same_again(raw in nasty_form()) {
        if let Ok(pairs) = Pairs::parse(raw.as_bytes(), Reason::BodyInvalid) {
            let mut text = String::new();
            pairs.write(&mut text);
            let again = Pairs::parse(text.as_bytes(), Reason::BodyInvalid);
            prop_assert_eq!(again.as_ref(), Ok(&pairs), "{} -> {}", raw, text);
            let mut twice = String::new();
            again.expect("compared").write(&mut twice);
            prop_assert_eq!(text, twice, "one spelling only");
        }
    }
}
