//! The inventory's programs: iterators of the kernel, each read to its end. Nothing is attached to what runs.

use std::io::Read as _;
use std::mem::MaybeUninit;
use std::path::Path;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Struct;
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Iter, OpenObject, ProgramMut};

use super::driver::log;
use super::facts::KERNEL_BTF;
use super::skel::rings::{OpenRingsSkel, RingsSkel, RingsSkelBuilder};

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no type information, which iterators need.
    #[error("this kernel carries no type information ({KERNEL_BTF})")]
    Btf,
    /// The kernel has no iterator over open files.
    #[error("this kernel has no BPF iterator over open files (Linux 5.8 and later have it)")]
    Iterator,
    /// Another step.
    #[error("cannot {step}: {cause}{log}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// The error.
        cause: libbpf_rs::Error,
        /// What libbpf and the verifier said.
        log: String,
    },
}

fn step(step: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    move |cause| Error::Step { step, cause, log: log::take().text }
}

/// What the kernel can be asked, besides open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// What threads registered.
    pub tasks: bool,
    /// Mapped memory.
    pub mappings: bool,
}

impl Offers {
    fn look() -> Result<Self, Error> {
        let btf = Btf::from_path(Path::new(KERNEL_BTF)).map_err(|_| Error::Btf)?;
        // What an iterator hands to its program.
        let has = |name: &str| btf.type_by_name::<Struct<'_>>(name).is_some();
        if !has("bpf_iter__task_file") {
            return Err(Error::Iterator);
        }
        Ok(Self { tasks: has("bpf_iter__task"), mappings: has("bpf_iter__task_vma") })
    }

    fn without_others(self) -> Option<Self> {
        (self.tasks || self.mappings).then_some(Self { tasks: false, mappings: false })
    }
}

/// Memory for the loaded object, each try in its own.
#[derive(Debug)]
pub struct Storage([MaybeUninit<OpenObject>; 2]);

impl Default for Storage {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; 2])
    }
}

/// The loaded programs.
pub struct Iterators<'obj> {
    skel: RingsSkel<'obj>,
    offers: Offers,
}

impl std::fmt::Debug for Iterators<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iterators").field("offers", &self.offers).finish_non_exhaustive()
    }
}

impl<'obj> Iterators<'obj> {
    /// Loads them. Where the kernel refuses the others, that over open files is loaded alone.
    ///
    /// # Errors
    /// Nothing is left loaded.
    pub fn load(storage: &'obj mut Storage) -> Result<Self, Error> {
        log::listen(false);
        let offers = Offers::look()?;
        let [first, second] = &mut storage.0;
        match (Self::load_some(first, offers), offers.without_others()) {
            (Err(_), Some(less)) => Self::load_some(second, less),
            (outcome, _) => outcome,
        }
    }

    fn load_some(storage: &'obj mut MaybeUninit<OpenObject>, offers: Offers) -> Result<Self, Error> {
        drop(log::take());
        let mut open: OpenRingsSkel<'obj> =
            RingsSkelBuilder::default().open(storage).map_err(step("open the BPF object"))?;
        open.progs.registered.set_autoload(offers.tasks);
        open.progs.mappings.set_autoload(offers.mappings);
        let skel = open.load().map_err(step("load the BPF iterators"))?;
        Ok(Self { skel, offers })
    }

    /// What was loaded.
    #[must_use]
    pub fn offers(&self) -> Offers {
        self.offers
    }

    /// The records of all rings, one behind another.
    ///
    /// # Errors
    /// The kernel refused to run an iterator.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let mut records = vec![];
        run(&self.skel.progs.files, &mut records)?;
        if self.offers.tasks {
            run(&self.skel.progs.registered, &mut records)?;
        }
        if self.offers.mappings {
            run(&self.skel.progs.mappings, &mut records)?;
        }
        Ok(records)
    }
}

fn run(program: &ProgramMut<'_>, records: &mut Vec<u8>) -> Result<(), Error> {
    let link = program.attach().map_err(step("attach a BPF iterator"))?;
    let mut iter = Iter::new(&link).map_err(step("start a BPF iterator"))?;
    let mut buffer = [0; 1 << 14];
    loop {
        match iter.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => records.extend_from_slice(&buffer[..n]),
            // The kernel lets others run after a million files without a ring.
            Err(e) if matches!(e.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock) => {}
            Err(e) => return Err(step("read a BPF iterator")(e.into())),
        }
    }
}
