//! Finding a client by what it calls itself.

use crate::authserver::call::{Call, Failure};
use crate::oauth::client::Client;

/// The longest id that is looked up, in bytes: that of the stores.
const ID_BYTES_MAX: usize = 64;

/// The client with this id; `None` where there is none, and where no client could have such an id.
pub async fn find(call: &Call<'_>, id: &str) -> Result<Option<Client>, Failure> {
    let plain = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
    if !plain {
        return Ok(None);
    }
    Ok(call.store().client(&call.issuer.name, id).await?)
}
