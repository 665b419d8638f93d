//! How deep a path ringwatch follows, and what it tells of one that is deeper.

use std::fs;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::support::{command, ringwatch};

/// Steps of the kernel's walk from a file up to the root: a component or a mount point each.
pub(crate) fn steps() -> Result<usize> {
    static STEPS: OnceLock<Result<usize, String>> = OnceLock::new();
    let ask = || -> Result<usize> {
        let report: Value = serde_json::from_str(&command(ringwatch(), &["check", "--json"])?)?;
        let object = report["plan"]["object"].as_str().context("no plan")?;
        // Before bpf_loop the verifier goes through every step.
        Ok(if object == "early" { 256 } else { 1024 })
    };
    STEPS.get_or_init(|| ask().map_err(|e| format!("{e:#}"))).clone().map_err(|e| anyhow!(e))
}

/// What is told of the paths of this mount namespace.
pub(crate) struct Depth {
    steps: usize,
    /// One for each mount.
    mount_points: Vec<String>,
}

impl Depth {
    pub(crate) fn here() -> Result<Self> {
        Self::new(steps()?, &fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn new(steps: usize, mounts: &str) -> Result<Self> {
        let mut mount_points = vec![];
        let mut top = false;
        for line in mounts.lines() {
            let [id, parent, _, _, at] = line.splitn(6, ' ').take(5).collect::<Vec<_>>()[..] else {
                return Err(anyhow!("no mount: {line}"));
            };
            top |= id == parent;
            mount_points.push(if at == "/" { String::new() } else { at.to_owned() });
        }
        if !top {
            // The first file system of all, below the root and not to be seen.
            mount_points.push(String::new());
        }
        Ok(Self { steps, mount_points })
    }

    /// What is told of a path where it has too many components and mount points: its end.
    pub(crate) fn cut(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        let (mut at, mut left) = (path.len(), self.steps);
        loop {
            let mounts = self.mount_points.iter().filter(|m| **m == path[..at]).count();
            // The root is no component.
            let cost = mounts + usize::from(at > 0);
            if cost > left {
                return Some(format!("...{}", &path[at..]));
            }
            left -= cost;
            at = path[..at].rfind('/')?;
        }
    }
}

pub(crate) fn cut_where_the_walk_ends() -> Result<()> {
    let told = |steps, mounts: &str| Ok::<_, anyhow::Error>(Depth::new(steps, mounts)?.cut("/a/b/c"));
    let own_root = "1 1 0:1 / / rw\n5 1 0:2 / /a/b rw\n6 1 0:3 / /x rw\n";
    let shown = [1, 2, 3, 4, 5].map(|steps| told(steps, own_root));
    for (shown, wanted) in shown.into_iter().zip([".../c", ".../c", ".../b/c", ".../a/b/c", ""]) {
        let shown = shown?;
        ensure!(shown.as_deref().unwrap_or_default() == wanted, "{shown:?} and not {wanted}");
    }
    // On a root that was mounted over the first one.
    let other_root = "21 1 0:1 / / rw\n5 21 0:2 / /a/b rw\n";
    ensure!(told(5, other_root)?.as_deref() == Some(".../a/b/c") && told(6, other_root)?.is_none());
    Ok(())
}
