//! Loop devices by ioctl, so that no tool has to be installed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cx::skip;
use crate::os;

const LOOP_SET_FD: libc::c_ulong = 0x4C00;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;

/// A loop device, given back when dropped.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
    device: File,
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // The kernel does it at the last close where the device is still open elsewhere.
        let _ = os::ioctl(&self.device, LOOP_CLR_FD, 0);
    }
}

/// Puts a loop device on a file that is open for reading and writing.
pub(crate) fn attach(backing: &File) -> Result<LoopDevice> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(|e| skip(format!("no loop devices: {e}")))?;
    // Somebody else may take the free device first.
    for _ in 0..100 {
        let number = os::ioctl(&control, LOOP_CTL_GET_FREE, 0).context("LOOP_CTL_GET_FREE")?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(true).open(&path)?;
        match os::ioctl(&device, LOOP_SET_FD, backing.as_raw_fd() as libc::c_ulong) {
            Ok(_) => return Ok(LoopDevice { path, device }),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => return Err(e).context("LOOP_SET_FD"),
        }
    }
    bail!("no loop device stayed free long enough")
}
