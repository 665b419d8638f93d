//! `cargo xtask dist`: programs that need nothing of the machine that they run on. The guests of `cargo xtask vm`, which
//! have no library at all, run the same build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::share;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const ARCHITECTURE: &str = "x86_64";

/// Programs without an interpreter, and where cargo builds.
#[derive(Debug)]
pub(crate) struct Static {
    target: PathBuf,
}

pub(crate) fn run() -> Result<()> {
    let builder = Static::new()?;
    let ringwatch = builder.program("ringwatch", &["build", "--package", "ringwatch"])?;
    let directory = builder.target().join("dist");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // All packages of the workspace have the same version.
    let path = directory.join(format!("ringwatch-{}-{ARCHITECTURE}", env!("CARGO_PKG_VERSION")));
    let size = fs::copy(&ringwatch, &path).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} ({:.1} MB, no shared libraries)", path.display(), size as f64 / 1e6);
    let archive = archive(&path)?;
    println!("{} (with man pages and completions; unpack it into /usr/local)", archive.display());
    Ok(())
}

/// The executable, and what a prefix has beside it, as a prefix has them.
fn archive(executable: &Path) -> Result<PathBuf> {
    let archive = executable.with_file_name(format!("{}.tar.gz", name_of(executable)?));
    let prefix = tempfile::tempdir().context("cannot make a directory")?;
    let at = |name: &str| prefix.path().join(name);
    for directory in ["bin", "share"] {
        fs::create_dir(at(directory)).with_context(|| format!("cannot make {directory}"))?;
    }
    share::write(&at("share"))?;
    let doc = at("share/doc/ringwatch");
    fs::create_dir_all(&doc).context("cannot make share/doc")?;
    let copies = ["LICENSE-APACHE", "LICENSE-MIT", "bpf/LICENSE", "README.md"]
        .map(|name| (root().map(|root| root.join(name)), doc.join(name.replace("bpf/LICENSE", "LICENSE-BPF"))));
    for (from, to) in copies.into_iter().chain([(Ok(executable.to_owned()), at("bin/ringwatch"))]) {
        let from = from?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let status = Command::new("tar")
        .args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(prefix.path())
        .args(["bin", "share"])
        .status()
        .context("cannot run tar")?;
    ensure!(status.success(), "tar failed ({status})");
    Ok(archive)
}

fn name_of(file: &Path) -> Result<&str> {
    file.file_name().and_then(|name| name.to_str()).context("the executable has no name")
}

/// The project's directory.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not within the project")
}

impl Static {
    pub(crate) fn new() -> Result<Self> {
        let output = cargo()?
            .args(["metadata", "--format-version=1", "--no-deps"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo metadata failed ({})", output.status);
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
        let target = metadata["target_directory"].as_str().context("cargo tells no target directory")?;
        Ok(Self { target: target.into() })
    }

    /// The ordinary target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// What cargo builds with `arguments` under `name`.
    pub(crate) fn program(&self, name: &str, arguments: &[&str]) -> Result<PathBuf> {
        let output = cargo()?
            .args(arguments)
            .args(["--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
            // Line tables are four fifths of the file; the names of functions stay.
            .args(["--config", "profile.release.strip=\"debuginfo\""])
            // Flags of its own in a directory of its own: the ordinary build stays valid.
            .arg("--target-dir")
            .arg(self.target.join("static"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("the static build of {name} failed ({})", output.status);
        }
        let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
        let path = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo built no {name}"))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(is_static(&bytes)?, "{} needs shared libraries", path.display());
        Ok(path)
    }
}

fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?).stdin(Stdio::null());
    Ok(command)
}

/// Whether a 64-bit little-endian ELF file runs without a dynamic linker.
fn is_static(file: &[u8]) -> Result<bool> {
    const INTERPRETER: u32 = 3;
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit ELF file");
    let at = |offset: usize| file.get(offset..).context("the ELF file is cut off");
    let table = usize::try_from(u64::from_le_bytes(first(at(32)?)?))?;
    let size = usize::from(u16::from_le_bytes(first(at(54)?)?));
    let count = usize::from(u16::from_le_bytes(first(at(56)?)?));
    for i in 0..count {
        let header = table.checked_add(i * size).context("the ELF file is wrong")?;
        if u32::from_le_bytes(first(at(header)?)?) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.first_chunk().copied().context("the ELF file is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header and one program header of type `kind`.
    fn elf(kind: u8) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (file[32], file[54], file[56], file[64]) = (64, 56, 1, kind);
        file
    }

    #[test]
    fn an_interpreter_is_found() -> Result<()> {
        assert!(is_static(&elf(1))?);
        assert!(!is_static(&elf(3))?);
        assert!(is_static(&elf(1)[..64]).is_err());
        assert!(is_static(b"#!/bin/sh").is_err());
        Ok(())
    }

    #[test]
    fn the_archive_is_a_prefix() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let executable = directory.path().join("ringwatch-1-x");
        fs::write(&executable, "program")?;
        let list = Command::new("tar").arg("--list").arg("--file").arg(archive(&executable)?).output()?;
        let list = String::from_utf8(list.stdout)?;
        for file in ["bin/ringwatch", "share/man/man1/ringwatch-trace.1", "share/doc/ringwatch/LICENSE-BPF"] {
            assert!(list.lines().any(|line| line == file), "no {file}: {list}");
        }
        Ok(())
    }
}
