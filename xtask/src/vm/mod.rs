//! `cargo xtask vm`: the kernel-facing tests on distribution kernels, each in a virtual machine.

mod apt;
mod guest;
mod judge;
mod kernels;
pub(crate) mod outcome;
mod qemu;
mod report;
pub(crate) mod saved;
mod series;
mod verifier;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use nix::fcntl::{Flock, FlockArg};

use self::guest::Guest;
use self::judge::judge;
use self::kernels::{Kernel, Kernels};
use self::qemu::{Accelerator, Ended, Machine};
use self::report::{Entry, Report};
use self::series::Series;
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
    /// List what would run, and whether it has been fetched
    #[arg(long)]
    list: bool,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "TEST")]
    filter: Option<String>,
    /// Divide the tests into this many parts, and run one of them on each kernel: another one on the next kernel
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    parts: u8,
    /// Virtual machines at once [default: one for each processor, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    jobs: Option<u8>,
    /// Keep the disks: SERIES.img in target/vm
    #[arg(long)]
    keep: bool,
    /// Write what each kernel offers to tests/kernels/SERIES.json, and the verifier's figures to verifier.json there
    #[arg(long)]
    save: bool,
    /// No tests: count what a traced write costs under each plan, and write that to tests/kernels/SERIES.json
    #[arg(long, conflicts_with_all = ["save", "filter"])]
    cost: bool,
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
    let guest = Guest::build(&builder, &directory, arguments.filter.as_deref(), arguments.cost)?;
    let runner = Runner {
        arguments,
        directory: &directory,
        guest,
        kernels: Mutex::new(kernels),
        accelerator: Mutex::new(Accelerator::best()),
        judging: Mutex::new(()),
    };

    let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kernels = runner.all(series)?;
    if arguments.parts > 1 {
        eprintln!("on each kernel one of {} parts of the tests ran; without --parts all do", arguments.parts);
    }
    let report = Report { date, plans: saved::plans(), kernels };
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

/// Two runs would share files.
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
    /// One download at a time.
    kernels: Mutex<Kernels>,
    accelerator: Mutex<Accelerator>,
    /// The recorded figures of all series are one file.
    judging: Mutex<()>,
}

/// What a thread that panicked leaves is whole: nothing is changed in two steps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    /// Each series, with a virtual machine for each job.
    fn all(&self, series: Vec<Series>) -> Result<Vec<Entry>> {
        let left = Mutex::new(series.into_iter().enumerate());
        let done = Mutex::new(vec![]);
        let work = || {
            loop {
                // The lock ends with the statement.
                let next = locked(&left).next();
                let Some((number, series)) = next else { return };
                let entry = self.one(series, number);
                print!("{entry}");
                locked(&done).push(entry);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.jobs()).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|entry| entry.series);
        Ok(done)
    }

    /// An emulated VM is one thread.
    fn jobs(&self) -> usize {
        let here = || thread::available_parallelism().map_or(1, usize::from).min(4);
        self.arguments.jobs.map_or_else(here, usize::from)
    }

    fn one(&self, series: Series, number: usize) -> Entry {
        let mut entry = Entry::new(series);
        let (kernel, newest) = {
            let kernels = locked(&self.kernels);
            (kernels.get(series), kernels.newest())
        };
        match kernel {
            Ok(kernel) => {
                // One kernel that cannot be run does not hide what the others say.
                if let Err(error) = self.test(&kernel, number, &mut entry) {
                    entry.problems.push(format!("{error:#}"));
                }
            }
            Err(error) if REQUIRED.contains(&series) || Some(series) == newest => {
                entry.problems.push(format!("this kernel is required: {error:#}"));
            }
            Err(error) => entry.skipped = Some(format!("{error:#}")),
        }
        entry
    }

    fn test(&self, kernel: &Kernel, number: usize, entry: &mut Entry) -> Result<()> {
        entry.package = Some(kernel.package.clone());
        let file = |extension: &str| self.directory.join(format!("{}.{extension}", kernel.series));
        let (disk, port, log) = (file("img"), file("tests.jsonl"), file("log"));
        let machine = Machine {
            kernel: &kernel.image,
            initramfs: &self.guest.initramfs,
            disk: &disk,
            port: &port,
            log: &log,
            part: (number % usize::from(self.arguments.parts), self.arguments.parts),
            counted: self.arguments.cost,
        };
        let ended = self.boot(&machine);
        let checks = guest::checks(&disk);
        if !self.arguments.keep {
            let _ = fs::remove_file(&disk);
        }
        let (ended, accelerator) = ended?;
        entry.accelerator = Some(accelerator);
        entry.seconds = ended.took.as_secs_f64();
        if let Some((boot, release)) = &ended.started {
            entry.boot_seconds = Some(boot.as_secs_f64());
            entry.release = Some(release.clone());
        }
        if ended.started.is_none() {
            bail!("the VM did not come up{}", last_lines(&ended));
        }
        let outcomes = fs::read(&port).with_context(|| format!("cannot read {}", port.display()))?;
        let _one = locked(&self.judging);
        judge(entry, &ended, checks, &String::from_utf8_lossy(&outcomes), self.arguments)
    }

    /// A VM that dies before its start marker gets another chance: first without KVM, then as it is.
    fn boot(&self, machine: &Machine<'_>) -> Result<(Ended, Accelerator)> {
        let mut again = true;
        loop {
            self.guest.disk(machine.disk)?;
            let accelerator = *locked(&self.accelerator);
            let ended = machine.run(accelerator)?;
            match accelerator {
                _ if ended.started.is_some() => return Ok((ended, accelerator)),
                Accelerator::Kvm => {
                    eprintln!("vm: KVM does not work here: emulating");
                    *locked(&self.accelerator) = Accelerator::Tcg;
                }
                Accelerator::Tcg if again => {
                    eprintln!("vm: the VM did not come up: trying again");
                    again = false;
                }
                Accelerator::Tcg => return Ok((ended, accelerator)),
            }
        }
    }
}

/// What a VM said last.
fn last_lines(ended: &Ended) -> String {
    let from = ended.console.len().saturating_sub(LAST_LINES);
    ended.console[from..].iter().map(|line| format!("\n{line}")).collect()
}
