//! `cargo xtask lint`: mistakes in the C of bpf/ that neither the compiler nor the verifier of this machine reports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bpflint::{Lint, LintMatch, builtin_lints, lint_custom};

use crate::dist;

/// Those of bpflint that fit a program for kernels from 5.4 on. The others ask for what older kernels lack (bpf_for,
/// bpf_core_cast, typed tasks, ring buffers) or for probes other than functions.
const BUILT_IN: [&str; 2] = ["probe-read", "untyped-map-member"];

const DIRECTORIES: [&str; 2] = ["bpf", "xtask/bpf"];

pub(crate) fn run() -> Result<()> {
    let root = dist::root()?;
    let lints = lints();
    let (mut files, mut found) = (0, 0);
    for directory in DIRECTORIES {
        for path in sources(&root.join(directory))? {
            let code = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files += 1;
            for fault in lint(&code, &lints)? {
                let name = path.strip_prefix(root).unwrap_or(&path).display();
                let at = fault.range.start_point;
                eprintln!("{name}:{}:{}: {} [{}]", at.row + 1, at.col + 1, fault.message, fault.lint_name);
                found += 1;
            }
        }
    }
    ensure!(files > 0, "there is no C in {}", DIRECTORIES.join(" and "));
    ensure!(found == 0, "{found} mistakes in the programs of bpf/");
    Ok(())
}

fn lints() -> Vec<Lint> {
    let printk = Lint {
        name: "printk".to_owned(),
        // bpf_printk is a macro, which the grammar takes for a call.
        code: r#"(call_expression
            function: (identifier) @function (#any-of? @function "bpf_printk" "bpf_trace_printk"))"#
            .to_owned(),
        message: "a line in the trace pipe of the whole machine for each event, left over from debugging".to_owned(),
    };
    builtin_lints().filter(|lint| BUILT_IN.contains(&lint.name.as_str())).chain([printk]).collect()
}

fn lint(code: &[u8], lints: &[Lint]) -> Result<Vec<LintMatch>> {
    lint_custom(code, lints).context("cannot lint")
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "c" || extension == "h") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_found() -> Result<()> {
        for (name, code) in [
            ("probe-read", "int f(void) { return bpf_probe_read(&x, sizeof(x), from); }"),
            ("printk", "int f(void) { bpf_printk(\"%d\", 1); return 0; }"),
            ("printk", "int f(void) { bpf_trace_printk(text, sizeof(text)); return 0; }"),
            (
                "untyped-map-member",
                "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(key_size, sizeof(u32)); } m SEC(\".maps\");",
            ),
        ] {
            let found = lint(code.as_bytes(), &lints())?;
            assert!(found.iter().any(|f| f.lint_name == name), "{name}: {found:?}");
        }
        Ok(())
    }

    #[test]
    fn good_programs_pass() -> Result<()> {
        let code = "int f(void) { return bpf_probe_read_kernel(&x, sizeof(x), from); }";
        assert!(lint(code.as_bytes(), &lints())?.is_empty());
        Ok(())
    }
}
