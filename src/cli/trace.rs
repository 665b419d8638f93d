//! `ringwatch trace`.

use clap::Args;

use super::follow::{Follow, exit, started, summarize};
use super::look::{Appearance, Talk};
use super::{Exit, Failure};
use crate::enrich::Enricher;
use crate::kernel::facts;
use crate::kernel::plan::{Plan, Wanted};
use crate::output::{Sink, Target, Unfit};
use crate::pipeline::Select;
use crate::say;
use crate::selection::{Selection, Term};
use crate::tracer::{self, Config};

/// Tell of each write, and of whatever else is asked for, as its outcome becomes known.
///
/// Data goes to standard output, everything else to standard error. With a command, only that and the processes that
/// it starts are followed. Where it ends before the trace does, its exit status is ringwatch's; where the trace ends
/// first, it goes on running. Ctrl-C on the terminal reaches the command; a second one ends the trace.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringwatch trace fio --ioengine=io_uring --name=j --rw=write --size=1M\n  ringwatch trace -o json:/tmp/writes.json -o table --path /etc\n  ringwatch trace -p 4711,4712 --duration 10s\n  ringwatch trace --failed --not-comm 'kv-*' --min-bytes 4K\n  ringwatch trace -e io_uring -o json\n  ringwatch trace --columns TIME,PID,EXE,OP,RESULT,PATH --utc --date"
)]
pub(super) struct Arguments {
    /// Events, sets and patterns (`ringwatch events` lists them), by comma or several times; -NAME leaves one out
    /// (-io_fsync alone: io_uring without it). What this kernel cannot report is named and left out. Without this:
    /// io_write.
    #[arg(short, long, value_name = "EVENTS", value_delimiter = ',', allow_hyphen_values = true)]
    event: Vec<Term>,

    /// Tell each request's steps as well: submitted or refused, waiting for its file, handed to io-wq, completed.
    #[arg(long)]
    requests: bool,

    /// Format, and file: table, json, table:PATH, json:PATH. Several at once are possible.
    #[arg(short, long, value_name = "FORMAT[:PATH]", default_value = "table")]
    output: Vec<Target>,

    /// Stop after this many events. A traced command goes on running, unless --kill is given.
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
    let filtering = arguments.follow.filtering()?;
    let options = filtering.filter.options();
    let select = Select { filter: filtering.filter.clone(), limit: arguments.limit };
    if arguments.output.iter().filter(|t| t.path.is_none()).count() > 1 {
        return Err(Failure::Usage("only one --output can go to standard output: give the others a path".to_owned()));
    }
    let mut selection = Selection::new(&arguments.event).map_err(Failure::Usage)?;
    if arguments.event.iter().any(Term::is_lost) {
        say!("events_lost comes with every trace and need not be named");
    }
    let wanted = arguments.follow.wanted(selection.wanted(arguments.requests));
    if arguments.requests && !wanted.requests() {
        return Err(Failure::Usage("--requests needs events of requests: add some by --event".to_owned()));
    }
    let (plan, wanted) = fit(&arguments, &mut selection, wanted)?;
    let btf = arguments.follow.btf.as_deref();
    let flags = if wanted.wide { facts::request_flag_names(btf) } else { vec![] };
    let enricher =
        Enricher::new(selection, arguments.requests, flags).with_limit(arguments.follow.memory_limit).with_lookup();
    let sinks = Sink::open_all(&arguments.output, &look).map_err(|error| match error {
        Unfit::Same(..) => Failure::Usage(error.to_string()),
        Unfit::Open(..) => Failure::Other(error.into()),
    })?;
    let (kernel, mut limits) = arguments.follow.split(wanted, filtering);
    limits.apart = sinks.iter().any(Sink::is_on_standard_output);
    let outcome = match started(tracer::run(Config { plan, options: kernel, enricher, select, sinks, limits }))? {
        Ok(outcome) => outcome,
        Err(exit) => return Ok(exit),
    };
    let summary = &outcome.summary;
    let mut told = format!("{} events", summary.events);
    if summary.filtered > 0 {
        told += &format!(", {} left out by {options}", summary.filtered);
    }
    if summary.unjudged > 0 {
        told += &format!(", {} shown since {options} could not judge them", summary.unjudged);
    }
    summarize(&told, &summary.losses, &summary.unread, summary.pressure, &outcome.followed);
    Ok(exit(&outcome.followed))
}

/// The probes for those of the events that this kernel can report; says which it cannot.
fn fit(arguments: &Arguments, selection: &mut Selection, all: Wanted) -> Result<(Plan, Wanted), Failure> {
    let follow = &arguments.follow;
    let (plan, less, unable) = follow.plan_most(all)?;
    if unable.is_empty() {
        return Ok((plan, all));
    }
    let left_out = selection.retain(&less);
    // Writes alone may remain of what asked for every request.
    let wanted = follow.wanted(selection.wanted(arguments.requests));
    if !wanted.reports_anything() {
        return Ok((follow.plan(&all)?, all));
    }
    let plan = follow.plan(&wanted)?;
    let why: Vec<_> = unable.iter().map(ToString::to_string).collect();
    say!("not traced: {}, since this kernel cannot: {}", left_out.join(", "), why.join("; "));
    Ok((plan, wanted))
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
