//! What the disks of a mesh hold that has been running for long: made at once, not by a thousand joins.

use std::net::{IpAddr, Ipv4Addr};

use zonemesh_mesh::core::*;
use zonemesh_zone::directory::{self as directories, KeyPin, Role, Site, SiteName};
use zonemesh_zone::{Name, Serial, Zone, catalog as catalogs};

use crate::{catalog, directory, timed_zone};

/// A mesh at rest: its sites, and the zones between them.
pub struct Prepared {
    /// The sites; the first is the catalog primary, the second a catalog secondary.
    pub sites: Vec<Site>,
    /// The directory that all of them hold.
    pub directory: Zone,
    /// The catalog.
    pub catalog: Zone,
    /// The member zones. The primary of the one at `n` is the site at `n` modulo their number.
    pub zones: Vec<Zone>,
}

impl Prepared {
    /// A mesh of so many sites and member zones.
    ///
    /// # Panics
    ///
    /// When there is no site, or there are more than 65,535.
    pub fn new(sites: usize, zones: usize) -> Self {
        let sites: Vec<Site> = (0..sites).map(site).collect();
        let apexes: Vec<Name> = (0..zones).map(apex).collect();
        let first = sites.first().expect("a mesh has a site");
        let made = directories::new_zone(&directory(), first, Serial(100)).unwrap();
        let mut editor = made.edit();
        for site in &sites[1..] {
            for record in site.records(&directory()).unwrap() {
                editor.add(record).unwrap();
            }
        }
        for (number, apex) in apexes.iter().enumerate() {
            let primary = &sites[number % sites.len()].name;
            directories::set_owner(&mut editor, apex, primary).unwrap();
        }
        let empty = catalogs::new_zone(&catalog(), Serial(100)).unwrap();
        let members = apexes.iter().map(|apex| (apex.clone(), None)).collect();
        let filled = catalogs::follow(&empty, &members, Serial(101)).unwrap();
        // An hour, ten minutes, and the six weeks that are the default of the product's own zones.
        let times = (3600, 600, 42 * 86_400);
        let zones = apexes.iter().enumerate().map(|(number, apex)| {
            let text = apex.to_string();
            let address = format!("www 300 IN A 198.51.100.{}", number % 250);
            timed_zone(&text, 100, times, &[&address])
        });
        Self {
            directory: editor.finish().unwrap(),
            catalog: filled.unwrap_or(empty),
            zones: zones.collect(),
            sites,
        }
    }

    /// What the configuration of a site says.
    pub fn settings(&self, site: usize) -> Settings {
        let me = &self.sites[site];
        let mesh = MeshSettings {
            me: Me {
                name: me.name.clone(),
                site: me.clone(),
            },
            directory: directory(),
            catalog: catalog(),
            bootstrap: vec![self.sites[0].clone()],
            legacy_txt: false,
            groups: Default::default(),
        };
        Settings {
            mesh: Some(mesh),
            ..Settings::default()
        }
    }

    /// What each site holds; its secondary copies, that is all of them at most sites, were confirmed at this Unix time.
    pub fn held(&self, site: usize, wall: i64) -> Vec<Held> {
        let own = |number: usize| number % self.sites.len() == site;
        let members = self.zones.iter().enumerate();
        let members = members.map(|(number, zone)| (zone, own(number)));
        let mesh = [&self.directory, &self.catalog].map(|zone| (zone, site == 0));
        mesh.into_iter()
            .chain(members)
            .map(|(zone, primary)| Held {
                zone: zone.clone(),
                high_water: zone.serial(),
                expires_at: (!primary).then(|| wall + i64::from(zone.numbers().expire)),
                last_refresh: (!primary).then_some(wall),
                hosted: false,
                made_here: false,
                doubt: None,
            })
            .collect()
    }
}

/// The name of a member zone.
pub fn apex(number: usize) -> Name {
    crate::name(&format!("zone-{number:04}.example"))
}

/// A site as it describes itself.
pub fn site(number: usize) -> Site {
    let octets = u16::try_from(number).unwrap().to_be_bytes();
    let mut pin = [7; 32];
    pin[..2].copy_from_slice(&octets);
    Site {
        name: SiteName::new(&format!("site-{number:04}")).unwrap(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, octets[0], octets[1]))],
        dot: Some(853),
        doq: None,
        dns: None,
        pins: vec![KeyPin(pin)],
        role: match number {
            0 => Role::CatalogPrimary,
            1 => Role::CatalogSecondary,
            _ => Role::Standard,
        },
        engine: "zonemesh/0.1.0".to_owned(),
        failure_domain: None,
    }
}
