//! The guard, in front of a stream that is cut in every way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};
use tokio::time::{Instant, timeout};

use super::{Guard, GuardBounds, LINGER_TIMEOUT, STAND_IN};
use crate::listener::connection::{Connection, Entrance, InFlight};
use crate::listener::head::HeadBounds;
use crate::listener::violation::Violation;

const BOUNDS: GuardBounds = GuardBounds {
    head: HeadBounds { bytes_max: 1000, fields_max: 20, target_bytes_max: 200 },
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
};

fn facts() -> Arc<Connection> {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    Arc::new(Connection::new(Entrance::Http, address, address, address, None, false))
}

/// A peer that sends these pieces, one a read, and then nothing.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(bytes: &[u8], lengths: &[usize]) -> Self {
        let (mut rest, mut pieces) = (bytes, VecDeque::new());
        for length in lengths.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            if !piece.is_empty() {
                pieces.push_back(piece.to_vec());
            }
            rest = after;
        }
        Self(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        let Some(mut piece) = pieces.pop_front() else { return Poll::Pending };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        if !rest.is_empty() {
            pieces.push_front(rest);
        }
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// Everything that the guard lets go, and the violation that ended a body.
fn let_through(bytes: &[u8], lengths: &[usize], room: usize) -> (Vec<u8>, Option<Violation>) {
    let mut guard = Guard::new(Pieces::of(bytes, lengths), facts(), BOUNDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            let mut buf = ReadBuf::new(&mut buffer);
            let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut guard).poll_read(cx, &mut buf))).await;
            match polled {
                Poll::Ready(Ok(())) => {
                    assert!(!buf.filled().is_empty(), "the peer did not close");
                    out.extend_from_slice(buf.filled());
                }
                Poll::Ready(Err(error)) => return (out, Violation::behind(&error)),
                Poll::Pending => return (out, None),
            }
        }
    })
}

const GOOD: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/resource/Item?limit_page_length=20 HTTP/1.1\r\nHost: erp.example.com\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\nGET / HTTP/1.1\r\nBad : header\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n3\r\n\r\n\n\r\n0\r\n\r\n",
];

const BAD: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn lawful_traffic_passes_unchanged_however_it_arrives(
        messages in prop::collection::vec(prop::sample::select(GOOD.as_slice()), 1..8),
        lengths in prop::collection::vec(1usize..120, 0..60),
        room in 1usize..300,
    ) {
        let bytes = messages.concat();
        prop_assert_eq!(let_through(&bytes, &lengths, room), (bytes, None));
    }

    #[test]
    fn after_a_bad_head_there_is_the_stand_in_and_nothing_else(
        messages in prop::collection::vec(prop::sample::select(GOOD.as_slice()), 0..5),
        bad in prop::sample::select(BAD.as_slice()),
        after in prop::sample::select(GOOD.as_slice()),
        lengths in prop::collection::vec(1usize..120, 0..60),
        room in 1usize..300,
    ) {
        let good = messages.concat();
        let bytes = [&good, bad, after].concat();
        prop_assert_eq!(let_through(&bytes, &lengths, room), ([&good, STAND_IN].concat(), None));
    }

    #[test]
    fn a_bad_chunk_ends_its_body_with_an_error(
        messages in prop::collection::vec(prop::sample::select(GOOD.as_slice()), 0..5),
        lengths in prop::collection::vec(1usize..120, 0..60),
        room in 1usize..300,
    ) {
        let good = [messages.concat(), b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6".to_vec()].concat();
        let bytes = [&good, b";x=y\r\n world\r\n0\r\n\r\n".as_slice()].concat();
        prop_assert_eq!(let_through(&bytes, &lengths, room), (good, Some(Violation::ChunkMalformed)));
    }

    #[test]
    fn a_head_that_is_not_whole_is_kept_back(
        messages in prop::collection::vec(prop::sample::select(GOOD.as_slice()), 0..5),
        cut in any::<prop::sample::Index>(),
        lengths in prop::collection::vec(1usize..120, 0..60),
    ) {
        let good = messages.concat();
        let head = b"GET /last HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        let bytes = [&good, &head[..cut.index(head.len())]].concat();
        prop_assert_eq!(let_through(&bytes, &lengths, 300), (good, None));
    }

    #[test]
    fn no_bytes_panic_and_nothing_is_made_up(bytes in prop::collection::vec(any::<u8>(), 0..400), lengths in prop::collection::vec(1usize..40, 0..20)) {
        let (out, _) = let_through(&bytes, &lengths, 100);
        prop_assert!(out.is_empty() || out == STAND_IN);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_when_it_has_been_idle_for_the_whole_time() {
    let (here, _there) = duplex(1000);
    let mut guard = Guard::new(here, facts(), BOUNDS);
    let start = Instant::now();
    assert_eq!(guard.read(&mut [0; 100]).await.unwrap(), 0);
    assert_eq!(start.elapsed(), BOUNDS.idle_timeout);
}

#[tokio::test(start_paused = true)]
async fn an_answered_request_starts_the_idle_time_anew() {
    let (here, mut there) = duplex(1000);
    let connection = facts();
    let mut guard = Guard::new(here, connection.clone(), BOUNDS);
    let start = Instant::now();
    there.write_all(GOOD[0]).await.unwrap();
    assert_eq!(guard.read(&mut [0; 100]).await.unwrap(), GOOD[0].len());
    // The service takes its time: that is not idleness.
    assert!(timeout(Duration::from_secs(300), guard.read(&mut [0; 100])).await.is_err());
    drop(InFlight(connection.clone()));
    guard.flush().await.unwrap();
    assert_eq!(guard.read(&mut [0; 100]).await.unwrap(), 0);
    assert_eq!(start.elapsed(), Duration::from_secs(300) + BOUNDS.idle_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_refused_when_its_time_is_over() {
    let (here, mut there) = duplex(1000);
    let connection = facts();
    let mut guard = Guard::new(here, connection.clone(), BOUNDS);
    let start = Instant::now();
    tokio::spawn(async move {
        for byte in GOOD[1] {
            there.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut buffer = [0; 100];
    let len = guard.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..len], STAND_IN);
    assert_eq!(connection.called(), Some(Violation::HeaderTimeout));
    assert_eq!(start.elapsed(), BOUNDS.header_timeout);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_a_client_that_still_sends_but_not_for_ever() {
    let (here, mut there) = duplex(16);
    let mut guard = Guard::new(here, facts(), BOUNDS);
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let sending = tokio::spawn(async move {
        there.write_all(head).await.unwrap();
        there.write_all(&[b'x'; 100_000]).await.unwrap();
        // And then it neither closes nor sends.
        there
    });
    let mut buffer = [0; 200];
    guard.read_exact(&mut buffer[..head.len()]).await.unwrap();
    let start = Instant::now();
    guard.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), LINGER_TIMEOUT);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_between_messages_does_not_wait() {
    let (here, mut there) = duplex(1000);
    let mut guard = Guard::new(here, facts(), BOUNDS);
    there.write_all(GOOD[0]).await.unwrap();
    guard.read_exact(&mut vec![0; GOOD[0].len()]).await.unwrap();
    let start = Instant::now();
    guard.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}
