//! One virtual machine, from its start to power-off.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

const PROGRAM: &str = "qemu-system-x86_64";
/// Emulated, it takes six seconds to the start marker, and a pass of the tests some fifteen minutes; others may use the
/// machine too.
const START_LIMIT: Duration = Duration::from_secs(90);
/// With KVM it takes one second, where KVM works.
const KVM_START_LIMIT: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(3000);

/// Polled NVMe queues: without them writes of IORING_SETUP_IOPOLL hang on older kernels.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 nokaslr mitigations=off tsc=reliable \
    random.trust_cpu=on nvme.poll_queues=1";

const START: &str = "VM-START ";
const END: &str = "VM-END rc=";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// KVM may exist and yet not work: whoever uses it falls back to emulation.
    pub(super) fn best() -> Self {
        if access("/dev/kvm", AccessFlags::R_OK | AccessFlags::W_OK).is_ok() { Self::Kvm } else { Self::Tcg }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // With a thread for each processor the emulator crashes now and then.
            Self::Tcg => "tcg,thread=single",
        }
    }
}

/// What a VM is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) disk: &'a Path,
    /// Gets what the guest writes to its second serial port.
    pub(super) port: &'a Path,
    /// Gets the console.
    pub(super) log: &'a Path,
    /// The part of the tests that it runs, of how many.
    pub(super) part: (usize, u8),
    /// Its clocks count instructions.
    pub(super) counted: bool,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Ended {
    /// From the start to the marker, which says the release; `None`: it never came up.
    pub(super) started: Option<(Duration, String)>,
    pub(super) end: End,
    pub(super) took: Duration,
    pub(super) console: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The guest ended with this status.
    Status(String),
    /// The VM ended without telling one.
    Died,
    /// It was killed.
    TimedOut,
}

/// A running emulator; it does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    pub(super) fn run(&self, accelerator: Accelerator) -> Result<Ended> {
        let begin = Instant::now();
        let mut log = File::create(self.log).with_context(|| format!("cannot write {}", self.log.display()))?;
        // The guest's outcomes of an earlier run are none of this one.
        fs::write(self.port, "").with_context(|| format!("cannot write {}", self.port.display()))?;
        let mut running = Running(
            self.command(accelerator)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log.try_clone().context("cannot share the log")?)
                .spawn()
                .with_context(|| format!("cannot run {PROGRAM}: is it installed? (`make deps-vm`)"))?,
        );
        let stdout = running.0.stdout.take().context("the VM has no console")?;
        let (lines, reader) = read(stdout)?;

        let (mut started, mut end, mut console) = (None, End::Died, vec![]);
        let start_limit = if accelerator == Accelerator::Kvm { KVM_START_LIMIT } else { START_LIMIT };
        loop {
            let limit = if started.is_some() { LIMIT } else { start_limit };
            let line = match lines.recv_timeout(limit.saturating_sub(begin.elapsed())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // Powering off may hang where everything else is done.
                    if end == End::Died {
                        end = End::TimedOut;
                    }
                    break;
                }
            };
            log.write_all(&line).context("cannot write the log")?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(release) = line.strip_prefix(START) {
                started = Some((begin.elapsed(), release.to_owned()));
            } else if let Some(status) = line.strip_prefix(END) {
                end = End::Status(status.to_owned());
            }
            console.push(line);
        }
        drop(running);
        // The console has ended: so does its reader.
        let _ = reader.join();
        Ok(Ended { started, end, took: begin.elapsed(), console })
    }

    fn command(&self, accelerator: Accelerator) -> Command {
        // However this program ends, the emulator ends too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
        command.args(["-accel", accelerator.argument(), "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "2G"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]);
        command.args(["-serial", "stdio", "-serial", &format!("file:{}", self.port.display())]);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        // The kernel makes an environment variable of what it does not know.
        let (part, parts) = self.part;
        command.args(["-append", &format!("{KERNEL_ARGUMENTS} RINGWATCH_PART={part}/{parts}")]);
        let disk = self.disk.display().to_string().replace(',', ",,");
        command.args(["-drive", &format!("if=none,id=d0,format=raw,cache=unsafe,file={disk}")]);
        command.args(["-device", "nvme,drive=d0,serial=d0"]);
        if self.counted {
            // One nanosecond for each instruction, whatever else the machine does.
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        command
    }
}

/// Lines of the console as they come: reading them has no time limit of its own.
fn read(console: impl std::io::Read + Send + 'static) -> Result<(Receiver<Vec<u8>>, JoinHandle<()>)> {
    let (send, lines) = mpsc::channel();
    let body = move || {
        let mut console = BufReader::new(console);
        loop {
            let mut line = vec![];
            match console.read_until(b'\n', &mut line) {
                Ok(1..) if send.send(line).is_ok() => {}
                _ => return,
            }
        }
    };
    let reader = std::thread::Builder::new().name("console".to_owned()).spawn(body).context("cannot start a thread")?;
    Ok((lines, reader))
}
