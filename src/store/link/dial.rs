//! How one connection is made: TLS, login, time limits; and what is said when it cannot be.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates,
};

use crate::store::servers::{Host, Login, Tls};
use crate::store::{RedisUrl, StoreError};

/// Connecting, the TLS handshake and logging in, all together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Commands that wait to be written. Beyond it callers wait for room, within their budget.
const QUEUE_MAX: usize = 256;

/// How servers are dialled that are told apart by their address alone.
#[derive(Clone)]
pub struct Dialer {
    pub login: Login,
    pub database: u16,
    pub encrypted: bool,
    pub tls: Tls,
}

/// Why there is no connection, for an operator: what happened, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    pub why: String,
    pub remedy: &'static str,
}

impl Failure {
    pub fn of(error: &RedisError) -> Self {
        let remedy = match error.kind() {
            ErrorKind::AuthenticationFailed => "check user and password (percent-encoded in an address), and Redis's ACL",
            _ => "check the address and that Redis runs",
        };
        let problem = match error.kind() {
            ErrorKind::AuthenticationFailed => "does not let this user in",
            _ => "cannot be reached",
        };
        Self { why: format!("{problem}: {}", plain(&error.to_string())), remedy }
    }
}

impl Dialer {
    pub fn client(&self, host: &Host) -> RedisResult<redis::Client> {
        let Host { name, port } = host;
        let address = if self.encrypted {
            ConnectionAddr::TcpTls { host: name.to_string(), port: *port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(name.to_string(), *port)
        };
        let mut login = RedisConnectionInfo::default().set_db(self.database.into());
        if let Some(user) = &self.login.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.login.password {
            login = login.set_password(&password.0);
        }
        client(address.into_connection_info()?.set_redis_settings(login), &self.tls)
    }
}

/// The client of an address that was configured as one text, and the address without its password.
pub fn single(url: &RedisUrl, tls: &Tls) -> Result<(redis::Client, Arc<str>), StoreError> {
    // The crate's own text is not shown: a later version might quote the address, and with it the password.
    let info = (&*url.0).into_connection_info().map_err(|_| {
        StoreError(
            "the address of Redis cannot be read: write `redis://host:port/db`, `rediss://…` or `redis+unix:///path`, \
             with user and password percent-encoded"
                .to_owned(),
        )
    })?;
    let address: Arc<str> = address(info.addr()).into();
    let client = client(info, tls).map_err(|error| unfit(&address, &error))?;
    Ok((client, address))
}

/// What cannot even be dialled: a certificate that cannot be read, an address that cannot be.
pub fn unfit(address: &str, error: &RedisError) -> StoreError {
    StoreError(format!(
        "redis at {address} cannot be dialled: {}; check its address, ca_file, cert_file and key_file",
        plain(&error.to_string())
    ))
}

fn client(info: ConnectionInfo, tls: &Tls) -> RedisResult<redis::Client> {
    // Redis before 7.2 does not know `CLIENT SETINFO`, and a user that may not is written down as an intruder each time.
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    // Without `nodelay` a look-up written while another is under way waits for its acknowledgement: up to 40 ms.
    let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if !encrypted || *tls == Tls::default() {
        return redis::Client::open(info);
    }
    let client_tls = tls
        .identity
        .as_ref()
        .map(|identity| ClientTlsConfig { client_cert: identity.certificates.to_vec(), client_key: identity.key.to_vec() });
    redis::Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: tls.authorities.as_deref().map(<[u8]>::to_vec) })
}

pub async fn connect(client: &redis::Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Callers keep their own time, which includes the wait for a connection.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE_MAX);
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn address(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
        ConnectionAddr::Unix(path) => path.display().to_string(),
        // The enum is open; a kind that is added later has no text that is known to hold no password.
        _ => "its address".to_owned(),
    }
}

/// Whether an error ends its connection. The crate counts an alert of TLS as something to try again on the same one.
pub fn is_loss(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}

/// A refusal of Redis in its own words, and what an operator can do about it.
pub fn refusal(error: &RedisError) -> String {
    let remedy = match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => "; it reads its data from disk and will answer when that is done",
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => "; give the user the rights of deploy/redis/users.acl",
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask), _) => {
            "; it belongs to a Cluster: write store.cluster instead of store.url"
        }
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            "; it is a replica: name its master, or let sentinels name it (store.sentinels)"
        }
        (ErrorKind::Server(ServerErrorKind::ClusterDown), _) => "; see `redis-cli cluster info`",
        (ErrorKind::Server(ServerErrorKind::MasterDown), _) => "; it is a replica that has lost its master",
        (_, Some("MISCONF")) => "; it cannot save its data: see its log and its disk",
        (_, Some("OOM")) => "; its memory is full: raise its maxmemory",
        (_, Some("NOREPLICAS")) => "; too few of its replicas are there: see min-replicas-to-write",
        (_, Some("NOAUTH")) => "; it wants a password",
        _ => "",
    };
    format!("{}{remedy}", plain(&error.to_string()))
}

/// The peer's words on one line: they end up in a log.
pub fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}
