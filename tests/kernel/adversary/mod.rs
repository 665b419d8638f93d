//! Programs that try to be told wrongly, to hide, or to hurt; as an unprivileged user.

pub(crate) mod held_up;
pub(crate) mod names;
pub(crate) mod output;
pub(crate) mod paths;
pub(crate) mod requests;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::hard::in_vm;
use crate::support::{Ended, Test, Tracer, directory, json_lines, workload};

/// On the machine at hand alone: older kernels lack operations that they use, and an emulated processor the time.
pub(crate) fn tests() -> Vec<Test> {
    if in_vm() { vec![] } else { [paths::TESTS, requests::TESTS, output::TESTS, held_up::TESTS].concat() }
}

/// Somebody without any right.
const NOBODY: u32 = 65_534;

/// The name of the attacking threads, so that no other program is traced.
const COMM: &str = "rw-attack";

/// What an attack did, by its own word, and what was told of it.
#[derive(Debug)]
struct Told {
    truth: Vec<Value>,
    events: Vec<Value>,
    ended: Ended,
}

/// A place where everybody may work, and the attacking program in it.
struct Place {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let directory = directory()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let program = directory.path().join(COMM);
        fs::copy(workload(), &program)?;
        let work = directory.path().join("work");
        fs::create_dir(&work)?;
        fs::set_permissions(&work, fs::Permissions::from_mode(0o777))?;
        Ok(Self { directory, program })
    }

    /// Where it works.
    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Runs `attack WHAT` while ringwatch traces with `options`.
    fn attack(&self, uid: u32, what: &[&str], options: &[&str]) -> Result<Told> {
        let file = self.directory.path().join("events");
        let output = format!("json:{}", file.display());
        let tracer = Tracer::start(&[&["-o", &output, "--comm", COMM], options].concat())?;
        let mut command = Command::new(&self.program);
        command.arg("attack").args(what).stdin(Stdio::null()).stderr(Stdio::inherit());
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        let done = command.output().context("cannot run the attack")?;
        let ended = tracer.stop()?;
        ensure!(done.status.success(), "the attack: {}", done.status);
        let truth = String::from_utf8(done.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Told { truth, events: json_lines(&file)?, ended })
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
