//! What an exchange is sent through: one server, or a Cluster as if it were one.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::store::link::cluster::Routed;

#[derive(Clone)]
pub enum Connection {
    Server(MultiplexedConnection),
    /// A server that is given a slot just now, and answers for it those who ask.
    Asked(MultiplexedConnection),
    Cluster(Routed),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Asked(connection) => Box::pin(asking(connection, command)),
            Self::Cluster(cluster) => Box::pin(cluster.command(command)),
        }
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Asked(connection) => Box::pin(async move {
                let mut answers = Vec::with_capacity(pipeline.len());
                for command in pipeline.cmd_iter() {
                    answers.push(asking(connection, command).await?);
                }
                Ok(answers)
            }),
            Self::Cluster(cluster) => Box::pin(cluster.pipeline(pipeline)),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) | Self::Asked(connection) => connection.get_db(),
            Self::Cluster(_) => 0,
        }
    }
}

/// `ASKING` holds for the very next command, so the two go in one piece.
pub async fn asking(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command(command.clone());
    let mut answers = connection.req_packed_commands(&both, 0, 2).await?;
    Ok(answers.pop().unwrap_or_default())
}
