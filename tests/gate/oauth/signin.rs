//! The sign-in at Frappe, of which the gate is a client: who is signed in, in which browser, and where that leads.

use std::net::TcpListener;

use scopegate::pocket::Pocket;

use crate::support::now;
use crate::support::provider::{
    App, CALLBACK, FRAPPE, Frappe, GATE_CLIENT, GATE_SECRET, ISSUER, PASSWORD, Page, Person, Provider, USER, authorize, parameter, reason,
    told,
};
use crate::support::redis::Redis;
use crate::support::setup::{SITE, Setup};

const SESSION: &str = "__Host-sg-session";

/// Another user of pocket ERP.
const OTHER: (&str, &str) = ("sales@example.com", "sales");

/// Where Frappe sends the browser back to once its user has signed in, before the browser goes there.
fn callback_url(provider: &Provider, person: &mut Person<'_>, target: &str) -> String {
    callback_url_as(provider, person, target, (USER, PASSWORD))
}

fn callback_url_as(provider: &Provider, person: &mut Person<'_>, target: &str, (user, password): (&str, &str)) -> String {
    let mut page = person.open(target);
    for _ in 0..10 {
        let Some(location) = page.reply.header("location").map(str::to_owned) else {
            let form = [("usr", user), ("pwd", password), ("redirect-to", &page.field("redirect-to"))];
            page = person.post(&format!("{}/login", provider.frappe.url()), &form);
            continue;
        };
        if location.starts_with(ISSUER) {
            return location;
        }
        page = person.get(&if location.starts_with('/') { format!("{}{location}", provider.frappe.url()) } else { location });
    }
    panic!("round and round: {}", page.url);
}

fn signed_in(person: &Person<'_>) -> bool {
    person.jars.get(SITE).is_some_and(|jar| jar.contains_key(SESSION))
}

/// The page that a callback gets which nobody here has begun.
fn unknown(page: &Page) -> bool {
    let sessions = page.reply.all("set-cookie").into_iter().any(|cookie| cookie.contains(SESSION));
    page.reply.status == 400 && reason(&page.reply) == "sign_in_unknown" && !sessions
}

/// Who the gate takes the person for.
fn name_of(person: &mut Person<'_>) -> String {
    let page = person.open("/oauth/grants");
    assert_eq!(page.reply.status, 200, "{}", page.reply.text());
    let text = page.reply.text();
    [USER, OTHER.0, "Administrator"].into_iter().find(|user| text.contains(user)).unwrap_or_else(|| panic!("nobody in {text}")).to_owned()
}

fn own_app(provider: &Provider) -> App {
    provider.app("own", "read", &["--redirect-uri", CALLBACK, "--skip-consent"])
}

#[test]
fn a_user_signs_in_before_a_code_is_issued() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let target = authorize(&app, "read", &[]);
    let leads_to_sign_in = |page: &Page| {
        let to = page.location();
        to.starts_with(&format!("{}{FRAPPE}authorize?", provider.frappe.url())) && !to.contains("code=")
    };
    let mut person = Person::new(&provider);
    for cookie in ["", "x", "0", &"A".repeat(43), "../session"] {
        let jar = person.jars.entry(SITE.to_owned()).or_default();
        jar.clear();
        jar.insert(SESSION.to_owned(), cookie.to_owned());
        jar.insert("sid".to_owned(), "Administrator".to_owned());
        jar.insert("user_id".to_owned(), "Administrator".to_owned());
        assert!(leads_to_sign_in(&person.open(&target)), "{cookie}");
    }
    // Nor is a token of the API a sign-in, nor what anybody says of a user.
    let token = format!("Authorization: Bearer {}\r\n", provider.gate.token("all"));
    assert!(leads_to_sign_in(&person.ask("GET", &format!("{ISSUER}{target}&login_hint=Administrator&user=x"), &token, None)));

    // At Frappe it takes the password.
    let mut person = Person::new(&provider);
    let page = person.open(&target);
    let page = person.sign_in_as(page, USER, "wrong");
    assert!(page.url.starts_with(&provider.frappe.url()) && !signed_in(&person), "{}", page.url);
    let back = person.begin(&target);
    assert!(told(&back.reply).contains_key("code") && signed_in(&person));

    // A sign-in counts for ten minutes, wherever its cookie still lies.
    let id = format!("sg:{SITE}:session:{}", hash(&person.jars[SITE][SESSION]));
    let mut record = provider.gate.redis().get(&id);
    assert_eq!(record["exp"].as_u64().zip(record["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(600));
    record["exp"] = now().into();
    provider.gate.redis().put(&id, &record);
    assert!(leads_to_sign_in(&person.open(&target)));
    // And for less where the app says so, or wants another one.
    person.begin(&target);
    assert!(leads_to_sign_in(&person.open(&authorize(&app, "read", &[("prompt", "login")]))));
}

/// As the store names what a secret stands for.
fn hash(secret: &str) -> String {
    crate::support::gate::token_key(secret).rsplit(':').next().expect("a hash").to_owned()
}

#[test]
fn sign_in_is_bound_to_the_browser_that_began_it() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let target = authorize(&app, "read", &[]);
    // Somebody signs in as himself and has another one finish it.
    let mut attacker = Person::new(&provider);
    let planted = callback_url_as(&provider, &mut attacker, &target, OTHER);
    let mut victim = Person::new(&provider);
    assert!(unknown(&victim.get(&planted)), "nothing begun here");
    victim.open(&target);
    assert!(unknown(&victim.get(&planted)), "something else begun here");
    let bare = planted.split_once("&state=").map_or(&*planted, |(bare, _)| bare);
    for url in [bare.to_owned(), format!("{bare}&state="), format!("{bare}&state=xyz"), format!("{ISSUER}/oauth/callback")] {
        assert!(unknown(&victim.get(&url)), "{url}");
    }
    assert!(!signed_in(&victim));

    // What binds them: a state that nobody guesses, and a cookie that no script, no other host and no other site's form comes by.
    let state_of = |page: &Page| parameter(page.location(), "state").expect("a state");
    let first = victim.open(&target);
    let second = victim.open(&target);
    assert!(state_of(&first) != state_of(&second) && state_of(&first).len() >= 43);
    for cookie in first.reply.all("set-cookie") {
        assert!(cookie.starts_with("__Host-sg-signin-") && !cookie.contains(&state_of(&first)), "{cookie}");
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        assert_eq!(attributes, ["Max-Age=600", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]);
    }
    // It is sealed: neither changed nor another's does it open.
    let mut person = Person::new(&provider);
    let url = callback_url(&provider, &mut person, &target);
    let good = person.jars[SITE].clone();
    let (name, value) = good.iter().next().expect("the cookie of the sign-in");
    let foreign = attacker.jars[SITE].values().next().expect("the attacker's").clone();
    let flipped = format!("{}{}", if value.starts_with('A') { 'B' } else { 'A' }, &value[1..]);
    for changed in [flipped, value[1..].to_owned(), foreign, "x".to_owned()] {
        person.jars.get_mut(SITE).expect("a jar").insert(name.clone(), changed.clone());
        assert!(unknown(&person.get(&url)), "{changed}");
    }
    person.jars.insert(SITE.to_owned(), good);
    let page = person.get(&url);
    assert!(page.location().starts_with(&format!("{ISSUER}/oauth/authorize?")) && signed_in(&person));
    let session = page.reply.all("set-cookie").into_iter().find(|cookie| cookie.starts_with(SESSION)).expect("a session").to_owned();
    assert!(session.ends_with("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"), "{session}");
}

#[test]
fn a_sign_in_is_not_replayed() {
    Provider::on_each(|provider| {
        let app = own_app(&provider);
        let mut person = Person::new(&provider);
        let url = callback_url(&provider, &mut person, &authorize(&app, "read", &[]));
        let before = person.jars.clone();
        person.get(&url);
        assert!(signed_in(&person));
        let cookies = &person.jars[SITE];
        assert!(!cookies.keys().any(|name| name.starts_with("__Host-sg-signin-")), "its cookie is gone: {cookies:?}");
        assert!(unknown(&person.get(&url)));
        // Even where somebody kept the cookie: the code is spent.
        person.jars = before;
        let page = person.get(&url);
        assert_eq!((page.reply.status, reason(&page.reply).as_str()), (400, "sign_in_spent"));
        assert!(!signed_in(&person));
        assert!(unknown(&person.get(&url)));
    });
}

#[test]
fn a_sign_in_of_one_site_is_no_good_at_another() {
    const ELSEWHERE: &str = "https://localhost";
    let frappe = Frappe::start();
    assert!(frappe.pocket.add_redirect_uri(GATE_CLIENT, &format!("{ELSEWHERE}/oauth/callback")));
    let setup = Provider::setup(Setup::on(Redis::start(), &frappe.url()), &frappe, "");
    let setup = setup.beside(&format!("name = \"other\"\nhosts = [\"localhost\"]\n[oauth]\nissuer = \"{ELSEWHERE}\""));
    let provider = Provider { gate: setup.start(), frappe };
    let app = own_app(&provider);
    let create = ["client", "create", "--id", "own", "--name", "Own", "--scopes", "read", "--redirect-uri", CALLBACK, "--skip-consent"];
    let other = provider.gate.cli_json(&[&create[..], &["--site", "other", "--json"]].concat());
    provider.gate.keep_secret(other["client_secret"].as_str().expect("a secret"));

    let target = authorize(&app, "read", &[]);
    let mut person = Person::new(&provider);
    let url = callback_url(&provider, &mut person, &target);
    let there = |url: &str| url.replacen(ISSUER, ELSEWHERE, 1);
    let carry = |person: &mut Person<'_>| {
        let jar = person.jars[SITE].clone();
        person.jars.insert("localhost".to_owned(), jar);
    };
    carry(&mut person);
    assert!(unknown(&person.get(&there(&url))), "the other site has not begun it, whatever cookies come along");
    let back = person.get(&url);
    let back = person.follow(back);
    let code = told(&back.reply)["code"].clone();
    carry(&mut person);
    let page = person.get(&format!("{ELSEWHERE}{target}"));
    assert!(page.location().starts_with(&provider.frappe.url()), "the session of one site is none of the other: {}", page.location());
    assert_eq!(person.get(&format!("{ISSUER}{target}")).reply.status, 303);
    // The other site has the same client id, and no such code.
    let secret = other["client_secret"].as_str().expect("a secret");
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "own"),
        ("client_secret", secret),
        ("code", &code),
        ("redirect_uri", CALLBACK),
    ];
    let reply = person.ask("POST", &format!("{ELSEWHERE}/oauth/token"), "", Some(&form));
    assert_eq!((reply.reply.status, reply.reply.json()["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(provider.redeem(&app, &code).status, 200);
}

#[test]
fn a_callback_leads_only_to_where_the_sign_in_began() {
    let provider = Provider::on_redis();
    let app = own_app(&provider);
    let names = ["redirect_uri", "redirect-to", "redirect", "next", "url", "return_to", "iss", "client_id"];
    let more: String = names.iter().map(|name| format!("&{name}=https%3A%2F%2Fevil.example%2F")).collect();
    let mut person = Person::new(&provider);
    let url = callback_url(&provider, &mut person, "/oauth/grants");
    assert_eq!(person.get(&format!("{url}{more}")).location(), format!("{ISSUER}/oauth/grants"));
    let target = authorize(&app, "read", &[("prompt", "login")]);
    let url = callback_url(&provider, &mut person, &target);
    let page = person.get(&format!("{url}{more}"));
    let location = page.location().to_owned();
    assert!(location.starts_with(&format!("{ISSUER}/oauth/authorize?")) && !location.contains("evil.example"), "{location}");
    assert_eq!(parameter(&location, "redirect_uri").as_deref(), Some(CALLBACK));
    assert!(told(&person.follow(page).reply).contains_key("code"));
    // Where there was a no, it leads to the app that began it, or to a page.
    person.open(&target);
    let denied = person.open(&format!("/oauth/callback?error=access_denied{more}"));
    assert_eq!(told(&denied.reply)["error"], "access_denied");
    person.open(&target);
    person.open(&target);
    assert_eq!(reason(&person.open(&format!("/oauth/callback?error=access_denied{more}")).reply), "sign_in_unknown", "to which of two");
}

#[test]
fn the_user_is_learned_only_by_a_token_that_the_gate_redeemed() {
    let callback = format!("{ISSUER}/oauth/callback");
    let pocket = Pocket::sample()
        .with_bearer("administrators-token", "Administrator")
        .with_oauth_client(GATE_CLIENT, GATE_SECRET, &[&callback], "all openid", true)
        .with_oauth_client("another-client", "another-secret", &[&callback], "all openid", true);
    let frappe = Frappe::serving(pocket);
    let provider = Provider::begin(Setup::on(Redis::start(), &frappe.url()), frappe, "");
    provider.gate.keep_secret("administrators-token");
    let mut person = Person::new(&provider);

    // Nobody is believed who names a user, or shows a token of one.
    let said =
        "access_token=administrators-token&token_type=Bearer&id_token=e30.e30.&user=Administrator&email=Administrator&sub=Administrator";
    let url = callback_url(&provider, &mut person, "/oauth/grants");
    let state = parameter(&url, "state").expect("a state");
    let page = person.open(&format!("/oauth/callback?state={state}&{said}"));
    assert_eq!((reason(&page.reply).as_str(), signed_in(&person)), ("sign_in_spent", false));
    let url = callback_url(&provider, &mut person, "/oauth/grants");
    person.get(&format!("{url}&{said}"));
    assert_eq!(name_of(&mut person), USER);

    // A code that Frappe gave another client is none of the gate's.
    let mut person = Person::new(&provider);
    let url = callback_url(&provider, &mut person, "/oauth/grants");
    let other = format!(
        "{}{FRAPPE}authorize?client_id=another-client&response_type=code&scope=all%20openid&redirect_uri={ISSUER}/oauth/callback",
        provider.frappe.url()
    );
    let mut page = person.get(&other);
    while !page.location().starts_with(ISSUER) {
        let next = page.location().to_owned();
        page = person.get(&if next.starts_with('/') { format!("{}{next}", provider.frappe.url()) } else { next });
    }
    let foreign = parameter(page.location(), "code").expect("a code");
    let state = parameter(&url, "state").expect("a state");
    let page = person.open(&format!("/oauth/callback?state={state}&code={foreign}"));
    assert_eq!((reason(&page.reply).as_str(), signed_in(&person)), ("sign_in_spent", false));

    // Nor does the code of somebody else's sign-in count in one's own: it is bound to the challenge of that.
    let mut victim = Person::new(&provider);
    let stolen = parameter(&callback_url_as(&provider, &mut victim, "/oauth/grants", OTHER), "code").expect("a code");
    let mut attacker = Person::new(&provider);
    let state = parameter(&callback_url(&provider, &mut attacker, "/oauth/grants"), "state").expect("a state");
    let page = attacker.open(&format!("/oauth/callback?state={state}&code={stolen}"));
    assert_eq!((reason(&page.reply).as_str(), signed_in(&attacker)), ("sign_in_spent", false));
}

#[test]
fn a_sign_in_is_not_finished_while_the_site_does_not_answer() {
    let frappe = Frappe::start();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port that nobody listens on");
    // Browsers reach it, the gate does not.
    let provider = Provider::begin(Setup::on(Redis::start(), &format!("http://{closed}")), frappe, "");
    let app = own_app(&provider);
    let mut person = Person::new(&provider);
    let back = person.begin(&authorize(&app, "read", &[]));
    let told = told(&back.reply);
    assert_eq!((told["error"].as_str(), told["state"].as_str()), ("temporarily_unavailable", "xyz"));
    assert!(!signed_in(&person));
    let page = person.begin("/oauth/grants");
    assert_eq!((page.reply.status, reason(&page.reply).as_str()), (503, "temporarily_unavailable"));
    assert!(page.reply.text().contains("href=\"/oauth/grants\"") && !signed_in(&person), "{}", page.reply.text());
}
