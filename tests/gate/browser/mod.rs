//! Pages in a real browser. Here the browser itself is held to what the tests of pages rely on.

mod oauth;

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use crate::support::browser::{Browser, Cookie, DESKTOP, ENTER, PHONE, TAB};
use crate::support::gate::Gate;
use crate::support::setup::{SITE, Setup};
use crate::support::upstream::{Seen, Then, Upstream};

const FORM: &str = r#"<!doctype html>
<html lang="en"><head><title>Form</title><meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark }
button, input { min-height: 2rem }
</style></head>
<body><main><h1>Who are you?</h1>
<form method="post" action="/greet"><p><label>Name <input name="name" value="nobody"></label> <button>Greet</button></p></form>
<noscript><p>Scripts are off.</p></noscript>
<script nonce="n">document.title = "Form with scripts"</script>
</main></body></html>"#;

const BARRED: &str = r#"<html><body><h1>One</h1><h1>Two</h1><h4>Four</h4>
<p style="color: #777; background: #888">Grey on grey</p>
<input><button></button><a href="/x"></a><img src="data:,"><b id="twice" tabindex="3">b</b><b id="twice">b</b>
<div style="width: 3000px">Wide</div></body></html>"#;

/// A form, what it leads to, a page with every fault, and a page that breaks its own policy.
fn pages(request: &Seen, stream: &mut TcpStream) -> Then {
    let (headers, body) = match request.target.as_str() {
        "/form" => ("Set-Cookie: visited=1; Path=/form; HttpOnly; SameSite=Lax", FORM.to_owned()),
        "/greet" => ("X: y", format!("<!doctype html><title>Greeted</title><h1>{}</h1>", String::from_utf8_lossy(&request.body))),
        "/barred" => ("X: y", BARRED.to_owned()),
        "/strict" => ("Content-Security-Policy: default-src 'none'", "<!doctype html><script>1</script>".to_owned()),
        "/greedy" => ("X: y", "<!doctype html><img src='http://elsewhere.test/pixel.png'>".to_owned()),
        _ => ("X: y", "<!doctype html><meta name='viewport' content='width=device-width'><title>Blank</title>".to_owned()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    Then::Close
}

#[test]
fn a_browser_reads_fills_and_sends_a_form() {
    let server = Upstream::scripted(pages);
    let browser = Browser::start(&[("form.test", server.address())]);
    browser.open("http://form.test/form");
    assert_eq!((browser.url().as_str(), browser.title().as_str()), ("http://form.test/form", "Form with scripts"));
    assert!(browser.text().starts_with("Who are you?") && browser.source().contains("<noscript>"), "{}", browser.source());
    assert_eq!(browser.attribute("form", "method").as_deref(), Some("post"));
    assert_eq!((browser.attribute("form", "target"), browser.count("noscript p")), (None, 0));
    let cookie = Cookie {
        name: "visited".into(),
        value: "1".into(),
        domain: "form.test".into(),
        path: "/form".into(),
        secure: false,
        http_only: true,
        same_site: Some("Lax".into()),
    };
    assert_eq!(browser.cookies(), [cookie]);
    browser.forget_cookies();
    assert_eq!(browser.cookies(), []);
    browser.fill("input", "ida");
    browser.click("button");
    assert_eq!(browser.arrive_at("http://form.test/gr"), "http://form.test/greet");
    assert_eq!(browser.text_of("h1"), "name=ida");

    browser.allow_scripts(false);
    browser.open("http://form.test/form");
    assert_eq!((browser.title().as_str(), browser.text_of("noscript p").as_str()), ("Form", "Scripts are off."));
    assert_eq!(browser.focus_order(), ["textbox Name", "button Greet"]);
    browser.press(&format!("{TAB}ada{ENTER}"));
    browser.arrive_at("http://form.test/greet");
    assert_eq!(browser.text_of("h1"), "name=ada", "by keyboard alone, and without scripts");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_browser_sees_faults_and_no_other_host() {
    let server = Upstream::scripted(pages);
    let browser = Browser::start(&[("form.test", server.address())]);
    browser.open("http://form.test/barred");
    let barriers = browser.barriers().join("\n");
    for fault in [
        "language",
        "title",
        "doctype",
        "device",
        " wide in a window of 1280",
        "main",
        "twice",
        "2 headings",
        "level 4",
        "no label",
        "no name: <button>",
    ] {
        assert!(barriers.contains(fault), "`{fault}` in\n{barriers}");
    }
    for fault in ["no name: <a", "no alternative", "out of order", "too small", "contrast of 1.3"] {
        assert!(barriers.contains(fault), "`{fault}` in\n{barriers}");
    }
    assert_eq!(browser.complaints(), [""; 0]);
    for (page, fault) in [("strict", "Content Security Policy"), ("greedy", "ERR_NAME_NOT_RESOLVED")] {
        browser.open(&format!("http://form.test/{page}"));
        let complaints = browser.complaints();
        assert!(complaints.len() == 1 && complaints[0].contains(fault), "{complaints:?}");
    }
    for elsewhere in ["http://elsewhere.test/", "http://127.0.0.1/", "http://localhost/"] {
        let refused = browser.try_open(elsewhere).expect_err("there is no network");
        assert!(refused.message.contains("ERR_NAME_NOT_RESOLVED"), "{refused}");
    }
}

#[test]
fn a_browser_has_windows_colours_and_pictures() {
    let server = Upstream::scripted(pages);
    let gate = Gate::start(Setup::new(&Upstream::json("{}")));
    let browser = Browser::start(&[("form.test", server.address()), (SITE, gate.https())]);
    let window = || browser.script("return [innerWidth, innerHeight, matchMedia('(prefers-color-scheme: dark)').matches]");
    for (name, view, dark) in [("phone", PHONE, false), ("desktop", DESKTOP, true)] {
        browser.resize(view);
        browser.prefer_dark(dark);
        browser.open("http://form.test/blank");
        let blank = fs::read(browser.screenshot(&format!("blank-{name}"))).expect("a picture");
        browser.open("http://form.test/form");
        assert_eq!(window(), serde_json::json!([view.width, view.height, dark]), "{name}");
        assert_eq!(browser.barriers(), [""; 0], "{name}");
        let picture = fs::read(browser.screenshot(&format!("form-{name}"))).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG") && picture[16..20] == view.width.to_be_bytes(), "{name}");
        assert!(picture.len() > 2 * blank.len(), "{name}: a page with text takes {} bytes, one without {}", picture.len(), blank.len());
    }
    // Another site over TLS, with the port that its issuer names and a certificate that nobody vouches for: the window stays as it is.
    browser.open(&format!("https://{SITE}/api/resource/Item"));
    assert!(browser.text().contains("AuthenticationError"), "{}", browser.text());
    assert_eq!(window(), serde_json::json!([DESKTOP.width, DESKTOP.height, true]));
}
