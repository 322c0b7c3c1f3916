//! What the status is made of: how the zones stand here, and what the other sites say.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use zonemesh_api::ApiError;
use zonemesh_api::types::SourceError;
use zonemesh_mesh::core::{
    ClockFault, Core, Differing, Failure, Now, PeerId, RecoveryView, ZoneSpec, ZoneView,
};
use zonemesh_transfer::query::SoaAnswer;
use zonemesh_zone::directory::Directory;
use zonemesh_zone::{Name, Serial};

use crate::site::control::Control;

/// How long the core may take to say how its zones stand.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long another site may take for its first answer, and one that does not answer probes.
const PATIENCE_WITH_SITE: Duration = Duration::from_secs(5);
const PATIENCE_WITH_LOST: Duration = Duration::from_secs(1);

/// What comes of a question to a site that hangs.
fn silent(why: String) -> Failure {
    Failure {
        message: why,
        unreachable: true,
        lacks: false,
    }
}

/// How a zone stands here, taken out of the core.
pub(super) struct Here {
    pub(super) spec: ZoneSpec,
    pub(super) serial: Option<Serial>,
    pub(super) records: usize,
    pub(super) until: Option<Duration>,
    pub(super) last_refresh: Option<i64>,
    pub(super) next_refresh: Option<Duration>,
    pub(super) source: Option<PeerId>,
    /// The error of the first source that failed in the last round without success.
    pub(super) error: Option<String>,
    /// What each source said that has not been of use since.
    pub(super) errors: Vec<SourceError>,
    /// For how many seconds its SOA lets it be served without a word from a source.
    pub(super) expire: u32,
    pub(super) expired: bool,
    pub(super) groups: Vec<String>,
    pub(super) dynamic: bool,
    pub(super) recovery: Option<Recovery>,
    /// A foreign secondary that has a greater serial.
    pub(super) ahead: Option<(PeerId, Serial)>,
    /// Who had one since the start.
    pub(super) overtaken: Option<(PeerId, Serial)>,
}

/// How a primary stands with what the others hold, where there is something to say.
pub(super) enum Recovery {
    /// It has no copy, and others may have one.
    Lost,
    /// It has no copy, and nobody else has: it was given no contents yet.
    Empty,
    /// It takes a newer history, and from whom; so many changes wait.
    Taking(PeerId, usize),
    /// It does not know what these have.
    Unheard(Vec<PeerId>),
    /// It has taken a serial from a peer.
    Taken(PeerId, Serial),
}

/// What the core knows, at one moment.
pub(super) struct Snapshot {
    pub(super) now: Now,
    pub(super) zones: Vec<Here>,
    pub(super) directory: Option<Directory>,
    pub(super) lost: BTreeMap<PeerId, (Duration, String)>,
    pub(super) blocked: Option<String>,
    pub(super) held: Vec<zonemesh_api::types::Held>,
    /// Why foreign catalogs, or some of their members, are not followed.
    pub(super) catalogs: Vec<String>,
    pub(super) ready: bool,
    pub(super) clock_faults: Vec<ClockFault>,
    /// The other sites that are known, from the directory or from before it.
    pub(super) sites: Vec<String>,
    /// Whether this site is the one that founds the mesh, and waits for nobody.
    pub(super) founds: bool,
    /// Peers that answer and do not get on.
    pub(super) stuck: Vec<(PeerId, Duration)>,
    /// Zones of which another site has other contents under the same serial.
    pub(super) differing: Vec<Differing>,
    /// For how long planning has not succeeded, when that is too long.
    pub(super) reconcile_late: Option<Duration>,
}

/// What another site says.
#[derive(Default)]
pub(super) struct There {
    /// Of each zone.
    pub(super) zones: BTreeMap<Name, Result<SoaAnswer, Failure>>,
    /// How long the first answer took.
    pub(super) rtt: Option<Duration>,
}

impl Control {
    pub(super) async fn snapshot(&self) -> Result<Snapshot, ApiError> {
        let config = self.live.config.load_full();
        let snapshot = self.live.core.look(move |core, now| {
            let dynamic = |apex: &Name| {
                config
                    .zones
                    .iter()
                    .any(|zone| zone.name == *apex && zone.dynamic)
            };
            snapshot(core, now, &dynamic)
        });
        match tokio::time::timeout(PATIENCE, snapshot).await {
            Ok(snapshot) => snapshot.map_err(crate::site::control::stopped),
            Err(_) => Err(ApiError::unavailable(format!(
                "the site does not say how its zones stand: no answer within {PATIENCE:?}"
            ))),
        }
    }

    /// Asks one site for its serial of each zone, all at once over the one connection. A site that does not answer the
    /// first question is not asked the others. One that does not answer probes either, which is given with the reason, has
    /// less time: so many hang that the status must not wait for each of them.
    pub(super) async fn ask(&self, peer: PeerId, zones: &[Name], lost: Option<String>) -> There {
        let mut there = There::default();
        let Some((first, rest)) = zones.split_first() else {
            return there;
        };
        let asked_at = std::time::Instant::now();
        let (patience, why) = match lost {
            Some(why) => (PATIENCE_WITH_LOST, why),
            None => {
                let why = format!("no answer within {} s", PATIENCE_WITH_SITE.as_secs());
                (PATIENCE_WITH_SITE, why)
            }
        };
        let asked = tokio::time::timeout(patience, self.live.pool.soa(&peer, first));
        let answer = asked.await.unwrap_or_else(|_| Err(silent(why)));
        let silent = answer
            .as_ref()
            .err()
            .filter(|failure| failure.unreachable)
            .cloned();
        there.zones.insert(first.clone(), answer);
        match silent {
            Some(failure) => {
                let same = rest.iter().map(|zone| (zone.clone(), Err(failure.clone())));
                there.zones.extend(same);
            }
            None => {
                there.rtt = Some(asked_at.elapsed());
                let asked = rest.iter().map(|zone| self.live.pool.soa(&peer, zone));
                there
                    .zones
                    .extend(rest.iter().cloned().zip(join_all(asked).await));
            }
        }
        there
    }
}

pub(super) fn snapshot(core: &Core, now: Now, dynamic: &dyn Fn(&Name) -> bool) -> Snapshot {
    let catalog = core.catalog();
    let zones = core
        .zones()
        .map(|view| Here {
            spec: view.spec.clone(),
            serial: view.zone.map(|zone| zone.serial()),
            records: view.zone.map_or(0, |zone| zone.record_count()),
            until: view.until,
            last_refresh: view.last_refresh,
            next_refresh: view.next_refresh,
            source: view.source.cloned(),
            error: error_of(&view),
            errors: errors_of(&view),
            expire: view.zone.map_or(0, |zone| zone.numbers().expire),
            expired: view.expired,
            groups: catalog
                .and_then(|catalog| catalog.members.get(&view.spec.apex))
                .map(|member| member.groups.clone())
                .unwrap_or_default(),
            dynamic: dynamic(&view.spec.apex),
            recovery: view.recovery.as_ref().and_then(|recovery| {
                match core.is_to_begin(&view.spec.apex) {
                    true => Some(Recovery::Empty),
                    false => recovery_of(recovery, now),
                }
            }),
            ahead: view.ahead.map(|(peer, serial)| (peer.clone(), serial)),
            overtaken: core.overtaken(&view.spec.apex).cloned(),
        })
        .collect();
    let lost = core
        .peers()
        .filter_map(|(id, _)| {
            let (since, why) = core.lost(id)?;
            Some((id.clone(), (since, why.to_owned())))
        })
        .collect();
    let report = core.report();
    Snapshot {
        now,
        zones,
        directory: core.directory().cloned(),
        lost,
        blocked: report.and_then(|report| report.blocked.clone()),
        held: crate::site::control::plan::held(core),
        catalogs: crate::site::control::plan::catalog_reasons(core),
        ready: core.ready(),
        clock_faults: core.clock_faults().to_vec(),
        sites: core
            .peers()
            .filter(|(id, _)| matches!(id, PeerId::Site(_)))
            .map(|(id, _)| id.to_string())
            .collect(),
        founds: core.is_catalog_primary(),
        stuck: core
            .stuck()
            .map(|(peer, since)| (peer.clone(), since))
            .collect(),
        differing: core.differing().collect(),
        reconcile_late: core.reconcile_late(now),
    }
}

fn recovery_of(view: &RecoveryView<'_>, now: Now) -> Option<Recovery> {
    if view.lost {
        return Some(Recovery::Lost);
    }
    if let Some(from) = view.taking {
        return Some(Recovery::Taking(from.clone(), view.waiting));
    }
    // In the first seconds nobody can have been heard.
    let late = view.until.is_some_and(|until| until <= now.mono);
    if late && !view.unheard.is_empty() {
        let unheard = view.unheard.iter().map(|peer| (*peer).clone());
        return Some(Recovery::Unheard(unheard.collect()));
    }
    let (from, serial) = view.taken?;
    Some(Recovery::Taken(from.clone(), *serial))
}

/// Of the last round without success what the first source said; else what any has said since it last succeeded.
fn error_of(view: &ZoneView<'_>) -> Option<String> {
    let first = view.first_error.map(|(peer, error)| (peer, error));
    first
        .or_else(|| {
            let any = view.errors.iter().next();
            any.map(|(peer, error)| (peer, &error.message))
        })
        .map(|(peer, error)| format!("{peer}: {error}"))
}

fn errors_of(view: &ZoneView<'_>) -> Vec<SourceError> {
    let errors = view.errors.iter();
    errors
        .map(|(peer, error)| SourceError {
            source: peer.to_string(),
            error: error.message.clone(),
            at: Timestamp::from_second(error.at).ok(),
        })
        .collect()
}

/// What a core that has nothing shows.
#[cfg(test)]
pub(super) fn of_nothing() -> Snapshot {
    use zonemesh_mesh::core::Settings;
    let now = Now {
        mono: Duration::from_secs(1),
        wall: 1_700_000_000,
    };
    let (core, _) = Core::new(Settings::default(), Vec::new(), 1, now);
    snapshot(&core, now, &|_| false)
}
