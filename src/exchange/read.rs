//! The body of a request, read whole within bounds.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::exchange::held::Held;

/// Why there is no whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than so many bytes.
    TooLarge(u64),
    Slow,
    /// More bodies are on their way than the gate can hold.
    Full,
    /// The listener found that it breaks the rules.
    Broken,
    /// Its client is gone.
    Abandoned,
}

impl Unread {
    /// Why a body ended before its end.
    pub fn ended_by(error: &hyper::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => Self::Broken,
            _ => Self::Abandoned,
        }
    }
}

/// Reads a body of `most` bytes at most within `time`, and counts its bytes as they come.
pub async fn whole(mut body: Incoming, most: usize, time: Duration, held: &mut Held, received: &mut u64) -> Result<Bytes, Unread> {
    let too_large = || Unread::TooLarge(most as u64);
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let read = async {
        // Most bodies come in one piece, and are passed on as they lie.
        let mut only = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| Unread::ended_by(&error))?.into_data() else { continue };
            *received += data.len() as u64;
            if only.len().max(all.len()) + data.len() > most {
                return Err(too_large());
            }
            if !held.grow(data.len() as u64) {
                return Err(Unread::Full);
            }
            if only.is_empty() && all.is_empty() {
                only = data;
                continue;
            }
            all.extend_from_slice(&std::mem::take(&mut only));
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { only } else { all.freeze() })
    };
    timeout(time, read).await.unwrap_or(Err(Unread::Slow))
}
