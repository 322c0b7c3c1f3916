//! A mesh under test, made as a user makes one: the first site is started, the others are invited and join.

use std::ops::{Index, IndexMut};

use anyhow::Result;
use zonemesh_api::types::Receipt;
use zonemesh_testkit::netns::Net;

use crate::site::Site;

/// Several sites; the first is the catalog primary.
#[derive(Debug)]
pub struct Mesh {
    /// The sites, in the order in which they joined.
    pub sites: Vec<Site>,
}

impl Mesh {
    /// Starts `site-a`, lets `site-b` and so on join, and waits until each says that all is well.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub fn start(count: u8) -> Result<Self> {
        Self::start_in(count, None)
    }

    /// The same on the hosts of a network.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_in(count: u8, net: Option<&Net>) -> Result<Self> {
        Self::start_as(count, net, &|_, text| text)
    }

    /// The same with configurations that are edited before the sites start.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_as(
        count: u8,
        net: Option<&Net>,
        edited: &dyn Fn(&Site, String) -> String,
    ) -> Result<Self> {
        let mut mesh = Self { sites: Vec::new() };
        for index in 0..count {
            let host = net.and_then(|net| net.hosts().get(usize::from(index)));
            let name = format!("site-{}", char::from(b'a' + index));
            let role = if index == 0 {
                "catalog-primary"
            } else {
                "standard"
            };
            let mut site = Site::new(&name, role, host)?;
            site.configure(&edited(&site, site.configuration(role)));
            if index == 0 {
                site.up()?;
                site.wait_ready()?;
            } else {
                let packet = mesh[0].cli_ok(&["invite", &name])?;
                site.join(&packet)?;
                site.wait_running()?;
            }
            mesh.sites.push(site);
        }
        mesh.wait_healthy()?;
        Ok(mesh)
    }

    /// Has one more site join.
    ///
    /// # Errors
    ///
    /// When it is not invited or does not start.
    pub fn join(&mut self, name: &str) -> Result<()> {
        let packet = self[0].cli_ok(&["invite", name])?;
        let mut site = Site::new(name, "standard", None)?;
        site.join(&packet)?;
        site.wait_running()?;
        self.sites.push(site);
        Ok(())
    }

    /// Waits until every site says that all is well.
    ///
    /// # Errors
    ///
    /// When one does not.
    pub fn wait_healthy(&self) -> Result<()> {
        for site in &self.sites {
            site.wait_healthy(self.sites.len())?;
        }
        Ok(())
    }

    /// Waits until every site answers with this address for a name.
    ///
    /// # Errors
    ///
    /// When one does not.
    pub fn wait_address(&self, name: &str, address: &str) -> Result<()> {
        for site in &self.sites {
            site.wait_address(name, address)?;
        }
        Ok(())
    }

    /// The names of all sites, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.sites.iter().map(|site| site.name.clone()).collect();
        names.sort();
        names
    }
}

impl Index<usize> for Mesh {
    type Output = Site;

    fn index(&self, index: usize) -> &Site {
        &self.sites[index]
    }
}

impl IndexMut<usize> for Mesh {
    fn index_mut(&mut self, index: usize) -> &mut Site {
        &mut self.sites[index]
    }
}

/// The sites that serve a change, by its receipt, sorted.
pub fn serving(receipt: &Receipt) -> Vec<String> {
    let serving = receipt.sites.iter().filter(|site| site.serving);
    let mut names: Vec<String> = serving.map(|site| site.site.clone()).collect();
    names.sort();
    names
}
