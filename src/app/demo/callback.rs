//! The demo app: the one page to which the browser comes back, with a code or with a no.
//!
//! It shows a command to be pasted into a shell, so only what can be a code ever stands in it, and only for the link that was printed.

use std::net::TcpListener;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;

use crate::app::demo::guide::Guide;
use crate::policy::query::Pairs;
use crate::policy::refusal::Reason;
use crate::policy::token::is_token68;

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What stands in the command where the code is not.
const PLACE: &str = "THE-CODE";

/// What the app remembers between the link and the way back.
pub struct Callback {
    state: String,
    issuer: String,
    /// The command that redeems [`PLACE`].
    redeem: String,
}

impl Callback {
    pub fn of(guide: &Guide) -> Self {
        Self { state: guide.state.clone(), issuer: guide.base_url.clone(), redeem: guide.redeem(PLACE) }
    }
}

/// Serves the app until the process ends.
pub async fn serve(door: TcpListener, callback: Callback) {
    let router = Router::new().route("/callback", get(answer)).with_state(Arc::new(callback));
    let served = match tokio::net::TcpListener::from_std(door) {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the demo app is not served");
    }
}

/// The page, which escapes whatever it shows.
#[derive(Template)]
#[template(path = "callback.html", config = "src/app/demo/askama.toml")]
struct Page<'a> {
    title: &'a str,
    sentence: &'a str,
    code: Option<&'a str>,
    command: Option<String>,
}

async fn answer(State(callback): State<Arc<Callback>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let (status, html) = page(&callback, query.as_deref().unwrap_or_default());
    (status, HEADERS, Html(html))
}

fn page(callback: &Callback, query: &str) -> (StatusCode, String) {
    let pairs = Pairs::parse(query.as_bytes(), Reason::QueryInvalid).ok();
    let one = |name: &str| {
        let mut values = pairs.iter().flat_map(Pairs::iter).filter(|(key, _)| *key == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    };
    // RFC 6749 section 10.12 and RFC 9207: an answer that this app did not ask for, or not there, is none.
    let ours = one("state") == Some(&callback.state) && one("iss") == Some(&callback.issuer);
    let (status, page) = match (one("code"), one("error")) {
        (Some(code), None) if ours && is_token68(code.as_bytes()) => {
            let sentence =
                "It counts once, and for a minute. This line redeems it, in another terminal than the one in which the demo runs:";
            let command = Some(callback.redeem.replace(PLACE, code));
            (StatusCode::OK, Page { title: "The demo app has a code", sentence, code: Some(code), command })
        }
        (None, Some(error)) if ours => {
            let sentence = one("error_description").unwrap_or("no reason was given");
            (StatusCode::OK, Page { title: "The demo app was refused", sentence, code: Some(error), command: None })
        }
        _ => {
            let sentence = "This is not what the demo's link leads to. Open that link once more.";
            (StatusCode::BAD_REQUEST, Page { title: "The demo app has nothing", sentence, code: None, command: None })
        }
    };
    // It fails where its output fails, which is a string.
    (status, page.render().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(query: &str) -> (StatusCode, String) {
        let callback =
            Callback { state: "s1".into(), issuer: "https://localhost:8443".into(), redeem: format!("curl -d code={PLACE} here") };
        page(&callback, query)
    }

    #[test]
    fn a_code_is_shown_with_the_command_that_redeems_it() {
        let (status, html) = shown("code=abc-_123&state=s1&iss=https%3A%2F%2Flocalhost%3A8443");
        assert_eq!(status, StatusCode::OK);
        assert!(html.contains("curl -d code=abc-_123 here"), "{html}");
    }

    #[test]
    fn a_no_is_shown_and_escaped() {
        let (status, html) = shown("error=access_denied&error_description=%3Cb%3E&state=s1&iss=https%3A%2F%2Flocalhost%3A8443");
        assert!(status == StatusCode::OK && html.contains("access_denied") && html.contains("&#60;b&#62;"), "{html}");
        assert!(!html.contains("<b>") && !html.contains("curl"), "{html}");
    }

    #[test]
    fn what_did_not_begin_at_the_link_is_repeated_nowhere() {
        for query in [
            "",
            "code=abc&state=s1",
            "code=abc&state=other&iss=https%3A%2F%2Flocalhost%3A8443",
            "code=abc&state=s1&iss=https%3A%2F%2Fevil.example",
            "code=abc&code=def&state=s1&iss=https%3A%2F%2Flocalhost%3A8443",
            "code=%24%28abc%29&state=s1&iss=https%3A%2F%2Flocalhost%3A8443",
            "code=abc%22%3B%20ls&state=s1&iss=https%3A%2F%2Flocalhost%3A8443",
            "code=abc&error=access_denied&state=s1&iss=https%3A%2F%2Flocalhost%3A8443",
            "error=access_denied",
            "code=%FF",
        ] {
            let (status, html) = shown(query);
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
            for part in ["abc", "access_denied", "curl", "evil"] {
                assert!(!html.contains(part), "{query}: {html}");
            }
        }
    }
}
