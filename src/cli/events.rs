//! `ringwatch events`.

use std::fmt::Write as _;

use clap::Args;

use super::{Exit, Failure, print};
use crate::manual;
use crate::selection::closest;

/// List the events, or show one event's manual.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Show the manual of this event.
    name: Option<String>,

    /// Print the JSON Schema of the event's data or, without NAME, of a line of `trace -o json`.
    #[arg(long)]
    schema: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let page = match &arguments.name {
        None => None,
        Some(name) => Some(manual::page(name).ok_or_else(|| {
            let meant = closest(name).map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
            Failure::Usage(format!("there is no event `{name}`{meant} (`ringwatch events` lists them)"))
        })?),
    };
    let text = match (page, arguments.schema) {
        (Some(page), true) => format!("{:#}\n", page.schema()),
        (None, true) => manual::schema_file(),
        (Some(page), false) => page.text(),
        (None, false) => crate::event::pages().fold(String::new(), |mut all, p| {
            let _ = writeln!(all, "{:<18} {:<9} {}", p.name, p.sets.join(","), p.summary);
            all
        }),
    };
    print(&text)?;
    Ok(Exit::Success)
}
