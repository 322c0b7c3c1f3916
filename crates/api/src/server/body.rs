//! Response bodies that grow while they are read.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{broadcast, mpsc};

use crate::error::ApiError;
use crate::site::TextStream;
use crate::types::Event;

/// A body fed by a channel. Dropped with its connection; its feeder notices by the closed channel.
#[derive(Debug)]
pub(super) struct ChannelBody(mpsc::Receiver<Result<Bytes, ApiError>>);

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        self.0
            .poll_recv(context)
            .map(|item| item.map(|item| item.map(Frame::data)))
    }
}

/// The text of a zone file. An error breaks the connection off before its end.
pub(super) fn text_body(mut chunks: TextStream) -> ChannelBody {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            let failed = chunk.is_err();
            if sender.send(chunk.map(Bytes::from)).await.is_err() || failed {
                break;
            }
        }
    });
    ChannelBody(receiver)
}

/// Events as JSON lines, for as long as someone reads.
pub(super) fn event_body(mut events: broadcast::Receiver<Event>) -> ChannelBody {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => break,
            };
            let event = match event {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a reader of events was too slow");
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => break,
            };
            let line = match serde_json::to_vec(&event) {
                Ok(mut line) => {
                    line.push(b'\n');
                    line
                }
                Err(error) => {
                    tracing::error!(%error, "an event could not be written as JSON");
                    continue;
                }
            };
            if sender.send(Ok(Bytes::from(line))).await.is_err() {
                break;
            }
        }
    });
    ChannelBody(receiver)
}
