//! Hard moments: a start with too little to work with. Either it works all the same, or ringwatch starts nothing, and
//! says precisely what is missing and what to do.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::support::{PATIENCE, Test, Tracer, command, directory, json_lines, named, ringwatch, workload};

pub(crate) const TESTS: &[Test] = &[
    ("hard::without_cap_perfmon_it_is_named", || too_few(&[BPF], "CAP_PERFMON is missing")),
    ("hard::without_cap_bpf_it_is_named", || too_few(&[PERFMON], "CAP_BPF is missing")),
    ("hard::without_either_both_are_named", || too_few(&[], "CAP_BPF and CAP_PERFMON are missing")),
    ("hard::two_capabilities_suffice_root", || two_suffice(0)),
    ("hard::two_capabilities_suffice_anyone", || two_suffice(NOBODY)),
    ("hard::without_btf_it_says_what_to_do", no_btf),
    ("hard::btf_from_a_file_serves_as_well", btf_from_file),
    ("hard::a_btf_file_that_is_none_is_told", bad_btf),
];

/// For a virtual machine that ends with the tests: the last cannot be undone, and nothing can be traced after it.
pub(crate) const LAST: &[Test] = &[
    ("hard::io_uring_disabled_is_noted", io_uring_disabled),
    ("hard::lockdown_1_integrity", lockdown_integrity),
    ("hard::lockdown_2_confidentiality", lockdown_confidentiality),
];

/// Set in the guest.
pub(crate) fn in_vm() -> bool {
    std::env::var_os("RINGWATCH_VM").is_some_and(|v| v == "1")
}

pub(crate) const NOBODY: u32 = 65534;
const WRITES: u64 = 300;

/// What cannot be had here is said; under CI on the host nothing is left out.
pub(crate) fn skip(test: &str, why: &str) -> Result<()> {
    ensure!(in_vm() || std::env::var_os("CI").is_none_or(|v| v != "true"), "skipped: {why}");
    let room = if test.contains("::") { "" } else { "hard::" };
    eprintln!("skipped: {room}{test}: {why}");
    Ok(())
}

/// What a program said, on both streams.
struct Said {
    code: Option<i32>,
    text: String,
}

fn said(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output().context("cannot run ringwatch")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let lower = text.to_lowercase();
    for wrong in ["memlock", "rlimit", "panicked"] {
        ensure!(!lower.contains(wrong), "it speaks of {wrong}: {text}");
    }
    Ok(Said { code: output.status.code(), text })
}

/// Programs where any user can run them, and a place to write to.
pub(crate) struct Place {
    directory: TempDir,
    pub(crate) ringwatch: PathBuf,
    pub(crate) workload: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let directory = directory()?;
        // Anyone makes files in it, as in /tmp.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
        let copy = |from: PathBuf, name: &str| -> Result<PathBuf> {
            let to = directory.path().join(name);
            fs::copy(from, &to)?;
            Ok(to)
        };
        Ok(Self { ringwatch: copy(ringwatch(), "ringwatch")?, workload: copy(workload(), "workload")?, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// ringwatch, with an end in any case.
    fn ringwatch(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", PATIENCE]).arg(&self.ringwatch).args(arguments);
        command
    }

    /// `check` and `trace` both end with one of `codes`, start nothing, and say all of `words`.
    fn refuses(
        &self,
        arguments: &[&str],
        codes: &[i32],
        words: &[&str],
        prepare: impl Fn(&mut Command) + Copy,
    ) -> Result<()> {
        let mut check = self.ringwatch(&["check"]);
        let mut trace = self.ringwatch(&["trace"]);
        trace.args(arguments).args(["--", "sh", "-c", "echo started >\"$0\""]).arg(self.path("started"));
        for (name, command) in [("check", check.args(arguments)), ("trace", &mut trace)] {
            prepare(command);
            let Said { code, text } = said(command)?;
            ensure!(code.is_some_and(|c| codes.contains(&c)), "{name} {arguments:?} ends with {code:?}: {text}");
            for word in words {
                ensure!(text.contains(word), "{name} {arguments:?} does not say {word:?}: {text}");
            }
        }
        ensure!(!self.path("started").exists(), "the command was started");
        Ok(())
    }

    /// A burst's writes are all told.
    fn sees_a_burst(&self, arguments: &[&str], prepare: impl Fn(&mut Command)) -> Result<()> {
        let events = self.path("events");
        let mut output = OsString::from("json:");
        output.push(&events);
        let mut trace = self.ringwatch(&["trace"]);
        trace.args(arguments).arg("-o").arg(output).arg("--").arg(&self.workload);
        trace.args(["burst", "--writes", &WRITES.to_string()]);
        prepare(&mut trace);
        let Said { code, text } = said(&mut trace)?;
        ensure!(code == Some(0), "{code:?}: {text}");
        let events = json_lines(&events)?;
        let told = named(&events, "io_write").len();
        ensure!(told as u64 == WRITES && events.len() == told, "{told} of {WRITES} writes: {text}");
        ensure!(text.contains(&format!("{WRITES} events, none lost")), "{text}");
        Ok(())
    }
}

// Numbers of linux/capability.h.
const SYS_RESOURCE: u32 = 24;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Runs it as `user` with these capabilities and no other, whatever the user is.
pub(crate) fn with_capabilities(command: &mut Command, user: u32, wanted: u64) {
    let prepare = move || {
        // SAFETY: system calls that are safe between fork and exec, with pointers to live values.
        unsafe {
            // Becoming root by exec gives nothing, and leaving root takes nothing.
            let bits = libc::SECBIT_NOROOT | libc::SECBIT_NOROOT_LOCKED | libc::SECBIT_KEEP_CAPS;
            cvt(libc::prctl(libc::PR_SET_SECUREBITS, bits))?;
            if user != 0 {
                cvt(libc::setgroups(0, std::ptr::null()))?;
                cvt(libc::setresgid(user, user, user))?;
                cvt(libc::setresuid(user, user, user))?;
            }
            set_capabilities(wanted)?;
            for capability in (0..u64::BITS).filter(|c| wanted & 1 << c != 0) {
                let [raise, number, zero] = [libc::PR_CAP_AMBIENT_RAISE as u32, capability, 0].map(libc::c_ulong::from);
                cvt(libc::prctl(libc::PR_CAP_AMBIENT, raise, number, zero, zero))?;
            }
        }
        Ok(())
    };
    // SAFETY: it only makes system calls.
    unsafe { command.pre_exec(prepare) };
}

fn cvt(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct __user_cap_data_struct`
#[repr(C)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn set_capabilities(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let part = |half: u32| CapabilityData { effective: half, permitted: half, inheritable: half };
    let data = [part(mask as u32), part((mask >> 32) as u32)];
    // SAFETY: a header for the calling thread, and two structures as version 3 wants them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mask(capabilities: &[u32]) -> u64 {
    capabilities.iter().fold(0, |mask, c| mask | 1 << c)
}

fn too_few(capabilities: &[u32], missing: &str) -> Result<()> {
    let place = Place::new()?;
    for user in [0, NOBODY] {
        let advice = "run as root or grant CAP_BPF and CAP_PERFMON";
        place.refuses(&[], &[1], &[missing, advice], |c| with_capabilities(c, user, mask(capabilities)))?;
    }
    Ok(())
}

/// The two capabilities that ringwatch needs.
pub(crate) fn needed() -> Result<u64> {
    // Before 5.11 maps count against a limit that only this one raises.
    let others: &[u32] = if kernel_version()? < (5, 11) { &[SYS_RESOURCE] } else { &[] };
    Ok(mask(&[BPF, PERFMON]) | mask(others))
}

fn two_suffice(user: u32) -> Result<()> {
    let capabilities = needed()?;
    Place::new()?.sees_a_burst(&[], |c| with_capabilities(c, user, capabilities))
}

pub(crate) fn kernel_version() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse().ok()).with_context(|| format!("the kernel is {release}"));
    Ok((next()?, next()?))
}

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Hides the kernel's type information from it, as on a kernel that carries none.
pub(crate) fn without_btf(command: &mut Command) {
    let prepare = || {
        let null = std::ptr::null();
        // SAFETY: system calls that are safe between fork and exec, with terminated strings.
        unsafe {
            cvt(libc::unshare(libc::CLONE_NEWNS))?;
            cvt(libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast()))?;
            let tmpfs = c"tmpfs".as_ptr();
            match cvt(libc::mount(tmpfs, c"/sys/kernel/btf".as_ptr(), tmpfs, 0, null.cast())) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }
    };
    // SAFETY: it only makes system calls.
    unsafe { command.pre_exec(prepare) };
}

fn no_btf() -> Result<()> {
    Place::new()?.refuses(&[], &[1], &[BTF, "--btf"], without_btf)
}

fn btf_from_file() -> Result<()> {
    let place = Place::new()?;
    let file = place.path("btf");
    if let Err(error) = fs::copy(BTF, &file) {
        return skip("btf_from_a_file_serves_as_well", &format!("{BTF}: {error}"));
    }
    let file = file.to_string_lossy();
    place.sees_a_burst(&["--btf", &file], without_btf)?;
    let mut check = place.ringwatch(&["check", "--btf", &file]);
    without_btf(&mut check);
    let Said { code, text } = said(&mut check)?;
    ensure!(code == Some(0) && text.contains("ringwatch can trace here"), "{code:?}: {text}");
    Ok(())
}

fn bad_btf() -> Result<()> {
    let place = Place::new()?;
    let write = |name: &str, bytes: &[u8]| fs::write(place.path(name), bytes);
    write("empty", b"")?;
    write("garbage", &[0xa5; 100_000])?;
    // A header that promises more than there is.
    write(
        "header",
        b"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\x7f\xff\xff\xff\x7f\xff\xff\xff\x7f",
    )?;
    fs::create_dir(place.path("directory"))?;
    let mut names = vec!["missing", "empty", "garbage", "header", "directory"];
    // Where the kernel has none there is nothing to cut.
    if let Ok(whole) = fs::read(BTF) {
        for (name, size) in [("half", whole.len() / 2), ("almost", whole.len() - 1)] {
            write(name, &whole[..size])?;
            names.push(name);
        }
    }
    for name in names {
        let file = place.path(name);
        let file = file.to_string_lossy();
        place.refuses(&["--btf", &file], &[1, 2], &[&file], |_| ())?;
    }
    Ok(())
}

/// A sysctl with another value, which it gets back.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(&self, value: &str) -> Result<()> {
        fs::write(self.path, value).with_context(|| format!("cannot write {value} to {}", self.path))
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = fs::write(self.path, &self.before);
    }
}

fn io_uring_disabled() -> Result<()> {
    ensure!(in_vm(), "only in a virtual machine: it stops others from using io_uring");
    let path = "/proc/sys/kernel/io_uring_disabled";
    let sysctl = match fs::read_to_string(path) {
        Ok(before) => Sysctl { path, before },
        Err(error) => return skip("io_uring_disabled_is_noted", &format!("{path}: {error}")),
    };
    for value in ["1", "2"] {
        sysctl.set(value)?;
        let text = command(ringwatch(), &["check"])?;
        ensure!(text.contains(&format!("kernel.io_uring_disabled={value}: ")), "{text}");
        Tracer::start::<&str>(&[])?.stop()?.expect_success()?;
    }
    Ok(())
}

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// False: the kernel cannot be locked down.
fn lock_down(test: &str, mode: &str) -> Result<bool> {
    ensure!(in_vm(), "only in a virtual machine: it lasts until the next boot");
    if !Path::new(LOCKDOWN).exists() {
        // A guest need not have it; where it is there already, this fails.
        let _ = Command::new("mount").args(["-t", "securityfs", "securityfs", "/sys/kernel/security"]).output();
    }
    if !Path::new(LOCKDOWN).exists() {
        skip(test, "the kernel has no lockdown")?;
        return Ok(false);
    }
    let active = || fs::read_to_string(LOCKDOWN).map(|modes| modes.contains(&format!("[{mode}]")));
    if !active()? {
        fs::write(LOCKDOWN, mode).with_context(|| format!("cannot write {mode} to {LOCKDOWN}"))?;
    }
    ensure!(active()?, "the kernel is not in mode {mode}");
    Ok(true)
}

fn lockdown_integrity() -> Result<()> {
    if !lock_down("lockdown_1_integrity", "integrity")? {
        return Ok(());
    }
    let place = Place::new()?;
    let Said { code, text } = said(&mut place.ringwatch(&["check"]))?;
    match code {
        Some(0) => place.sees_a_burst(&[], |_| ()),
        Some(1) => place.refuses(&[], &[1], &["lockdown", "integrity"], |_| ()),
        _ => bail!("{code:?}: {text}"),
    }
}

fn lockdown_confidentiality() -> Result<()> {
    if !lock_down("lockdown_2_confidentiality", "confidentiality")? {
        return Ok(());
    }
    let words = ["lockdown is in mode confidentiality", "lockdown=integrity"];
    Place::new()?.refuses(&[], &[1], &words, |_| ())
}
