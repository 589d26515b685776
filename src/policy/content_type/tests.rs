//! Which kinds of body are told apart, and which are refused.

use proptest::prelude::*;

use super::BodyKind;

#[test]
fn three_kinds_of_body_are_known() {
    let multipart = |boundary: &str| BodyKind::Multipart(boundary.into());
    #[rustfmt::skip]
    let cases: &[(&str, &str, BodyKind)] = &[
        ("plain", "application/json", BodyKind::Json),
        ("what axios sends", "application/json;charset=utf-8", BodyKind::Json),
        ("T286: case and spaces", "Application/JSON ; charset=UTF-8", BodyKind::Json),
        ("T255: a vendor's JSON", "application/vnd.fake+json", BodyKind::Json),
        ("a quoted charset", "application/json; charset=\"utf-8\"", BodyKind::Json),
        ("an empty parameter, RFC 9110 section 5.6.6", "application/json;", BodyKind::Json),
        ("a form", "application/x-www-form-urlencoded", BodyKind::Form),
        ("a form as browsers send it", "application/x-www-form-urlencoded; charset=UTF-8", BodyKind::Form),
        ("curl", "multipart/form-data; boundary=------------------------d74496d66958873e", multipart("------------------------d74496d66958873e")),
        ("Chrome", "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", multipart("----WebKitFormBoundary7MA4YWxkTrZu0gW")),
        ("Python's requests", "multipart/form-data; boundary=0f5a8f2a7d41e33f1f0e2c1a6a3ad9c7", multipart("0f5a8f2a7d41e33f1f0e2c1a6a3ad9c7")),
        (".NET quotes", "multipart/form-data; boundary=\"0a1b-2c3d\"", multipart("0a1b-2c3d")),
        ("a charset beside the boundary", "multipart/form-data; charset=utf-8; boundary=b0", multipart("b0")),
    ];
    for (why, value, kind) in cases {
        assert_eq!(BodyKind::parse(Some(value.as_bytes())), Ok(kind.clone()), "{why}: {value}");
        // What the upstream is told means the same.
        assert_eq!(BodyKind::parse(Some(kind.to_content_type().as_bytes())), Ok(kind.clone()), "{why}: {value}");
    }
}

#[test]
fn what_frappe_could_take_for_something_else_is_refused() {
    assert!(BodyKind::parse(None).is_err(), "T257: Frappe parses a body of no type");
    #[rustfmt::skip]
    let cases: &[(&str, &[u8])] = &[
        ("T284: Frappe parses text as JSON", b"text/plain"),
        ("T260: another charset", b"application/json; charset=utf-16"),
        ("another charset of a form", b"application/x-www-form-urlencoded; charset=iso-8859-1"),
        ("T287: two types in one field", b"text/plain, application/json"),
        ("a comma in a parameter", b"application/json; charset=utf-8, text/plain"),
        ("nothing", b""),
        ("only a parameter", b"; charset=utf-8"),
        ("no subtype", b"application"),
        ("an empty vendor", b"application/+json"),
        ("JSON at the end of something else", b"application/x+jsonx"),
        ("JSON of another kind", b"text/json"),
        ("a blank within", b"application/ json"),
        ("a blank within the suffix", b"application/a b+json"),
        ("a parameter without a value", b"application/json; charset"),
        ("a parameter with an empty value", b"application/json; charset="),
        ("an unknown parameter", b"application/json; boundary=b0"),
        ("an open quote", b"application/json; charset=\"utf-8"),
        ("an escape in a quoted value", b"multipart/form-data; boundary=\"b\\0\""),
        ("no boundary", b"multipart/form-data"),
        ("an empty boundary", b"multipart/form-data; boundary="),
        ("an empty quoted boundary", b"multipart/form-data; boundary=\"\""),
        ("two boundaries", b"multipart/form-data; boundary=a; boundary=b"),
        ("two boundaries in other cases", b"multipart/form-data; boundary=a; Boundary=b"),
        ("a boundary with a semicolon", b"multipart/form-data; boundary=\"a;b\""),
        ("a boundary with a space at its end, which werkzeug trims", b"multipart/form-data; boundary=\"a \""),
        ("a boundary with a blank", b"multipart/form-data; boundary=\"a b\""),
        ("a boundary with another letter", b"multipart/form-data; boundary=a*b"),
        ("an extended boundary", b"multipart/form-data; boundary*=utf-8''a"),
        ("a continued boundary", b"multipart/form-data; boundary*0=a"),
        ("another multipart", b"multipart/mixed; boundary=b0"),
        ("a line break", b"application/json\r\nX: y"),
        ("a tab", b"application/json;\tcharset=utf-8"),
        ("NUL", b"application/json\0"),
        ("not ASCII", b"application/json; charset=\xc3\xbctf-8"),
        ("not UTF-8", b"application/json\xff"),
    ];
    for (why, value) in cases {
        assert!(BodyKind::parse(Some(value)).is_err(), "{why}: {}", value.escape_ascii());
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    assert!(BodyKind::parse(Some(long.as_bytes())).is_err(), "RFC 2046 section 5.1.1: 70 characters");
}

proptest! {
    #[test]
    fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..80), tail in "[ -~]{0,40}") {
        let _ = BodyKind::parse(Some(&value));
        for head in ["application/json", "multipart/form-data; boundary="] {
            if let Ok(kind) = BodyKind::parse(Some(format!("{head}{tail}").as_bytes())) {
                prop_assert_eq!(BodyKind::parse(Some(kind.to_content_type().as_bytes())), Ok(kind));
            }
        }
    }
}
