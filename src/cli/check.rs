//! `check`: everything that can be wrong before a port is open, all at once.
//!
//! A store in a file belongs to one process, and that may be the running gate that is about to reload, so it is not opened; Redis is asked.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::admin::terminal::{complain, moment, print, visible};
use crate::app::Failure;
use crate::cli::administer::{Shown, block_on};
use crate::cli::{Check, EXIT_CONFIG, EXIT_FAILED, load};
use crate::config::checked::{Config, TlsVersion};
use crate::config::rules::rules_of;
use crate::listener::certificate::CertificateFiles;
use crate::listener::tls;
use crate::listener::tls::{Tls, TlsSettings};
use crate::policy::time::Timestamp;
use crate::store;
use crate::store::Backend;
use crate::store::seal::SealKey;

pub fn run(check: &Check) -> Result<(), Failure> {
    let file = check.config.path();
    let (problems, warnings, summary) = match load(&file) {
        Err(error) => (error.problems().to_vec(), Vec::new(), String::new()),
        Ok((config, warnings)) => {
            let (problems, summary) = beyond_the_file(&config)?;
            (problems, warnings.into_iter().map(|warning| warning.0).collect(), summary)
        }
    };
    let good = problems.is_empty();
    if check.json {
        Shown::new(&json!({"ok": good, "problems": problems, "warnings": warnings}), |_| String::new()).print(true)?;
        return if good { Ok(()) } else { Err(Failure { exit: EXIT_CONFIG, message: String::new() }) };
    }
    for warning in &warnings {
        complain(&format!("warning: {warning}"));
    }
    if !good {
        return Err(Failure { exit: EXIT_CONFIG, message: problems.join("\n") });
    }
    let told = format!("ok: {}: {summary}\n", visible(&file.display().to_string()));
    print(&told).map_err(|error| Failure { exit: EXIT_FAILED, message: format!("the answer cannot be written: {error}") })
}

/// What is wrong with the things that the config names, and one line on what there is.
fn beyond_the_file(config: &Config) -> Result<(Vec<String>, String), Failure> {
    let mut problems: Vec<String> = config.sites.iter().filter_map(|site| rules_of(config, site).err()).collect();
    let mut parts = vec![counted(config.sites.len(), "site")];
    match certificates(config) {
        Ok(Some(told)) => parts.push(told),
        Ok(None) => parts.push("no HTTPS".to_owned()),
        Err(problem) => problems.push(problem),
    }
    let providers = config.sites.iter().filter(|site| site.oauth.is_some()).count();
    if providers > 0 {
        parts.push(counted(providers, "OAuth provider"));
    }
    if let Some(Err(error)) = config.encryption_key.as_ref().map(|key| SealKey::from_hex(key.reveal())) {
        problems.push(error.to_string());
    }
    match &config.store.backend {
        Backend::Embedded { .. } => parts.push("embedded store".to_owned()),
        Backend::Redis { .. } => {
            let opened = block_on(async { store::open(&config.store).await.map(drop) })?;
            problems.extend(opened.err().map(|error| config.tell_store(&error)));
            parts.push("Redis answers".to_owned());
        }
    }
    Ok((problems, parts.join(", ")))
}

/// How many certificates there are, and when the first of them ends; `None` where none is needed.
fn certificates(config: &Config) -> Result<Option<String>, String> {
    if config.tls.certificates.is_empty() {
        return Ok(None);
    }
    let files = config.tls.certificates.iter();
    let settings = TlsSettings {
        certificates: files
            .map(|files| CertificateFiles { cert_file: files.cert_file.clone(), key_file: files.key_file.clone() })
            .collect(),
        min_version: match config.tls.min_version {
            TlsVersion::V1_2 => tls::TlsVersion::V1_2,
            TlsVersion::V1_3 => tls::TlsVersion::V1_3,
        },
    };
    let now = Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    let tls = Tls::load(&settings, now).map_err(|error| config.tell_tls(&error))?;
    let count = counted(settings.certificates.len(), "certificate");
    let first = tls.expiries().into_iter().map(|served| served.expires).min();
    Ok(Some(first.map_or_else(|| count.clone(), |first| format!("{count} (good until {})", moment(first)))))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
