//! What workers hand to the writer: bounded in bytes, never waited for by a worker.
//!
//! What does not fit is lost and counted, and the count stands in the queue at the very place of the loss, so that the log tells of it
//! there. Where the log refuses rather than loses (`on_full`), requests are refused from [`Queue::new`]'s bound on, and the lines of those
//! that were under way by then have as much room again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::audit::OnFull;

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    Begin,
    Lines(Vec<u8>),
    Lost(u64),
    Reopen,
    End,
}

/// Why the writer need not wait on.
#[derive(Debug, PartialEq, Eq)]
pub enum Pause {
    Over,
    Reopen,
    End,
}

pub struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    bytes_max: usize,
    on_full: OnFull,
    /// Whether requests are to be refused.
    blocked: AtomicBool,
    full: AtomicBool,
    failing: AtomicBool,
    lost: AtomicU64,
}

#[derive(Default)]
struct Inner {
    tasks: VecDeque<Task>,
    bytes: usize,
    /// Lines that were lost behind the last task.
    missed: u64,
    end: bool,
}

impl Queue {
    pub fn new(bytes_max: usize, on_full: OnFull) -> Self {
        Self {
            inner: Mutex::default(),
            wake: Condvar::new(),
            bytes_max,
            on_full,
            blocked: AtomicBool::new(false),
            full: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// Hands `lines` on, or counts them as lost.
    pub fn push(&self, lines: Vec<u8>) {
        let mut inner = self.lock();
        let room = match self.on_full {
            OnFull::Count => self.bytes_max,
            OnFull::Refuse => self.bytes_max.saturating_mul(2),
        };
        if inner.bytes > 0 && inner.bytes + lines.len() > room {
            let count = memchr::memchr_iter(b'\n', &lines).count() as u64;
            inner.missed += count;
            self.lost.fetch_add(count, Ordering::Relaxed);
            return;
        }
        if inner.missed > 0 {
            let missed = std::mem::take(&mut inner.missed);
            inner.tasks.push_back(Task::Lost(missed));
        }
        inner.bytes += lines.len();
        inner.tasks.push_back(Task::Lines(lines));
        self.settle(&inner);
        self.wake.notify_one();
    }

    /// Counts lines that are not even tried to be written, and that the log is to tell of.
    pub fn lose(&self, count: u64) {
        self.lock().missed += count;
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Has the output opened anew, behind what was handed on so far.
    pub fn reopen(&self) {
        self.order(Task::Reopen);
    }

    pub fn begin(&self) {
        self.order(Task::Begin);
    }

    fn order(&self, task: Task) {
        let mut inner = self.lock();
        if !inner.tasks.contains(&task) {
            inner.tasks.push_back(task);
            self.wake.notify_one();
        }
    }

    /// Has the writer end when everything is written.
    pub fn end(&self) {
        self.lock().end = true;
        self.wake.notify_one();
    }

    /// The next task, when there is one.
    pub fn take(&self) -> Task {
        let mut inner = self.lock();
        loop {
            if let Some(task) = inner.tasks.pop_front() {
                if let Task::Lines(lines) = &task {
                    inner.bytes -= lines.len();
                    self.settle(&inner);
                }
                return task;
            }
            if inner.missed > 0 {
                return Task::Lost(std::mem::take(&mut inner.missed));
            }
            if inner.end {
                return Task::End;
            }
            inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for `time`, unless what hinders the writer may be gone sooner.
    pub fn pause(&self, time: Duration) -> Pause {
        let stays = |inner: &mut Inner| !inner.end && !inner.tasks.contains(&Task::Reopen);
        let (mut inner, _) = self.wake.wait_timeout_while(self.lock(), time, stays).unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = inner.tasks.iter().position(|task| *task == Task::Reopen) {
            inner.tasks.remove(at);
            return Pause::Reopen;
        }
        if inner.end { Pause::End } else { Pause::Over }
    }

    /// Gives up on everything that is left, and says how many lines that is.
    pub fn give_up(&self) -> u64 {
        let mut inner = self.lock();
        let tasks = std::mem::take(&mut inner.tasks);
        inner.bytes = 0;
        let lines = tasks.iter().map(|task| match task {
            Task::Lines(lines) => memchr::memchr_iter(b'\n', lines).count() as u64,
            _ => 0,
        });
        let count = lines.sum();
        self.lost.fetch_add(count, Ordering::Relaxed);
        count
    }

    /// Says whether the output takes lines at the moment.
    pub fn set_failing(&self, failing: bool) {
        let inner = self.lock();
        self.failing.store(failing, Ordering::Relaxed);
        self.settle(&inner);
    }

    /// Whether requests are to be refused, because they could not be put on record.
    pub fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether there is room for what must be on record only.
    pub fn full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether the last try to write failed, or lines have been waiting for too long.
    pub fn stuck(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.full()
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn settle(&self, inner: &Inner) {
        let full = inner.bytes >= self.bytes_max;
        self.full.store(full, Ordering::Relaxed);
        let failing = self.failing.load(Ordering::Relaxed);
        self.blocked.store(self.on_full == OnFull::Refuse && (full || failing), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<u8> {
        b"0123456\n".repeat(count)
    }

    #[test]
    fn what_does_not_fit_is_told_of_where_it_is_missing() {
        let queue = Queue::new(80, OnFull::Count);
        queue.push(lines(8));
        queue.push(lines(3));
        queue.push(lines(4));
        assert_eq!((queue.lost(), queue.blocked()), (7, false));
        queue.push(lines(2));
        queue.push(lines(1));
        queue.end();
        let taken: Vec<Task> = std::iter::repeat_with(|| queue.take()).take(4).collect();
        assert_eq!(taken, [Task::Lines(lines(8)), Task::Lost(7), Task::Lines(lines(2)), Task::Lost(1)]);
        assert_eq!(queue.take(), Task::End);
    }

    #[test]
    fn a_log_that_refuses_has_room_for_what_was_under_way() {
        let queue = Queue::new(80, OnFull::Refuse);
        queue.push(lines(10));
        assert!(queue.blocked() && queue.full());
        queue.push(lines(10));
        assert_eq!(queue.lost(), 0);
        queue.push(lines(1));
        assert_eq!(queue.lost(), 1);
        queue.take();
        queue.take();
        assert!(!queue.blocked() && !queue.full());
    }

    #[test]
    fn a_write_error_blocks_where_the_log_refuses() {
        for (on_full, blocked) in [(OnFull::Count, false), (OnFull::Refuse, true)] {
            let queue = Queue::new(80, on_full);
            queue.set_failing(true);
            assert_eq!((queue.blocked(), queue.stuck()), (blocked, true));
            queue.set_failing(false);
            assert_eq!((queue.blocked(), queue.stuck()), (false, false));
        }
    }

    #[test]
    fn one_line_longer_than_the_queue_still_goes_through() {
        let queue = Queue::new(4, OnFull::Count);
        queue.push(lines(1));
        assert_eq!((queue.take(), queue.lost()), (Task::Lines(lines(1)), 0));
    }

    #[test]
    fn a_writer_that_waits_is_told_of_another_file_and_of_the_end() {
        let queue = Queue::new(80, OnFull::Count);
        queue.push(lines(1));
        queue.reopen();
        queue.reopen();
        let long = Duration::from_secs(60);
        assert_eq!(queue.pause(long), Pause::Reopen);
        assert_eq!(queue.pause(Duration::ZERO), Pause::Over);
        queue.end();
        assert_eq!(queue.pause(long), Pause::End);
        assert_eq!((queue.give_up(), queue.lost()), (1, 1));
    }
}
