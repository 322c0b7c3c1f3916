//! Messages that are no plain queries: transfers out, NOTIFY, UPDATE, and whatever is signed with TSIG.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use zonemesh_api::types::Direction;
use zonemesh_mesh::core::{Input, PeerId, Reply};
use zonemesh_serve::{
    Access, Client, Expiry, Handler, Moment, Request, Responder, Served, Transport, since_boot,
};
use zonemesh_transfer::outbound::{Content, Response};
use zonemesh_transfer::query::{self, ExtendedError, Question, RequestError};
use zonemesh_transfer::tsig::{Judgement, Signer, Stamp, TsigRefusal, Verified};
use zonemesh_update::{DirectoryPolicy, SiteIdentity, Update, apply};
use zonemesh_zone::{Author, By, Name, Rcode, Serial};

use super::access::{self, Identity};
use super::gate::Place;
use super::live::Live;
use super::membership;
use super::places::Places;
use super::transfers::{Begun, Ended, Way};

/// A transfer out that takes longer lets another one begin.
const LONG_TRANSFER: Duration = Duration::from_secs(5);
/// How many messages of a transfer are made before they are handed over: the task of the connection is woken once for all of them.
const TOGETHER: usize = 8;
/// How long an update may take to become durable.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
/// RFC 8914: "Prohibited".
const PROHIBITED: u16 = 18;
/// RFC 8914: "Not Ready".
const NOT_READY: u16 = 14;
/// RFC 8914: "Other Error".
const OTHER: u16 = 0;

/// The handler that the listeners call.
pub(crate) fn handler(live: Arc<Live>) -> Handler {
    let runtime = tokio::runtime::Handle::current();
    let places = Places::new();
    Arc::new(move |request, responder| {
        // When all places are taken the message is dropped; who sent it asks again.
        let Some(place) = places.take(request.client.transport) else {
            live.refused_busy.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let live = live.clone();
        runtime.spawn(async move {
            handle(&live, request, responder, place).await;
        });
    })
}

/// A request on its way through here: what was asked, by whom, and how the answer is signed.
struct Asked {
    /// The request without its TSIG record.
    message: Vec<u8>,
    client: Client,
    identity: Identity,
    key: Option<Name>,
    signer: Option<Signer>,
    /// When and how it was signed.
    stamp: Option<Stamp>,
    responder: Responder,
}

async fn handle(
    live: &Arc<Live>,
    request: Request,
    responder: Responder,
    place: OwnedSemaphorePermit,
) {
    let Request { message, client } = request;
    let verified = live.keys.load().verify_request(&message, Timestamp::now());
    let (message, key, signer, stamp) = match verified {
        Ok(Some(Verified {
            key,
            message,
            signer,
            stamp,
        })) => (message, Some(key), Some(signer), Some(stamp)),
        Ok(None) => (message.to_vec(), None, None, None),
        Err(refusal) => {
            let TsigRefusal { reply, error } = *refusal;
            if live.may_log("bad TSIG") {
                let clocks = live.progress.seen().about_clocks(&error);
                tracing::warn!(client = %client.addr, %error, clocks, "a request with a bad TSIG signature was refused");
            }
            if let Some(reply) = reply {
                send(&responder, reply).await;
            }
            return;
        }
    };
    let identity = Identity::of(
        &client,
        key.as_ref(),
        live.directory.load().as_ref().as_ref(),
    );
    match &identity {
        Identity::Site(site) => {
            let peer = PeerId::Site(site.clone());
            live.pool.met(&peer, client.ip(), &live.key.load());
            live.pool.wake(&peer);
        }
        Identity::Removed(site) => live.knocked(site.as_str(), client.ip()),
        Identity::Other { .. } => {}
    }
    let mut asked = Asked {
        message,
        client,
        identity,
        key,
        signer,
        stamp,
        responder,
    };
    if let Some(reply) = query::edns_refusal(&asked.message) {
        return asked.answer(reply).await;
    }
    // The opcode stands in the third octet.
    match asked.message.get(2).map(|octet| octet >> 3 & 0xF) {
        Some(5) => update(live, asked).await,
        _ => match query::Request::parse(&asked.message) {
            Ok(request) => match request.question {
                Question::Notify { serial } => notify(live, asked, &request.zone, serial).await,
                Question::Soa if asked.signer.is_none() => {
                    asked.refuse(Rcode::NOTIMP, OTHER, "").await
                }
                _ => transfer_out(live, asked, request, place).await,
            },
            Err(RequestError::Other) => signed_query(live, asked).await,
            Err(error) => {
                if let Some(rcode) = error.rcode() {
                    asked.refuse(rcode, OTHER, &error.to_string()).await;
                }
            }
        },
    }
}

impl Asked {
    /// Who asks, for people to read.
    fn peer(&self) -> String {
        match (&self.identity, &self.key) {
            (Identity::Site(site), _) => site.to_string(),
            (_, Some(key)) => key.to_string(),
            (_, None) => self.client.ip().to_string(),
        }
    }

    /// Who has a share of the transfers of its own: a site, or an address.
    fn share(&self) -> String {
        match &self.identity {
            Identity::Site(site) => site.to_string(),
            _ => self.client.ip().to_string(),
        }
    }

    /// How it asks, and what proves who it is.
    fn way(&self) -> Way {
        Way {
            addr: self.client.addr.to_string(),
            transport: self.client.transport.name(),
            proof: match (&self.key, self.client.pin) {
                (_, Some(_)) => "tls-key",
                (Some(_), None) => "tsig",
                (None, None) => "address",
            },
            key: self.key.clone(),
        }
    }

    /// Who makes the change that an update asks for.
    fn author(&self) -> Option<Author> {
        let (by, who) = match (&self.identity, &self.key) {
            (Identity::Site(site), _) => (By::Site, site.to_string()),
            (_, Some(key)) => (By::Update, key.fmt_with_dot().to_string()),
            // An address alone is not enough to update anything, and proves nothing.
            (_, None) => return None,
        };
        Some(Author {
            by,
            who,
            from: Some(self.client.ip().to_string()),
        })
    }

    /// Signs and sends an answer.
    async fn answer(&mut self, mut message: Vec<u8>) {
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut message, Timestamp::now());
        }
        send(&self.responder, message).await;
    }

    async fn refuse(&mut self, rcode: Rcode, code: u16, why: &str) {
        let why: Option<ExtendedError<'_>> = (!why.is_empty()).then_some((code, why));
        if let Some(reply) = query::reply(&self.message, rcode, why) {
            self.answer(reply).await;
        }
    }
}

async fn send(responder: &Responder, message: Vec<u8>) {
    if responder.send(message).await.is_err() {
        tracing::debug!("a client has gone before its answer");
    }
}

/// A plain query that is signed: answered as any other, and the answer signed.
async fn signed_query(live: &Live, mut asked: Asked) {
    let mut out = Vec::new();
    let now = Moment::now();
    let shared = &live.shared;
    let outcome = match access::is_trusted(&live.config.load(), &asked.client, &asked.identity) {
        true => shared.answer_member(&asked.message, &asked.client, now, &mut out),
        false => shared.view(now, |view| {
            zonemesh_serve::answer(&asked.message, &asked.client, view, &mut out)
        }),
    };
    match outcome {
        zonemesh_serve::Outcome::Reply => asked.answer(out).await,
        zonemesh_serve::Outcome::Drop | zonemesh_serve::Outcome::Close => {}
        zonemesh_serve::Outcome::Control => asked.refuse(Rcode::NOTIMP, OTHER, "").await,
    }
}

async fn notify(live: &Live, mut asked: Asked, zone: &Name, serial: Option<Serial>) {
    let config = live.config.load();
    match access::notifier(&config, &live.brought, &asked.client, &asked.identity, zone) {
        Some(from) => {
            // Anybody can write a sender's address on a datagram. What it says is reason enough to ask, and no more: a serial
            // that nobody has would be jumped over by the primary, and never be undercut again.
            let proven = asked.key.is_some() || asked.client.transport != Transport::Udp;
            let serial = serial.filter(|_| proven);
            tracing::debug!(zone = %zone, direction = "in", peer = %from, serial = serial.map(Serial::into_int), "NOTIFY");
            live.core.send(Input::Notify {
                apex: zone.clone(),
                serial,
                from,
            });
            asked.refuse(Rcode::NOERROR, OTHER, "").await;
        }
        None => {
            if live.mesh.is_some() && live.directory.load().is_none() {
                // Sites tell a new one of their zones before it knows who they are.
                tracing::debug!(zone = %zone, client = %asked.client.addr, "a NOTIFY came before the directory was known");
            } else if live.may_log("refused NOTIFY") {
                tracing::info!(zone = %zone, client = %asked.client.addr, "a NOTIFY from somebody who may not send one was refused");
            }
            asked
                .refuse(
                    Rcode::REFUSED,
                    PROHIBITED,
                    "not a primary of this zone, nor a member of this mesh",
                )
                .await;
        }
    }
}

/// AXFR, IXFR, and SOA queries that are signed or ask for EXPIRE.
async fn transfer_out(
    live: &Arc<Live>,
    mut asked: Asked,
    request: query::Request,
    place: OwnedSemaphorePermit,
) {
    let served: Option<Served> = live.shared.zones.load().get(&request.zone).cloned();
    let Some(served) = served else {
        if !live.started.load(Ordering::Acquire) {
            // Whoever asks must not conclude that the zone is nowhere.
            return asked
                .refuse(Rcode::REFUSED, NOT_READY, "this site is starting")
                .await;
        }
        return asked
            .refuse(Rcode::NOTAUTH, OTHER, "not a zone of this server")
            .await;
    };
    let config = live.config.load_full();
    let (client, identity) = (&asked.client, &asked.identity);
    let allowed = match (&request.question, served.access) {
        (Question::Soa, Access::Public) => true,
        // A signature alone does not make a member: anybody's key may be known here, that of a spent invitation too.
        (Question::Soa, Access::Members) => access::is_trusted(&config, client, identity),
        _ => access::may_transfer(&config, &live.brought, client, identity, &request.zone),
    };
    if !allowed {
        if live.may_log("refused transfer") {
            tracing::info!(zone = %request.zone, direction = "out", client = %asked.client.addr, "transfer refused");
        }
        let why = match &asked.identity {
            Identity::Removed(_) => "this site was removed from the mesh",
            _ => "no right to transfer this zone",
        };
        return asked.refuse(Rcode::REFUSED, PROHIBITED, why).await;
    }
    if matches!(request.question, Question::Axfr) && asked.client.transport == Transport::Udp {
        return asked
            .refuse(Rcode::FORMERR, OTHER, "AXFR does not go over UDP")
            .await;
    }
    let Some(mut zone) = served.zone else {
        return asked
            .refuse(
                Rcode::SERVFAIL,
                NOT_READY,
                "this zone is not held here, or has expired",
            )
            .await;
    };
    if let Some(serial) = held_back(live, &asked, &request).await {
        let mut editor = zone.edit();
        editor.set_serial(serial);
        match editor.finish() {
            Ok(same) => zone = same,
            Err(error) => tracing::error!(zone = %request.zone, %error, "a serial cannot be set"),
        }
    }
    let live = live.clone();
    // Who waits for a transfer must not keep updates and NOTIFYs out.
    let Ok(_waiting) = live.waiting_out.clone().try_acquire_owned() else {
        let why = "too many transfers wait here";
        return asked.refuse(Rcode::SERVFAIL, NOT_READY, why).await;
    };
    drop(place);
    // Nobody is lost here.
    let Ok(place) = live.transfers_out.enter(&asked.share()).await else {
        return;
    };
    // Making a large answer takes a while, and waits for a slow reader: not on a worker of the runtime.
    let sent = tokio::task::spawn_blocking(move || {
        stream_out(&live, asked, &request, zone, &served.expiry, place)
    });
    if let Err(error) = sent.await {
        tracing::error!(%error, "a transfer ended early");
    }
}

/// Which serial a site is told that it is up to date with: its own, where it asks for what has come since a version that this
/// site, the zone's primary, has forgotten. That version is fetched from it before it takes any other.
async fn held_back(live: &Live, asked: &Asked, request: &query::Request) -> Option<Serial> {
    let (Question::Ixfr { from }, Identity::Site(site)) = (&request.question, &asked.identity)
    else {
        return None;
    };
    let (apex, peer, serial) = (request.zone.clone(), PeerId::Site(site.clone()), *from);
    let (zone, asker) = (apex.clone(), peer.clone());
    let held = live
        .core
        .look(move |core, _| core.holds_back(&zone, &asker, serial));
    // When the core has stopped so has the site.
    if !held.await.unwrap_or(false) {
        return None;
    }
    live.core.send(Input::Notify {
        apex,
        serial: Some(serial),
        from: peer,
    });
    Some(serial)
}

fn stream_out(
    live: &Live,
    mut asked: Asked,
    request: &query::Request,
    zone: zonemesh_zone::Zone,
    expiry: &Expiry,
    mut place: Place,
) {
    let serial = zone.serial();
    let expire = expiry.told(&zone, since_boot());
    let count = zone.record_count();
    let apex = request.zone.clone();
    let mut response = Response::new(request, zone, |from| {
        live.journal.since(&apex, from, serial).or_else(|| {
            let stored = live.store.diffs_since(&apex, from);
            stored.unwrap_or_else(|error| {
                tracing::error!(zone = %apex, error = super::pool::chain(&error), "history cannot be read; sending the whole zone");
                None
            })
        })
    })
    .with_expire(expire);
    if let Some(signer) = &asked.signer {
        response = response.with_reserve(signer.max_len());
    }
    if asked.client.transport == Transport::Udp {
        let size = request
            .edns
            .map_or(512, |edns| usize::from(edns.payload_size));
        response = response.for_udp(size.min(1232));
    }
    let kind = match response.content() {
        Content::Soa => "SOA",
        Content::Axfr => "AXFR",
        Content::Ixfr(_) => "IXFR",
    };
    let under = live.transfers.begin(Begun {
        zone: request.zone.clone(),
        direction: Direction::Out,
        peer: asked.peer(),
        transport: asked.client.transport.name(),
        from_serial: match request.question {
            Question::Ixfr { from } => Some(from.into_int()),
            _ => None,
        },
        expected: Some(records_of(response.content(), count)),
    });
    let (mut error, mut sent) = (None, 0);
    let mut messages = response.messages();
    // The first alone: it may be all there is, and who asks sees that something comes.
    let mut together = 1;
    loop {
        let batch: Vec<(u64, Vec<u8>)> = messages
            .by_ref()
            .take(together)
            .map(|mut message| {
                let records = answers_in(&message);
                if let Some(signer) = &mut asked.signer {
                    signer.sign(&mut message, Timestamp::now());
                }
                (records, message)
            })
            .collect();
        if batch.is_empty() {
            break;
        }
        together = TOGETHER;
        for (records, message) in batch {
            sent += records;
            under.sent(records, message.len());
            if asked.responder.blocking_send(message).is_err() {
                error = Some("the client went away");
                break;
            }
        }
        if error.is_some() {
            break;
        }
        if under.elapsed() > LONG_TRANSFER {
            place.move_aside();
        }
    }
    under.log(&Ended {
        // What does not fit into a datagram is asked for over TCP.
        kind: if sent == 1 { "SOA" } else { kind },
        serial: Some(serial.into_int()),
        way: &asked.way(),
        fell_back: None,
        error,
    });
}

/// ANCOUNT of a message.
fn answers_in(message: &[u8]) -> u64 {
    message
        .get(6..8)
        .map_or(0, |octets| u64::from(octets[0]) << 8 | u64::from(octets[1]))
}

/// How many records an answer has.
fn records_of(content: &Content, zone: usize) -> u64 {
    let records = match content {
        Content::Soa => 1,
        // The SOA record ends it as well.
        Content::Axfr => zone + 1,
        Content::Ixfr(diffs) => {
            let changes = diffs.iter();
            let changes = changes.map(|diff| diff.removed.len() + diff.added.len());
            changes.sum::<usize>() + 2
        }
    };
    records as u64
}

/// RFC 2136.
async fn update(live: &Arc<Live>, mut asked: Asked) {
    let ticket = match asked.judge_repetition(live) {
        None => None,
        Some(Judgement::New(ticket)) => Some(ticket),
        Some(Judgement::UnderWay) => return,
        Some(Judgement::Answered(rcode)) => {
            return asked.refuse(rcode, OTHER, "").await;
        }
        Some(Judgement::Repeated) => {
            return asked
                .refuse_repetition(
                    live,
                    "this very update has come before, and is not done twice",
                )
                .await;
        }
        Some(Judgement::TooOld) => {
            let why = "it was signed before this server started, or too long ago to know whether it has come before";
            return asked.refuse_repetition(live, why).await;
        }
    };
    let (rcode, why) = match Update::parse(&asked.message) {
        Ok(update) => perform_update(live, &asked, update).await,
        Err(error) => (error.rcode(), error.to_string()),
    };
    if let Some(ticket) = ticket {
        live.replays().answered(&ticket, rcode);
    }
    asked.update_done(live, rcode, &why).await;
}

async fn perform_update(live: &Arc<Live>, asked: &Asked, update: Update) -> (Rcode, String) {
    let is_directory = live
        .mesh
        .as_ref()
        .is_some_and(|(directory, _)| *directory == update.zone);
    match is_directory {
        true => update_directory(live, asked, update).await,
        false => update_zone(live, asked, update).await,
    }
}

impl Asked {
    /// Whether an update that is signed has come before; none when it is not signed.
    fn judge_repetition(&self, live: &Live) -> Option<Judgement> {
        let (key, stamp) = self.key.as_ref().zip(self.stamp.as_ref())?;
        let from = (self.client.transport == Transport::Udp).then_some(self.client.addr);
        Some(live.replays().judge(key, stamp, from, Timestamp::now()))
    }

    /// RFC 8945 §5.2.3: BADTIME is what is said to a request that comes too late, one that has come before included.
    async fn refuse_repetition(self, live: &Live, why: &str) {
        if live.may_log("repeated UPDATE") {
            let key = self.key.as_ref().map(tracing::field::display);
            tracing::warn!(client = %self.client.addr, key, why, "a signed UPDATE was refused with BADTIME");
        }
        let reply = query::reply(&self.message, Rcode::NOTAUTH, Some((OTHER, why)));
        let (Some(mut reply), Some(signer), Some(stamp)) = (reply, self.signer, self.stamp) else {
            return;
        };
        signer.sign_bad_time(&mut reply, &stamp, Timestamp::now());
        send(&self.responder, reply).await;
    }

    async fn update_done(&mut self, live: &Live, rcode: Rcode, why: &str) {
        if rcode != Rcode::NOERROR && live.may_log("refused UPDATE") {
            tracing::info!(client = %self.client.addr, %rcode, why, "UPDATE refused");
        }
        self.refuse(rcode, OTHER, why).await;
    }
}

/// An update of the directory: by a member, of its own records, or by a newcomer with a welcome packet.
async fn update_directory(live: &Arc<Live>, asked: &Asked, update: Update) -> (Rcode, String) {
    let Some((directory, catalog)) = live.mesh.clone() else {
        return (Rcode::NOTAUTH, String::new());
    };
    if !asked.client.transport.is_encrypted() {
        return (
            Rcode::REFUSED,
            "the directory is updated over TLS or QUIC only".to_owned(),
        );
    }
    // One newcomer after the other, until its token is spent durably: of two with the same packet the second must see that.
    let _turn = match (&asked.identity, &asked.key) {
        (Identity::Site(_), _) | (_, None) => None,
        (_, Some(_)) => Some(live.joins.lock().await),
    };
    let identity = match (&asked.identity, &asked.key) {
        (Identity::Site(site), _) => membership::Who::Member(site.clone()),
        (Identity::Removed(site), None) => {
            return (
                Rcode::REFUSED,
                format!(
                    "site {site} was removed from this mesh; it needs a new key and a welcome packet"
                ),
            );
        }
        (_, Some(key)) => match membership::token_of(live, key).await {
            Ok(token) => membership::Who::Newcomer(token),
            Err(why) => return (Rcode::REFUSED, why),
        },
        _ => return (Rcode::REFUSED, "not a member of this mesh".to_owned()),
    };
    let from = asked.client.ip();
    let wall = Timestamp::now().as_second();
    let reply = live.core.request_by(asked.author(), move |core, request| {
        let refuse = |rcode, reason| Err(Reply::Refused { rcode, reason });
        if !core.is_catalog_primary() {
            let at = core
                .catalog_primary()
                .map_or("not known here".to_owned(), |site| site.name.to_string());
            return refuse(
                Rcode::NOTAUTH,
                format!("this site is not the catalog primary; that is {at}"),
            );
        }
        let Some(head) = core.head(&directory) else {
            return refuse(Rcode::SERVFAIL, "the directory is not held yet".to_owned());
        };
        // As the older convention has it too, so that nobody claims a zone that is named there.
        let Some(read) = core.directory_ahead() else {
            return refuse(Rcode::SERVFAIL, "the directory is not held yet".to_owned());
        };
        let (site_identity, also) = match identity {
            membership::Who::Member(site) => (SiteIdentity::Member(site), Vec::new()),
            membership::Who::Newcomer(token) => {
                match membership::spend(&token, wall, from, &read) {
                    Ok((identity, used)) => (identity, vec![used]),
                    Err(why) => {
                        let clock = core.clock_faults().first();
                        let clock = clock.map(|fault| format!("; {fault}")).unwrap_or_default();
                        return refuse(Rcode::REFUSED, format!("{why}{clock}"));
                    }
                }
            }
        };
        let reserved = [directory.clone(), catalog.clone()];
        let policy = DirectoryPolicy::new(site_identity, &read, &reserved);
        match apply(head, &update, &policy) {
            Ok(applied) => Ok(Input::Directory {
                request,
                edited: applied.zone,
                also,
            }),
            Err(refusal) => refuse(refusal.rcode(), refusal.to_string()),
        }
    });
    outcome(reply).await
}

/// An update of any other zone, by the rules of the configuration.
async fn update_zone(live: &Arc<Live>, asked: &Asked, update: Update) -> (Rcode, String) {
    let config = live.config.load_full();
    let Some(zone) = config.zones.iter().find(|zone| zone.name == update.zone) else {
        return (
            Rcode::NOTAUTH,
            format!("{} is not a zone that is updated here", update.zone),
        );
    };
    let allowed = access::may_update(zone, &asked.client, asked.key.as_ref());
    if !zone.dynamic || !allowed {
        return (Rcode::REFUSED, "no right to update this zone".to_owned());
    }
    let apex = update.zone.clone();
    let reply = live.core.request_by(asked.author(), move |core, request| {
        let Some(head) = core.head(&apex) else {
            return Err(Reply::Refused {
                rcode: Rcode::SERVFAIL,
                reason: "the zone is not held yet".to_owned(),
            });
        };
        match apply(head, &update, &zonemesh_update::Everything) {
            Ok(applied) => Ok(Input::Change {
                request,
                change: zonemesh_mesh::core::Change::Edited(applied.zone),
            }),
            Err(refusal) => Err(Reply::Refused {
                rcode: refusal.rcode(),
                reason: refusal.to_string(),
            }),
        }
    });
    outcome(reply).await
}

/// How an update ended. A disk that hangs must not keep its sender waiting for ever.
async fn outcome(
    reply: impl Future<Output = Result<Reply, super::driver::Stopped>>,
) -> (Rcode, String) {
    match tokio::time::timeout(COMMIT_PATIENCE, reply).await {
        Ok(Ok(Reply::Done { .. } | Reply::Receipt(_))) => (Rcode::NOERROR, String::new()),
        Ok(Ok(Reply::Refused { rcode, reason })) => (rcode, reason),
        Ok(Err(stopped)) => (Rcode::SERVFAIL, stopped.to_string()),
        Err(_) => {
            let why = "the change is not on disk yet, and it is not known whether it will be";
            (Rcode::SERVFAIL, why.to_owned())
        }
    }
}
