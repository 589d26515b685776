//! What is wrong with a configuration, and what is merely unwise: collected while it is read, told all at once.

use crate::wording::alike;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use crate::config::written::{Flaw, Origin, VARIABLE_PREFIX};

/// Why a configuration cannot be used: each problem on a line of its own, with file, line, key and remedy.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    pub fn one(problem: String) -> Self {
        Self(vec![problem])
    }

    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Something that works but that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What has come up so far.
pub struct Report<'a> {
    pub file: &'a str,
    problems: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<(usize, Warning)>>,
    /// Every key that a reader asked for, as `section.key`.
    known: RefCell<BTreeSet<String>>,
    /// Keys that nobody asked for, as section and key; judged at the end, when every known key is known.
    strange: RefCell<Vec<(Origin, String, String)>>,
}

impl<'a> Report<'a> {
    pub const fn new(file: &'a str) -> Self {
        Self {
            file,
            problems: RefCell::new(Vec::new()),
            warnings: RefCell::new(Vec::new()),
            known: RefCell::new(BTreeSet::new()),
            strange: RefCell::new(Vec::new()),
        }
    }

    pub fn problem(&self, origin: &Origin, key: &str, text: &str) {
        self.problems.borrow_mut().push((rank(origin), self.tell(origin, key, text)));
    }

    pub fn warning(&self, origin: &Origin, key: &str, text: &str) {
        self.warnings.borrow_mut().push((rank(origin), Warning(self.tell(origin, key, text))));
    }

    pub fn know(&self, key: String) {
        self.known.borrow_mut().insert(key);
    }

    pub fn strange(&self, origin: &Origin, section: &str, key: &str) {
        self.strange.borrow_mut().push((origin.clone(), section.to_owned(), key.to_owned()));
    }

    /// What was read, if nothing was wrong, with the warnings in the order of their lines.
    pub fn finish<T>(self, read: Option<T>) -> Result<(T, Vec<Warning>), ConfigError> {
        for (origin, section, key) in self.strange.take() {
            let remedy = self.instead_of(&origin, &section, &key);
            self.problem(&origin, &join(&section, &key), &format!("unknown key; {remedy}"));
        }
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|(line, _)| *line);
        warnings.sort_by_key(|(line, _)| *line);
        match read {
            Some(read) if problems.is_empty() => Ok((read, warnings.into_iter().map(|(_, warning)| warning).collect())),
            _ => Err(ConfigError(problems.into_iter().map(|(_, problem)| problem).collect())),
        }
    }

    /// What ended the reading before any key had a meaning.
    pub fn refuse(self, flaws: &[Flaw]) -> ConfigError {
        ConfigError(flaws.iter().map(|flaw| self.tell(&flaw.origin, &flaw.key, &flaw.problem)).collect())
    }

    #[cfg(test)]
    pub fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    fn tell(&self, origin: &Origin, key: &str, text: &str) -> String {
        tell(self.file, origin, key, text)
    }

    /// What to write instead of an unknown key: a similar one of the same section, the section it belongs to, or what there is.
    fn instead_of(&self, origin: &Origin, section: &str, key: &str) -> String {
        let known = self.known.borrow();
        let here: Vec<&str> =
            known.iter().filter_map(|path| parent_and_key(path)).filter(|(parent, _)| *parent == section).map(|(_, key)| key).collect();
        if let Some(similar) = alike(key, here.iter().copied()) {
            return match origin {
                Origin::Line(_) => format!("did you mean `{similar}`?"),
                Origin::Variable(_) => {
                    let name = join(section, similar).replace('.', "__").to_ascii_uppercase();
                    format!("did you mean {VARIABLE_PREFIX}{name}?")
                }
            };
        }
        if let Some((elsewhere, _)) = known.iter().filter_map(|path| parent_and_key(path)).find(|(_, other)| *other == key) {
            return format!("it belongs into `[{elsewhere}]`");
        }
        if section.is_empty() {
            return format!("remove it, or write one of {}", here.join(", "));
        }
        format!("remove it, or write one of the keys of `[{section}]`: {}", here.join(", "))
    }
}

/// One problem on its line.
pub fn tell(file: &str, origin: &Origin, key: &str, text: &str) -> String {
    match origin {
        Origin::Line(line) => format!("{file}:{line}: `{key}`: {text}"),
        Origin::Variable(variable) => format!("environment variable {}: `{key}`: {text}", variable.name),
    }
}

/// The path of `key` in `section`: the file itself has no name, and without a key the section is meant.
pub fn join(section: &str, key: &str) -> String {
    match (section, key) {
        ("", alone) | (alone, "") => alone.to_owned(),
        (section, key) => format!("{section}.{key}"),
    }
}

fn parent_and_key(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('.').or(Some(("", path)))
}

/// The file from its top, then the environment.
const fn rank(origin: &Origin) -> usize {
    match origin {
        Origin::Line(line) => *line,
        Origin::Variable(_) => usize::MAX,
    }
}
