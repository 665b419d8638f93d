//! `ringwatch trace`.

use anyhow::Context as _;
use clap::Args;

use super::follow::{Follow, exit, started, summarize};
use super::{Exit, Failure};
use crate::output::{Sink, Target};
use crate::pipeline::Select;
use crate::tracer::{self, Config};

/// Tell of each write as its outcome becomes known.
///
/// Data goes to standard output, everything else to standard error. With a command behind `--`, only that command
/// and the processes that it starts are followed, and its exit status is ringwatch's.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch trace -- fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch trace -o json:/tmp/writes.json -o table --path '/etc/*'\n  ringwatch trace -p 4711 --duration 10s"
)]
pub(super) struct Arguments {
    /// Format, and file: table, json, table:PATH, json:PATH. Several at once are possible.
    #[arg(short, long, value_name = "FORMAT[:PATH]", default_value = "table")]
    output: Vec<Target>,

    /// Stop after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    #[command(flatten)]
    follow: Follow,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let select = Select { paths: arguments.follow.globs()?, limit: arguments.limit };
    if arguments.output.iter().filter(|t| t.path.is_none()).count() > 1 {
        return Err(Failure::Usage("only one --output can go to standard output: give the others a path".to_owned()));
    }
    let plan = arguments.follow.plan()?;
    let sinks = arguments.output.iter().map(open).collect::<anyhow::Result<_>>()?;
    let (options, limits) = arguments.follow.split();
    let outcome = match started(tracer::run(Config { plan, options, select, sinks, limits }))? {
        Ok(outcome) => outcome,
        Err(exit) => return Ok(exit),
    };
    let summary = &outcome.summary;
    let mut told = format!("{} events", summary.events);
    if summary.filtered > 0 {
        told += &format!(", {} left out by --path", summary.filtered);
    }
    summarize(&told, &summary.losses, &outcome.followed);
    Ok(exit(&outcome.followed))
}

fn open(target: &Target) -> anyhow::Result<Sink> {
    Sink::open(target).with_context(|| {
        let path = target.path.as_ref().map_or_else(String::new, |p| p.display().to_string());
        format!("cannot write to {path}: choose another path for --output")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::output::Format;

    #[derive(clap::Parser)]
    struct Trace {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn several_outputs_and_a_command() {
        let trace = Trace::try_parse_from(["trace", "-o", "json:/x", "-o", "table", "--", "sh", "-c", "true"]);
        let arguments = trace.map(|t| t.arguments).ok();
        let formats = arguments.as_ref().map(|a| a.output.iter().map(|t| t.format).collect());
        assert_eq!(formats, Some(vec![Format::Json, Format::Table]));
        assert_eq!(arguments.map(|a| a.follow.command.len()), Some(3));
    }
}
