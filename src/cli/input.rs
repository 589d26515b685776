//! What a command reads besides its words: files, and standard input for `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::admin::message::SecretText;
use crate::app::Failure;
use crate::cli::EXIT_FAILED;

/// The longest secret with its white space, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// The secret in `file`, without the white space around it.
pub fn secret(file: &Path) -> Result<SecretText, Failure> {
    let bytes = read(file, SECRET_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| failed(format!("{} is not text; it should hold the secret alone", name(file))))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(failed(format!("{} is empty; it should hold the secret alone", name(file))));
    }
    Ok(SecretText::new(text))
}

/// The bytes of `file`, `bytes_max` at most.
pub fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if is_stdin(file) {
        io::stdin().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|opened| opened.take(bytes_max + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(format!("{} cannot be read: {error}", name(file))))?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(format!("{} is longer than {bytes_max} bytes; is it the right one?", name(file))));
    }
    Ok(bytes)
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn name(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { format!("`{}`", file.display()) }
}

fn failed(message: String) -> Failure {
    Failure { exit: EXIT_FAILED, message }
}
