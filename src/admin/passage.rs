//! The way of a whole store through the socket: one line of JSON for each page, and a last one without which it is not whole.
//!
//! ```text
//! {"page":[{"site":"erp.example.com","item":{"client":{…}}},…]}
//! {"end":{"unknown":0}}          or {"error":{"error":code,"message":sentence}}
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;

use crate::admin::error::{AdminError, Code};
use crate::store::export::{Entry, PAGES_AHEAD};
use crate::store::{Store, StoreError};

/// Bytes of a line: a full page, its largest record and its base64, with room.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    Page(Vec<Entry>),
    End { unknown: u64 },
    Error(AdminError),
}

/// The body of an answer with everything in a store. Dropping it ends the export.
pub struct Passage {
    pages: Receiver<Vec<Entry>>,
    /// `None` when the last line has been given.
    export: Option<JoinHandle<Result<u64, StoreError>>>,
}

impl Passage {
    pub fn begin(store: Arc<dyn Store>) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        Self { pages, export: Some(tokio::spawn(async move { store.export(sender).await })) }
    }
}

impl Body for Passage {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = match ready!(self.pages.poll_recv(context)) {
            Some(page) => Line::Page(page),
            None => {
                let Some(export) = &mut self.export else { return Poll::Ready(None) };
                let ended = ready!(Pin::new(export).poll(context));
                self.export = None;
                match ended {
                    Ok(Ok(unknown)) => Line::End { unknown },
                    Ok(Err(error)) => Line::Error(error.into()),
                    Err(_) => Line::Error(AdminError::new(Code::Internal, "the export was given up; the gate's log says why")),
                }
            }
        };
        // Without its last line it is not whole, so nothing that cannot be written is left out unseen.
        let Ok(mut bytes) = serde_json::to_vec(&line) else { return Poll::Ready(None) };
        bytes.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }
}

/// What comes is not what a gate sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign;

/// Lines as they come in pieces.
#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// The lines that `bytes` completes.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Vec<Line>, Foreign> {
        self.0.extend_from_slice(bytes);
        let Some(last) = memchr::memrchr(b'\n', &self.0) else {
            return if self.0.len() > LINE_BYTES_MAX { Err(Foreign) } else { Ok(Vec::new()) };
        };
        let rest = self.0.split_off(last + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        whole[..last].split(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).map_err(|_| Foreign)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_however_they_come() {
        let text = "{\"page\":[]}\n{\"page\":[]}\n{\"end\":{\"unknown\":3}}\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let found: Vec<Line> = text.as_bytes().chunks(size).flat_map(|piece| lines.put(piece).expect("lines of ours")).collect();
            assert!(matches!(found.as_slice(), [Line::Page(_), Line::Page(_), Line::End { unknown: 3 }]), "{size}");
        }
    }

    #[test]
    fn what_no_gate_sends_is_foreign() {
        let rows = [
            "\n",
            "hello\n",
            "{}\n",
            "[]\n",
            "{\"end\":{}}\n",
            "{\"end\":{\"unknown\":-1}}\n",
            "{\"page\":[{}]}\n",
            "{\"page\":[{\"site\":\"erp\",\"item\":{\"cat\":{}}}]}\n",
            "{\"page\":[{\"site\":\"erp\",\"item\":{\"mark\":{\"subject\":\"user:a\",\"at\":1,\"by\":2}}}]}\n",
            "{\"page\":[{\"site\":\"erp\",\"item\":{\"credential\":{\"id\":\"a\",\"sealed\":\"§\"}}}]}\n",
            "{\"page\":[{\"site\":\"erp\",\"item\":{\"record\":{\"kind\":\"cat\",\"id\":\"a\",\"json\":\"\"}}}]}\n",
        ];
        for row in rows {
            assert!(Lines::default().put(row.as_bytes()).is_err(), "{row}");
        }
        let mut lines = Lines::default();
        let endless = vec![b'['; 1024 * 1024];
        assert!((0..9).any(|_| lines.put(&endless).is_err()), "a line has an end");
    }
}
