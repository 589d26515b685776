//! The pages of sign-in, consent and grants in a real browser: with and without scripts, by mouse and by keyboard, large and small, light
//! and dark.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::clients::demo::{Demo, place};
use crate::support::browser::{Browser, DESKTOP, ENTER, PHONE, TAB};
use crate::support::now;
use crate::support::provider::{App, ISSUER, PASSWORD, Person, Provider, USER, authorize};
use crate::support::setup::SITE;
use crate::support::upstream::{Seen, Then, Upstream};
use crate::support::wire::Reply;

/// What the app at the end of a walk shows.
fn app_page(_: &Seen, stream: &mut TcpStream) -> Then {
    let body = "<!doctype html><html lang=en><title>App</title><h1>The app</h1>";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    Then::Close
}

/// A gate, Frappe, two apps, and somebody at a browser.
struct Scene {
    provider: Provider,
    app: App,
    greedy: App,
    /// Where both apps have their page.
    server: Upstream,
    browser: Browser,
}

/// The links of a page, and what else leads or is loaded from somewhere.
const LEADS: &str = "return [
    ...[...document.querySelectorAll('[href], [src], [action], [formaction], [data], [poster], [srcset]')]
        .map((e) => e.href || e.src || e.formAction || e.action || e.data || 'relative to nothing'),
    ...performance.getEntriesByType('resource').map((entry) => entry.name),
]";

impl Scene {
    fn start() -> Self {
        let provider = Provider::on_redis();
        let app = provider.app("dashboard", "all openid profile email", &["--redirect-uri", "http://localhost/back"]);
        let greedy = provider.app("migration", "all openid profile email", &["--redirect-uri", "http://localhost/back"]);
        provider.gate.cli_json(&["client", "update", "--site", SITE, "migration", "--name", "Migration Assistant", "--json"]);
        let server = Upstream::scripted(app_page);
        let hosts = [(SITE, provider.gate.https()), ("127.0.0.1", provider.frappe.address), ("localhost", server.address())];
        let browser = Browser::start(&hosts);
        Self { app, greedy, server, browser, provider }
    }

    fn back(&self) -> String {
        format!("http://localhost:{}/back", self.server.address().port())
    }

    fn link(&self, app: &App, scope: &str) -> String {
        format!("{ISSUER}{}", authorize(app, scope, &[("redirect_uri", &self.back())]))
    }

    fn forget(&self) {
        for place in [format!("{ISSUER}/oauth/style.css"), format!("{}/login", self.provider.frappe.url())] {
            self.browser.open(&place);
            self.browser.forget_cookies();
        }
    }

    /// Opens the link of an app and signs in at Frappe: the consent page.
    fn sign_in(&self, app: &App, scope: &str, mut look: impl FnMut(&str)) {
        self.browser.open(&self.link(app, scope));
        self.browser.arrive_at(&self.provider.frappe.url());
        look("frappe");
        self.browser.fill("input[name=usr]", USER);
        self.browser.fill("input[name=pwd]", PASSWORD);
        self.browser.click("#login");
        self.browser.arrive_at(&format!("{ISSUER}/oauth/authorize"));
    }

    fn answer(&self, decision: &str) -> String {
        self.browser.click(&format!("button[value={decision}]"));
        self.browser.arrive_at(&self.back())
    }

    /// Every page that a person may come to, Frappe's own first, by clicks where that is possible; `look` is told its name when it is
    /// there.
    fn tour(&self, mut look: impl FnMut(&str)) {
        let browser = &self.browser;
        self.forget();
        self.sign_in(&self.app, "read write openid profile email", &mut look);
        look("consent");
        assert!(self.answer("deny").contains("error=access_denied"));
        // Whoever is signed in is asked at once.
        browser.open(&self.link(&self.app, "read write openid profile email"));
        browser.click("form[action=\"/oauth/signout\"] button");
        browser.arrive_at(&format!("{ISSUER}/oauth/signout"));
        look("signed-out");
        assert_eq!(browser.cookies(), [], "the session here has ended");
        // Frappe still knows who it is.
        browser.click("a.second");
        browser.arrive_at(&format!("{ISSUER}/oauth/authorize"));
        assert!(self.answer("allow").contains("code="));
        browser.open(&self.link(&self.greedy, "all"));
        look("consent-all");
        assert!(self.answer("allow").contains("code="));
        browser.open(&format!("{ISSUER}/oauth/grants"));
        look("grants");
        for left in [1, 0] {
            browser.click("ul.apps > li:last-child button");
            browser.arrive_at(&format!("{ISSUER}/oauth/grants?withdrawn="));
            assert_eq!(browser.count("ul.apps > li"), left);
            // A second withdrawal leads to an address that begins the same.
            if left > 0 {
                browser.open(&format!("{ISSUER}/oauth/grants"));
            }
        }
        look("grants-withdrawn");
        browser.open(&self.link(&self.app, "read").replace("localhost", "elsewhere.example"));
        look("link-broken");
        browser.open(&format!("{ISSUER}/oauth/callback?code=c&state=of-another-browser"));
        look("sign-in-unknown");
        browser.open(&format!("{ISSUER}/oauth/consent"));
        look("step-between");
    }
}

#[test]
fn every_page_is_clear_at_any_size_and_in_both_colours() {
    let scene = Scene::start();
    let browser = &scene.browser;
    // What nobody at the site has registered is told apart, and long names break no page.
    let record = json!({"v": 1, "id": "described", "name": "Überlange Anwendungsbezeichnung für Handelsvertretungen und Außendienst", "scopes": "all",
        "enabled": true, "created": now() - 60, "redirect_uris": ["http://localhost/back"], "grant_types": ["authorization_code"],
        "document": {"url": "https://apps.example.net/client.json", "fresh_until": now() + 3600}});
    scene.provider.gate.put_client(&record);
    let described = App { id: "described".into(), secret: None };
    for (size, window) in [("desktop", DESKTOP), ("phone", PHONE)] {
        for (colours, dark) in [("light", false), ("dark", true)] {
            browser.resize(window);
            browser.prefer_dark(dark);
            let look = |name: &str| {
                browser.screenshot(&format!("{name}-{size}-{colours}"));
                assert_eq!(browser.barriers(), [""; 0], "{name} {size} {colours}");
                assert_eq!(browser.complaints(), [""; 0], "{name} {size} {colours}");
            };
            scene.tour(look);
            browser.open(&scene.link(&described, "read write delete call:frappe.client.get_list"));
            look("consent-unregistered");
        }
    }
}

#[test]
fn people_sign_in_allow_and_withdraw_without_scripts() {
    let scene = Scene::start();
    scene.browser.allow_scripts(false);
    let mut seen = Vec::new();
    scene.tour(|name| seen.push((name.to_owned(), scene.browser.text_of("h1"))));
    let expected = [
        ("frappe", "Login to pocket ERP"),
        ("consent", "Sales Dashboard asks for access to your account"),
        ("signed-out", "You are signed out here"),
        ("consent-all", "Migration Assistant asks for access to your account"),
        ("grants", "Apps with access to your account"),
        ("grants-withdrawn", "Apps with access to your account"),
        ("link-broken", "This link does not work"),
        ("sign-in-unknown", "This sign-in cannot be finished here"),
        ("step-between", "This page cannot be opened by itself"),
    ];
    assert_eq!(seen, expected.map(|(name, title)| (name.to_owned(), title.to_owned())));
    assert_eq!(scene.browser.complaints(), [""; 0]);
}

#[test]
fn people_sign_in_allow_and_withdraw_by_keyboard_alone() {
    let scene = Scene::start();
    let browser = &scene.browser;
    let link = scene.link(&scene.app, "read");
    browser.open(&link);
    browser.arrive_at(&scene.provider.frappe.url());
    // The first field has the focus.
    browser.press(&format!("{USER}{TAB}{PASSWORD}{ENTER}"));
    browser.arrive_at(&format!("{ISSUER}/oauth/authorize"));
    assert_eq!(browser.focus_order(), ["button Not you?", "button Deny", "button Allow", "link your page of apps"]);
    browser.open(&link);
    browser.press(&format!("{TAB}{TAB}{TAB}{ENTER}"));
    assert!(browser.arrive_at(&scene.back()).contains("code="));

    browser.open(&format!("{ISSUER}/oauth/grants"));
    assert_eq!(browser.focus_order(), ["button Sign out", "button Withdraw access of Sales Dashboard"]);
    browser.open(&format!("{ISSUER}/oauth/grants"));
    browser.press(&format!("{TAB}{TAB}{ENTER}"));
    browser.arrive_at(&format!("{ISSUER}/oauth/grants?withdrawn="));
    assert_eq!(browser.text_of("[role=status]"), "Sales Dashboard can no longer use your account.");
    assert_eq!(browser.focus_order(), ["button Sign out"]);

    // And no, from the same page.
    browser.open(&link);
    browser.press(&format!("{TAB}{TAB}{ENTER}"));
    assert!(browser.arrive_at(&scene.back()).contains("error=access_denied"));
    browser.open(&link);
    browser.press(&format!("{TAB}{ENTER}"));
    browser.arrive_at(&format!("{ISSUER}/oauth/signout"));
    assert_eq!(
        browser.focus_order(),
        [format!("link Sign out of {} (opens a new tab)", scene.provider.frappe.address), "link Begin again".to_owned()]
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn no_page_loads_or_links_to_anything_elsewhere() {
    let scene = Scene::start();
    let mut looked = 0;
    scene.tour(|name| {
        if name == "frappe" {
            return;
        }
        looked += 1;
        let leads = scene.browser.script(LEADS);
        let leads: Vec<&str> = leads.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert!(leads.contains(&format!("{ISSUER}/oauth/style.css").as_str()), "{name}: {leads:?}");
        // Only Frappe can end its own session, so one link goes there.
        let sign_out = format!("{}/?cmd=web_logout", scene.provider.frappe.url());
        for lead in &leads {
            let excepted = name == "signed-out" && *lead == sign_out;
            assert!(lead.starts_with(&format!("{ISSUER}/")) || excepted, "{name} leads to {lead}");
        }
        assert_eq!(scene.browser.count("script, iframe, object, embed, style, base, [style]"), 0, "{name}");
    });
    assert_eq!(looked, 8);
}

#[test]
fn no_page_tells_where_the_browser_was() {
    let scene = Scene::start();
    scene.tour(|name| {
        if name == "signed-out" {
            let rel = scene.browser.attribute("a[target]", "rel").unwrap_or_default();
            assert!(rel.contains("noreferrer") && rel.contains("noopener"), "{rel}");
        }
    });
    let requests = scene.server.requests();
    let pages: Vec<&Seen> = requests.iter().filter(|request| request.target.starts_with("/back?")).collect();
    assert_eq!(pages.len(), 3, "{requests:#?}");
    for page in pages {
        assert_eq!((page.method.as_str(), page.header("referer"), page.header("origin")), ("GET", None, None), "{}", page.target);
    }
    for (name, reply) in replies(&scene.provider) {
        // Within the gate referrers are sent, without which the `Origin` of its forms would be `null` (Fetch section 3.2).
        let expected = if reply.header("location").is_some() { "no-referrer" } else { "same-origin" };
        assert_eq!(reply.all("referrer-policy"), [expected], "{name}");
    }
}

#[test]
fn no_page_can_be_framed() {
    let scene = Scene::start();
    for (name, reply) in replies(&scene.provider) {
        if reply.header("location").is_none() {
            assert_eq!(reply.all("x-frame-options"), ["DENY"], "{name}");
            let policies = reply.all("content-security-policy");
            assert!(policies.len() == 1 && policies[0].contains("frame-ancestors 'none'"), "{name}: {policies:?}");
        }
    }
    // And a browser obeys.
    scene.sign_in(&scene.app, "read", |_| {});
    let pages = [
        scene.link(&scene.app, "read"),
        format!("{ISSUER}/oauth/grants"),
        scene.link(&scene.app, "read").replace("localhost", "elsewhere.example"),
    ];
    for page in pages {
        // The gate's own origin is not let in either, with cookies and all.
        scene.browser.open(&format!("{ISSUER}/oauth/style.css"));
        assert_eq!(scene.browser.complaints(), [""; 0]);
        let framed = format!(
            "const frame = document.createElement('iframe'); frame.src = {page:?}; document.documentElement.append(frame);
             return new Promise((done) => frame.onload = () => done(frame.contentDocument === null))"
        );
        assert_eq!(scene.browser.script(&framed), true, "{page}");
        let complaints = scene.browser.complaints().join("\n");
        assert!(complaints.contains("frame-ancestors 'none'"), "{page}: {complaints}");
    }
}

#[test]
fn no_page_breaks_its_content_security_policy() {
    let scene = Scene::start();
    scene.tour(|name| assert_eq!(scene.browser.complaints(), [""; 0], "{name}"));
    assert_eq!(scene.browser.complaints(), [""; 0]);
    for (name, reply) in replies(&scene.provider) {
        if reply.header("location").is_some() {
            continue;
        }
        let policy = reply.header("content-security-policy").unwrap_or_else(|| panic!("{name} has no policy"));
        for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src") && !policy.contains('*'), "{name}: {policy}");
        assert_eq!(reply.all("x-content-type-options"), ["nosniff"], "{name}");
        assert_eq!(reply.all("cache-control"), ["no-store"], "{name}");
    }
}

#[test]
fn the_demo_is_signed_in_to_as_it_prints() {
    let demo = Demo::start();
    let text = |name: &str| demo.ready[name].as_str().unwrap_or_else(|| panic!("`{name}` in {}", demo.ready)).to_owned();
    let (frappe, app) = (text("upstream_url"), demo.ready["app"]["redirect_uri"].as_str().expect("a redirect URI").to_owned());
    // Two servers of one host, told apart by their ports.
    let urls = [text("base_url"), frappe.clone(), app.clone()];
    let hosts = urls.each_ref().map(|url| place(url));
    let browser = Browser::start(&hosts);
    let login = &demo.ready["login"];
    for (decision, shown) in [("allow", "The demo app has a code"), ("deny", "The demo app was refused")] {
        for (size, window) in [("desktop", DESKTOP), ("phone", PHONE)] {
            for (colours, dark) in [("light", false), ("dark", true)] {
                browser.resize(window);
                browser.prefer_dark(dark);
                browser.open(&text("authorize_url"));
                if browser.url().starts_with(&frappe) {
                    browser.fill("input[name=usr]", login["user"].as_str().expect("a user"));
                    browser.fill("input[name=pwd]", login["password"].as_str().expect("a password"));
                    browser.click("#login");
                }
                // Who has allowed it once is not asked again, until he withdraws it.
                if !browser.url().starts_with(&app) {
                    browser.click(&format!("button[value={decision}]"));
                }
                browser.arrive_at(&app);
                assert_eq!(browser.text_of("h1"), shown);
                browser.screenshot(&format!("demo-app-{decision}-{size}-{colours}"));
                assert_eq!((browser.barriers(), browser.complaints()), (Vec::new(), Vec::new()), "{decision} {size} {colours}");
            }
        }
        if decision == "allow" {
            browser.open(&format!("{}/oauth/grants", text("base_url")));
            browser.click("ul.apps button");
            browser.arrive_at(&format!("{}/oauth/grants?withdrawn=", text("base_url")));
        }
    }
}

/// One of each kind of page and redirect, as it goes over the wire.
fn replies(provider: &Provider) -> Vec<(&'static str, Reply)> {
    let app = provider.confidential("bare-app", "read");
    let mut person = Person::new(provider);
    let mut all = Vec::new();
    let target = authorize(&app, "read", &[]);
    let sign_in = person.open(&target);
    let consent = person.begin(&target);
    let ticket = consent.field_of("/oauth/consent", "ticket");
    let sign_out = consent.field_of("/oauth/signout", "ticket");
    all.push(("sign-in", sign_in.reply));
    all.push(("deny", person.answer(&consent, "deny").reply));
    all.push(("allow", person.answer(&consent, "allow").reply));
    all.push(("consent", consent.reply));
    let grants = person.open("/oauth/grants");
    let withdraw = grants.field_of("/oauth/grants", "ticket");
    all.push(("grants", grants.reply));
    let mut post = |name: &'static str, path: &str, form: &[(&str, &str)], headers: &str| {
        all.push((name, person.ask("POST", &format!("{ISSUER}{path}"), headers, Some(form)).reply));
    };
    let own = format!("Origin: {ISSUER}\r\n");
    post("withdrawn", "/oauth/grants", &[("ticket", &withdraw)], &own);
    post("foreign", "/oauth/consent", &[("ticket", &ticket), ("decision", "allow")], "Origin: https://evil.example\r\n");
    post("forged", "/oauth/consent", &[("ticket", "t"), ("decision", "allow")], &own);
    post("signed-out", "/oauth/signout", &[("ticket", &sign_out)], &own);
    post("stale", "/oauth/consent", &[("ticket", &ticket), ("decision", "allow")], &own);
    for (name, target) in [
        ("link-broken", authorize(&app, "read", &[("redirect_uri", "https://elsewhere.example/")])),
        ("app-unknown", target.replace("bare-app", "nobody")),
        ("callback-unknown", "/oauth/callback?code=c&state=s".to_owned()),
        ("method", "/oauth/consent".to_owned()),
        ("twice", "/oauth/callback?code=c&state=s&state=t".to_owned()),
    ] {
        all.push((name, person.open(&target).reply));
    }
    all
}
