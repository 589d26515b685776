//! The end, said once and heard by every connection: stop taking new work, finish what is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    begun: AtomicBool,
    notify: Notify,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Idle connections close now, others with their answers; what is left after `drain_timeout` is cut.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }

    pub fn begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Returns when it has begun.
    pub async fn wait(&self) {
        let mut notified = std::pin::pin!(self.0.notify.notified());
        // Enlisted before looking, so that a beginning in between is not missed.
        notified.as_mut().enable();
        if !self.begun() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Drain;

    #[tokio::test]
    async fn the_beginning_is_heard_before_and_after() {
        let drain = Drain::new();
        let heard = drain.clone();
        let waiting = tokio::spawn(async move { heard.wait().await });
        assert!(!drain.begun());
        drain.begin();
        waiting.await.unwrap();
        drain.wait().await;
        assert!(drain.begun());
    }
}
