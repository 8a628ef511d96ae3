//! Power loss: a file system is shut down without writing its journal, so that all that was not synced is
//! gone, and mounted again.

use crate::group::{Group, signal};
use crate::load::Load;
use crate::{Arguments, finish};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A file system in a file, mounted.
struct Machine {
    image: PathBuf,
    mount: PathBuf,
}

const IMAGE_BYTES: u64 = 2 << 30;

impl Machine {
    fn make(folder: &Path, index: usize) -> Result<Machine> {
        let image = folder.join(format!("disk{index}.img"));
        let mount = folder.join(format!("disk{index}"));
        std::fs::create_dir_all(&mount)?;
        std::fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
        call("mkfs.ext4", &["-q", &show(&image)])?;
        let machine = Machine { image, mount };
        machine.mount()?;
        Ok(machine)
    }

    fn mount(&self) -> Result<()> {
        call("mount", &["-o", "loop", &show(&self.image), &show(&self.mount)])
    }

    /// Everything not synced is lost; the file system is mounted again.
    fn lose_power(&self, group: &mut Group, node: usize) -> Result<()> {
        call("xfs_io", &["-x", "-c", "shutdown", &show(&self.mount)])?;
        group.kill(node)?;
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

/// Who loses power in a round.
#[derive(Clone, Copy, Debug)]
enum Whose {
    One,
    Majority,
    All,
}

impl Whose {
    fn of(round: u32) -> Whose {
        [Whose::One, Whose::Majority, Whose::All][(round as usize - 1) % 3]
    }

    fn count(self, nodes: usize) -> usize {
        match self {
            Whose::One => 1,
            Whose::Majority => nodes / 2 + 1,
            Whose::All => nodes,
        }
    }
}

pub(crate) async fn run(arguments: &Arguments, folder: &Path, times: u32) -> Result<()> {
    let machines: Result<Vec<Machine>> =
        (0..arguments.nodes).map(|index| Machine::make(folder, index)).collect();
    let machines =
        machines.context("power loss needs root, mkfs.ext4, mount and xfs_io (xfsprogs)")?;
    let folders = machines.iter().map(|machine| machine.mount.join("db")).collect();
    let mut group = Group::start(&arguments.binary, folders)?;
    let load = Load::start(&group.addresses(), arguments.writers).await?;
    for round in 1..=times {
        load.wait_for(300).await?;
        let whose = Whose::of(round);
        let first = round as usize % machines.len();
        let victims: Vec<usize> =
            (0..whose.count(machines.len())).map(|n| (first + n) % machines.len()).collect();
        let begun = Instant::now();
        // They stand still first, so that none goes on without the others.
        for pid in victims.iter().filter_map(|node| group.pid(*node)) {
            signal(pid, "STOP")?;
        }
        for node in &victims {
            machines[*node].lose_power(&mut group, *node)?;
        }
        for node in &victims {
            group.restart(*node)?;
        }
        load.wait_for(100).await?;
        group.wait_until_followed()?;
        println!(
            "power loss {round}: {whose:?} of the nodes, {victims:?}; longest pause {} ms",
            load.longest_pause_since(begun).as_millis()
        );
    }
    finish(group, load).await
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
