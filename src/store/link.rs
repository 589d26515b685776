//! One connection to Redis, kept alive: who keeps it, what a caller waits for, and what it is told while there is none.
//!
//! The crate's own `ConnectionManager` starts its driver on whichever runtime notices a loss; here that would be a worker's, which
//! then answers requests and carries everyone's look-ups. So one task, the keeper, owns the connection on the runtime where the link
//! was made, and callers on any runtime send through a clone of it (a bounded channel) and wait under their own clock.
//!
//! A stopped Redis (SIGSTOP, a dead host, a hanging proxy) keeps its TCP connection open and says nothing, which no I/O error shows.
//! The keeper therefore asks for a sign of life, and takes silence for a loss. While it connects for the first time after a loss,
//! callers wait within their budget, so that a restart may pass unnoticed; once that has failed they are refused at once.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::store::{RedisUrl, StoreError};

/// Connecting, the TLS handshake and logging in, all together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a sign of life may take before the connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// The pause after the first failed attempt to connect, and the longest one. Each is shortened at random by up to half, so that a
/// fleet does not come back in step.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Commands that wait to be written. Beyond it callers wait for room, within their budget.
const QUEUE_MAX: usize = 256;

/// The way to one Redis.
pub struct Link {
    states: watch::Receiver<State>,
    /// Rung by a caller whose connection broke, so that the keeper does not sleep until its next sign of life.
    doubt: Arc<Notify>,
    /// The longest that one exchange may take, waiting for a connection included.
    budget: Duration,
    /// Host and port or path: never the password.
    address: Arc<str>,
    _keeper: Keeper,
}

#[derive(Clone)]
enum State {
    Up(MultiplexedConnection),
    /// Lost a moment ago; the first attempt to connect is under way.
    Connecting,
    Down(Arc<str>),
}

/// Whether an exchange that may or may not have reached Redis can be sent again unseen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Read,
    Never,
}

/// Ends the keeper with its link.
struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects once; fails where Redis cannot be reached now.
    pub async fn connect(url: &RedisUrl, budget: Duration) -> Result<Self, StoreError> {
        // The crate's own text is not shown: a later version might quote the address, and with it the password.
        let info = (&*url.0).into_connection_info().map_err(|_| {
            StoreError(
                "the address of Redis cannot be read: write `redis://host:port/db`, `rediss://…` or `redis+unix:///path`, \
                 with user and password percent-encoded"
                    .to_owned(),
            )
        })?;
        let address: Arc<str> = address(info.addr()).into();
        // Without `nodelay` a look-up written while another is under way waits for its acknowledgement: up to 40 ms.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let unreachable = |error: RedisError| {
            let (problem, remedy) = match error.kind() {
                ErrorKind::AuthenticationFailed => {
                    ("does not let this user in", "check user and password, percent-encoded, and Redis's ACL")
                }
                _ => ("cannot be reached", "check the address and that Redis runs"),
            };
            StoreError(format!("redis at {address} {problem}: {}; {remedy}", plain(&error.to_string())))
        };
        let client = redis::Client::open(info).map_err(unreachable)?;
        let connection = connect(&client).await.map_err(unreachable)?;
        let (sender, states) = watch::channel(State::Up(connection.clone()));
        let doubt = Arc::new(Notify::new());
        let keeper = tokio::spawn(keep(client, connection, sender, Arc::clone(&doubt)));
        Ok(Self { states, doubt, budget, address, _keeper: Keeper(keeper.abort_handle()) })
    }

    /// One exchange within the budget; the error says why there was none.
    pub async fn ask<T, F, Fut>(&self, repeat: Repeat, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(MultiplexedConnection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        self.ask_within(self.budget, repeat, send).await
    }

    /// [`Self::ask`] with a time limit of its own.
    pub async fn ask_within<T, F, Fut>(&self, limit: Duration, repeat: Repeat, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(MultiplexedConnection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        match timeout(limit, self.exchange(repeat, send)).await {
            Ok(answer) => answer.map_err(|why| format!("redis at {} {why}", self.address)),
            Err(_) => {
                let unsure = if repeat == Repeat::Never { UNSURE } else { "" };
                Err(format!("redis at {} did not answer within {} ms{unsure}", self.address, limit.as_millis()))
            }
        }
    }

    /// The run id of the server that answers.
    pub async fn identity(&self) -> Result<String, String> {
        let info: String = self
            .ask(Repeat::Read, |mut connection| async move { redis::cmd("INFO").arg("server").query_async(&mut connection).await })
            .await?;
        info.lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .map(str::to_owned)
            .ok_or_else(|| format!("redis at {} does not say its run id", self.address))
    }

    async fn exchange<T, F, Fut>(&self, repeat: Repeat, send: F) -> Result<T, String>
    where
        F: Fn(MultiplexedConnection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let mut states = self.states.clone();
        loop {
            let connection = up(&mut states).await?;
            match send(connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_unrecoverable_error() => return Err(format!("refused: {}", plain(&error.to_string()))),
                Err(error) => {
                    self.doubt.notify_one();
                    if repeat == Repeat::Never {
                        return Err(format!("broke off ({}){UNSURE}", plain(&error.to_string())));
                    }
                }
            }
            // Woken by the next state; the connection that broke is never tried twice.
            states.changed().await.map_err(|_| GONE.to_owned())?;
        }
    }
}

/// What is said of a change that was sent and not answered.
const UNSURE: &str = "; whether it took the change is not known";

const GONE: &str = "is no longer connected: the runtime that kept the connection has ended";

/// The connection; waits only while the first attempt after a loss is under way.
async fn up(states: &mut watch::Receiver<State>) -> Result<MultiplexedConnection, String> {
    loop {
        match &*states.borrow_and_update() {
            State::Up(connection) => return Ok(connection.clone()),
            State::Down(why) => return Err(format!("is not connected: {why}")),
            State::Connecting => {}
        }
        states.changed().await.map_err(|_| GONE.to_owned())?;
    }
}

/// The keeper: watches the connection, and when it is lost makes another, for ever.
async fn keep(client: redis::Client, mut connection: MultiplexedConnection, states: watch::Sender<State>, doubt: Arc<Notify>) {
    loop {
        until_lost(&mut connection, &doubt).await;
        states.send_replace(State::Connecting);
        let mut pause = PAUSE_FIRST;
        connection = loop {
            match connect(&client).await {
                Ok(connection) => break connection,
                Err(error) => states.send_replace(State::Down(plain(&error.to_string()).into())),
            };
            sleep(jittered(pause)).await;
            pause = PAUSE_MAX.min(pause * 2);
        };
        states.send_replace(State::Up(connection.clone()));
    }
}

/// Ends when the connection is broken or silent.
async fn until_lost(connection: &mut MultiplexedConnection, doubt: &Notify) {
    loop {
        tokio::select! {
            () = sleep(HEARTBEAT) => {}
            () = doubt.notified() => {}
        }
        match timeout(SILENCE_MAX, redis::cmd("PING").query_async::<()>(connection)).await {
            Err(_) => return,
            Ok(Err(error)) if error.is_unrecoverable_error() => return,
            // A refusal (`LOADING`, `NOPERM`) is a sign of life too.
            Ok(_) => {}
        }
    }
}

async fn connect(client: &redis::Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Callers keep their own time, which includes the wait for a connection.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE_MAX);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// `pause`, shortened at random by up to half.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the pause is whole: slower, never wrong.
    let cut = aws_lc_rs::rand::fill(&mut random).map_or(0, |()| u32::from(random[0]));
    pause - pause * cut / 512
}

fn address(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        ConnectionAddr::Unix(path) => path.display().to_string(),
        // The enum is open; a kind that is added later has no text that is known to hold no password.
        _ => "its address".to_owned(),
    }
}

/// The peer's words on one line: they end up in a log.
fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shortened_by_half_at_most() {
        for _ in 0..1000 {
            let pause = jittered(PAUSE_MAX);
            assert!(pause <= PAUSE_MAX && pause >= PAUSE_MAX / 2, "{pause:?}");
        }
    }

    #[tokio::test]
    async fn no_error_about_the_address_shows_its_password() {
        let rows = [
            "redis://user:pass-canary@127.0.0.1:1/0",
            "redis://user:pass-canary@127.0.0.1:1/zero",
            "redis://:pass-canary@[::1:1/0",
            "rediss://user:pass-canary@127.0.0.1:1/0",
            "redis+unix:///nonexistent.sock?user=u&pass=pass-canary",
            "http://user:pass-canary@127.0.0.1:1/",
            "pass-canary",
            "",
        ];
        for url in rows {
            let url = RedisUrl(url.into());
            let Err(error) = Link::connect(&url, CONNECT_TIMEOUT).await else { panic!("{}: connected", &url.0) };
            assert!(!error.0.contains("canary"), "{}", error.0);
            assert!(!format!("{url:?}").contains("canary"));
        }
    }
}
