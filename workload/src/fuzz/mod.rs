//! Programs made by chance that know what each of their requests did, for whoever claims to know it as well.

mod build;
mod files;
mod log;
mod make;
mod play;
mod program;
mod settle;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;

use self::files::Files;
use self::log::{Entry, Log};
use self::play::Player;
use self::program::{End, Namespace, Program};
use self::settle::{Told, settle};
use crate::cx::{Cx, open_truth};
use crate::os;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the programs begin: the same programs for the same number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// For how long programs are begun
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// So many programs, however long they take
    #[arg(long, conflicts_with = "seconds")]
    programs: Option<u64>,
    /// Run the programs of this file, one in JSON each line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "programs", "seed"])]
    program: Option<PathBuf>,
    /// File to append the truth to, one program in JSON each line
    #[arg(long, value_name = "FILE", default_value = "/dev/stdout")]
    truth: PathBuf,
    /// Directory on a real file system; each program gets a new one below it
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// Directory on a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
    /// Print the programs instead of running them
    #[arg(long)]
    print: bool,
}

/// Until a process that was killed has given back its rings; far above what that takes under emulation.
const PATIENCE_MS: i32 = 20_000;

pub(crate) fn run(options: &Options) -> Result<()> {
    let places = Places::new(options)?;
    let start = Instant::now();
    let in_time = |number: u64| match options.programs {
        Some(programs) => number < programs,
        None => start.elapsed() < Duration::from_secs_f64(options.seconds),
    };
    let mut from_file = match &options.program {
        Some(path) => Some(programs(path)?.into_iter()),
        None => None,
    };
    for number in 0.. {
        let program = match &mut from_file {
            Some(list) => list.next(),
            None => in_time(number).then(|| make::program(options.seed.wrapping_add(number))),
        };
        let Some(program) = program else { break };
        if options.print {
            println!("{}", serde_json::to_string(&program)?);
        } else {
            supervise(number, &program, &places)?;
        }
    }
    Ok(())
}

fn programs(path: &Path) -> Result<Vec<Program>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("no program: {line}"));
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

struct Places {
    dir: PathBuf,
    tmpfs: PathBuf,
    truth: PathBuf,
}

impl Places {
    /// Of this run only, because others use these directories as well.
    fn new(options: &Options) -> Result<Self> {
        let own = |dir: &Path| dir.join(format!("ringwatch-fuzz-{}", std::process::id()));
        Ok(Self { dir: own(&options.dir), tmpfs: own(&options.tmpfs), truth: options.truth.clone() })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // What stays behind harms nobody.
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_dir_all(&self.tmpfs);
    }
}

/// A process that runs the program in another one, and survives it.
fn supervise(number: u64, program: &Program, places: &Places) -> Result<()> {
    // SAFETY: this process has one thread.
    let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
    if pid > 0 {
        return os::wait_success(pid);
    }
    // It must not go on as its parent.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    let outcome = watch(number, program, places).and_then(|told| {
        let mut line = serde_json::to_vec(&told)?;
        line.push(b'\n');
        Ok(open_truth(&places.truth)?.write_all(&line)?)
    });
    if let Err(error) = &outcome {
        eprintln!("program {number} of seed {}: {error:#}", program.seed);
    }
    // SAFETY: ends the process without running what belongs to its parent.
    unsafe { libc::_exit(i32::from(outcome.is_err())) }
}

fn watch<'p>(number: u64, program: &'p Program, places: &Places) -> Result<Told<'p>> {
    let own = |dir: &Path| dir.join(number.to_string());
    let (dir, tmpfs) = (own(&places.dir), own(&places.tmpfs));
    let cx = Cx::new("fuzz", number, &dir, &tmpfs, &places.truth)?;
    let mut files = Files::new(&cx)?;
    let log = Log::new()?;
    // SAFETY: this process has one thread.
    let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
    if pid == 0 {
        play(&cx, &files, log, program);
    }
    os::wait(pid)?;
    let gone = files.gone(PATIENCE_MS)?;
    let told = settle(number, program, log.entries(), &files, gone)?;
    // What stays behind harms nobody.
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::remove_dir_all(&tmpfs);
    Ok(told)
}

fn play(cx: &Cx, files: &Files, log: Log, program: &Program) -> ! {
    let fail = |error: anyhow::Error| -> ! {
        let _ = log.add(&Entry::Error(format!("{error:#}")));
        os::exit_now()
    };
    // A program that its supervisor left behind ends as well.
    // SAFETY: no pointer is passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    match enter(program, &log) {
        Ok(false) => os::exit_now(),
        Ok(true) => {}
        Err(error) => fail(error),
    }
    match Player::new(cx, files, log).run(program) {
        Ok(never) => match never {},
        Err(error) => fail(error),
    }
}

/// Enters the program's namespaces. False: in a process that only waited for the one that is in them.
fn enter(program: &Program, log: &Log) -> Result<bool> {
    let flags = program.namespaces.iter().fold(0, |bits, namespace| {
        bits | match namespace {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Pid => libc::CLONE_NEWPID,
        }
    });
    if flags == 0 {
        return Ok(true);
    }
    if let Err(error) = os::unshare(flags) {
        log.add(&Entry::Skipped(format!("namespaces: {error:#}")))?;
        return Ok(true);
    }
    if !program.namespaces.contains(&Namespace::Pid) {
        return Ok(true);
    }
    // SAFETY: this process has one thread.
    let pid = os::cvt(unsafe { libc::fork() }).context("fork")?;
    if pid == 0 {
        // SAFETY: no pointer is passed.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        return Ok(true);
    }
    os::wait(pid)?;
    Ok(false)
}

/// Whether the program's own end was seen, or could not be.
fn ends_by_itself(end: End) -> bool {
    end == End::Settle
}
