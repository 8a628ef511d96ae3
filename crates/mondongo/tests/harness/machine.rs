//! A machine whose power can fail: a file system in a file, which is shut down without writing its journal, so
//! that all that was not synced is gone.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file, mounted as long as the value lives.
pub(crate) struct Machine {
    image: PathBuf,
    mount: PathBuf,
}

impl Machine {
    /// Makes and mounts one in `folder`, with room for so many bytes; the file has holes.
    ///
    /// # Errors
    /// If this machine does not allow it: it needs root, `mkfs.ext4`, `mount` and `xfs_io` (xfsprogs).
    pub(crate) fn make(folder: &Path, index: usize, bytes: u64) -> Result<Machine> {
        // The one that is needed last: nothing is begun without it.
        call("xfs_io", &["-V"]).context("power loss needs xfs_io (xfsprogs)")?;
        let image = folder.join(format!("disk{index}.img"));
        let mount = folder.join(format!("disk{index}"));
        fs::create_dir_all(&mount)?;
        File::create(&image)?.set_len(bytes)?;
        call("mkfs.ext4", &["-q", &show(&image)])?;
        let machine = Machine { image, mount };
        machine.mount().context("power loss needs root and loop devices")?;
        Ok(machine)
    }

    /// Where a node may have its folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.mount.join("db")
    }

    fn mount(&self) -> Result<()> {
        call("mount", &["-o", "loop", &show(&self.image), &show(&self.mount)])
    }

    /// From now on nothing is written any more, also not what a program believes to be written.
    ///
    /// # Errors
    /// If the file system cannot be shut down.
    pub(crate) fn cut_power(&self) -> Result<()> {
        call("xfs_io", &["-x", "-c", "shutdown", &show(&self.mount)])
    }

    /// Mounts again what is left, once nobody uses it any more.
    ///
    /// # Errors
    /// If somebody does, or the file system is damaged.
    pub(crate) fn restore_power(&self) -> Result<()> {
        call("umount", &[&show(&self.mount)])?;
        self.mount()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Lazily: a process that still ends holds it a moment longer.
        let _ = call("umount", &["-l", &show(&self.mount)]);
    }
}

/// Whose power fails, in turn.
pub(crate) const WHOSE: [Whose; 3] = [Whose::One, Whose::Majority, Whose::All];

/// Whose power fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    One,
    Majority,
    All,
}

impl Whose {
    /// The numbers of those whose power fails, of so many nodes, counted from `first` on.
    pub(crate) fn victims(self, nodes: usize, first: usize) -> Vec<usize> {
        let count = match self {
            Whose::One => 1,
            Whose::Majority => nodes / 2 + 1,
            Whose::All => nodes,
        };
        (0..count).map(|n| (first + n) % nodes).collect()
    }
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
