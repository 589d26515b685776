//! Random values: what nobody can guess.

use aws_lc_rs::rand;
use data_encoding::BASE64URL_NOPAD;

use crate::authserver::call::Failure;
use crate::oauth::error::{ErrorCode, OAuthError};

/// Letters of an id: 103 bits.
const ID_LETTERS: usize = 20;

pub fn bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut random = [0; N];
    rand::fill(&mut random).map_err(|_| OAuthError::new(ErrorCode::ServerError, "the system gives no random bytes; try again"))?;
    Ok(random)
}

/// 256 bits in base64url: a state, a PKCE verifier, the value of a cookie.
pub fn secret() -> Result<String, Failure> {
    Ok(BASE64URL_NOPAD.encode(&bytes::<32>()?))
}

/// The id of a new record: 20 of `a-z0-9`.
pub fn id() -> Result<String, Failure> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    /// The largest multiple of 36 that a byte can hold: bytes above it would make some letters likelier.
    const FAIR: u8 = 252;
    let mut id = String::with_capacity(ID_LETTERS);
    while id.len() < ID_LETTERS {
        let fair = bytes::<{ ID_LETTERS * 2 }>()?.into_iter().filter(|&byte| byte < FAIR);
        id.extend(fair.map(|byte| char::from(LETTERS[usize::from(byte % 36)])).take(ID_LETTERS - id.len()));
    }
    Ok(id)
}
