//! What the operator wrote: the file and the environment as one tree, in which every value knows where it stands.
//!
//! The tree is kept instead of `serde` structures because an operator is best served by all mistakes at once, each with its line; `serde`
//! ends at the first one and knows no line once a value is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What begins the name of an environment variable that overrides a key, and what stands between section and key.
pub const VARIABLE_PREFIX: &str = "SCOPEGATE__";
const VARIABLE_SEPARATOR: &str = "__";

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    Variable(Arc<Variable>),
}

/// An environment variable, its text as it was set. It may hold a secret, so it prints by name only.
#[derive(PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub text: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

pub struct Table {
    pub origin: Origin,
    pub entries: BTreeMap<String, Entry>,
}

pub struct Entry {
    pub key: Origin,
    pub value: Value,
}

pub struct Value {
    pub origin: Origin,
    pub kind: Kind,
}

pub enum Kind {
    Text(String),
    Whole(i64),
    Decimal,
    Flag(bool),
    Date,
    List(Vec<Value>),
    Table(Table),
}

impl Value {
    /// What it is, for an error.
    pub const fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "text",
            Kind::Whole(_) => "a whole number",
            Kind::Decimal => "a decimal number",
            Kind::Flag(_) => "true or false",
            Kind::Date => "a date",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// The text it is. A variable has no quotes to tell `1.2` from `"1.2"`, so there any single value is text as well.
    pub fn text(&self) -> Option<&str> {
        match (&self.kind, &self.origin) {
            (Kind::Text(text), _) => Some(text),
            (Kind::Whole(_) | Kind::Decimal | Kind::Flag(_) | Kind::Date, Origin::Variable(variable)) => Some(&variable.text),
            _ => None,
        }
    }
}

/// Something that is wrong before any key has a meaning.
pub struct Flaw {
    pub origin: Origin,
    /// The key it stands at, as far as that can be told.
    pub key: String,
    pub problem: String,
}

/// Reads the file, then lays the variables over it.
pub fn read(text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Table, Vec<Flaw>> {
    let table = DeTable::parse(text).map_err(|error| vec![syntax_flaw(text, &error)])?;
    let lines = Lines::of(text);
    let mut root = Table { origin: Origin::Line(1), entries: entries(table.get_ref(), &|span| Origin::Line(lines.at(span.start))) };

    let mut variables: Vec<_> = env.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
    // In this order a section comes before its keys, so that the narrower variable wins.
    variables.sort();
    let flaws: Vec<_> = variables.into_iter().filter_map(|(name, text)| overlay(&mut root, name, text).err()).collect();
    if flaws.is_empty() { Ok(root) } else { Err(flaws) }
}

fn entries(table: &DeTable<'_>, origin: &dyn Fn(Range<usize>) -> Origin) -> BTreeMap<String, Entry> {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), Entry { key: origin(key.span()), value: from_toml(value, origin) }))
        .collect()
}

fn from_toml(value: &Spanned<DeValue<'_>>, origin: &dyn Fn(Range<usize>) -> Origin) -> Value {
    let here = origin(value.span());
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        // What does not fit is beyond every bound, and is refused there.
        DeValue::Integer(number) => Kind::Whole(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX)),
        DeValue::Float(_) => Kind::Decimal,
        DeValue::Boolean(flag) => Kind::Flag(*flag),
        DeValue::Datetime(_) => Kind::Date,
        DeValue::Array(list) => Kind::List(list.iter().map(|item| from_toml(item, origin)).collect()),
        DeValue::Table(table) => Kind::Table(Table { origin: here.clone(), entries: entries(table, origin) }),
    };
    Value { origin: here, kind }
}

/// Puts `SCOPEGATE__SECTION__KEY` where `section.key` stands in the file. What the key may be is not known yet.
fn overlay(root: &mut Table, name: String, text: String) -> Result<(), Flaw> {
    let path: Vec<String> = name[VARIABLE_PREFIX.len()..].split(VARIABLE_SEPARATOR).map(str::to_ascii_lowercase).collect();
    let variable = Arc::new(Variable { name, text });
    let origin = Origin::Variable(Arc::clone(&variable));
    let flaw = |problem: &str| Flaw { origin: origin.clone(), key: path.join("."), problem: problem.to_owned() };

    let Some((key, sections)) = path.split_last().filter(|_| path.iter().all(|part| !part.is_empty())) else {
        return Err(flaw("names no key; write it like SCOPEGATE__LOG__LEVEL for `level` in `[log]`"));
    };
    let mut table = root;
    for section in sections {
        let entry = table.entries.entry(section.clone()).or_insert_with(|| Entry {
            key: origin.clone(),
            value: Value { origin: origin.clone(), kind: Kind::Table(Table { origin: origin.clone(), entries: BTreeMap::new() }) },
        });
        match &mut entry.value.kind {
            Kind::Table(inner) => table = inner,
            Kind::List(_) => return Err(flaw("a variable cannot reach into a list; set the whole list, or write it in the file")),
            _ => return Err(flaw("the file has a plain value where this variable expects a section; correct the variable's name")),
        }
    }
    let value = match DeValue::parse(&variable.text) {
        Ok(value) => from_toml(&value, &|_| origin.clone()),
        Err(_) => Value { origin: origin.clone(), kind: Kind::Text(variable.text.clone()) },
    };
    table.entries.insert(key.clone(), Entry { key: origin.clone(), value });
    Ok(())
}

/// Says what the TOML reader stumbled over, at which line and key. The line itself is not shown: it may hold a secret.
fn syntax_flaw(text: &str, error: &toml::de::Error) -> Flaw {
    let lines = Lines::of(text);
    let number = lines.at(error.span().map_or(0, |span| span.start));
    let written: Vec<&str> = text.lines().take(number).collect();
    let section = written.iter().rev().find(|line| line.starts_with('[')).map(|line| line.trim_matches(['[', ']', ' ']));
    let key = written.last().and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let key = [section, key].into_iter().flatten().collect::<Vec<_>>().join(".");
    let remedy = if error.message().contains("duplicate") {
        "keep one of the two"
    } else {
        "write `key = value`, text and times in quotes as in \"10s\", lists as in [\"a\", \"b\"]"
    };
    Flaw { origin: Origin::Line(number), key, problem: format!("is not TOML: {}; {remedy}", error.message().replace('\n', ", ")) }
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line, from 1, that a byte stands in.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|&start| start <= byte)
    }
}
