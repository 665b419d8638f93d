//! `ringwatch stat`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

use super::follow::{Follow, duration, exit, started, summarize};
use super::{Exit, Failure, print};
use crate::kernel::plan::Wanted;
use crate::manual;
use crate::output::Style;
use crate::stat::render::Layout;
use crate::stat::{self, Config};

/// Sum writes up in the kernel: rates, latencies, sizes, errors, who carried them out, files, processes, and what that
/// means.
///
/// The sums are told at the end: after --duration, at Ctrl-C, or when the command ends, or the processes of --pid. With --path, the
/// sums are those of the files that match: without errors, histograms, executors and processes, which are not known by
/// file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch stat fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch stat -p 4711 --duration 10s\n  ringwatch stat --interval 1s --json"
)]
pub(super) struct Arguments {
    /// Tell what happened since the last time so often as well: 1s, 5m.
    #[arg(long, value_name = "TIME", value_parser = interval)]
    interval: Option<Duration>,

    /// One JSON object a line.
    #[arg(long)]
    json: bool,

    /// The JSON Schema of such a line.
    #[arg(long)]
    schema: bool,

    /// Show this many files and processes by bytes, and as many by time; with --json, all are told.
    #[arg(long, value_name = "N", default_value = "5")]
    top: usize,

    /// Keep sums of this many files, and of as many threads; what goes beyond is summed up together.
    #[arg(long, value_name = "N", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    rows: u32,

    #[command(flatten)]
    follow: Follow,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if arguments.schema {
        print(&manual::stat_schema_file())?;
        return Ok(Exit::Success);
    }
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
        short if short < Duration::from_millis(100) => Err("an interval is 100ms at least".to_owned()),
        time => Ok(time),
    }
}
