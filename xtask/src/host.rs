//! The machine that runs the commands: who we are, which programs it has, how missing ones are installed.

use std::env;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A program that some step needs, and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The program's name.
    pub program: &'static str,
    /// Debian packages to install when the program is missing.
    pub packages: &'static [&'static str],
    /// What it is needed for, to be shown.
    pub purpose: &'static str,
}

/// What building and testing need on top of Rust.
pub const NEEDS: &[Need] = &[
    Need {
        program: "cc",
        packages: &["gcc", "libc6-dev"],
        purpose: "linking, and building the cryptography library",
    },
    Need {
        program: "git",
        packages: &["git"],
        purpose: "fetching the database of known vulnerabilities",
    },
    Need {
        program: "ip",
        packages: &["iproute2"],
        purpose: "network namespaces in scenario tests",
    },
    Need {
        program: "iptables",
        packages: &["iptables"],
        purpose: "losing packets in scenario tests",
    },
    Need {
        program: "faketime",
        packages: &["faketime"],
        purpose: "clocks that are wrong in scenario tests",
    },
    Need {
        program: "valgrind",
        packages: &["valgrind"],
        purpose: "counting the instructions of a query",
    },
];

/// What making the folder of peers needs, besides.
pub const PEER_NEEDS: &[Need] = &[Need {
    program: "debootstrap",
    // The newest keyring too: an old one lacks the keys of the release that is unpacked.
    packages: &["debootstrap", "debian-archive-keyring", "xz-utils"],
    purpose: "unpacking the foreign name servers",
}];

/// What building the fuzz targets needs, besides.
pub const FUZZ_NEEDS: &[Need] = &[Need {
    program: "c++",
    packages: &["g++"],
    purpose: "building the fuzzer's library",
}];

/// Says whether we are root, which apt, debootstrap and network namespaces require.
pub fn is_root() -> bool {
    // The owner of our own entry in /proc is the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Says whether this is a run in CI, where nothing may be skipped.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}

/// Finds a program, in the system's folders also where the user's `PATH` lacks them.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| {
            file.metadata().is_ok_and(|metadata| {
                metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
            })
        })
}

/// Returns those needs that this machine does not meet.
pub fn missing(needs: &[Need]) -> Vec<Need> {
    needs
        .iter()
        .copied()
        .filter(|need| find(need.program).is_none())
        .collect()
}

/// Installs what is missing with apt, saying what.
pub fn install(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    for need in &missing {
        println!(
            "installing {} (for {})",
            need.packages.join(", "),
            need.purpose
        );
    }
    if find("apt-get").is_none() {
        bail!(
            "there is no apt-get here: install {} by hand",
            packages.join(", ")
        );
    }
    if !is_root() {
        bail!(
            "installing needs root: `sudo apt-get install {}`",
            packages.join(" ")
        );
    }
    // One unreachable source of several fails it, and the packages may come from another.
    if let Err(error) = run_quietly(apt().args(["update"])) {
        eprintln!("warning: {error:#}");
    }
    run_quietly(
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(&packages),
    )?;
    let still = self::missing(needs);
    if let Some(need) = still.first() {
        bail!(
            "{} was installed, but there is no program {}",
            need.packages.join(", "),
            need.program
        );
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The folder that cargo builds in.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// Returns a command that runs the cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set for us by `cargo run`; tests of other packages must not see them.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "CARGO_MANIFEST_PATH",
    ] {
        command.env_remove(name);
    }
    command
}

/// The root folder of the repository.
pub fn repository() -> Result<PathBuf> {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = xtask.parent().context("xtask lies in no folder")?;
    Ok(root.to_owned())
}

/// Runs a command with our own output; a failure names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a command whose output matters only if it fails.
fn run_quietly(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}):\n{text}{errors}", output.status);
    }
    Ok(())
}

/// Writes a command as one would type it.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The folder that keeps what is costly to make, outside of the clone.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("zonemesh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_every_machine_has_is_found_and_another_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }

    #[test]
    fn a_command_is_shown_as_typed() {
        assert_eq!(
            show(Command::new("apt-get").args(["install", "knot"])),
            "apt-get install knot"
        );
    }
}
