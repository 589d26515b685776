//! Whether a log is whole: every line where it was written, as it was written, and none missing.
//!
//! Files are read once, in order, in constant memory. A line that was removed, altered, moved, doubled or put in shows by its number or
//! its chain, or by those of the next line; each makes one problem, behind which the chain is taken up again. Lines that were cut off at the
//! very end leave nothing behind that could tell: that takes an [`Expected`], from the note beside the file or from elsewhere.

pub mod found;

use std::collections::HashMap;
use std::io::{self, Read};

use foldhash::fast::RandomState;

use crate::audit::chain::{LINE_BYTES_MAX, Link, NONE_BEFORE, Sealed, Value, fingerprint, recompute};
use crate::audit::event::{EventRead, Kind, LinkRead, TIME, Torn, time_of};
use crate::audit::verify::found::{Expected, Options, Problem, TOLD_MAX, Verified};

const BLOCK_BYTES: usize = 256 * 1024;
/// Gates that are remembered, at about 100 bytes each. With more, those that ended are forgotten.
const GATES_MAX: usize = 100_000;

/// What a gate's lines are chained with.
#[derive(Clone, Copy)]
enum Keyed {
    Not,
    With(usize),
    /// With a key that is not here: only numbers can be checked.
    Unknown,
}

struct Gate {
    seq: u64,
    value: Value,
    keyed: Keyed,
    ended: bool,
}

/// A line without a chain, which the next line may account for.
struct Loose {
    file: String,
    line: u64,
    torn: Torn,
    /// Whether it may be the beginning of a line.
    fragment: bool,
    terminated: bool,
}

pub struct Verifier {
    options: Options,
    found: Verified,
    gates: HashMap<Box<str>, Gate, RandomState>,
    last: Option<Link>,
    loose: Option<Loose>,
    /// In the present file.
    file: String,
    line: u64,
    offset: u64,
    /// Whether a line of the present file had a chain.
    chained: bool,
    /// Lines of the present file before the first with a chain.
    unchained: u64,
    scratch: Vec<u8>,
}

impl Verifier {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            found: Verified::default(),
            gates: HashMap::default(),
            last: None,
            loose: None,
            file: String::new(),
            line: 0,
            offset: 0,
            chained: false,
            unchained: 0,
            scratch: Vec::new(),
        }
    }

    /// Reads the next file of the log. `progress` is told how many bytes were read so far.
    pub fn read(&mut self, name: &str, mut input: impl Read, mut progress: impl FnMut(u64)) -> io::Result<()> {
        name.clone_into(&mut self.file);
        self.found.files.push(self.file.clone());
        (self.line, self.offset, self.chained, self.unchained) = (0, 0, false, 0);
        let mut buffer = vec![0; BLOCK_BYTES];
        let (mut filled, mut skipping) = (0, false);
        loop {
            let count = match input.read(&mut buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if count == 0 {
                break;
            }
            let searched = filled;
            filled += count;
            self.found.bytes += count as u64;
            let mut start = 0;
            let mut from = searched;
            while let Some(at) = memchr::memchr(b'\n', &buffer[from..filled]) {
                let end = from + at;
                if !std::mem::take(&mut skipping) {
                    self.line(&buffer[start..end], true);
                }
                self.offset += (end + 1 - start) as u64;
                start = end + 1;
                from = start;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
            if filled > LINE_BYTES_MAX {
                if !std::mem::replace(&mut skipping, true) {
                    self.line += 1;
                    self.found.lines += 1;
                    self.problem("is longer than any line that a gate writes");
                }
                self.offset += filled as u64;
                filled = 0;
            } else if filled + BLOCK_BYTES / 4 > buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            progress(self.found.bytes);
        }
        if filled > 0 && !skipping {
            self.line(&buffer[..filled], false);
        }
        if !self.chained && self.unchained > 0 {
            self.problem_at(1, format!("none of the {} in this file has a chain", lines(self.unchained)));
            self.loose = None;
        }
        Ok(())
    }

    /// What was found in all files. `expected` must be in them.
    pub fn finish(mut self, expected: &[Expected]) -> Verified {
        if let Some(loose) = self.loose.take() {
            if loose.fragment && !loose.terminated {
                self.note("the last line is torn: the gate is writing it now, or was killed".to_owned());
            } else {
                self.problem_in(loose.file, loose.line, NO_LINE.to_owned());
            }
        }
        for expected in expected {
            self.hold_against(expected);
        }
        if expected.is_empty() && self.last.as_ref().is_some_and(|last| self.gates.get(&last.gate).is_some_and(|gate| !gate.ended)) {
            let seq = self.last.as_ref().map_or(0, |last| last.seq);
            self.note(format!(
                "the last gate has no end line: it still runs, was killed, or the log is cut off behind its line {seq}, which --expect-seq would tell"
            ));
        }
        self.found.ok = self.found.problem_count == 0;
        self.found
    }

    fn hold_against(&mut self, expected: &Expected) {
        let Some(name) = expected.gate.clone().or_else(|| self.last.as_ref().map(|last| last.gate.clone())) else {
            return self.problem(format!("there is no line here, and line {} was written", expected.seq));
        };
        let problem = match self.gates.get(&name) {
            None => Some(format!("gate {name} wrote line {} last, and no line of it is here", expected.seq)),
            Some(gate) if gate.seq < expected.seq => {
                let missing = lines(expected.seq - gate.seq);
                Some(format!("the log is cut off: gate {name} ends here with line {}, and {missing} more were written", gate.seq))
            }
            Some(gate) if gate.seq == expected.seq && expected.value.is_some_and(|value| value != gate.value) => {
                Some(format!("line {} of gate {name} is another than was written last", gate.seq))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            self.problem(problem);
        }
    }

    fn line(&mut self, line: &[u8], terminated: bool) {
        self.line += 1;
        self.found.lines += 1;
        let Some(sealed) = Sealed::parse(line) else { return self.without_chain(line, terminated) };
        if let Some(time) = time_of(line) {
            if self.found.from.as_deref().is_none_or(|from| time < from) {
                self.found.from = Some(time.to_owned());
            }
            match &mut self.found.to {
                Some(to) if time > to.as_str() => time.clone_into(to),
                Some(_) => {}
                to @ None => *to = Some(time.to_owned()),
            }
        }
        let event = match EventRead::parse(line) {
            None => {
                self.found.requests += 1;
                None
            }
            // What it says counts only where the chain holds; what does not read is judged by the chain alone.
            Some(read) => read.ok(),
        };
        self.account_for_loose(event.as_ref());
        if let Some(event) = &event
            && event.event == Kind::Lost
        {
            self.found.lost += event.lost;
            self.note(format!("{} lost before line {} of {}, as the log says itself", lines(event.lost), self.line, self.file));
        }
        let ends = event.as_ref().is_some_and(|event| event.event == Kind::End);
        let known = self.gates.get(sealed.gate).map(|gate| (gate.seq, gate.value, gate.keyed));
        match known {
            Some(before) => self.link(&sealed, before, event),
            None => self.first_of_gate(&sealed, event),
        }
        if let Some(gate) = self.gates.get_mut(sealed.gate) {
            gate.ended |= ends;
        }
        // None may stand before the first with a chain, but those that it was told of.
        if !std::mem::replace(&mut self.chained, true) && self.unchained > 0 {
            self.problem_at(1, format!("{} put in before the first with a chain", lines(self.unchained)));
        }
    }

    /// A line of a gate of which lines came before.
    fn link(&mut self, sealed: &Sealed<'_>, (seq, value, keyed): (u64, Value, Keyed), event: Option<EventRead>) {
        let gate = sealed.gate;
        if sealed.seq <= seq {
            return self
                .problem(format!("line {} of gate {gate} stands here behind line {seq}: it was doubled, moved or put in", sealed.seq));
        }
        // A line that opens a file names the one before, so it is checked even behind a gap.
        let named = event.filter(|event| event.event == Kind::Continue).and_then(|event| event.follows).and_then(LinkRead::link);
        let before = if sealed.seq == seq + 1 { Some(value) } else { named.map(|link| link.value) };
        if sealed.seq > seq + 1 {
            let (from, to) = (seq + 1, sealed.seq - 1);
            let which = if from == to { format!("line {from}") } else { format!("lines {from} to {to}") };
            self.problem(format!("{which} of gate {gate} missing before this one"));
        }
        if let Some(before) = before
            && !self.holds(keyed, &before, sealed)
        {
            self.problem(format!("{ALTERED} (line {} of gate {gate})", sealed.seq));
        }
        if let Some(gate) = self.gates.get_mut(gate) {
            (gate.seq, gate.value) = (sealed.seq, sealed.value);
        }
        match &mut self.last {
            Some(last) if *last.gate == *gate => (last.seq, last.value) = (sealed.seq, sealed.value),
            last => *last = Some(sealed.link()),
        }
    }

    /// The first line of a gate that is seen, which should be the first that it wrote, or the first of a file.
    fn first_of_gate(&mut self, sealed: &Sealed<'_>, event: Option<EventRead>) {
        let gate = sealed.gate;
        let kind = event.as_ref().map(|event| event.event);
        let keyed = match &event {
            Some(event) if matches!(kind, Some(Kind::Start | Kind::Continue)) => self.keyed(event.key.as_deref()),
            _ if self.options.keys.is_empty() => Keyed::Not,
            _ => Keyed::With(0),
        };
        let named = event.as_ref().is_some_and(|event| event.follows.is_some());
        let (output, offset) = event.as_ref().map_or((None, 0), |event| (event.output.clone(), event.offset));
        let follows = event.and_then(|event| event.follows).and_then(LinkRead::link);
        let before = match kind {
            Some(Kind::Start) if sealed.seq == 1 => Some(NONE_BEFORE),
            Some(Kind::Continue) => follows.as_ref().map(|link| link.value),
            _ => None,
        };
        match (before, kind) {
            (Some(before), _) if !self.holds(keyed, &before, sealed) => {
                self.problem(format!("{ALTERED} (line {} of gate {gate})", sealed.seq));
            }
            (Some(_), Some(Kind::Start)) => self.behind(follows, named, output.as_deref(), offset),
            (Some(_), _) if self.is_oldest() => {
                self.note(format!("begins with line {} of gate {gate}; what it wrote before is in a file before these", sealed.seq));
            }
            _ if self.options.partial => {
                self.note(format!("begins with line {} of gate {gate}, which nothing here vouches for", sealed.seq));
            }
            _ => {
                let missing = lines(sealed.seq.saturating_sub(1));
                self.problem(format!(
                    "gate {gate} begins with line {}: the {missing} before were removed, or are in a file that was not named",
                    sealed.seq
                ));
            }
        }
        if self.gates.len() >= GATES_MAX {
            self.gates.retain(|_, gate| !gate.ended);
        }
        self.found.gates += 1;
        self.gates.insert(gate.into(), Gate { seq: sealed.seq, value: sealed.value, keyed, ended: false });
        self.last = Some(sealed.link());
    }

    /// Whether a gate began behind the line that it names.
    fn behind(&mut self, follows: Option<Link>, named: bool, output: Option<&str>, offset: u64) {
        // What stood before it in its file is still there, to the byte; line by line that is only known of lines with a chain.
        if !self.chained && output == Some("file") && offset != self.offset {
            self.problem(format!(
                "stood at byte {offset} of its file, and stands at byte {} now: what was before it is another",
                self.offset
            ));
        } else if !self.chained && self.unchained > 0 && follows.is_none() {
            self.found.unchained += self.unchained;
            self.note(format!("{} of {} are from before there was a chain", lines(self.unchained), self.file));
            self.unchained = 0;
        }
        let Some(follows) = follows else {
            if named {
                self.problem("names the line before it in no form that a gate writes");
            } else if output == Some("file") && self.last.is_some() {
                self.problem("a gate begins here and knows of no line before it");
            }
            return;
        };
        if self.last.as_ref() == Some(&follows) {
            return;
        }
        let (name, seq) = (&follows.gate, follows.seq);
        let known = self.gates.get(name).map(|gate| (gate.seq, gate.value));
        match known {
            Some((last, value)) if last == seq && value == follows.value => {}
            Some((last, _)) if last > seq => {
                self.note(format!("at line {} of {} a gate begins while gate {name} still writes", self.line, self.file));
            }
            Some((last, _)) if last < seq => {
                let missing = lines(seq - last);
                self.problem(format!("{missing} of gate {name} missing before this one: it ends with line {last}, and wrote {seq}"));
            }
            Some(_) => self.problem(format!("comes behind another line {seq} of gate {name} than the one here")),
            None if self.is_oldest() => {
                self.note(format!("begins behind line {seq} of gate {name}, which is in a file before these"));
            }
            None => self.problem(format!("comes behind line {seq} of gate {name}, and no line of it is here")),
        }
    }

    /// Whether what came before may be in a file that is no longer kept.
    fn is_oldest(&self) -> bool {
        self.options.partial || self.last.is_none() && self.found.files.len() == 1
    }

    fn keyed(&mut self, name: Option<&str>) -> Keyed {
        let Some(name) = name else {
            if !self.options.keys.is_empty() && !self.options.unkeyed_too {
                self.problem("begins a chain without a key, although there is one; --unkeyed-too takes that for granted");
            }
            return Keyed::Not;
        };
        if let Some(at) = self.options.keys.iter().position(|key| key.name() == name) {
            return Keyed::With(at);
        }
        let what = if self.options.keys.is_empty() { "no key is named" } else { "no key that is named is it" };
        self.problem(format!("is chained with the key called {name}, and {what}; name it with --key-file"));
        Keyed::Unknown
    }

    fn holds(&mut self, keyed: Keyed, before: &Value, sealed: &Sealed<'_>) -> bool {
        let key = match keyed {
            Keyed::Not => None,
            Keyed::With(at) => Some(&self.options.keys[at]),
            Keyed::Unknown => return true,
        };
        recompute(key, before, sealed.covered, &mut self.scratch) == sealed.value
    }

    fn without_chain(&mut self, line: &[u8], terminated: bool) {
        if !self.chained {
            self.unchained += 1;
        }
        let torn = Torn { bytes: line.len() as u64, sha256: fingerprint(line) };
        let loose = Loose { file: self.file.clone(), line: self.line, torn, fragment: is_fragment(line), terminated };
        // Before the first line with a chain they are judged together.
        let judged_alone = self.chained || self.unchained == 1;
        if let Some(before) = self.loose.replace(loose).filter(|_| judged_alone) {
            self.problem_in(before.file, before.line, NO_LINE.to_owned());
        }
    }

    /// A line that begins a process or a file tells of a torn one before it; nothing else may stand between two lines.
    fn account_for_loose(&mut self, event: Option<&EventRead>) {
        let told = event.and_then(|event| event.torn.as_ref());
        let starts = event.is_some_and(|event| event.event == Kind::Start);
        match (self.loose.take(), told) {
            (None, None) => {}
            (Some(loose), Some(told)) if loose.torn == *told => {
                self.found.torn += 1;
                self.note(format!("line {} of {} is torn, and the next one says so", loose.line, loose.file));
                if !self.chained && self.unchained == 1 && !starts {
                    self.unchained = 0;
                }
            }
            (None, Some(told)) => {
                if self.last.is_some() || starts {
                    self.problem(format!("says that a torn line of {} bytes stands before it, and none does", told.bytes));
                }
            }
            (Some(_), None) if !self.chained && self.unchained > 0 => {}
            (Some(loose), _) => self.problem_in(loose.file, loose.line, NO_LINE.to_owned()),
        }
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problem_at(self.line, problem.into());
    }

    fn problem_at(&mut self, line: u64, problem: String) {
        self.problem_in(self.file.clone(), line, problem);
    }

    fn problem_in(&mut self, file: String, line: u64, problem: String) {
        self.found.problem_count += 1;
        if self.found.problems.len() < TOLD_MAX {
            self.found.problems.push(Problem { file, line, problem });
        }
    }

    fn note(&mut self, note: String) {
        if self.found.notes.len() < TOLD_MAX {
            self.found.notes.push(note);
        }
    }
}

const ALTERED: &str = "was altered, or put in: its chain does not hold";
const NO_LINE: &str = "is no whole line of the log: it was altered, broken off or put in";

/// Whether this may be the beginning of a line, or what a file system leaves of one that never came to the disk.
fn is_fragment(line: &[u8]) -> bool {
    let whole_inside = memchr::memmem::find_iter(line, b"\"}").any(|at| Sealed::parse(&line[..at + 2]).is_some());
    !whole_inside && (line.starts_with(TIME) || TIME.starts_with(line) || line.iter().all(|&byte| byte == 0))
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

#[cfg(test)]
mod tests;
