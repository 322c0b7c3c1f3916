//! What catalogs have brought, as it is kept on disk: a value for each member, so that one more costs nothing for the others.

use serde::{Deserialize, Serialize};
use zonemesh_zone::Name;
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::record::parse_name;

use super::{Brought, Members};

/// How all members of a catalog were written to disk in one value, by older versions; a list, because names are no good keys of JSON
/// objects.
#[derive(Deserialize)]
struct Stored {
    version: u32,
    members: Vec<(String, String, Option<String>)>,
}

/// How a member is written to disk.
#[derive(Serialize, Deserialize)]
struct StoredMember {
    version: u32,
    node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    held: bool,
}

/// Under which key of the store older versions kept a catalog's members.
pub(super) fn store_key(catalog: &Name) -> String {
    canonical_text(catalog)
}

/// Under which key a member is kept. Names have no space in them that is not escaped.
pub(super) fn member_key(catalog: &Name, zone: &Name) -> String {
    format!("{} {}", canonical_text(catalog), canonical_text(zone))
}

/// The catalog that a value is of, and the members in it: none once they are gone.
pub(super) fn decode(key: &str, value: &[u8]) -> Result<(Name, Members), String> {
    let Some((catalog, zone)) = key.split_once(' ') else {
        return Ok((parse_name(key)?, decode_all(value)?));
    };
    let mut members = Members::new();
    if !value.is_empty() {
        let member: StoredMember =
            serde_json::from_slice(value).map_err(|error| error.to_string())?;
        is_known(member.version)?;
        let StoredMember {
            node, group, held, ..
        } = member;
        members.insert(parse_name(zone)?, brought(node, group, held));
    }
    Ok((parse_name(catalog)?, members))
}

fn decode_all(value: &[u8]) -> Result<Members, String> {
    if value.is_empty() {
        return Ok(Members::new());
    }
    let stored: Stored = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    is_known(stored.version)?;
    let members = stored
        .members
        .into_iter()
        .map(|(zone, node, group)| Ok((parse_name(&zone)?, brought(node, group, false))));
    members.collect()
}

fn brought(node: String, group: Option<String>, held: bool) -> Brought {
    Brought::new(node.into(), group.as_deref(), held)
}

fn is_known(version: u32) -> Result<(), String> {
    match version {
        1 => Ok(()),
        other => Err(format!("version {other} is not known here")),
    }
}

/// A member as it is kept.
pub(super) fn encode_member(brought: &Brought) -> Vec<u8> {
    let member = StoredMember {
        version: 1,
        node: brought.node.as_str().into(),
        group: brought.group().map(str::to_owned),
        held: brought.is_held(),
    };
    serde_json::to_vec(&member).expect("a struct of plain fields is always JSON")
}
