//! What catalogs have brought, as it is kept on disk.

use serde::{Deserialize, Serialize};
use zonemesh_zone::Name;
use zonemesh_zone::record::canonical_text;
use zonemesh_zone::record::parse_name;

use super::{Brought, Members};

/// How it is written to disk; a list, because names are no good keys of JSON objects.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    members: Vec<(String, String, Option<String>)>,
}

/// Under which key of the store a catalog's members are kept.
pub(super) fn store_key(catalog: &Name) -> String {
    canonical_text(catalog)
}

pub(super) fn decode(key: &str, value: &[u8]) -> Result<(Name, Members), String> {
    let stored: Stored = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if stored.version != 1 {
        return Err(format!("version {} is not known here", stored.version));
    }
    let members = stored
        .members
        .into_iter()
        .map(|(zone, node, group)| Ok((parse_name(&zone)?, Brought { node, group })));
    Ok((parse_name(key)?, members.collect::<Result<_, String>>()?))
}

pub(super) fn encode(members: &Members) -> Option<Vec<u8>> {
    let members = members.iter().map(|(zone, brought)| {
        let name = zone.fmt_with_dot().to_string();
        (name, brought.node.clone(), brought.group.clone())
    });
    let stored = Stored {
        version: 1,
        members: members.collect(),
    };
    serde_json::to_vec(&stored).ok()
}
