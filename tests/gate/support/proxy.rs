//! A TCP proxy of the tests' own, between a gate and Redis: it passes, delays, says nothing, or cuts, as the test wants it just now.
//!
//! While it cuts, its port is held by a socket that is bound and does not listen: connections are refused, as they are where no server
//! runs, and nobody else can take the port meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc as told;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::DEADLINE;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks on their way in one direction; beyond it the sender waits.
const CHUNKS_MAX: usize = 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// What the proxy does to every connection, old and new, until it is told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Each direction takes this long.
    Slow(Duration),
    /// Connections are accepted and stay open, and nothing is passed until it ends.
    Silent,
    /// Connections are reset, and new ones refused.
    Cut,
}

pub struct Proxy {
    address: SocketAddr,
    /// `None` when the proxy ends.
    faults: Option<mpsc::UnboundedSender<(Fault, told::Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Self {
        let (holder, address) = held_port();
        let (faults, orders) = mpsc::unbounded_channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(address, server, orders));
            drop(holder);
        });
        let proxy = Self { address, faults: Some(faults), thread: Some(thread) };
        proxy.heal();
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes everything at once, what was held back first.
    pub fn heal(&self) {
        self.order(Fault::None);
    }

    pub fn slow(&self, each_way: Duration) {
        self.order(Fault::Slow(each_way));
    }

    pub fn stall(&self) {
        self.order(Fault::Silent);
    }

    pub fn cut(&self) {
        self.order(Fault::Cut);
    }

    /// Returns when it is so.
    fn order(&self, fault: Fault) {
        let (tell, done) = told::channel();
        self.faults.as_ref().expect("it has not ended").send((fault, tell)).expect("the proxy runs");
        done.recv_timeout(DEADLINE).expect("the proxy does as it is told");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.faults.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A free port, and a socket that keeps it without listening.
fn held_port() -> (Socket, SocketAddr) {
    let holder = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let address = holder.local_addr().expect("it is bound").as_socket().expect("an IP address");
    (holder, address)
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("a socket option");
    socket.set_reuse_address(true).expect("a socket option");
    socket.bind(&address.into()).expect("the port is ours");
    socket
}

fn listening(address: SocketAddr) -> TcpListener {
    let socket = bound(address);
    socket.listen(BACKLOG).expect("the port is ours");
    socket.set_nonblocking(true).expect("a socket option");
    TcpListener::from_std(socket.into()).expect("the runtime takes it")
}

async fn run(address: SocketAddr, server: SocketAddr, mut orders: mpsc::UnboundedReceiver<(Fault, told::Sender<()>)>) {
    let (fault, faults) = watch::channel(Fault::None);
    let mut listener = None;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => {
                let Some((ordered, done)) = order else { return };
                fault.send_replace(ordered);
                if ordered == Fault::Cut {
                    listener = None;
                    // A connection that is dropped is reset: see `carry`.
                    connections.shutdown().await;
                } else if listener.is_none() {
                    listener = Some(listening(address));
                }
                let _ = done.send(());
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(listener.as_ref()) => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(carry(client, server, faults.clone()));
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// One connection, until either side ends it.
async fn carry(client: TcpStream, server: SocketAddr, faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(server).await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        // Whatever ends this task, the peers see a reset and not an orderly end.
        reset(stream);
        let _ = stream.set_nodelay(true);
    }
    let ((client_reads, client_writes), (server_reads, server_writes)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(client_reads, server_writes, faults.clone()) => {}
        () = pass(server_reads, client_writes, faults) => {}
    }
}

fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// One direction. What was read is written in its order, each chunk when it is due.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>) {
    let (tell, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = from.read_buf(&mut chunk).await.unwrap_or(0);
            if read == 0 || tell.send((Instant::now(), chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((came, chunk)) = chunks.recv().await {
            due(came, &mut faults).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// Waits as the fault has it; one that changes meanwhile counts from then on.
async fn due(came: Instant, faults: &mut watch::Receiver<Fault>) {
    loop {
        let fault = *faults.borrow_and_update();
        let left = match fault {
            Fault::None => return,
            Fault::Slow(each_way) => Some((came + each_way).saturating_duration_since(Instant::now())),
            Fault::Silent | Fault::Cut => None,
        };
        if left == Some(Duration::ZERO) {
            return;
        }
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(left.unwrap_or(DEADLINE)) => {}
        }
    }
}
