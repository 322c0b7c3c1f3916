//! A small disk of a test's own, that fills up, hangs, and turns read-only. Needs root.
//!
//! A [`Disk`] is an ext4 file system in a file of the test's folder, mounted over a loop device: a real file system, whose
//! errors are those that a site meets. It is unmounted when dropped, also after a failure; nothing else on the machine is
//! touched.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Says why disks cannot be made here, if so.
///
/// # Errors
///
/// Without root, without loop devices, or without the programs that make and mount file systems.
pub fn available() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("mounting a disk needs root");
    }
    if !Path::new("/dev/loop-control").exists() {
        bail!("this machine has no loop devices");
    }
    for (program, option) in [("mkfs.ext4", "-V"), ("fsfreeze", "-V"), ("mount", "-V")] {
        Command::new(program)
            .arg(option)
            .output()
            .with_context(|| format!("{program} is not installed"))?;
    }
    Ok(())
}

/// A small disk, mounted at a folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    image: PathBuf,
    frozen: bool,
}

impl Disk {
    /// Makes a disk of this many mebibytes and mounts it at a folder, which is made.
    ///
    /// # Errors
    ///
    /// When it cannot be made or mounted.
    pub fn mount(folder: &Path, mebibytes: u64) -> Result<Self> {
        available()?;
        let image = folder.with_extension("img");
        let file =
            File::create(&image).with_context(|| format!("cannot make {}", image.display()))?;
        file.set_len(mebibytes << 20)
            .context("cannot set the size of the image")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Nothing is kept back for root: a full disk is full for everybody here.
        run("mkfs.ext4", &["-q", "-m", "0"], &[&image])?;
        let disk = Self {
            folder: folder.to_owned(),
            image,
            frozen: false,
        };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> Result<()> {
        run("mount", &["-o", "loop"], &[&self.image, &self.folder])
    }

    /// Fills it to the last octet.
    ///
    /// # Errors
    ///
    /// When a write fails for another reason than that it is full.
    pub fn fill(&self) -> Result<()> {
        let path = self.ballast();
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // Large pieces first, then what is left in small ones.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0x5A; size];
            loop {
                match ballast.write_all(&piece).and_then(|()| ballast.sync_data()) {
                    Ok(()) if size > 1 => {}
                    Ok(()) => break,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Fills it until no more than so many mebibytes are free.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn fill_but(&self, mebibytes: u64) -> Result<()> {
        let path = self.ballast();
        let mut ballast =
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let free = || -> Result<u64> {
            let found = rustix::fs::statvfs(&self.folder)?;
            Ok(found.f_bavail * found.f_frsize)
        };
        while free()? > mebibytes << 20 {
            let piece = [0x5A; 1 << 18];
            let written = ballast.write_all(&piece);
            written
                .and_then(|()| ballast.sync_data())
                .context("cannot fill the disk")?;
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    ///
    /// When it was not filled.
    pub fn drain(&self) -> Result<()> {
        let path = self.ballast();
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Makes every write wait, as a disk does that hangs, or lets them all go on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_frozen(&mut self, frozen: bool) -> Result<()> {
        let option = if frozen { "--freeze" } else { "--unfreeze" };
        run("fsfreeze", &[option], &[&self.folder])?;
        self.frozen = frozen;
        Ok(())
    }

    /// Makes it read-only on the spot, with files open for writing, as the kernel does after an error of the medium.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn turn_read_only(&self) -> Result<()> {
        run("mount", &["-o", "remount,abort"], &[&self.folder])
    }

    /// Mends it, as after a visit of the operator: unmounts, checks and mounts it. Nothing may be open on it.
    ///
    /// # Errors
    ///
    /// When it is in use, or beyond repair.
    pub fn mend(&self) -> Result<()> {
        run("umount", &[], &[&self.folder])?;
        // 1 is "errors were corrected".
        let status = Command::new("fsck.ext4")
            .arg("-fy")
            .arg(&self.image)
            .output()
            .context("cannot run fsck.ext4")?
            .status;
        if !matches!(status.code(), Some(0 | 1)) {
            bail!("fsck.ext4 ended with {status}");
        }
        self.attach()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen
            && let Err(error) = self.set_frozen(false)
        {
            eprintln!("cannot thaw {}: {error:#}", self.folder.display());
        }
        // Lazily: a site may still have files open on it, and ends later.
        if let Err(error) = run("umount", &["--lazy"], &[&self.folder]) {
            eprintln!("cannot unmount {}: {error:#}", self.folder.display());
        }
    }
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(program)
        .args(words)
        .args(paths)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed: {}", words.join(" "), errors.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks_or_skip;

    #[test]
    fn a_disk_fills_up_turns_read_only_and_is_mended() {
        disks_or_skip!();
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        let disk = Disk::mount(&place, 8).unwrap();
        disk.fill().unwrap();
        let error = fs::write(place.join("more"), vec![1; 8192]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.drain().unwrap();
        fs::write(place.join("more"), vec![1; 8192]).unwrap();
        disk.turn_read_only().unwrap();
        let error = fs::write(place.join("again"), [1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        disk.mend().unwrap();
        fs::write(place.join("again"), [1]).unwrap();
        drop(disk);
        assert!(!place.join("again").exists(), "it is unmounted");
    }
}
