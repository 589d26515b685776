//! One timer for whatever a connection is waiting for, moved only when it fires too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

#[derive(Default)]
pub struct Clock {
    /// Set by the first wait; it fires when due or earlier.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the present wait began; `None` where nothing is waited for.
    since: Option<Instant>,
}

impl Clock {
    pub fn waiting(&self) -> bool {
        self.since.is_some()
    }

    /// The present wait is over. The timer stays as it is: moving it for every request would cost more than a vain wake-up.
    pub fn stop(&mut self) {
        self.since = None;
    }

    /// Ready when the present wait, which begins here unless it did before, has lasted for `timeout`.
    pub fn poll(&mut self, cx: &mut Context<'_>, timeout: Duration) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + timeout;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}
