//! The operations of a running gate, asked through its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::admin::error::{AdminError, Code};
use crate::admin::message::{
    Applied, ClientChange, ClientList, ClientView, ClientWithSecret, DeletedClient, GrantList, GrantListQuery, GrantView, IssuedToken,
    NewClient, NewToken, RevokedClient, RevokedToken, RevokedUser, Rotation, TokenList, TokenListQuery, TokenRef, TokenView, UserRef, Wait,
};
use crate::admin::passage::{Foreign, Line, Lines};
use crate::store::export::Pages;

/// The longest that a gate may take for an answer: a little more than it gives itself.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(12);

/// Bytes of an answer: tens of thousands of clients.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

const SLOW: &str = "it takes too long; is it overloaded or stopped?";

/// A gate that answered on its socket a moment ago.
#[derive(Debug)]
pub struct Remote {
    socket: PathBuf,
}

impl Remote {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub async fn status(&self) -> Result<Value, AdminError> {
        self.ask(Method::GET, "/v1/status", None::<&()>).await
    }

    pub async fn clients(&self, site: &str) -> Result<ClientList, AdminError> {
        self.ask(Method::GET, &format!("{}/clients", site_path(site)), None::<&()>).await
    }

    pub async fn create_client(&self, site: &str, new: &NewClient) -> Result<ClientWithSecret, AdminError> {
        self.ask(Method::POST, &format!("{}/clients", site_path(site)), Some(new)).await
    }

    pub async fn client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        self.ask(Method::GET, &client_path(site, id), None::<&()>).await
    }

    pub async fn update_client(&self, site: &str, id: &str, change: &ClientChange) -> Result<ClientView, AdminError> {
        self.ask(Method::PATCH, &client_path(site, id), Some(change)).await
    }

    pub async fn delete_client(&self, site: &str, id: &str) -> Result<DeletedClient, AdminError> {
        self.ask(Method::DELETE, &client_path(site, id), None::<&()>).await
    }

    pub async fn disable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        self.ask(Method::POST, &format!("{}/disable", client_path(site, id)), None::<&()>).await
    }

    pub async fn enable_client(&self, site: &str, id: &str) -> Result<ClientView, AdminError> {
        self.ask(Method::POST, &format!("{}/enable", client_path(site, id)), None::<&()>).await
    }

    pub async fn rotate_secret(&self, site: &str, id: &str, rotation: Rotation) -> Result<ClientWithSecret, AdminError> {
        self.ask(Method::POST, &format!("{}/rotate-secret", client_path(site, id)), Some(&rotation)).await
    }

    pub async fn revoke_client(&self, site: &str, id: &str) -> Result<RevokedClient, AdminError> {
        self.ask(Method::POST, &format!("{}/revoke-tokens", client_path(site, id)), None::<&()>).await
    }

    pub async fn tokens(&self, site: &str, query: &TokenListQuery) -> Result<TokenList, AdminError> {
        let mut path = format!("{}/tokens?client={}", site_path(site), encoded(&query.client));
        if let Some(limit) = query.limit {
            path.push_str(&format!("&limit={limit}"));
        }
        self.ask(Method::GET, &path, None::<&()>).await
    }

    pub async fn issue_token(&self, site: &str, new: &NewToken) -> Result<IssuedToken, AdminError> {
        self.ask(Method::POST, &format!("{}/tokens", site_path(site)), Some(new)).await
    }

    pub async fn inspect_token(&self, site: &str, token: &TokenRef) -> Result<TokenView, AdminError> {
        self.ask(Method::POST, &format!("{}/tokens/inspect", site_path(site)), Some(token)).await
    }

    pub async fn revoke_token(&self, site: &str, token: &TokenRef) -> Result<RevokedToken, AdminError> {
        self.ask(Method::POST, &format!("{}/tokens/revoke", site_path(site)), Some(token)).await
    }

    pub async fn grants(&self, site: &str, query: &GrantListQuery) -> Result<GrantList, AdminError> {
        let parts = [("client", &query.client), ("user", &query.user)];
        let parts = parts.into_iter().filter_map(|(name, value)| value.as_deref().map(|value| format!("{name}={}", encoded(value))));
        let path = format!("{}/grants?{}", site_path(site), parts.collect::<Vec<_>>().join("&"));
        self.ask(Method::GET, &path, None::<&()>).await
    }

    pub async fn grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        self.ask(Method::GET, &grant_path(site, id), None::<&()>).await
    }

    pub async fn revoke_grant(&self, site: &str, id: &str) -> Result<GrantView, AdminError> {
        self.ask(Method::POST, &format!("{}/revoke", grant_path(site, id)), None::<&()>).await
    }

    pub async fn revoke_user(&self, site: &str, user: &str) -> Result<RevokedUser, AdminError> {
        self.ask(Method::POST, &format!("{}/users/revoke", site_path(site)), Some(&UserRef { user: user.to_owned() })).await
    }

    pub async fn wait(&self, site: &str, wait: Wait) -> Result<Applied, AdminError> {
        let limit = ANSWER_TIME_MAX.saturating_add(Duration::from_secs(wait.limit));
        self.ask_within(limit, Method::POST, &format!("{}/wait", site_path(site)), Some(&wait)).await
    }

    /// Everything in its store, as it is at one moment; gives the number of things that it does not know.
    pub async fn export(&self, pages: Pages) -> Result<u64, AdminError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.broken(&error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error: hyper::Error| self.broken(&error.to_string()))?;
        let request = Request::builder()
            .uri("/v1/store/export")
            .header(HOST, "scopegate")
            .body(Full::new(Bytes::new()))
            .map_err(|error| self.broken(&error.to_string()))?;
        let received = async move {
            let answer = timeout(ANSWER_TIME_MAX, sender.send_request(request)).await;
            let response = answer.map_err(|_| self.broken(SLOW))?.map_err(|error| self.broken(&error.to_string()))?;
            if !response.status().is_success() {
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
                let bytes = body.map_err(|error| self.broken(&error.to_string()))?.to_bytes();
                return Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| self.foreign()));
            }
            self.receive(response.into_body(), pages).await
        };
        // Whoever has enough of it lets the answer go, and with it the connection.
        let (received, _) = tokio::join!(received, connection);
        received
    }

    async fn receive(&self, mut body: Incoming, pages: Pages) -> Result<u64, AdminError> {
        let mut lines = Lines::default();
        loop {
            let frame = timeout(ANSWER_TIME_MAX, body.frame()).await.map_err(|_| self.broken(SLOW))?;
            let frame = frame.transpose().map_err(|error| self.broken(&error.to_string()))?;
            let Some(frame) = frame else { return Err(self.broken("its answer ends too early")) };
            let Ok(bytes) = frame.into_data() else { continue };
            for line in lines.put(&bytes).map_err(|Foreign| self.foreign())? {
                match line {
                    Line::Page(entries) => {
                        if pages.send(entries).await.is_err() {
                            return Ok(0);
                        }
                    }
                    Line::End { unknown } => return Ok(unknown),
                    Line::Error(error) => return Err(error),
                }
            }
        }
    }

    async fn ask<B: Serialize, T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T, AdminError> {
        self.ask_within(ANSWER_TIME_MAX, method, path, body).await
    }

    async fn ask_within<B: Serialize, T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, AdminError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| self.broken(&error.to_string()))?;
        let answer = timeout(limit, self.exchange(method, path, body.unwrap_or_default())).await;
        let (good, bytes) = answer.map_err(|_| self.broken(SLOW))??;
        if good {
            return serde_json::from_slice(&bytes).map_err(|_| self.foreign());
        }
        Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| self.foreign()))
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(bool, Bytes), AdminError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.broken(&error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error: hyper::Error| self.broken(&error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "scopegate")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(&error.to_string()))?;
        let answered = async move {
            let response: Response<Incoming> = sender.send_request(request).await.map_err(|error| self.broken(&error.to_string()))?;
            let good = response.status().is_success();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((good, body.map_err(|error| self.broken(&error.to_string()))?.to_bytes()))
        };
        // The connection is driven here, so there is no task to look after; it ends when the sender has gone.
        let (answer, _) = tokio::join!(answered, connection);
        answer
    }

    fn broken(&self, why: &str) -> AdminError {
        AdminError::new(
            Code::Gate,
            format!("the gate on `{}` gave no answer: {why}; what was asked may have been done", self.socket.display()),
        )
    }

    fn foreign(&self) -> AdminError {
        AdminError::new(
            Code::Gate,
            format!("what answers on `{}` is no gate, or one of another version; use the command of that version", self.socket.display()),
        )
    }
}

fn site_path(site: &str) -> String {
    format!("/v1/sites/{}", encoded(site))
}

fn client_path(site: &str, id: &str) -> String {
    format!("{}/clients/{}", site_path(site), encoded(id))
}

fn grant_path(site: &str, id: &str) -> String {
    format!("{}/grants/{}", site_path(site), encoded(id))
}

/// Everything but the unreserved characters of RFC 3986 section 2.3 as `%XX`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_within_its_part_of_the_path() {
        assert_eq!(client_path("erp.example.com", "crm-1_2~x"), "/v1/sites/erp.example.com/clients/crm-1_2~x");
        assert_eq!(client_path("a/b", "../c?d#e%ä"), "/v1/sites/a%2Fb/clients/..%2Fc%3Fd%23e%25%C3%A4");
    }
}
