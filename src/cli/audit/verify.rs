//! `audit verify`: reads the files, and says what it found.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::admin::terminal::progress::Progress;
use crate::admin::terminal::table::Paint;
use crate::admin::terminal::{Style, visible};
use crate::app::Failure;
use crate::audit::chain::ChainKey;
use crate::audit::event::{TIME_END, time_of};
use crate::audit::file::{Noted, note_path, read_note};
use crate::audit::verify::Verifier;
use crate::audit::verify::found::{Expected, Options, Problem, Verified};
use crate::cli::administer::Shown;
use crate::cli::audit::{Verify, failed, file_of, unreadable};
use crate::cli::{EXIT_FAILED, EXIT_USAGE, input};

/// How compressed files begin: gzip, zstd, xz, bzip2.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];

pub fn run(asked: &Verify) -> Result<(), Failure> {
    let (files, keys) = sources(asked)?;
    let mut expected: Vec<Expected> = asked.expect_seq.as_deref().map(expected_seq).transpose()?.into_iter().collect();
    let mut wrong_note = None;
    // Before the log itself: a gate that is running writes the log first.
    if let Some(last) = files.last().filter(|last| !is_stdin(last) && !asked.without_state) {
        let path = note_path(last);
        match read_note(&path, &keys).map_err(|error| unreadable(&path, &error))? {
            Noted::Nothing => {}
            Noted::Last(link) => expected.push(Expected { gate: Some(link.gate), seq: link.seq, value: Some(link.value) }),
            Noted::Wrong => wrong_note = Some(path),
        }
    }
    check_order(&files)?;
    let keyed = !keys.is_empty();
    let mut verifier = Verifier::new(Options { keys, unkeyed_too: asked.unkeyed_too, partial: asked.partial });
    let mut progress = Progress::on_stderr("MB read");
    for path in &files {
        let tell = |bytes: u64| progress.tell(bytes >> 20);
        let read = if is_stdin(path) {
            verifier.read("-", io::stdin().lock(), tell)
        } else {
            File::open(path).and_then(|file| verifier.read(&path.display().to_string(), file, tell))
        };
        read.map_err(|error| unreadable(path, &error))?;
    }
    drop(progress);
    let mut found = verifier.finish(&expected);
    if let Some(path) = wrong_note {
        found.ok = false;
        found.problem_count += 1;
        let problem = "was written with another key, or altered; --without-state does not look at it".to_owned();
        found.problems.push(Problem { file: path.display().to_string(), line: 1, problem });
    }
    Shown::new(&found, |style| text(&found, keyed, style)).print(asked.json)?;
    if found.ok { Ok(()) } else { Err(Failure { exit: EXIT_FAILED, message: String::new() }) }
}

/// What to read, and with which keys. The config is asked for what was not said, so that files from elsewhere need none.
fn sources(asked: &Verify) -> Result<(Vec<PathBuf>, Vec<ChainKey>), Failure> {
    let mut keys = Vec::new();
    for file in &asked.key_file {
        let secret = input::secret(file)?;
        // As the config reads it: the first line.
        keys.push(ChainKey::new(secret.reveal().lines().next().unwrap_or_default().trim().as_bytes()));
    }
    let wanted = asked.files.is_empty() || keys.is_empty() && (asked.config.named().is_some() || asked.config.path().exists());
    if !wanted {
        return Ok((asked.files.clone(), keys));
    }
    let (config, _) = asked.config.load()?;
    let files = if asked.files.is_empty() { vec![file_of(&config)?] } else { asked.files.clone() };
    if keys.is_empty() {
        keys.extend(config.audit.chain_key);
    }
    Ok((files, keys))
}

fn expected_seq(text: &str) -> Result<Expected, Failure> {
    let (gate, seq) = text.rsplit_once(':').map_or((None, text), |(gate, seq)| (Some(gate.into()), seq));
    let usage = |_| Failure {
        exit: EXIT_USAGE,
        message: format!("`{}` is not the number of a line; write it like 1234, or 0a1b2c3d4e5f:1234", visible(text)),
    };
    Ok(Expected { gate, seq: seq.parse().map_err(usage)?, value: None })
}

/// Refuses what would only look like tampering: compressed files, and older ones behind newer ones.
fn check_order(files: &[PathBuf]) -> Result<(), Failure> {
    let mut before: Option<(&Path, String)> = None;
    for path in files.iter().filter(|path| !is_stdin(path)) {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(TIME_END as u64 + 1).read_to_end(&mut head));
        read.map_err(|error| unreadable(path, &error))?;
        if COMPRESSED.iter().any(|magic| head.starts_with(magic)) {
            let name = path.display();
            return Err(failed(format!("`{name}` is compressed; write `zcat {name} | scopegate audit verify -`")));
        }
        let Some(time) = time_of(&head).map(str::to_owned) else { continue };
        if let Some((other, later)) = before.filter(|(_, before)| *before > time) {
            let (older, newer) = (path.display(), other.display());
            return Err(failed(format!("`{older}` begins at {time}, and `{newer}` before it at {later}; name the oldest file first")));
        }
        before = Some((path, time));
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn text(found: &Verified, keyed: bool, style: Style) -> String {
    let mut text = String::new();
    for problem in &found.problems {
        let _ = writeln!(text, "{}:{}: {}", visible(&problem.file), problem.line, visible(&problem.problem));
    }
    let more = found.problem_count - found.problems.len() as u64;
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    for note in &found.notes {
        let _ = writeln!(text, "{}", Paint::Note.over(&format!("note: {}", visible(note)), style));
    }
    if !keyed {
        let note = "note: without a key this finds accidents and clumsy hands; whoever can write the file can compute the chain anew";
        let _ = writeln!(text, "{}", Paint::Note.over(note, style));
    }
    let verdict = if found.ok { Paint::Good.over("whole", style) } else { Paint::Bad.over("NOT WHOLE", style) };
    let _ = write!(text, "{verdict}: {}, ", counted(found.lines, "line"));
    let _ = write!(text, "{} of them requests, by {}", found.requests, counted(found.gates, "gate"));
    if let (Some(from), Some(to)) = (&found.from, &found.to) {
        let _ = write!(text, ", {} to {}", visible(from), visible(to));
    }
    for (count, what) in [(found.lost, "lost by their own word"), (found.torn, "torn"), (found.unchained, "from before the chain")] {
        if count > 0 {
            let _ = write!(text, "; {count} {what}");
        }
    }
    if found.problem_count > 0 {
        let _ = write!(text, "; {}", counted(found.problem_count, "problem"));
    }
    text.push('\n');
    text
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
