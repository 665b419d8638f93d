//! `ringwatch stat`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

use super::follow::{Follow, duration, exit, started, summarize};
use super::look::Talk;
use super::{Exit, Failure, print};
use crate::kernel::plan::Wanted;
use crate::output::Style;
use crate::stat::render::Layout;
use crate::stat::{self, Config};

/// Summarize writes in the kernel: rates, latencies, sizes, errors, executors, files and processes, with findings.
///
/// The summary is printed at the end: after --duration, at Ctrl-C, or when the command or the processes of --pid end. With
/// --path it covers the matching files, without errors, histograms, executors and processes, which are not counted per file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch stat fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch stat -p 4711 --duration 10s\n  ringwatch stat --interval 1s --json"
)]
pub(super) struct Arguments {
    /// Also print a summary of each interval of this length: 1s, 5m.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    interval: Option<Duration>,

    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,

    /// Print the JSON Schema of a line of --json.
    #[arg(long)]
    schema: bool,

    /// Show the top N files and processes by bytes, and the top N by time; --json shows all.
    #[arg(long, value_name = "N", default_value = "5")]
    top: usize,

    /// Count up to N files and N threads separately; the rest are counted together.
    #[arg(long, value_name = "N", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    rows: u32,

    #[command(flatten)]
    talk: Talk,

    #[command(flatten)]
    follow: Follow,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if arguments.schema {
        print(&stat::manual::schema_file())?;
        return Ok(Exit::Success);
    }
    arguments.talk.apply();
    let mut filtering = arguments.follow.filtering()?;
    filtering.only_sums()?;
    let paths = filtering.paths.take();
    let wanted = arguments.follow.wanted(Wanted::default());
    let plan = arguments.follow.plan(&wanted)?;
    let memory_limit = arguments.follow.memory_limit;
    let (mut options, mut limits) = arguments.follow.split(wanted, filtering);
    limits.apart = true;
    options.rows = Some(arguments.rows);
    let style = Style::detect(std::io::stdout().is_terminal());
    let layout = (!arguments.json).then_some(Layout { width: style.width, top: arguments.top });
    let interval = arguments.interval;
    let outcome = match started(stat::run(Config { plan, options, limits, paths, interval, memory_limit, layout }))? {
        Ok(outcome) => outcome,
        Err(exit) => return Ok(exit),
    };
    let unread = (outcome.unread > 0).then(|| ("standard output".to_owned(), outcome.unread)).into_iter().collect();
    summarize(&format!("{} writes", outcome.writes), &outcome.losses, &unread, outcome.pressure, &outcome.followed);
    Ok(exit(&outcome.followed))
}

/// Long enough to sum up.
fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_millis(100) => Err("the shortest interval is 100ms".to_owned()),
        time => Ok(time),
    }
}
