//! The lines of a file from its end, without reading it whole.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

const BLOCK_BYTES: u64 = 64 * 1024;

/// Where each line stands, the last one first. A line feed at the very end begins no further line.
pub struct Backwards<'f> {
    file: &'f File,
    block: Vec<u8>,
    /// Where the block begins in the file.
    block_start: u64,
    /// The end of the next line, without its line feed; `None` behind the first one.
    end: Option<u64>,
}

impl<'f> Backwards<'f> {
    /// Of the first `length` bytes.
    pub fn new(file: &'f File, length: u64) -> Self {
        Self { file, block: Vec::new(), block_start: length, end: Some(length).filter(|&end| end > 0) }
    }

    /// Where the next line is, without its line feed; what has none at the end of the file is a line too.
    pub fn line(&mut self) -> io::Result<Option<Range<u64>>> {
        let Some(mut end) = self.end else { return Ok(None) };
        let is_first = self.block.is_empty();
        let mut from = end;
        loop {
            if from == self.block_start {
                if from == 0 {
                    self.end = None;
                    return Ok(Some(0..end));
                }
                self.load()?;
                if is_first && from == end && self.block.last() == Some(&b'\n') {
                    end -= 1;
                    from -= 1;
                }
            }
            let known = usize::try_from(from - self.block_start).unwrap_or(usize::MAX);
            match memchr::memrchr(b'\n', &self.block[..known]) {
                Some(at) => {
                    let start = self.block_start + at as u64 + 1;
                    self.end = Some(start - 1);
                    return Ok(Some(start..end));
                }
                None => from = self.block_start,
            }
        }
    }

    /// Reads the block before the one that is there.
    fn load(&mut self) -> io::Result<()> {
        let start = self.block_start.saturating_sub(BLOCK_BYTES);
        self.block.resize((self.block_start - start) as usize, 0);
        self.file.read_exact_at(&mut self.block, start)?;
        self.block_start = start;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_from_the_end_and_none_is_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lines");
        let long = "x".repeat(3 * BLOCK_BYTES as usize);
        let edge = "y".repeat(BLOCK_BYTES as usize - 1);
        for text in
            ["", "\n", "a", "a\n", "a\nb", "a\n\nb\n", "\n\n", &long, &format!("{long}\nb\n{long}\n"), &format!("a\n{edge}\n{edge}\nb")]
        {
            std::fs::write(&path, text).expect("a file");
            let file = File::open(&path).expect("it opens");
            let mut lines = Backwards::new(&file, text.len() as u64);
            let mut found = Vec::new();
            while let Some(range) = lines.line().expect("it is read") {
                found.push(&text[range.start as usize..range.end as usize]);
            }
            found.reverse();
            let expected: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
            let expected = if text.is_empty() { Vec::new() } else { expected };
            assert_eq!(found.len(), expected.len());
            assert!(found == expected, "{:?}", &text[..text.len().min(20)]);
        }
    }
}
