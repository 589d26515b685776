//! One section of what was written, read key by key: each key is named once, with its default and its bounds.
//!
//! A reader never stops: it reports what is wrong, takes the default and goes on, so that an operator sees every mistake at once. A key
//! that nobody asked for is unknown.

use std::cell::RefCell;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::checked::Secret;
use crate::config::place::Places;
use crate::config::quantity::{Pace, RATE_EXAMPLE, SIZE_EXAMPLE, TIME_EXAMPLE, parse_pace, parse_size, parse_time, show_size};
use crate::config::report::{Report, join};
use crate::config::written::{Entry, Kind, Origin, Table, Value};
use crate::wording::show_time;

/// The largest file that is read for a secret or for certificates, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The word for a limit that is not wanted.
const OFF: &str = "off";

/// A section, there or not: where it is not, every key has its default.
pub struct Section<'a> {
    report: &'a Report<'a>,
    path: String,
    origin: Origin,
    table: Option<&'a Table>,
    asked: RefCell<Vec<&'a str>>,
}

/// One item of a list, and where it was written.
pub struct Item<T> {
    pub value: T,
    pub origin: Origin,
}

impl<'a> Section<'a> {
    /// Reads the whole file by `read`, which asks for its sections.
    pub fn root<T>(report: &'a Report<'a>, table: &'a Table, read: impl FnOnce(&Self) -> T) -> T {
        Self::of(report, String::new(), table.origin.clone(), Some(table)).read_by(read)
    }

    /// `[key]`.
    pub fn section<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        let table = self.find(key).and_then(|value| match &value.kind {
            Kind::Table(table) => Some(table),
            _ => {
                self.mismatch(value, key, &format!("write it as a section, `[{}]`", join(&self.path, key)));
                None
            }
        });
        let origin = table.map_or_else(|| self.origin.clone(), |table| table.origin.clone());
        Self::of(self.report, join(&self.path, key), origin, table).read_by(read)
    }

    /// Each `[[key]]`, without those that `read` could make nothing of.
    pub fn sections<T>(&self, key: &'static str, read: impl Fn(&Self) -> Option<T>) -> Vec<T> {
        let remedy = format!("write it as `[[{}]]`, once for each", join(&self.path, key));
        self.items(key, &remedy)
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Table(table) => {
                    Self::of(self.report, join(&self.path, key), table.origin.clone(), Some(table)).read_by(|section| read(section))
                }
                _ => {
                    self.mismatch(item, key, &remedy);
                    None
                }
            })
            .collect()
    }

    /// Each `[key.name]`, in the order of the names.
    pub fn named_sections<T>(&self, key: &'static str, read: impl Fn(&str, &Self) -> Option<T>) -> Vec<T> {
        self.section(key, |names| {
            let Some(table) = names.table else { return Vec::new() };
            let remedy = format!("write it as a section, `[{}.name]`", names.path);
            let read_one = |(name, entry): (&String, &'a Entry)| match &entry.value.kind {
                Kind::Table(inner) => {
                    let path = join(&names.path, name);
                    Self::of(self.report, path, entry.key.clone(), Some(inner)).read_by(|section| read(name, section))
                }
                _ => {
                    names.mismatch(&entry.value, name, &remedy);
                    None
                }
            };
            let read = table.entries.iter().filter_map(read_one).collect();
            // Their names are the operator's to choose.
            names.asked.borrow_mut().extend(table.entries.keys().map(String::as_str));
            read
        })
    }

    /// Whether `key` is a list that was left empty; a list of nothing but mistakes has been reported already.
    pub fn empty(&self, key: &'static str) -> bool {
        self.find(key).is_some_and(|value| matches!(&value.kind, Kind::List(items) if items.is_empty()))
    }

    pub fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Text that `parse` makes sense of, or says why not.
    pub fn text<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.find(key)?;
        let Some(text) = value.text() else {
            self.mismatch(value, key, "write text in quotes");
            return None;
        };
        self.settle(&value.origin, key, parse(text))
    }

    /// A list of texts; `None` where the key is not there.
    pub fn texts<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<Item<T>>> {
        self.find(key)?;
        let remedy = "write a list of texts, like [\"a\", \"b\"]";
        let read_one = |item: &Value| {
            let Some(text) = item.text() else {
                self.mismatch(item, key, remedy);
                return None;
            };
            self.settle(&item.origin, key, parse(text)).map(|value| Item { value, origin: item.origin.clone() })
        };
        Some(self.items(key, remedy).iter().filter_map(read_one).collect())
    }

    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        self.find(key).map_or(default, |value| match value.kind {
            Kind::Flag(flag) => flag,
            _ => {
                self.mismatch(value, key, "write true or false, without quotes");
                default
            }
        })
    }

    /// A whole number within `bounds`.
    pub fn whole(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        self.whole_if_any(key, bounds).unwrap_or(default)
    }

    pub fn whole_if_any(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.find(key)?;
        let Kind::Whole(number) = value.kind else {
            self.mismatch(value, key, "write a whole number, without quotes");
            return None;
        };
        let number = u64::try_from(number).ok().filter(|number| bounds.contains(number));
        let within = number.ok_or_else(|| format!("is out of bounds; write a number from {} to {}", bounds.start(), bounds.end()));
        self.settle(&value.origin, key, within)
    }

    /// Bytes within `bounds`.
    pub fn size(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let read = |value: &Value| {
            let bytes = match (&value.kind, value.text()) {
                (Kind::Whole(number), _) => u64::try_from(*number).unwrap_or(0),
                (_, Some(text)) => parse_size(text)?,
                _ => return Err(format!("is {}; {SIZE_EXAMPLE}", value.describe())),
            };
            if bounds.contains(&bytes) {
                return Ok(bytes);
            }
            let (least, most) = (show_size(*bounds.start()), show_size(*bounds.end()));
            Err(format!("{} is out of bounds; write a size from \"{least}\" to \"{most}\"", show_size(bytes)))
        };
        self.find(key).and_then(|value| self.settle(&value.origin, key, read(value))).unwrap_or(default)
    }

    /// [`Section::size`] where it counts memory.
    pub fn memory(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> usize {
        usize::try_from(self.size(key, default, bounds)).unwrap_or(usize::MAX)
    }

    /// A time within `bounds`.
    pub fn time(&self, key: &'static str, default: Duration, bounds: &RangeInclusive<Duration>) -> Duration {
        self.time_or_off(key, Some(default), bounds, false).unwrap_or(default)
    }

    /// A time within `bounds`, or `None` for `"off"`.
    pub fn time_if_wanted(&self, key: &'static str, default: Option<Duration>, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        self.time_or_off(key, default, bounds, true)
    }

    fn time_or_off(
        &self,
        key: &'static str,
        default: Option<Duration>,
        bounds: &RangeInclusive<Duration>,
        may_be_off: bool,
    ) -> Option<Duration> {
        let read = |value: &Value| match value.text() {
            Some(OFF) if may_be_off => Ok(None),
            Some(text) => {
                let time = parse_time(text)?;
                let (least, most) = (show_time(*bounds.start()), show_time(*bounds.end()));
                let remedy = format!("`{text}` is out of bounds; write a time from \"{least}\" to \"{most}\"");
                if bounds.contains(&time) { Ok(Some(time)) } else { Err(remedy) }
            }
            None => Err(format!("is {}; {TIME_EXAMPLE}", value.describe())),
        };
        self.find(key).and_then(|value| self.settle(&value.origin, key, read(value))).unwrap_or(default)
    }

    /// A rate, or `None` for `"off"`.
    pub fn pace(&self, key: &'static str, default: Pace) -> Option<Pace> {
        let read = |value: &Value| match value.text() {
            Some(OFF) => Ok(None),
            Some(text) => parse_pace(text).map(Some),
            None => Err(format!("is {}; {RATE_EXAMPLE}", value.describe())),
        };
        self.find(key).and_then(|value| self.settle(&value.origin, key, read(value))).unwrap_or(Some(default))
    }

    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.text(key, |text| if text.is_empty() { Err("is empty; write the path of a file".to_owned()) } else { Ok(text.into()) })
    }

    /// A secret: `key` itself, or the first line of the file that `key_file` names.
    pub fn secret(&self, key: &'static str, key_file: &'static str) -> Option<Secret> {
        let written = self.text(key, |text| if text.is_empty() { Err("is empty".to_owned()) } else { Ok(Secret::new(text)) });
        let Some(file) = self.path(key_file) else { return written };
        if self.has(key) {
            self.refuse(key_file, &format!("is set beside `{key}`; keep one of the two"));
        }
        self.warn_if_open(key_file, &file);
        let contents = self.settle(&self.origin_of(key_file), key_file, read_file(&file))?;
        let line = contents.lines().next().unwrap_or_default().trim();
        if line.is_empty() {
            self.refuse(key_file, &format!("the first line of `{}` is empty; write the secret there", file.display()));
            return None;
        }
        Some(Secret::new(line))
    }

    /// Warns of a secret in the configuration itself, which more people read and copy than its own file.
    pub fn warn_if_written(&self, key: &'static str, key_file: &'static str) {
        if self.has(key) && matches!(self.origin_of(key), Origin::Line(_)) {
            self.warn(
                key,
                &format!("a secret in this file is seen by all who may read it; put it into a file and name it by `{key_file}`"),
            );
        }
    }

    /// The text of the file that `key` names.
    pub fn contents(&self, key: &'static str) -> Option<String> {
        let file = self.path(key)?;
        self.settle(&self.origin_of(key), key, read_file(&file))
    }

    /// Warns of a file with a secret that every user of the machine may read. Container secrets often are like that, so it is no error.
    pub fn warn_if_open(&self, key: &'static str, file: &Path) {
        if std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o004 != 0) {
            self.warn(key, &format!("`{0}` can be read by every user of this machine; run `chmod o-rwx {0}`", file.display()));
        }
    }

    /// Reports a problem with `key`, at the section where the key itself is not there.
    pub fn refuse(&self, key: &'static str, text: &str) {
        self.refuse_at(&self.origin_of(key), key, text);
    }

    /// Reports a problem with one item of the list `key`.
    pub fn refuse_at(&self, origin: &Origin, key: &str, text: &str) {
        self.report.problem(origin, &join(&self.path, key), text);
    }

    pub fn warn(&self, key: &'static str, text: &str) {
        self.report.warning(&self.origin_of(key), &join(&self.path, key), text);
    }

    /// Where `key` was written; where it was not, its section.
    pub fn origin_of(&self, key: &'static str) -> Origin {
        self.find(key).map_or_else(|| self.origin.clone(), |value| value.origin.clone())
    }

    /// Where every key below stands.
    pub fn places(&self) -> Places {
        Places::of(self.report.file, self.table)
    }

    /// Where the section begins.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    const fn of(report: &'a Report<'a>, path: String, origin: Origin, table: Option<&'a Table>) -> Self {
        Self { report, path, origin, table, asked: RefCell::new(Vec::new()) }
    }

    fn read_by<T>(self, read: impl FnOnce(&Self) -> T) -> T {
        let result = read(&self);
        let asked = self.asked.take();
        for (key, entry) in self.table.iter().flat_map(|table| &table.entries) {
            if !asked.contains(&key.as_str()) {
                self.report.strange(&entry.key, &self.path, key);
            }
        }
        result
    }

    fn find(&self, key: &'static str) -> Option<&'a Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
            self.report.know(join(&self.path, key));
        }
        self.table?.entries.get(key).map(|entry| &entry.value)
    }

    fn items(&self, key: &'static str, remedy: &str) -> &'a [Value] {
        match self.find(key) {
            None => &[],
            Some(Value { kind: Kind::List(items), .. }) => items,
            Some(value) => {
                self.mismatch(value, key, remedy);
                &[]
            }
        }
    }

    fn mismatch(&self, value: &Value, key: &str, remedy: &str) {
        self.refuse_at(&value.origin, key, &format!("is {}; {remedy}", value.describe()));
    }

    fn settle<T>(&self, origin: &Origin, key: &'static str, read: Result<T, String>) -> Option<T> {
        read.map_err(|problem| self.refuse_at(origin, key, &problem)).ok()
    }
}

fn read_file(file: &Path) -> Result<String, String> {
    let remedy = "name a file that this user may read";
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map(|_| text)
        .map_err(|error| format!("`{}` cannot be read: {error}; {remedy}", file.display()))
}
