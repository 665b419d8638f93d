//! Programs that try to be told wrongly, and know what they did: a line of JSON for each write.

mod arguments;
mod names;
mod paths;
mod requests;

use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::ring::{Ring, Setup};
use crate::sys::{self, Sqe};

#[derive(Debug, Subcommand)]
pub(crate) enum Attack {
    /// Arguments that cannot be read, and hold whoever tries
    Arguments(arguments::Attack),
    /// The file system of that, on standard input
    Fuse,
    /// Names that lead elsewhere
    Names(names::Attack),
    /// Paths that were never there, or of other files
    #[command(subcommand)]
    Paths(paths::Attack),
    /// Requests whose end is another's, or unseen
    #[command(subcommand)]
    Requests(requests::Attack),
}

pub(crate) fn run(attack: &Attack) -> Result<()> {
    match attack {
        Attack::Arguments(attack) => arguments::run(attack),
        Attack::Fuse => arguments::serve(),
        Attack::Names(attack) => names::run(attack),
        Attack::Paths(attack) => paths::run(attack),
        Attack::Requests(attack) => requests::run(attack),
    }
}

/// A ring that carries out one write at a time.
#[derive(Debug)]
struct Writer(Ring);

impl Writer {
    fn new() -> Result<Self> {
        Ok(Self(Ring::new(Setup::new(8, 0)).context("io_uring_setup")?))
    }

    /// One byte to the beginning of the file.
    fn write(&mut self, file: &impl AsRawFd, user_data: u64) -> Result<()> {
        let sqe = Sqe {
            opcode: sys::OP_WRITE,
            fd: file.as_raw_fd(),
            addr: b"x".as_ptr() as u64,
            len: 1,
            user_data,
            ..Sqe::default()
        };
        self.0.push(&sqe)?;
        self.0.submit_all()?;
        let cqe = self.0.wait()?;
        ensure!(cqe.user_data == user_data && cqe.res == 1, "the write came to {}", cqe.res);
        Ok(())
    }
}
