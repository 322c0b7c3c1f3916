//! How many requests may be under way at a time: what no flood of one kind can take from others.
//!
//! Who sends a datagram may be anybody, with any address: such requests have places of their own, so that a flood of them keeps
//! nobody from transfers and updates who comes over a connection, and connections are limited for each client.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zonemesh_serve::Transport;

/// Requests over TCP, TLS and QUIC.
const STREAMS: usize = 1024;
/// Requests over UDP: most are NOTIFYs, which take no time.
const DATAGRAMS: usize = 512;

/// The places for requests that are under way.
pub(super) struct Places {
    streams: Arc<Semaphore>,
    datagrams: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            streams: Arc::new(Semaphore::new(STREAMS)),
            datagrams: Arc::new(Semaphore::new(DATAGRAMS)),
        }
    }

    /// Takes a place until what is returned is dropped; none when all are taken.
    pub(super) fn take(&self, transport: Transport) -> Option<OwnedSemaphorePermit> {
        let places = match transport {
            Transport::Udp => &self.datagrams,
            Transport::Tcp | Transport::Tls | Transport::Quic => &self.streams,
        };
        places.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_datagrams_leaves_places_for_connections_and_the_other_way_round() {
        let places = Places::new();
        let flood: Vec<_> = std::iter::from_fn(|| places.take(Transport::Udp)).collect();
        assert_eq!(flood.len(), DATAGRAMS);
        let streams: Vec<_> = std::iter::from_fn(|| places.take(Transport::Tls)).collect();
        assert_eq!(streams.len(), STREAMS);
        assert!(places.take(Transport::Tcp).is_none() && places.take(Transport::Quic).is_none());
        drop(flood);
        assert!(places.take(Transport::Udp).is_some());
    }
}
