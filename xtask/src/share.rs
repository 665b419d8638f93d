//! `cargo xtask share`: man pages and completions, made from the definitions of the command line.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

const NAME: &str = "ringwatch";

/// Where bash, zsh and fish look for completions, below the `share` of a prefix.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/ringwatch"),
    (Shell::Zsh, "zsh/site-functions/_ringwatch"),
    (Shell::Fish, "fish/vendor_completions.d/ringwatch.fish"),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Replaced by what a prefix has as `share`
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    write(&arguments.directory)
}

/// Writes the files; what an earlier version left there is removed.
pub(crate) fn write(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    for (path, content) in files()? {
        let path = directory.join(path);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn files() -> Result<Vec<(String, Vec<u8>)>> {
    // `ringwatch help trace` needs no page and no completions of all over again.
    let mut command = ringwatch::cli::command().disable_help_subcommand(true);
    command.build();
    let mut files = vec![(page_path(NAME), page(&command, NAME)?)];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("{NAME}-{}", sub.get_name());
        files.push((page_path(&name), page(sub, &name)?));
    }
    for (shell, path) in COMPLETIONS {
        let mut content = vec![];
        clap_complete::generate(shell, &mut command, NAME, &mut content);
        files.push((path.to_owned(), content));
    }
    Ok(files)
}

fn page_path(name: &str) -> String {
    format!("man/man1/{name}.1")
}

fn page(command: &Command, name: &str) -> Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .source(concat!("ringwatch ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut page = vec![];
    let all = "cannot make a page";
    man.render_title(&mut page).context(all)?;
    // Its own would call `ringwatch trace` by its last word, and `man -k` look for that.
    let about = command.get_about().map(|about| format!(" \\- {}", line(&about.to_string()))).unwrap_or_default();
    write!(page, ".SH NAME\n{}{about}\n", name.replace('-', "\\-"))?;
    man.render_synopsis_section(&mut page).context(all)?;
    man.render_description_section(&mut page).context(all)?;
    man.render_options_section(&mut page).context(all)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).context(all)?;
    }
    // The examples, line by line.
    if let Some(examples) = command.get_after_long_help().or(command.get_after_help()) {
        page.extend_from_slice(b".SH EXAMPLES\n.nf\n");
        for example in examples.to_string().lines().filter(|line| *line != "Examples:") {
            writeln!(page, "{}", line(example))?;
        }
        page.extend_from_slice(b".fi\n");
    }
    Ok(page)
}

/// Text that roff shows as it is.
fn line(text: &str) -> String {
    let text = text.trim_end().replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Result<String> {
        let found = files()?.into_iter().find(|(path, _)| path == name);
        Ok(String::from_utf8(found.with_context(|| format!("no {name}"))?.1)?)
    }

    #[test]
    fn every_subcommand_has_a_page_with_all_of_its_options() -> Result<()> {
        let command = ringwatch::cli::command();
        for sub in command.get_subcommands() {
            let page = file(&page_path(&format!("ringwatch-{}", sub.get_name())))?;
            for option in sub.get_arguments().filter(|a| !a.is_hide_set()).filter_map(|a| a.get_long()) {
                let shown = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(page.contains(&shown), "{}: no {shown}", sub.get_name());
            }
        }
        Ok(())
    }

    #[test]
    fn completions_know_subcommands_and_options() -> Result<()> {
        for (_, path) in COMPLETIONS {
            let content = file(path)?;
            for word in ["trace", "stat", "rings", "check", "events", "duration"] {
                assert!(content.contains(word), "{path}: no {word}");
            }
        }
        Ok(())
    }

    #[test]
    fn roff_shows_lines_as_they_are() {
        assert_eq!(line("  a -e b\\c"), "  a \\-e b\\ec");
        assert_eq!(line(".SH"), "\\&.SH");
    }
}
