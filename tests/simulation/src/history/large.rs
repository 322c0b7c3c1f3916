//! Meshes that are too large to be founded site by site: all start with the disks of a mesh that has been running for long, with
//! a model of the store on them.

use super::{FIRST_ZONES, History, member};
use crate::oracle::{Finding, SETTLES_WITHIN};
use crate::prepared::Prepared;
use crate::record::Wanted;
use crate::{Disk, EPOCH};

impl History {
    /// The mesh as it is at first, of any size.
    pub(super) fn found_large(&mut self, sites: usize) -> Result<(), Finding> {
        let prepared = Prepared::new(sites, FIRST_ZONES);
        for (number, site) in prepared.sites.iter().enumerate() {
            let host = site.name.as_str();
            let settings = prepared.settings(number);
            self.world.put_host(host, site.clone(), settings);
            self.world.host(host).disk = Disk::of(prepared.held(number, EPOCH));
            self.world.start(host);
            self.record.sites.insert(host.to_owned(), member());
        }
        for (number, zone) in prepared.zones.iter().enumerate() {
            let apex = zone.apex().to_string().trim_end_matches('.').to_owned();
            let soa = zone.numbers();
            let times = (soa.refresh, soa.retry, soa.expire);
            let primary = prepared.sites[number].name.as_str();
            let record = self.zone_record(primary, Wanted::Yes, false, times);
            self.record.zones.insert(apex, record);
        }
        self.next_site = sites;
        self.founded_by(prepared.sites[0].name.as_str());
        self.world.settle_within(SETTLES_WITHIN, "all have started");
        self.note(
            "*",
            &format!("{sites} sites and their first zones are there"),
        );
        self.look()
    }
}
