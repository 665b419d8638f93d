//! The table of cases; each family has its own module.

mod failure;
mod files;
mod flow;
mod many;
mod mounts;
mod ops;
mod overflow;
mod paths;
mod position;
mod process;
mod rings;
mod skip;
mod sqpoll;

use std::sync::LazyLock;

use anyhow::{Result, bail};

use crate::cx::Cx;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// What it takes beyond io_uring and a directory.
    pub(crate) needs: &'static [&'static str],
    pub(crate) run: fn(&Cx) -> Result<()>,
}

/// A case that needs nothing special.
const fn case(name: &'static str, description: &'static str, run: fn(&Cx) -> Result<()>) -> Case {
    Case { name, description, needs: &[], run }
}

impl Case {
    const fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }
}

pub(crate) static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    [
        files::CASES,
        ops::CASES,
        position::CASES,
        flow::CASES,
        skip::CASES,
        overflow::CASES,
        failure::CASES,
        rings::CASES,
        sqpoll::CASES,
        process::CASES,
        paths::CASES,
        mounts::CASES,
        many::CASES,
    ]
    .concat()
});

/// Runs `work` in a thread of its own.
fn in_thread(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(outcome) => outcome,
        Err(_) => bail!("the thread panicked"),
    })
}
