//! Does what the core asks for, and reports back to it.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use zonemesh_api::types::Direction;
use zonemesh_keep::{Disk, Done, Job};
use zonemesh_mesh::core::{Failure, Got, Happening, Input, Output, PeerId, ZoneSpec};
use zonemesh_serve::{Access, Expiry, Members, Served};
use zonemesh_zone::directory::Site;
use zonemesh_zone::inventory::{Inventory, Section};
use zonemesh_zone::{Diff, Name, Serial, SerialExt, Zone};

use super::control::convert;
use super::gate::{Bounds, Place, Queue};
use super::live::Live;
use super::membership;
use super::peers::Peers;
use super::transfers::{Begun, Ended};

/// Transfers in that may run at the same time: a cold start must not stampede a primary.
const TRANSFERS: Bounds = Bounds {
    all: 32,
    of_one: 8,
    aside: 16,
    aside_of_one: 4,
};
/// A transfer that takes longer lets another one begin.
const LONG_TRANSFER: Duration = Duration::from_secs(5);
/// How long a transfer may take. A zone that is larger than this allows comes over a link that is too slow for it.
const LONGEST_TRANSFER: Duration = Duration::from_secs(2 * 3600);

/// A transfer that waits for its turn.
struct Wanted {
    apex: Name,
    /// What is held, to ask for the difference.
    have: Option<Zone>,
}

/// What waits for the disk. Not bounded by itself: [`Progress`](super::progress::Progress) says when no more is taken.
type Commits = mpsc::UnboundedSender<Job>;

/// The hands of the core.
pub(crate) struct Jobs {
    live: Arc<Live>,
    transfers: Arc<Queue<PeerId, Wanted>>,
    store: Commits,
    was_ready: AtomicBool,
}

impl Jobs {
    pub(crate) fn new(live: Arc<Live>) -> Arc<Self> {
        let (store, jobs) = mpsc::unbounded_channel();
        let committer = live.clone();
        // A thread of its own: commits wait for the disk, together where they can, in the order of the core's decisions.
        // It ends when the core is gone and has nothing more to store.
        tokio::task::spawn_blocking(move || keep_store(&committer, jobs));
        Arc::new(Self {
            live,
            transfers: Arc::new(Queue::new(TRANSFERS)),
            store,
            was_ready: AtomicBool::new(false),
        })
    }

    /// Starts what the core wants done.
    pub(crate) fn perform(&self, output: Output) {
        let kind = match output {
            Output::Probe { .. } => Some(0),
            Output::Transfer { .. } => Some(1),
            Output::Notify { .. } => Some(2),
            Output::Announce { .. } => Some(3),
            Output::Compare { .. } => Some(4),
            Output::AskSerial { .. } => Some(5),
            _ => None,
        };
        if let Some(count) = kind.and_then(|kind: usize| self.live.asked.get(kind)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        match output {
            Output::Transfer { apex, from, have } => self.transfer(apex, from, have),
            Output::Commit {
                commit,
                versions,
                also,
            } => self.to_store(Job::Commit(commit, versions, also)),
            Output::Publish {
                spec,
                zone,
                diffs,
                until,
            } => self.publish(&spec, zone, &diffs, until),
            Output::Withdraw { apex } => self.withdraw(&apex),
            Output::Keep {
                apex,
                until,
                expires_at,
                last_refresh,
            } => {
                self.tell_expiry(&apex, until);
                self.to_store(Job::Keep {
                    apex,
                    expires_at,
                    last_refresh,
                });
            }
            Output::Recall { apex, serial } => self.to_store(Job::Recall(apex, serial)),
            Output::HighWater { apex, serial } => self.to_store(Job::HighWater(apex, serial)),
            Output::Notify { to, soa, serial } => {
                let live = self.live.clone();
                tokio::spawn(async move {
                    let result = live.pool.notify(&to, &soa).await;
                    let answered = result.is_ok();
                    live.core.send(Input::Notified {
                        to: to.clone(),
                        apex: soa.owner.clone(),
                        serial,
                        result,
                    });
                    if answered && matches!(to, PeerId::Foreign(_)) {
                        // It has had no time yet to fetch what it was told of: only more than that is news.
                        ask_serial(&live, to, soa.owner, Some(serial)).await;
                    }
                });
            }
            Output::AskSerial { peer, apex } => {
                let live = self.live.clone();
                tokio::spawn(async move { ask_serial(&live, peer, apex, None).await });
            }
            Output::Probe { peer } => self.probe(peer),
            Output::Compare { peer, section } => self.compare(peer, section),
            Output::Members(sites) => self.members(&sites),
            Output::CatalogMembers(told) => self.live.brought.set(told),
            Output::Announce { to, site, zones } => {
                let live = self.live.clone();
                tokio::spawn(async move { membership::announce(&live, &to, &site, &zones).await });
            }
            Output::Happened(happening) => self.happened(&happening),
            // Answers are the driver's.
            Output::Reply { .. } => {}
        }
    }

    /// Opens or closes the data plane.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.live.started.store(true, Ordering::Release);
        if self.was_ready.swap(ready, Ordering::Relaxed) != ready {
            self.live.shared.ready.store(ready, Ordering::Release);
            self.live.answers.send_replace(ready);
        }
    }

    /// What secondaries that ask are told of a zone's age from now on (RFC 7314).
    fn tell_expiry(&self, apex: &Name, until: Option<Duration>) {
        let zones = self.live.shared.zones.load();
        if let (Some(until), Some(served)) = (until, zones.get(apex)) {
            served.expiry.set(until);
        }
    }

    /// Why no change is taken now, if so.
    pub(crate) fn refuses_changes(&self) -> Option<String> {
        self.live.progress.refuses_changes()
    }

    fn to_store(&self, job: Job) {
        let repeats = matches!(job, Job::Keep { .. } | Job::HighWater(..));
        if repeats && !self.live.progress.may_note() {
            return;
        }
        self.live.progress.to_store(is_change(&job));
        let Err(mpsc::error::SendError(job)) = self.store.send(job) else {
            return;
        };
        let message = "the store's thread has ended; nothing is made durable any longer";
        tracing::error!("{message}");
        if let Job::Commit(commit, ..) = job {
            let result = Err(message.to_owned());
            self.live.core.send(Input::Committed { commit, result });
        }
    }

    fn transfer(&self, apex: Name, from: PeerId, have: Option<Zone>) {
        let Some(ticket) = self.transfers.wait(&from, Wanted { apex, have }) else {
            return;
        };
        let (live, transfers) = (self.live.clone(), self.transfers.clone());
        tokio::spawn(async move {
            while let Some((mut place, wanted)) = transfers.next(&from, ticket).await {
                let Wanted { apex, have } = wanted;
                let attempt = attempt(&live, &from, &apex, have, &mut place).await;
                drop(place);
                let (result, expire) = match attempt {
                    Ok((got, expire)) => (Ok(got), expire),
                    Err(failure) => (Err(failure), None),
                };
                live.core.send(Input::Transferred {
                    apex,
                    from: from.clone(),
                    result,
                    expire,
                });
            }
        });
    }

    /// A peer was lost; what waits for it need not wait any longer. The core has turned to others by then.
    fn lose(&self, peer: &PeerId) {
        for wanted in self.transfers.lose(peer) {
            let failure = Failure {
                message: format!("{peer} does not answer"),
                unreachable: true,
                lacks: false,
            };
            self.live.core.send(Input::Transferred {
                apex: wanted.apex,
                from: peer.clone(),
                result: Err(failure),
                expire: None,
            });
        }
    }

    fn probe(&self, peer: PeerId) {
        let live = self.live.clone();
        let Some((directory, _)) = live.mesh.clone() else {
            return;
        };
        tokio::spawn(async move {
            let probed = live.pool.probe(&peer, &directory).await;
            let beat = probed.as_ref().ok().and_then(|(_, beat)| *beat);
            live.core.send(Input::Probed {
                peer,
                result: probed.map(|(serial, _)| Some(serial)),
                beat,
            });
        });
    }

    fn compare(&self, peer: PeerId, section: Section) {
        let live = self.live.clone();
        let Some((directory, _)) = live.mesh.clone() else {
            return;
        };
        tokio::spawn(async move {
            let result = live.pool.compare(&peer, &directory, section).await;
            live.core.send(Input::Compared {
                peer,
                section,
                result,
            });
        });
    }

    /// Lets members that ask know what is held now.
    pub(crate) fn set_inventory(&self, inventory: &Arc<Inventory>) {
        let known = self.live.shared.inventory.load();
        if !Arc::ptr_eq(&known, inventory) {
            self.live.shared.inventory.store(inventory.clone());
        }
    }

    fn publish(
        &self,
        spec: &ZoneSpec,
        zone: Option<Zone>,
        diffs: &[Diff],
        until: Option<Duration>,
    ) {
        let live = &self.live;
        if let Some(zone) = &zone {
            let zones = live.shared.zones.load();
            let before = zones
                .get(&spec.apex)
                .and_then(|served| served.zone.as_ref());
            // No difference leads from what was served to what replaces it, perhaps under the same serial.
            let other = before.is_some_and(|before| before.digest() != zone.digest());
            if !diffs.is_empty() || other {
                live.journal.push(&spec.apex, diffs);
            }
        }
        let expired = zone.is_none() && until.is_some();
        let expiry = match spec.primary {
            true => Expiry::never(),
            // The age of a first copy follows at once (`tell_expiry`); until then nobody is granted anything.
            false => Expiry::at(until.unwrap_or_default()),
        };
        let served = Served {
            apex: spec.apex.clone(),
            zone,
            access: if spec.members_only {
                Access::Members
            } else {
                Access::Public
            },
            expired,
            expiry,
        };
        live.shared.update_zones(|zones| zones.with(served.clone()));
    }

    fn withdraw(&self, apex: &Name) {
        // Set aside, not deleted: see `zone restore`, which waits for what was asked of the store before it.
        self.to_store(Job::SetAside(apex.clone()));
        self.live.shared.update_zones(|zones| zones.without(apex));
        self.live.journal.remove(apex);
    }

    fn members(&self, sites: &[Site]) {
        let live = &self.live;
        let pins = sites
            .iter()
            .flat_map(|site| site.pins.iter().map(|pin| pin.0))
            .collect();
        let old = live.shared.members.load();
        live.shared.members.store(Arc::new(Members {
            pins,
            keys: old.keys.clone(),
        }));
        let prefer = live.config.load().site.transport;
        live.pool
            .set_members(&live.name, sites, prefer, &live.key.load());
        if let Some((directory, _)) = &live.mesh {
            let zone = live
                .shared
                .zones
                .load()
                .get(directory)
                .and_then(|served| served.zone.clone());
            // Who is a member is decided by the plan, which may hold a removal back; the rest is as the directory says.
            let read = zone.map(|zone| {
                let mut read = zonemesh_zone::directory::Directory::read(&zone);
                read.sites.retain(|name, _| name.as_str() == live.name);
                read.sites
                    .extend(sites.iter().map(|site| (site.name.clone(), site.clone())));
                read
            });
            if read.is_some() {
                // Nobody need listen: a site that stops keeps what it has written.
                live.peers.send_replace(Some(Peers::new(directory, sites)));
            }
            live.directory.store(Arc::new(read));
        }
    }

    fn happened(&self, happening: &Happening) {
        if let Happening::SetAside { apex, id, .. } = happening {
            self.live.has_yielded(id.clone(), apex.clone());
        }
        if let Happening::PeerLost { peer, .. } = happening {
            self.lose(peer);
        }
        self.live.tell(convert::event(happening));
    }
}

/// Asks a foreign secondary which version it has. Sites tell each other; a foreign secondary of a primary that was set back keeps
/// its greater serial to itself, and takes nothing any more. What is before `least` is passed over.
async fn ask_serial(live: &Live, peer: PeerId, apex: Name, least: Option<Serial>) {
    match live.pool.soa(&peer, &apex).await {
        Ok(answer) if least.is_some_and(|least| least.is_after(answer.soa.serial)) => {}
        Ok(answer) => live.core.send(Input::Notify {
            apex,
            serial: Some(answer.soa.serial),
            from: peer,
        }),
        // It need not answer queries of ours; that it takes NOTIFY is all that is asked of it.
        Err(failure) => {
            tracing::debug!(zone = %apex, peer = %peer, error = %failure.message, "which serial it has is not known");
        }
    }
}

/// Transfers a zone from a peer, with a bound on how long that may take; `place` makes room for others when it takes long.
async fn attempt(
    live: &Live,
    from: &PeerId,
    apex: &Name,
    have: Option<Zone>,
    place: &mut Place,
) -> Result<(Got, Option<u32>), Failure> {
    // Should it panic, the core must hear all the same, or the zone would never be asked for again.
    let transfer = AssertUnwindSafe(transfer_in(live, from, apex, have)).catch_unwind();
    let transfer = tokio::time::timeout(LONGEST_TRANSFER, transfer);
    tokio::pin!(transfer);
    let ended = loop {
        tokio::select! {
            ended = &mut transfer => break ended,
            () = tokio::time::sleep(LONG_TRANSFER) => place.move_aside(),
        }
    };
    match ended {
        Ok(Ok(transferred)) => transferred,
        Ok(Err(_)) => {
            tracing::error!(zone = %apex, peer = %from, "a transfer ended early");
            Err(Failure {
                message: "the transfer ended early, by an error of this server".to_owned(),
                unreachable: false,
                lacks: false,
            })
        }
        Err(_) => Err(Failure {
            message: format!("the transfer was not over after {LONGEST_TRANSFER:?}"),
            unreachable: true,
            lacks: false,
        }),
    }
}

/// Transfers a zone from a peer; says as well how long the peer may still serve it, in seconds. It is one line of the log.
async fn transfer_in(
    live: &Live,
    from: &PeerId,
    apex: &Name,
    have: Option<Zone>,
) -> Result<(Got, Option<u32>), Failure> {
    let under = live.transfers.begin(Begun {
        zone: apex.clone(),
        direction: Direction::In,
        peer: from.to_string(),
        transport: live.pool.way_to(from).transport,
        from_serial: have.as_ref().map(|zone| zone.serial().into_int()),
        expected: have.as_ref().map(|zone| zone.record_count() as u64),
    });
    match live.pool.transfer(from, apex, have.as_ref(), &under).await {
        Ok((got, fetched, way)) => {
            let (kind, serial) = match &got {
                Got::UpToDate { serial } => ("SOA", *serial),
                Got::Full(zone) => ("AXFR", zone.serial()),
                Got::Diffs(zone, _) => ("IXFR", zone.serial()),
            };
            under.log(&Ended {
                kind,
                serial: Some(serial.into_int()),
                way: &way,
                fell_back: fetched.fell_back.as_ref().map(ToString::to_string),
                error: None,
            });
            Ok((got, fetched.expire))
        }
        Err(failure) => {
            if live.may_log("failed transfer") {
                under.log(&Ended {
                    kind: if have.is_some() { "IXFR" } else { "AXFR" },
                    serial: None,
                    way: &live.pool.way_to(from),
                    fell_back: None,
                    error: Some(&failure.message),
                });
            }
            Err(failure)
        }
    }
}

/// Whether somebody waits for it to be durable.
fn is_change(job: &Job) -> bool {
    matches!(job, Job::Commit(..))
}

/// Runs the store's jobs until the site ends.
fn keep_store(live: &Live, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut waiting = VecDeque::new();
    while let Some(first) = jobs.blocking_recv() {
        waiting.push_back(first);
        while !waiting.is_empty() {
            // What has come meanwhile is made durable together.
            waiting.extend(std::iter::from_fn(|| jobs.try_recv().ok()));
            let group = zonemesh_keep::next_group(&mut waiting);
            let changes: Vec<bool> = group.iter().map(is_change).collect();
            live.progress.store_begins();
            let done = zonemesh_keep::run_all(group, &live.store, Timestamp::now());
            for (is_change, done) in changes.into_iter().zip(done) {
                live.progress.store_ends(is_change);
                stored(live, done);
            }
        }
    }
}

/// Passes on what came of a job.
fn stored(live: &Live, Done { input, error, disk }: Done) {
    note_disk(live, disk);
    match (input, error) {
        (Some(input), _) => live.core.send(input),
        (None, Some(error)) => {
            tracing::warn!(error, "a note about a zone could not be stored");
        }
        (None, None) => {}
    }
}

/// Keeps for the status whether the disk takes changes.
fn note_disk(live: &Live, disk: Disk) {
    let now = match disk {
        Disk::Works => None,
        Disk::Fails(why) => Some(why),
        Disk::Unknown => return,
    };
    if **live.store_error.load() != now {
        live.store_error.store(Arc::new(now));
    }
}
