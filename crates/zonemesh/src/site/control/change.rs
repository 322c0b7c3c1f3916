//! Making a change of a zone and waiting for it to be served.

use std::time::Duration;

use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::{Change, Input, NewVersion, Reply};
use zonemesh_zone::{Name, Serial, Zone, check, file};

use super::Control;
use super::convert::{difference, fault, name_text, receipt, record_text, refusal, zone_name};

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

    /// What becomes of a change at a site that no other takes for a member: nobody will ever serve it.
    async fn refused_everywhere(
        &self,
        apex: &Name,
        serial: Serial,
    ) -> Result<Option<api::Receipt>, ApiError> {
        let zone = apex.clone();
        let look = self.live.core.look(move |core, _| {
            let in_mesh = core.zone(&zone).is_some_and(|view| view.spec.mesh);
            let refusing = core.refused_by_all().filter(|_| in_mesh)?;
            Some(refusing.iter().map(ToString::to_string).collect())
        });
        let refusing: Option<Vec<String>> = look.await.map_err(super::stopped)?;
        Ok(refusing.map(|sites| api::Receipt {
            zone: name_text(apex),
            serial: serial.into_int(),
            sites: sites.into_iter().map(refuses).collect(),
        }))
    }

    /// Does what a request to the core came to.
    pub(super) async fn done(
        &self,
        apex: &Name,
        reply: Reply,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        match reply {
            Reply::Done { serial, changed } => {
                let mut done = api::Changed {
                    zone: name_text(apex),
                    serial: Some(serial.into_int()),
                    changed,
                    ..api::Changed::default()
                };
                done.receipt = match self.refused_everywhere(apex, serial).await? {
                    Some(refused) => {
                        done.notes.push(NOT_A_MEMBER.to_owned());
                        Some(refused)
                    }
                    None => self.wait_for(apex, serial, wait).await?,
                };
                Ok(done)
            }
            Reply::Refused { rcode, reason } => Err(refusal(rcode, reason)),
            Reply::Receipt(_) => Err(ApiError::internal(
                "a receipt where the outcome of a change was expected",
            )),
        }
    }

    /// Makes a change of the newest version, or shows what it would be.
    pub(super) async fn change(
        &self,
        apex: &Name,
        make: impl FnOnce(Option<&Zone>) -> Result<Change, ApiError> + Send + 'static,
        dry_run: bool,
        wait: api::Wait,
    ) -> Result<api::Changed, ApiError> {
        if let Some((directory, catalog)) = &self.live.mesh
            && (apex == directory || apex == catalog)
        {
            let what = format!("{apex} is written by the mesh itself");
            return Err(ApiError::refused(what)
                .hint("`zonemesh site` and `zonemesh zone` change who and what is in it"));
        }
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
}

/// Said of a change that stays at the site that made it.
const NOT_A_MEMBER: &str = "no other site takes this one for a member, and the change is at this site alone: if it was removed, \
     stop it, and join again with a new welcome packet (`zonemesh invite` on the catalog primary)";

fn refuses(site: String) -> api::ReceiptSite {
    api::ReceiptSite {
        site,
        serving: false,
        after_ms: None,
        reason: Some("does not take this site for a member".to_owned()),
    }
}

/// The zone that is to be imported.
pub(super) fn parse_import(
    request: &api::ImportZone,
) -> Result<(Zone, Vec<zonemesh_zone::Finding>), ApiError> {
    let name = request.file.as_deref().unwrap_or("standard input");
    parse(&zone_name(&request.zone)?, &request.text, name)
}

/// A zone whose first contents have yet to come.
pub(super) fn nothing_held(apex: &Name) -> ApiError {
    ApiError::unavailable(format!("nothing is held of {apex} yet")).hint(format!(
        "it comes by itself where another site has it (`zonemesh status`); a new zone gets its first contents by \
         `zonemesh zone import {apex} FILE`"
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
                Some(error) => Err(ApiError::invalid(fault(error))),
            }
        }
        None => {
            let errors: Vec<String> = findings
                .iter()
                .filter(|finding| finding.is_error())
                .map(fault)
                .collect();
            Err(ApiError::invalid(errors.join("\n")).hint("nothing was changed"))
        }
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
