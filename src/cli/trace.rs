//! `ringwatch trace`.

use clap::Args;

use super::follow::{Follow, exit, started, summarize};
use super::look::{Appearance, Talk};
use super::{Exit, Failure};
use crate::enrich::Enricher;
use crate::kernel::facts;
use crate::output::{Sink, Target, Unfit};
use crate::pipeline::Select;
use crate::selection::{Selection, Term};
use crate::tracer::{self, Config};

/// Tell of each write, and of whatever else is asked for, as its outcome becomes known.
///
/// Data goes to standard output, everything else to standard error. With a command behind `--`, only that command
/// and the processes that it starts are followed, and its exit status is ringwatch's.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch trace -- fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch trace -o json:/tmp/writes.json -o table --path '/etc/*'\n  ringwatch trace -p 4711 --duration 10s\n  ringwatch trace -e io_uring -o json\n  ringwatch trace --columns TIME,PID,EXE,OP,RESULT,PATH --utc --date"
)]
pub(super) struct Arguments {
    /// Events, sets and patterns (`ringwatch events` lists them), by comma or several times; -NAME leaves one out.
    /// Without this: io_write.
    #[arg(short, long, value_name = "EVENTS", value_delimiter = ',', allow_hyphen_values = true)]
    event: Vec<Term>,

    /// Tell each request's steps as well: submitted or refused, waiting for its file, handed to io-wq, completed.
    #[arg(long)]
    requests: bool,

    /// Format, and file: table, json, table:PATH, json:PATH. Several at once are possible.
    #[arg(short, long, value_name = "FORMAT[:PATH]", default_value = "table")]
    output: Vec<Target>,

    /// Stop after this many events. A command behind -- is then asked to end (SIGTERM), as when nobody reads the output.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    #[command(flatten)]
    talk: Talk,

    #[command(flatten)]
    appearance: Appearance,

    #[command(flatten)]
    follow: Follow,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    arguments.talk.apply();
    let look = arguments.appearance.look(&arguments.output)?;
    let select = Select { paths: arguments.follow.globs()?, limit: arguments.limit };
    if arguments.output.iter().filter(|t| t.path.is_none()).count() > 1 {
        return Err(Failure::Usage("only one --output can go to standard output: give the others a path".to_owned()));
    }
    let selection = Selection::new(&arguments.event).map_err(Failure::Usage)?;
    let wanted = arguments.follow.wanted(selection.wanted(arguments.requests));
    if arguments.requests && !wanted.requests() {
        return Err(Failure::Usage("--requests needs events of requests: add some by --event".to_owned()));
    }
    let plan = arguments.follow.plan(&wanted)?;
    let btf = arguments.follow.btf.as_deref();
    let flags = if wanted.wide { facts::request_flag_names(btf) } else { vec![] };
    let enricher =
        Enricher::new(selection, arguments.requests, flags).with_limit(arguments.follow.memory_limit).with_lookup();
    let sinks = Sink::open_all(&arguments.output, &look).map_err(|error| match error {
        Unfit::Same(..) => Failure::Usage(error.to_string()),
        Unfit::Open(..) => Failure::Other(error.into()),
    })?;
    let (options, mut limits) = arguments.follow.split(wanted)?;
    limits.apart = sinks.iter().any(Sink::is_on_standard_output);
    let outcome = match started(tracer::run(Config { plan, options, enricher, select, sinks, limits }))? {
        Ok(outcome) => outcome,
        Err(exit) => return Ok(exit),
    };
    let summary = &outcome.summary;
    let mut told = format!("{} events", summary.events);
    if summary.filtered > 0 {
        told += &format!(", {} left out by --path", summary.filtered);
    }
    if summary.unjudged > 0 {
        told += &format!(", {} shown since --path could not judge them", summary.unjudged);
    }
    summarize(&told, &summary.losses, &summary.unread, summary.pressure, &outcome.followed);
    Ok(exit(&outcome.followed))
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
    fn events_by_comma_and_left_out() {
        let trace = Trace::try_parse_from(["trace", "-e", "io_uring,-io_fsync", "-e", "-io_tee"]);
        assert_eq!(trace.map(|t| t.arguments.event.len()).ok(), Some(3));
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
