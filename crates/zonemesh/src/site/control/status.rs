//! The state of the mesh: sites by zones, and what needs attention.

mod gather;
mod judge;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{Failure, PeerId};
use zonemesh_transfer::query::SoaAnswer;
use zonemesh_zone::directory::Site;
use zonemesh_zone::{Name, Serial, SerialExt};

use self::gather::{Here, Snapshot, There};
use self::judge::{check, copy_checks, copy_there, site_status};
use super::Control;
use super::convert::name_text;

impl Control {
    /// All zones as this site has them.
    pub(super) async fn zone_summaries(&self) -> Result<Vec<api::ZoneSummary>, ApiError> {
        let snapshot = self.snapshot().await?;
        let name = &self.live.name;
        Ok(snapshot
            .zones
            .iter()
            .map(|here| api::ZoneSummary {
                zone: name_text(&here.spec.apex),
                kind: self.kind(&here.spec.apex),
                primary: primary_of(here, &snapshot, name),
                serial: here.serial.map(Serial::into_int),
                state: match (here.serial, here.expired) {
                    (None, _) => api::CopyState::Missing,
                    (_, true) => api::CopyState::Expired,
                    _ => api::CopyState::Current,
                },
                records: here.records as u64,
                groups: here.groups.clone(),
                dynamic: here.dynamic,
            })
            .collect())
    }

    fn kind(&self, apex: &Name) -> api::ZoneKind {
        match &self.live.mesh {
            Some((directory, _)) if directory == apex => api::ZoneKind::Directory,
            Some((_, catalog)) if catalog == apex => api::ZoneKind::Catalog,
            _ => api::ZoneKind::Data,
        }
    }

    /// Everything, the other sites asked now.
    pub(super) async fn whole_status(&self) -> Result<api::Status, ApiError> {
        let snapshot = self.snapshot().await?;
        let others: Vec<&Site> = snapshot
            .directory
            .iter()
            .flat_map(|directory| directory.sites.values())
            .filter(|site| site.name.as_str() != self.live.name)
            .collect();
        let zones: Vec<Name> = snapshot
            .zones
            .iter()
            .map(|here| here.spec.apex.clone())
            .collect();
        let asked = others
            .iter()
            .map(|site| self.ask(PeerId::Site(site.name.clone()), &zones));
        let answers: Vec<There> = join_all(asked).await;
        let there: BTreeMap<String, There> = others
            .iter()
            .map(|site| site.name.to_string())
            .zip(answers)
            .collect();

        let mut checks = Vec::new();
        let sites = self.sites_of(&snapshot, &others, &there, &mut checks);
        let zones = snapshot
            .zones
            .iter()
            .map(|here| self.zone_of(here, &snapshot, &there, &mut checks))
            .collect();
        self.plan_checks(&snapshot, &mut checks);
        checks.sort_by_key(|check| std::cmp::Reverse(check.state));
        Ok(api::Status {
            schema: api::SCHEMA,
            site: self.live.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp::now(),
            verdict: api::Verdict::of(&checks),
            directory: self
                .live
                .mesh
                .as_ref()
                .map(|(directory, _)| name_text(directory)),
            catalog: self
                .live
                .mesh
                .as_ref()
                .map(|(_, catalog)| name_text(catalog)),
            checks,
            sites,
            zones,
        })
    }

    fn sites_of(
        &self,
        snapshot: &Snapshot,
        others: &[&Site],
        there: &BTreeMap<String, There>,
        checks: &mut Vec<api::Check>,
    ) -> Vec<api::SiteStatus> {
        let owned = |name: &str| {
            let owners = snapshot
                .directory
                .iter()
                .flat_map(|directory| directory.owners.values());
            owners.filter(|owner| owner.as_str() == name).count() as u64
        };
        let me = snapshot.directory.as_ref().and_then(|directory| {
            directory
                .sites
                .values()
                .find(|site| site.name.as_str() == self.live.name)
        });
        if self.live.mesh.is_some() && snapshot.directory.is_some() && me.is_none() {
            let removed = snapshot.directory.as_ref().is_some_and(|directory| {
                directory
                    .removed
                    .keys()
                    .any(|name| name.as_str() == self.live.name)
            });
            checks.push(check(
                "not-a-member",
                api::CheckState::Critical,
                Some(self.live.name.clone()),
                if removed { "this site was removed from the mesh" } else { "the directory does not have this site" },
                Some("ask for a welcome packet: `zonemesh invite` on the catalog primary, then `zonemesh join` here"),
            ));
        }
        if let Some(why) = self.refused_by_all(there) {
            checks.push(check(
                "not-a-member",
                api::CheckState::Critical,
                Some(self.live.name.clone()),
                &format!("no other site takes this one for a member: {why}"),
                Some("if it was removed: stop it, and join again with a new welcome packet"),
            ));
        }
        if !snapshot.ready {
            checks.push(check(
                "not-ready",
                api::CheckState::Critical,
                Some(self.live.name.clone()),
                "this site does not hold every zone of the mesh, and does not answer until it does",
                Some("the zones below say why; `zonemesh status --watch` follows them"),
            ));
        }
        let mut sites = vec![site_status(
            me,
            &self.live.name,
            self.live.mesh.is_some(),
            owned(&self.live.name),
        )];
        if let Some(this) = sites.first_mut() {
            this.reachable = Some(true);
            this.ready = Some(snapshot.ready);
            this.this = true;
        }
        for site in others {
            let name = site.name.to_string();
            let mut status = site_status(Some(site), &name, true, owned(&name));
            let answers = there.get(&name);
            let failure = answers.and_then(|answers| {
                answers
                    .zones
                    .values()
                    .find_map(|answer| answer.as_ref().err().filter(|failure| failure.unreachable))
            });
            status.reachable = Some(failure.is_none());
            status.rtt_ms = answers
                .and_then(|answers| answers.rtt)
                .map(|rtt| rtt.as_millis() as u64);
            // It answers members also while it is not ready: for what it holds.
            status.ready = answers
                .filter(|_| failure.is_none())
                .map(|answers| answers.zones.values().all(Result::is_ok));
            status.error = failure.map(|failure| failure.message.clone());
            if let Some(failure) = failure {
                let since =
                    snapshot
                        .lost
                        .get(&PeerId::Site(site.name.clone()))
                        .map(|(since, _)| {
                            let ago = snapshot.now.mono.saturating_sub(*since).as_secs() as i64;
                            super::convert::after(snapshot.now.wall, -ago)
                        });
                let mut lost = check(
                    "site-unreachable",
                    api::CheckState::Warning,
                    Some(name.clone()),
                    &format!("{name} does not answer: {}", failure.message),
                    Some(
                        "its zones are served by the others meanwhile; changes reach it when it is back",
                    ),
                );
                lost.since = since;
                checks.push(lost);
            }
            sites.push(status);
        }
        sites
    }

    /// Why the other sites that answer do not show this one the directory, if none does.
    fn refused_by_all(&self, there: &BTreeMap<String, There>) -> Option<String> {
        let (directory, _) = self.live.mesh.as_ref()?;
        let mut answers = there
            .values()
            .filter_map(|there| there.zones.get(directory))
            .filter(|answer| !answer.as_ref().is_err_and(|failure| failure.unreachable))
            .peekable();
        let first = answers.peek()?.as_ref().err()?.message.clone();
        answers.all(|answer| answer.is_err()).then_some(first)
    }

    fn zone_of(
        &self,
        here: &Here,
        snapshot: &Snapshot,
        there: &BTreeMap<String, There>,
        checks: &mut Vec<api::Check>,
    ) -> api::ZoneStatus {
        let apex = &here.spec.apex;
        let zone = name_text(apex);
        let primary = primary_of(here, snapshot, &self.live.name);
        let answers: Vec<(&String, &Result<SoaAnswer, Failure>)> = there
            .iter()
            .filter(|_| here.spec.mesh)
            .filter_map(|(site, answers)| Some((site, answers.zones.get(apex)?)))
            .collect();
        let seen = answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .map(|answer| answer.soa.serial);
        let newest = here
            .serial
            .into_iter()
            .chain(seen)
            .reduce(SerialExt::later_of);
        let at_primary = match &primary {
            Some(name) if *name == self.live.name => here.serial,
            Some(name) => answers
                .iter()
                .find(|(site, _)| *site == name)
                .and_then(|(_, answer)| answer.as_ref().ok())
                .map(|answer| answer.soa.serial),
            None => None,
        };
        let mut sites = vec![self.copy_here(here, snapshot, newest)];
        for (site, answer) in answers {
            sites.push(copy_there(
                site,
                answer,
                newest,
                at_primary,
                (primary.as_deref() == Some(site), here.spec.members_only),
            ));
        }
        for copy in &sites {
            copy_checks(&zone, copy, primary.as_deref(), checks);
        }
        api::ZoneStatus {
            zone,
            primary,
            kind: self.kind(apex),
            serial: newest.map(Serial::into_int),
            groups: here.groups.clone(),
            dynamic: here.dynamic,
            records: Some(here.records as u64),
            sites,
        }
    }

    fn copy_here(
        &self,
        here: &Here,
        snapshot: &Snapshot,
        newest: Option<Serial>,
    ) -> api::ZoneAtSite {
        let now = snapshot.now;
        let state = match (here.serial, newest) {
            (None, _) => api::CopyState::Missing,
            _ if here.expired => api::CopyState::Expired,
            (Some(serial), Some(newest)) if newest.is_after(serial) => api::CopyState::Behind,
            _ => api::CopyState::Current,
        };
        let secs = |at: i64| u64::try_from(at - now.wall).unwrap_or(0);
        api::ZoneAtSite {
            site: self.live.name.clone(),
            state,
            serial: here.serial.map(Serial::into_int),
            age_secs: here
                .last_refresh
                .filter(|_| !here.spec.primary)
                .map(|at| u64::try_from(now.wall - at).unwrap_or(0)),
            next_refresh_secs: here
                .next_refresh
                .filter(|_| !here.spec.primary)
                .map(|at| at.saturating_sub(now.mono).as_secs()),
            expires_in_secs: here.expires_at.filter(|_| !here.spec.primary).map(secs),
            transport: Some(match &here.source {
                _ if here.spec.primary => "local".to_owned(),
                Some(PeerId::Site(_)) => "tls".to_owned(),
                Some(foreign) => self
                    .live
                    .pool
                    .get(foreign)
                    .first()
                    .map_or("tcp", |peer| peer.target().transport.name())
                    .to_owned(),
                None => "none".to_owned(),
            }),
            from: here
                .source
                .as_ref()
                .filter(|_| !here.spec.primary)
                .map(PeerId::to_string),
            last_error: here
                .errors
                .iter()
                .next()
                .map(|(peer, error)| format!("{peer}: {error}")),
        }
    }

    fn plan_checks(&self, snapshot: &Snapshot, checks: &mut Vec<api::Check>) {
        if let Some(error) = self.live.store_error.load().as_ref() {
            checks.push(check(
                "store-failing",
                api::CheckState::Critical,
                None,
                &format!("changes cannot be stored: {error}"),
                Some("answers go on from memory; make room on, or mend, the disk of the data directory"),
            ));
        }
        if let Some(loud) = self.live.loud.load().as_ref() {
            checks.push(check(
                "configuration-broken",
                api::CheckState::Critical,
                None,
                loud,
                Some("mend the file and run `zonemesh config reload`"),
            ));
        }
        if let Some(blocked) = &snapshot.blocked {
            checks.push(check(
                "plan-blocked",
                api::CheckState::Critical,
                None,
                &format!("the plan is not carried out: {blocked}"),
                Some("`zonemesh plan show` has all reasons"),
            ));
        }
        for reason in &snapshot.catalogs {
            checks.push(check(
                "catalog-not-followed",
                api::CheckState::Warning,
                None,
                reason,
                Some("mend the catalog at its producer, or the `admit` list here; nothing was changed"),
            ));
        }
        let asked = self.held.list();
        let asked = asked.into_iter().map(|held| (held.id, held.reason));
        for (hash, reason) in snapshot.held.iter().cloned().chain(asked) {
            checks.push(check(
                "held-by-brake",
                api::CheckState::Warning,
                None,
                &reason,
                Some(&format!("`zonemesh plan approve {hash}` lets it go on")),
            ));
        }
    }
}

fn primary_of(here: &Here, snapshot: &Snapshot, me: &str) -> Option<String> {
    if here.spec.primary {
        return Some(me.to_owned());
    }
    let owner = snapshot
        .directory
        .as_ref()
        .and_then(|directory| directory.owners.get(&here.spec.apex));
    owner
        .map(ToString::to_string)
        .or_else(|| here.spec.sources.first().map(PeerId::to_string))
}
