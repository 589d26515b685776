//! The socket's face: one HTTP exchange a connection, JSON in and out.
//!
//! ```text
//! GET    /v1/status
//! GET    /v1/sites/{site}/clients                         POST the same: create
//! GET    /v1/sites/{site}/clients/{id}                    PATCH, DELETE the same
//! POST   /v1/sites/{site}/clients/{id}/disable            enable, rotate-secret, revoke-tokens
//! GET    /v1/sites/{site}/tokens?client=ID&limit=N        POST the same: issue or register
//! POST   /v1/sites/{site}/tokens/inspect                  revoke; a token never stands in a target
//! GET    /v1/sites/{site}/grants?client=ID&user=USER      either or both
//! GET    /v1/sites/{site}/grants/{id}                     POST {id}/revoke
//! POST   /v1/sites/{site}/users/revoke                    {"user": USER}
//! POST   /v1/sites/{site}/wait                            {"limit": SECONDS}: until every gateway has applied what was revoked until now
//! GET    /v1/store/export                                 everything that the embedded store holds: `passage`
//! ```
//!
//! An error is `{"error": code, "message": sentence}`; `error::Code` has the codes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body as AnswerBody;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::error::{AdminError, Code};
use crate::admin::message::{
    Applied, ClientList, ClientView, ClientWithSecret, DeletedClient, GrantList, GrantListQuery, GrantView, IssuedToken, NewClient,
    RevokedClient, RevokedToken, RevokedUser, Rotation, TokenList, TokenListQuery, TokenView, UserRef, Wait,
};
use crate::admin::operations::Admin;
use crate::admin::passage::Passage;
use crate::admin::wait::LIMIT_MAX;

/// Bytes of a request body: the longest scopes, and room.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Connections at a time; more wait in the socket's queue.
const CONNECTIONS_MAX: usize = 64;

/// Time for a whole exchange, so also for one in flight when `stop` completes.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(10);

/// Time for an export, in which a file of tens of gigabytes goes through; the gate's end does not wait for it.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(3600);

/// Time for a wait, beyond that of any exchange.
const WAIT_TIME_MAX: Duration = Duration::from_secs(LIMIT_MAX);

/// Pause after a failed accept, so that too many open files do not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then finishes what is in flight. `socket::bind` makes the listener.
pub async fn serve(listener: UnixListener, admin: Arc<Admin>, stop: impl Future<Output = ()> + Send + 'static) {
    let router = router(admin);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let mut http = http1::Builder::new();
                    // One exchange a connection: nothing idles here, and the end needs nobody to be told.
                    http.timer(TokioTimer::new()).header_read_timeout(EXCHANGE_TIME_MAX).keep_alive(false);
                    let patience = Patience::default();
                    let service = TowerToHyperService::new(router.clone().layer(Extension(patience.clone())));
                    let exchange = http.serve_connection(TokioIo::new(stream), service);
                    connections.spawn(within(patience, exchange));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The seconds that an exchange may take beyond those that every one may.
#[derive(Clone, Default)]
struct Patience(Arc<AtomicU64>);

impl Patience {
    fn grant(&self, time: Duration) {
        self.0.store(time.as_secs(), Ordering::Relaxed);
    }
}

/// Gives `exchange` its time. How it ended is the peer's business.
async fn within<T>(patience: Patience, exchange: impl Future<Output = T>) {
    let mut exchange = pin!(exchange);
    if timeout(EXCHANGE_TIME_MAX, &mut exchange).await.is_err() {
        drop(timeout(Duration::from_secs(patience.0.load(Ordering::Relaxed)), exchange).await);
    }
}

pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sites/{site}/clients", get(clients).post(create_client))
        .route("/v1/sites/{site}/clients/{id}", get(client).patch(update_client).delete(delete_client))
        .route("/v1/sites/{site}/clients/{id}/disable", post(disable_client))
        .route("/v1/sites/{site}/clients/{id}/enable", post(enable_client))
        .route("/v1/sites/{site}/clients/{id}/rotate-secret", post(rotate_secret))
        .route("/v1/sites/{site}/clients/{id}/revoke-tokens", post(revoke_client))
        .route("/v1/sites/{site}/tokens", get(tokens).post(issue_token))
        .route("/v1/sites/{site}/tokens/inspect", post(inspect_token))
        .route("/v1/sites/{site}/tokens/revoke", post(revoke_token))
        .route("/v1/sites/{site}/grants", get(grants))
        .route("/v1/sites/{site}/grants/{id}", get(grant))
        .route("/v1/sites/{site}/grants/{id}/revoke", post(revoke_grant))
        .route("/v1/sites/{site}/users/revoke", post(revoke_user))
        .route("/v1/sites/{site}/wait", post(wait))
        .route("/v1/store/export", get(export))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

type Answer<T> = Result<Json<T>, AdminError>;
type Asked = State<Arc<Admin>>;
type Body = Result<Bytes, BytesRejection>;
/// Site, and client or grant.
type OfSite = Path<(String, String)>;

async fn status(State(admin): Asked) -> Json<Value> {
    Json(admin.status().await)
}

async fn clients(State(admin): Asked, Path(site): Path<String>) -> Answer<ClientList> {
    admin.clients(&site).await.map(Json)
}

async fn create_client(State(admin): Asked, Path(site): Path<String>, body: Body) -> Answer<ClientWithSecret> {
    let new: NewClient = read(body)?;
    admin.create_client(&site, new).await.map(Json)
}

async fn client(State(admin): Asked, Path((site, id)): OfSite) -> Answer<ClientView> {
    admin.client(&site, &id).await.map(Json)
}

async fn update_client(State(admin): Asked, Path((site, id)): OfSite, body: Body) -> Answer<ClientView> {
    admin.update_client(&site, &id, read(body)?).await.map(Json)
}

async fn delete_client(State(admin): Asked, Path((site, id)): OfSite) -> Answer<DeletedClient> {
    admin.delete_client(&site, &id).await.map(Json)
}

async fn disable_client(State(admin): Asked, Path((site, id)): OfSite) -> Answer<ClientView> {
    admin.disable_client(&site, &id).await.map(Json)
}

async fn enable_client(State(admin): Asked, Path((site, id)): OfSite) -> Answer<ClientView> {
    admin.enable_client(&site, &id).await.map(Json)
}

async fn rotate_secret(State(admin): Asked, Path((site, id)): OfSite, body: Body) -> Answer<ClientWithSecret> {
    // Before there was anything to say, nothing was sent.
    let rotation = if body.as_ref().is_ok_and(Bytes::is_empty) { Rotation::default() } else { read(body)? };
    admin.rotate_secret(&site, &id, rotation).await.map(Json)
}

async fn revoke_client(State(admin): Asked, Path((site, id)): OfSite) -> Answer<RevokedClient> {
    admin.revoke_client(&site, &id).await.map(Json)
}

async fn tokens(State(admin): Asked, Path(site): Path<String>, query: Result<Query<TokenListQuery>, QueryRejection>) -> Answer<TokenList> {
    let Query(query) = query.map_err(|error| AdminError::new(Code::RequestInvalid, error.body_text()))?;
    admin.tokens(&site, &query).await.map(Json)
}

async fn issue_token(State(admin): Asked, Path(site): Path<String>, body: Body) -> Answer<IssuedToken> {
    admin.issue_token(&site, read(body)?).await.map(Json)
}

async fn inspect_token(State(admin): Asked, Path(site): Path<String>, body: Body) -> Answer<TokenView> {
    admin.inspect_token(&site, &read(body)?).await.map(Json)
}

async fn revoke_token(State(admin): Asked, Path(site): Path<String>, body: Body) -> Answer<RevokedToken> {
    admin.revoke_token(&site, &read(body)?).await.map(Json)
}

async fn grants(State(admin): Asked, Path(site): Path<String>, query: Result<Query<GrantListQuery>, QueryRejection>) -> Answer<GrantList> {
    let Query(query) = query.map_err(|error| AdminError::new(Code::RequestInvalid, error.body_text()))?;
    admin.grants(&site, &query).await.map(Json)
}

async fn grant(State(admin): Asked, Path((site, id)): OfSite) -> Answer<GrantView> {
    admin.grant(&site, &id).await.map(Json)
}

async fn revoke_grant(State(admin): Asked, Path((site, id)): OfSite) -> Answer<GrantView> {
    admin.revoke_grant(&site, &id).await.map(Json)
}

async fn revoke_user(State(admin): Asked, Path(site): Path<String>, body: Body) -> Answer<RevokedUser> {
    let UserRef { user } = read(body)?;
    admin.revoke_user(&site, &user).await.map(Json)
}

async fn wait(State(admin): Asked, Path(site): Path<String>, patience: Option<Extension<Patience>>, body: Body) -> Answer<Applied> {
    let wait = if body.as_ref().is_ok_and(Bytes::is_empty) { Wait::default() } else { read(body)? };
    if let Some(Extension(patience)) = patience {
        patience.grant(WAIT_TIME_MAX);
    }
    admin.wait(&site, wait).await.map(Json)
}

async fn export(State(admin): Asked, patience: Option<Extension<Patience>>) -> Result<Response, AdminError> {
    let store = admin.portable_store()?;
    if let Some(Extension(patience)) = patience {
        patience.grant(EXPORT_TIME_MAX);
    }
    Ok(Response::new(AnswerBody::new(Passage::begin(store))))
}

async fn no_route() -> AdminError {
    AdminError::new(Code::RouteUnknown, "the gate has no such operation; is it of the same version as this command?")
}

/// What could not be read is placed, not repeated: it may hold a secret.
fn read<T: DeserializeOwned>(body: Body) -> Result<T, AdminError> {
    let bytes = body.map_err(|error| AdminError::new(Code::RequestInvalid, error.body_text()))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is not what this operation takes",
            _ => "is not JSON",
        };
        let message = format!("the body {what}, at line {} column {}", error.line(), error.column());
        AdminError::new(Code::RequestInvalid, message)
    })
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}
