//! Records over the control socket: list, set, delete.

use zonemesh_api::ApiError;
use zonemesh_api::types as api;
use zonemesh_mesh::core::Change;
use zonemesh_zone::{Name, Record, Rrset, Rtype, Zone, check};

use super::Control;
use super::change::nothing_held;
use super::convert::{fault, owner_name, record_text, rtype, zone_name};

impl Control {
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
        if let Some(owner) = owner.as_ref().filter(|owner| zone.node(owner).is_none()) {
            return Err(
                ApiError::not_found(format!("there is no {owner} in zone {apex}"))
                    .hint("`zonemesh record list ZONE` shows all there is"),
            );
        }
        let of_type = |record: &Record| wanted.is_none_or(|wanted| record.rtype == wanted);
        Ok(match owner {
            Some(owner) => zone
                .node(&owner)
                .into_iter()
                .flat_map(|node| node.rrsets())
                .flat_map(|set| zonemesh_zone::version::records_of(owner.for_slice(), set))
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
                let old = editor.rrset(&owner, of).map(|set| set.ttl());
                let ttl =
                    ttl.unwrap_or_else(|| old.map_or(head.numbers().minimum, |ttl| ttl.as_secs()));
                let mut rdata = Vec::new();
                for text in data {
                    let line = format!("{} {ttl} IN {of} {text}", owner.fmt_with_dot());
                    let record = Record::from_text(&line, apex).map_err(|error| {
                        let invalid = ApiError::invalid(format!(
                            "`{text}` is not data of a {of} record of {owner}: {error}"
                        ));
                        match data.as_slice() {
                            [_] => invalid,
                            words => invalid.hint(format!(
                                "each argument is a record of its own; if this is one, quote it: '{}'",
                                words.join(" ")
                            )),
                        }
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
        Some(error) => Err(ApiError::invalid(fault(error)).hint("nothing was changed")),
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
            "`zonemesh record list {} {owner}` shows what it has",
            head.apex()
        ))),
    }
}
