//! Arguments in memory that nobody answers for: whoever reads them waits until this program ends.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use super::Writer;
use crate::os;

#[derive(Debug, Args)]
pub(crate) struct Attack {
    file: PathBuf,
    writes: u64,
    /// Some pages of it
    padding: String,
}

const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFD_API: u64 = 0xaa;
const REGISTER_MISSING: u64 = 1;
const PAGE: usize = 4096;

/// Writes, and holds whoever reads its arguments, until standard input ends.
pub(crate) fn run(attack: &Attack) -> Result<()> {
    // The main thread's stack begins in the page where the arguments do: so this thread does not wake up again.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let status = match work(attack) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("{error:#}");
                    1
                }
            };
            std::process::exit(status)
        });
    });
    Ok(())
}

fn work(attack: &Attack) -> Result<()> {
    let file = File::create(&attack.file).with_context(|| format!("create {}", attack.file.display()))?;
    let mut writer = Writer::new()?;
    let writes = attack.writes;
    let _held = hold()?;
    for i in 0..writes {
        writer.write(&file, i)?;
    }
    println!("{}", json!({ "writes": writes }));
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}

/// Takes the pages of the arguments away; those behind their end stay.
fn hold() -> Result<OwnedFd> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // The state is the third field, where the arguments begin and end the 48th and 49th.
    let number = |nth: usize| fields.get(nth - 3).and_then(|word| word.parse::<usize>().ok()).context("no arguments");
    let (first, end) = (number(48)? / PAGE * PAGE, number(49)? / PAGE * PAGE);
    ensure!(first < end, "the arguments fill no page");

    // SAFETY: the call takes no pointer.
    let fd = os::cvt(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as i32 }).context("userfaultfd")?;
    // SAFETY: it was just made, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut api = [UFFD_API, 0, 0];
    let mut register = [first as u64, (end - first) as u64, REGISTER_MISSING, 0];
    // SAFETY: both have the size that their numbers name.
    unsafe {
        os::cvt(libc::ioctl(fd.as_raw_fd(), UFFDIO_API as _, api.as_mut_ptr())).context("UFFDIO_API")?;
        os::cvt(libc::ioctl(fd.as_raw_fd(), UFFDIO_REGISTER as _, register.as_mut_ptr())).context("UFFDIO_REGISTER")?;
    }
    // SAFETY: these pages hold arguments, which were read before, and the stack of a thread that does not run again.
    os::cvt(unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_DONTNEED) }).context("MADV_DONTNEED")?;
    Ok(fd)
}
