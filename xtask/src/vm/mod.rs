//! `cargo xtask vm`: the kernel-facing tests on distribution kernels, each in a virtual machine.

mod apt;
mod guest;
mod kernels;
pub(crate) mod outcome;
mod qemu;
mod report;
pub(crate) mod saved;
mod series;
mod verifier;

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use nix::fcntl::{Flock, FlockArg};

use self::guest::Guest;
use self::kernels::{Kernel, Kernels};
use self::outcome::{Console, Tests};
use self::qemu::{Accelerator, End, Ended, Machine};
use self::report::{Entry, Report};
use self::saved::{Checks, Saved};
use self::series::Series;
use self::verifier::Recorded;
use crate::dist::Static;

/// Without these and the newest, a run tells too little.
const REQUIRED: [Series; 2] = [Series(6, 1), Series(6, 12)];
const NEWEST: &str = "newest";
/// Lines of the console that explain a death.
const LAST_LINES: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Kernels, such as 6.12, or `newest` [default: all]
    #[arg(value_name = "SERIES")]
    series: Vec<String>,
    /// Tell what would run, and whether it has been fetched
    #[arg(long)]
    list: bool,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "TEST")]
    filter: Option<String>,
    /// Keep the disks: SERIES.img in target/vm
    #[arg(long)]
    keep: bool,
    /// Write what each kernel offers to tests/kernels/SERIES.json, and the verifier's figures to verifier.json there
    #[arg(long)]
    save: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let kernels = Kernels::open()?;
    let series = chosen(&kernels, &arguments.series)?;
    if arguments.list {
        list(&kernels, &series);
        return Ok(());
    }

    let builder = Static::new()?;
    let directory = builder.target().join("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let _lock = lock(&directory)?;
    let guest = Guest::build(&builder, &directory, arguments.filter.as_deref())?;
    let runner = Runner { arguments, directory: &directory, guest };
    let mut accelerator = Accelerator::best();

    let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut report = Report { date, plans: saved::plans(), kernels: vec![] };
    for series in series {
        let mut entry = Entry::new(series);
        match kernels.get(series) {
            Ok(kernel) => {
                // One kernel that cannot be run does not hide what the others say.
                if let Err(error) = runner.test(&kernel, &mut accelerator, &mut entry) {
                    entry.problems.push(format!("{error:#}"));
                }
            }
            Err(error) if REQUIRED.contains(&series) || Some(series) == kernels.newest() => {
                entry.problems.push(format!("this kernel is required: {error:#}"));
            }
            Err(error) => entry.skipped = Some(format!("{error:#}")),
        }
        print!("{entry}");
        report.kernels.push(entry);
    }

    print!("\n{report}");
    let json = directory.join("report.json");
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    eprintln!("consoles and all messages: {}", directory.display());
    match report.failed() {
        0 => Ok(()),
        n => bail!("{n} failed"),
    }
}

/// Two VMs at once take twice the time each, and would share files.
fn lock(directory: &Path) -> Result<Flock<File>> {
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| anyhow!("another `cargo xtask vm` is at work ({error})"))
}

fn chosen(kernels: &Kernels, names: &[String]) -> Result<Vec<Series>> {
    let newest = || kernels.newest().context("no kernel is known: the mirror could not be asked, and none is here");
    if names.is_empty() {
        newest()?;
        return Ok(kernels.series());
    }
    let mut series = vec![];
    for name in names {
        let one = if name == NEWEST { newest()? } else { name.parse()? };
        if !series.contains(&one) {
            series.push(one);
        }
    }
    Ok(series)
}

fn list(kernels: &Kernels, series: &[Series]) {
    for &series in series {
        match kernels.look(series) {
            Some((package, here)) => {
                let state = if here { "fetched" } else { "not fetched" };
                println!("{:<6} {} {} ({state})", series.to_string(), package.name, package.version);
            }
            None => println!("{:<6} not to be had", series.to_string()),
        }
    }
}

struct Runner<'a> {
    arguments: &'a Arguments,
    directory: &'a Path,
    guest: Guest,
}

impl Runner<'_> {
    fn test(&self, kernel: &Kernel, accelerator: &mut Accelerator, entry: &mut Entry) -> Result<()> {
        entry.package = Some(kernel.package.clone());
        let file = |extension: &str| self.directory.join(format!("{}.{extension}", kernel.series));
        let (disk, port, log) = (file("img"), file("tests.jsonl"), file("log"));
        let machine =
            Machine { kernel: &kernel.image, initramfs: &self.guest.initramfs, disk: &disk, port: &port, log: &log };
        let ended = self.boot(&machine, accelerator);
        let checks = guest::checks(&disk);
        if !self.arguments.keep {
            let _ = fs::remove_file(&disk);
        }
        let ended = ended?;
        entry.accelerator = Some(*accelerator);
        entry.seconds = ended.took.as_secs_f64();
        if let Some((boot, release)) = &ended.started {
            entry.boot_seconds = Some(boot.as_secs_f64());
            entry.release = Some(release.clone());
        }
        if ended.started.is_none() {
            bail!("the VM did not come up{}", last_lines(&ended));
        }
        let outcomes = fs::read(&port).with_context(|| format!("cannot read {}", port.display()))?;
        judge(entry, &ended, checks, &String::from_utf8_lossy(&outcomes), self.arguments)
    }

    /// A VM that dies before its start marker gets another chance: first without KVM, then as it is.
    fn boot(&self, machine: &Machine<'_>, accelerator: &mut Accelerator) -> Result<Ended> {
        let mut again = true;
        loop {
            self.guest.disk(machine.disk)?;
            let ended = machine.run(*accelerator)?;
            match accelerator {
                _ if ended.started.is_some() => return Ok(ended),
                Accelerator::Kvm => {
                    eprintln!("vm: KVM does not work here: emulating");
                    *accelerator = Accelerator::Tcg;
                }
                Accelerator::Tcg if again => {
                    eprintln!("vm: the VM did not come up: trying again");
                    again = false;
                }
                Accelerator::Tcg => return Ok(ended),
            }
        }
    }
}

/// What a VM that came up means.
fn judge(
    entry: &mut Entry,
    ended: &Ended,
    checks: Result<Checks>,
    outcomes: &str,
    arguments: &Arguments,
) -> Result<()> {
    let console = Console::parse(&ended.console);
    let plans = saved::plans();
    entry.tests = Tests::parse(outcomes, &plans);
    entry.tests.skip(&console.skipped, &plans);
    entry.load_seconds = console.load;
    entry.skipped_cases = console.skipped;
    entry.left_out = console.left_out;
    entry.notes = console.notes;

    if let Ok(checks) = &checks {
        let refused = compare(entry, checks, arguments)?;
        if let Some(problem) = &checks.free.problem {
            let problem = format!("ringwatch check: {problem}");
            if refused {
                entry.skipped = Some(problem);
            } else {
                entry.problems.push(problem);
            }
            return Ok(());
        }
    }
    let unfinished = entry.tests.unfinished.as_ref().map(|test| format!(" during {test}")).unwrap_or_default();
    match &ended.end {
        End::Died => bail!("the VM died{unfinished}{}", last_lines(ended)),
        End::TimedOut => bail!("the VM did not end in time{unfinished}{}", last_lines(ended)),
        End::Status(status) if !entry.tests.complete => {
            bail!("the tests ended with status {status}{unfinished}{}", last_lines(ended));
        }
        End::Status(status) if status != "0" && entry.tests.failures.is_empty() => {
            bail!("the guest ended with status {status}{}", last_lines(ended));
        }
        End::Status(_) => {}
    }
    // Everything else went well: without its report something is wrong all the same.
    checks.map(|_| ())
}

/// Against what is recorded of this kernel, and records it anew where that is wanted. Whether this kernel is known
/// for running no plan.
fn compare(entry: &mut Entry, checks: &Checks, arguments: &Arguments) -> Result<bool> {
    entry.plan = checks.free.chosen().map(str::to_owned);
    entry.plans = checks.plans();
    if arguments.filter.is_none() && entry.tests.complete {
        for (name, plan) in &mut entry.plans {
            plan.tests = entry.tests.plans.get(name).copied();
            if plan.runs && plan.tests.is_none() {
                entry.problems.push(format!("the plan {name} runs here, but the corpus did not run under it"));
            }
        }
    }

    let before = Saved::load(entry.series)?;
    entry.problems.extend(before.iter().flat_map(|saved| saved.lost(&entry.plans)));
    let mut recorded = Recorded::load()?;
    let figures = checks.figures();
    entry.problems.extend(verifier::excess(&figures));
    match recorded.of(entry.series) {
        _ if figures.is_empty() => {}
        Some(before) => entry.changes = verifier::changes(before, &figures),
        None => {
            entry
                .notes
                .push("tests/kernels/verifier.json has no figures of this series: --save writes them".to_owned());
        }
    }
    if arguments.save {
        let saved = Saved {
            release: entry.release.clone().unwrap_or_default(),
            package: entry.package.clone(),
            chosen: entry.plan.clone(),
            problem: checks.free.problem.clone(),
            facts: checks.free.facts.clone(),
            plans: entry.plans.clone(),
        };
        saved.save(entry.series)?;
        if !figures.is_empty() {
            recorded.save(entry.series, figures)?;
        }
    }
    Ok(before.map_or(arguments.save, |saved| saved.plans.values().all(|plan| !plan.runs)))
}

fn last_lines(ended: &Ended) -> String {
    let from = ended.console.len().saturating_sub(LAST_LINES);
    ended.console[from..].iter().map(|line| format!("\n{line}")).collect()
}
