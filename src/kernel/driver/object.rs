//! The three BPF objects behind one face. Each has a skeleton, and so types, of its own.

use std::mem::MaybeUninit;
use std::path::Path;

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{MapCore as _, MapFlags, MapMut, MapType, OpenObject, OpenProgramMut, ProgramMut};

use super::super::plan::{Choice, Object, Plan, Probe, Twin};
use super::super::skel;
use super::config::{pid_namespace, random_key, some, words};
use super::sweep::Programs;
use super::{FILTER_MAX, NEST, Options, queues};
use crate::here::Here;

/// The programs of an object: by probe and form, and those that user space runs.
macro_rules! object {
    ($object:ident, $open_progs:ident, $progs:ident, { $($probe:ident $twin:ident $program:ident)* } { $($own:ident)* }) => {
        mod $object {
            use super::*;
            use skel::$object::{$open_progs, $progs};

            const CHOICES: &[Choice] = &[$(Choice { probe: Probe::$probe, twin: Twin::$twin }),*];

            fn open_program<'a, 'obj>(progs: &'a mut $open_progs<'obj>, choice: Choice) -> Option<&'a mut OpenProgramMut<'obj>> {
                Some(match (choice.probe, choice.twin) {
                    $((Probe::$probe, Twin::$twin) => &mut progs.$program,)*
                    _ => return None,
                })
            }

            pub(super) fn program<'a, 'obj>(progs: &'a $progs<'obj>, choice: Choice) -> Option<&'a ProgramMut<'obj>> {
                Some(match (choice.probe, choice.twin) {
                    $((Probe::$probe, Twin::$twin) => &progs.$program,)*
                    _ => return None,
                })
            }

            pub(super) fn named(name: &str) -> Option<Choice> {
                $(if name == stringify!($program) {
                    return Some(Choice { probe: Probe::$probe, twin: Twin::$twin });
                })*
                None
            }

            /// Loads only the programs of the plan.
            pub(super) fn select(progs: &mut $open_progs<'_>, plan: &Plan, log_level: u32) {
                for &choice in CHOICES {
                    if let Some(program) = open_program(progs, choice) {
                        program.set_autoload(plan.probes.contains(&choice));
                        program.set_log_level(log_level);
                    }
                }
                $(progs.$own.set_log_level(log_level);)*
            }

            pub(super) fn fill(
                cfg: &mut skel::$object::types::rw_config,
                plan: &Plan,
                options: &Options,
            ) -> libbpf_rs::Result<()> {
                cfg.key = random_key()?;
                cfg.name_key = random_key()?;
                cfg.part_key = random_key()?;
                cfg.mount_key = random_key()?;
                cfg.path_key = random_key()?;
                cfg.req_fixed_file = plan.flags.fixed_file;
                cfg.req_cqe_skip = plan.flags.cqe_skip;
                cfg.req_fail = plan.flags.fail;
                cfg.req_async_data = plan.flags.async_data;
                cfg.req_skip_link_cqes = plan.flags.skip_link_cqes;
                cfg.req_reissue = plan.flags.reissue;
                cfg.req_creds = plan.flags.creds;
                cfg.req_polled = plan.flags.polled;
                cfg.complete_first = plan.flags.complete_first.into();
                cfg.submit_unseen = plan.flags.submit_unseen.into();
                cfg.preemptible = plan.flags.preemptible.into();
                cfg.writes = options.wanted.writes.into();
                cfg.others = options.wanted.others().into();
                cfg.opcodes = options.wanted.opcodes;
                cfg.wide = options.wanted.wide.into();
                cfg.life = options.wanted.life.into();
                cfg.created = options.wanted.created.into();
                cfg.queue_len = queue_length(options)?;
                cfg.aggregate = options.rows.is_some().into();
                cfg.own = std::process::id();
                cfg.pid_ns = pid_namespace();
                cfg.boottime_offset = Here::get().boottime_offset_ns;
                cfg.tree = options.wanted.tree.into();
                for (asked, i) in options.pids.iter().zip(0..FILTER_MAX) {
                    (cfg.pids[i], cfg.pid_starts[i]) = (asked.id, asked.start);
                    cfg.nr_pids += 1;
                }
                cfg.nr_uids = some(&options.uids, &mut cfg.uids);
                for (name, slot) in options.comms.iter().zip(&mut cfg.comms) {
                    *slot = words(name);
                    cfg.nr_comms += 1;
                }
                Ok(())
            }
        }
    };
}

/// With the programs that watch files outside of io_uring, and the process tree: every object has them.
macro_rules! with_files {
    ($object:ident, $open_progs:ident, $progs:ident, { $($more:tt)* } $own:tt) => {
        object!($object, $open_progs, $progs, {
            $($more)*
            VfsWriteReturn Fentry vfs_write_exit
            VfsWriteReturn Kprobe vfs_write_return
            VfsWrite Kprobe vfs_write_entry
            VfsWritevReturn Fentry vfs_writev_exit
            VfsWritevReturn Kprobe vfs_writev_return
            VfsWritev Kprobe vfs_writev_entry
            SecurityFileOpenReturn Fentry file_open_exit
            SecurityFileOpenReturn Kprobe file_open_return
            SecurityFileOpen Kprobe file_open_entry
            FileModified Fentry file_modified_fentry
            FileModified Kprobe file_modified_kprobe
            KiocbModified Fentry kiocb_modified_fentry
            KiocbModified Kprobe kiocb_modified_kprobe
            FileUpdateTime Fentry file_update_time_fentry
            FileUpdateTime Kprobe file_update_time_kprobe
            SecurityFileFree Fentry file_free_fentry
            SecurityFileFree Kprobe file_free_kprobe
            SchedProcessFork Raw process_fork
            SchedProcessExit Raw process_exit
        } $own);
    };
}

/// With the programs of 5.18 and later that are the same however the tracepoints are read.
macro_rules! modern {
    ($object:ident, $open_progs:ident, $progs:ident, { $($more:tt)* }) => {
        with_files!($object, $open_progs, $progs, {
            $($more)*
            IoUringPollArm Raw poll_arm
            IoUringCqeOverflow Raw cqe_overflow
            IoUringFailLink Raw fail_link
            IoUringCreate Raw create
            IoReqCompletePost Fentry post_fentry
            IoReqCompletePost Kprobe post_kprobe
            IoWriteReturn Fentry io_write_exit
            IoWriteReturn Kprobe io_write_return
            IoWrite Fentry io_write_enter
            IoWrite Kprobe io_write_entry
            SecurityPathUnlink Fentry path_unlink_fentry
            SecurityPathUnlink Kprobe path_unlink_kprobe
            SecurityPathRmdir Fentry path_rmdir_fentry
            SecurityPathRmdir Kprobe path_rmdir_kprobe
            SecurityPathMkdir Fentry path_mkdir_fentry
            SecurityPathMkdir Kprobe path_mkdir_kprobe
            SecurityPathSymlink Fentry path_symlink_fentry
            SecurityPathSymlink Kprobe path_symlink_kprobe
            SecurityPathLink Fentry path_link_fentry
            SecurityPathLink Kprobe path_link_kprobe
            SecurityPathRename Fentry path_rename_fentry
            SecurityPathRename Kprobe path_rename_kprobe
            MntWantWrite Fentry want_write_fentry
            MntWantWrite Kprobe want_write_kprobe
            VfsSetxattr Fentry setxattr_fentry
            VfsSetxattr Kprobe setxattr_kprobe
        } { sweep sweep_slots silent in_flight });
    };
}

modern!(typed, OpenTypedProgs, TypedProgs, {
    IoUringSubmitReq Typed submit_req
    IoUringSubmitSqe Typed submit_sqe
    IoUringReqFailed Typed req_failed
    IoUringQueueAsyncWork Typed queue_async_work
    IoUringComplete Typed complete
    IoUringSubmitReq Again submit_req_again
    IoUringReqFailed Again req_failed_again
    IoUringQueueAsyncWork Again queue_async_work_again
    IoUringComplete Again complete_again
    IoUringFailLink Again fail_link_again
});

modern!(raw, OpenRawProgs, RawProgs, {
    IoUringSubmitReq Raw submit_req
    IoUringSubmitSqe Raw submit_sqe
    IoUringSubmitSqe Raw518 submit_sqe_5_18
    IoUringReqFailed Raw req_failed
    IoUringReqFailed Raw518 req_failed_5_18
    IoUringQueueAsyncWork Raw queue_async_work
    IoUringQueueAsyncWork Raw518 queue_async_work_5_18
    IoUringPollArm Raw518 poll_arm_5_18
    IoUringComplete Raw complete
    IoUringFailLink Raw518 fail_link_5_18
});

with_files!(early, OpenEarlyProgs, EarlyProgs, {
    IoUringSubmitSqe Raw submit_sqe
    IoUringSubmitSqe Raw55 submit_unnamed
    IoUringQueueAsyncWork Raw queue_async_work
    IoUringComplete Raw complete
    IoUringFailLink Raw fail_link
    IoUringCreate Raw create
    IoWrite Fentry io_write_attempt_fentry
    IoWrite Kprobe io_write_attempt_kprobe
    KiocbDone Fentry kiocb_done_fentry
    KiocbDone Kprobe kiocb_done_kprobe
    IoCompleteRw Fentry complete_rw_fentry
    IoCompleteRw Kprobe complete_rw_kprobe
    IoCompleteRwIopoll Fentry complete_rw_iopoll_fentry
    IoCompleteRwIopoll Kprobe complete_rw_iopoll_kprobe
    IoReqCompletePost Fentry completing_fentry
    IoReqCompletePost Kprobe completing_kprobe
    IoSubmitSqe Kprobe54 legacy_submit
    IoCompleteRw Kprobe54 legacy_complete_rw
    IoCompleteRwIopoll Kprobe54 legacy_complete_rw_iopoll
    IoCqringFillEvent Kprobe54 legacy_fill_event
    IoCqringAddEvent Kprobe54 legacy_add_event
    IoUringSetup Kprobe54 legacy_setup
} {});

/// An object that is open, but not loaded.
pub(super) enum Open<'obj> {
    Typed(skel::typed::OpenTypedSkel<'obj>),
    Raw(skel::raw::OpenRawSkel<'obj>),
    Early(skel::early::OpenEarlySkel<'obj>),
}

/// A loaded one.
pub(super) enum Loaded<'obj> {
    Typed(skel::typed::TypedSkel<'obj>),
    Raw(skel::raw::RawSkel<'obj>),
    Early(skel::early::EarlySkel<'obj>),
}

/// The same expression on whichever it is.
macro_rules! each {
    ($kind:ident, $of:expr, $skel:ident => $do:expr) => {
        match $of {
            $kind::Typed($skel) => $do,
            $kind::Raw($skel) => $do,
            $kind::Early($skel) => $do,
        }
    };
}

/// Which probe a program watches.
pub(super) fn choice_of(object: Object, program: &str) -> Option<Choice> {
    match object {
        Object::Typed => typed::named(program),
        Object::Raw => raw::named(program),
        Object::Early => early::named(program),
    }
}

impl<'obj> Open<'obj> {
    pub(super) fn new(
        storage: &'obj mut MaybeUninit<OpenObject>,
        object: Object,
        btf: Option<&Path>,
    ) -> libbpf_rs::Result<Self> {
        macro_rules! open {
            ($kind:ident, $builder:ty) => {{
                let mut builder = <$builder>::default();
                if let Some(btf) = btf {
                    builder.obj_builder.btf_custom_path(btf)?;
                }
                Ok(Self::$kind(builder.open(storage)?))
            }};
        }
        match object {
            Object::Typed => open!(Typed, skel::typed::TypedSkelBuilder),
            Object::Raw => open!(Raw, skel::raw::RawSkelBuilder),
            Object::Early => open!(Early, skel::early::EarlySkelBuilder),
        }
    }

    /// Chooses the programs and configures them.
    pub(super) fn prepare(&mut self, plan: &Plan, options: &Options) -> libbpf_rs::Result<()> {
        let log_level = if options.statistics { LOG_STATISTICS } else { 0 };
        match self {
            Self::Typed(open) => typed::select(&mut open.progs, plan, log_level),
            Self::Raw(open) => raw::select(&mut open.progs, plan, log_level),
            Self::Early(open) => early::select(&mut open.progs, plan, log_level),
        }
        let cpus = cpus()?;
        each!(Self, self, open => {
            open.maps.scratches.set_max_entries(cpus * NEST)?;
            open.maps.works.set_max_entries(cpus * NEST)?;
            open.maps.walks.set_max_entries(cpus * NEST)?;
            if plan.flags.perf_buffer {
                open.maps.events.set_type(MapType::PerfEventArray)?;
                open.maps.events.set_key_size(4)?;
                open.maps.events.set_value_size(4)?;
                open.maps.events.set_max_entries(cpus)?;
            } else {
                open.maps.events.set_max_entries(options.buffer_size)?;
            }
        });
        let queued = queues::elements(queue_length(options)?, cpus);
        let strings = strings_size(options.buffer_size);
        // Each request that is no write is held there: to allocate each costs more than all the rest.
        let pending_flags = if options.wanted.others() { 0 } else { libbpf_sys::BPF_F_NO_PREALLOC };
        match self {
            Self::Typed(open) => {
                open.maps.queues.set_max_entries(queued)?;
                open.maps.events.set_max_entries(strings)?;
                open.maps.pending.set_map_flags(pending_flags)?;
            }
            Self::Raw(open) => {
                open.maps.queues.set_max_entries(queued)?;
                open.maps.events.set_max_entries(strings)?;
                open.maps.pending.set_map_flags(pending_flags)?;
            }
            // Here writes go where strings go.
            Self::Early(_) => {}
        }
        if let Some(rows) = options.rows {
            each!(Self, self, open => {
                open.maps.stat_classes.set_max_entries(2 * CLASSES)?;
                open.maps.stat_files.set_max_entries(rows)?;
                open.maps.stat_tasks.set_max_entries(rows)?;
                open.maps.stat_failures.set_max_entries(FAILURES)?;
            });
        }
        let missing = || libbpf_rs::Error::from_raw_os_error(libc::ENOENT);
        match self {
            Self::Typed(open) => {
                typed::fill(&mut open.maps.rodata_data.as_mut().ok_or_else(missing)?.cfg, plan, options)
            }
            Self::Raw(open) => raw::fill(&mut open.maps.rodata_data.as_mut().ok_or_else(missing)?.cfg, plan, options),
            Self::Early(open) => {
                early::fill(&mut open.maps.rodata_data.as_mut().ok_or_else(missing)?.cfg, plan, options)
            }
        }
    }

    pub(super) fn load(self) -> libbpf_rs::Result<Loaded<'obj>> {
        Ok(match self {
            Self::Typed(open) => Loaded::Typed(open.load()?),
            Self::Raw(open) => Loaded::Raw(open.load()?),
            Self::Early(open) => Loaded::Early(open.load()?),
        })
    }
}

impl<'obj> Loaded<'obj> {
    pub(super) fn program(&self, choice: Choice) -> Option<&ProgramMut<'obj>> {
        match self {
            Self::Typed(skel) => typed::program(&skel.progs, choice),
            Self::Raw(skel) => raw::program(&skel.progs, choice),
            Self::Early(skel) => early::program(&skel.progs, choice),
        }
    }

    pub(super) fn events(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.events)
    }

    /// `None`: writes go where strings go.
    pub(super) fn queues(&self) -> Option<&MapMut<'obj>> {
        match self {
            Self::Typed(skel) => Some(&skel.maps.queues),
            Self::Raw(skel) => Some(&skel.maps.queues),
            Self::Early(_) => None,
        }
    }

    pub(super) fn tree(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.tree)
    }

    /// By ring.
    pub(super) fn creators(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.creators)
    }

    /// `None`: requests in flight are identified at their end.
    pub(super) fn pending(&self) -> Option<&MapMut<'obj>> {
        match self {
            Self::Typed(skel) => Some(&skel.maps.pending),
            Self::Raw(skel) => Some(&skel.maps.pending),
            Self::Early(_) => None,
        }
    }

    pub(super) fn counters(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.counters)
    }

    /// By executor, on each CPU.
    pub(super) fn classes(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.stat_classes)
    }

    /// Tables with rows: of files, of threads, and of failures.
    pub(super) fn tables(&self) -> [&MapMut<'obj>; 3] {
        each!(Self, self, skel => [&skel.maps.stat_files, &skel.maps.stat_tasks, &skel.maps.stat_failures])
    }

    /// What found no room in a table.
    pub(super) fn others(&self) -> &MapMut<'obj> {
        each!(Self, self, skel => &skel.maps.stat_other)
    }

    /// The programs that look after requests without a CQE, and report what is left. `None`: [`Loaded::held`] has it.
    pub(super) fn sweeping(&self) -> Option<std::io::Result<Programs>> {
        match self {
            Self::Typed(skel) => Some(Programs::new(&skel.progs.sweep, &skel.progs.sweep_slots, &skel.progs.silent)),
            Self::Raw(skel) => Some(Programs::new(&skel.progs.sweep, &skel.progs.sweep_slots, &skel.progs.silent)),
            Self::Early(_) => None,
        }
    }

    /// The program that counts them. `None`: [`Loaded::waiting`] does.
    pub(super) fn in_flight(&self) -> Option<&ProgramMut<'obj>> {
        match self {
            Self::Typed(skel) => Some(&skel.progs.in_flight),
            Self::Raw(skel) => Some(&skel.progs.in_flight),
            Self::Early(_) => None,
        }
    }

    /// Requests in flight, as their records were at submission.
    pub(super) fn held(&self) -> Option<&MapMut<'obj>> {
        match self {
            Self::Early(skel) => Some(&skel.maps.held),
            Self::Typed(_) | Self::Raw(_) => None,
        }
    }

    /// How many requests are in the hash map of those in flight.
    pub(super) fn waiting(&self) -> usize {
        macro_rules! read {
            ($skel:ident) => {
                $skel.maps.bss_data.as_ref().map_or(0, |bss| {
                    // SAFETY: the kernel side writes this mapped word at any time; an aligned 8-byte read sees one of
                    // its values.
                    unsafe { (&raw const bss.pending_count).read_volatile() }
                })
            };
        }
        let pending = match self {
            Self::Typed(skel) => read!(skel),
            Self::Raw(skel) => read!(skel),
            Self::Early(skel) => return skel.maps.held.keys().count(),
        };
        usize::try_from(pending).unwrap_or(usize::MAX)
    }

    /// Makes the kernel side send every path and task anew.
    pub(super) fn set_epoch(&self, epoch: u32) -> libbpf_rs::Result<()> {
        let map = each!(Self, self, skel => &skel.maps.data_epoch);
        map.update(&0u32.to_ne_bytes(), &epoch.to_ne_bytes(), MapFlags::ANY)
    }
}

/// Executors; `enum rw_executor`.
pub(super) const CLASSES: u32 = 5;
/// Kinds of failures that are told apart.
const FAILURES: u32 = 1024;

/// The longest string has room in it.
const STRINGS: u32 = 64 * 1024;

/// BPF_LOG_STATS: only what the verifier sums up.
const LOG_STATISTICS: u32 = 4;

/// All that there may ever be.
pub(super) fn cpus() -> libbpf_rs::Result<u32> {
    Ok(u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(u32::MAX / NEST))
}

/// Writes that each CPU's queue holds; where they are added to sums, none is used.
fn queue_length(options: &Options) -> libbpf_rs::Result<u32> {
    Ok(if options.rows.is_some() { 1 } else { queues::length(options.buffer_size, cpus()?) })
}

/// Bytes of the ring buffer where it mostly has strings.
fn strings_size(buffer_size: u32) -> u32 {
    buffer_size.max(STRINGS)
}
