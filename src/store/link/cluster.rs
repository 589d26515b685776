//! A Cluster: a line to each master, a map of who has which slots, and the way of a command through the two.
//!
//! The crate has a cluster connection of its own. It sends a change again whose answer was lost, queues without a bound, takes no silence
//! for a loss and refuses pipelines that cross slots; so the routing is done here, on lines that are kept like any other.
//!
//! One task asks all masters for the map at every heartbeat, and at once when a node sends somebody elsewhere. The map of the highest
//! epoch counts, so that a node which is cut off and has missed a failover misleads nobody. Redis itself stops such a node after
//! `cluster-node-timeout`, which is when the others may replace it.
//!
//! `MOVED` and `ASK` mean that a command was not carried out: following them is no repetition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::store::link::Repeat;
use crate::store::link::connection::asking;
use crate::store::link::dial::{CONNECT_TIMEOUT, Dialer, Failure, connect, refusal};
use crate::store::link::line::{HEARTBEAT, Keeper, Line, PAUSE_FIRST, Trouble, Way, jittered};
use crate::store::link::slots::{self, Range};
use crate::store::servers::Host;

/// How long a master may take to tell its map. One that is slower is left out this time.
const MAP_TIMEOUT: Duration = Duration::from_millis(300);

/// How often one command is sent elsewhere.
pub const REDIRECTS_MAX: usize = 5;

pub struct Cluster {
    nodes: Arc<Nodes>,
    _keeper: Keeper,
}

/// The nodes of one Cluster, as far as they are known.
pub struct Nodes {
    seeds: Vec<Host>,
    dialer: Dialer,
    /// Where connections are driven.
    home: Handle,
    lines: Mutex<HashMap<Host, Arc<Line>>>,
    map: watch::Sender<Arc<Map>>,
    /// Rung by a caller who was sent elsewhere or found nobody.
    doubt: Notify,
}

/// Who has which slots.
#[derive(Default)]
pub struct Map {
    epoch: u64,
    ranges: Vec<Range>,
    lines: Vec<Arc<Line>>,
}

/// What one node says.
struct Told {
    /// Whether it thinks that the Cluster works.
    well: bool,
    epoch: u64,
    ranges: Vec<Range>,
}

/// The Cluster as one connection.
#[derive(Clone)]
pub struct Routed {
    nodes: Arc<Nodes>,
    repeat: Repeat,
}

impl Cluster {
    /// Connects to every master once; fails where one cannot be reached, or where slots have none.
    pub async fn connect(seeds: &[Host], dialer: Dialer) -> Result<Self, Failure> {
        let nodes = Arc::new(Nodes {
            seeds: seeds.to_vec(),
            dialer,
            home: Handle::current(),
            lines: Mutex::default(),
            map: watch::Sender::default(),
            doubt: Notify::new(),
        });
        let told = nodes.ask_seeds().await?;
        if let Some(slot) = slots::gap(&told.ranges) {
            let why = format!("is not whole: slot {slot} has no master");
            return Err(Failure { why, remedy: "see `redis-cli --cluster check`" });
        }
        nodes.take(told);
        for (host, line) in nodes.masters() {
            let connected = timeout(CONNECT_TIMEOUT, line.up()).await;
            let failure =
                |why: &str| Failure { why: format!("has a master, {host}, that {why}"), remedy: "see `redis-cli --cluster check`" };
            connected.map_err(|_| failure("cannot be reached"))?.map_err(|trouble| failure(&trouble.told(Repeat::Read)))?;
        }
        let keeper = tokio::spawn(follow(Arc::clone(&nodes)));
        Ok(Self { nodes, _keeper: Keeper::of(keeper.abort_handle()) })
    }

    pub const fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    pub fn routed(&self, repeat: Repeat) -> Routed {
        Routed { nodes: Arc::clone(&self.nodes), repeat }
    }
}

/// Keeps the map.
async fn follow(nodes: Arc<Nodes>) {
    loop {
        tokio::select! {
            () = sleep(jittered(HEARTBEAT)) => {}
            () = nodes.doubt.notified() => {}
        }
        let told = match nodes.ask_masters().await {
            Some(told) => Some(told),
            None => nodes.ask_seeds().await.ok(),
        };
        if let Some(told) = told {
            nodes.take(told);
        }
        // Many callers may be sent elsewhere at once, and one map answers all of them.
        sleep(PAUSE_FIRST).await;
    }
}

impl Nodes {
    /// The masters that have slots.
    pub fn masters(&self) -> Vec<(Host, Arc<Line>)> {
        let map = self.map();
        let mut masters: Vec<_> = map.ranges.iter().map(|(_, _, host)| host.clone()).zip(map.lines.iter().cloned()).collect();
        masters.sort_by(|(one, _), (other, _)| one.cmp(other));
        masters.dedup_by(|(one, _), (other, _)| one == other);
        masters
    }

    pub fn layout(&self) -> String {
        let map = self.map();
        map.ranges.iter().map(|(first, last, host)| format!("{first}-{last} {host}\n")).collect()
    }

    /// The line to the master of `key`, or to any that is up for what has no key.
    pub fn line(&self, key: Option<&[u8]>) -> Result<Arc<Line>, Trouble> {
        let map = self.map();
        let found = match key {
            Some(key) => map.line(slots::slot(key)),
            None => map.lines.iter().find(|line| line.now().is_some()).or(map.lines.first()),
        };
        found.cloned().ok_or_else(|| Trouble::Down("has no master for this key: see `redis-cli --cluster check`".to_owned()))
    }

    /// Where a node sends a command that it did not carry out, and whether it is to be asked as a favour (`ASK`).
    pub fn redirected(&self, error: &RedisError) -> Option<(Arc<Line>, bool)> {
        let (address, _) = error.redirect_node()?;
        let (name, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        self.doubt.notify_one();
        // A node that does not know its name is where its sender is; the map will say so.
        if name.is_empty() {
            return None;
        }
        let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
        Some((self.line_to(&Host { name: name.into(), port })?, asking))
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.borrow())
    }

    /// The line to a node, made where there is none. `None` for an address that cannot be dialled at all.
    fn line_to(&self, host: &Host) -> Option<Arc<Line>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(host) {
            return Some(Arc::clone(line));
        }
        let way = Way::Address { client: self.dialer.client(host).ok()?, address: host.to_string().into(), alone: false };
        let line = Arc::new(Line::begin(way, &self.home));
        lines.insert(host.clone(), Arc::clone(&line));
        Some(line)
    }

    /// Takes over what a node says, unless it is older than what is known.
    fn take(&self, told: Told) {
        let known = self.map();
        let reset = known.lines.iter().all(|line| line.now().is_none());
        if known.ranges == told.ranges || (told.epoch < known.epoch && !reset) {
            return;
        }
        let (mut ranges, mut lines) = (Vec::new(), Vec::new());
        for range in told.ranges {
            if let Some(line) = self.line_to(&range.2) {
                ranges.push(range);
                lines.push(line);
            }
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).retain(|host, _| ranges.iter().any(|(_, _, master)| master == host));
        self.map.send_replace(Arc::new(Map { epoch: told.epoch, ranges, lines }));
    }

    /// What the masters say that are connected and answer.
    async fn ask_masters(&self) -> Option<Told> {
        let mut asked = JoinSet::new();
        for (host, line) in self.masters() {
            if let Some(server) = line.now() {
                asked.spawn(async move { timeout(MAP_TIMEOUT, ask(server.connection.clone(), &host)).await.ok()?.ok() });
            }
        }
        asked.join_all().await.into_iter().flatten().max_by_key(|told| (told.well, told.epoch))
    }

    /// What the configured addresses say, each by a connection of its own.
    async fn ask_seeds(&self) -> Result<Told, Failure> {
        let mut asked = JoinSet::new();
        for host in self.seeds.clone() {
            let client = self.dialer.client(&host).map_err(|error| Failure::of(&error))?;
            asked.spawn(async move {
                let told = async { ask(connect(&client).await.map_err(|error| Failure::of(&error))?, &host).await };
                let silent = || Failure { why: "does not answer".to_owned(), remedy: "check the address and that Redis runs" };
                let told = timeout(CONNECT_TIMEOUT, told).await.unwrap_or_else(|_| Err(silent()));
                told.map_err(|failure| Failure { why: format!("{host} {}", failure.why), ..failure })
            });
        }
        let (mut best, mut failures): (Option<Told>, Vec<Failure>) = (None, Vec::new());
        for answer in asked.join_all().await {
            match answer {
                Ok(told) if best.as_ref().is_none_or(|best| (best.well, best.epoch) < (told.well, told.epoch)) => best = Some(told),
                Ok(_) => {}
                Err(failure) => failures.push(failure),
            }
        }
        let remedy = failures.first().map_or("write store.cluster", |failure| failure.remedy);
        let whys: Vec<String> = failures.into_iter().map(|failure| failure.why).collect();
        best.ok_or_else(|| Failure { why: format!("has no node that tells its slots: {}", whys.join(", ")), remedy })
    }
}

impl Map {
    fn line(&self, slot: u16) -> Option<&Arc<Line>> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let index = after.checked_sub(1)?;
        (self.ranges[index].1 >= slot).then(|| &self.lines[index])
    }
}

async fn ask(mut connection: MultiplexedConnection, host: &Host) -> Result<Told, Failure> {
    let mut both = Pipeline::with_capacity(2);
    both.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let (info, map): (String, Value) = both.query_async(&mut connection).await.map_err(|error| {
        let text = error.to_string();
        if text.contains("cluster support disabled") {
            return Failure { why: "is no node of a Cluster".to_owned(), remedy: "write store.url instead of store.cluster" };
        }
        Failure {
            why: format!("does not tell its slots: {}", refusal(&error)),
            remedy: "give the user the rights of deploy/redis/users.acl",
        }
    })?;
    let ranges = slots::read(&map, host).ok_or_else(|| Failure { why: "tells no map of slots".to_owned(), remedy: "check the address" })?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let epoch = field("cluster_current_epoch:").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Ok(Told { well: field("cluster_state:") == Some("ok"), epoch, ranges })
}

impl Routed {
    pub async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        self.follow(self.nodes.line(slots::key(command)).map_err(|trouble| self.error(&trouble))?, command).await
    }

    /// A command from one node to the next, until one carries it out.
    async fn follow(&self, mut line: Arc<Line>, command: &Cmd) -> RedisResult<Value> {
        let mut as_a_favour = false;
        for _ in 0..REDIRECTS_MAX {
            let sent = line.exchange(self.repeat, |mut connection| async move {
                let answer =
                    if as_a_favour { asking(&mut connection, command).await? } else { connection.req_packed_command(command).await? };
                answer.extract_error()
            });
            match sent.await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Refused(error)) => match self.nodes.redirected(&error) {
                    Some(next) => (line, as_a_favour) = next,
                    None => return Err(error),
                },
                Err(trouble) => {
                    self.nodes.doubt.notify_one();
                    return Err(self.error(&trouble));
                }
            }
        }
        Err(self.error(&Trouble::Down(format!("sent this on {REDIRECTS_MAX} times: its slots are moving"))))
    }

    /// Each node gets its part in order, and all parts go at once. What a node sends elsewhere follows by itself.
    pub async fn pipeline(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        if pipeline.is_transaction() {
            // Nothing here needs one; a script does what it would.
            return Err((ErrorKind::Client, "a transaction cannot be sent to a Cluster").into());
        }
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut parts: Vec<(Arc<Line>, Vec<usize>)> = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let line = self.nodes.line(slots::key(command)).map_err(|trouble| self.error(&trouble))?;
            match parts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &line)) {
                Some((_, indices)) => indices.push(index),
                None => parts.push((line, vec![index])),
            }
        }
        let mut sent = JoinSet::new();
        for (line, indices) in parts {
            let mut part = Pipeline::with_capacity(indices.len());
            for index in &indices {
                part.add_command(commands[*index].clone());
            }
            let repeat = self.repeat;
            sent.spawn(async move {
                let part = &part;
                let send = |mut connection: MultiplexedConnection| async move { connection.req_packed_commands(part, 0, part.len()).await };
                let answers = line.exchange(repeat, send).await;
                (line, indices, answers)
            });
        }
        let mut all = vec![Value::Nil; commands.len()];
        while let Some(part) = sent.join_next().await {
            let (_, indices, answers) = part.map_err(|_| self.error(&Trouble::Down("is no longer connected".to_owned())))?;
            let answers = answers.map_err(|trouble| {
                self.nodes.doubt.notify_one();
                self.error(&trouble)
            })?;
            for (index, answer) in indices.into_iter().zip(answers) {
                all[index] = answer;
            }
        }
        for (answer, command) in all.iter_mut().zip(commands) {
            if let Value::ServerError(error) = answer
                && let Some((line, as_a_favour)) = self.nodes.redirected(&error.clone().into())
            {
                *answer = if as_a_favour { self.command(command).await? } else { self.follow(line, command).await? };
            }
        }
        Ok(all)
    }

    /// An error whose text is all there is to it, for `Link` to show as it stands; a refusal stays what it is.
    fn error(&self, trouble: &Trouble) -> RedisError {
        match trouble {
            Trouble::Refused(error) => error.clone(),
            Trouble::Down(_) | Trouble::Broke(_) => std::io::Error::other(trouble.told(self.repeat)).into(),
        }
    }
}
