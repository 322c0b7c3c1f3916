//! Making a site the writer of directory and catalog, by an operator's command and in no other way.
//!
//! At the catalog secondary that is to be promoted, when the old writer is gone: it begins an epoch with the copies that
//! it holds. At the writer itself, while it runs: its last version of both zones says who comes after it, so that nothing
//! can come in between. Either way it is one commit of two versions, and whoever sees them follows.

use zonemesh_planted::{Bug, planted};
use zonemesh_zone::catalog::{self, EditError};
use zonemesh_zone::directory::{self, Directory, Epoch, Role, SiteName};
use zonemesh_zone::{Name, Rcode, Serial, SerialExt, Zone};

use crate::core::change::with_serial;
use crate::core::replicate::STEP;
use crate::core::{Answer, Core, NewVersion, PeerId, Reply, RequestId};
use crate::hash::scattered;

/// Whether a site has answered when it was asked for a promotion, and why not.
pub type Seen = Result<(), String>;

/// What a promotion would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The site that becomes the writer.
    pub to: SiteName,
    /// The one that is it now; none where the directory does not name exactly one.
    pub from: Option<SiteName>,
    /// The epoch that begins.
    pub epoch: u32,
    /// Whether the writer hands over itself.
    pub planned: bool,
    /// Whether it is that site already, and nothing is to be done.
    pub done: bool,
    /// What speaks against it, and is to be overruled only by who knows more than this site.
    pub objections: Vec<String>,
}

/// # Promotion
impl Core {
    /// What the promotion of a site would be, as far as this site knows. `seen` is what the other side of it has answered when it was
    /// asked for this, or why it has not; that goes before what probes have found, which may be some seconds old.
    ///
    /// # Errors
    ///
    /// When it cannot be done here at all, and why.
    pub fn promotion(&self, to: &SiteName, seen: Option<&Seen>) -> Result<Promotion, String> {
        let mesh = self.mesh.as_ref().ok_or("this server belongs to no mesh")?;
        let me = &mesh.settings.me.name;
        let read = mesh
            .directory
            .value()
            .ok_or("the directory is not held yet")?;
        let site = read
            .sites
            .get(to)
            .ok_or_else(|| format!("{to} is not a site of this mesh"))?;
        let from = read.catalog_primary().map(|site| site.name.clone());
        let writes = from.as_ref() == Some(me);
        let own = self.head_epoch(&mesh.settings.directory)?;
        let catalog = self.head_epoch(&mesh.settings.catalog)?;
        let both = own.number.max(catalog.number);
        let mut promotion = Promotion {
            to: to.clone(),
            from: from.clone(),
            epoch: both.max(mesh.highest_epoch).saturating_add(1),
            planned: writes && to != me,
            done: writes && to == me && mesh.outranked.is_none() && !own.outranks_beside(&catalog),
            objections: Vec::new(),
        };
        if promotion.done {
            promotion.epoch = both;
            return Ok(promotion);
        }
        if to != me && !writes {
            let at = match &from {
                Some(from) => {
                    format!("; while {from} answers it hands over with the same command there")
                }
                None => String::new(),
            };
            return Err(format!(
                "a site is promoted at the site itself: ask {to}{at}"
            ));
        }
        if site.role == Role::Standard {
            return Err(format!(
                "{to} is a standard site; only a catalog secondary can be promoted, and the catalog primary makes it one with `zonemesh site role {to} catalog-secondary`"
            ));
        }
        if promotion.planned {
            self.object_to_hand_over(to, seen, &mut promotion.objections);
        } else if let Some(from) = from.filter(|from| from != me) {
            let there = match seen {
                Some(Err(_)) => None,
                Some(Ok(())) => Some("answers"),
                None => self
                    .lost(&PeerId::Site(from.clone()))
                    .is_none()
                    .then_some("is not known to be away"),
            };
            promotion.objections.extend(there.map(|there| format!(
                "{from}, the catalog primary, {there}: hand over in order, with `zonemesh site promote {to}` there"
            )));
        }
        Ok(promotion)
    }

    fn head_epoch(&self, apex: &Name) -> Result<Epoch, String> {
        let head = self
            .head(apex)
            .ok_or_else(|| format!("{apex} is not held yet"))?;
        self.epoch_of(head).unwrap_or_else(|| Ok(Epoch::default()))
    }

    /// Why a site is not the one to hand over to at this moment.
    fn object_to_hand_over(
        &self,
        to: &SiteName,
        seen: Option<&Seen>,
        objections: &mut Vec<String>,
    ) {
        let Some(mesh) = &self.mesh else { return };
        let peer = PeerId::Site(to.clone());
        let away = match seen {
            Some(seen) => seen.as_ref().err().map(String::as_str),
            None => self.lost(&peer).map(|(_, why)| why),
        };
        if let Some(why) = away {
            objections.push(format!("{to} does not answer: {why}"));
            return;
        }
        for apex in [&mesh.settings.directory, &mesh.settings.catalog] {
            let Some(entry) = self.zones.get(apex) else {
                continue;
            };
            let served = entry.served.as_ref().map(Zone::serial);
            let behind = |shown| served.is_none_or(|served| served.is_after(shown));
            if entry.shown.get(&peer).copied().is_none_or(behind) {
                objections.push(format!(
                    "{to} has not confirmed that it has the newest version of {apex}"
                ));
            }
        }
    }

    /// Makes a site the writer.
    pub(in crate::core) fn promote(
        &mut self,
        request: RequestId,
        to: &SiteName,
        seen: Option<&Seen>,
        force: bool,
    ) {
        let made = match self.promotion(to, seen) {
            Ok(promotion) if promotion.done => {
                let directory = self
                    .mesh
                    .as_ref()
                    .map(|mesh| mesh.settings.directory.clone());
                let directory = directory.unwrap_or_else(Name::root_bytes);
                return self.unchanged(Some(request), &directory);
            }
            Ok(promotion) if !promotion.objections.is_empty() && !force => {
                Err(promotion.objections.join("; "))
            }
            Ok(promotion) => self.promoted(&promotion),
            Err(why) => Err(why),
        };
        match made {
            Ok(versions) => {
                let answer = versions.first().map(|version| Answer {
                    request,
                    serial: version.zone.serial(),
                    changed: true,
                });
                if let Some(mesh) = &mut self.mesh {
                    mesh.outranked = None;
                }
                self.commit(versions, Vec::new(), answer);
            }
            Err(reason) => self.reply(
                Some(request),
                Reply::Refused {
                    rcode: Rcode::REFUSED,
                    reason,
                },
            ),
        }
    }

    /// Directory and catalog of the epoch that begins, the directory first.
    fn promoted(&self, promotion: &Promotion) -> Result<Vec<NewVersion>, String> {
        let mesh = self.mesh.as_ref().ok_or("this server belongs to no mesh")?;
        let to = &promotion.to;
        let mname = to
            .under(&mesh.settings.directory)
            .map_err(|error| error.to_string())?;
        let mut versions: Vec<NewVersion> = Vec::new();
        for apex in [&mesh.settings.directory, &mesh.settings.catalog] {
            let entry = self.zones.get(apex);
            let head = entry.and_then(|entry| entry.head.as_ref());
            let (Some(entry), Some(head)) = (entry, head) else {
                return Err(format!("{apex} is not held yet"));
            };
            let (mine, last) = (self.head_epoch(apex)?, head.serial());
            // That site may have been promoted meanwhile: what hands over to it must not have a serial of what it publishes.
            let (begun, step) = match promotion.planned {
                true => (mine.handed_over(to, &mesh.settings.me.name, last), 2 * STEP),
                false => (mine.next(to, last), STEP),
            };
            let epoch = Epoch {
                number: match planted(Bug::EpochNotRaised) {
                    true => promotion.epoch - 1,
                    false => promotion.epoch,
                },
                ..begun
            };
            let floor = entry.floor().unwrap_or(head.serial());
            let serial = floor.add(step + offset(to));
            let mut editor = head.edit();
            if *apex == mesh.settings.directory {
                let read = Directory::read(head);
                if !directory::promote(&mut editor, &read, to, &epoch)
                    .map_err(|error| error.to_string())?
                {
                    return Err(format!("{to} has no _site record in the directory"));
                }
            } else {
                catalog::promote(&mut editor, &mname, &epoch).map_err(|error| error.to_string())?;
            }
            let mut edited = editor.finish().map_err(|error| error.to_string())?;
            if let Some(directory) = versions.first() {
                edited = self.in_step_with(&directory.zone, edited, serial)?;
            }
            let zone = with_serial(&edited, serial).map_err(|error| error.to_string())?;
            let diff = head.diff(&zone);
            versions.push(NewVersion::made(zone, vec![diff]));
        }
        Ok(versions)
    }

    /// A catalog with what its directory says. The two come apart from each other, so that a site may have been promoted that
    /// held one of them only.
    fn in_step_with(
        &self,
        directory: &Zone,
        catalog: Zone,
        serial: Serial,
    ) -> Result<Zone, String> {
        let mesh = self.mesh.as_ref().ok_or("this server belongs to no mesh")?;
        let groups = &mesh.settings.groups;
        match catalog::follow_directory(&catalog, directory, directory, groups, serial) {
            Ok(followed) => Ok(followed.unwrap_or(catalog)),
            // Somebody has to look at it first, and can once there is a writer.
            Err(EditError::Broken(_)) => Ok(catalog),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// How far from those of others the serials of a site begin, by its name: two sites that are promoted apart from each other
/// begin from the same one.
pub(in crate::core) fn offset(site: &SiteName) -> u32 {
    (scattered(site.as_str()) >> 40) as u32 % STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_with_similar_names_begin_far_from_each_other() {
        let of = |letter: char| offset(&SiteName::new(&format!("site-{letter}")).unwrap());
        let mut all: Vec<u32> = ('a'..='h').map(of).collect();
        all.sort_unstable();
        let least = all.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(least > Some(1000), "{all:?}");
        assert!(all.iter().all(|offset| *offset < STEP));
    }
}
