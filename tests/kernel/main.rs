//! Tests against the running kernel: real io_uring programs that know what they did, compared with what ringwatch
//! reports. They need root. Without it each is counted as ignored, by name; under CI=true as root, a case that the
//! kernel cannot run is a failure.
//!
//! RINGWATCH_BIN and RINGWATCH_WORKLOAD name the programs under test where they are not where cargo built them.

mod corpus;
mod endings;
mod filters;
mod losses;
mod output;
mod plans;
mod programs;
mod stepped;
mod support;

use libtest_mimic::{Arguments, Trial};

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
    for (name, test) in
        [stepped::TESTS, losses::TESTS, filters::TESTS, endings::TESTS, output::TESTS, programs::TESTS].concat()
    {
        trials.push(Trial::test(name, move || test().map_err(|e| format!("{e:#}").into())));
    }
    let trials = trials.into_iter().map(|t| t.with_ignored_flag(!root)).collect();
    libtest_mimic::run(&arguments, trials).exit();
}
