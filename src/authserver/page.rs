//! Pages: what a browser is shown, with the headers that keep it what it is.
//!
//! No page has a script, names another host, or can be framed. What was sent is never repeated: a page shows registered names, generated
//! ids and sentences of the gate's own. Every page escapes what it shows by itself, because its template is HTML.

use askama::Template;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PRAGMA, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Issuer;
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::redirect::form_target;
use crate::oauth::words::Line;

const STYLE: &str = include_str!("pages/style.css");

/// The question whether an app may have access.
#[derive(Template)]
#[template(path = "consent.html", config = "src/authserver/pages/askama.toml")]
pub struct Consent<'a> {
    pub host: &'a str,
    /// What the app is called.
    pub app: &'a str,
    pub initial: String,
    /// What people call the user, where that is known.
    pub name: Option<&'a str>,
    pub user: &'a str,
    /// The host of the document that describes the app, where nobody has registered it.
    pub document: Option<&'a str>,
    /// Whether the app registered itself.
    pub self_registered: bool,
    pub lines: Vec<Line>,
    /// Where the browser goes from here: what it is, and what it is called.
    pub back: (&'static str, &'a str),
    pub ticket: String,
    pub sign_out: String,
}

/// What a user has let in.
#[derive(Template)]
#[template(path = "grants.html", config = "src/authserver/pages/askama.toml")]
pub struct Grants<'a> {
    pub host: &'a str,
    pub initial: String,
    pub name: Option<&'a str>,
    pub user: &'a str,
    /// The app whose grant has just been withdrawn.
    pub withdrawn: Option<String>,
    pub apps: Vec<App>,
    pub sign_out: String,
}

/// One of them.
pub struct App {
    pub name: String,
    pub lines: Vec<Line>,
    /// Days, for machines and for people.
    pub since: (String, String),
    pub used: (String, String),
    pub ticket: String,
}

/// A page that says one thing: mostly what is wrong.
#[derive(Template)]
#[template(path = "message.html", config = "src/authserver/pages/askama.toml")]
pub struct Message<'a> {
    pub host: &'a str,
    pub title: &'a str,
    pub sentence: &'a str,
    /// What to do; may be empty.
    pub advice: &'a str,
    pub links: Vec<Link>,
    /// The reason, where it is a no: what to tell whoever is asked for help.
    pub code: Option<&'static str>,
}

pub struct Link {
    pub href: String,
    pub text: String,
    /// Whether it leaves the gate, into a tab of its own.
    pub elsewhere: bool,
}

impl Link {
    pub fn here(href: String, text: &str) -> Self {
        Self { href, text: text.to_owned(), elsewhere: false }
    }

    pub fn elsewhere(href: String, text: String) -> Self {
        Self { href, text, elsewhere: true }
    }
}

/// The style sheet.
pub async fn answer(_call: &mut Call<'_>) -> Result<Answer, Failure> {
    let mut answer = Answer::new(StatusCode::OK, "text/css; charset=utf-8", STYLE);
    answer.headers.remove(PRAGMA);
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(answer)
}

/// A page as it goes out. Behind its forms a browser may be sent to `target`, which is a redirect URI, and to Frappe.
pub fn show(issuer: &Issuer, status: StatusCode, page: &impl Template, target: Option<&str>) -> Result<Answer, Failure> {
    let html = page.render().map_err(|_| OAuthError::new(ErrorCode::ServerError, "a page cannot be written; try again"))?;
    let mut answer = Answer::new(status, "text/html; charset=utf-8", html);
    let login_url = issuer.sign_in.as_ref().map(|sign_in| &*sign_in.login_url);
    answer.headers.insert(CONTENT_SECURITY_POLICY, content_security_policy([login_url, target]));
    for (name, value) in HEADERS {
        answer.headers.insert(name, value);
    }
    Ok(answer)
}

/// Chromium holds redirects behind a form against `form-action` as well: a page whose form leads on must name where to.
fn content_security_policy(targets: [Option<&str>; 2]) -> HeaderValue {
    let mut policy =
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'".to_owned();
    for target in targets.into_iter().flatten().filter_map(form_target) {
        policy.push(' ');
        policy.push_str(&target);
    }
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
}

/// Forms on these pages are known by their `Origin`, which a browser makes `null` under `no-referrer` (Fetch section 3.2): within the
/// gate, referrers are sent. There is no `Cross-Origin-Opener-Policy`: it would cut apps that open the flow in a window of its own off from it.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Sends the browser on. What stands in the URL here, a code or a state, is nobody else's to see.
pub fn redirect(to: &str) -> Answer {
    Answer::redirect(to).with(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
}

/// A page that says no.
pub fn refuse(issuer: &Issuer, status: StatusCode, code: &'static str, message: Message<'_>) -> Result<Answer, Failure> {
    let message = Message { code: Some(code), ..message };
    Ok(show(issuer, status, &message, None)?.refused(code))
}

/// The page in place of a JSON error, with its status and its further headers.
pub fn of_failure(issuer: &Issuer, json: Answer, failure: &Failure) -> Answer {
    let (title, sentence, advice) = match failure {
        Failure::OAuth(error) => {
            ("This request cannot be answered", capitalised(&error.description), "Go back to the app and begin again.")
        }
        Failure::Store(_) | Failure::Unrecordable => (
            "Not available at the moment",
            "Nothing can be issued or checked just now. Nothing has been lost or changed.".to_owned(),
            "Please wait a few seconds and load the page again.",
        ),
        Failure::Limited(..) => (
            "Too many requests",
            "Too much has come from your address in a short time.".to_owned(),
            "Please wait a minute and load the page again.",
        ),
    };
    let message = Message { title, sentence: &sentence, advice, ..Message::new(issuer) };
    let page = refuse(issuer, json.status, json.reason, message);
    in_place_of(json, page)
}

/// The page for a method that an endpoint does not take: mostly an address that was loaded again from the browser's history.
pub fn method_not_allowed(issuer: &Issuer, endpoint: Endpoint) -> Answer {
    let json = Answer::method_not_allowed(endpoint);
    let message = Message {
        title: "This page cannot be opened by itself",
        sentence: "It is a step between two others.",
        advice: "Go back to the app and begin again.",
        ..Message::new(issuer)
    };
    in_place_of(json, refuse(issuer, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message))
}

/// The page, with the headers that the JSON has besides its own.
fn in_place_of(json: Answer, page: Result<Answer, Failure>) -> Answer {
    let Ok(page) = page else { return json };
    let mut headers = json.headers;
    headers.remove(CONTENT_TYPE);
    headers.extend(page.headers);
    Answer { headers, ..page }
}

impl<'a> Message<'a> {
    /// A page of this issuer that says nothing yet.
    pub fn new(issuer: &'a Issuer) -> Self {
        Self { host: host(issuer), title: "", sentence: "", advice: "", links: Vec::new(), code: None }
    }
}

/// What people call the gate: its host.
pub fn host(issuer: &Issuer) -> &str {
    host_of(&issuer.url)
}

/// The host of an origin, with its port if it has one.
pub fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

/// The letter that stands for a user.
pub fn initial(name: &str) -> String {
    name.chars().find(|letter| letter.is_alphanumeric()).map(|letter| letter.to_uppercase().collect()).unwrap_or_default()
}

/// Descriptions of errors are written for logs and headers.
fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if sentence.ends_with('.') { "" } else { "." };
    [&first, letters.as_str(), end].concat()
}

/// For a form that another site has sent.
pub fn foreign(call: &Call<'_>) -> Result<Answer, Failure> {
    let message = Message {
        title: "Nothing was done",
        sentence: "Another site tried to answer in your place.",
        advice: "If you wanted this, go back to the app and begin again.",
        ..Message::new(call.issuer)
    };
    refuse(call.issuer, StatusCode::FORBIDDEN, "form_foreign", message)
}

/// For a form that none of our pages has made.
pub fn forged(call: &Call<'_>) -> Result<Answer, Failure> {
    let message = Message {
        title: "Nothing was done",
        sentence: "What your browser sent is not what our page gave it.",
        advice: "Go back to the app and begin again.",
        ..Message::new(call.issuer)
    };
    refuse(call.issuer, StatusCode::BAD_REQUEST, "form_invalid", message)
}
