//! The state of the mesh: sites by zones, and what needs attention.

mod gather;
mod judge;
mod sites;
mod table;
mod this;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use jiff::Timestamp;
use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{Failure, PeerId};
use zonemesh_transfer::query::SoaAnswer;
use zonemesh_zone::directory::{Site, SiteName};
use zonemesh_zone::{Name, Serial, SerialExt};

use self::gather::{Here, Snapshot, There};
use self::judge::{copy_checks, copy_there};
use self::sites::{only_of_members, server_checks};
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

    /// What can be said when the core does not say anything.
    fn status_without_core(&self, error: &ApiError) -> api::Status {
        let mut checks = Vec::new();
        self.checks_without_core(&mut checks);
        if !checks.iter().any(|check| check.name == "core-stuck") {
            let what = error.to_string();
            checks.push(table::CORE_STUCK.of(Some(self.live.name.clone()), what));
        }
        self.status_of(checks, Vec::new(), Vec::new())
    }

    /// Everything, the other sites asked now.
    pub(super) async fn whole_status(&self) -> Result<api::Status, ApiError> {
        let snapshot = match self.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => return Ok(self.status_without_core(&error)),
        };
        let others: Vec<&Site> = snapshot
            .directory
            .iter()
            .flat_map(|directory| directory.sites.values())
            .filter(|site| site.name.as_str() != self.live.name)
            .collect();
        let zones = self.of_all(&snapshot);
        let asked = others.iter().map(|site| {
            let peer = PeerId::Site(site.name.clone());
            let lost = snapshot.lost.get(&peer).map(|(_, why)| why.clone());
            self.ask(peer, &zones, lost)
        });
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
        self.checks_of_this(&snapshot, &mut checks);
        self.configuration_checks(&mut checks).await;
        self.damage_checks(&mut checks).await;
        server_checks(&snapshot, &mut checks);
        only_of_members(&mut checks);
        if self.live.mesh.is_some() && snapshot.directory.is_none() {
            // What is missing is the mesh, which is told of already.
            checks.retain(|check| !table::ZONE_MISSING.is(check));
        }
        Ok(self.status_of(checks, sites, zones))
    }

    /// The zones that other sites are to hold: those that the directory lists, and what lists them.
    fn of_all(&self, snapshot: &Snapshot) -> Vec<Name> {
        let owners = snapshot.directory.iter();
        let listed: BTreeSet<&Name> = owners
            .flat_map(|directory| directory.owners.keys())
            .collect();
        let all = snapshot.zones.iter().map(|here| &here.spec);
        let all = all.filter(|spec| spec.members_only || listed.contains(&spec.apex));
        all.map(|spec| spec.apex.clone()).collect()
    }

    fn status_of(
        &self,
        mut checks: Vec<api::Check>,
        sites: Vec<api::SiteStatus>,
        zones: Vec<api::ZoneStatus>,
    ) -> api::Status {
        checks.sort_by_key(|check| std::cmp::Reverse(check.state));
        let apex = |of: fn(&(Name, Name)) -> &Name| {
            self.live.mesh.as_ref().map(|mesh| name_text(of(mesh)))
        };
        api::Status {
            schema: api::SCHEMA,
            site: self.live.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp::now(),
            verdict: api::Verdict::of(&checks),
            directory: apex(|(directory, _)| directory),
            catalog: apex(|(_, catalog)| catalog),
            checks,
            sites,
            zones,
            transfers: self.live.transfers.status(),
        }
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
            let is_primary = primary.as_deref() == Some(site);
            let kind = (is_primary, here.spec.members_only);
            let mut copy = copy_there(site, answer, newest, at_primary, kind);
            if let (false, Ok(site)) = (is_primary, SiteName::new(site)) {
                let reached = self.live.pool.reached(&PeerId::Site(site));
                copy.transport = reached.map(str::to_owned);
            }
            sites.push(copy);
        }
        // Where all are away, they are told of, once for all zones.
        let answers = |source: &PeerId| !snapshot.lost.contains_key(source);
        if let Some(error) = &here.error
            && !here.spec.mesh
            && !here.expired
            && here.serial.is_some()
            && here.spec.sources.iter().any(answers)
        {
            let what = format!("{zone} is not refreshed any longer: {error}");
            checks.push(table::ZONE_NOT_REFRESHED.of(Some(zone.clone()), what));
        }
        for copy in &sites {
            copy_checks(&zone, copy, primary.as_deref(), here.expire, checks);
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
            expires_in_secs: here
                .until
                .filter(|_| !here.spec.primary)
                .map(|until| until.saturating_sub(now.mono).as_secs()),
            transport: Some(match &here.source {
                _ if here.spec.primary => "local".to_owned(),
                Some(source) => self.live.pool.reached(source).unwrap_or("none").to_owned(),
                None => "none".to_owned(),
            }),
            from: here
                .source
                .as_ref()
                .filter(|_| !here.spec.primary)
                .map(PeerId::to_string),
            last_error: here.error.clone(),
            errors: here.errors.clone(),
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
        .or_else(|| here.spec.primary_source().map(PeerId::to_string))
}
