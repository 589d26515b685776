//! `/login`: the page where a person proves who they are, and where they go from there.

use http::StatusCode;

use crate::pocket::form::Form;
use crate::pocket::methods::Call;
use crate::pocket::pages;
use crate::pocket::reply::{Cookies, Reply};
use crate::pocket::request::Request;
use crate::pocket::route::State;

pub(in crate::pocket) const PATH: &str = "/login";

/// Where those go who came from nowhere, or from where they should not be sent.
const HOME: &str = "/";

/// The form; whoever is signed in already is sent on.
pub(in crate::pocket) fn page(call: &Call<'_>) -> Reply {
    let wanted = call.form.text("redirect-to").unwrap_or_default();
    if call.user != "Guest" && !wanted.is_empty() {
        return Reply::redirect(&safe_target(wanted, call.request));
    }
    Reply::html(StatusCode::OK, pages::login("", wanted, None))
}

/// The form sent back: a session and a redirect, or the form once more.
pub(in crate::pocket) fn submit(state: &mut State, request: &Request, form: &Form) -> Reply {
    let wanted = form.text("redirect-to").unwrap_or_default();
    match state.credentials.login(&state.site, form) {
        Ok(caller) => Reply::redirect(&safe_target(wanted, request)).with_cookies(caller.cookies),
        Err(_) => {
            let page = pages::login(form.text("usr").unwrap_or_default(), wanted, Some("Invalid login credentials"));
            // As at `/api/method/login`, no cookie is touched (T02).
            Reply::html(StatusCode::UNAUTHORIZED, page).with_cookies(Cookies::None)
        }
    }
}

/// Frappe's `sanitize_redirect`: a path, or an address of the host that was asked, in the scheme in which it was asked. It is stricter
/// in one place: what has no host and is no path either (`javascript:`) goes home.
fn safe_target(wanted: &str, request: &Request) -> String {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| wanted.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = match scheme {
        Some(scheme) => &wanted[scheme.len()..],
        None => match wanted.strip_prefix("//") {
            Some(rest) => rest,
            None if wanted.starts_with('/') => return wanted.to_owned(),
            None => return HOME.to_owned(),
        },
    };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if host == request.host() { format!("{}{path}", request.origin()) } else { HOME.to_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::HOST;
    use http::{HeaderMap, HeaderValue, Method};

    use super::safe_target;
    use crate::pocket::request::{Request, location};

    #[test]
    fn nobody_is_sent_to_another_host() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("erp.example:8000"));
        let request = Request { method: Method::POST, path: "/login".to_owned(), query: String::new(), headers, body: Bytes::new() };
        for (wanted, expected) in [
            ("/app", "/app"),
            ("/api/method/x?a=1&b=%20", "/api/method/x?a=1&b=%20"),
            ("http://erp.example:8000/api?x=1", "http://erp.example:8000/api?x=1"),
            ("https://erp.example:8000/api", "http://erp.example:8000/api"),
            ("//erp.example:8000/api", "http://erp.example:8000/api"),
            ("", "/"),
            ("app", "/"),
            ("javascript:alert(1)", "/"),
            ("data:text/html,x", "/"),
            ("https:evil.example", "/"),
            ("http://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("///evil.example/", "/"),
            ("http://erp.example/", "/"),
            ("http://erp.example:8000@evil.example/", "/"),
            ("http://erp.example:8000\\@evil.example/", "/"),
            ("http://erp.example:8000.evil.example/", "/"),
            ("HTTP://evil.example", "/"),
            // Browsers take `\` for `/` and drop tabs.
            ("/\\evil.example", "/%5Cevil.example"),
            ("/\t/evil.example", "/%09/evil.example"),
            (" //evil.example", "/"),
        ] {
            assert_eq!(location(&safe_target(wanted, &request)), expected, "{wanted}");
        }
    }
}
