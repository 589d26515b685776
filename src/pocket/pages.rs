//! The few HTML pages of pocket ERP. They work without script, and everything that came from outside is escaped in them.
//!
//! Frappe's own sign-in and consent need script; a person, a browser under test and a text client all find the same fields here.

/// A page is as wide as its window, and kind to eyes and fingers; nothing is loaded for that.
const HEAD: &str = "<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
<meta name=color-scheme content=\"light dark\">\n\
<style>\n\
body { margin: 0; padding: 12vh 1rem 1rem; font: 1rem/1.5 system-ui, sans-serif }\n\
main { max-width: 22rem; margin: auto; overflow-wrap: anywhere }\n\
h1 { font-size: 1.4rem }\n\
input { display: block; width: 100% }\n\
input, button { box-sizing: border-box; min-height: 2.75rem; padding: 0 .75rem; border: 1px solid #767676; border-radius: .5rem; font: inherit }\n\
button { width: 100%; font-weight: 600 }\n\
</style>\n";

/// Escapes a text for HTML, in elements and in quoted attributes, the way Frappe's template engine does.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.chars() {
        match piece {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(piece),
        }
    }
    out
}

/// A title and a paragraph.
pub(super) fn notice(title: &str, text: &str) -> String {
    document(title, &format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(title), escaped(text)))
}

/// The body of a redirect, as werkzeug writes it (T10).
pub(super) fn redirecting(location: &str) -> String {
    let location = escaped(location);
    format!(
        "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n<p>You should be redirected automatically to \
         the target URL: <a href=\"{location}\">{location}</a>. If not, click the link.\n"
    )
}

/// The sign-in form. `target` is where the person wants to go afterwards; it is checked when the form comes back.
pub(super) fn login(user: &str, target: &str, refusal: Option<&str>) -> String {
    let refusal = refusal.map(|text| format!("<p role=alert id=message>{}</p>\n", escaped(text))).unwrap_or_default();
    let body = format!(
        "<h1>Login to pocket ERP</h1>\n{refusal}<form method=post action=\"/login\">\n\
         <input type=hidden name=redirect-to value=\"{target}\">\n\
         <p><label>Email <input name=usr value=\"{user}\" autocomplete=username required autofocus></label></p>\n\
         <p><label>Password <input name=pwd type=password autocomplete=current-password required></label></p>\n\
         <p><button id=login type=submit>Login</button></p>\n</form>\n",
        target = escaped(target),
        user = escaped(user),
    );
    document("Login", &body)
}

/// The consent page (T13): what the client asks for, and two links.
pub(super) fn consent(app: &str, details: &[String], allow: &str, deny: &str) -> String {
    let details: String = details.iter().map(|detail| format!("<li>{}</li>\n", escaped(detail))).collect();
    let body = format!(
        "<h1>Confirm Access</h1>\n<p>{app} wants to access the following details from your account</p>\n<ul>\n{details}</ul>\n\
         <p><a id=allow href=\"{allow}\">Allow</a> <a id=deny href=\"{deny}\">Deny</a></p>\n",
        app = escaped(app),
        allow = escaped(allow),
        deny = escaped(deny),
    );
    document("Confirm Access", &body)
}

fn document(title: &str, body: &str) -> String {
    format!("<!doctype html>\n<html lang=en>\n{HEAD}<title>{}</title>\n<main>\n{body}</main>\n", escaped(title))
}

#[cfg(test)]
mod tests {
    use super::{consent, login, notice, redirecting};

    #[test]
    fn nothing_from_outside_becomes_markup() {
        const ATTACK: &str = "\"'><script>alert(1)</script>&amp;";
        for page in [
            notice(ATTACK, ATTACK),
            redirecting(ATTACK),
            login(ATTACK, ATTACK, Some(ATTACK)),
            consent(ATTACK, &[ATTACK.to_owned()], ATTACK, ATTACK),
        ] {
            assert!(!page.contains("<script") && !page.contains("\"'>"), "{page}");
            assert!(page.contains("&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;"), "{page}");
        }
    }
}
