//! `allow_sensitive`: the names that may stand there. A name that is not sensitive opens nothing, so it is a typing error.

use crate::policy::scope::Scope;
use crate::policy::sensitive::{Protection, protection, rpc_forbidden, rpc_impossible, same_doctype};

/// The name of a sensitive doctype or RPC.
pub fn name(text: &str) -> Result<Box<str>, String> {
    if rpc_impossible(text) {
        return Err(format!("`{text}` {IMPOSSIBLE}; remove it"));
    }
    // What is no doctype's name is protected as well, and equal to nothing, itself included.
    let doctype = same_doctype(text, text) && protection(text) != Protection::None;
    let rpc = text.contains('.') && rpc_name(text) && rpc_forbidden(text);
    if doctype || rpc {
        return Ok(text.into());
    }
    Err(format!(
        "`{text}` is not a sensitive doctype or function; write its full name, like \"Webhook\", or remove it: what is not sensitive needs \
         no leave"
    ))
}

/// What every function has in common that no configuration opens.
pub const IMPOSSIBLE: &str = "signs in or out, or runs any other function, so nothing opens it";

/// Whether it is the dotted name of a function, or the plain name of a Server Script.
pub fn rpc_name(text: &str) -> bool {
    let pythonic = text.split('.').all(|part| !part.starts_with(|first: char| first.is_ascii_digit()));
    pythonic && matches!(Scope::parse(&format!("call:{text}")), Ok(Scope::Rpc(_)))
}
