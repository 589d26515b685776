//! Every single line that was tampered with is found, and nothing else.

use std::time::Duration;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;

use super::*;
use crate::audit::chain::{Chain, ChainKey};
use crate::audit::event::{Event, Start};
use crate::audit::record::AuditRecord;
use crate::audit::record::tests::record;

/// Lines, each with the file it is in.
type Lines = Vec<(usize, Vec<u8>)>;
type Change = Box<dyn Fn(&mut Lines)>;

/// What happens to a gate between two requests.
#[derive(Clone, Copy, Debug)]
enum Step {
    Request,
    Rotate,
    /// It ends in order, and begins again.
    Restart,
    /// It is killed within a line, and begins again.
    Kill,
    /// The disk is full within a line, and the file is rotated.
    RotateTorn,
    Lose,
}

/// Files as a gate leaves them, each a list of lines with their line feeds.
struct Log {
    files: Vec<Vec<u8>>,
    last: Link,
}

fn key() -> ChainKey {
    ChainKey::new(b"0123456789abcdef0123456789abcdef")
}

fn start(keyed: bool, follows: Option<Link>, torn: Option<Torn>, offset: usize) -> Event<'static> {
    let key = keyed.then(|| &*key().name().to_owned().leak());
    Event::Start(Start { host: None, process: 7, output: "file", key, follows, torn, offset: offset as u64 })
}

/// The log that these steps leave behind.
fn log(steps: &[Step], keyed: bool) -> Log {
    let mut files = vec![Vec::new()];
    let mut gates = 0;
    let mut chain_of = || {
        gates += 1;
        Chain::new(format!("{gates:012x}").into(), keyed.then(key))
    };
    let mut chain = chain_of();
    let now = Duration::from_secs(1_795_000_000);
    chain.seal(&start(keyed, None, None, 0).line(now), &mut files[0]);
    let fragment = br#"{"time":"2026-11-18T11:06:40.120003Z","request_id":"01"#;
    for (at, step) in steps.iter().enumerate() {
        let file = files.last_mut().expect("there is one");
        let last = chain.last().clone();
        match step {
            Step::Request => {
                let id = format!("{at:024x}");
                let mut line = Vec::new();
                AuditRecord { request_id: &id, ..record() }.write(&mut line);
                chain.seal(line.trim_ascii_end(), file);
            }
            Step::Lose => chain.seal(&Event::Lost(3).line(now), file),
            Step::Rotate | Step::RotateTorn => {
                let torn = matches!(step, Step::RotateTorn).then_some(&fragment[..]);
                file.extend_from_slice(torn.unwrap_or_default());
                let mut next = Vec::new();
                let name = keyed.then(|| key().name().to_owned());
                let torn = torn.and_then(Torn::of);
                chain.seal(&Event::Continue { key: name.as_deref(), follows: last, torn }.line(now), &mut next);
                files.push(next);
            }
            Step::Restart => {
                chain.seal(&Event::End.line(now), file);
                let follows = Some(chain.last().clone());
                chain = chain_of();
                chain.seal(&start(keyed, follows, None, file.len()).line(now), file);
            }
            Step::Kill => {
                file.extend_from_slice(fragment);
                file.push(b'\n');
                chain = chain_of();
                chain.seal(&start(keyed, Some(last), Torn::of(fragment), file.len()).line(now), file);
            }
        }
    }
    Log { files, last: chain.last().clone() }
}

fn verified(files: &[Vec<u8>], keyed: bool, last: &Link) -> Verified {
    let keys = if keyed { vec![key()] } else { Vec::new() };
    let mut verifier = Verifier::new(Options { keys, ..Options::default() });
    for (at, file) in files.iter().enumerate() {
        verifier.read(&format!("{at}"), &file[..], |_| ()).expect("memory is read");
    }
    verifier.finish(&[Expected { gate: Some(last.gate.clone()), seq: last.seq, value: Some(last.value) }])
}

/// The lines of all files, each with the file it is in.
fn split(files: &[Vec<u8>]) -> Lines {
    let of =
        |(at, file): (usize, &Vec<u8>)| file.split_inclusive(|&byte| byte == b'\n').map(|line| (at, line.to_vec())).collect::<Vec<_>>();
    files.iter().enumerate().flat_map(of).collect()
}

fn joined(lines: &[(usize, Vec<u8>)], files: usize) -> Vec<Vec<u8>> {
    let mut joined = vec![Vec::new(); files];
    for (at, line) in lines {
        joined[*at].extend_from_slice(line);
    }
    joined
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{Kill, Lose, Request, Restart, Rotate, RotateTorn};
    proptest::sample::select(vec![Request, Request, Request, Request, Request, Rotate, Restart, Kill, RotateTorn, Lose])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_untouched_log_passes(steps in proptest::collection::vec(step(), 0..40), keyed in any::<bool>()) {
        let log = log(&steps, keyed);
        let found = verified(&log.files, keyed, &log.last);
        prop_assert!(found.ok, "{found:#?}");
        prop_assert_eq!(found.requests, steps.iter().filter(|step| matches!(step, Step::Request)).count() as u64);
        prop_assert_eq!(found.torn, steps.iter().filter(|step| matches!(step, Step::Kill | Step::RotateTorn)).count() as u64);
        prop_assert_eq!(found.lost, 3 * steps.iter().filter(|step| matches!(step, Step::Lose)).count() as u64);
        // Whatever is left of the oldest files can be checked by itself.
        for from in 0..log.files.len() {
            let found = verified(&log.files[from..], keyed, &log.last);
            prop_assert!(found.ok, "{found:#?}");
        }
    }

    #[test]
    fn every_tampering_with_one_line_is_found(
        steps in proptest::collection::vec(step(), 1..25),
        keyed in any::<bool>(),
        (one, other, byte, to) in (any::<Index>(), any::<Index>(), any::<Index>(), any::<u8>()),
    ) {
        let log = log(&steps, keyed);
        let whole = split(&log.files);
        let (one, other) = (one.index(whole.len()), other.index(whole.len()));
        let tampered = |what: &str, change: &dyn Fn(&mut Lines)| {
            let mut lines = whole.clone();
            change(&mut lines);
            let files = joined(&lines, log.files.len());
            let found = verified(&files, keyed, &log.last);
            // A line feed less at the end of a file takes nothing away.
            let same = files.iter().zip(&log.files).all(|(one, other)| one.strip_suffix(b"\n").unwrap_or(one) == other.strip_suffix(b"\n").unwrap_or(other));
            assert!(same || !found.ok, "{what} of line {one} ({other}) of {steps:?} was not found");
        };
        tampered("removal", &|lines| drop(lines.remove(one)));
        tampered("doubling", &|lines| lines.insert(one, lines[one].clone()));
        tampered("a copy elsewhere", &|lines| lines.insert(other, (lines[other].0, lines[one].1.clone())));
        tampered("exchange", &|lines| {
            let line = lines[one].1.clone();
            lines[one].1 = std::mem::replace(&mut lines[other].1, line);
        });
        tampered("another byte", &|lines| {
            let at = byte.index(lines[one].1.len());
            lines[one].1[at] = to;
        });
        tampered("a byte less", &|lines| {
            let at = byte.index(lines[one].1.len());
            lines[one].1.remove(at);
        });
        // A copy behind another line, with the number that would come there.
        tampered("insertion with an edited number", &|lines| {
            let (Some(before), Some(copied)) = (Sealed::parse(lines[other].1.trim_ascii_end()), Sealed::parse(lines[one].1.trim_ascii_end()))
            else { return };
            let text = String::from_utf8(lines[one].1.clone()).expect("text");
            let from = format!("\"gate\":\"{}\",\"seq\":{}", copied.gate, copied.seq);
            let to = format!("\"gate\":\"{}\",\"seq\":{}", before.gate, before.seq + 1);
            let copy = text.replace(&from, &to).into_bytes();
            lines.insert(other + 1, (lines[other].0, copy));
        });
    }
}

fn simple(keyed: bool) -> Log {
    log(&[Step::Request; 8], keyed)
}

/// The log with one change to its lines.
fn changed(log: &Log, change: impl FnOnce(&mut Lines)) -> Vec<Vec<u8>> {
    let mut lines = split(&log.files);
    change(&mut lines);
    joined(&lines, log.files.len())
}

#[test]
fn one_tampering_is_one_problem_at_its_line() {
    let log = simple(true);
    for (change, line, told) in [
        (Box::new(|lines: &mut Vec<_>| drop(lines.remove(4))) as Change, 5, "line 5 of gate 000000000001 missing"),
        (Box::new(|lines| lines.insert(4, lines[4].clone())), 6, "line 5 of gate 000000000001 stands here behind line 5"),
        (Box::new(|lines| lines[4].1[60] ^= 1), 5, "was altered"),
        (Box::new(|lines| lines.insert(4, (0, b"{}\n".to_vec()))), 5, "is no whole line of the log"),
        (Box::new(|lines| drop(lines.pop())), 8, "the log is cut off"),
        (Box::new(|lines| drop(lines.remove(0))), 1, "begins with line 2: the 1 line before were removed"),
    ] {
        let found = verified(&changed(&log, change), true, &log.last);
        assert_eq!((found.problem_count, found.problems[0].line), (1, line), "{told}: {found:#?}");
        assert!(found.problems[0].problem.contains(told), "{told}: {found:#?}");
    }
}

#[test]
fn who_can_write_the_file_but_has_no_key_is_found_and_without_a_key_is_not() {
    for keyed in [false, true] {
        let log = simple(keyed);
        // The whole chain is computed anew, over other lines.
        let mut forged = Vec::new();
        let mut chain = Chain::new("000000000001".into(), None);
        for (_, line) in split(&log.files).iter().filter(|(_, line)| !line.windows(7).any(|part| part == b"0000005")) {
            chain.seal(Sealed::parse(line.trim_ascii_end()).expect("it is whole").body, &mut forged);
        }
        let mut verifier = Verifier::new(Options { keys: keyed.then(key).into_iter().collect(), ..Options::default() });
        verifier.read("forged", &forged[..], |_| ()).expect("memory is read");
        assert_eq!(verifier.finish(&[]).ok, !keyed);
    }
}

#[test]
fn a_key_is_asked_for_and_a_chain_without_one_is_not_taken_for_one_with() {
    let run = |keyed: bool, keys: Vec<ChainKey>, unkeyed_too: bool| {
        let mut verifier = Verifier::new(Options { keys, unkeyed_too, partial: false });
        verifier.read("log", &simple(keyed).files[0][..], |_| ()).expect("memory is read");
        verifier.finish(&[])
    };
    let missing = run(true, Vec::new(), false);
    assert!(missing.problem_count == 1 && missing.problems[0].problem.contains("no key is named"), "{missing:#?}");
    let wrong = run(true, vec![ChainKey::new(b"another")], false);
    assert!(wrong.problem_count == 1 && wrong.problems[0].problem.contains("no key that is named is it"), "{wrong:#?}");
    assert!(run(true, vec![ChainKey::new(b"another"), key()], false).ok);
    let without = run(false, vec![key()], false);
    assert!(without.problem_count == 1 && without.problems[0].problem.contains("without a key"), "{without:#?}");
    assert!(run(false, vec![key()], true).ok);
}

#[test]
fn a_part_of_a_journal_in_which_two_gates_write_passes_where_that_is_said() {
    let mut parts = Vec::new();
    for gate in ["00000000000a", "00000000000b"] {
        let mut chain = Chain::new(gate.into(), None);
        let mut out = Vec::new();
        for at in 0..10 {
            let mut line = Vec::new();
            AuditRecord { bytes_in: at, ..record() }.write(&mut line);
            chain.seal(line.trim_ascii_end(), &mut out);
        }
        parts.push(split(&[out]));
    }
    let mixed: Vec<u8> = (4..10).flat_map(|at| [parts[0][at].1.clone(), parts[1][at].1.clone()].concat()).collect();
    let run = |text: &[u8], partial: bool| {
        let mut verifier = Verifier::new(Options { partial, ..Options::default() });
        verifier.read("-", text, |_| ()).expect("memory is read");
        verifier.finish(&[])
    };
    let found = run(&mixed, true);
    assert!(found.ok && found.gates == 2, "{found:#?}");
    assert_eq!(run(&mixed, false).problem_count, 2);
    let text = String::from_utf8(mixed).expect("text");
    assert!(!run(text.replacen("\"bytes_in\":6", "\"bytes_in\":7", 1).as_bytes(), true).ok);
}

#[test]
fn files_out_of_order_are_a_problem() {
    let log = log(&[Step::Request, Step::Rotate, Step::Request, Step::Rotate, Step::Request], false);
    let order = |at: [usize; 3]| verified(&at.map(|at| log.files[at].clone()), false, &log.last).ok;
    assert!(order([0, 1, 2]));
    for wrong in [[1, 0, 2], [0, 2, 1], [2, 1, 0]] {
        assert!(!order(wrong), "{wrong:?}");
    }
    assert!(!verified(&[log.files[0].clone(), log.files[2].clone()], false, &log.last).ok);
}

#[test]
fn what_is_no_log_is_a_problem_and_not_a_panic() {
    for text in [&b"hello\n"[..], b"\n\n\n", &[0xff; 3_000_000], &[0; 100], b"{\"time\":\"x\"}"] {
        let mut verifier = Verifier::new(Options::default());
        verifier.read("-", text, |_| ()).expect("memory is read");
        let found = verifier.finish(&[]);
        assert!(!found.ok && found.problem_count == 1, "{found:#?}");
    }
    assert!(Verifier::new(Options::default()).finish(&[]).ok);
    assert!(!Verifier::new(Options::default()).finish(&[Expected { gate: None, seq: 1, value: None }]).ok);
}
