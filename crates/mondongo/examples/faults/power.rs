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
        if let Some(pid) = group.pid(node) {
            signal(pid, "STOP")?;
        }
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
        let all = round % 3 == 0;
        let victim = round as usize % machines.len();
        let begun = Instant::now();
        for node in (0..machines.len()).filter(|node| all || *node == victim) {
            machines[node].lose_power(&mut group, node)?;
        }
        for node in (0..machines.len()).filter(|node| all || *node == victim) {
            group.restart(node)?;
        }
        load.wait_for(100).await?;
        group.wait_until_followed()?;
        let whom = if all { "all nodes".to_owned() } else { format!("node{victim}") };
        println!(
            "power loss {round}: {whom}; longest pause {} ms",
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
