//! The updates that sites send to the catalog primary.

use std::collections::BTreeSet;

use zonemesh_zone::directory::{Site, SiteName, TooLong, owner_record, zone_node};
use zonemesh_zone::{Name, Rtype};

use crate::message::Update;

/// Puts a site's records into the directory, in place of those that are there: to join, and when an address or a key
/// has changed. What it published before, if known, says which names have to be cleared besides.
///
/// # Errors
///
/// When the directory's name leaves no room.
pub fn publish(directory: &Name, site: &Site, previous: Option<&Site>) -> Result<Update, TooLong> {
    let records = site.records(directory)?;
    let mut names: BTreeSet<Name> = records.iter().map(|record| record.owner.clone()).collect();
    if let Some(previous) = previous {
        names.extend(
            previous
                .records(directory)?
                .into_iter()
                .map(|record| record.owner),
        );
    }
    let update = Update::new(directory.clone());
    let update = names.into_iter().fold(update, Update::delete_name);
    Ok(records.into_iter().fold(update, Update::add))
}

/// Makes a site the primary of a zone that has none.
///
/// # Errors
///
/// When the zone's name does not fit into the directory.
pub fn claim_zone(directory: &Name, zone: &Name, site: &SiteName) -> Result<Update, TooLong> {
    Ok(Update::new(directory.clone()).add(owner_record(zone, site, directory)?))
}

/// Takes a zone out of the mesh.
///
/// # Errors
///
/// When the zone's name does not fit into the directory.
pub fn release_zone(directory: &Name, zone: &Name) -> Result<Update, TooLong> {
    Ok(Update::new(directory.clone()).delete_rrset(zone_node(zone, directory)?, Rtype::PTR))
}
