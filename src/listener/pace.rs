//! The pace at which a peer takes in what is written to it: one that stops, or sips, is cut off.
//!
//! Only time in which a write was actually held up counts, so a slow service and an idle connection cost nothing: no clock is read and
//! no timer is armed unless the socket's buffer is full. A per-write timeout would not do: a byte a second resets it for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

#[derive(Clone, Copy, Debug)]
pub struct PaceBounds {
    /// How much time of being held up is judged at once.
    pub window: Duration,
    /// Bytes a second.
    pub rate_min: u64,
}

impl PaceBounds {
    /// Whether a peer that took so many bytes in one window is too slow. Where no rate is asked for it must take something at least.
    pub fn too_slow(&self, bytes: u64) -> bool {
        let least = u128::from(self.rate_min) * self.window.as_millis() / 1000;
        u128::from(bytes) < least.max(1)
    }
}

pub struct Pace<T> {
    inner: T,
    bounds: PaceBounds,
    /// Since when the present write is held up.
    held_up: Option<Instant>,
    /// Of the window that is being judged: the time held up, and the bytes taken.
    waited: Duration,
    bytes: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<T> Pace<T> {
    pub fn new(inner: T, bounds: PaceBounds) -> Self {
        Self { inner, bounds, held_up: None, waited: Duration::ZERO, bytes: 0, sleep: None }
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                self.bytes = self.bytes.saturating_add(len as u64);
                if let Some(since) = self.held_up.take() {
                    self.waited += since.elapsed();
                }
                Poll::Ready(Ok(len))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.hold_up(cx),
        }
    }

    #[cold]
    fn hold_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.held_up.is_none() && self.waited.is_zero() {
            // What went into the socket's buffer before anything was held up says nothing about the peer.
            self.bytes = 0;
        }
        loop {
            let since = *self.held_up.get_or_insert_with(Instant::now);
            let due = since + self.bounds.window.saturating_sub(self.waited);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.bounds.too_slow(self.bytes) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes in too little")));
            }
            self.held_up = None;
            self.waited = Duration::ZERO;
            self.bytes = 0;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pace<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pace<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.judge(cx, written)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, sleep};

    use super::{Pace, PaceBounds};

    const BOUNDS: PaceBounds = PaceBounds { window: Duration::from_secs(10), rate_min: 100 };

    #[test]
    fn the_rate_is_exact_and_something_is_always_asked_for() {
        assert!(BOUNDS.too_slow(999));
        assert!(!BOUNDS.too_slow(1000));
        let none = PaceBounds { rate_min: 0, ..BOUNDS };
        assert!(none.too_slow(0));
        assert!(!none.too_slow(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_cut_off_after_one_window() {
        let (here, _there) = duplex(64);
        let mut paced = Pace::new(here, BOUNDS);
        let start = Instant::now();
        let error = paced.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sips_is_cut_off_although_each_write_moves() {
        let (here, mut there) = duplex(64);
        let mut paced = Pace::new(here, BOUNDS);
        let sipping = tokio::spawn(async move {
            while there.read_u8().await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        });
        let start = Instant::now();
        assert!(paced.write_all(&[0; 10_000]).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        sipping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_just_fast_enough_is_served_to_the_end() {
        let (here, mut there) = duplex(64);
        let mut paced = Pace::new(here, BOUNDS);
        let reading = tokio::spawn(async move {
            let mut total = 0;
            let mut buffer = [0; 12];
            while let Ok(len @ 1..) = there.read(&mut buffer).await {
                total += len;
                sleep(Duration::from_millis(100)).await;
            }
            total
        });
        paced.write_all(&[0; 10_000]).await.unwrap();
        drop(paced);
        assert_eq!(reading.await.unwrap(), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_service_is_not_held_against_the_peer() {
        let (here, mut there) = duplex(64);
        let mut paced = Pace::new(here, BOUNDS);
        for _ in 0..20 {
            paced.write_all(b"event").await.unwrap();
            let mut event = [0; 5];
            there.read_exact(&mut event).await.unwrap();
            sleep(Duration::from_secs(30)).await;
        }
    }
}
