//! How a table looks, and how much is said beside it.

use clap::{Args, ColorChoice};

use super::Failure;
use crate::output::{Choice, Format, Look, Target, about_columns};
use crate::say::{self, Level};

/// How tables look.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tables")]
pub(super) struct Appearance {
    /// Columns of the table, by comma, in this order; PATH is always the last.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        long_help = format!("Columns of the table, by comma, in this order:\n{}", about_columns())
    )]
    columns: Vec<Choice>,

    /// Show times in UTC instead of the local time zone. The title of TIME names the offset; JSON is always UTC.
    #[arg(long)]
    utc: bool,

    /// Show the date beside the time.
    #[arg(long)]
    date: bool,

    /// Print no titles.
    #[arg(long)]
    no_header: bool,

    /// Colors: auto is on a terminal, unless NO_COLOR is set or TERM is dumb.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

impl Appearance {
    pub(super) fn look(&self, outputs: &[Target]) -> Result<Look, Failure> {
        let columns = (!self.columns.is_empty()).then(|| self.columns.clone());
        if columns.is_some() && outputs.iter().all(|target| target.format != Format::Table) {
            return Err(Failure::Usage("--columns is for tables: add --output table, or leave it out".to_owned()));
        }
        Ok(Look { colour: self.color, utc: self.utc, date: self.date, no_header: self.no_header, columns })
    }
}

/// How much is said on standard error.
#[derive(Debug, Args)]
pub(super) struct Talk {
    /// Print only errors and losses to standard error: no start message and no summary.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Also print the probe plan, each probe and what the plan can report.
    #[arg(short, long)]
    verbose: bool,
}

impl Talk {
    pub(super) fn apply(&self) {
        match (self.quiet, self.verbose) {
            (true, _) => say::limit_to(Level::Quiet),
            (_, true) => say::limit_to(Level::Verbose),
            _ => {}
        }
    }
}
