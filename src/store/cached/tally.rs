//! Counting on the hot path.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that threads do not fight over: each adds to a cell of its own, as long as there are cells.
#[derive(Default)]
pub struct Tally([TallyCell; TALLY_CELLS]);

/// Alone on its cache line, and on the one that is fetched with it.
#[derive(Default)]
#[repr(align(128))]
struct TallyCell(AtomicU64);

const TALLY_CELLS: usize = 16;

thread_local! {
    static TALLY_CELL: usize = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) as usize % TALLY_CELLS
    };
}

impl Tally {
    pub fn add(&self) {
        self.0[TALLY_CELL.with(|cell| *cell)].0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum()
    }
}
