//! pocket ERP: an in-memory Frappe-style upstream for `scopegate demo` and for tests.
//!
//! It answers the resource API, the commonest functions and the login of a Frappe v15 site as they were recorded on a real one, **its traps
//! included**: `cmd` beats the path, a GET deletes, `sid` is believed anywhere. What a gate in front of it stops, the gate stops.
//! A reader who wonders about a strange answer finds the case number (T200) of the recording beside the code.
//!
//! ```text
//! route -> request, form (what was sent) -> session (who asks) -> methods, client, desk (functions) \
//!                                                              -> query, filter (lists)              > site (rows) -> document, doctype
//!                                                              -> oauth, pages (sign-in, tokens)    /
//! ```

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::pocket::reply::Reply;
use crate::pocket::request::Request;
use crate::pocket::route::State;

mod client;
mod desk;
mod doctype;
mod document;
mod fault;
mod filter;
mod form;
mod methods;
mod oauth;
mod pages;
mod query;
mod reply;
mod request;
mod route;
mod sample;
mod session;
mod site;
#[cfg(test)]
mod tests;

/// Bytes of a request body, Frappe's default `max_file_size` (T419).
const BODY_BYTES_MAX: usize = 25 * 1024 * 1024;

/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 256;

/// Time for the head of a request, and so for an idle connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);

/// Time for the body of a request.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Time for what is in flight when `stop` completes.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that too many open files do not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A whole Frappe-style site in memory.
pub struct Pocket {
    state: Mutex<State>,
}

impl Pocket {
    /// A site with a few DocTypes and rows. `Administrator` (password `admin`) and `demo@example.com` (`demo`) are System Managers,
    /// `sales@example.com` (`sales`) is an ordinary user.
    pub fn sample() -> Pocket {
        Pocket { state: Mutex::new(State { site: sample::site(), ..State::default() }) }
    }

    /// Accepts `Authorization: token key:secret`, and the same as Basic, for a user. A user who does not exist becomes a System Manager.
    pub fn with_key(self, key: &str, secret: &str, user: &str) -> Pocket {
        {
            let mut state = self.lock();
            add_user(&mut state, user);
            state.credentials.add_key(key, secret, user);
        }
        self
    }

    /// Accepts `Authorization: Bearer token` for a user. A user who does not exist becomes a System Manager.
    pub fn with_bearer(self, token: &str, user: &str) -> Pocket {
        {
            let mut state = self.lock();
            add_user(&mut state, user);
            state.credentials.add_bearer(token, user);
        }
        self
    }

    /// Sets a user's password. A user who does not exist becomes a System Manager.
    pub fn with_password(self, user: &str, password: &str) -> Pocket {
        {
            let mut state = self.lock();
            add_user(&mut state, user);
            state.site.set_password(user, password);
        }
        self
    }

    /// Registers an OAuth client of the site, over the one of that id if there is one. `scopes` are separated by spaces; with
    /// `skip_authorization`, nobody is asked to consent. An id that cannot be a document's name (it is empty, holds `<`) registers nothing.
    pub fn with_oauth_client(self, id: &str, secret: &str, redirect_uris: &[&str], scopes: &str, skip_authorization: bool) -> Pocket {
        oauth::client::register(&mut self.lock().site, id, secret, redirect_uris, scopes, skip_authorization);
        self
    }

    /// Lets a client come back to one more address, for those that know their port only once they serve. `false`: there is no such client.
    pub fn add_redirect_uri(&self, client_id: &str, redirect_uri: &str) -> bool {
        oauth::client::add_redirect_uri(&mut self.lock().site, client_id, redirect_uri)
    }

    /// Moves the site's clock forward, by which issued tokens expire.
    pub fn advance(&self, seconds: u64) {
        self.lock().oauth.advance(seconds);
    }

    /// Revokes whatever was issued to a user: the access tokens are refused with 401 and the refresh tokens with 404 (T54, T55). Says how
    /// many pairs that were.
    pub fn revoke_all(&self, user: &str) -> usize {
        oauth::token::revoke_all(&mut self.lock().site, user)
    }

    /// How often a refresh token was brought to the token endpoint, accepted or not.
    pub fn refreshes(&self) -> u64 {
        self.lock().oauth.refreshes
    }

    /// How often the token endpoint was called at all.
    pub fn token_requests(&self) -> u64 {
        self.lock().oauth.token_requests
    }

    async fn respond(&self, request: http::Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        // A length that is too large is refused before it is sent.
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return too_large();
        }
        let body = match timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
            Ok(Err(_)) | Err(_) => return Reply::page(StatusCode::BAD_REQUEST, "Bad Request", "The body ended early.").into_http(),
        };
        let request = Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or("").to_owned(),
            headers: head.headers,
            body,
        };
        route::answer(&mut self.lock(), &request).into_http()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one request leaves rows that are whole documents still, so the site goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pocket").finish_non_exhaustive()
    }
}

fn too_large() -> Response<Full<Bytes>> {
    let text = "The data value transmitted exceeds the capacity limit.";
    Reply::page(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large", text).into_http()
}

fn add_user(state: &mut State, user: &str) {
    if state.site.find("User", user).is_none()
        && let serde_json::Value::Object(values) = json!({"email": user, "first_name": user, "roles": [{"role": "System Manager"}]})
    {
        // What cannot be a user's name (it is empty, or holds `<`) stays a user without rights.
        let _ = state.site.insert("Administrator", "User", &values);
    }
}

/// Serves plain HTTP/1.1 with keep-alive until `stop` completes, then finishes what is in flight.
pub async fn serve(listener: TcpListener, pocket: Arc<Pocket>, stop: impl Future<Output = ()> + Send + 'static) {
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&pocket), closed.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    closing.send_replace(true);
    // Whatever is left after that ends with the set.
    let _ = timeout(DRAIN_TIME_MAX, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, pocket: Arc<Pocket>, mut closed: watch::Receiver<bool>) {
    // Without it, small answers would wait for the client's acknowledgement; where it fails, they do.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let pocket = Arc::clone(&pocket);
        async move { Ok::<_, Infallible>(pocket.respond(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // How a connection ended is the peer's business.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut closed) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Completes when the server closes, or is gone.
async fn told(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}
