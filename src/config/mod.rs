//! The configuration: what the operator wrote (`written`), read key by key (`section`, `report`), then what is complete and checked
//! (`check`, `checked`).
//!
//! Every problem is one line that names file, line, key and remedy; all of them are told at once. Relative paths start where the process
//! was started, not where the file is.

pub mod check;
pub mod checked;
pub mod place;
pub mod quantity;
pub mod report;
pub mod rules;
pub mod section;
pub mod written;

use std::io::Read;
use std::path::Path;

use crate::config::checked::Config;
use crate::config::report::{ConfigError, Report, Warning};
use crate::config::section::Section;
use crate::config::written::VARIABLE_PREFIX;

/// The largest configuration that is read, in bytes: a thousand sites take about a quarter of it.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The variables of this process that are laid over a file. One that is not UTF-8 is an error, because nobody can have meant it.
pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
        let value = value.into_string();
        let value = value.map_err(|_| ConfigError::one(format!("environment variable {name}: is not UTF-8; set it anew, or unset it")))?;
        variables.push((name.to_owned(), value));
    }
    Ok(variables)
}

/// Reads and checks the file at `path`, with `SCOPEGATE__SECTION__KEY` of `env` laid over it.
pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<(Config, Vec<Warning>), ConfigError> {
    let name = path.display().to_string();
    let refuse = |problem: String| ConfigError::one(format!("{name}: {problem}"));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(format!("cannot be read: {error}; name another file with --config, or start from config/minimal.toml")))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refuse(format!("is larger than {}; is this the right file?", quantity::show_size(CONFIG_BYTES_MAX))));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        ConfigError::one(format!("{name}:{line}: is not UTF-8; save the file as UTF-8"))
    })?;
    parse(text, &name, env)
}

/// Checks `text`, which errors call `file`. Reads the files of secrets and authorities that it names, and nothing else.
pub fn parse(text: &str, file: &str, env: impl Iterator<Item = (String, String)>) -> Result<(Config, Vec<Warning>), ConfigError> {
    let report = Report::new(file);
    match written::read(text, env) {
        Ok(table) => {
            let config = Section::root(&report, &table, check::config);
            report.finish(config)
        }
        Err(flaws) => Err(report.refuse(&flaws)),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod shipped;
