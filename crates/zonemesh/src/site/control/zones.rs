//! Zones over the control socket: add, remove, bring back, import, export, compare.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use zonemesh_api::types as api;
use zonemesh_api::{ApiError, ErrorKind};
use zonemesh_mesh::core::{Change, Input, NewVersion, Reply};
use zonemesh_zone::{Diff, Name, Record, Rrset, Rtype, Serial, Zone, check, file};

use super::Control;
use super::convert::{
    difference, finding, name_text, owner_name, receipt, record_text, refusal, rtype, zone_name,
};
use crate::site::membership;

impl Control {
    /// Waits for receipts, if the request wants it to.
    pub(super) async fn wait_for(
        &self,
        apex: &Name,
        serial: Serial,
        wait: api::Wait,
    ) -> Result<Option<api::Receipt>, ApiError> {
        let Some(most) = wait.wait_ms else {
            return Ok(None);
        };
        let got = self
            .live
            .core
            .wait(apex.clone(), serial, Duration::from_millis(most))
            .await
            .map_err(super::stopped)?;
        Ok(Some(receipt(&got)))
    }

    /// Does what a request to the core came to.
    pub(super) async fn done(
        &self,
        apex: &Name,
        reply: Reply,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        match reply {
            Reply::Done { serial, changed } => Ok(api::Changed {
                zone: name_text(apex),
                serial: Some(serial.into_int()),
                changed,
                receipt: self.wait_for(apex, serial, wait).await?,
                ..api::Changed::default()
            }),
            Reply::Refused { rcode, reason } => Err(refusal(rcode, reason)),
            Reply::Receipt(_) => Err(ApiError::internal(
                "a receipt where the outcome of a change was expected",
            )),
        }
    }

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
        let Some((directory, _)) = self.live.mesh.clone() else {
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

    pub(super) async fn records_change(
        &self,
        request: api::ChangeRecords,
    ) -> Result<api::Changed, ApiError> {
        let apex = zone_name(&request.zone)?;
        let changes = request.changes;
        let name = apex.clone();
        self.change(
            &apex,
            move |head| {
                let head = head.ok_or_else(|| nothing_held(&name))?;
                edit_records(head, &name, &changes).map(Change::Edited)
            },
            request.dry_run,
            request.wait,
        )
        .await
    }

    /// Makes a change of the newest version, or shows what it would be.
    async fn change(
        &self,
        apex: &Name,
        make: impl FnOnce(Option<&Zone>) -> Result<Change, ApiError> + Send + 'static,
        dry_run: bool,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        let name = apex.clone();
        let not_here = move || Reply::Refused {
            rcode: zonemesh_zone::Rcode::NOTAUTH,
            reason: format!(
                "{name} is not a zone of this site; `zonemesh zone list` shows those that are"
            ),
        };
        let name = apex.clone();
        // What the change is, for the answer; and why it could not be made, which the core does not know.
        let (tell, told) = std::sync::mpsc::channel::<Result<Option<NewVersion>, ApiError>>();
        let reply = self
            .live
            .core
            .request(move |core, request| {
                if core.zone(&name).is_none() {
                    return Err(not_here());
                }
                let head = core.head(&name);
                let made = make(head).and_then(|change| match core.changed_zone(&change) {
                    Ok(version) => Ok((change, version)),
                    Err((rcode, reason)) => Err(refusal(rcode, reason)),
                });
                let serial = head.map_or(Serial(0), Zone::serial);
                match made {
                    Ok((change, version)) => {
                        // The receiver outlives the request.
                        let _ = tell.send(Ok(version));
                        match dry_run {
                            true => Err(Reply::Done {
                                serial,
                                changed: false,
                            }),
                            false => Ok(Input::Change { request, change }),
                        }
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Err(Reply::Done {
                            serial,
                            changed: false,
                        })
                    }
                }
            })
            .await
            .map_err(super::stopped)?;
        let version = match told.try_recv() {
            Ok(made) => made?,
            Err(_) => None,
        };
        let mut changed = self
            .done(
                apex,
                reply,
                if dry_run { api::Wait::default() } else { wait },
            )
            .await?;
        changed.difference = version.map(|version| match version.diffs.is_empty() {
            true => added_whole(&version.zone),
            false => difference(apex, &version.diffs),
        });
        Ok(changed)
    }

    pub(super) async fn export(
        &self,
        zone: String,
        serial: Option<u32>,
    ) -> Result<zonemesh_api::site::TextStream, ApiError> {
        let apex = zone_name(&zone)?;
        let zone = self.version(&apex, serial.map(Serial)).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::task::spawn_blocking(move || {
            let mut out = Chunks {
                sender,
                buffer: Vec::with_capacity(CHUNK),
            };
            // An error here means that the reader has gone.
            if file::write(&zone, &mut out)
                .and_then(|()| std::io::Write::flush(&mut out))
                .is_err()
            {
                tracing::debug!(zone = %zone.apex(), "the reader of an export has gone");
            }
        });
        Ok(receiver)
    }

    pub(super) async fn version(
        &self,
        apex: &Name,
        serial: Option<Serial>,
    ) -> Result<Zone, ApiError> {
        let name = apex.clone();
        let current = self
            .live
            .core
            .look(move |core, _| core.zone(&name).map(|view| view.zone.cloned()))
            .await
            .map_err(super::stopped)?
            .ok_or_else(|| not_found(apex))?
            .ok_or_else(|| ApiError::unavailable(format!("nothing is held of {apex} yet")))?;
        let Some(serial) = serial.filter(|serial| *serial != current.serial()) else {
            return Ok(current);
        };
        let store = self.live.store.clone();
        let name = apex.clone();
        super::blocking(move || {
            store
                .version_at(&name, serial)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?
        .ok_or_else(|| {
            ApiError::not_found(format!("version {serial} of {apex} is not known")).hint(format!(
                "`zonemesh zone history {apex}` lists those that are"
            ))
        })
    }

    pub(super) async fn diff(
        &self,
        zone: String,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Result<api::Difference, ApiError> {
        let apex = zone_name(&zone)?;
        let newer = self.version(&apex, to.map(Serial)).await?;
        let from = match from {
            Some(from) => from,
            None => self
                .history(&apex)
                .await?
                .into_iter()
                .find(|entry| entry.to == newer.serial().into_int())
                .and_then(|entry| entry.from)
                .ok_or_else(|| {
                    ApiError::not_found(format!(
                        "version {} of {apex} has none before it",
                        newer.serial()
                    ))
                })?,
        };
        let older = self.version(&apex, Some(Serial(from))).await?;
        let diff: Diff = older.diff(&newer);
        Ok(difference(&apex, &[diff]))
    }

    pub(super) async fn history(&self, apex: &Name) -> Result<Vec<api::HistoryEntry>, ApiError> {
        let store = self.live.store.clone();
        let name = apex.clone();
        let entries = super::blocking(move || {
            store
                .history(&name)
                .map_err(|error| ApiError::internal(error.to_string()))
        })
        .await?;
        Ok(entries.into_iter().rev().map(history_entry).collect())
    }

    pub(super) async fn check(&self, zone: String) -> Result<Vec<api::Finding>, ApiError> {
        let zone = self.version(&zone_name(&zone)?, None).await?;
        super::blocking(move || Ok(check::check(&zone).iter().map(finding).collect())).await
    }

    pub(super) async fn list_records(
        &self,
        zone: String,
        filter: api::RecordFilter,
    ) -> Result<Vec<api::RecordText>, ApiError> {
        let apex = zone_name(&zone)?;
        let zone = self.version(&apex, None).await?;
        let wanted = filter.rtype.as_deref().map(rtype).transpose()?;
        let owner = filter
            .name
            .as_deref()
            .map(|name| owner_name(name, &apex))
            .transpose()?;
        let of_type = |record: &Record| wanted.is_none_or(|wanted| record.rtype == wanted);
        Ok(match owner {
            Some(owner) => zone
                .node(&owner)
                .into_iter()
                .flat_map(|node| node.rrsets())
                .flat_map(|set| zonemesh_zone::version::records_of(&owner, set))
                .filter(of_type)
                .map(|record| record_text(&record))
                .collect(),
            None => zone
                .records()
                .filter(of_type)
                .map(|record| record_text(&record))
                .collect(),
        })
    }
}

fn history_entry(entry: zonemesh_store::HistoryEntry) -> api::HistoryEntry {
    api::HistoryEntry {
        from: Some(entry.from.into_int()),
        to: entry.to.into_int(),
        at: entry.at,
        removed: entry.removed as u64,
        added: entry.added as u64,
        origin: match entry.origin {
            zonemesh_store::Origin::Local => "local".to_owned(),
            zonemesh_store::Origin::Transfer { from } | zonemesh_store::Origin::Forced { from } => {
                format!("transfer from {from}")
            }
        },
    }
}

fn not_found(apex: &Name) -> ApiError {
    ApiError::not_found(format!("{apex} is not a zone of this site"))
        .hint("`zonemesh zone list` shows those that are")
}

/// The zone that is to be imported.
pub(super) fn parse_import(
    request: &api::ImportZone,
) -> Result<(Zone, Vec<zonemesh_zone::Finding>), ApiError> {
    let name = request.file.as_deref().unwrap_or("standard input");
    parse(&zone_name(&request.zone)?, &request.text, name)
}

/// A zone whose first contents have yet to come.
fn nothing_held(apex: &Name) -> ApiError {
    ApiError::unavailable(format!("nothing is held of {apex} yet")).hint(format!(
        "`zonemesh zone import {apex} FILE` gives it its first contents"
    ))
}

/// Reads a zone file that came over the control socket; it cannot include other files.
pub(super) fn parse(
    apex: &Name,
    text: &str,
    file: &str,
) -> Result<(Zone, Vec<zonemesh_zone::finding::Finding>), ApiError> {
    let mut opener = |path: &str| {
        if path == file {
            Ok(text.as_bytes().to_vec())
        } else {
            Err(std::io::Error::other(
                "$INCLUDE does not work over the control socket; put the files together first",
            ))
        }
    };
    let loaded = file::read(&mut opener, file, Some(apex));
    let mut findings = loaded.findings;
    match loaded.zone {
        Some(zone) => {
            findings.extend(check::check(&zone));
            match findings.iter().find(|finding| finding.is_error()) {
                None => Ok((zone, findings)),
                Some(error) => Err(ApiError::invalid(error.to_string())),
            }
        }
        None => {
            let errors: Vec<String> = findings
                .iter()
                .filter(|finding| finding.is_error())
                .map(ToString::to_string)
                .collect();
            Err(ApiError::invalid(errors.join("\n")).hint("nothing was changed"))
        }
    }
}

/// The zone with some records set or deleted.
fn edit_records(head: &Zone, apex: &Name, changes: &[api::RecordChange]) -> Result<Zone, ApiError> {
    let invalid = |error: zonemesh_zone::ZoneError| ApiError::invalid(error.to_string());
    let mut editor = head.edit();
    for change in changes {
        match change {
            api::RecordChange::Set {
                name,
                rtype: of,
                ttl,
                data,
            } => {
                let (owner, of) = (owner_name(name, apex)?, rtype(of)?);
                let old = editor.rrset(&owner, of).map(Rrset::ttl);
                let ttl =
                    ttl.unwrap_or_else(|| old.map_or(head.soa().minimum, |ttl| ttl.as_secs()));
                let mut rdata = Vec::new();
                for text in data {
                    let line = format!("{} {ttl} IN {of} {text}", owner.fmt_with_dot());
                    let record = Record::from_text(&line, apex).map_err(|error| {
                        ApiError::invalid(format!(
                            "`{text}` is not data of a {of} record of {owner}: {error}"
                        ))
                    })?;
                    rdata.push(record.rdata);
                }
                let ttl = zonemesh_zone::Ttl::from_secs(ttl);
                editor
                    .put(&owner, Rrset::new(of, ttl, &rdata))
                    .map_err(invalid)?;
            }
            api::RecordChange::Delete {
                name,
                rtype: of,
                data,
            } => {
                let owner = owner_name(name, apex)?;
                let of = of.as_deref().map(rtype).transpose()?;
                delete_records(&mut editor, head, &owner, of, data.as_deref())?;
            }
        }
    }
    let zone = editor.finish().map_err(invalid)?;
    match check::check(&zone)
        .iter()
        .find(|finding| finding.is_error())
    {
        None => Ok(zone),
        Some(error) => Err(ApiError::invalid(error.to_string()).hint("nothing was changed")),
    }
}

fn delete_records(
    editor: &mut zonemesh_zone::Editor,
    head: &Zone,
    owner: &Name,
    of: Option<Rtype>,
    data: Option<&[String]>,
) -> Result<(), ApiError> {
    let found = match (of, data) {
        (None, _) => editor.remove_name(owner),
        (Some(of), None) => editor.remove_rrset(owner, of),
        (Some(of), Some(data)) => {
            let mut found = true;
            for text in data {
                let line = format!("{} 0 IN {of} {text}", owner.fmt_with_dot());
                let record = Record::from_text(&line, head.apex())
                    .map_err(|error| ApiError::invalid(error.to_string()))?;
                found &= editor.remove(owner, of, &record.rdata);
            }
            found
        }
    };
    match found {
        true => Ok(()),
        false => Err(ApiError::not_found(format!(
            "{owner} has no such record; nothing was changed"
        ))
        .hint(format!(
            "`zonemesh record list {} --name {owner}` shows what it has",
            head.apex()
        ))),
    }
}

/// All records of a first version.
fn added_whole(zone: &Zone) -> api::Difference {
    api::Difference {
        zone: name_text(zone.apex()),
        from: None,
        to: Some(zone.serial().into_int()),
        removed: Vec::new(),
        added: zone.records().map(|record| record_text(&record)).collect(),
    }
}

const CHUNK: usize = 64 * 1024;

/// A writer whose pieces go to a reader elsewhere.
struct Chunks {
    sender: mpsc::Sender<Result<String, ApiError>>,
    buffer: Vec<u8>,
}

impl std::io::Write for Chunks {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.buffer).into_owned();
        self.buffer.clear();
        self.sender
            .blocking_send(Ok(text))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}
