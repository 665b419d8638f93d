//! What runs in the VM: an initramfs, and a disk with the programs under test.

use std::env;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::saved::{self, Check, Checks};
use crate::dist::Static;

/// Where the programs for file systems are: not every user's PATH has it.
const SYSTEM_PROGRAMS: &str = "/usr/sbin:/sbin";
const BUSYBOX: &str = "/bin/busybox";
/// Sparse: the tests write some of it.
const DISK: &str = "512M";

/// Files that every VM gets.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) initramfs: PathBuf,
    payload: TempDir,
}

impl Guest {
    /// Builds the programs; only tests whose name contains `filter` will run.
    pub(super) fn build(builder: &Static, directory: &Path, filter: Option<&str>, cost: bool) -> Result<Self> {
        let programs = [
            ("ringwatch", &["build", "--package", "ringwatch"][..]),
            ("ringwatch-workload", &["build", "--package", "ringwatch-workload"]),
            ("kernel", &["test", "--no-run", "--package", "ringwatch", "--test", "kernel"]),
        ];
        let payload = tempfile::tempdir_in(directory).context("cannot make a directory")?;
        // It becomes the root of the disk, where other users run programs too.
        fs::set_permissions(payload.path(), fs::Permissions::from_mode(0o755))?;
        for (name, arguments) in programs {
            let from = builder.program(name, arguments)?;
            fs::copy(&from, payload.path().join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        let variables = [
            ("PLANS", saved::plans().join(" ")),
            ("FILTER", filter.unwrap_or_default().to_owned()),
            ("COST", if cost { "1" } else { "" }.to_owned()),
        ];
        let set = variables.map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r"'\''")));
        let script = set.concat() + include_str!("run.sh");
        fs::write(payload.path().join("run.sh"), script).context("cannot write run.sh")?;
        Ok(Self { initramfs: initramfs(directory)?, payload })
    }

    /// A fresh disk at `path`.
    pub(super) fn disk(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        let mut command = system_program("mkfs.ext4");
        // The tables of a fresh sparse file are zero already.
        command.args(["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", "-d"]);
        run(command.arg(self.payload.path()).arg(path).arg(DISK)).context("cannot make the disk of the VM")
    }
}

/// What `ringwatch check --json` told on the disk of a VM that was powered off.
pub(super) fn checks(disk: &Path) -> Result<Checks> {
    let free = check(disk, "check.json")?.context("the guest left no report of `ringwatch check`")?;
    let mut checks = Checks { free, ..Checks::default() };
    for plan in saved::plans() {
        if let Some(check) = check(disk, &format!("check-{plan}.json"))? {
            checks.forced.insert(plan, check);
        }
    }
    Ok(checks)
}

/// `None`: there is no such file, or nothing in it.
fn check(disk: &Path, name: &str) -> Result<Option<Check>> {
    let output = system_program("debugfs")
        .args(["-R", &format!("cat /{name}")])
        .arg(disk)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("cannot run debugfs")?;
    if output.stdout.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&output.stdout).map(Some).with_context(|| format!("{name} of the guest is no report"))
}

fn system_program(name: &str) -> Command {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(format!(":{SYSTEM_PROGRAMS}"));
    let mut command = Command::new(name);
    command.env("PATH", path);
    command
}

fn initramfs(directory: &Path) -> Result<PathBuf> {
    let static_busybox = Path::new(BUSYBOX);
    ensure!(static_busybox.exists(), "there is no {BUSYBOX}: install busybox-static (`make deps-vm` does)");
    let root = tempfile::tempdir_in(directory).context("cannot make a directory")?;
    let at = |name: &str| root.path().join(name);
    for name in ["bin", "etc"] {
        fs::create_dir(at(name)).with_context(|| format!("cannot make {name} of the initramfs"))?;
    }
    fs::copy(static_busybox, at("bin/busybox")).context("cannot copy busybox")?;
    for (name, text) in [
        ("init", include_str!("init.sh")),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ] {
        fs::write(at(name), text).with_context(|| format!("cannot write {name} of the initramfs"))?;
    }
    fs::set_permissions(at("init"), fs::Permissions::from_mode(0o755))?;

    let path = directory.join("initramfs.cpio");
    let archive = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(root.path())
        .stdin(Stdio::piped())
        .stdout(archive)
        .spawn()
        .context("cannot run cpio")?;
    let written = child
        .stdin
        .take()
        .context("cpio has no input")?
        .write_all(b".\nbin\nbin/busybox\netc\netc/passwd\netc/group\ninit\n");
    let status = child.wait().context("cannot wait for cpio")?;
    written.context("cannot tell cpio the files")?;
    ensure!(status.success(), "cpio failed ({status})");
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
