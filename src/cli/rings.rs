//! `ringwatch rings`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;

use super::follow::duration;
use super::{Exit, Failure, print};
use crate::here::Here;
use crate::json;
use crate::kernel::facts;
use crate::kernel::rings::Storage;
use crate::output::Style;
use crate::rings::{self, Inventory, Kernel, Ring};
use crate::say;

/// List every io_uring instance (ring) on the machine, whenever it was created: the processes that hold it, its flags and
/// queues, its poll thread and workers, and what is registered with it.
///
/// A ring held by several processes is one line. PID 4711+2: two more processes hold it. FD r0: registered with a
/// thread; mapped: only its memory is mapped. CQ 5/16+: more completions wait in the kernel. --json shows everything
/// that is known.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch rings\n  ringwatch rings --watch 2s\n  ringwatch rings --json -p 4711\n  ringwatch rings --schema"
)]
pub(super) struct Arguments {
    /// Print one JSON object per line, one for each ring.
    #[arg(long)]
    json: bool,

    /// Refresh at this interval until Ctrl-C: 500ms, 2s, 1m.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = interval)]
    watch: Option<Duration>,

    /// Show only rings held by this process. May be repeated.
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,

    /// Print the JSON Schema of a line of --json.
    #[arg(long, conflicts_with_all = ["json", "watch", "pid"])]
    schema: bool,

    /// Ask only the kernel, or only look into /proc.
    #[arg(long, hide = true)]
    from: Option<From>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Bpf,
    Proc,
}

/// Often enough for people, and seldom enough for the machine.
const SHORTEST: Duration = Duration::from_millis(50);

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        d if d < SHORTEST => Err("the shortest interval is 50ms".to_owned()),
        d => Ok(d),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.schema {
        print(&rings::manual::schema_file())?;
        return Ok(Exit::Success);
    }
    for &pid in &arguments.pid {
        Here::get().process(pid).map_err(Failure::Usage)?;
    }
    // Before anything takes time, so that no signal is lost.
    let interrupted = arguments.watch.map(|_| interrupted()).transpose()?;
    let mut storage = Storage::default();
    let kernel = kernel(arguments.from, &mut storage)?;
    let mut first = true;
    loop {
        let mut inventory = match &kernel {
            Some(kernel) => kernel.look()?,
            None => rings::proc(),
        };
        if !arguments.pid.is_empty() {
            inventory.rings.retain(|r| r.processes.iter().any(|p| arguments.pid.contains(&p.host_pid)));
        }
        if std::mem::take(&mut first) {
            inventory.notes.iter().for_each(|note| say!("{note}"));
        }
        if !show(arguments, &inventory)? {
            return Ok(Exit::Success);
        }
        let (Some(interval), Some(interrupted)) = (arguments.watch, &interrupted) else { return Ok(Exit::Success) };
        match interrupted.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Success),
        }
    }
}

/// The kernel's iterators, or `None` and a word on what is missing without them.
fn kernel(from: Option<From>, storage: &mut Storage) -> anyhow::Result<Option<Kernel<'_>>> {
    if from == Some(From::Proc) {
        return Ok(None);
    }
    let missing = facts::capabilities().and_then(facts::Capabilities::missing);
    let why = match missing {
        Some(missing) => format!("{missing} missing: run as root or grant CAP_BPF and CAP_PERFMON"),
        None => match Kernel::new(storage) {
            Ok(kernel) => return Ok(Some(kernel)),
            Err(error) => error.to_string(),
        },
    };
    if from == Some(From::Bpf) {
        anyhow::bail!("{why}");
    }
    say!("reading /proc only, which shows no flags, threads, registered-only rings or other users' processes: {why}");
    Ok(None)
}

fn interrupted() -> anyhow::Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let numbers = [Signal::SIGINT, Signal::SIGTERM].map(|s| s as i32);
    let mut signals = Signals::new(numbers).context("cannot wait for signals")?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}

/// Writes what was seen. False: nobody reads any more.
fn show(arguments: &Arguments, inventory: &Inventory) -> anyhow::Result<bool> {
    let terminal = std::io::stdout().is_terminal();
    let text = if arguments.json {
        inventory.rings.iter().map(|r| Ok(json::to_string(r)? + "\n")).collect::<anyhow::Result<String>>()?
    } else {
        let lines = rings::table(&inventory.rings, Style::detect(terminal));
        match arguments.watch {
            Some(interval) if terminal => screen(&lines, &inventory.rings, interval),
            Some(_) => lines.join("\n") + "\n\n",
            None => lines.join("\n") + "\n",
        }
    };
    write(&text)
}

fn write(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::Error::new(e).context("cannot write to standard output")),
    }
}

/// Draws over what stood there, without a moment of emptiness.
fn screen(lines: &[String], rings: &[Ring], interval: Duration) -> String {
    const HOME: &str = "\x1b[H";
    const END_OF_LINE: &str = "\x1b[K\n";
    const END_OF_SCREEN: &str = "\x1b[J";
    let rows = terminal_size::terminal_size().map_or(24, |(_, terminal_size::Height(rows))| usize::from(rows));
    let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    let mut out = format!("{HOME}{} rings at {now}, every {interval:?}{END_OF_LINE}", rings.len());
    // A line for the head, one for what is left out, one for the cursor.
    let room = rows.saturating_sub(3).max(1);
    for line in lines.iter().take(room) {
        let _ = write!(out, "{line}{END_OF_LINE}");
    }
    if lines.len() > room {
        let _ = write!(out, "and {} more{END_OF_LINE}", lines.len() - room);
    }
    out + END_OF_SCREEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_long_enough() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("1ms").is_err());
    }
}
