//! The order of the house (DESIGN section 3), read off the import lines: arrows point down, and rule books import nothing that does I/O.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the street inwards. A room may import those below it, and none of its own level.
const LEVELS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &["config", "router"],
    &["gateway", "authserver", "admin"],
    &["exchange"],
    &["store", "upstream", "listener", "audit", "limiter", "outbound", "pocket"],
    &["reply", "telemetry", "wording"],
    &["oauth"],
    &["policy"],
];

/// Rooms that everyone above the rule books may use, whatever the level: how this crate answers HTTP, its logs and counters.
const OPEN_TO_ALL: &[&str] = &["reply", "telemetry", "wording"];

const RULE_BOOKS: &[&str] = &["policy", "oauth"];

/// What rule books never name: I/O, clocks, locks, log lines, `async`.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "axum",
    "tracing",
    "redis",
    "redb",
    "rustls",
    "socket2",
    "moka",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::sync::Mutex",
    "std::sync::RwLock",
];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    let mut open = vec![src.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("the source is there") {
            let path = entry.expect("the source is there").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&src).expect("it is below");
                let room = inside.iter().next().expect("a first part").to_string_lossy().trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("the source is text");
                found.push(Source { path, room, text });
            }
        }
    }
    found
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"))
            || self.path.iter().any(|part| part == "tests")
    }

    /// The lines of code before the unit tests, without comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        let all = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        all.lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// The rooms that it names, by `use crate::room` or in place.
    fn imports(&self) -> BTreeSet<String> {
        let name = |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        self.code().flat_map(|line| line.split("crate::").skip(1)).map(name).filter(|name| !name.is_empty()).collect()
    }
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn every_room_has_its_place() {
    for source in sources().iter().filter(|source| source.room != "lib") {
        assert!(level(&source.room).is_some(), "`{}` is in a room that the house does not know", source.path.display());
    }
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room != "lib" && !source.is_test()) {
        for import in source.imports() {
            let own = import == source.room || import == "main";
            let open = OPEN_TO_ALL.contains(&import.as_str()) && !RULE_BOOKS.contains(&source.room.as_str());
            if own || open {
                continue;
            }
            match (level(&source.room), level(&import)) {
                (Some(from), Some(to)) if from < to => {}
                _ => wrong.push(format!("{} imports `{import}`", source.path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "these arrows point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn rule_books_do_no_io() {
    for source in sources().iter().filter(|source| RULE_BOOKS.contains(&source.room.as_str()) && !source.is_test()) {
        for line in source.code() {
            for impure in IMPURE {
                let named = line.contains(&format!("{impure}::")) || line.contains(&format!("use {impure};"));
                assert!(!named, "{}: {line}", source.path.display());
            }
            assert!(!line.contains("async fn") && !line.contains(".await"), "{}: {line}", source.path.display());
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    // A file of unit tests says it by standing next door.
    for source in sources().iter().filter(|source| !source.is_test()) {
        assert!(source.text.starts_with("//! "), "{} opens without `//!`", source.path.display());
    }
}

#[test]
fn there_are_no_globs_and_no_re_exports() {
    for source in sources() {
        for line in source.code().map(str::trim_start).filter(|line| line.starts_with("use ") || line.starts_with("pub use ")) {
            let glob = line.ends_with("::*;") && !source.is_test();
            assert!(!glob && !line.starts_with("pub use "), "{}: {line}", source.path.display());
        }
    }
}

#[test]
fn the_top_level_is_as_designed() {
    let known =
        ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "config", "deploy", "rustfmt.toml", "src", "target", "tests"];
    for entry in fs::read_dir(root()).expect("it is there") {
        let name = entry.expect("it is there").file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || known.contains(&name.as_str()), "`{name}` has no place at the top level");
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README.md");
    for command in ["cargo run --release -- demo", "tests/run"] {
        assert!(readme.contains(command), "`{command}` in README.md");
    }
    let binary = env!("CARGO_BIN_EXE_scopegate");
    let mut seen = 0;
    for line in readme.lines().map(str::trim_start).filter_map(|line| line.trim_start_matches("$ ").strip_prefix("scopegate ")) {
        let words: Vec<&str> =
            line.split_whitespace().take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')).collect();
        let words: Vec<&str> = words.into_iter().take_while(|word| !word.starts_with('-')).take(2).collect();
        let help = |words: &[&str]| {
            let output = std::process::Command::new(binary).args(words).arg("--help").output().expect("the binary is built");
            output.status.success()
        };
        assert!(help(&words) || words.len() > 1 && help(&words[..1]), "README.md names `scopegate {line}`");
        seen += 1;
    }
    assert!(seen > 0 || readme.contains("-- demo"), "README.md shows how to run it");
}
