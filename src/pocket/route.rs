//! The path of one request through the site, in Frappe's order: form, session, credentials, `cmd`, and only then the path (FACTS section 5).

use http::header::ACCEPT;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::pocket::document::Document;
use crate::pocket::fault::{Fault, Kind, server_messages};
use crate::pocket::form::{Form, percent_decoded};
use crate::pocket::methods::{Answer, Call, Check, Rendering, document_method, execute};
use crate::pocket::oauth::Provider;
use crate::pocket::oauth::signin;
use crate::pocket::pages;
use crate::pocket::query;
use crate::pocket::reply::{Cookies, Reply};
use crate::pocket::request::Request;
use crate::pocket::session::Credentials;
use crate::pocket::site::Site;

/// Everything that a request can read or change.
#[derive(Default)]
pub(super) struct State {
    pub site: Site,
    pub credentials: Credentials,
    pub oauth: Provider,
}

/// An answer that is not a fault, and whether a GET that led to it keeps its changes.
struct Outcome {
    reply: Reply,
    committed: bool,
}

/// The two dialects of the API.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// What a path under `/api` names.
enum Route<'a> {
    Function(&'a str),
    Documents(&'a str),
    Document { doctype: &'a str, name: &'a str },
    DocumentMethod { doctype: &'a str, name: &'a str, method: &'a str },
    Meta(&'a str),
    Count(&'a str),
}

/// Answers a request. What it wrote stays if it succeeded and was no GET or HEAD, or if it committed by itself (FACTS section 5).
pub(super) fn answer(state: &mut State, request: &Request) -> Reply {
    if request.method == Method::OPTIONS {
        return Reply::options();
    }
    // Decoded once, leading slashes made one: `//api/%6dethod/x` is `/api/method/x` (T208, T209, T214).
    let decoded = percent_decoded(&request.path);
    let path = format!("/{}", decoded.trim_start_matches('/'));
    let before = state.site.clone();
    let mut cookies = Cookies::Guest;
    match respond(state, request, &path, &mut cookies) {
        Ok(outcome) => {
            if !outcome.committed && matches!(request.method, Method::GET | Method::HEAD) {
                state.site = before;
            }
            outcome.reply
        }
        Err(fault) => {
            state.site = before;
            refuse(fault, request, &path, cookies)
        }
    }
}

fn respond(state: &mut State, request: &Request, path: &str, cookies: &mut Cookies) -> Result<Outcome, Fault> {
    let form = Form::read(&request.query, &request.headers, request.body.clone())?;
    let command = form.text("cmd").filter(|command| !command.is_empty()).map(str::to_owned);
    let function = command.as_deref().or_else(|| function_of(path));
    if function == Some("login") {
        let caller = state.credentials.login(&state.site, &form)?;
        let body = json!({"message": "Logged In", "home_page": "/app", "full_name": state.site.full_name(&caller.user)});
        return Ok(Outcome { reply: Reply::json(StatusCode::OK, &body).with_cookies(caller.cookies), committed: false });
    }
    if command.is_none() && path == signin::PATH && request.method == Method::POST {
        return Ok(Outcome { reply: signin::submit(state, request, &form), committed: false });
    }
    let caller = state.credentials.identify(&state.site, &request.headers, &form, state.oauth.now())?;
    *cookies = caller.cookies;
    if function == Some("logout") {
        state.credentials.logout(&request.headers, &form);
        let body = json!({"message": "No App", "home_page": "/login", "full_name": "Guest"});
        return Ok(Outcome { reply: Reply::json(StatusCode::OK, &body).with_cookies(Cookies::Cleared), committed: false });
    }
    if function == Some("web_logout") {
        state.credentials.logout(&request.headers, &form);
        let page = pages::notice("Logged Out", "You have been successfully logged out");
        return Ok(Outcome { reply: Reply::html(StatusCode::OK, page).with_cookies(Cookies::Cleared), committed: false });
    }
    let mut call = Call { site: &mut state.site, user: &caller.user, form: &form, request, oauth: &mut state.oauth };
    let mut outcome = match command {
        Some(command) => Outcome::of("message", execute(&command, &request.method, Check::Verb, &mut call)?),
        None if path.starts_with("/api/") => api(&request.method, path, &mut call)?,
        None => website(path, &call),
    };
    if outcome.reply.cookies == Cookies::Guest {
        outcome.reply.cookies = cookies.clone();
    }
    Ok(outcome)
}

/// `login`, `logout` and `web_logout` happen before the path is routed.
fn function_of(path: &str) -> Option<&str> {
    match parse(path) {
        Some((_, Route::Function(name))) => Some(name),
        _ => None,
    }
}

fn api(method: &Method, path: &str, call: &mut Call<'_>) -> Result<Outcome, Fault> {
    let (version, route) = parse(path).ok_or_else(Fault::no_route)?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::Function(name) => {
            // These two have a route of their own on v2, without a list of methods (T540).
            let free = version == Version::V2 && matches!(name, "ping" | "upload_file");
            let answer = execute(name, method, if free { Check::NameOnly } else { Check::Verb }, call)?;
            Ok(Outcome::of(if version == Version::V2 { "data" } else { "message" }, answer))
        }
        Route::Documents(doctype) if reads => {
            if call.form.args.contains_key("doctype") {
                // T219: the argument meets the one of the path.
                return Err(Fault::bare(Kind::Type, "get_list() got multiple values for argument 'doctype'"));
            }
            Ok(Outcome::data(query::list(call.site, call.user, doctype, call.form)?))
        }
        Route::Documents(doctype) if *method == Method::POST => {
            let values = sent(version, call.form)?;
            Ok(Outcome::document(&*call.site.insert(call.user, doctype, &values)?))
        }
        Route::Document { doctype, name } => document(version, method, doctype, name, call),
        Route::DocumentMethod { doctype, name, method: wanted } if matches!(*method, Method::GET | Method::POST) => {
            Ok(Outcome::of("data", document_method(call, doctype, name, wanted)?))
        }
        Route::Meta(doctype) if reads => {
            let found = query::visible(call.site, call.user, doctype, call.form)?;
            Ok(Outcome::data(found.meta()))
        }
        Route::Count(doctype) if reads => Ok(Outcome::data(query::count(call.site, call.user, doctype, call.form)?)),
        Route::Documents(_) | Route::DocumentMethod { .. } | Route::Meta(_) | Route::Count(_) => no_method(method),
    }
}

fn document(version: Version, method: &Method, doctype: &str, name: &str, call: &mut Call<'_>) -> Result<Outcome, Fault> {
    let run_method = call.form.text("run_method").filter(|_| version == Version::V1);
    match (method, run_method) {
        (&Method::GET, Some(wanted)) => Ok(Outcome::of("data", document_method(call, doctype, name, wanted)?)),
        (&Method::HEAD, Some(_)) => Ok(Outcome::of("data", Answer::default())),
        (&Method::GET | &Method::HEAD, None) => Ok(Outcome::document(&*call.site.read(call.user, doctype, name)?)),
        // Not an update: the method of a document, which must be named (T226b, T242).
        (&Method::POST, Some(wanted)) => Ok(Outcome::of("data", document_method(call, doctype, name, wanted)?)),
        (&Method::POST, None) if version == Version::V1 => Err(Fault::bare(Kind::Key, "'run_method'")),
        (&Method::PUT, _) => update(version, doctype, name, call),
        (&Method::PATCH, _) if version == Version::V2 => update(version, doctype, name, call),
        (&Method::DELETE, _) => {
            call.site.delete(call.user, doctype, name)?;
            let mut outcome = Outcome::data("ok".into());
            outcome.reply.status = StatusCode::ACCEPTED;
            Ok(outcome)
        }
        _ => no_method(method),
    }
}

fn update(version: Version, doctype: &str, name: &str, call: &mut Call<'_>) -> Result<Outcome, Fault> {
    let values = sent(version, call.form)?;
    Ok(Outcome::document(&*call.site.update(call.user, doctype, name, &values)?))
}

/// v2 takes the arguments for the document; v1 looks for it in `data` and the raw body first.
fn sent(version: Version, form: &Form) -> Result<Document, Fault> {
    match version {
        Version::V1 => form.document(),
        Version::V2 => Ok(form.args.clone()),
    }
}

/// An HTTP method that the path does not take: PATCH is a 404 on v1 (T105), the rest a page of werkzeug's (T542).
fn no_method(method: &Method) -> Result<Outcome, Fault> {
    if *method == Method::PATCH {
        return Err(Fault::no_route());
    }
    let text = "The method is not allowed for the requested URL.";
    Ok(Outcome { reply: Reply::page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", text), committed: false })
}

/// The website is not what pocket ERP is for; it has a home page, a sign-in page and one redirect.
fn website(path: &str, call: &Call<'_>) -> Outcome {
    let reads = matches!(call.request.method, Method::GET | Method::HEAD);
    let reply = match path {
        "/" if reads || call.request.method == Method::POST => {
            Reply::page(StatusCode::OK, "pocket ERP", "An in-memory stand-in for a Frappe site. Its API is under /api.")
                .with_cookies(Cookies::Guest)
        }
        signin::PATH if reads => signin::page(call),
        // T05.
        "/.well-known/openid-configuration" if reads => Reply::moved("/api/method/frappe.integrations.oauth2.openid_configuration"),
        _ => {
            let text =
                "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.";
            Reply::page(StatusCode::NOT_FOUND, "Not Found", text)
        }
    };
    Outcome { reply, committed: false }
}

fn parse(path: &str) -> Option<(Version, Route<'_>)> {
    let (version, rest) = if let Some(rest) = path.strip_prefix("/api/v2/") {
        (Version::V2, rest)
    } else {
        (Version::V1, path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/api/"))?)
    };
    let (room, rest) = rest.split_once('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return None;
    }
    let route = match (version, room) {
        // v1 drops whatever follows the name (T213).
        (Version::V1, "method") => Route::Function(rest.split('/').next()?),
        (Version::V2, "method") => Route::Function(rest),
        (Version::V1, "resource") | (Version::V2, "document") => match rest.split_once('/') {
            None => Route::Documents(rest),
            Some((doctype, name)) => match name.rsplit_once("/method/").filter(|_| version == Version::V2) {
                Some((name, method)) => Route::DocumentMethod { doctype, name, method },
                None => Route::Document { doctype, name },
            },
        },
        (Version::V2, "doctype") => match rest.split_once('/')? {
            (doctype, "meta") => Route::Meta(doctype),
            (doctype, "count") => Route::Count(doctype),
            _ => return None,
        },
        _ => return None,
    };
    Some((version, route))
}

/// A page where Frappe thinks that a browser asks (T131, T417), a `cmd` outside `/api` included, else JSON in the dialect of the path.
fn refuse(fault: Fault, request: &Request, path: &str, cookies: Cookies) -> Reply {
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let page = accept.starts_with("text") || (!path.starts_with("/api/") && !accept.contains("application/json"));
    if page {
        fault.into_page(cookies)
    } else if path.starts_with("/api/v2/") {
        fault.into_v2(cookies)
    } else {
        fault.into_v1(cookies)
    }
}

impl Outcome {
    fn data(value: Value) -> Outcome {
        Outcome { reply: Reply::json(StatusCode::OK, &json!({"data": value})), committed: false }
    }

    fn document(document: &Document) -> Outcome {
        Outcome::data(Value::Object(document.clone()))
    }

    /// A function's answer; one that returned nothing is `{}`.
    fn of(key: &str, answer: Answer) -> Outcome {
        let committed = answer.committed;
        let reply = match answer.rendering {
            Rendering::Redirect(target) => Reply::redirect(&target),
            Rendering::Page(html) => Reply::html(answer.status, html),
            Rendering::Json => return Outcome::json(key, answer),
        };
        Outcome { reply, committed }
    }

    fn json(key: &str, answer: Answer) -> Outcome {
        let mut body = Map::new();
        body.extend(answer.extra);
        body.extend(answer.value.map(|value| (key.to_owned(), value)));
        if !answer.messages.is_empty() {
            body.insert("_server_messages".to_owned(), server_messages(&answer.messages));
        }
        Outcome { reply: Reply::json(answer.status, &Value::Object(body)), committed: answer.committed }
    }
}
