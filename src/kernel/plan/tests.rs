//! One fact at a time is taken from a host that can do everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::super::facts::Capabilities;
use super::*;
use crate::event::Kind;
use crate::manual;
use crate::selection::{Selection, Term};

/// A host that can do everything; each test takes one thing away.
fn capable() -> Facts {
    let tracepoints = [
        ("io_uring_submit_req", &["io_kiocb*"][..]),
        ("io_uring_req_failed", &["io_uring_sqe*", "io_kiocb*", "int"]),
        ("io_uring_queue_async_work", &["io_kiocb*", "int"]),
        ("io_uring_poll_arm", &["io_kiocb*", "int", "int"]),
        ("io_uring_complete", &["io_ring_ctx*", "void*", "io_uring_cqe*"]),
        ("io_uring_cqe_overflow", &["void*", "long long unsigned int", "s32", "u32", "void*"]),
        ("io_uring_fail_link", &["io_kiocb*", "io_kiocb*"]),
        ("io_uring_create", &["int", "void*", "u32", "u32", "u32"]),
    ];
    Facts {
        release: "6.18.0".to_owned(),
        machine: "x86_64".to_owned(),
        root: true,
        capabilities: Some(Capabilities { sys_admin: true, ..Capabilities::default() }),
        io_uring_disabled: Some(0),
        lockdown: Some("none".to_owned()),
        kprobes: Some(true),
        fentry: Some(true),
        loops: None,
        globals: None,
        symbols: Some(["io_write"].into_iter().chain(Probe::NAMES.map(Probe::name)).map(ToOwned::to_owned).collect()),
        btf: Some(BtfFacts {
            tracepoints: tracepoints
                .map(|(name, arguments)| (name.to_owned(), arguments.iter().map(ToString::to_string).collect()))
                .into(),
            request_flags: [("REQ_F_FIXED_FILE", 0), ("REQ_F_CQE_SKIP", 6)].map(|(n, b)| (n.to_owned(), b)).into(),
            functions: vec!["bpf_rdonly_cast".to_owned()],
            helpers: ["BPF_FUNC_loop", "BPF_FUNC_for_each_map_elem", "BPF_FUNC_ringbuf_output"]
                .map(ToOwned::to_owned)
                .into(),
            io_uring: true,
            from_kernel: true,
            ..BtfFacts::default()
        }),
    }
}

fn without(change: impl FnOnce(&mut Facts)) -> Result<Plan, Refusal> {
    let mut facts = capable();
    change(&mut facts);
    requests(&facts, None)
}

/// A plan for all that can be told of requests.
fn requests(facts: &Facts, forced: Option<PlanKind>) -> Result<Plan, Refusal> {
    let all = Wanted { opcodes: [u64::MAX; 4], wide: true, life: true, created: true, ..Wanted::default() };
    Plan::most(facts, all, forced).map(|(plan, ..)| plan)
}

fn btf(change: impl FnOnce(&mut BtfFacts)) -> Result<Plan, Refusal> {
    without(|f| {
        if let Some(btf) = &mut f.btf {
            change(btf);
        }
    })
}

fn twin_of(plan: &Plan, probe: Probe) -> Option<Twin> {
    plan.probes.iter().find(|c| c.probe == probe).map(|c| c.twin)
}

#[test]
fn a_capable_host_gets_every_probe_typed_where_it_is_hot() {
    let plan = without(|_| {}).unwrap();
    assert_eq!((plan.kind, plan.object, plan.probes.len()), (PlanKind::Fentry, Object::Typed, 18));
    assert!(plan.missing.is_empty());
    assert_eq!(twin_of(&plan, Probe::IoUringSubmitReq), Some(Twin::Typed));
    assert_eq!(twin_of(&plan, Probe::IoUringCqeOverflow), Some(Twin::Raw));
    assert_eq!((plan.flags.fixed_file, plan.flags.cqe_skip, plan.flags.fail), (1, 64, 0));
}

#[test]
fn completion_is_attached_before_submission() {
    let plan = without(|_| {}).unwrap();
    let at = |probe| plan.probes.iter().position(|c| c.probe == probe);
    assert!(at(Probe::IoUringComplete) < at(Probe::IoUringSubmitReq));
}

#[test]
fn without_typed_reads_all_twins_are_raw() {
    let plan = btf(|b| b.functions.clear()).unwrap();
    assert!(!plan.is_typed());
}

#[test]
fn the_older_submission_tracepoint_serves_as_well() {
    let plan = btf(|b| {
        let arguments = b.tracepoints.remove("io_uring_submit_req").unwrap();
        b.tracepoints.insert("io_uring_submit_sqe".to_owned(), [arguments, vec!["bool".to_owned()]].concat());
    })
    .unwrap();
    assert_eq!(twin_of(&plan, Probe::IoUringSubmitSqe), Some(Twin::Typed));
    assert_eq!(twin_of(&plan, Probe::IoUringSubmitReq), None);
}

#[test]
fn a_missing_probe_is_named_with_what_it_costs() {
    let plan = btf(|b| drop(b.tracepoints.remove("io_uring_fail_link"))).unwrap();
    assert_eq!(plan.missing.len(), 1);
    assert_eq!(plan.missing[0].0, Probe::IoUringFailLink);
    assert!(plan.missing[0].1.contains("without a CQE"));
}

/// As 5.10 with the io_uring of 5.15.
fn early(change: impl FnOnce(&mut Facts)) -> Result<Plan, Refusal> {
    without(|f| {
        let tracepoints = [
            ("io_uring_submit_sqe", &["void*", "void*", "u8", "u64", "u32", "bool", "bool"][..]),
            ("io_uring_queue_async_work", &["void*", "int", "void*", "io_wq_work*", "unsigned int"]),
            ("io_uring_complete", &["void*", "u64", "int", "unsigned int"]),
            ("io_uring_fail_link", &["void*", "void*"]),
            ("io_uring_create", &["int", "void*", "u32", "u32", "u32"]),
        ];
        let functions = ["io_write", "kiocb_done", "io_complete_rw", "io_complete_rw_iopoll", "io_req_complete_post"];
        f.symbols = Some(functions.map(ToOwned::to_owned).into());
        if let Some(btf) = &mut f.btf {
            btf.tracepoints = tracepoints
                .map(|(name, arguments)| (name.to_owned(), arguments.iter().map(ToString::to_string).collect()))
                .into();
            btf.functions.clear();
            btf.helpers = vec!["BPF_FUNC_ringbuf_output".to_owned()];
        }
        change(f);
    })
}

#[test]
fn where_completions_name_no_request_functions_tell_it() {
    let plan = early(|_| {}).unwrap();
    assert_eq!((plan.kind, plan.object), (PlanKind::Fentry, Object::Early));
    assert_eq!(twin_of(&plan, Probe::IoReqCompletePost), Some(Twin::Fentry));
    assert_eq!(twin_of(&plan, Probe::IoWrite), None);
    assert!(plan.missing.is_empty() && !plan.flags.submit_unseen && !plan.flags.perf_buffer);
    let plan = early(|f| f.fentry = Some(false)).unwrap();
    assert_eq!(plan.kind, PlanKind::Kprobe);
    assert_eq!(twin_of(&plan, Probe::KiocbDone), Some(Twin::Kprobe));
    let refusal = early(|f| (f.fentry, f.kprobes) = (Some(false), Some(false))).unwrap_err().to_string();
    assert!(refusal.contains("io_uring_complete does not carry the request"), "{refusal}");
    assert!(refusal.contains("CONFIG_KPROBES=n"), "{refusal}");
}

#[test]
fn where_submissions_name_no_request_io_write_does() {
    let plan = early(|f| {
        let Some(btf) = &mut f.btf else { return };
        btf.tracepoints.insert("io_uring_submit_sqe".to_owned(), vec!["void*".to_owned(), "u8".to_owned()]);
        btf.helpers.clear();
    })
    .unwrap();
    assert_eq!(twin_of(&plan, Probe::IoWrite), Some(Twin::Fentry));
    assert!(plan.flags.submit_unseen && plan.flags.perf_buffer);
}

#[test]
fn the_tracepoints_of_5_18_have_a_form_of_their_own() {
    let plan = btf(|b| {
        for (name, arguments) in [
            ("io_uring_submit_sqe", &["void*", "void*", "long long unsigned int", "u8", "u32", "bool", "bool"][..]),
            ("io_uring_req_failed", &["io_uring_sqe*", "void*", "void*", "int"]),
            ("io_uring_queue_async_work", &["void*", "void*", "long long unsigned int"]),
            ("io_uring_poll_arm", &["void*", "void*", "u64", "u8", "int", "int"]),
            ("io_uring_complete", &["void*", "void*", "u64", "int", "unsigned int"]),
            ("io_uring_fail_link", &["void*", "void*", "long long unsigned int", "u8", "void*"]),
        ] {
            b.tracepoints.insert(name.to_owned(), arguments.iter().map(ToString::to_string).collect());
        }
        b.tracepoints.remove("io_uring_submit_req");
        b.tracepoints.remove("io_uring_cqe_overflow");
        b.functions.clear();
    })
    .unwrap();
    assert_eq!(plan.object, Object::Raw);
    assert_eq!(twin_of(&plan, Probe::IoUringSubmitSqe), Some(Twin::Raw518));
    assert_eq!(twin_of(&plan, Probe::IoUringComplete), Some(Twin::Raw));
    assert!(plan.missing.is_empty() && plan.tells_overflow_itself());
}

#[test]
fn without_tracepoints_functions_tell_all() {
    let legacy = |f: &mut Facts| {
        let functions = ["__io_submit_sqe", "io_complete_rw", "io_complete_rw_iopoll", "io_uring_setup"];
        f.symbols =
            Some([&functions[..], &["io_cqring_fill_event"]].concat().iter().map(ToString::to_string).collect());
        if let Some(btf) = &mut f.btf {
            *btf = BtfFacts { io_uring: true, ..BtfFacts::default() };
        }
    };
    let plan = without(legacy).unwrap();
    assert_eq!((plan.kind, plan.object, plan.probes.len()), (PlanKind::KprobeLegacy, Object::Early, 5));
    assert!(plan.missing.is_empty() && plan.flags.perf_buffer);
    let refusal = requests(&capable(), Some(PlanKind::KprobeLegacy)).unwrap_err().to_string();
    assert!(refusal.contains("leave --probes out"), "{refusal}");
}

#[test]
fn a_refused_probe_takes_no_other_down() {
    let typed = without(|_| {}).unwrap();
    let choice = |plan: &Plan, probe| *plan.probes.iter().find(|c| c.probe == probe).unwrap();
    let raw = typed.without(choice(&typed, Probe::IoUringComplete)).unwrap();
    assert_eq!((raw.kind, raw.object, raw.probes.len()), (typed.kind, Object::Raw, typed.probes.len()));
    assert_eq!(raw.without(choice(&raw, Probe::IoUringComplete)), None);
    let less = raw.without(choice(&raw, Probe::IoUringFailLink)).unwrap();
    assert_eq!(less.probes.len(), raw.probes.len() - 1);
    let tracepoint = typed.without(choice(&typed, Probe::IoWriteReturn)).unwrap();
    assert_eq!((tracepoint.kind, tracepoint.object), (PlanKind::Tracepoint, Object::Typed));
    let fentry = early(|_| {}).unwrap();
    let kprobe = fentry.without(choice(&fentry, Probe::KiocbDone)).unwrap();
    assert_eq!((kprobe.kind, kprobe.probes.len()), (PlanKind::Kprobe, fentry.probes.len()));
}

#[test]
fn each_refusal_says_what_to_do() {
    let refused = |result: Result<Plan, Refusal>| result.unwrap_err().to_string();
    assert!(refused(without(|f| f.capabilities = Some(Capabilities::default()))).contains("run as root or grant"));
    let half = Capabilities { bpf: true, ..Capabilities::default() };
    assert!(refused(without(|f| f.capabilities = Some(half))).contains("CAP_PERFMON is missing"));
    assert!(refused(without(|f| f.btf = None)).contains("CONFIG_DEBUG_INFO_BTF=y"));
    assert!(refused(without(|f| f.lockdown = Some("confidentiality".to_owned()))).contains("lockdown=integrity"));
    assert!(refused(btf(|b| b.io_uring = false)).contains("CONFIG_IO_URING"));
    assert!(refused(btf(|b| b.tracepoints.clear())).contains("there is no tracepoint io_uring_complete"));
    assert!(refused(btf(|b| b.helpers.clear())).contains("BPF_FUNC_loop"));
    // Also where there is BTF, and where its want would hide it.
    for with_btf in [true, false] {
        let verifier = |globals, loops| {
            refused(without(|f| {
                (f.globals, f.loops) = (globals, loops);
                if !with_btf {
                    f.btf = None;
                }
            }))
        };
        assert!(verifier(Some(false), Some(false)).contains("no global data (5.2) and no loops (5.3)"));
        assert!(verifier(Some(true), Some(false)).contains("no loops (5.3), which"));
    }
    assert!(without(|f| (f.globals, f.loops) = (Some(true), Some(true))).is_ok());
}

#[test]
fn what_could_not_be_looked_at_does_not_stop_the_plan() {
    assert!(
        without(|f| {
            f.capabilities = None;
            f.lockdown = None;
            f.io_uring_disabled = None;
        })
        .is_ok()
    );
}

#[test]
fn only_what_the_selection_needs_is_loaded() {
    let probes = |wanted: Wanted| {
        Plan::new(&capable(), &wanted, None).map(|plan| plan.probes.iter().map(|c| c.probe).collect::<Vec<_>>())
    };
    let nothing = Wanted { writes: false, ..Wanted::default() };
    assert_eq!(probes(Wanted { created: true, ..nothing }), Ok(vec![Probe::IoUringCreate]));
    let others = probes(Wanted { opcodes: [1, 0, 0, 0], ..nothing }).unwrap();
    assert!(others.contains(&Probe::IoUringComplete) && others.contains(&Probe::IoUringCreate));
    assert!(!others.contains(&Probe::IoWriteReturn) && !others.contains(&Probe::IoUringPollArm));
    let life = probes(Wanted { wide: true, life: true, ..Wanted::default() }).unwrap();
    assert!(life.contains(&Probe::IoUringPollArm) && life.contains(&Probe::IoWriteReturn));
}

/// What is recorded of each kernel, and of made-up ones that lack one way to watch functions or both.
fn kernels() -> BTreeMap<String, Facts> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let files = [&directory, &directory.join("types")].map(|directory| fs::read_dir(directory).unwrap());
    let mut kernels = BTreeMap::new();
    for path in files.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.extension().is_none_or(|e| e != "json") || path.ends_with("verifier.json") {
            continue;
        }
        let mut recorded: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut facts: Facts = serde_json::from_value(recorded["facts"].take()).unwrap();
        // Every kernel has these; some were recorded when no plan asked for them.
        let files = ["vfs_write", "vfs_writev", "security_file_open", "security_file_free", "file_update_time"];
        let there = files.into_iter().chain(Probe::NAMES.map(Probe::name));
        facts.symbols.get_or_insert_default().extend(there.map(ToOwned::to_owned));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for (without, fentry, kprobes) in [
            ("", facts.fentry, facts.kprobes),
            (" no fentry", Some(false), facts.kprobes),
            (" no functions", Some(false), Some(false)),
        ] {
            kernels.insert(format!("{name}{without}"), Facts { fentry, kprobes, ..facts.clone() });
        }
    }
    assert!(kernels.len() > 30, "{} kernels", kernels.len());
    kernels
}

/// Every event alone, every pair of events, every pair of sets, and all.
fn selections() -> Vec<Vec<&'static str>> {
    let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let sets: BTreeSet<_> = names.iter().flat_map(|name| manual::page(name).unwrap().sets).copied().collect();
    let mut selections = vec![vec!["*"]];
    for terms in [names, sets.into_iter().collect()] {
        for (i, &a) in terms.iter().enumerate() {
            selections.push(vec![a]);
            selections.extend(terms[..i].iter().map(|&b| vec![a, b]));
        }
    }
    selections
}

fn selected(terms: &[&str]) -> Selection {
    let terms: Vec<Term> = terms.iter().map(|t| t.parse().unwrap()).collect();
    Selection::new(&terms).unwrap()
}

/// Whether the plan has one of these, as one that can work: a return by kprobe needs the entry.
fn has(plan: &Plan, probes: &[Probe]) -> bool {
    probes.iter().any(|&probe| match (twin_of(plan, probe), probe.entry()) {
        (Some(Twin::Kprobe), Some(entry)) => twin_of(plan, entry) == Some(Twin::Kprobe),
        (twin, _) => twin.is_some(),
    })
}

/// Whether what the event needs is attached.
fn tells(plan: &Plan, kind: Kind) -> bool {
    let changes = [Probe::FileModified, Probe::KiocbModified, Probe::FileUpdateTime];
    let submissions = [Probe::IoUringSubmitReq, Probe::IoUringSubmitSqe, Probe::IoWrite, Probe::IoSubmitSqe];
    match kind {
        Kind::VfsWrite => has(plan, &[Probe::VfsWriteReturn]),
        Kind::VfsWritev => has(plan, &[Probe::VfsWritevReturn]),
        Kind::SecurityFileOpen => has(plan, &[Probe::SecurityFileOpenReturn]),
        Kind::FileModification => has(plan, &changes) && has(plan, &[Probe::SecurityFileFree]),
        Kind::IoUringCreate => has(plan, &[Probe::IoUringCreate, Probe::IoUringSetup]),
        _ => has(plan, &submissions) && has(plan, &[Probe::IoUringComplete, Probe::IoCompleteRw]),
    }
}

/// Whether this kernel can tell of the event by this plan: what the refusals are held against.
fn can_tell(facts: &Facts, plan: &Plan, kind: Kind) -> bool {
    match kind {
        Kind::VfsWrite | Kind::VfsWritev | Kind::SecurityFileOpen | Kind::FileModification => {
            plan.kind == PlanKind::Fentry || facts.kprobes != Some(false)
        }
        Kind::IoWrite | Kind::IoUringCreate => true,
        _ => plan.object != Object::Early,
    }
}

fn set(plan: &Plan) -> BTreeSet<Probe> {
    plan.probes.iter().map(|c| c.probe).collect()
}

#[test]
fn every_selection_gets_the_probes_that_it_needs_on_every_kernel() {
    let selections: Vec<_> = selections().into_iter().map(|terms| (selected(&terms), terms)).collect();
    let mut refused = BTreeSet::new();
    for (name, facts) in kernels() {
        for forced in PlanKind::PREFERENCE.map(Some).into_iter().chain([None]) {
            let Ok(base) = Plan::new(&facts, &Wanted::default(), forced) else { continue };
            let mut alone = BTreeMap::new();
            for (selection, terms) in &selections {
                let kinds: Vec<_> = Kind::ALL.iter().copied().filter(|&kind| selection.has(kind)).collect();
                let case = format!("{name}, {forced:?}: {terms:?}");
                let possible = kinds.iter().all(|&kind| can_tell(&facts, &base, kind));
                let plan = match Plan::new(&facts, &selection.wanted(false), forced) {
                    Ok(plan) => plan,
                    Err(Refusal::Events { why, .. }) if !possible => {
                        refused.insert(why.to_string());
                        continue;
                    }
                    Err(other) => panic!("{case}: {other}"),
                };
                assert!(possible, "{case}: {plan:?}");
                for &kind in &kinds {
                    assert!(tells(&plan, kind), "{case}: {kind:?}: {plan:?}");
                }
                // Nothing but what each of the events needs for itself.
                if let [kind] = kinds[..] {
                    alone.insert(kind, set(&plan));
                }
                let each: BTreeSet<_> = kinds.iter().filter_map(|kind| alone.get(kind)).flatten().copied().collect();
                if kinds.iter().all(|kind| alone.contains_key(kind)) {
                    assert_eq!(set(&plan), each, "{case}");
                }
                let tree = Plan::new(&facts, &Wanted { tree: true, ..selection.wanted(true) }, forced);
                let Ok(tree) = tree else {
                    assert!(base.object == Object::Early, "{case}");
                    continue;
                };
                assert!(has(&tree, &[Probe::SchedProcessFork]) && has(&tree, &[Probe::SchedProcessExit]), "{case}");
                assert!(set(&tree).is_superset(&set(&plan)), "{case}");
            }
        }
    }
    // Both reasons were met.
    assert_eq!(refused.len(), 2, "{refused:?}");
}

/// Refuses every program in turn, and what then takes its place, until nothing is left.
fn refuse_in_turn(plan: &Plan, see: &mut impl FnMut(&Plan, Choice, Option<&Plan>), depth: u32) {
    for &choice in &plan.probes {
        let next = plan.without(choice);
        see(plan, choice, next.as_ref());
        if let Some(next) = next.filter(|_| depth > 0) {
            refuse_in_turn(&next, see, depth - 1);
        }
    }
}

#[test]
fn what_takes_the_place_of_a_refused_program_works() {
    for (name, facts) in kernels() {
        for terms in [
            &["vfs_write"][..],
            &["file_modification", "io_write"],
            &["security_file_open", "vfs_writev"],
            &["vfs_write", "io_unlinkat"],
        ] {
            let selection = selected(terms);
            let Ok(plan) = Plan::new(&facts, &selection.wanted(false), None) else { continue };
            let kinds: Vec<_> = Kind::ALL.iter().copied().filter(|&kind| selection.has(kind)).collect();
            let mut see = |before: &Plan, choice: Choice, after: Option<&Plan>| {
                let case = format!("{name}: {terms:?} without {choice:?}: {before:?}");
                if choice.twin == Twin::Fentry && before.kprobes && choice.probe.is_of_files() {
                    let after = after.unwrap_or_else(|| panic!("{case}"));
                    for &kind in kinds.iter().filter(|&&kind| tells(before, kind)) {
                        assert!(tells(after, kind), "{case}: {after:?}");
                    }
                }
                let Some(after) = after else { return };
                if choice.twin == Twin::Fentry && before.kprobes && choice.probe.is_of_names() {
                    assert_eq!(twin_of(after, choice.probe), Some(Twin::Kprobe), "{case}: {after:?}");
                }
                assert_ne!(before, after, "{case}");
                // No half of a pair stays behind.
                for c in after.probes.iter().filter(|c| c.twin == Twin::Kprobe) {
                    let entry = c.probe.entry();
                    assert!(entry.is_none_or(|entry| twin_of(after, entry) == Some(Twin::Kprobe)), "{case}: {after:?}");
                    let early_entry = c.probe == Probe::IoWrite && after.object == Object::Early;
                    let is_entry = after.probes.iter().any(|r| r.probe.entry() == Some(c.probe));
                    let is_an_entry = Probe::ALL.iter().any(|r| r.entry() == Some(c.probe));
                    assert!(is_entry || !is_an_entry || early_entry, "{case}: {after:?}");
                }
                // The files' events do not go with io_write's.
                if !choice.probe.is_of_files() && choice.twin != Twin::Again {
                    for &kind in kinds.iter().filter(|kind| !kind.name().starts_with("io_") && tells(before, **kind)) {
                        assert!(tells(after, kind), "{case}: {after:?}");
                    }
                }
            };
            refuse_in_turn(&plan, &mut see, 2);
        }
    }
}

#[test]
fn where_the_functions_are_not_there_that_is_said() {
    let facts = capable();
    let refusal = Plan::new(&facts, &selected(&["vfs_write"]).wanted(false), None).unwrap_err().to_string();
    assert!(refusal.ends_with("nothing that tells of them: no vfs_write (return)"), "{refusal}");
    let plan = Plan::new(&facts, &selected(&["vfs_write", "io_write"]).wanted(false), None).unwrap();
    assert_eq!(plan.missing.iter().map(|(probe, _)| *probe).collect::<Vec<_>>(), [Probe::VfsWriteReturn]);
}

#[test]
fn names_are_told_by_functions_where_the_plan_has_some() {
    let wanted = |opcode: u8| {
        let mut opcodes = [0; 4];
        opcodes[usize::from(opcode / 64)] |= 1 << (opcode % 64);
        Wanted { writes: false, opcodes, ..Wanted::default() }
    };
    let mut facts = capable();
    facts.symbols = Some(
        ["io_write", "security_path_unlink", "security_path_rmdir", "mnt_want_write"].map(ToOwned::to_owned).into(),
    );
    let names = |kind, opcode| {
        let plan = Plan::new(&facts, &wanted(opcode), Some(kind)).unwrap();
        let missing: Vec<_> = plan.missing.iter().map(|(probe, _)| *probe).filter(|p| p.is_of_names()).collect();
        (plan.probes.into_iter().filter(|c| c.probe.is_of_names()).collect::<Vec<_>>(), missing)
    };
    let (probes, missing) = names(PlanKind::Kprobe, 36);
    let unlink = [Probe::SecurityPathUnlink, Probe::SecurityPathRmdir];
    assert_eq!(probes, unlink.map(|probe| Choice { probe, twin: Twin::Kprobe }));
    assert!(missing.is_empty());
    let (probes, missing) = names(PlanKind::Fentry, 42);
    assert_eq!(probes, [Choice { probe: Probe::MntWantWrite, twin: Twin::Fentry }]);
    assert_eq!(missing, [Probe::VfsSetxattr]);
    assert_eq!(names(PlanKind::Tracepoint, 36), (vec![], vec![]));
    assert_eq!(names(PlanKind::Fentry, 0), (vec![], vec![]));
}
