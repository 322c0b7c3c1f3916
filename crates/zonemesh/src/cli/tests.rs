//! The command line parses, explains itself, and finds its site.

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, Record, Zone};
use super::output::{Colour, Table, duration};
use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn a_ttl_is_given_in_seconds_or_with_units_as_in_zone_files() {
    let all = [
        ("300", 300),
        ("1h", 3600),
        ("1H30m", 5400),
        ("2d", 172_800),
        ("0", 0),
    ];
    for (text, secs) in all {
        assert_eq!(args::ttl(text), Ok(secs), "{text}");
    }
    for bad in ["", "h", "1x", "1h30", "-1", "99999999w", "1é"] {
        assert!(args::ttl(bad).unwrap_err().contains("1h30m"), "{bad}");
    }
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_command_parses() {
    let lines = [
        "up",
        "up --sites 3",
        "up --config f.toml",
        "up --sites 2 --data-dir d",
        "status",
        "status --watch",
        "status --json",
        "status --data-dir d",
        "--socket s status",
        "invite site-d",
        "invite site-d --json --valid 1h",
        "join PACKET",
        "join - --config f.toml",
        "join @f --addresses 192.0.2.1,2001:db8::1 --listen-dns 192.0.2.1:53",
        "site list --json",
        "site show site-a",
        "site remove site-c",
        "site remove site-c --zones adopt:site-a --wait",
        "zone list",
        "zone list --removed",
        "zone show a.example",
        "zone add a.example --file f --wait",
        "zone remove a.example",
        "zone restore a.example",
        "zone import a.example f --dry-run",
        "zone export a.example --serial 7",
        "zone check f",
        "zone check f --zone a.example",
        "zone check --zone a.example",
        "zone diff a.example",
        "zone diff a.example 1 2",
        "zone history a.example",
        "zone revert a.example 7",
        "record list a.example",
        "record list a.example www A",
        "record set a.example www A 192.0.2.1 192.0.2.2 --ttl 60",
        "record delete a.example www",
        "record delete a.example www A 192.0.2.1 --wait --timeout 5s",
        "plan show",
        "plan approve 17",
        "plan decline 17 --json",
        "key roll",
        "config check",
        "config check f --json",
        "config show",
        "config reload",
        "events --json",
        "completions bash",
        "man dir",
    ];
    for line in lines {
        assert!(parse(&format!("zonemesh {line}")).is_ok(), "{line}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_the_code_for_usage() {
    for line in [
        "zonemesh zone add",
        "zonemesh up --sites 0",
        "zonemesh up --sites 3 --config f",
        "zonemesh zone check",
        "zonemesh site remove c --zones give",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{line}");
    }
}

#[test]
fn errors_are_json_where_json_is_asked_for_and_not_where_it_is_data() {
    let wants = |line: &str| super::output::wants_json(line.split(' ').map(str::to_owned));
    assert!(wants("zonemesh site list --json"));
    assert!(wants("zonemesh nothing --json"));
    assert!(!wants("zonemesh site list"));
    assert!(!wants("zonemesh record set a.example www TXT -- --json"));
}

#[test]
fn data_that_begins_with_a_hyphen_can_be_given_after_two() {
    let cli = parse("zonemesh record set a.example www TXT -- -x").unwrap();
    assert!(matches!(cli.command, Command::Record(Record::Set { data, .. }) if data == ["-x"]));
}

#[test]
fn waiting_has_a_limit_only_when_it_is_asked_for() {
    let wait = |line: &str| match parse(line).unwrap().command {
        Command::Zone(Zone::Remove { change, .. }) => {
            zonemesh_api::types::Wait::from(change).wait_ms
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(wait("zonemesh zone remove a.example"), None);
    assert_eq!(wait("zonemesh zone remove a.example --wait"), Some(30_000));
    assert_eq!(
        wait("zonemesh zone remove a.example --wait --timeout 2m"),
        Some(120_000)
    );
}

#[test]
fn the_socket_follows_from_what_was_said() {
    let target = |line: &str| parse(line).unwrap().target.socket().unwrap();
    assert_eq!(
        target("zonemesh status --data-dir /d"),
        Path::new("/d/control.sock")
    );
    assert_eq!(
        target("zonemesh status --data-dir /d --socket /s"),
        Path::new("/s")
    );
    let dir = tempfile::tempdir().unwrap();
    for site in ["site-b", "site-a"] {
        std::fs::create_dir(dir.path().join(site)).unwrap();
    }
    assert_eq!(
        first_site(dir.path()).unwrap(),
        dir.path().join("site-a/control.sock")
    );
    std::fs::write(dir.path().join("site-b/control.sock"), "").unwrap();
    assert_eq!(
        first_site(dir.path()).unwrap(),
        dir.path().join("site-b/control.sock"),
        "one that runs comes before one that does not"
    );
}

#[test]
fn columns_are_as_wide_as_their_widest_cell_and_colours_do_not_count() {
    let mut table = Table::new(["ZONE", "STATE", "NOTE"]);
    table.row(["a.example.", "current", ""]);
    table.painted([
        ("längere.example.".into(), Colour::Plain),
        ("ok".into(), Colour::Green),
        ("x".into(), Colour::Plain),
    ]);
    assert_eq!(
        table.render(false),
        "ZONE              STATE    NOTE\n\
         a.example.        current\n\
         längere.example.  ok       x\n"
    );
    assert!(table.render(true).contains("\x1b[32mok\x1b[0m       x"));
}

#[test]
fn durations_read_as_people_say_them() {
    let shown: Vec<String> = [0, 119, 120, 7199, 7500, 172_800, 3_628_800]
        .into_iter()
        .map(duration)
        .collect();
    assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h05m", "2d", "42d"]);
}

#[test]
fn man_pages_and_completions_are_made_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    manual::man(dir.path()).unwrap();
    for page in ["zonemesh.1", "zonemesh-status.1", "zonemesh-zone-add.1"] {
        let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    use clap::ValueEnum;
    for &shell in clap_complete::Shell::value_variants() {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "zonemesh", &mut script);
        assert!(
            String::from_utf8(script).unwrap().contains("zonemesh"),
            "{shell}"
        );
    }
}

#[test]
fn the_reference_of_the_command_line_is_what_the_help_says() {
    let mut text = String::from(
        "# Command line\n\nMade from the definition of the command line by a test, which also sees that it is still so:\n\n\
         ```sh\nBLESS=1 cargo test -p zonemesh the_reference_of\n```\n",
    );
    let mut root = Cli::command().term_width(100);
    root.build();
    describe(&mut root, &mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "run it with BLESS=1"
    );
}

/// One section a command, those below it after it.
fn describe(command: &mut clap::Command, text: &mut String) {
    let title = command.get_bin_name().unwrap_or("zonemesh").to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!(
        "\n## {title}\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    ));
    for below in command
        .get_subcommands_mut()
        .filter(|below| below.get_name() != "help")
    {
        describe(below, text);
    }
}

fn mesh(zones: usize) -> Vec<zonemesh_api::types::ZoneStatus> {
    use serde_json::json;
    (0..zones)
        .map(|zone| {
            let copy = |site: &str, state: &str| {
                json!({"site": site, "state": state, "serial": 1, "next-refresh-secs": 60})
            };
            let state = if zone == 1 { "behind" } else { "current" };
            let value = json!({
                "zone": format!("z{zone}.example."), "primary": "site-a", "serial": 1,
                "sites": [copy("site-a", "current"), copy("site-b", state)],
            });
            serde_json::from_value(value).unwrap()
        })
        .collect()
}

#[test]
fn a_small_mesh_shows_every_copy_and_a_large_one_those_in_trouble() {
    let sites = |zones: usize| {
        let zones = mesh(zones);
        let copies = status::shown_copies(&zones);
        copies
            .iter()
            .map(|(zone, copy)| format!("{} {}", zone.zone, copy.site))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        sites(3),
        [
            "z0.example. site-b",
            "z1.example. site-b",
            "z2.example. site-b"
        ]
    );
    assert_eq!(sites(100), ["z1.example. site-b"]);
}
