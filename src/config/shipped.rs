//! The files in `config/` and `deploy/` load as they are, and `config/scopegate.toml` tells every key at its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::check;
use crate::config::checked::Config;
use crate::config::parse;
use crate::config::report::{Report, Warning};
use crate::config::section::Section;
use crate::config::written;

/// Where the shipped files look for secrets. The tests put a directory of their own in their place.
const PLACES: [&str; 4] = ["/etc/scopegate/", "/run/secrets/", "/run/credentials/scopegate.service/", ".cache/"];

/// A directory with every secret that a shipped file names.
fn secrets() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = rcgen::generate_simple_self_signed(Vec::new()).expect("a certificate").cert.pem();
    for (name, text) in [
        ("api-key", "key:secret"),
        ("scopegate-api-key", "key:secret"),
        ("redis-url", "rediss://scopegate:secret@redis.internal:6379"),
        ("redis-password", "secret"),
        ("sentinel-password", "secret"),
        ("redis-ca.pem", &authority),
        ("frappe-client-secret", "1a2b3c4d5e"),
        ("audit-key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        ("encryption-key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    }
    directory
}

fn shipped(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Loads `text` with its secrets in `directory`.
fn load(text: &str, name: &str, directory: &Path, env: Vec<(String, String)>) -> (Config, Vec<Warning>) {
    let here = format!("{}/", directory.display());
    let text = PLACES.iter().fold(text.to_owned(), |text, place| text.replace(&format!("\"{place}"), &format!("\"{here}")));
    parse(&text, name, env.into_iter()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_file_of_config_loads_without_a_warning() {
    let directory = secrets();
    for file in ["config/minimal.toml", "config/development.toml", "config/oauth.toml", "config/scopegate.toml"] {
        let (_, warnings) = load(&shipped(file), file, directory.path(), Vec::new());
        assert_eq!(warnings, [], "{file}");
    }
}

#[test]
fn the_minimal_file_is_about_ten_lines() {
    assert!(shipped("config/minimal.toml").lines().count() <= 12);
}

#[test]
fn the_full_file_says_what_is_so_anyway() {
    let directory = secrets();
    let [minimal, full] = ["config/minimal.toml", "config/scopegate.toml"].map(|file| {
        let (config, _) = load(&shipped(file), file, directory.path(), Vec::new());
        format!("{config:#?}")
    });
    assert_eq!(minimal, full);
}

#[test]
fn the_full_file_names_every_key_and_no_other() {
    let text = shipped("config/scopegate.toml");
    let bare: String = text.lines().map(|line| format!("{}\n", uncommented(line).unwrap_or(line))).collect();

    let table = written::read(&bare, std::iter::empty()).unwrap_or_else(|_| panic!("not TOML without its marks\n{bare}"));
    let report = Report::new("config/scopegate.toml");
    Section::root(&report, &table, check::config);
    // `[site.upstream]` has the keys of `[upstream]`, and says so.
    let known: BTreeSet<String> = report.known().into_iter().filter(|key| !key.starts_with("site.upstream.")).collect();

    let mut told = BTreeSet::new();
    let mut section = String::new();
    for line in bare.lines().filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            told.extend(section.match_indices('.').map(|(end, _)| section[..end].to_owned()));
            told.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            told.insert(format!("{section}.{key}"));
        }
    }
    told.remove("scope.crm");
    told.retain(|key| !key.starts_with("site.upstream."));
    assert_eq!(told, known);
}

/// `[site.oauth]` is a comment in the full file, so what stands there is held to the defaults here.
#[test]
fn the_full_file_says_the_defaults_of_oauth() {
    let directory = secrets();
    let text = shipped("config/scopegate.toml");
    let section = text.split("#[site.oauth]\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the section is there");
    let unset = ["client_secret", "registration_token", "registration_token_file", "client_document_ca_file"];
    let keys: Vec<&str> =
        section.lines().filter_map(uncommented).filter(|line| !unset.contains(&line.split(" = ").next().unwrap_or_default())).collect();
    let needed = ["issuer", "login_url", "client_id", "client_secret_file"];
    let few: Vec<&str> = keys.iter().copied().filter(|line| needed.contains(&line.split(" = ").next().unwrap_or_default())).collect();
    let [all, few] = [keys, few].map(|keys| {
        let store = "[store]\nencryption_key_file = \"/etc/scopegate/encryption-key\"";
        let text = format!("{}\n[site.oauth]\n{}\n{store}\n", shipped("config/minimal.toml"), keys.join("\n"));
        let (config, warnings) = load(&text, "config/scopegate.toml", directory.path(), Vec::new());
        assert_eq!(warnings, []);
        config.sites[0].oauth.clone().expect("the section is there")
    });
    assert_eq!(all, few);
}

/// `#key = value` and `#[section]`, which say what could be written, without their mark.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()))
}

#[test]
fn every_file_of_deploy_loads() {
    let directory = secrets();
    let files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"))
        .expect("the directory is there")
        .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|extension| extension == "toml")))
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("the file is there");
        load(&text, &file.display().to_string(), directory.path(), Vec::new());
    }
}

#[test]
fn variables_of_the_compose_files_are_keys() {
    let directory = secrets();
    for file in ["deploy/compose.yaml", "deploy/frappe_docker.override.yaml"] {
        let text = shipped(file);
        let env = text.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(name, _)| name.starts_with("SCOPEGATE__"));
        let env = env.map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned())).collect();
        load(&shipped("config/minimal.toml"), file, directory.path(), env);
    }
}

/// A piece of configuration in the runbook is either whole, or goes into the minimal file.
#[test]
fn snippets_of_the_runbook_load() {
    let directory = secrets();
    for file in ["deploy/RUNBOOK.md", "deploy/redis/README.md"] {
        let text = shipped(file);
        let snippets: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!snippets.is_empty(), "{file}");
        for snippet in snippets {
            let text =
                if snippet.contains("[[site]]") { snippet.to_owned() } else { format!("{snippet}\n{}", shipped("config/minimal.toml")) };
            load(&text, file, directory.path(), Vec::new());
        }
    }
}
