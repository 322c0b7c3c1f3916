//! The folder of foreign name servers that tests and benchmarks run against.
//!
//! `debootstrap` unpacks a small Debian there, with Knot, NSD, BIND, Unbound and PowerDNS of known versions, whatever the machine
//! itself runs: Debian 13 for the tests, and a second one of what Debian has newest for the benchmark. Nothing is started from it as a
//! service: `testkit` runs single programs through the folder's own dynamic loader, so that no chroot, no mount and no root is needed at run time.
//!
//! The folder is made under a temporary name and renamed when complete; a stamp inside says what it was made
//! from, so that a changed list of packages makes a new one.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::host;

/// The Debian release that a folder is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 13: the peers of the tests, the same for all who run them.
    Stable,
    /// What Debian has newest: whom the benchmark measures itself against. Its versions are those of the day when the folder was
    /// made; `--force` makes it anew.
    Newest,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Self::Stable => "trixie",
            Self::Newest => "sid",
        }
    }
}

/// What is unpacked besides the minimal system.
const PACKAGES: &[&str] = &[
    // Knot (3.4 in Debian 13): knotd, knotc, keymgr; kdig, knsupdate; kzonecheck, kzonesign.
    "knot",
    "knot-dnsutils",
    "knot-dnssecutils",
    // NSD (4.12).
    "nsd",
    // BIND (9.20): named, rndc; dig, delv, nsupdate; named-checkzone, dnssec-signzone.
    "bind9",
    "bind9-dnsutils",
    "bind9-utils",
    // Unbound (1.22), as a validating resolver in front of us.
    "unbound",
    // PowerDNS (4.9), with zones from files as BIND has them.
    "pdns-server",
    "pdns-backend-bind",
    // TLS keys and a second opinion on handshakes.
    "openssl",
];

/// A few programs that must be there in the end; their absence means that the folder is broken.
const PROGRAMS: &[&str] = &[
    "usr/sbin/knotd",
    "usr/sbin/knotc",
    "usr/bin/kdig",
    "usr/bin/kzonecheck",
    "usr/sbin/nsd",
    "usr/sbin/named",
    "usr/bin/dig",
    "usr/bin/nsupdate",
    "usr/sbin/unbound",
    "usr/sbin/pdns_server",
    "usr/bin/pdnsutil",
];

/// Name of the file, inside the folder, that says what the folder was made from.
const STAMP: &str = ".zonemesh-peers";

/// Returns the folder of the tests' peers: `ZONEMESH_PEERS`, or a place in the user's cache that outlives a clone.
///
/// `testkit` looks in the same places.
pub fn folder() -> Result<PathBuf> {
    folder_of(Release::Stable)
}

/// Returns the folder of the peers of a release; `ZONEMESH_PEERS` stands for either.
pub fn folder_of(release: Release) -> Result<PathBuf> {
    match env::var_os("ZONEMESH_PEERS") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Ok(host::cache()?.join("peers").join(release.name())),
    }
}

/// Says whether the folder is there, complete, and made from today's list of packages.
pub fn is_current(folder: &Path) -> bool {
    is_current_of(folder, Release::Stable)
}

fn is_current_of(folder: &Path, release: Release) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == stamp_text(release))
        && PROGRAMS
            .iter()
            .all(|program| folder.join(program).is_file())
}

/// Makes the folder unless it is current already. Needs root and `debootstrap`.
pub fn make(release: Release, force: bool) -> Result<PathBuf> {
    let folder = folder_of(release)?;
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .with_context(|| format!("{} has no parent folder", folder.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;

    // Two runs at once, of two clones perhaps, would both unpack; the second waits and finds the work done.
    let lock_path = parent.join(format!("{}.lock", release.name()));
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", lock_path.display()))?;

    if !force && is_current_of(&folder, release) {
        println!("peers: {} is current", folder.display());
        return Ok(folder);
    }
    if !host::is_root() {
        bail!(
            "{} is missing or out of date, and making it needs root: run `cargo xtask peers{}` as root, or set \
             ZONEMESH_PEERS to a folder made elsewhere",
            folder.display(),
            if release == Release::Newest {
                " --newest"
            } else {
                ""
            }
        );
    }

    let started = Instant::now();
    let half_made = parent.join(format!("{}.part", release.name()));
    remove(&half_made)?;
    unpack(&half_made, release)?;
    for program in PROGRAMS {
        if !half_made.join(program).is_file() {
            bail!(
                "debootstrap finished, but {program} is not in {}",
                half_made.display()
            );
        }
    }
    fs::remove_dir_all(half_made.join("var/cache/apt"))
        .context("cannot remove the downloaded packages")?;
    fs::write(half_made.join(STAMP), stamp_text(release)).context("cannot write the stamp")?;
    remove(&folder)?;
    fs::rename(&half_made, &folder).with_context(|| {
        format!(
            "cannot rename {} to {}",
            half_made.display(),
            folder.display()
        )
    })?;
    println!(
        "peers: made {} in {} s",
        folder.display(),
        started.elapsed().as_secs()
    );
    Ok(folder)
}

fn unpack(target: &Path, release: Release) -> Result<()> {
    let mirror = mirror();
    let release = release.name();
    println!(
        "peers: unpacking Debian {release} from {mirror} with {}",
        PACKAGES.join(", ")
    );
    let mut command = Command::new(host::find("debootstrap").context(
        "debootstrap is not installed: `apt-get install debootstrap`, or run `cargo xtask test`, which does it",
    )?);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .args(["--variant=minbase", "--merged-usr"])
        .arg(format!("--include={}", PACKAGES.join(",")));
    if Path::new(KEYRING).is_file() {
        command.arg(format!("--keyring={KEYRING}"));
    }
    command.arg(release).arg(target).arg(&mirror);
    // An old debootstrap does not know the release yet; its script is the one for unstable.
    let scripts = Path::new("/usr/share/debootstrap/scripts");
    if scripts.join("sid").exists() && !scripts.join(release).exists() {
        command.arg(scripts.join("sid"));
    }
    let log_path = target.with_extension("log");
    let log =
        File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let status = command
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        .status()
        .context("cannot run debootstrap")?;
    if !status.success() {
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!(
            "debootstrap failed ({status}); the end of {}:\n{tail}",
            log_path.display()
        );
    }
    Ok(())
}

/// Removes a folder that debootstrap may have left half-made, with /proc and /sys still mounted below.
fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    // The last mounted first, since one may lie within another.
    for point in mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1))
    {
        if Path::new(point).starts_with(folder) {
            host::run(Command::new("umount").arg(point))?;
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn stamp_text(release: Release) -> String {
    format!("1\n{}\n{}\n", release.name(), PACKAGES.join("\n"))
}

/// The mirror to use: `ZONEMESH_MIRROR`, else the one that the machine's own apt uses, else Debian's.
fn mirror() -> String {
    if let Ok(mirror) = env::var("ZONEMESH_MIRROR")
        && !mirror.is_empty()
    {
        return mirror;
    }
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| mirror_in(&text))
        .unwrap_or_else(|| DEFAULT_MIRROR.to_owned())
}

/// Finds the address of a full Debian mirror in an apt source file, of either format.
fn mirror_in(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(|word| word.trim_end_matches('/').to_owned())
}

/// Debian's own address, where apt's sources name none.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// The keys that sign Debian releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_formats_of_apt_sources() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: trixie\n";
        assert_eq!(
            mirror_in(deb822).as_deref(),
            Some("http://mirror.example/debian")
        );
        let one_line = "# deb http://no.example/debian x\ndeb [arch=amd64] http://yes.example/debian stable main\n";
        assert_eq!(
            mirror_in(one_line).as_deref(),
            Some("http://yes.example/debian")
        );
    }

    #[test]
    fn a_security_archive_or_a_third_party_is_not_a_mirror() {
        assert_eq!(
            mirror_in("deb http://a.example/debian-security x main\n"),
            None
        );
        assert_eq!(mirror_in("deb http://a.example/apt cloud main\n"), None);
    }

    #[test]
    fn a_missing_folder_is_not_current() {
        assert!(!is_current(Path::new("/nonexistent")));
    }
}
