//! `audit tail`: from the end of the file to its first line that is asked for, and from there on forwards.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::admin::terminal::Style;
use crate::app::Failure;
use crate::audit::backwards::Backwards;
use crate::audit::chain::LINE_BYTES_MAX;
use crate::audit::event::time_of;
use crate::cli::audit::filter::Filter;
use crate::cli::audit::row::{Row, heading};
use crate::cli::audit::{Tail, failed, file_of, unreadable};

const LINES: u64 = 20;
/// How much later than its request began a line may be written: no request takes longer.
const SLACK: Duration = Duration::from_secs(3600);
/// How long a file that was moved away may still be written to.
const SWITCH_TIME: Duration = Duration::from_secs(1);
/// How often a followed file is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

pub fn run(asked: &Tail) -> Result<(), Failure> {
    let path = match &asked.file {
        Some(file) => file.clone(),
        None => file_of(&asked.config.load()?.0)?,
    };
    let filter = Filter::new(&asked.filter);
    let count = asked.lines.unwrap_or(if filter.has_since() { u64::MAX } else { LINES });
    let mut reader = Reader::open(&path).map_err(|error| unreadable(&path, &error))?;
    let start = start_of(&reader.file, &filter, count).map_err(|error| unreadable(&path, &error))?;
    reader.go_to(start).map_err(|error| unreadable(&path, &error))?;
    let mut printer = Printer { filter, json: asked.json, style: Style::of_stdout() };
    let shown = printer.begin().and_then(|()| printer.print_all(&mut reader)).and_then(|()| {
        if !asked.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(FOLLOW_INTERVAL);
            reader.follow(&mut printer)?;
        }
    });
    match shown {
        // A reader that has seen enough, such as `head`, is no error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        shown => shown.map_err(|error| failed(format!("`{}` cannot be shown: {error}", path.display()))),
    }
}

/// Where the first of the last `count` lines begins that the filter takes.
fn start_of(file: &File, filter: &Filter<'_>, count: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let earliest = filter.earliest(SLACK);
    let mut start = length;
    let mut taken = 0;
    let mut line = Vec::new();
    let mut lines = Backwards::new(file, length);
    while taken < count
        && let Some(range) = lines.line()?
    {
        let size = range.end - range.start;
        if size > LINE_BYTES_MAX as u64 {
            continue;
        }
        line.resize(size as usize, 0);
        file.read_exact_at(&mut line, range.start)?;
        if let (Some(earliest), Some(time)) = (&earliest, time_of(&line))
            && time < earliest.as_str()
        {
            break;
        }
        if Row::parse(&line).is_some_and(|row| filter.takes(&row)) {
            start = range.start;
            taken += 1;
        }
    }
    Ok(start)
}

/// A file that is read forwards, line by line, while it grows.
struct Reader {
    path: PathBuf,
    file: File,
    lines: BufReader<File>,
    /// The beginning of a line whose rest is not there yet.
    part: Vec<u8>,
    /// How far it was read.
    position: u64,
}

impl Reader {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let lines = BufReader::with_capacity(64 * 1024, file.try_clone()?);
        Ok(Self { path: path.to_owned(), file, lines, part: Vec::new(), position: 0 })
    }

    fn go_to(&mut self, position: u64) -> io::Result<()> {
        self.lines.seek(SeekFrom::Start(position))?;
        self.position = position;
        self.part.clear();
        Ok(())
    }

    /// Whether all of the next line is there; it stands in `part` until it is taken.
    fn advance(&mut self) -> io::Result<bool> {
        self.position += self.lines.read_until(b'\n', &mut self.part)? as u64;
        Ok(self.part.last() == Some(&b'\n'))
    }

    /// Prints what has come, and goes over to the next file where this one was moved away or emptied.
    fn follow(&mut self, printer: &mut Printer<'_>) -> io::Result<()> {
        // Asked for before the last look at the old file: what is written until it was moved is in there.
        let now = std::fs::metadata(&self.path);
        printer.print_all(self)?;
        let own = self.file.metadata()?;
        match now {
            Ok(found) if (found.dev(), found.ino()) != (own.dev(), own.ino()) => {
                // Where the new one was made before the gate was told, the gate writes on into the old one for a moment.
                std::thread::sleep(SWITCH_TIME);
                printer.print_all(self)?;
                *self = Self::open(&self.path)?;
                printer.print_all(self)
            }
            Ok(found) if found.len() < self.position && own.len() < self.position => {
                self.go_to(0)?;
                printer.print_all(self)
            }
            // Between two names there is none for a moment.
            _ => Ok(()),
        }
    }
}

struct Printer<'a> {
    filter: Filter<'a>,
    json: bool,
    style: Style,
}

impl Printer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if self.json { Ok(()) } else { io::stdout().write_all(heading(self.style).as_bytes()) }
    }

    /// All lines that are there and asked for.
    fn print_all(&mut self, reader: &mut Reader) -> io::Result<()> {
        let mut out = io::stdout().lock();
        while reader.advance()? {
            let line = std::mem::take(&mut reader.part);
            if let Some(row) = Row::parse(line.trim_ascii_end()).filter(|row| self.filter.takes(row)) {
                if self.json {
                    out.write_all(&line)?;
                } else {
                    out.write_all(row.text(self.style).as_bytes())?;
                }
            }
        }
        out.flush()
    }
}
