//! The guard: stands between the bytes of a connection and hyper's HTTP/1, and lets only lawful heads through.
//!
//! It follows message boundaries. A head that is complete in one read is judged in place, in hyper's own buffer, and nothing is copied;
//! an incomplete one is kept back until it is whole. Bodies pass untouched. In place of a bad head hyper gets a lawful stand-in, so that
//! the service answers it, in its turn and in its own words, and the connection closes; after it nothing more is read. A violation
//! inside a body ends that body with an error.
//!
//! It also holds the connection's clocks, all on one timer that is only moved when it fires too early: hyper's own header timer costs more
//! than the rest of the guard together. Lastly it lingers: a close with unread bytes in the socket would be a reset, which can take the
//! answer away from a client that is still sending.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listener::chunk::Chunked;
use crate::listener::clock::Clock;
use crate::listener::connection::Connection;
use crate::listener::head::{Framing, Head, HeadBounds};
use crate::listener::violation::Violation;

/// How long, and how many bytes, an answered client may still send before its connection is closed on it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Read at a time while lingering.
const LINGER_BUFFER: usize = 8 * 1024;

/// What hyper gets in place of a head that breaks the rules. `close` makes hyper end the connection with the answer.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: violation.invalid\r\nConnection: close\r\n\r\n";

/// What the guard holds a connection to.
#[derive(Clone, Copy, Debug)]
pub struct GuardBounds {
    pub head: HeadBounds,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
}

pub struct Guard<T> {
    inner: T,
    follower: Follower,
    /// Bytes read and not yet let go; the first `ready` of them may go on to hyper. Empty between whole messages.
    stash: BytesMut,
    ready: usize,
    stood_in: bool,
    clock: Clock,
    /// Bytes that lingering may still read; `None` before it began.
    linger: Option<usize>,
}

impl<T> Guard<T> {
    pub fn new(inner: T, connection: Arc<Connection>, bounds: GuardBounds) -> Self {
        Self {
            inner,
            follower: Follower { step: Step::Head(Head::default()), connection, bounds },
            stash: BytesMut::new(),
            ready: 0,
            stood_in: false,
            clock: Clock::default(),
            linger: None,
        }
    }

    /// Bytes just read, at the end of `buf`: leaves there what may go on to hyper, and keeps the rest back.
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let fresh = &buf.filled()[before..];
        if self.stash.is_empty() {
            let released = self.follower.follow(fresh);
            if released < fresh.len() {
                if let Step::Head(_) = self.follower.step {
                    self.stash.extend_from_slice(&fresh[released..]);
                    self.clock.stop();
                    self.follower.connection.set_mid_head(true);
                }
                buf.set_filled(before + released);
            }
        } else {
            self.stash.extend_from_slice(fresh);
            buf.set_filled(before);
            self.ready = self.follower.follow(&self.stash);
            if self.ready < self.stash.len() && !matches!(self.follower.step, Step::Head(_)) {
                self.stash.truncate(self.ready);
            }
            if self.ready > 0 {
                self.clock.stop();
            }
            self.follower.connection.set_mid_head(self.ready < self.stash.len());
        }
    }

    /// Hands over what is ready.
    fn let_go(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.ready.min(buf.remaining());
        buf.put_slice(&self.stash[..len]);
        self.stash.advance(len);
        self.ready -= len;
        if self.stash.is_empty() {
            // An idle connection holds no memory for heads that came in pieces.
            self.stash = BytesMut::new();
        }
    }

    /// What the connection waits for, if it is the peer's turn: `mid_head` or not, and how long it may take.
    fn awaited(&self) -> Option<(bool, Duration)> {
        let Step::Head(_) = self.follower.step else { return None };
        // hyper reads little while it answers, so a head that is slow then may be so for our sake.
        if self.follower.connection.open() > 0 {
            return None;
        }
        let bounds = &self.follower.bounds;
        let mid_head = !self.stash.is_empty();
        Some((mid_head, if mid_head { bounds.header_timeout } else { bounds.idle_timeout }))
    }

    /// Nothing came: whether that has lasted too long, and what follows from it.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some((mid_head, timeout)) = self.awaited() else {
            self.clock.stop();
            return Poll::Pending;
        };
        ready!(self.clock.poll(cx, timeout));
        Poll::Ready(if mid_head { self.follower.refuse(Violation::HeaderTimeout) } else { Step::Closed })
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.let_go(buf);
                return Poll::Ready(Ok(()));
            }
            match this.follower.step {
                Step::Head(_) | Step::Length(_) | Step::Chunked(_) => {}
                Step::Broken(violation) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation))),
                // An end of input now would make hyper drop the answer that is on its way.
                Step::Refused if this.stood_in => return Poll::Pending,
                Step::Refused => {
                    this.stood_in = true;
                    this.stash = BytesMut::from(STAND_IN);
                    this.ready = STAND_IN.len();
                    this.follower.connection.set_mid_head(false);
                    continue;
                }
                Step::Closed => return Poll::Ready(Ok(())),
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf)? {
                Poll::Pending => {
                    this.follower.step = ready!(this.poll_clock(cx));
                }
                Poll::Ready(()) if buf.filled().len() == before => return Poll::Ready(Ok(())),
                Poll::Ready(()) => {
                    this.take_in(buf, before);
                    if buf.filled().len() > before {
                        this.clock.stop();
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        // The end of an answer: hyper may not read again before bytes arrive, so the wait for them starts here. When it has lasted too
        // long the timer wakes hyper, which reads, and that read draws the conclusion.
        if !this.clock.waiting()
            && let Some((_, timeout)) = this.awaited()
        {
            let _ = this.clock.poll(cx, timeout);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            let unread = !matches!(this.follower.step, Step::Head(_) | Step::Closed) || !this.stash.is_empty();
            if !unread {
                return Poll::Ready(Ok(()));
            }
            this.linger = Some(LINGER_BYTES_MAX);
            this.clock.stop();
        }
        this.poll_linger(cx).map(Ok)
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Reads and forgets until the peer closes or a bound is reached.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; LINGER_BUFFER];
        while let Some(left @ 1..) = self.linger {
            let mut discarded = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.inner).poll_read(cx, &mut discarded) {
                Poll::Ready(Ok(())) if !discarded.filled().is_empty() => {
                    self.linger = Some(left.saturating_sub(discarded.filled().len()));
                }
                Poll::Ready(_) => break,
                Poll::Pending => return self.clock.poll(cx, LINGER_TIMEOUT),
            }
        }
        Poll::Ready(())
    }
}

/// Where in the stream of messages the next byte stands.
enum Step {
    Head(Head),
    Length(u64),
    Chunked(Chunked),
    /// A head broke the rules: hyper gets the stand-in, then nothing.
    Refused,
    /// A body broke the rules.
    Broken(Violation),
    /// Idle for too long.
    Closed,
}

struct Follower {
    step: Step,
    connection: Arc<Connection>,
    bounds: GuardBounds,
}

impl Follower {
    /// Follows the messages through `bytes`: how many of them, from the first, may go on to hyper. What is left then is a head that is
    /// not whole, or nothing that matters.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.step {
                Step::Head(head) => match head.read(&bytes[at..], &self.bounds.head) {
                    Ok(None) => break,
                    Ok(Some(complete)) => {
                        at += complete.len;
                        self.connection.began();
                        self.step = match complete.framing {
                            Framing::Length(0) => Step::Head(Head::default()),
                            Framing::Length(length) => Step::Length(length),
                            Framing::Chunked => Step::Chunked(Chunked::START),
                        };
                    }
                    Err(violation) => {
                        self.step = self.refuse(violation);
                        break;
                    }
                },
                Step::Length(left) => {
                    let body = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += body;
                    *left -= body as u64;
                    if *left == 0 {
                        self.step = Step::Head(Head::default());
                    }
                }
                Step::Chunked(chunked) => {
                    let (body, verdict) = chunked.follow(&bytes[at..]);
                    at += body;
                    if let Err(violation) = verdict {
                        self.step = Step::Broken(violation);
                        break;
                    }
                    if *chunked == Chunked::End {
                        self.step = Step::Head(Head::default());
                    }
                }
                Step::Refused | Step::Broken(_) | Step::Closed => break,
            }
        }
        self.connection.set_mid_body(matches!(self.step, Step::Length(_) | Step::Chunked(_) | Step::Broken(_)));
        at
    }

    fn refuse(&self, violation: Violation) -> Step {
        self.connection.violated(violation);
        Step::Refused
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
