//! Zones over the control socket: add, remove, bring back, import.

use jiff::Timestamp;
use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::{Change, Input, Reply};
use zonemesh_zone::{Name, Serial, Zone};

use super::Control;
use super::change::{parse, parse_import};
use super::convert::{finding, name_text, zone_name};
use crate::site::membership;

impl Control {
    pub(super) async fn add(&self, request: api::AddZone) -> Result<api::Changed, ApiError> {
        let apex = zone_name(&request.zone)?;
        if self.live.mesh.is_none() {
            let why = "the zones of a server without a mesh are those of its file";
            return Err(ApiError::refused(why)
                .hint("add a [[zone]] to it and run `zonemesh config reload`"));
        }
        let (content, findings) = match &request.text {
            Some(text) => parse(&apex, text, "the zone file")?,
            None => (self.empty_zone(&apex)?, Vec::new()),
        };
        // A zone of this name that was here before: nobody may see its serials go back.
        let (store, name) = (self.live.store.clone(), apex.clone());
        let high_water = super::blocking(move || {
            store
                .high_water(&name)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?;
        let mut changed = self.host(content, high_water, request.wait).await?;
        changed.findings = findings.iter().map(finding).collect();
        Ok(changed)
    }

    /// Makes this site the primary of a zone: here first, then in the directory.
    async fn host(
        &self,
        zone: Zone,
        high_water: Option<Serial>,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        let apex = zone.apex().clone();
        let input = move |request| Input::Host {
            request,
            zone,
            high_water,
        };
        let reply = self
            .live
            .core
            .request(move |_, request| Ok(input(request)))
            .await;
        let reply = reply.map_err(super::stopped)?;
        let Reply::Done { serial, .. } = reply else {
            return self.done(&apex, reply, api::Wait::default()).await;
        };
        self.list_zone(&apex).await?;
        Ok(api::Changed {
            zone: name_text(&apex),
            serial: Some(serial.into_int()),
            changed: true,
            receipt: self.wait_for(&apex, serial, wait).await?,
            ..api::Changed::default()
        })
    }

    /// Enters a zone that is hosted here into the directory; when that fails it is not hosted any longer. When nobody
    /// knows whether it failed the zone stays: a zone that the directory has and no site would close every new site.
    async fn list_zone(&self, apex: &Name) -> Result<(), ApiError> {
        let apex = apex.clone();
        match membership::list_zone(&self.live, &apex).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::Timeout => {
                self.live.core.send(Input::Unlisted { apex });
                Err(error.hint(
                    "the zone is kept here, and entered into the directory when the catalog primary is back",
                ))
            }
            Err(error) => {
                self.live.core.send(Input::Unhost { apex });
                Err(error)
            }
        }
    }

    /// A zone of SOA and NS, for one that starts from nothing.
    fn empty_zone(&self, apex: &Name) -> Result<Zone, ApiError> {
        let server = match &self.live.mesh {
            Some((directory, _)) => format!("{}.{}", self.live.name, directory.fmt_with_dot()),
            None => format!("{}.", self.live.name),
        };
        let text = format!(
            "@ 3600 IN SOA {server} hostmaster {} 3600 600 3628800 300\n@ 3600 IN NS {server}\n",
            Timestamp::now().as_second() as u32
        );
        parse(apex, &text, "the new zone").map(|(zone, _)| zone)
    }

    pub(super) async fn remove(&self, request: api::RemoveZone) -> Result<api::Changed, ApiError> {
        let apex = zone_name(&request.zone)?;
        let by_file = |zone: &crate::config::ZoneConfig| zone.name == apex;
        let mesh = self.live.mesh.clone();
        let (Some((directory, _)), false) =
            (mesh, self.live.config.load().zones.iter().any(by_file))
        else {
            return Err(
                ApiError::refused(format!("{apex} comes from the configuration file"))
                    .hint("take its [[zone]] out of the file and run `zonemesh config reload`"),
            );
        };
        let serial = membership::unlist_zone(&self.live, &apex).await?;
        Ok(api::Changed {
            zone: name_text(&apex),
            serial: Some(serial.into_int()),
            changed: true,
            receipt: self.wait_for(&directory, serial, request.wait).await?,
            notes: vec![format!(
                "its data is kept for 30 days; `zonemesh zone restore {}` brings it back",
                name_text(&apex)
            )],
            ..api::Changed::default()
        })
    }

    pub(super) async fn restore(
        &self,
        request: api::RestoreZone,
    ) -> Result<api::Changed, ApiError> {
        let apex = zone_name(&request.zone)?;
        if self.live.mesh.is_none() {
            let why = "the zones of a server without a mesh are those of its file";
            return Err(ApiError::refused(why)
                .hint("add a [[zone]] to it and run `zonemesh config reload`"));
        }
        self.stored().await?;
        let store = self.live.store.clone();
        let name = apex.clone();
        let held = super::blocking(move || {
            let batch = zonemesh_store::Batch::new(Timestamp::now()).restore_zone(&name);
            store
                .commit(batch)
                .map_err(|error| ApiError::new(ErrorKind::Conflict, error.to_string()))?;
            store
                .load(&name)
                .map_err(|error| ApiError::internal(error.to_string()))?
                .ok_or_else(|| {
                    ApiError::internal(format!("{name} was brought back but cannot be read"))
                })
        })
        .await?;
        self.host(held.zone, Some(held.high_water), request.wait)
            .await
    }

    pub(super) async fn import_now(
        &self,
        request: api::ImportZone,
    ) -> Result<api::Changed, ApiError> {
        let (zone, findings) = parse_import(&request)?;
        let apex = zone.apex().clone();
        let mut changed = self
            .change(
                &apex,
                move |_| Ok(Change::Replace(zone)),
                request.dry_run,
                request.wait,
            )
            .await?;
        changed.findings = findings.iter().map(finding).collect();
        Ok(changed)
    }
}
