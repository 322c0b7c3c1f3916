//! Each fault with its place and its suggestion; defaults; what is accepted.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn faults(text: &str) -> Vec<String> {
    match parse(text, Path::new("/nowhere/zonemesh.toml")) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn good(text: &str) -> Config {
    parse(text, Path::new("/nowhere/zonemesh.toml")).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The text of a file, and for each fault in order: place, part of the message.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const CASES: &[Case] = &[
    (
        "[site]\nnaem = \"a\"\n",
        &[(
            ":2:1",
            "unknown key `naem` in [site] (did you mean `name`?)",
        )],
    ),
    ("[site\nname = 1", &[(":1:6", "")]),
    (
        "[sitte]\n",
        &[(
            ":1:2",
            "unknown key `sitte` in the file (did you mean `site`?)",
        )],
    ),
    (
        "[site]\ndata_dir = \"x\"\n",
        &[(
            ":2:1",
            "unknown key `data_dir` in [site] (did you mean `data-dir`?)",
        )],
    ),
    (
        "[listen]\ndns = \"127.0.0.1:5300\"\nquic = \"127.0.0.1:5300\"\n",
        &[(":3:8", "127.0.0.1:5300 in `quic` is taken already by `dns`")],
    ),
    (
        "[site]\nname = 7\n",
        &[(
            ":2:8",
            "`name` in [site] must be a string, found a whole number",
        )],
    ),
    (
        "site = 3\n",
        &[(
            ":1:8",
            "`site` must be a table, found a whole number (write `[site]`",
        )],
    ),
    (
        "[zone]\nname = \"a.example\"\n",
        &[(
            ":1:1",
            "`zone` must be a list of tables, found a table (write `[[zone]]`",
        )],
    ),
    (
        "[site]\nname = \"Site_A\"\nrole = \"standart\"\naddresses = [\"site-a.dns.internal\"]\n",
        &[
            (":2:8", "`Site_A` is no name of a site: expected one label"),
            (":3:8", "unknown role `standart` (did you mean `standard`?)"),
            (
                ":4:14",
                "`site-a.dns.internal` is a name, and an address is needed (a site that must resolve names",
            ),
        ],
    ),
    (
        "[site]\nrole = \"standard\"\naddresses = [\"192.0.2.1\"]\n",
        &[(":1:1", "[site] lacks `name` (add `name = \"site-a\"`)")],
    ),
    (
        "[site]\nname = \"a\"\nrole = \"standard\"\n",
        &[(":1:1", "peers must know where to reach this site")],
    ),
    (
        "[site]\naddresses = [\"0.0.0.0\", \"192.0.2.1\", \"192.0.2.1\"]\n",
        &[
            (":2:14", "no address that peers can reach"),
            (":2:38", "given twice"),
        ],
    ),
    (
        "[site]\naddresses = [\"192.0.2.1:53\"]\n",
        &[(":2:14", "has a port, and only an address is needed")],
    ),
    (
        "[listen]\ndns = \"127.0.0.1:5300\"\ntls = \"0.0.0.0:5300\"\n",
        &[(":3:7", "0.0.0.0:5300 in `tls` is taken already by `dns`")],
    ),
    (
        "[listen]\ntls = \"192.0.2.1:53\"\n",
        &[(":2:7", "taken already by `dns`")],
    ),
    (
        "[listen]\ndns = \"192.0.2.1:99999\"\n",
        &[(
            ":2:7",
            "no address (expected 192.0.2.1:53 or [2001:db8::1]:53)",
        )],
    ),
    ("[listen]\ndns = []\n", &[(":2:7", "must listen somewhere")]),
    (
        "[directory]\nname = \"a..b\"\n[site]\nname=\"a\"\naddresses=\"192.0.2.1\"\n",
        &[(":2:8", "`a..b` is no domain name")],
    ),
    (
        "[directory]\nname = \"a.internal\"\n[catalog]\nname = \"A.internal.\"\n[site]\nname=\"a\"\naddresses=\"192.0.2.1\"\n",
        &[(":4:8", "directory and catalog must be two zones")],
    ),
    (
        "[site]\nname=\"a\"\naddresses=\"192.0.2.1\"\n[directory]\n[[zone]]\nname = \"dns.internal\"\ndynamic = true\n",
        &[(":6:8", "`dns.internal` is kept by the mesh itself")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\n[[zone]]\nname = \"A.example.\"\ndynamic = true\n",
        &[(":5:8", "zone `A.example.` is given twice")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\n",
        &[(
            ":1:1",
            "says nothing of where its records come from (add `file`",
        )],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\n[[zone]]\nname = \"a.example\"\nprimaries = [\"ns2\"]\n",
        &[(":6:14", "there is no peer `ns2` (did you mean `ns1`?)")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\nprimaries = [\"offsite\"]\n",
        &[(
            ":3:14",
            "there is no peer `offsite` (add a `[[peer]]` of that name)",
        )],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"ns1.example:53\"\nallow = [\"transfers\"]\n",
        &[
            (
                ":3:11",
                "`ns1.example:53` is a name, and an address is needed",
            ),
            (
                ":4:10",
                "unknown permission `transfers` (did you mean `transfer`?)",
            ),
        ],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\nallow = [\"update\"]\n",
        &[(":4:10", "known only by its address may not update")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntls = \"ab\"\n",
        &[(":4:7", "`ab` is no pin of a public key")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntransport = \"quic\"\n",
        &[(":4:13", "who the peer is over quic is not said")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntransport = \"quik\"\ntls = true\n",
        &[(":4:13", "unknown transport `quik` (did you mean `quic`?)")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntransport = \"dns\"\ntls = true\n",
        &[(":4:13", "plain DNS has no use for `tls`")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntls-name = \"ns1.example\"\n",
        &[(":4:12", "`tls-name` and `tls-ca` belong together")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntls-name = \"ns1.example\"\ntls-ca = \"no-such-file.pem\"\n",
        &[(":4:12", "no-such-file.pem")],
    ),
    (
        "[site]\ntransport = \"tcp\"\n",
        &[(":2:13", "unknown transport `tcp`")],
    ),
    (
        "[[peer]]\nname = \"ns1\"\naddress = \"192.0.2.9\"\ntsig-key = \"k\"\n",
        &[(":4:12", "there is no key `k` (add a `[[key]]`")],
    ),
    (
        "[[key]]\nname = \"k\"\n",
        &[(":1:1", "[[key]] lacks a secret")],
    ),
    (
        "[[key]]\nname = \"k\"\nsecret = \"not base64!\"\n",
        &[(
            ":3:10",
            "the secret in `secret` is not base64, at character 9",
        )],
    ),
    (
        "[[key]]\nname = \"k\"\nalgorithm = \"hmac-sha265\"\nsecret = \"c2VjcmV0\"\n",
        &[(
            ":3:13",
            "unknown algorithm `hmac-sha265` (did you mean `hmac-sha256`?)",
        )],
    ),
    (
        "[[key]]\nname = \"k\"\nalgorithm = \"hmac-sha256-64\"\nsecret = \"c2VjcmV0\"\n",
        &[(
            ":3:13",
            "signatures of hmac-sha256 cannot be cut to 64 bits; 128 to 256 are possible",
        )],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nserial = \"dates\"\nhistory-age = \"5\"\n",
        &[
            (
                ":4:10",
                "unknown way to make serials `dates` (did you mean `date`?)",
            ),
            (":5:15", "`history-age` must be 1h to 36500d"),
        ],
    ),
    (
        "[[peer]]\nname = \"p\"\naddress = \"192.0.2.1\"\n[[zone]]\nname = \"a.example\"\nprimaries = [\"p\"]\nserial = \"date\"\n",
        &[(
            ":7:10",
            "the serials of a zone that is transferred are its primary's",
        )],
    ),
    // F-46: an address alone never lets an update in.
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nallow-update = [\"192.0.2.0/24\"]\n",
        &[(":4:17", "updates may not be allowed by address alone")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nallow-update = [{ network = \"192.0.2.0/24\" }]\n",
        &[(":4:17", "updates may not be allowed by address alone")],
    ),
    (
        "[[key]]\nname = \"k\"\nsecret = \"c2VjcmV0\"\n[[zone]]\nname = \"a.example\"\ncatalog = \"producer\"\nallow-update = [{ key = \"k\" }]\n",
        &[(":7:16", "means nothing in a zone that is not dynamic")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nallow-transfer = [{}]\n",
        &[(":4:19", "an empty rule would let everyone in")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nallow-transfer = [\"192.0.2.1/24\"]\n",
        &[(":4:19", "write 192.0.2.0/24")],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ncatalog = \"consumer\"\nprimaries = []\n",
        &[
            (":1:1", "needs `primaries`"),
            (":1:1", "needs a list of what it may bring"),
        ],
    ),
    (
        "[[zone]]\nname = \"a.example\"\ndynamic = true\nadmit = [\"*\"]\n",
        &[(
            ":4:9",
            "`admit` belongs to a zone with `catalog = \"consumer\"`",
        )],
    ),
    (
        "[log]\nformat = \"jsn\"\nlevel = \"=x=\"\n",
        &[
            (":2:10", "unknown format `jsn` (did you mean `json`?)"),
            (":3:9", "is no log level"),
        ],
    ),
    (
        "[limits]\nudp-payload = 100\nidle-timeout = \"0s\"\n",
        &[
            (":2:15", "a whole number from 512 to 4096, found 100"),
            (":3:16", "must be 1s to 24h"),
        ],
    ),
    (
        "[rate-limit]\nper-second = -1\nslip = 101\nipv4-prefix = 0\nexempt = [\"192.0.2.1/24\", \"ns.example\"]\nrate = 5\n",
        &[
            (":2:14", "a whole number from 0 to 1000000, found -1"),
            (":3:8", "a whole number from 0 to 100, found 101"),
            (":4:15", "a whole number from 1 to 32, found 0"),
            (":5:11", "write 192.0.2.0/24"),
            (":5:27", "neither an address nor a network"),
            (":6:1", "unknown key `rate`"),
        ],
    ),
    ("nsid = \"\"\n", &[(":1:8", "must have 1 to 255 bytes")]),
    ("version = \"\"\n", &[(":1:11", "must have 1 to 255 bytes")]),
];

#[test]
fn cookie_secrets_are_read_from_a_file_that_nobody_else_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cookie.secret");
    let config = dir.path().join("zonemesh.toml");
    let text = "cookie-secret-file = \"cookie.secret\"\n[site]\ndata-dir = \"data\"\n";
    let secret = "00112233445566778899aabbccddeeff";
    zonemesh_store::file::write_secret(&file, format!("{secret}\n{secret}\n").as_bytes()).unwrap();
    let parsed = parse(text, &config).unwrap();
    let secrets = parsed.cookies.unwrap().secrets;
    assert_eq!(secrets.current[..3], [0x00, 0x11, 0x22]);
    assert_eq!(secrets.previous, Some(secrets.current));
    zonemesh_store::file::write_secret(&file, b"0011").unwrap();
    let faults = parse(text, &config).unwrap_err();
    assert!(
        faults[0].to_string().contains("32 hexadecimal digits"),
        "{}",
        faults[0]
    );
    zonemesh_store::file::write(&file, secret.as_bytes(), 0o644).unwrap();
    let faults = parse(text, &config).unwrap_err();
    assert!(faults[0].to_string().contains("chmod 600"), "{}", faults[0]);
}

#[test]
fn each_fault_is_named_with_its_place_and_what_to_do() {
    let mut wrong = Vec::new();
    for (text, expected) in CASES {
        let found = faults(text);
        let alike = found.len() == expected.len()
            && found.iter().zip(*expected).all(|(found, (place, part))| {
                found.starts_with(&format!("/nowhere/zonemesh.toml{place}: "))
                    && found.contains(part)
            });
        if !alike {
            wrong.push(format!("{text}\nexpected {expected:#?}\nfound {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_empty_file_is_a_plain_name_server_with_the_usual_ports() {
    let config = good("");
    assert_eq!(config.mesh, None);
    let shown: Vec<String> = config.listen.dns.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0.0.0.0:53", "[::]:53"]);
    assert_eq!(config.listen.tls[0].port(), 853);
    assert_eq!(config.listen.http[0].to_string(), "127.0.0.1:8053");
    assert_eq!(config.site.data_dir, Path::new(DEFAULT_DATA_DIR));
}

#[test]
fn a_role_alone_makes_a_site_of_a_mesh_with_the_default_names() {
    let config = good(
        "[site]\nname = \"site-a\"\nrole = \"catalog-primary\"\naddresses = [\"192.0.2.1\"]\n",
    );
    let mesh = config.mesh.expect("a role belongs to a mesh");
    assert_eq!(mesh.directory.to_string(), "dns.internal");
    assert_eq!(mesh.catalog.to_string(), "catalog.dns.internal");
    assert_eq!(config.site.role, Role::CatalogPrimary);
}

#[test]
fn a_bare_address_gets_the_usual_port() {
    let config =
        good("[listen]\ndns = [\"192.0.2.1\", \"2001:db8::1\"]\ntls = \"[2001:db8::1]\"\n");
    let shown: Vec<String> = config.listen.dns.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    assert_eq!(config.listen.tls[0].to_string(), "[2001:db8::1]:853");
}

const PLAIN: &str = r#"
nsid = "ns1"
[[key]]
name = "offsite"
secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
[[peer]]
name = "offsite-ns3"
address = "198.51.100.7"
tsig-key = "offsite"
allow = ["transfer", "notify"]
[[peer]]
name = "hidden-primary"
address = "203.0.113.1"
tls = "0c72ac70b745ac19998811b131d662c9ac69dbdbe7cb23e5b514b56664c5d3d6"
[[group]]
name = "internal"
notify = ["offsite-ns3"]
[[zone]]
name = "Own.Example"
dynamic = true
notify = ["offsite-ns3"]
allow-update = [{ network = "192.0.2.0/24", key = "offsite" }]
[[zone]]
name = "catalog.example"
catalog = "consumer"
primaries = ["hidden-primary"]
admit = ["*.example", "other.test"]
allow-transfer = ["hidden-primary", "10.0.0.0/8"]
"#;

#[test]
fn a_plain_name_server_resolves_its_references_into_rules() {
    let config = good(PLAIN);
    assert_eq!(config.peers[0].address.to_string(), "198.51.100.7:53");
    assert_eq!(
        config.peers[1].address.to_string(),
        "203.0.113.1:853",
        "TLS has its own port"
    );
    let own = &config.zones[0];
    assert_eq!(own.name.to_string(), "own.example");
    let key = parse_name("offsite").unwrap();
    let offsite = "198.51.100.7".parse().unwrap();
    let elsewhere = "198.51.100.8".parse().unwrap();
    let rule = &own.allow_transfer[0];
    assert!(rule.permits(offsite, Some(&key), None));
    assert!(
        !rule.permits(offsite, None, None),
        "the address alone is not enough"
    );
    assert!(
        !rule.permits(elsewhere, Some(&key), None),
        "the key alone is not enough"
    );
    assert!(own.allow_update[0].permits("192.0.2.77".parse().unwrap(), Some(&key), None));
    let consumer = &config.zones[1];
    assert_eq!(consumer.catalog, Some(CatalogRole::Consumer));
    let admits = |zone: &str| {
        let zone = parse_name(zone).unwrap();
        consumer.admit.iter().any(|pattern| pattern.admits(&zone))
    };
    assert!(admits("a.example") && admits("b.a.example") && admits("other.test"));
    assert!(!admits("example") && !admits("a.other.test"));
    assert_eq!(consumer.allow_transfer.len(), 2);
}

#[test]
fn what_is_shown_can_be_read_again_but_for_its_secrets() {
    let config = good(PLAIN);
    let shown = show::text(&config);
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
    assert!(
        !format!("{config:?}").contains("115, 101, 99"),
        "a secret is printed by Debug"
    );
    let again = shown.replace("# secret of", "secret = \"c2VjcmV0LXNlY3JldC1zZWNyZXQ=\" #");
    let again = good(&again);
    assert_eq!(again.zones, config.zones);
    assert_eq!(again.peers, config.peers);
    assert_eq!(again.groups, config.groups);
    assert_eq!(again.keys, config.keys);
    assert_eq!(again.limits, config.limits);
    assert_eq!(again.rate, config.rate);
}

#[test]
fn what_the_server_says_of_itself_is_only_what_the_file_says() {
    let silent = good("");
    assert_eq!((&silent.version, &silent.identity), (&None, &None));
    let text = "nsid = \"ams1\"\nversion = \"7\"\nidentity = \"us\"\n";
    for config in [good(text), good(&show::text(&good(text)))] {
        let said = [config.nsid, config.version, config.identity];
        assert_eq!(said.map(Option::unwrap), ["ams1", "7", "us"]);
    }
}

#[test]
fn zones_are_counted_apart_if_that_is_asked_for() {
    assert!(!good("").per_zone && !good("[metrics]\n").per_zone);
    let config = good("[metrics]\nper-zone = true\n");
    assert!(config.per_zone && good(&show::text(&config)).per_zone);
}

#[test]
fn rate_limits_are_for_all_kinds_of_answers_unless_one_has_its_own() {
    assert_eq!(good("").rate, RateLimits::default());
    let text = "[rate-limit]
        errors-per-second = 5
        per-second = 50
        negatives-per-second = 0
        all-per-second = 1000
        slip = 3
        ipv4-prefix = 32
        ipv6-prefix = 64
        exempt = [\"192.0.2.0/24\", \"2001:db8::1\"]
        dry-run = true\n";
    let config = good(text);
    let expected = RateLimits {
        per_second: [50, 0, 50, 5],
        all_per_second: 1000,
        slip: 3,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        exempt: vec![
            ("192.0.2.0".parse().unwrap(), 24),
            ("2001:db8::1".parse().unwrap(), 128),
        ],
        dry_run: true,
    };
    assert_eq!(config.rate, expected);
    assert_eq!(good(&show::text(&config)).rate, expected);
    assert!(good("[rate-limit]\nexempt = []\n").rate.exempt.is_empty());
}

#[test]
fn a_secret_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("k.key");
    std::fs::write(&secret, "c2VjcmV0\n").unwrap();
    let text = "[[key]]\nname = \"k\"\nsecret-file = \"k.key\"\n";
    let path = dir.path().join("zonemesh.toml");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let faults = parse(text, &path).unwrap_err();
    assert!(
        faults[0]
            .message
            .contains("may be read by others (mode 0644)"),
        "{faults:?}"
    );
    assert!(
        faults[0]
            .hint
            .as_ref()
            .is_some_and(|hint| hint.starts_with("run `chmod 600"))
    );
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        parse(text, &path).unwrap().keys[0].secret.expose(),
        b"secret"
    );
}

#[test]
fn a_start_with_a_broken_file_uses_the_last_good_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zonemesh.toml");
    let data = dir.path().join("data");
    std::fs::write(&path, "nsid = \"one\"\n[site]\ndata-dir = \"data\"\n").unwrap();
    let (config, loud) = load_or_last_good(&path, None).unwrap();
    assert_eq!((config.nsid.as_deref(), loud), (Some("one"), None));
    let mode = std::fs::metadata(data.join("last-good.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold secrets");

    std::fs::write(&path, "nsid = \n[site]\ndata-dir = \"data\"\n").unwrap();
    let (config, loud) = load_or_last_good(&path, None).unwrap();
    assert_eq!(config.nsid.as_deref(), Some("one"));
    assert_eq!(config.site.data_dir, data);
    let loud = loud
        .expect("a broken file is not passed over in silence")
        .to_string();
    assert!(
        loud.contains("running with the last good configuration"),
        "{loud}"
    );
    assert!(loud.contains("zonemesh.toml:1:"), "{loud}");

    std::fs::remove_file(data.join("last-good.toml")).unwrap();
    assert!(
        load_or_last_good(&path, None).is_err(),
        "without a last good one it does not start"
    );
}

#[test]
fn every_loopback_site_has_a_configuration_and_zones_without_faults() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..loopback::MOST_SITES {
        let config = Config::loopback(index, dir.path()).unwrap();
        assert!(config.mesh.is_some());
        assert_eq!(
            config.site.addresses[0].to_string(),
            format!("127.0.0.{}", index + 1)
        );
        assert_eq!(config.listen.dns[0].port(), 5300);
        for zone in &config.zones {
            let file = zone.file.as_ref().unwrap().display().to_string();
            let mut open = |name: &str| std::fs::read(name);
            let loaded = zonemesh_zone::file::read(&mut open, &file, Some(&zone.name));
            assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
        }
    }
}

#[test]
fn networks_hold_what_they_should() {
    let holds = |network: &str, address: &str| {
        network
            .parse::<Network>()
            .unwrap()
            .contains(address.parse().unwrap())
    };
    assert!(holds("0.0.0.0/0", "203.0.113.1"));
    assert!(holds("10.0.0.0/8", "10.255.0.1"));
    assert!(!holds("10.0.0.0/8", "11.0.0.1"));
    assert!(
        holds("10.0.0.0/8", "::ffff:10.1.2.3"),
        "a mapped address is an IPv4 address"
    );
    assert!(!holds("::/0", "10.1.2.3"));
    assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
    assert!(!holds("192.0.2.1", "192.0.2.2"));
}

#[test]
fn the_examples_of_the_reference_can_be_loaded() {
    let reference = include_str!("../../../../docs/reference/configuration.md");
    let examples: Vec<&str> = reference
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 2);
    assert!(good(examples[0]).mesh.is_some());
    assert!(good(examples[1]).mesh.is_none());
}

#[test]
fn every_default_in_the_reference_is_the_default() {
    let reference = include_str!("../../../../docs/reference/configuration.md");
    let shown = show::text(&good(""));
    // What the first example says to be the default is what an empty file shows.
    for line in reference
        .lines()
        .filter(|line| line.contains("the default"))
    {
        let Some((key, value)) = line.split('#').next().and_then(|l| l.split_once('=')) else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        // Every table has a name, and the directory's is tested above.
        if key == "name" {
            continue;
        }
        if let Some(line) = shown
            .lines()
            .find(|line| line.starts_with(&format!("{key} =")))
        {
            assert!(line.contains(value), "{line} is not {value}");
        }
    }
}

fn arbitrary_toml() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "role",
        "addresses",
        "data-dir",
        "dns",
        "tls",
        "quic",
        "http",
        "file",
        "dynamic",
        "group",
        "catalog",
        "admit",
        "primaries",
        "notify",
        "allow",
        "allow-transfer",
        "allow-update",
        "address",
        "tsig-key",
        "secret",
        "algorithm",
        "level",
        "idle-timeout",
        "udp-payload",
        "per-second",
        "exempt",
        "slip",
        "x",
    ]);
    let value = prop_oneof![
        "[a-zé.:/*-]{0,12}".prop_map(|text| format!("\"{text}\"")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        Just("[]".to_owned()),
        Just("[1, \"a\", {}]".to_owned()),
        Just("{ network = \"::/0\", key = \"é\" }".to_owned()),
        Just("1979-05-27".to_owned()),
        "\\PC{0,8}",
    ];
    let header = prop::sample::select(vec![
        "",
        "[site]",
        "[listen]",
        "[directory]",
        "[catalog]",
        "[[zone]]",
        "[[peer]]",
        "[[key]]",
        "[[group]]",
        "[log]",
        "[limits]",
        "[rate-limit]",
        "[metrics]",
        "[zone]",
        "[[site]]",
    ]);
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let table = (header, prop::collection::vec(line, 0..5))
        .prop_map(|(header, lines)| format!("{header}\n{}", lines.concat()));
    prop::collection::vec(table, 0..6).prop_map(|tables| tables.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        faults(&text);
    }

    #[test]
    fn no_toml_makes_the_loader_panic(text in arbitrary_toml()) {
        for fault in faults(&text) {
            prop_assert!(fault.starts_with("/nowhere/zonemesh.toml:"), "{}", fault);
        }
    }
}

#[test]
fn a_broken_file_says_where_its_site_is_or_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zonemesh.toml");
    let dir = |text: &str| {
        std::fs::write(&path, text).unwrap();
        data_dir(&path)
    };
    let here = folder.path().join("data");
    let good = "[site]\nname = \"site-a\"\naddresses = [\"127.0.0.1\"]\ndata-dir = \"data\"\n";
    assert_eq!(dir(good).unwrap(), here);
    assert_eq!(
        dir("[site]\ndata-dir = \"data\"\nnmae = 1\n").unwrap(),
        here
    );
    let faults = dir("[site]\nname = \"site-a\"\naddresses = [\"127.0.0.1\"]\nrole = \"king\"\n")
        .unwrap_err();
    assert!(faults[0].message.contains("king"), "{faults:?}");
    assert_eq!(
        dir("[listen]\ndns = [\"127.0.0.1:53\"]\n").unwrap(),
        Path::new(DEFAULT_DATA_DIR)
    );
}
