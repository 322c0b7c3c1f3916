//! What operators, programs and newcomers ask sites for.

use super::*;

/// # Requests
impl World {
    /// Sends an input with a request's number and returns the number.
    pub fn request(&mut self, host: &str, make: impl FnOnce(RequestId) -> Input) -> RequestId {
        self.next += 1;
        let request = self.next;
        self.input(host, make(request));
        request
    }

    /// An operator says what becomes of what is held.
    pub fn decide(&mut self, host: &str, hash: String, verdict: Verdict) -> RequestId {
        self.request(host, |request| Input::Decide {
            request,
            hash,
            verdict,
        })
    }

    /// Has the directory edited, without waiting for the outcome.
    pub fn put_directory(&mut self, host: &str, edited: Zone) -> RequestId {
        self.request(host, |request| Input::Directory {
            request,
            edited,
            also: Vec::new(),
        })
    }

    /// Has a zone changed, without waiting for the outcome.
    pub fn change(&mut self, host: &str, change: Change) -> RequestId {
        self.request(host, |request| Input::Change { request, change })
    }

    /// Changes and waits until that is acknowledged.
    pub fn changed(&mut self, host: &str, change: Change) -> Serial {
        let request = self.change(host, change);
        self.done(host, request).expect("the change is made")
    }

    /// Waits for the answer to a request.
    pub fn done(&mut self, host: &str, request: RequestId) -> Result<Serial, String> {
        let name = host.to_owned();
        self.run_until(30, "a request is answered", move |world| {
            world.hosts[&name].replies.contains_key(&request)
        });
        match &self.hosts[host].replies[&request][0] {
            Reply::Done { serial, .. } => Ok(*serial),
            Reply::Refused { reason, .. } => Err(reason.clone()),
            Reply::Receipt(receipt) => panic!("a receipt: {receipt:?}"),
        }
    }

    /// Makes `host` the primary of a zone and lists it, as the command does.
    pub fn add_zone(&mut self, host: &str, zone: Zone) -> Result<Serial, String> {
        let apex = zone.apex().clone();
        let high_water = self.high_water(host, &apex);
        let request = self.request(host, |request| Input::Host {
            request,
            zone,
            high_water,
        });
        let serial = self.done(host, request)?;
        let me = self.host(host).site.name.clone();
        let listed = self.update(host, request::claim_zone(&directory(), &apex, &me).unwrap());
        if let Err(why) = listed {
            self.input(host, Input::Unhost { apex });
            return Err(why);
        }
        Ok(serial)
    }

    /// Makes `host` the primary of a new zone, and lists it nowhere.
    pub fn host_zone(&mut self, host: &str, zone: Zone) -> Result<Serial, String> {
        let request = self.request(host, |request| Input::Host {
            request,
            zone,
            high_water: None,
        });
        self.done(host, request)
    }

    /// Begins a change of the directory at a site that takes itself for the writer.
    pub fn begin_write(&mut self, host: &str, update: &Update) -> RequestId {
        let head = self.core(host).head(&directory()).unwrap().clone();
        let edited = apply(&head, update, &Everything).unwrap().zone;
        self.put_directory(host, edited)
    }

    /// Changes the directory at a site that takes itself for the writer.
    pub fn write(&mut self, host: &str, update: &Update) -> Result<Serial, String> {
        let request = self.begin_write(host, update);
        self.done(host, request)
    }

    /// Takes a zone out of the directory.
    pub fn remove_zone(&mut self, host: &str, apex: &str) -> Result<Serial, String> {
        self.update(
            host,
            request::release_zone(&directory(), &name(apex)).unwrap(),
        )
    }

    /// Sends an update of the directory from a site straight to the catalog primary.
    pub fn update(&mut self, from: &str, update: Update) -> Result<Serial, String> {
        let pin = self.host(from).site.pins[0];
        let primary = self.catalog_primary();
        let who = self.identify(&primary, pin)?;
        let request = self.apply_update(&primary, &update, SiteIdentity::Member(who))?;
        self.done(&primary, request)
    }

    /// Enters a site into the directory, as with a welcome packet.
    pub fn join(&mut self, host: &str) -> Result<Serial, String> {
        let request = self.invite(host)?;
        let primary = self.catalog_primary();
        self.done(&primary, request)
    }

    /// The same without waiting for the outcome.
    pub fn invite(&mut self, host: &str) -> Result<RequestId, String> {
        let site = self.host(host).site.clone();
        let primary = self.catalog_primary();
        let update = request::publish(&directory(), &site, None).unwrap();
        let identity = SiteIdentity::Join {
            site: site.name,
            role: Role::Standard,
            replace: true,
        };
        self.apply_update(&primary, &update, identity)
    }

    /// Edits the directory at the catalog primary.
    pub fn edit_directory(
        &mut self,
        edit: impl FnOnce(&mut Editor, &Directory),
    ) -> Result<Serial, String> {
        let primary = self.catalog_primary();
        let head = self.core(&primary).head(&directory()).unwrap().clone();
        let read = Directory::read(&head);
        let mut editor = head.edit();
        edit(&mut editor, &read);
        let edited = editor.finish().unwrap();
        let request = self.put_directory(&primary, edited);
        self.done(&primary, request)
    }

    /// Lets a site be promoted.
    pub fn let_be_promoted(&mut self, host: &str) {
        let edit = |editor: &mut Editor, _: &Directory| {
            assert!(set_role(editor, &site(host), Role::CatalogSecondary).unwrap());
        };
        self.edit_directory(edit).unwrap();
    }

    /// The catalog primary that runs.
    pub fn catalog_primary(&self) -> String {
        let is = |host: &Host| host.core.as_ref().is_some_and(Core::is_catalog_primary);
        self.hosts
            .iter()
            .find(|(_, host)| is(host))
            .expect("a catalog primary runs")
            .0
            .clone()
    }

    pub(super) fn identify(&self, at: &str, pin: KeyPin) -> Result<SiteName, String> {
        let at = &self.hosts[at];
        let itself = Some(&at.site).filter(|site| site.pins.contains(&pin));
        let found = at.members.with_key(&pin).or(itself);
        found
            .map(|site| site.name.clone())
            .ok_or_else(|| "not a member of this mesh".to_owned())
    }

    pub(super) fn apply_update(
        &mut self,
        at: &str,
        update: &Update,
        identity: SiteIdentity,
    ) -> Result<RequestId, String> {
        let core = self.core(at);
        let head = core.head(&directory()).ok_or("no directory")?.clone();
        let read = Directory::read(&head);
        let reserved = [directory(), catalog()];
        let policy = DirectoryPolicy::new(identity, &read, &reserved);
        let edited = apply(&head, update, &policy)
            .map_err(|refusal| refusal.to_string())?
            .zone;
        Ok(self.put_directory(at, edited))
    }
}
