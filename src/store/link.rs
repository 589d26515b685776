//! The way to Redis: one server, a master that sentinels name, or a Cluster; and what a caller is told while there is none.
//!
//! `line` keeps a connection, `sentinel` finds the master, `cluster` finds the node of a key. Every exchange has a time limit, and an
//! error says whether a change may have been made. No error holds a password.

mod cluster;
pub mod connection;
mod dial;
mod line;
mod sentinel;
mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, RedisError, RedisResult};
use tokio::time::timeout;

use crate::store::StoreError;
use crate::store::link::cluster::{Cluster, REDIRECTS_MAX};
use crate::store::link::connection::Connection;
use crate::store::link::dial::{Dialer, Failure, is_loss, plain, refusal, single, unfit};
use crate::store::link::line::{HEARTBEAT, Line, PAUSE_MAX, SILENCE_MAX, Trouble, Way, unsure};
use crate::store::link::sentinel::Sentinels;
use crate::store::servers::{Login, Replicas, Servers, Tls, Topology};

/// How long the servers may take to say who they are. Nobody waits for it on the path of a request.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that it takes to come back to a server that answers: to notice that the way there is lost, and to try again.
pub const BACK_MAX: Duration = HEARTBEAT.saturating_add(SILENCE_MAX).saturating_add(PAUSE_MAX);

/// The way to one Redis.
pub struct Link {
    way: To,
    /// For errors: never the password.
    name: Box<str>,
    /// The longest that one exchange may take, waiting for a connection included.
    budget: Duration,
    replicas: Replicas,
}

enum To {
    Server(Arc<Line>),
    Cluster(Cluster),
}

/// Whether an exchange that may or may not have reached Redis can be sent again unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Read,
    Never,
}

/// One of the servers that changes go to.
pub struct Master(Arc<Line>);

impl Link {
    /// Connects once; fails where Redis cannot be reached now.
    pub async fn connect(servers: &Servers, budget: Duration) -> Result<Self, StoreError> {
        let Servers { topology, tls, replicas } = servers;
        let dialer = |login: &Login, database, encrypted| Dialer { login: login.clone(), database, encrypted, tls: Tls::clone(tls) };
        let failed = |name: &str| {
            let name = name.to_owned();
            move |Failure { why, remedy }| StoreError(format!("{name} {why}; {remedy}"))
        };
        let (way, name) = match topology {
            Topology::Single(url) => {
                let (client, address) = single(url, tls)?;
                let name = format!("redis at {address}");
                let line = Line::connect(Way::Address { client, address, alone: true }).await.map_err(failed(&name))?;
                (To::Server(Arc::new(line)), name)
            }
            Topology::Sentinel { sentinels, sentinel_login, master, database, login, encrypted } => {
                let name = format!("redis master `{}`", plain(master));
                let (to_sentinels, to_master) = (dialer(sentinel_login, 0, *encrypted), dialer(login, *database, *encrypted));
                let sentinels =
                    Sentinels::new(sentinels, &to_sentinels, master, to_master).map_err(|error| unfit("its sentinels", &error))?;
                let line = Line::connect(Way::Sentinels(sentinels)).await.map_err(failed(&name))?;
                (To::Server(Arc::new(line)), name)
            }
            Topology::Cluster { seeds, login, encrypted } => {
                let name = "redis cluster".to_owned();
                (To::Cluster(Cluster::connect(seeds, dialer(login, 0, *encrypted)).await.map_err(failed(&name))?), name)
            }
        };
        Ok(Self { way, name: name.into(), budget, replicas: *replicas })
    }

    /// One exchange within the budget; the error says why there was none.
    pub async fn ask<T, F, Fut>(&self, repeat: Repeat, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        self.ask_within(self.budget, repeat, send).await
    }

    /// [`Link::ask`] for what may be slow and still be of use.
    pub async fn ask_within<T, F, Fut>(&self, patience: Duration, repeat: Repeat, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let way = &self.way;
        let exchange = async move {
            match way {
                To::Server(line) => line
                    .exchange(repeat, move |connection| send(Connection::Server(connection)))
                    .await
                    .map_err(|trouble| trouble.told(repeat)),
                To::Cluster(cluster) => send(Connection::Cluster(cluster.routed(repeat))).await.map_err(|error| told(&error)),
            }
        };
        self.within(patience, repeat, exchange).await
    }

    /// [`Link::ask`] of one server, for what concerns each of them by itself.
    pub async fn ask_at<T, F, Fut>(&self, master: &Master, repeat: Repeat, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let exchange = master.0.exchange(repeat, move |connection| send(Connection::Server(connection)));
        self.within(self.budget, repeat, async { exchange.await.map_err(|trouble| trouble.told(repeat)) }).await
    }

    /// A change of `key` that counts as made when as many replicas as configured have it. `send` must write something even where the
    /// change was made before: Redis counts those who have what this connection wrote, and takes no write for nothing to wait for.
    ///
    /// It goes by a connection of its own, for whoever else sent by it would wait too.
    pub async fn ask_acknowledged<T, F, Fut>(&self, key: &str, send: F) -> Result<T, String>
    where
        T: FromRedisValue,
        F: Fn(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        if self.replicas.wanted == 0 {
            return self.ask(Repeat::Never, send).await;
        }
        let limit = self.budget + self.replicas.timeout;
        self.within(limit, Repeat::Never, self.acknowledged(key, send)).await
    }

    async fn acknowledged<T, F, Fut>(&self, key: &str, send: F) -> Result<T, String>
    where
        F: Fn(Connection) -> Fut + Send,
        Fut: Future<Output = RedisResult<T>> + Send,
    {
        let told = |trouble: Trouble| trouble.told(Repeat::Never);
        let (mut line, mut as_a_favour) = match &self.way {
            To::Server(line) => (Arc::clone(line), false),
            To::Cluster(cluster) => (cluster.nodes().line(Some(key.as_bytes())).map_err(told)?, false),
        };
        for _ in 0..REDIRECTS_MAX {
            let server = line.up().await.map_err(told)?;
            let spare = server.spare().await.map_err(told)?;
            let connection = if as_a_favour { Connection::Asked(spare.clone()) } else { Connection::Server(spare.clone()) };
            let error = match send(connection).await {
                Ok(answer) => {
                    self.wait(&mut spare.clone()).await?;
                    server.give_back(spare);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if is_loss(&error) {
                return Err(told(Trouble::Broke(error)));
            }
            server.give_back(spare);
            let next = match &self.way {
                To::Server(_) => None,
                To::Cluster(cluster) => cluster.nodes().redirected(&error),
            };
            (line, as_a_favour) = next.ok_or_else(|| told(Trouble::Refused(error)))?;
        }
        Err(format!("sent this on {REDIRECTS_MAX} times: its slots are moving"))
    }

    /// Waits for the replicas to have what was written.
    async fn wait(&self, connection: &mut redis::aio::MultiplexedConnection) -> Result<(), String> {
        let Replicas { wanted, timeout } = self.replicas;
        let millis = timeout.as_millis();
        let mut wait = redis::cmd("WAIT");
        wait.arg(wanted).arg(u64::try_from(millis).unwrap_or(u64::MAX));
        let why = match wait.query_async::<u64>(connection).await {
            Ok(have) if have >= u64::from(wanted) => return Ok(()),
            Ok(have) => format!("{have} of {wanted} replicas had it after {millis} ms"),
            Err(error) => format!("whether {wanted} replicas have it is not known: {}", refusal(&error)),
        };
        Err(format!("made the change, yet {why}; it may be lost in a failover. To repeat it does no harm"))
    }

    /// Who the servers are that changes go to: the ids that each of them gives itself when it starts. Another answer than before means
    /// that something was restarted or replaced, and may have come back with older data.
    ///
    /// Of a Cluster, a master that is gone counts as the one it was: it tells nobody anything, and the other slots are served.
    pub async fn identity(&self) -> Result<String, String> {
        let collect = async {
            let (mut ids, mut heard) = (Vec::new(), false);
            for Master(line) in self.masters() {
                let id = match (line.run().await, &self.way) {
                    (Ok(id), _) => {
                        heard = true;
                        id
                    }
                    (Err(Trouble::Down(_)), To::Cluster(_)) => line.last_run().unwrap_or_default(),
                    (Err(trouble), _) => return Err(trouble.told(Repeat::Read)),
                };
                ids.push(id);
            }
            ids.sort_unstable();
            if heard { Ok(ids.join(",")) } else { Err("has no master that answers".to_owned()) }
        };
        self.within(IDENTITY_TIMEOUT, Repeat::Read, collect).await
    }

    /// The servers that have keys: one, or every master of a Cluster.
    pub fn masters(&self) -> Vec<Master> {
        match &self.way {
            To::Server(line) => vec![Master(Arc::clone(line))],
            To::Cluster(cluster) => cluster.nodes().masters().into_iter().map(|(_, line)| Master(line)).collect(),
        }
    }

    /// Which server has what. Whoever goes through all keys and finds another layout at the end may have missed some.
    pub async fn layout(&self) -> Result<String, String> {
        let tell = async {
            match &self.way {
                To::Server(line) => line.up().await.map(|server| server.address.to_string()).map_err(|trouble| trouble.told(Repeat::Read)),
                To::Cluster(cluster) => Ok(cluster.nodes().layout()),
            }
        };
        self.within(self.budget, Repeat::Read, tell).await
    }

    async fn within<T>(&self, limit: Duration, repeat: Repeat, exchange: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        match timeout(limit, exchange).await {
            Ok(answer) => answer.map_err(|why| format!("{} {why}", self.name)),
            Err(_) => Err(format!("{} did not answer within {} ms{}", self.name, limit.as_millis(), unsure(repeat))),
        }
    }
}

/// What an exchange with a Cluster ended in: `Routed` has worded what is no refusal.
fn told(error: &RedisError) -> String {
    if error.is_io_error() { error.to_string() } else { format!("refused: {}", refusal(error)) }
}
