//! An open connection at work: requests out, answers back to those who asked, and when to give it up.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connection::Exchange;
use super::{PeerError, Target};
use crate::message::{HEADER_LEN, Header};

/// Why an open connection ended.
pub(super) enum End {
    /// Nobody needed it.
    Idle,
    /// The other side closed it, orderly or not.
    Closed(Option<io::Error>),
    /// The other side broke the protocol.
    Protocol(&'static str),
    /// A request was not answered and nothing else came either.
    Silent,
}

/// An open connection: who waits for what on it, and what has not been sent or read whole.
pub(super) struct OpenConnection<'a> {
    target: &'a Target,
    pending: HashMap<u16, Pending>,
    /// From so many on those are forgotten whose answer is whole.
    forget_at: usize,
    incoming: BytesMut,
    outgoing: BytesMut,
    unflushed: bool,
    /// How many messages have come.
    received: u64,
    last_received: Instant,
}

struct Pending {
    exchange: Exchange,
    sent: Instant,
    /// Whether other answers had come before it was sent.
    reused: bool,
    answered: bool,
}

impl<'a> OpenConnection<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self {
            target,
            pending: HashMap::new(),
            forget_at: FEW,
            incoming: BytesMut::with_capacity(READ_BUFFER),
            outgoing: BytesMut::new(),
            unflushed: false,
            received: 0,
            last_received: Instant::now(),
        }
    }

    /// Whether no more requests are taken until others are answered.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// Takes a request to send.
    pub(super) fn take(&mut self, mut exchange: Exchange) {
        if self.pending.len() >= self.forget_at {
            // One transfer after the other must not wait for the next sweep: that would be so many a second.
            let open = |pending: &Pending| !pending.exchange.finished.load(Ordering::Acquire);
            self.pending.retain(|_, pending| open(pending));
            self.forget_at = (self.pending.len() * 2).max(FEW);
        }
        let message = std::mem::take(&mut exchange.message);
        self.outgoing
            .extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.outgoing.extend_from_slice(&message);
        self.unflushed = true;
        let pending = Pending {
            sent: Instant::now(),
            reused: self.received > 0,
            answered: false,
            exchange,
        };
        self.pending.insert(pending.exchange.id.value, pending);
    }

    /// Sends, receives and hands out until the connection ends.
    pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: S,
        requests: &mut mpsc::Receiver<Exchange>,
        idle: Duration,
    ) -> End {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let mut last_used = Instant::now();
        let mut next_sweep = Instant::now() + SWEEP;
        let mut asked_for_all = false;
        loop {
            let wake = match self.pending.is_empty() {
                true => last_used + idle,
                false => next_sweep,
            };
            tokio::select! {
                request = requests.recv(), if !self.is_full() && !asked_for_all => {
                    match request {
                        Some(exchange) => self.take(exchange),
                        None => asked_for_all = true,
                    }
                    last_used = Instant::now();
                }
                result = push(&mut writer, &mut self.outgoing), if self.unflushed => {
                    match result {
                        Ok(flushed) => self.unflushed = !flushed,
                        Err(error) => return End::Closed(Some(error)),
                    }
                }
                result = reader.read_buf(&mut self.incoming) => {
                    match result {
                        Ok(0) => return End::Closed(None),
                        Ok(_) => {}
                        Err(error) => return End::Closed(Some(error)),
                    }
                    last_used = Instant::now();
                    if let Some(end) = self.deliver().await {
                        return end;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if self.pending.is_empty() {
                        return End::Idle;
                    }
                    next_sweep = Instant::now() + SWEEP;
                    if let Some(end) = self.sweep() {
                        return end;
                    }
                }
            }
            if asked_for_all && self.pending.is_empty() {
                return End::Idle;
            }
        }
    }

    /// Hands the messages that are whole to those who wait for them.
    async fn deliver(&mut self) -> Option<End> {
        while let Some(len) = self.incoming.first_chunk::<2>() {
            let len = u16::from_be_bytes(*len) as usize;
            if len < HEADER_LEN {
                return Some(End::Protocol("a message shorter than a header"));
            }
            if self.incoming.len() < 2 + len {
                break;
            }
            self.incoming.advance(2);
            let message = self.incoming.split_to(len).to_vec();
            self.received += 1;
            self.last_received = Instant::now();
            let Some(header) = Header::read(&message) else {
                return Some(End::Protocol("a message shorter than a header"));
            };
            let Some(pending) = self.pending.get_mut(&header.id) else {
                return Some(End::Protocol("an answer to nothing that was asked"));
            };
            pending.answered = true;
            let many = pending.exchange.many;
            let taken = pending.exchange.replies.send(Ok(message)).await.is_ok();
            if many && !taken {
                // More of a transfer that was refused or is over: closing is the one way to stop it.
                return Some(End::Closed(None));
            }
            if !many {
                self.pending.remove(&header.id);
            }
        }
        // So that the buffer does not keep growing at its front.
        if self.incoming.is_empty() {
            self.incoming.reserve(READ_BUFFER);
        }
        None
    }

    /// Forgets those who are served or gone. A request that was given up while nothing at all came since it was sent
    /// shows that the connection is dead.
    fn sweep(&mut self) -> Option<End> {
        let last_received = self.last_received;
        let mut silent = false;
        self.pending.retain(|_, pending| {
            if !pending.exchange.replies.is_closed() {
                return true;
            }
            if pending.exchange.finished.load(Ordering::Acquire) {
                return false;
            }
            silent |= !pending.answered && pending.sent > last_received;
            // The ID stays taken while a late answer may come.
            pending.sent.elapsed() < KEEP_ID
        });
        silent.then_some(End::Silent)
    }

    /// Tells all who still wait why they wait in vain.
    pub(super) fn fail_all(&mut self, end: End) {
        let target = self.target.to_string();
        let (source, protocol) = match end {
            End::Idle | End::Silent => (None, None),
            End::Closed(source) => (source.map(Arc::new), None),
            End::Protocol(what) => (None, Some(what)),
        };
        for (_, pending) in self.pending.drain() {
            let error = match protocol {
                Some(what) => PeerError::Protocol {
                    target: target.clone(),
                    what: what.into(),
                },
                None => PeerError::Closed {
                    target: target.clone(),
                    source: source.clone(),
                    reused: pending.reused && !pending.answered,
                },
            };
            pending.exchange.fail(error);
        }
    }
}

/// Writes some of what waits, or flushes when nothing does; returns whether all is on its way. May be dropped while it
/// waits, without losing or repeating anything.
async fn push<W: AsyncWrite + Unpin>(writer: &mut W, outgoing: &mut BytesMut) -> io::Result<bool> {
    if !outgoing.has_remaining() {
        writer.flush().await?;
        return Ok(true);
    }
    match writer.write_buf(outgoing).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(false),
    }
}

/// Requests under way on one connection.
pub(super) const MAX_PENDING: usize = 256;
/// So few are not worth a look.
const FEW: usize = 16;
/// Octets that are read at once.
const READ_BUFFER: usize = 64 * 1024;
/// How often those are looked for who have gone.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a late answer may take without being taken for another one's.
const KEEP_ID: Duration = Duration::from_secs(120);
