//! Who the master is, by the word of the sentinels.
//!
//! A master that is cut off from the rest of its fleet goes on answering those who still reach it, while the sentinels on the other side
//! make another one; what is revoked there is not known here. So a server is spoken to only while a majority of all configured sentinels
//! says that it is the master and up, and they are asked at every heartbeat, away from any request. A gate on the wrong side of a cut
//! gives its connection up within `HEARTBEAT` and `SENTINEL_TIMEOUT`, one second; a new master is made after
//! `down-after-milliseconds` and an election. Where that is two seconds or more, the two do not overlap.
//!
//! Addresses are compared as the sentinels write them, which is their own idea of the network: all must write the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::store::link::dial::{Dialer, Failure, connect, is_loss, plain, refusal};
use crate::store::servers::Host;

/// How long one sentinel may take to answer, connecting to it included.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// Flags of a server that a sentinel would not send anybody to.
const UNFIT: [&str; 3] = ["s_down", "o_down", "disconnected"];

pub struct Sentinels {
    sentinels: Vec<Sentinel>,
    master: Arc<str>,
    /// How the master is dialled.
    dialer: Dialer,
}

struct Sentinel {
    name: String,
    client: redis::Client,
    connection: Option<MultiplexedConnection>,
}

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Vote {
    For(Host),
    /// It watches this server and thinks it down.
    Down(Host),
    /// It was not heard, or said something else.
    None {
        why: String,
        refused: bool,
    },
}

impl Sentinels {
    pub fn new(hosts: &[Host], to_sentinels: &Dialer, master: &Arc<str>, dialer: Dialer) -> RedisResult<Self> {
        let sentinel = |host: &Host| Ok(Sentinel { name: host.to_string(), client: to_sentinels.client(host)?, connection: None });
        let sentinels = hosts.iter().map(sentinel).collect::<RedisResult<_>>()?;
        Ok(Self { sentinels, master: Arc::clone(master), dialer })
    }

    pub fn client(&self, master: &Host) -> RedisResult<redis::Client> {
        self.dialer.client(master)
    }

    /// The server that a majority calls the master.
    pub async fn choose(&mut self) -> Result<Host, Failure> {
        let votes = self.ask().await;
        let names: Vec<&str> = self.sentinels.iter().map(|sentinel| &*sentinel.name).collect();
        verdict(&names, &votes)
    }

    async fn ask(&mut self) -> Vec<Vote> {
        let mut asked = JoinSet::new();
        for (index, sentinel) in self.sentinels.iter_mut().enumerate() {
            let (client, connection, master) = (sentinel.client.clone(), sentinel.connection.take(), Arc::clone(&self.master));
            asked.spawn(async move { (index, timeout(SENTINEL_TIMEOUT, vote(client, connection, &master)).await) });
        }
        let mut votes = vec![Vote::None { why: "did not answer".to_owned(), refused: false }; self.sentinels.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, Ok((vote, connection)))) = answer {
                votes[index] = vote;
                self.sentinels[index].connection = connection;
            }
        }
        votes
    }
}

/// Asks one sentinel; the connection is given back where it can be used again.
async fn vote(client: redis::Client, kept: Option<MultiplexedConnection>, master: &str) -> (Vote, Option<MultiplexedConnection>) {
    let mut last = None;
    if let Some(mut connection) = kept {
        match ask(&mut connection, master).await {
            Ok(vote) => return (vote, Some(connection)),
            // It may have been closed since the last time.
            Err(error) => last = Some(error),
        }
    }
    let error = match connect(&client).await {
        Ok(mut connection) => match ask(&mut connection, master).await {
            Ok(vote) => return (vote, Some(connection)),
            Err(error) => error,
        },
        Err(error) => last.unwrap_or(error),
    };
    let refused = error.kind() == ErrorKind::AuthenticationFailed;
    (Vote::None { why: Failure::of(&error).why, refused }, None)
}

async fn ask(connection: &mut MultiplexedConnection, master: &str) -> RedisResult<Vote> {
    let asked = redis::cmd("SENTINEL").arg("MASTER").arg(master).query_async::<HashMap<String, String>>(connection).await;
    match asked {
        Ok(said) => Ok(read(&said)),
        Err(error) if is_loss(&error) => Err(error),
        Err(error) => Ok(refused(&error)),
    }
}

fn refused(error: &RedisError) -> Vote {
    let text = error.to_string();
    let why =
        if text.contains("No such master") { "knows no master of this name".to_owned() } else { format!("refused: {}", refusal(error)) };
    Vote::None { why, refused: true }
}

fn read(said: &HashMap<String, String>) -> Vote {
    let field = |name: &str| said.get(name).map(String::as_str);
    let host = field("ip").filter(|ip| !ip.is_empty()).zip(field("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0));
    let (Some((name, port)), Some(flags)) = (host, field("flags")) else {
        return Vote::None { why: "gave an answer that names no server".to_owned(), refused: false };
    };
    let host = Host { name: name.into(), port };
    let mut flags = flags.split(',');
    if flags.clone().any(|flag| flag == "master") && !flags.any(|flag| UNFIT.contains(&flag)) { Vote::For(host) } else { Vote::Down(host) }
}

/// The address that more than half of all sentinels vote for, whether they were heard or not.
fn verdict(names: &[&str], votes: &[Vote]) -> Result<Host, Failure> {
    let votes_for = |wanted: &Host| votes.iter().filter(|vote| matches!(vote, Vote::For(host) if host == wanted)).count();
    for vote in votes {
        if let Vote::For(host) = vote
            && 2 * votes_for(host) > votes.len()
        {
            return Ok(host.clone());
        }
    }
    let said: Vec<String> = names
        .iter()
        .zip(votes)
        .map(|(name, vote)| match vote {
            Vote::For(host) => format!("{name} says {}", plain(&host.to_string())),
            Vote::Down(host) => format!("{name} says that {} is down", plain(&host.to_string())),
            Vote::None { why, .. } => format!("{name} {why}"),
        })
        .collect();
    let remedy = if votes.iter().any(|vote| matches!(vote, Vote::None { refused: true, .. })) {
        "check store.master, and sentinel_user and sentinel_password"
    } else if votes.iter().filter(|vote| matches!(vote, Vote::For(_))).count() * 2 > votes.len() {
        "let all sentinels announce the master alike (resolve-hostnames, announce-hostnames)"
    } else {
        "see `redis-cli -p 26379 sentinel masters`"
    };
    Err(Failure { why: format!("is not named by a majority of the sentinels: {}", said.join(", ")), remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        let (name, port) = text.rsplit_once(':').unwrap();
        Host { name: name.into(), port: port.parse().unwrap() }
    }

    fn silent() -> Vote {
        Vote::None { why: "did not answer".to_owned(), refused: false }
    }

    #[test]
    fn a_majority_of_all_sentinels_names_the_master_and_nobody_else_does() {
        let (one, other) = (Vote::For(host("10.0.0.1:6379")), Vote::For(host("10.0.0.2:6379")));
        let down = Vote::Down(host("10.0.0.1:6379"));
        let rows: [(&[Vote], Option<&str>, &str); 12] = [
            (std::slice::from_ref(&one), Some("10.0.0.1:6379"), "the only one"),
            (&[one.clone(), one.clone(), silent()], Some("10.0.0.1:6379"), "two of three"),
            (&[one.clone(), one.clone(), other.clone()], Some("10.0.0.1:6379"), "one lags behind a failover"),
            (&[other.clone(), one.clone(), one.clone()], Some("10.0.0.1:6379"), "the one that lags is heard first"),
            (&[down.clone(), one.clone(), one.clone()], Some("10.0.0.1:6379"), "one alone thinks it down"),
            (&[one.clone(), silent(), silent()], None, "cut off with an old master and one sentinel"),
            (&[one.clone(), silent()], None, "half is no majority"),
            (&[one.clone(), other.clone()], None, "two say two"),
            (&[down.clone(), down.clone(), one.clone()], None, "about to be replaced"),
            (&[one.clone(), other.clone(), Vote::For(host("10.0.0.3:6379"))], None, "each its own"),
            (&[silent(), silent(), silent()], None, "nobody"),
            (&[], None, "no sentinels"),
        ];
        for (votes, master, why) in rows {
            let names = vec!["s"; votes.len()];
            assert_eq!(verdict(&names, votes).ok().map(|host| host.to_string()).as_deref(), master, "{why}");
        }
    }

    #[test]
    fn a_vote_is_for_a_server_that_is_up_and_a_master() {
        let rows = [
            ("10.0.0.1", "6379", "master", Vote::For(host("10.0.0.1:6379"))),
            ("redis-1", "6380", "master,failover_in_progress", Vote::For(host("redis-1:6380"))),
            ("10.0.0.1", "6379", "s_down,master", Vote::Down(host("10.0.0.1:6379"))),
            ("10.0.0.1", "6379", "master,o_down", Vote::Down(host("10.0.0.1:6379"))),
            ("10.0.0.1", "6379", "s_down,master,disconnected", Vote::Down(host("10.0.0.1:6379"))),
            ("10.0.0.1", "6379", "slave", Vote::Down(host("10.0.0.1:6379"))),
            ("10.0.0.1", "6379", "", Vote::Down(host("10.0.0.1:6379"))),
        ];
        for (ip, port, flags, vote) in rows {
            let said = [("ip", ip), ("port", port), ("flags", flags)].map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(read(&said.into()), vote, "{flags}");
        }
        for (ip, port) in [("", "6379"), ("10.0.0.1", "0"), ("10.0.0.1", "99999"), ("10.0.0.1", "x")] {
            let said = [("ip", ip), ("port", port), ("flags", "master")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert!(matches!(read(&said.into()), Vote::None { .. }), "{ip}:{port}");
        }
        assert!(matches!(read(&HashMap::new()), Vote::None { .. }));
    }
}
