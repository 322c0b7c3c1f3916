//! A mesh that was kept by hand, in the older convention, is taken over.

use anyhow::{Result, ensure};
use zonemesh_testkit::site::Site;
use zonemesh_testkit::{Dig, Knot, Place, peers_or_skip, wait};

use crate::common::*;

/// Which site is primary for which zone, by the zone's first label.
const DIRECTORY: &str = "\
$TTL 300
@ SOA old hostmaster 2024010101 3600 600 1209600 300
@ NS old
old A 127.0.0.1
one TXT \"old.dns.internal\"
two TXT \"old.dns.internal.\"
note TXT \"kept by hand since 2019\"
";

const CATALOG: &str = "\
$TTL 0
@ SOA invalid. invalid. 2024010101 3600 600 1209600 0
@ NS invalid.
version TXT \"2\"
a1.zones PTR one.example.
b2.zones PTR two.example.
";

#[test]
fn a_hand_written_directory_and_catalog_served_by_knot_are_taken_over() -> Result<()> {
    let peers = peers_or_skip!();
    let zones = [
        ("dns.internal", DIRECTORY.to_owned()),
        ("catalog.internal.dns", CATALOG.to_owned()),
        ("one.example", zone_text(11)),
        ("two.example", zone_text(22)),
    ];
    let knot = Knot::start(&peers, |place| {
        let mut text = format!("{}{}zone:\n", place.knot(), knot_access(place, SECRET));
        for (zone, records) in &zones {
            let file = place.write(zone, records);
            text.push_str(&format!(
                "  - domain: {zone}\n    file: {file}\n    acl: [us, look]\n"
            ));
        }
        text
    })?;
    let dig = Dig::new(&peers).at(knot.dns());
    let mut us = Site::start_at(Place::new("us")?, |place| {
        // As an operator would: what the old server has, written to files.
        for (zone, file) in [
            ("dns.internal", "directory"),
            ("catalog.internal.dns", "catalog"),
        ] {
            let mut records = dig.transfer(zone, "AXFR").unwrap_or_default();
            records.pop();
            place.write(file, &(records.join("\n") + "\n"));
        }
        format!(
            "{}[[peer]]\nname = \"old\"\naddress = \"{}\"\ntsig-key = \"{KEY}\"\nallow = [\"transfer\", \"notify\"]\n\
             [directory]\nname = \"dns.internal\"\nimport = \"directory\"\n\
             [catalog]\nname = \"catalog.internal.dns\"\nimport = \"catalog\"\n",
            site(place).replace(
                "name = \"us\"\n",
                &format!(
                    "name = \"us\"\nrole = \"catalog-primary\"\naddresses = [\"{}\"]\n",
                    place.address()
                )
            ),
            knot.dns()
        )
    })?;
    for (zone, serial) in [("one.example", 11), ("two.example", 22)] {
        wait::serial(SOON, us.dns(), zone, serial)?;
        assert_same(&us, &dig, zone)?;
    }
    let directory = us.cli_ok(&["zone", "export", "dns.internal"])?;
    for said in [
        "_schema",
        "one.example._zones",
        "two.example._zones",
        "us.dns.internal",
        "kept by hand",
    ] {
        ensure!(directory.contains(said), "no {said} in\n{directory}");
    }
    let listed = us.cli_ok(&["zone", "list", "--json"])?;
    ensure!(listed.contains("\"old\""), "{listed}");
    // The files are read once: what has become of the mesh since is not undone by a restart.
    us.place().write("directory", "not a zone file");
    us.restart()?;
    wait::serial(SOON, us.dns(), "two.example", 22)?;
    assert_eq!(us.cli_ok(&["zone", "export", "dns.internal"])?, directory);
    Ok(())
}
