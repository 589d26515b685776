//! Listening sockets: bound, or inherited from a supervisor, one per worker and address.
//!
//! With `SO_REUSEPORT` every worker has an accept queue of its own. But the kernel lets another process of the same user join in silently,
//! which would send half of the clients to a gate that an operator forgot about. So the first socket of an address is bound alone, which
//! fails where anybody listens there, and opens the port to its siblings afterwards.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::connection::Entrance;

/// Connections that wait to be accepted, per socket; the kernel's `somaxconn` may make it less.
const BACKLOG: i32 = 4096;

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub entrance: Entrance,
    pub address: SocketAddr,
    /// Whether trusted proxies open every connection with the PROXY protocol.
    pub proxy_protocol: bool,
}

/// One worker's listening socket.
#[derive(Debug)]
pub struct Door {
    /// With the port that was got, where 0 was asked for.
    pub listen: Listen,
    pub(super) socket: TcpListener,
}

/// Why an address cannot be listened on, and what to do about it.
#[derive(Debug)]
pub struct BindError {
    listen: Listen,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.listen.address;
        write!(f, "cannot listen on {address} ({}): ", self.listen.entrance.name())?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.port();
                write!(f, "the port is taken; `ss -ltnp 'sport = :{port}'` shows by whom: stop that, or configure another port")
            }
            io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "no permission; use a port from 1024 on, grant CAP_NET_BIND_SERVICE, or pass the socket in (systemd socket activation)"
                )
            }
            io::ErrorKind::AddrNotAvailable => write!(f, "this machine has no such address; `ip address` shows which it has"),
            _ => write!(f, "{}", self.source),
        }
    }
}

impl std::error::Error for BindError {}

impl BindError {
    /// Whose address it is.
    pub const fn entrance(&self) -> Entrance {
        self.listen.entrance
    }
}

/// The sockets of every worker, in the order of `listens`. An inherited socket of the entrance's name takes the place of its addresses.
pub fn open(listens: &[Listen], workers: usize, inherited: Vec<(String, TcpListener)>) -> Result<Vec<Vec<Door>>, BindError> {
    let mut doors: Vec<Vec<Door>> = (0..workers).map(|_| Vec::new()).collect();
    let (mut taken, mut unnamed) = (Vec::new(), inherited);
    for listen in listens {
        let (ours, rest): (Vec<_>, Vec<_>) = unnamed.into_iter().partition(|(name, _)| name == listen.entrance.name());
        unnamed = rest;
        if !ours.is_empty() {
            taken.push(listen.entrance);
            for (_, socket) in ours {
                share(socket, *listen, &mut doors)?;
            }
        } else if !taken.contains(&listen.entrance) {
            bind(*listen, listens, &mut doors)?;
        }
    }
    for (name, socket) in unnamed {
        let address = socket.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tracing::warn!(
            name,
            address,
            "inherited socket is not used: its name is none of `https`, `http`, `behind-proxy`, or not configured"
        );
    }
    Ok(doors)
}

/// What a supervisor passed in, with the names that it gave (`FileDescriptorName=` of a systemd socket unit).
///
/// Takes the variables out of the environment, so it is called before there are other threads.
pub fn inherited() -> Vec<(String, TcpListener)> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        match passed.take_tcp_listener(index) {
            Ok(Some(socket)) => sockets.push((name, socket)),
            Ok(None) => {}
            Err(error) => tracing::warn!(name, %error, "inherited descriptor is not used"),
        }
    }
    sockets
}

fn bind(listen: Listen, all: &[Listen], doors: &mut [Vec<Door>]) -> Result<(), BindError> {
    let mut listen = listen;
    for (worker, doors) in doors.iter_mut().enumerate() {
        let socket = bind_one(listen, all, worker == 0).map_err(|source| BindError { listen, source })?;
        let address = socket.local_addr().map_err(|source| BindError { listen, source })?;
        listen.address = address;
        doors.push(Door { listen, socket });
    }
    Ok(())
}

fn bind_one(listen: Listen, all: &[Listen], first: bool) -> io::Result<TcpListener> {
    let address = listen.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` means both families, unless IPv4 has an entry of its own.
        let beside_v4 = all.iter().any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        socket.set_only_v6(beside_v4)?;
    }
    // Connections of a predecessor that linger in TIME_WAIT are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!first)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit it, which saves a system call each.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// All workers accept from the one queue of a socket that came from outside.
fn share(socket: TcpListener, listen: Listen, doors: &mut [Vec<Door>]) -> Result<(), BindError> {
    let failed = |source| BindError { listen, source };
    socket.set_nonblocking(true).map_err(failed)?;
    let listen = Listen { address: socket.local_addr().map_err(failed)?, ..listen };
    let borrowed = Socket::from(socket);
    borrowed.set_tcp_nodelay(true).map_err(failed)?;
    for doors in doors {
        let socket = borrowed.try_clone().map_err(failed)?.into();
        doors.push(Door { listen, socket });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::{Entrance, Listen, open};

    fn listen(address: &str) -> Listen {
        Listen { entrance: Entrance::Http, address: address.parse().unwrap(), proxy_protocol: false }
    }

    #[test]
    fn every_worker_gets_a_socket_of_the_same_port() {
        let doors = open(&[listen("127.0.0.1:0")], 3, Vec::new()).unwrap();
        let ports: Vec<SocketAddr> = doors.iter().map(|doors| doors[0].socket.local_addr().unwrap()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == doors[0][0].listen.address && port.port() != 0), "{ports:?}");
    }

    #[test]
    fn the_kernel_spreads_connections_over_the_sockets_of_an_address() {
        let doors = open(&[listen("127.0.0.1:0")], 2, Vec::new()).unwrap();
        let clients: Vec<_> = (0..32).map(|_| TcpStream::connect(doors[0][0].listen.address).unwrap()).collect();
        let queued = doors.iter().map(|doors| doors[0].socket.incoming().map_while(Result::ok).count());
        let queued: Vec<usize> = queued.collect();
        assert_eq!(queued.iter().sum::<usize>(), clients.len());
        assert!(queued.iter().all(|queued| *queued > 0), "{queued:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_with_a_remedy() {
        let doors = open(&[listen("127.0.0.1:0")], 2, Vec::new()).unwrap();
        let taken = doors[0][0].listen;
        let message = open(&[taken], 2, Vec::new()).unwrap_err().to_string();
        let port = taken.address.port();
        assert_eq!(
            message,
            format!(
                "cannot listen on 127.0.0.1:{port} (http): the port is taken; `ss -ltnp 'sport = :{port}'` shows by whom: stop that, or \
                 configure another port"
            )
        );
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = Listen { address: plain.local_addr().unwrap(), ..taken };
        assert!(open(&[taken], 1, Vec::new()).is_err(), "by a process that shares nothing");
    }

    #[test]
    fn an_address_of_another_machine_is_an_error_that_says_so() {
        let message = open(&[listen("192.0.2.1:0")], 1, Vec::new()).unwrap_err().to_string();
        assert!(message.contains("this machine has no such address"), "{message}");
    }

    #[test]
    fn inherited_sockets_take_the_place_of_addresses_by_name() {
        let passed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap();
        // The configured port is taken by the inherited socket itself, which must not matter.
        let configured = Listen { address, ..listen("127.0.0.1:0") };
        let doors = open(&[configured], 2, vec![("http".to_owned(), passed)]).unwrap();
        assert!(doors.iter().all(|doors| doors.len() == 1 && doors[0].listen.address == address));
    }
}
