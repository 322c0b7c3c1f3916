//! Connections to the peers: one handle each, kept while its target stays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
pub(crate) use zonemesh_keep::chain;
use zonemesh_mesh::core::{Beat, Failure, Got, PeerId};
use zonemesh_transfer::inbound::{Incoming, Transfer};
use zonemesh_transfer::peer::{FetchError, Fetched, Options, Peer, PeerError, Target, Transport};
use zonemesh_transfer::query::SoaAnswer;
use zonemesh_transfer::tls::{Pin, SiteKey, Trust};
use zonemesh_transfer::tsig::Key;
use zonemesh_zone::directory::{KeyPin, Site};
use zonemesh_zone::inventory::{Listing, Section};
use zonemesh_zone::{Name, Rcode, Record, Serial, Zone};

use super::transfers::{Under, Way};
use crate::config::Preferred;

/// How long a question may take. Two failures, one after the other, make a peer lost within 15 seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// After how long another address of a peer is asked as well.
const NEXT_ADDRESS: Duration = Duration::from_millis(500);

/// The peers of a site.
pub(crate) struct Pool {
    peers: RwLock<BTreeMap<PeerId, Vec<(Endpoint, Peer)>>>,
    /// Over what each answered last.
    reached: RwLock<BTreeMap<PeerId, &'static str>>,
    /// Where this site listens for its peers.
    listen: BTreeSet<IpAddr>,
}

/// Where and as whom a peer is reached: what makes a connection another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    addr: SocketAddr,
    transport: Transport,
    tsig: Option<Name>,
    /// This site's own key, by its pin: connections made with an old one are closed.
    own: Pin,
    /// The address to come from; the system chooses when there is none.
    source: Option<IpAddr>,
    /// Whether the address is not the directory's, but one that the peer called from.
    met: bool,
}

/// A foreign server as the configuration has it.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) key: Option<Key>,
}

impl Pool {
    /// Makes a pool without peers. A site that listens at one address comes from there too, so that peers that have not
    /// read its new address yet see it.
    pub(crate) fn new<'l>(listen: impl Iterator<Item = &'l SocketAddr>) -> Self {
        Self {
            peers: RwLock::default(),
            reached: RwLock::default(),
            listen: listen.map(SocketAddr::ip).collect(),
        }
    }

    fn source(&self, to: IpAddr) -> Option<IpAddr> {
        let mut own = self
            .listen
            .iter()
            .copied()
            .filter(|own| own.is_ipv4() == to.is_ipv4());
        let one = own.next().filter(|_| own.next().is_none())?;
        (!one.is_unspecified() && one.is_loopback() == to.is_loopback()).then_some(one)
    }

    /// A member has called, proven by its key, from an address that the directory does not have: it may have moved and be
    /// the very site that the directory comes from. That address is tried when all others are silent.
    pub(crate) fn met(&self, id: &PeerId, at: IpAddr, key: &SiteKey) {
        let known = |peers: &BTreeMap<PeerId, Vec<(Endpoint, Peer)>>| {
            let endpoints = peers.get(id);
            endpoints.is_none_or(|all| all.iter().any(|(endpoint, _)| endpoint.addr.ip() == at))
        };
        if self.peers.read().is_ok_and(|peers| known(&peers)) {
            return;
        }
        let Ok(mut peers) = self.peers.write() else {
            return;
        };
        let Some(endpoints) = peers.get_mut(id) else {
            return;
        };
        endpoints.retain(|(endpoint, _)| !endpoint.met);
        let Some(first) = endpoints.first().map(|(first, _)| first.addr.ip()) else {
            return;
        };
        let ways = endpoints
            .iter()
            .filter(|(endpoint, _)| endpoint.addr.ip() == first);
        let there = ways.map(|(endpoint, _)| Endpoint {
            addr: SocketAddr::new(at, endpoint.addr.port()),
            source: self.source(at),
            met: true,
            ..endpoint.clone()
        });
        for endpoint in there.collect::<Vec<_>>() {
            match connect(&endpoint, None, key) {
                Ok(peer) => endpoints.push((endpoint, peer)),
                Err(error) => {
                    tracing::error!(peer = %id, %error, "no connection can be made to this peer")
                }
            }
        }
    }

    /// Follows the members of the mesh: new addresses and keys make new connections, what stays is not touched. Each is asked at
    /// all its addresses over the transport that is preferred, and then over the other, as far as it has them.
    pub(crate) fn set_members(&self, me: &str, sites: &[Site], prefer: Preferred, key: &SiteKey) {
        let mut wanted = BTreeMap::new();
        for site in sites.iter().filter(|site| site.name.as_str() != me) {
            let mut endpoints: Vec<(Endpoint, Option<Key>)> = Vec::new();
            for (port, transport) in ways(site.dot, site.doq, site.pins.iter(), prefer) {
                endpoints.extend(site.addresses.iter().map(|address| {
                    let endpoint = Endpoint {
                        addr: SocketAddr::new(*address, port),
                        transport: transport.clone(),
                        tsig: None,
                        own: key.pin(),
                        source: self.source(*address),
                        met: false,
                    };
                    (endpoint, None)
                }));
            }
            if site.dot.or(site.doq).is_some() {
                wanted.insert(PeerId::Site(site.name.clone()), endpoints);
            }
        }
        self.follow(wanted, key, |id| matches!(id, PeerId::Site(_)));
    }

    /// Follows the foreign servers of the configuration.
    pub(crate) fn set_foreign(&self, foreign: &[Foreign], key: &SiteKey) {
        let wanted = foreign
            .iter()
            .map(|peer| {
                let endpoint = Endpoint {
                    addr: peer.addr,
                    transport: peer.transport.clone(),
                    tsig: peer.key.as_ref().map(|key| key.name().clone()),
                    own: key.pin(),
                    source: None,
                    met: false,
                };
                (
                    PeerId::Foreign(peer.name.as_str().into()),
                    vec![(endpoint, peer.key.clone())],
                )
            })
            .collect();
        self.follow(wanted, key, |id| matches!(id, PeerId::Foreign(_)));
    }

    fn follow(
        &self,
        wanted: BTreeMap<PeerId, Vec<(Endpoint, Option<Key>)>>,
        key: &SiteKey,
        ours: impl Fn(&PeerId) -> bool,
    ) {
        let Ok(mut peers) = self.peers.write() else {
            return;
        };
        peers.retain(|id, _| !ours(id) || wanted.contains_key(id));
        if let Ok(mut reached) = self.reached.write() {
            reached.retain(|id, _| !ours(id) || wanted.contains_key(id));
        }
        for (id, endpoints) in wanted {
            let old = peers.remove(&id).unwrap_or_default();
            let mut new = Vec::new();
            for (endpoint, tsig) in endpoints {
                if let Some((_, peer)) = old.iter().find(|(have, _)| *have == endpoint) {
                    new.push((endpoint, peer.clone()));
                    continue;
                }
                match connect(&endpoint, tsig, key) {
                    Ok(peer) => new.push((endpoint, peer)),
                    Err(error) => {
                        tracing::error!(peer = %id, %error, "no connection can be made to this peer")
                    }
                }
            }
            peers.insert(id, new);
        }
    }

    /// Shows another key to all peers from now on.
    pub(crate) fn set_key(&self, key: &SiteKey) {
        let Ok(mut peers) = self.peers.write() else {
            return;
        };
        for (endpoint, peer) in peers.values_mut().flatten() {
            endpoint.own = key.pin();
            match connect(endpoint, peer.target().tsig.clone(), key) {
                Ok(new) => *peer = new,
                Err(error) => {
                    tracing::error!(addr = %endpoint.addr, %error, "the new key cannot be used; the old one stays")
                }
            }
        }
    }

    /// A peer has shown that it is there: whatever failed before is tried again at once.
    pub(crate) fn wake(&self, id: &PeerId) {
        for peer in self.get(id) {
            peer.wake();
        }
    }

    /// The handles of a peer, one for each of its addresses and transports.
    pub(crate) fn get(&self, id: &PeerId) -> Vec<Peer> {
        let peers = self.peers.read();
        // A site that publishes no TLS of its own, as in a directory that was kept by hand, is met as the configuration says.
        let foreign = match id {
            PeerId::Site(name) => Some(PeerId::Foreign(name.to_string().into())),
            PeerId::Foreign(_) => None,
        };
        peers
            .ok()
            .and_then(|peers| {
                Some(
                    peers
                        .get(id)
                        .or_else(|| peers.get(foreign.as_ref()?))?
                        .iter()
                        .map(|(_, peer)| peer.clone())
                        .collect(),
                )
            })
            .unwrap_or_default()
    }
}

/// Where a site is to be met by port and transport, what is preferred first.
pub(crate) fn ways<'p>(
    dot: Option<u16>,
    doq: Option<u16>,
    pins: impl Iterator<Item = &'p KeyPin>,
    prefer: Preferred,
) -> Vec<(u16, Transport)> {
    let trust = Trust::Pins(pins.map(|pin| pin.0).collect());
    let tls = dot.map(|port| (port, Transport::Tls(trust.clone())));
    let quic = doq.map(|port| (port, Transport::Quic(trust)));
    let both = match prefer {
        Preferred::Tls => [tls, quic],
        Preferred::Quic => [quic, tls],
    };
    both.into_iter().flatten().collect()
}

fn connect(
    endpoint: &Endpoint,
    tsig: Option<Key>,
    key: &SiteKey,
) -> Result<Peer, zonemesh_transfer::tls::TlsError> {
    let options = Options {
        connect_timeout: PATIENCE,
        message_timeout: Duration::from_secs(10),
        // Sites talk at least once a probe; the connection between them stays open.
        idle: Duration::from_secs(60),
        ..Options::default()
    };
    Peer::new(
        Target {
            addr: endpoint.addr,
            source: endpoint.source,
            transport: endpoint.transport.clone(),
            tsig,
        },
        Some(key),
        options,
    )
}

/// # Asking
impl Pool {
    /// Transfers a zone, from the first address that answers. Besides what it brought, says from where. `under` follows it.
    pub(crate) async fn transfer(
        &self,
        from: &PeerId,
        apex: &Name,
        have: Option<&Zone>,
        under: &Under<'_>,
    ) -> Result<(Got, Fetched, Way), Failure> {
        let (fetched, way) = self
            .first(from, |peer| {
                Box::pin(async move {
                    under.tries(peer.target().transport.of_transfers());
                    let mut watched = |transfer: &Transfer| under.follow(transfer);
                    let fetched = peer
                        .transfer_watched(apex, have.cloned(), &mut watched)
                        .await?;
                    let way = Way {
                        transport: fetched.over,
                        ..way_to(peer.target())
                    };
                    Ok::<_, FetchError>((fetched, way))
                })
            })
            .await?;
        let got = match &fetched.incoming {
            Incoming::UpToDate { serial } => Got::UpToDate { serial: *serial },
            Incoming::Full(zone) => Got::Full(zone.clone()),
            Incoming::Diffs { zone, diffs } => Got::Diffs(zone.clone(), diffs.clone()),
        };
        Ok((got, fetched, way))
    }

    /// How a peer is reached for a transfer: at its first address.
    pub(crate) fn way_to(&self, peer: &PeerId) -> Way {
        let first = self.soonest_first(peer).into_iter().next();
        first.map_or_else(Way::default, |peer| way_to(peer.target()))
    }

    /// Over what a peer answered last; before it did, over what it is asked first.
    pub(crate) fn reached(&self, peer: &PeerId) -> Option<&'static str> {
        let reached = self.reached.read().ok();
        let last = reached.and_then(|reached| reached.get(peer).copied());
        last.or_else(|| Some(self.get(peer).first()?.target().transport.name()))
    }

    /// The handles of a peer, those first over what it answered last: where one transport is cut off nothing waits for it. Probes
    /// try the one that is preferred all the time, and find when it is back.
    fn soonest_first(&self, id: &PeerId) -> Vec<Peer> {
        let mut peers = self.get(id);
        if let Some(over) = self.reached(id) {
            peers.sort_by_key(|peer| peer.target().transport.name() != over);
        }
        peers
    }

    fn note_reached(&self, peer: &PeerId, over: &'static str) {
        let known = |reached: &BTreeMap<PeerId, &str>| reached.get(peer) == Some(&over);
        if self.reached.read().is_ok_and(|reached| known(&reached)) {
            return;
        }
        if let Ok(mut reached) = self.reached.write() {
            reached.insert(peer.clone(), over);
        }
    }

    /// Asks for an SOA record.
    pub(crate) async fn soa(&self, of: &PeerId, apex: &Name) -> Result<SoaAnswer, Failure> {
        self.soonest(of, self.soonest_first(of), |peer| {
            Box::pin(async move { peer.soa(apex, PATIENCE).await })
        })
        .await
    }

    /// Asks a member for its serial of the directory, and how it is.
    pub(crate) async fn probe(
        &self,
        of: &PeerId,
        directory: &Name,
    ) -> Result<(Serial, Option<Beat>), Failure> {
        self.soonest(of, self.get(of), |peer| {
            Box::pin(async move {
                let asked = Instant::now();
                let answer = peer.soa_and_heartbeat(directory, PATIENCE).await?;
                // Its time was right half of the way ago, more or less.
                let half = asked.elapsed().as_millis() as i64 / 2;
                let then = Timestamp::now().as_millisecond() - half;
                let beat = answer.heartbeat.map(|heartbeat| Beat {
                    ahead_ms: heartbeat.unix_ms.saturating_sub(then),
                    stuck: Duration::from_secs(heartbeat.stuck_secs.into()),
                    sum: answer.sum,
                });
                Ok::<_, PeerError>((answer.soa.serial, beat))
            })
        })
        .await
    }

    /// Asks a member what it holds in a section; none when it does not understand the question.
    pub(crate) async fn compare(
        &self,
        of: &PeerId,
        directory: &Name,
        section: Section,
    ) -> Result<Option<Listing>, Failure> {
        let answer = self.soonest(of, self.soonest_first(of), |peer| {
            Box::pin(async move { peer.soa_and_section(directory, section, PATIENCE).await })
        });
        let listing = answer.await?.listing;
        Ok(listing.and_then(|(about, listing)| (about == section).then_some(listing)))
    }

    /// Sends a NOTIFY.
    pub(crate) async fn notify(&self, to: &PeerId, soa: &Record) -> Result<(), Failure> {
        self.soonest(to, self.soonest_first(to), |peer| {
            Box::pin(async move { peer.notify(soa, PATIENCE).await })
        })
        .await
    }

    /// Sends an update and returns the answer. Without one it says whether the update may have been made all the same.
    pub(crate) async fn update(
        &self,
        to: &PeerId,
        message: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, Unanswered> {
        let mut unanswered = Unanswered {
            message: unknown(to).message,
            may_be_done: false,
        };
        for peer in self.soonest_first(to) {
            match peer.request(message.to_vec(), patience).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    unanswered.message = failure(&error).message;
                    unanswered.may_be_done |= error.may_have_arrived();
                    if !error.is_silence() {
                        break;
                    }
                }
            }
        }
        Err(unanswered)
    }

    /// Asks something small: at the next address as well when one has not answered for a while, so that a peer with many
    /// addresses that hangs is noticed as soon as one with a single one.
    async fn soonest<'a, T, E: Error + 'static>(
        &self,
        id: &PeerId,
        peers: Vec<Peer>,
        ask: impl Fn(Peer) -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<T, Failure> {
        let asks = peers.into_iter().map(|peer| {
            let over = peer.target().transport.name();
            let answer = ask(peer);
            async move {
                let answer = answer.await.map_err(|error| failure(&error))?;
                Ok((answer, over))
            }
        });
        let answered = race(asks, NEXT_ADDRESS).await;
        let (answer, over) = answered.unwrap_or_else(|| Err(unknown(id)))?;
        self.note_reached(id, over);
        Ok(answer)
    }

    /// Asks at the first address that answers.
    async fn first<'a, T, E: Error + 'static>(
        &self,
        id: &PeerId,
        ask: impl Fn(Peer) -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<T, Failure> {
        // The directory's address comes first, and so does what happened there.
        let mut silent = None;
        for peer in self.soonest_first(id) {
            let over = peer.target().transport.name();
            match ask(peer).await {
                Ok(answer) => {
                    self.note_reached(id, over);
                    return Ok(answer);
                }
                Err(error) => {
                    let failure = failure(&error);
                    if !failure.unreachable {
                        return Err(failure);
                    }
                    silent.get_or_insert(failure);
                }
            }
        }
        Err(silent.unwrap_or_else(|| unknown(id)))
    }
}

/// Starts one question after the other, the next when one has failed or that much time is over, until one is answered;
/// none when there is none. Where nobody answers it is as the first one has it.
async fn race<T>(
    mut asks: impl ExactSizeIterator<Item = impl Future<Output = Result<T, Failure>>>,
    pause: Duration,
) -> Option<Result<T, Failure>> {
    let mut asked = FuturesUnordered::new();
    let mut silent: Option<(usize, Failure)> = None;
    loop {
        if let Some(ask) = asks.next() {
            let number = asks.len();
            asked.push(async move { (number, ask.await) });
        }
        tokio::select! {
            answered = asked.next() => match answered {
                None => return silent.map(|(_, failure)| Err(failure)),
                Some((number, Err(failure))) if failure.unreachable => {
                    // The fewer were left, the later it was asked.
                    if silent.as_ref().is_none_or(|(before, _)| number > *before) {
                        silent = Some((number, failure));
                    }
                }
                Some((_, answer)) => return Some(answer),
            },
            () = tokio::time::sleep(pause), if asks.len() > 0 => {}
        }
    }
}

fn way_to(target: &Target) -> Way {
    let proof = match (&target.transport, &target.tsig) {
        (Transport::Tls(trust) | Transport::Quic(trust), _) if *trust != Trust::Anyone => {
            trust.proof()
        }
        (_, Some(_)) => "tsig",
        (_, None) => "address",
    };
    Way {
        addr: target.addr.to_string(),
        transport: target.transport.of_transfers(),
        proof,
        key: target.tsig.as_ref().map(|key| key.name().clone()),
    }
}

/// No answer came to an update.
pub(crate) struct Unanswered {
    /// Why.
    pub(crate) message: String,
    /// Whether it may have been made.
    pub(crate) may_be_done: bool,
}

fn unknown(id: &PeerId) -> Failure {
    Failure {
        message: format!(
            "{id} has no address at which it can be reached over TLS or QUIC; a [[peer]] of that name says how else"
        ),
        unreachable: true,
        lacks: false,
    }
}

/// What the core is told of an error.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let peer = match error.downcast_ref::<FetchError>() {
        Some(FetchError::Peer(error)) => Some(error),
        _ => error.downcast_ref::<PeerError>(),
    };
    let rcode = match peer {
        Some(PeerError::Rcode { rcode, .. }) => Some(*rcode),
        _ => None,
    };
    Failure {
        // What happened to the peer, not that it is left alone for a while since.
        message: match peer {
            Some(PeerError::BackingOff { last, .. }) => chain(last.as_ref()),
            _ => chain(error),
        },
        unreachable: peer.is_some_and(PeerError::is_silence),
        // REFUSED says nothing of the kind: it may not know us yet.
        lacks: matches!(rcode, Some(Rcode::NOTAUTH | Rcode::SERVFAIL)),
    }
}

#[cfg(test)]
mod tests {
    use zonemesh_zone::directory::SiteName;

    use super::*;

    fn site(dot: Option<u16>, doq: Option<u16>) -> Site {
        Site {
            name: SiteName::new("site-b").unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
            dot,
            doq,
            dns: None,
            pins: vec![KeyPin([7; 32])],
            role: zonemesh_zone::directory::Role::Standard,
            engine: String::new(),
            failure_domain: None,
        }
    }

    fn targets(peers: Vec<Peer>) -> Vec<String> {
        peers.iter().map(|peer| peer.target().to_string()).collect()
    }

    #[tokio::test]
    async fn a_site_is_asked_over_what_is_preferred_and_then_over_the_other() {
        let key = SiteKey::generate("site-a").unwrap();
        let pool = Pool::new([].iter());
        let b = PeerId::Site(SiteName::new("site-b").unwrap());
        let seen = |dot, doq, prefer| {
            pool.set_members("site-a", &[site(dot, doq)], prefer, &key);
            targets(pool.get(&b))
        };
        let tls = ["192.0.2.1:853 (tls)", "192.0.2.2:853 (tls)"];
        let quic = ["192.0.2.1:8853 (quic)", "192.0.2.2:8853 (quic)"];
        let (dot, doq) = (Some(853), Some(8853));
        assert_eq!(seen(dot, doq, Preferred::Tls), [tls, quic].concat());
        assert_eq!(seen(dot, doq, Preferred::Quic), [quic, tls].concat());
        assert_eq!(seen(None, doq, Preferred::Tls), quic);
        assert_eq!(seen(dot, None, Preferred::Quic), tls);
        assert!(seen(None, None, Preferred::Tls).is_empty());
    }

    #[tokio::test]
    async fn what_answered_last_is_asked_first_but_for_probes() {
        let key = SiteKey::generate("site-a").unwrap();
        let pool = Pool::new([].iter());
        let b = PeerId::Site(SiteName::new("site-b").unwrap());
        let sites = [site(Some(853), Some(853))];
        pool.set_members("site-a", &sites, Preferred::Tls, &key);
        assert_eq!(pool.reached(&b), Some("tls"));
        assert_eq!(pool.way_to(&b).transport, "tls");
        pool.note_reached(&b, "quic");
        assert_eq!(pool.reached(&b), Some("quic"));
        assert_eq!(pool.way_to(&b).transport, "quic");
        let overs = |peers: Vec<Peer>| {
            let names = peers.iter().map(|peer| peer.target().transport.name());
            names.collect::<Vec<_>>()
        };
        let first = overs(pool.soonest_first(&b));
        assert_eq!(first, ["quic", "quic", "tls", "tls"]);
        assert_eq!(overs(pool.get(&b)), ["tls", "tls", "quic", "quic"]);
        // Who leaves is forgotten.
        pool.set_members("site-a", &[], Preferred::Tls, &key);
        assert_eq!(pool.reached(&b), None);
    }

    #[tokio::test]
    async fn a_site_that_calls_from_elsewhere_is_tried_there_over_both() {
        let key = SiteKey::generate("site-a").unwrap();
        let pool = Pool::new([].iter());
        let b = PeerId::Site(SiteName::new("site-b").unwrap());
        let sites = [site(Some(853), Some(8853))];
        pool.set_members("site-a", &sites, Preferred::Tls, &key);
        for _ in 0..2 {
            pool.met(&b, "192.0.2.9".parse().unwrap(), &key);
            let met = targets(pool.get(&b)).split_off(4);
            assert_eq!(met, ["192.0.2.9:853 (tls)", "192.0.2.9:8853 (quic)"]);
        }
    }

    const PAUSE: Duration = Duration::from_millis(1);

    fn silence(from: &str) -> Failure {
        Failure {
            message: from.to_owned(),
            unreachable: true,
            lacks: false,
        }
    }

    fn ask(answer: Option<Result<u8, Failure>>) -> BoxFuture<'static, Result<u8, Failure>> {
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                // It hangs.
                None => std::future::pending().await,
            }
        })
    }

    async fn raced(asks: Vec<Option<Result<u8, Failure>>>) -> Option<Result<u8, Failure>> {
        race(asks.into_iter().map(ask), PAUSE).await
    }

    #[tokio::test]
    async fn an_address_that_hangs_does_not_keep_the_next_one_from_being_asked() {
        assert_eq!(raced(vec![None, None, Some(Ok(3))]).await, Some(Ok(3)));
        assert_eq!(
            raced(vec![None, Some(Err(silence("b"))), Some(Ok(3))]).await,
            Some(Ok(3))
        );
    }

    #[tokio::test]
    async fn who_answers_is_believed_and_where_nobody_does_the_first_address_says_why() {
        let says_no = || {
            Some(Err(Failure {
                unreachable: false,
                ..silence("no")
            }))
        };
        let no = raced(vec![Some(Err(silence("a"))), says_no(), Some(Ok(1))]).await;
        assert_eq!(no.unwrap().unwrap_err().message, "no");
        let nobody = raced(vec![Some(Err(silence("a"))), Some(Err(silence("b")))]).await;
        assert_eq!(nobody, Some(Err(silence("a"))));
        assert_eq!(raced(Vec::new()).await, None);
    }
}
