//! What can be seen of a mesh from outside.

use super::*;

/// # Looking
impl World {
    /// The serial of what a site serves of a zone.
    pub fn serial(&self, host: &str, apex: &str) -> Option<u32> {
        Some(self.zone(host, apex)?.serial().into_int())
    }

    /// What a site serves of a zone.
    pub fn zone(&self, host: &str, apex: &str) -> Option<&Zone> {
        self.hosts[host].served.get(&name(apex))?.0.as_ref()
    }

    /// The highest serial of a zone that a site has published or seen, as its store has it.
    pub fn high_water(&self, host: &str, apex: &Name) -> Option<Serial> {
        let state = &self.hosts[host];
        match &state.real {
            Some(real) if state.core.is_some() => real.high_water(apex),
            _ => state.disk.high.get(apex).copied(),
        }
    }

    /// What a site has set aside for another writer, oldest first.
    pub fn set_aside(&self, host: &str) -> Vec<Yielded> {
        let state = &self.hosts[host];
        let real = state.real.as_ref().and_then(|real| real.values(YIELDED));
        let values: Vec<Vec<u8>> = match real {
            Some(values) => values.into_iter().map(|(_, value)| value).collect(),
            None => {
                let table = state.disk.table.iter();
                let table = table.filter(|((table, _), _)| table == YIELDED);
                table.map(|(_, value)| value.clone()).collect()
            }
        };
        let read = |value: &Vec<u8>| Yielded::decode(value).expect("what the product has written");
        let mut kept: Vec<Yielded> = values.iter().map(read).collect();
        kept.sort_by_key(|kept| (kept.at, kept.id()));
        kept
    }

    /// Throws away what a site has set aside.
    pub fn discard(&mut self, host: &str, id: &str) {
        let state = self.host(host);
        let key = (YIELDED.to_owned(), id.to_owned());
        state.disk.table.remove(&key);
        if let Some(real) = &state.real {
            real.delete(YIELDED, id);
        }
    }

    /// Whether the user of a site was told something like that.
    pub fn saw(&self, host: &str, what: impl Fn(&Happening) -> bool) -> bool {
        self.hosts[host]
            .happened
            .iter()
            .any(|(_, happened)| what(happened))
    }

    /// Whether all sites of the directory that run serve the same of everything; else what differs.
    pub fn converged(&self) -> Result<(), String> {
        let primary = self.hosts.values().find_map(|host| {
            let core = host
                .core
                .as_ref()
                .filter(|core| core.is_catalog_primary())?;
            Some((core.directory()?, core.catalog()?))
        });
        let (members, listed) = primary.ok_or("no catalog primary")?;
        let mut zones: BTreeSet<Name> = listed.members.keys().cloned().collect();
        zones.extend([directory(), catalog()]);
        let sites = members.sites.keys().map(SiteName::as_str);
        let running: Vec<&str> = sites
            .filter(|name| self.hosts[*name].core.is_some())
            .collect();
        for zone in &zones {
            let copies = running.iter().map(|host| {
                (
                    host,
                    self.hosts[*host]
                        .served
                        .get(zone)
                        .and_then(|(zone, _)| zone.as_ref()),
                )
            });
            let mut first: Option<&Zone> = None;
            for (host, copy) in copies {
                let copy = copy.ok_or_else(|| format!("{host} has no {zone}"))?;
                match first {
                    Some(first)
                        if !(first.serial() == copy.serial() && first.same_contents(copy)) =>
                    {
                        return Err(format!(
                            "{zone}: {} at {}, {} at {host}",
                            first.serial(),
                            running[0],
                            copy.serial()
                        ));
                    }
                    _ => first = Some(copy),
                }
            }
        }
        for host in running {
            let core = self.hosts[host].core.as_ref().ok_or("down")?;
            if let Some(extra) = self.hosts[host].served.keys().find(|zone| {
                !zones.contains(*zone) && core.zone(zone).is_some_and(|view| view.spec.mesh)
            }) {
                return Err(format!("{host} serves {extra} still"));
            }
            if !core.ready() {
                return Err(format!("{host} is not ready: {:?}", core.missing()));
            }
        }
        Ok(())
    }

    /// Whether the last plan of each running site had nothing to do. What one holds that was removed nobody is asked to approve.
    pub fn at_rest(&self) -> Result<(), String> {
        let mut cores = self.hosts.values().filter_map(|host| host.core.as_ref());
        let writer = cores.find(|core| core.is_catalog_primary());
        let directory = writer.and_then(Core::directory);
        let removed = |host: &Host| directory.is_some_and(|read| read.is_removed(&host.site.name));
        let hosts = self.hosts.iter().filter(|(_, host)| !removed(host));
        for (name, host) in hosts {
            let report = host.core.as_ref().and_then(Core::report);
            if let Some(report) = report
                && !(report.plan.actions.is_empty()
                    && report.blocked.is_none()
                    && report.plan.held.is_empty())
            {
                return Err(format!("{name}: {} {:?}", report.plan, report.blocked));
            }
        }
        Ok(())
    }

    /// Waits until the mesh is alike everywhere and has nothing left to do.
    ///
    /// # Panics
    ///
    /// When that is not so within so many seconds, and at rest not a full pass of planning later.
    pub fn settle(&mut self, seconds: u64) {
        self.settle_within(seconds, "all sites serve the same");
        // A full pass of planning everywhere, which must find nothing.
        self.run_for(70);
        assert_eq!(self.converged(), Ok(()), "\n{}", self.tail());
        assert_eq!(self.at_rest(), Ok(()), "\n{}", self.tail());
    }

    /// Waits until the mesh is alike everywhere. Whether it is is looked at only where something has changed, and in large
    /// meshes only every so often: looking costs as much as there are sites and zones.
    ///
    /// # Panics
    ///
    /// When it is not within so many seconds.
    pub fn settle_within(&mut self, seconds: u64, what: &str) {
        let until = self.now + Duration::from_secs(seconds);
        let pause = Duration::from_millis(self.hosts.len() as u64);
        let mut seen = None;
        while self.now < until {
            if seen != Some(self.changes) {
                seen = Some(self.changes);
                if self.converged().is_ok() {
                    return;
                }
            }
            let next = (self.now + pause).min(until);
            while self.step(next) {}
        }
        let converged = self.converged();
        assert!(
            converged.is_ok(),
            "not within {seconds} s: {what}; {converged:?}\n{}",
            self.tail()
        );
    }

    /// Lets a site begin anew with a zone's serials: its copy was set back by hand.
    pub fn forget_published(&mut self, host: &str, apex: &str) {
        self.host(host).published.remove(&name(apex));
    }
}
