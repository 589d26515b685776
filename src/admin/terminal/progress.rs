//! How far something long has come, on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Nothing is shown of what takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two lines.
const PAUSE: Duration = Duration::from_millis(100);

/// One line on standard error that is written over and in the end wiped away; nothing where that is no terminal.
pub struct Progress {
    done: &'static str,
    started: Instant,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    pub fn on_stderr(done: &'static str) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { done, started: Instant::now(), shown: None, visible: io::stderr().is_terminal() && !dumb }
    }

    pub fn tell(&mut self, count: u64) {
        let now = Instant::now();
        if self.visible && due(now, self.started, self.shown) {
            self.shown = Some(now);
            let rate = u128::from(count) * 1000 / now.duration_since(self.started).as_millis().max(1);
            // Where nobody sees it, nobody misses it.
            let _ = write!(io::stderr(), "\r\x1b[K{count} {}, {rate} a second", self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn due(now: Instant, started: Instant, shown: Option<Instant>) -> bool {
    now.duration_since(started) >= PATIENCE && shown.is_none_or(|shown| now.duration_since(shown) >= PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_before_the_first_line_and_a_pause_between_two() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (now, shown, due_then) in
            [(0, None, false), (999, None, false), (1_000, None, true), (1_050, Some(1_000), false), (1_100, Some(1_000), true)]
        {
            assert_eq!(due(at(now), start, shown.map(at)), due_then, "{now}");
        }
    }
}
