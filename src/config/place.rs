//! Where each key was written, for what turns out to be wrong only when the thing that a key names is opened: a certificate, a port, a store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::report::tell;
use crate::config::written::{Kind, Origin, Table, Value};

/// The file, and the place of every key in it. One item of a list has its number in its path: `tls.certificate.0.cert_file`.
#[derive(Clone)]
pub struct Places {
    file: Arc<str>,
    origins: Arc<BTreeMap<String, Origin>>,
}

impl Places {
    pub fn of(file: &str, root: Option<&Table>) -> Self {
        let mut origins = BTreeMap::new();
        if let Some(root) = root {
            collect(root, "", &mut origins);
        }
        Self { file: file.into(), origins: Arc::new(origins) }
    }

    /// `problem`, told as every mistake in the configuration is: with file, line and key.
    pub fn tell(&self, path: &str, problem: impl fmt::Display) -> String {
        let key: Vec<&str> = path.split('.').filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit())).collect();
        let (key, problem) = (key.join("."), problem.to_string());
        match self.origins.get(path) {
            Some(origin) => tell(&self.file, origin, &key, &problem),
            None => format!("{}: `{key}`, at its default: {problem}", self.file),
        }
    }

    /// Whether the key was written at all.
    pub fn has(&self, path: &str) -> bool {
        self.origins.contains_key(path)
    }
}

/// Two configurations that say the same print the same, wherever in their files they say it.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places(..)")
    }
}

fn collect(table: &Table, above: &str, origins: &mut BTreeMap<String, Origin>) {
    for (key, entry) in &table.entries {
        place(&entry.value, format!("{above}{key}"), origins);
    }
}

fn place(value: &Value, path: String, origins: &mut BTreeMap<String, Origin>) {
    match &value.kind {
        Kind::Table(table) => collect(table, &format!("{path}."), origins),
        Kind::List(items) => {
            for (number, item) in items.iter().enumerate() {
                place(item, format!("{path}.{number}"), origins);
            }
        }
        Kind::Text(_) | Kind::Whole(_) | Kind::Decimal | Kind::Flag(_) | Kind::Date => {}
    }
    origins.insert(path, value.origin.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::written::read;

    #[test]
    fn a_problem_is_told_where_its_key_stands() {
        let text = "\
store.path = \"/s\"
[listen]
http = [
  \"127.0.0.1:1\",
  \"127.0.0.1:2\",
]
[[tls.certificate]]
cert_file = \"a\"
[[tls.certificate]]
cert_file = \"b\"
";
        let variables = [("SCOPEGATE__ADMIN__SOCKET".to_owned(), "/a".to_owned())];
        let table = read(text, variables.into_iter()).unwrap_or_else(|_| panic!("this is TOML"));
        let places = Places::of("gate.toml", Some(&table));
        for (path, told) in [
            ("store.path", "gate.toml:1: `store.path`: is wrong"),
            ("listen.http", "gate.toml:3: `listen.http`: is wrong"),
            ("listen.http.1", "gate.toml:5: `listen.http`: is wrong"),
            ("tls.certificate.1.cert_file", "gate.toml:10: `tls.certificate.cert_file`: is wrong"),
            ("admin.socket", "environment variable SCOPEGATE__ADMIN__SOCKET: `admin.socket`: is wrong"),
            ("metrics.listen", "gate.toml: `metrics.listen`, at its default: is wrong"),
        ] {
            assert_eq!(places.tell(path, "is wrong"), told);
        }
    }
}
