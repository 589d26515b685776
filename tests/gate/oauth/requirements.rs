//! `tests/oauth/requirements.toml`: what the RFCs demand, each point with the test that shows it or with why it does not apply.
//!
//! That a named test shows what it is named for is for its reader to judge; that it is there, this can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The documents that are listed, every one of them.
const DOCUMENTS: &[&str] = &["rfc6749", "rfc6750", "rfc7009", "rfc7636", "rfc7662", "rfc8414", "rfc8707", "rfc9207", "rfc9728", "rfc9700"];

/// A line of our own, not a paragraph of theirs.
const SAYS_CHARACTERS_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    says: String,
    /// Empty while the test is still to be written.
    test: Option<String>,
    /// What a test that is still to be written should be called.
    proposed: Option<String>,
    not_applicable: Option<String>,
}

/// By document and section: `rfc6749-4.1.2-code-single-use`. No id can be there twice, as TOML takes no key twice.
fn requirements() -> BTreeMap<String, Requirement> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth/requirements.toml");
    let text = fs::read_to_string(file).expect("the requirements are there");
    let documents: BTreeMap<String, BTreeMap<String, Requirement>> =
        toml::from_str(&text).unwrap_or_else(|error| panic!("requirements.toml: {error}"));
    assert!(documents.keys().map(String::as_str).eq(DOCUMENTS.iter().copied().collect::<BTreeSet<_>>()), "{:?}", documents.keys());
    let named = |(document, points): (String, BTreeMap<_, _>)| points.into_iter().map(move |(key, it)| (format!("{document}-{key}"), it));
    documents.into_iter().flat_map(named).collect()
}

/// The names of all functions, tests among them.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join("src"), root.join("tests")];
    let mut names = BTreeSet::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("the source is there") {
            let path = entry.expect("the source is there").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the source is text");
                let starts = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('('));
                names.extend(starts.map(|(name, _)| name.to_owned()));
            }
        }
    }
    names
}

/// `<rfc>-<section>-<slug>`: a section is numbers between dots, or the letter of an appendix.
fn is_id(id: &str) -> bool {
    let mut parts = id.splitn(3, '-');
    let (_, section, slug) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let numbered = section.split('.').all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let appendix = section.len() == 1 && section.bytes().all(|byte| byte.is_ascii_uppercase());
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (numbered || appendix) && slug.split('-').all(word)
}

fn is_function_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn every_requirement_of_the_rfcs_is_well_formed() {
    let requirements = requirements();
    for (id, requirement) in &requirements {
        let Requirement { says, test, proposed, not_applicable } = requirement;
        assert!(is_id(id), "`{id}` is no id");
        assert!(!says.is_empty() && says.chars().count() <= SAYS_CHARACTERS_MAX && !says.ends_with('.'), "`{id}`: {says}");
        assert!(test.is_some() != not_applicable.is_some(), "`{id}` has either a test or a reason why there is none");
        assert!(not_applicable.as_ref().is_none_or(|why| !why.is_empty()), "`{id}` does not say why it does not apply");
        let named = test.as_deref().filter(|name| !name.is_empty());
        assert!([named, proposed.as_deref()].into_iter().flatten().all(is_function_name), "`{id}`: {requirement:?}");
        assert!(proposed.is_none() || test.as_deref() == Some(""), "`{id}` proposes a name beside the test that it has");
        // A reason may point to another point of the list.
        for word in not_applicable.iter().flat_map(|why| why.split([' ', ',', ';'])) {
            let other = DOCUMENTS.iter().any(|document| word.starts_with(&format!("{document}-")));
            assert!(!other || requirements.contains_key(word), "`{id}` points to `{word}`, which is not there");
        }
    }
}

#[test]
fn every_test_that_a_requirement_names_is_there() {
    let functions = functions();
    let missing: Vec<String> = requirements()
        .into_iter()
        .filter_map(|(id, requirement)| requirement.test.filter(|name| !name.is_empty()).map(|name| (id, name)))
        .filter(|(_, name)| !functions.contains(name))
        .map(|(id, name)| format!("{id}: {name}"))
        .collect();
    assert!(missing.is_empty(), "these tests are not there:\n{}", missing.join("\n"));
}

#[test]
fn no_requirement_is_without_a_test() {
    let functions = functions();
    let mut without = BTreeMap::<String, Vec<String>>::new();
    for (id, requirement) in requirements().into_iter().filter(|(_, requirement)| requirement.test.as_deref() == Some("")) {
        let proposed = requirement.proposed.unwrap_or_default();
        let state = if functions.contains(&proposed) { "is there, name it as `test`" } else { "is to be written" };
        without.entry(format!("{proposed} {state}")).or_default().push(id);
    }
    let lines: Vec<String> = without.iter().map(|(what, ids)| format!("{what}: {}", ids.join(", "))).collect();
    assert!(lines.is_empty(), "these requirements have no test:\n{}", lines.join("\n"));
}
