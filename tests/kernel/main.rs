//! Tests against the running kernel: real io_uring programs that know what they did, compared with what ringwatch
//! reports. They need root. Without it each is counted as ignored, by name; under CI=true as root, a case that the
//! kernel cannot run is a failure. What would spoil the machine for others runs only where RINGWATCH_VM=1 says that
//! the machine is for the tests alone.
//!
//! RINGWATCH_BIN and RINGWATCH_WORKLOAD name the programs under test where they are not where cargo built them.

mod adversary;
mod corpus;
mod depth;
mod endings;
mod files;
mod filters;
mod fuzz;
mod guest;
mod hard;
mod legacy;
mod losses;
mod memory;
mod namespaces;
mod numbers;
mod ops;
mod output;
mod part;
mod plans;
mod predicates;
mod programs;
mod rings;
mod selections;
mod stat;
mod stepped;
mod support;
mod truth;
mod verifier;

use libtest_mimic::{Arguments, Trial};

fn trial(name: &str, test: fn() -> anyhow::Result<()>) -> Trial {
    Trial::test(name, move || test().map_err(|e| format!("{e:#}").into()))
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Each test watches the whole kernel: one at a time.
    arguments.test_threads = Some(1);
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not root: the kernel-facing tests are ignored");
    }
    let mut trials = vec![];
    // Listing must not run the corpus.
    let run = root && !arguments.list;
    let forms = corpus::forms(run);
    trials.extend(corpus::trials(&forms));
    trials.extend(plans::trials(forms.as_deref().unwrap_or_default()));
    trials.extend(files::trials(forms.as_deref().unwrap_or_default()));
    trials.extend(selections::trials(forms.as_deref().unwrap_or_default()));
    trials.extend(ops::trials(forms.as_deref().unwrap_or_default()));
    trials.extend(fuzz::trials(forms.as_deref().unwrap_or_default()));
    trials.extend(adversary::names::trials(forms.as_deref().unwrap_or_default()));
    for (name, test) in [
        stepped::TESTS,
        stat::TESTS,
        losses::TESTS,
        // The guest's disk has no room for as many files.
        if hard::in_vm() { &[] } else { memory::TESTS },
        numbers::TESTS,
        legacy::TESTS,
        // They depend on no kernel, and take long where a processor is emulated.
        if hard::in_vm() { &[] } else { verifier::TESTS },
        files::TESTS,
        ops::TESTS,
        filters::TESTS,
        predicates::TESTS,
        guest::TESTS,
        endings::TESTS,
        output::TESTS,
        if hard::in_vm() { &[] } else { namespaces::TESTS },
        programs::TESTS,
        rings::TESTS,
        hard::TESTS,
        &adversary::tests(),
    ]
    .concat()
    {
        trials.push(trial(name, test));
    }
    part::retain(&mut trials);
    let mut trials: Vec<_> = trials.into_iter().map(|t| t.with_ignored_flag(!root)).collect();
    // They run in the order of the list, and these leave a kernel that cannot be traced.
    trials.extend(hard::LAST.iter().map(|&(name, test)| trial(name, test).with_ignored_flag(!root || !hard::in_vm())));
    libtest_mimic::run(&arguments, trials).exit();
}
