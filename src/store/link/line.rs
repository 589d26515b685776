//! One connection to one server at a time, kept alive: who keeps it, and what a caller waits for.
//!
//! The crate's own `ConnectionManager` starts its driver on whichever runtime notices a loss; here that would be a worker's, which
//! then answers requests and carries everyone's look-ups. So one task, the keeper, owns the connection on the runtime where the line
//! was made, and callers on any runtime send through a clone of it (a bounded channel) and wait under their own clock.
//!
//! A stopped Redis (SIGSTOP, a dead host, a hanging proxy) keeps its TCP connection open and says nothing, which no I/O error shows.
//! The keeper therefore asks for a sign of life, and takes silence for a loss. While it connects for the first time after a loss,
//! callers wait within their budget, so that a restart may pass unnoticed; once that has failed they are refused at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::store::link::Repeat;
use crate::store::link::dial::{Failure, connect, is_loss, plain, refusal};
use crate::store::link::sentinel::Sentinels;

/// Time between two signs of life.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a sign of life may take before the connection counts as lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);

/// The pause after the first failed attempt to connect, and the longest one. Each is shortened at random by up to half, so that a
/// fleet does not come back in step.
pub const PAUSE_FIRST: Duration = Duration::from_millis(25);
pub const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Connections kept for the next change that waits for replicas; more are made where more wait at once, and closed behind them.
const SPARE_MAX: usize = 8;

/// What is said of a change that was sent and not answered.
pub const UNSURE: &str = "; whether it took the change is not known";

const LOST_REMEDY: &str = "check the address, that Redis runs, and what it says in its log";

const GONE: &str = "is no longer connected: the runtime that kept the connection has ended";

/// The way to one server, or to whichever one is the master.
pub struct Line {
    states: watch::Receiver<State>,
    /// Rung by a caller whose connection broke, so that the keeper does not sleep until its next sign of life.
    doubt: Arc<Notify>,
    /// The run of its server when that was last asked.
    run: Mutex<Option<Arc<str>>>,
    _keeper: Keeper,
}

#[derive(Clone)]
enum State {
    Up(Arc<Server>),
    /// Lost a moment ago; the first attempt to connect is under way.
    Connecting,
    Down(Arc<str>),
}

/// A server while the connection to it lasts.
pub struct Server {
    pub address: Arc<str>,
    pub connection: MultiplexedConnection,
    client: redis::Client,
    /// Where its connections are driven.
    home: Handle,
    spare: Mutex<Vec<MultiplexedConnection>>,
}

/// What a server says of itself.
enum Role {
    Master,
    Replica,
    /// A refusal is a sign of life too. Users that were made for an earlier version may not ask.
    Untold(String),
    Lost(String),
}

/// How the server is found.
pub enum Way {
    /// At its address. Where there is one server only, it must be a master; in a Cluster the others say who is.
    Address {
        client: redis::Client,
        address: Arc<str>,
        alone: bool,
    },
    Sentinels(Sentinels),
}

/// Why an exchange has no answer.
pub enum Trouble {
    /// It was not sent.
    Down(String),
    /// It was sent, and then the connection ended.
    Broke(RedisError),
    Refused(RedisError),
}

/// Ends a task with its owner.
pub struct Keeper(AbortHandle);

impl Keeper {
    pub const fn of(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Trouble {
    /// What is said of it after the name of the server.
    pub fn told(&self, repeat: Repeat) -> String {
        match self {
            Self::Down(why) => why.clone(),
            Self::Broke(error) => format!("broke off ({}){}", plain(&error.to_string()), unsure(repeat)),
            Self::Refused(error) => format!("refused: {}", refusal(error)),
        }
    }
}

/// What is to be added where an answer is missing.
pub const fn unsure(repeat: Repeat) -> &'static str {
    match repeat {
        Repeat::Read => "",
        Repeat::Never => UNSURE,
    }
}

impl Line {
    /// Connects once, and fails where that does.
    pub async fn connect(mut way: Way) -> Result<Self, Failure> {
        let server = Arc::new(way.connect().await?);
        let (sender, states) = watch::channel(State::Up(Arc::clone(&server)));
        let doubt = Arc::new(Notify::new());
        let keeper = tokio::spawn({
            let doubt = Arc::clone(&doubt);
            async move {
                until_lost(&mut way, &server, &doubt).await;
                drop(server);
                keep(way, sender, doubt).await;
            }
        });
        Ok(Self { states, doubt, run: Mutex::default(), _keeper: Keeper(keeper.abort_handle()) })
    }

    /// Begins to connect on the runtime `home`.
    pub fn begin(way: Way, home: &Handle) -> Self {
        let (sender, states) = watch::channel(State::Connecting);
        let doubt = Arc::new(Notify::new());
        let keeper = home.spawn(keep(way, sender, Arc::clone(&doubt)));
        Self { states, doubt, run: Mutex::default(), _keeper: Keeper(keeper.abort_handle()) }
    }

    /// One exchange, for as long as the caller waits.
    pub async fn exchange<T, F, Fut>(&self, repeat: Repeat, send: F) -> Result<T, Trouble>
    where
        F: Fn(MultiplexedConnection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let mut states = self.states.clone();
        loop {
            let server = up(&mut states).await?;
            let answered = tokio::select! {
                biased;
                answered = send(server.connection.clone()) => answered,
                // Given up by the keeper: whoever waits for an answer on it would wait for nothing.
                changed = states.changed() => match (changed, repeat) {
                    (Err(_), _) => return Err(Trouble::Down(GONE.to_owned())),
                    (Ok(()), Repeat::Read) => continue,
                    (Ok(()), Repeat::Never) => return Err(Trouble::Down(format!("was lost while this was under way{UNSURE}"))),
                },
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(error) if !is_loss(&error) => {
                    if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly)) {
                        self.doubt.notify_one();
                    }
                    return Err(Trouble::Refused(error));
                }
                Err(error) => {
                    self.doubt.notify_one();
                    if repeat == Repeat::Never {
                        return Err(Trouble::Broke(error));
                    }
                }
            }
            // Woken by the next state; the connection that broke is never tried twice.
            states.changed().await.map_err(|_| Trouble::Down(GONE.to_owned()))?;
        }
    }

    /// The id that the server gave itself when it started, and that of its history: one that became a replica and a master again goes on
    /// under the first, and may have lost what the second had. Only a master has either.
    pub async fn run(&self) -> Result<Arc<str>, Trouble> {
        let (server, replication): (String, String) = self
            .exchange(Repeat::Read, |mut connection| async move {
                redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("replication").query_async(&mut connection).await
            })
            .await?;
        let said = |info: &str, field: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(field)).map(str::trim).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| Trouble::Down(format!("does not say its `{field}` in INFO; let this user run INFO")))
        };
        if said(&replication, "role:")? != "master" {
            self.doubt.notify_one();
            return Err(Trouble::Down("is no master any more".to_owned()));
        }
        let id: Arc<str> = format!("{}/{}", said(&server, "run_id:")?, said(&replication, "master_replid:")?).into();
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&id));
        Ok(id)
    }

    /// What [`Self::run`] said last.
    pub fn last_run(&self) -> Option<Arc<str>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server; waits only while the first attempt after a loss is under way.
    pub async fn up(&self) -> Result<Arc<Server>, Trouble> {
        up(&mut self.states.clone()).await
    }

    /// The server, if there is a connection now.
    pub fn now(&self) -> Option<Arc<Server>> {
        match &*self.states.borrow() {
            State::Up(server) => Some(Arc::clone(server)),
            State::Connecting | State::Down(_) => None,
        }
    }
}

async fn up(states: &mut watch::Receiver<State>) -> Result<Arc<Server>, Trouble> {
    loop {
        match &*states.borrow_and_update() {
            State::Up(server) => return Ok(Arc::clone(server)),
            State::Down(why) => return Err(Trouble::Down(format!("is not connected: {why}"))),
            State::Connecting => {}
        }
        states.changed().await.map_err(|_| Trouble::Down(GONE.to_owned()))?;
    }
}

/// The keeper: makes a connection, watches it until it is lost, and makes another, for ever.
async fn keep(mut way: Way, states: watch::Sender<State>, doubt: Arc<Notify>) {
    loop {
        states.send_replace(State::Connecting);
        let mut pause = PAUSE_FIRST;
        let server = loop {
            match way.connect().await {
                Ok(server) => break Arc::new(server),
                Err(failure) => states.send_replace(State::Down(failure.why.into())),
            };
            sleep(jittered(pause)).await;
            pause = PAUSE_MAX.min(pause * 2);
        };
        states.send_replace(State::Up(Arc::clone(&server)));
        until_lost(&mut way, &server, &doubt).await;
    }
}

/// Ends when the connection is broken or silent, or leads to a server that is no longer the one to speak to.
async fn until_lost(way: &mut Way, server: &Server, doubt: &Notify) {
    loop {
        tokio::select! {
            () = sleep(HEARTBEAT) => {}
            () = doubt.notified() => {}
        }
        let alive = match way {
            Way::Address { alone: true, .. } => matches!(server.role().await, Role::Master | Role::Untold(_)),
            // Whoever is a replica now sends everyone to the master by itself.
            Way::Address { .. } => !matches!(server.role().await, Role::Lost(_)),
            Way::Sentinels(sentinels) => {
                let (role, chosen) = tokio::join!(server.role(), sentinels.choose());
                matches!(role, Role::Master) && chosen.is_ok_and(|host| *host.to_string() == *server.address)
            }
        };
        if !alive {
            return;
        }
    }
}

impl Way {
    async fn connect(&mut self) -> Result<Server, Failure> {
        match self {
            Self::Address { client, address, alone } => {
                let server = Server::connect(client.clone(), Arc::clone(address)).await?;
                match server.role().await {
                    // A connection without a password is made before its server says a word.
                    Role::Lost(why) => Err(Failure { why, remedy: LOST_REMEDY }),
                    Role::Replica if *alone => Err(Failure {
                        why: "is a replica, which knows of a revocation too late".to_owned(),
                        remedy: "name its master, or let sentinels name it (store.sentinels)",
                    }),
                    Role::Master | Role::Replica | Role::Untold(_) => Ok(server),
                }
            }
            Self::Sentinels(sentinels) => {
                let host = sentinels.choose().await?;
                let address = host.to_string();
                let client = sentinels.client(&host).map_err(|error| Failure::of(&error))?;
                let at = |failure: Failure| Failure { why: format!("at {address} {}", failure.why), ..failure };
                let server = Server::connect(client, address.as_str().into()).await.map_err(at)?;
                let refuse = |why: String, remedy| Err(at(Failure { why, remedy }));
                match server.role().await {
                    Role::Master => Ok(server),
                    Role::Replica => refuse("is no master yet, though the sentinels say so".to_owned(), "wait for the failover to end"),
                    Role::Untold(why) => {
                        refuse(format!("does not tell its role: {why}"), "give the user the rights of deploy/redis/users.acl")
                    }
                    Role::Lost(why) => refuse(why, LOST_REMEDY),
                }
            }
        }
    }
}

impl Server {
    async fn connect(client: redis::Client, address: Arc<str>) -> Result<Self, Failure> {
        let connection = connect(&client).await.map_err(|error| Failure::of(&error))?;
        Ok(Self { address, connection, client, home: Handle::current(), spare: Mutex::default() })
    }

    /// A sign of life that says which role the server has.
    async fn role(&self) -> Role {
        let mut connection = self.connection.clone();
        match timeout(SILENCE_MAX, redis::cmd("ROLE").query_async::<Vec<Value>>(&mut connection)).await {
            Err(_) => Role::Lost("does not answer".to_owned()),
            Ok(Err(error)) if is_loss(&error) => Role::Lost(format!("broke off ({})", plain(&error.to_string()))),
            Ok(Err(error)) => Role::Untold(refusal(&error)),
            Ok(Ok(role)) => match role.first().and_then(|role| redis::from_redis_value_ref::<String>(role).ok()).as_deref() {
                Some("master") => Role::Master,
                _ => Role::Replica,
            },
        }
    }

    /// A connection that nobody else sends on: one that waits for replicas answers nothing else meanwhile.
    pub async fn spare(&self) -> Result<MultiplexedConnection, Trouble> {
        loop {
            let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut spare) = spare else { break };
            // It may have been closed since, and a change must not find that out.
            if redis::cmd("PING").query_async::<()>(&mut spare).await.is_ok() {
                return Ok(spare);
            }
        }
        let client = self.client.clone();
        // Driven where the first one is: the caller's runtime may end before the connection does.
        let connecting = self.home.spawn(async move { connect(&client).await });
        let failed = |error: RedisError| Trouble::Down(Failure::of(&error).why);
        connecting.await.map_err(|_| Trouble::Down(GONE.to_owned()))?.map_err(failed)
    }

    /// Keeps a connection for the next one who needs it. Only one that answered everything it was asked.
    pub fn give_back(&self, spare: MultiplexedConnection) {
        let mut spares = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARE_MAX {
            spares.push(spare);
        }
    }
}

/// `pause`, shortened at random by up to half.
pub fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the pause is whole: slower, never wrong.
    let cut = aws_lc_rs::rand::fill(&mut random).map_or(0, |()| u32::from(random[0]));
    pause - pause * cut / 512
}
