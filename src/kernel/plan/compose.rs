//! One plan from what the kernel offers and what is wanted of it, and from a plan the next where a program is refused.

use super::super::facts::{BtfFacts, Facts};
use super::super::probe::{Choice, Probe, Twin};
use super::{Files, Found, Look, Object, Plan, PlanKind, Refusal, Unable, Wanted};
use crate::opcode;

impl Wanted {
    /// Whether anything of it needs this probe.
    fn needs(&self, probe: Probe) -> bool {
        match probe {
            Probe::IoUringCreate | Probe::IoUringSetup => self.created || self.requests(),
            Probe::IoWrite | Probe::IoWriteReturn | Probe::KiocbDone => self.writes,
            Probe::IoUringPollArm => self.life,
            Probe::IoUringSubmitReq
            | Probe::IoUringSubmitSqe
            | Probe::IoUringReqFailed
            | Probe::IoUringQueueAsyncWork
            | Probe::IoUringComplete
            | Probe::IoUringCqeOverflow
            | Probe::IoUringFailLink
            | Probe::IoCompleteRw
            | Probe::IoCompleteRwIopoll
            | Probe::IoReqCompletePost
            | Probe::IoSubmitSqe
            | Probe::IoCqringFillEvent
            | Probe::IoCqringAddEvent => self.requests(),
            Probe::VfsWrite | Probe::VfsWriteReturn => self.files.write,
            Probe::VfsWritev | Probe::VfsWritevReturn => self.files.writev,
            Probe::SecurityFileOpen | Probe::SecurityFileOpenReturn => self.files.open,
            Probe::FileModified | Probe::KiocbModified | Probe::FileUpdateTime | Probe::SecurityFileFree => {
                self.files.modified
            }
            Probe::SecurityPathRename => self.has(opcode::RENAMEAT),
            Probe::SecurityPathUnlink | Probe::SecurityPathRmdir => self.has(opcode::UNLINKAT),
            Probe::SecurityPathMkdir => self.has(opcode::MKDIRAT),
            Probe::SecurityPathSymlink => self.has(opcode::SYMLINKAT),
            Probe::SecurityPathLink => self.has(opcode::LINKAT),
            Probe::MntWantWrite | Probe::VfsSetxattr => self.has(opcode::SETXATTR),
            Probe::SchedProcessFork | Probe::SchedProcessExit => self.tree,
        }
    }

    fn has(&self, opcode: u8) -> bool {
        self.opcodes[usize::from(opcode / 64)] & 1 << (opcode % 64) != 0
    }

    /// As much of it as remains. `None`: it is not said what to leave out.
    fn without(self, unable: &Unable) -> Option<Self> {
        match unable {
            Unable::Requests => {
                Some(Self { opcodes: [0; 4], wide: false, life: false, ..self }).filter(|less| *less != self)
            }
            Unable::Files => Some(Self { files: Files::default(), ..self }),
            Unable::Absent(_) => None,
        }
    }
}

/// What keeps ringwatch from any work on this kernel.
fn usable(facts: &Facts) -> Result<&BtfFacts, Refusal> {
    if let Some(missing) = facts.capabilities.and_then(super::super::facts::Capabilities::missing) {
        return Err(Refusal::NotPermitted(missing));
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        return Err(Refusal::Lockdown);
    }
    let refused = match (facts.globals, facts.loops) {
        (Some(false), Some(false)) => Some("global data (5.2) and no loops (5.3)"),
        (Some(false), _) => Some("global data (5.2)"),
        (_, Some(false)) => Some("loops (5.3)"),
        _ => None,
    };
    if let Some(what) = refused {
        return Err(Refusal::Verifier { release: facts.release.clone(), what });
    }
    let Some(btf) = &facts.btf else { return Err(Refusal::NoBtf(facts.release.clone())) };
    if btf.io_uring { Ok(btf) } else { Err(Refusal::NoIoUring(facts.release.clone())) }
}

impl Plan {
    /// The probes that tell of what is wanted, and no others.
    ///
    /// # Errors
    /// Tells why nothing can be loaded, or what of it cannot be told, and what to do about it.
    pub fn new(facts: &Facts, wanted: &Wanted, forced: Option<PlanKind>) -> Result<Self, Refusal> {
        let look = Look { facts, btf: usable(facts)? };
        let release = facts.release.clone();
        let (mut refused, mut unable) = (vec![], None);
        for kind in forced.map_or_else(|| PlanKind::PREFERENCE.to_vec(), |kind| vec![kind]) {
            match look.plan(kind).map(|plan| plan.telling(wanted, facts)) {
                Ok(Ok(plan)) => return Ok(plan),
                Ok(Err(why)) => unable = unable.or(Some((kind, why))),
                Err(why) => refused.push((kind, why)),
            }
        }
        Err(match (unable, forced, refused.pop()) {
            (Some((kind, why)), ..) => Refusal::Events { release, kind, why },
            (None, Some(_), Some((kind, why))) => Refusal::Plan { release, kind, why },
            (None, _, last) => {
                refused.extend(last);
                let each: Vec<_> = refused.into_iter().map(|(kind, why)| format!("{kind}: {why}")).collect();
                Refusal::Unsupported { release, why: each.join("; ") }
            }
        })
    }

    /// The plan that tells of as much of `all` as this kernel can, that much, and what is left out.
    ///
    /// # Errors
    /// Tells why nothing can be loaded.
    pub fn most(facts: &Facts, all: Wanted, forced: Option<PlanKind>) -> Result<(Self, Wanted, Vec<Unable>), Refusal> {
        let (mut wanted, mut left_out) = (all, vec![]);
        loop {
            match Self::new(facts, &wanted, forced) {
                Err(Refusal::Events { release, kind, why }) => match wanted.without(&why) {
                    Some(less) => {
                        wanted = less;
                        left_out.push(why);
                    }
                    None => return Err(Refusal::Events { release, kind, why }),
                },
                other => return other.map(|plan| (plan, wanted, left_out)),
            }
        }
    }

    /// Of a plan for all requests, what is wanted, and beside it the probes of files, of names and of the process tree.
    fn telling(mut self, wanted: &Wanted, facts: &Facts) -> Result<Self, Unable> {
        if self.object == Object::Early && (wanted.others() || wanted.wide) {
            return Err(Unable::Requests);
        }
        let files = self.of_files(wanted.files, facts)?;
        let names = self.of_names(facts);
        self.probes.extend(files.probes.into_iter().chain(names.probes));
        self.missing.extend(files.missing.into_iter().chain(names.missing));
        self.probes.retain(|choice| wanted.needs(choice.probe));
        self.missing.retain(|(probe, _)| wanted.needs(*probe));
        if !self.tells_anything() {
            let why: Vec<_> = self.missing.iter().map(|(probe, _)| probe.place()).collect();
            return Err(Unable::Absent(format!(": no {}", why.join(", no "))));
        }
        if wanted.tree {
            let tree =
                [Probe::SchedProcessFork, Probe::SchedProcessExit].map(|probe| Choice { probe, twin: Twin::Raw });
            self.probes.splice(0..0, tree);
        }
        Ok(self)
    }

    /// The probes that watch files outside of io_uring.
    fn of_files(&self, files: Files, facts: &Facts) -> Result<Found, Unable> {
        let mut found = Found::default();
        if files == Files::default() {
            return Ok(found);
        }
        let twin = match self.kind {
            PlanKind::Fentry => Twin::Fentry,
            PlanKind::Tracepoint | PlanKind::Kprobe | PlanKind::KprobeLegacy if self.kprobes => Twin::Kprobe,
            PlanKind::Tracepoint | PlanKind::Kprobe | PlanKind::KprobeLegacy => return Err(Unable::Files),
        };
        let there = |probe: Probe| facts.has_function(probe.name());
        for probe in [Probe::VfsWriteReturn, Probe::VfsWritevReturn, Probe::SecurityFileOpenReturn] {
            found.add(probe, twin, there(probe));
        }
        found.add(Probe::SecurityFileFree, twin, there(Probe::SecurityFileFree));
        // Newer kernels have more of them; one suffices to tell.
        let changes = [Probe::FileModified, Probe::KiocbModified, Probe::FileUpdateTime];
        let none = !changes.into_iter().any(there);
        for probe in changes.into_iter().filter(|&probe| there(probe) || none && probe == Probe::FileUpdateTime) {
            found.add(probe, twin, there(probe));
        }
        Ok(found)
    }

    /// The probes that tell which files the names of operations led to, where the plan has programs for functions.
    fn of_names(&self, facts: &Facts) -> Found {
        let mut found = Found::default();
        let twin = match self.kind {
            PlanKind::Fentry => Twin::Fentry,
            PlanKind::Kprobe => Twin::Kprobe,
            PlanKind::Tracepoint | PlanKind::KprobeLegacy => return found,
        };
        for probe in Probe::NAMES {
            found.add(probe, twin, facts.has_function(probe.name()));
        }
        found
    }

    /// Whether any of its probes makes events, and is not there for another one.
    fn tells_anything(&self) -> bool {
        let helps =
            |probe| matches!(probe, Probe::SecurityFileFree | Probe::SchedProcessFork | Probe::SchedProcessExit);
        self.probes.iter().any(|choice| !helps(choice.probe) && !choice.probe.is_of_names())
    }

    /// The same plan without typed reads.
    #[must_use]
    pub fn raw(&self, why: &str) -> Self {
        let mut plan = self.clone();
        if plan.object == Object::Typed {
            plan.object = Object::Raw;
        }
        plan.probes.retain(|c| c.twin != Twin::Again);
        for choice in plan.probes.iter_mut().filter(|c| c.twin == Twin::Typed) {
            choice.twin = Twin::Raw;
        }
        plan.why = format!("{}; reads by helper: {why}", plan.why);
        plan
    }

    /// What to do where the kernel refuses the program of `choice`. `None`: nothing is left.
    #[must_use]
    pub fn without(&self, choice: Choice) -> Option<Self> {
        let place = choice.probe.place();
        let by = choice.twin.name();
        let mut plan = self.clone();
        if matches!(choice.twin, Twin::Again | Twin::Raw55) {
            plan.probes.retain(|c| *c != choice);
            return Some(plan);
        }
        if choice.twin == Twin::Typed {
            return Some(self.raw(&format!("the kernel refused the typed program of {place}")));
        }
        plan.why = format!("{}; the kernel refused {place} by {by}", self.why);
        let early = self.object == Object::Early;
        let movable = |probe: Probe| early || probe.is_of_files() || probe.is_of_names();
        if choice.twin == Twin::Fentry && self.kprobes && movable(choice.probe) {
            // One trampoline that is refused says that others will be. Where the end of a write is told by a tracepoint,
            // a trampoline of io_write may still do.
            plan.by_kprobes(movable);
            return Some(plan);
        }
        choice.probe.without()?;
        // There the end of a write is told nowhere else.
        if self.kind == PlanKind::KprobeLegacy && choice.probe == Probe::IoCompleteRw {
            return None;
        }
        if early && self.flags.submit_unseen && choice.probe == Probe::IoWrite {
            return None;
        }
        // An entry and its return are of use together only.
        let entry = |probe: Probe| probe.entry().unwrap_or(probe);
        plan.probes.retain(|c| c.twin != choice.twin || entry(c.probe) != entry(choice.probe));
        if matches!(choice.probe, Probe::IoWrite | Probe::IoWriteReturn) && !early {
            plan.kind = PlanKind::Tracepoint;
        }
        plan.tells_anything().then_some(plan)
    }

    /// Kprobes in the place of fentry, with the entries that their returns need.
    fn by_kprobes(&mut self, which: impl Fn(Probe) -> bool) {
        let mut found = Found::default();
        for choice in std::mem::take(&mut self.probes) {
            if choice.twin == Twin::Fentry && which(choice.probe) {
                found.add(choice.probe, Twin::Kprobe, true);
            } else {
                found.probes.push(choice);
            }
        }
        self.probes = found.probes;
        if !self.probes.iter().any(|choice| choice.twin == Twin::Fentry) {
            self.kind = PlanKind::Kprobe;
        }
    }

    /// Whether any program reads through typed pointers.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.probes.iter().any(|c| c.twin == Twin::Typed)
    }

    /// Whether the kernel may preempt the programs, and skip them for other tasks meanwhile.
    #[must_use]
    pub fn can_be_skipped(&self) -> bool {
        self.flags.preemptible && !self.is_typed()
    }

    /// Whether the completion itself shows that its CQE found no room.
    #[must_use]
    pub fn tells_overflow_itself(&self) -> bool {
        self.flags.complete_first || self.kind == PlanKind::KprobeLegacy
    }
}
