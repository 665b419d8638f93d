//! What ringwatch would load on each kernel of tests/kernels, plan by plan, against recorded snapshots: no change of the
//! planner goes unseen on a kernel that is not running here. `INSTA_UPDATE=always cargo test --test planner` records anew.

use std::fs;
use std::path::Path;

use clap::ValueEnum as _;
use ringwatch::kernel::facts::Facts;
use ringwatch::kernel::plan::{Plan, PlanKind, Refusal, Unable, Wanted};
use ringwatch::selection::Selection;
use serde::Deserialize;
use serde_json::Value;

/// A file that `cargo xtask vm --save` writes.
#[derive(Deserialize)]
struct Kernel {
    facts: Facts,
}

#[test]
fn every_recorded_kernel_gets_its_probes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    // types/ has a kernel that could not be started here; see its .c file.
    let mut kernels: Vec<_> = [&directory, &directory.join("types")]
        .into_iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json") && !path.ends_with("verifier.json"))
        .collect();
    kernels.sort();
    assert!(!kernels.is_empty(), "there is no kernel in {}", directory.display());
    for path in kernels {
        let series = path.file_stem().and_then(|name| name.to_str()).unwrap().to_owned();
        let text = fs::read(&path).unwrap();
        let kernel: Kernel = serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{series}: {error}: write it anew with `cargo xtask vm {series} --save`"));
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("planner-{series}"), all_plans(&kernel.facts));
        });
    }
}

/// The release is left out: it changes with every update of the package.
fn all_plans(facts: &Facts) -> String {
    let facts = Facts { release: "RELEASE".to_owned(), ..facts.clone() };
    let all = Wanted { tree: true, ..Selection::all().wanted(true) };
    let mut text = described("default", Plan::most(&facts, all, None));
    for &kind in PlanKind::value_variants() {
        text += "\n";
        text += &described(&format!("--probes {kind}"), Plan::most(&facts, all, Some(kind)));
    }
    text
}

/// With every event that the plan tells.
fn described(asked: &str, planned: Result<(Plan, Wanted, Vec<Unable>), Refusal>) -> String {
    let (plan, left_out) = match planned {
        Ok((plan, _, left_out)) => (plan, left_out),
        Err(refusal) => return format!("{asked}: refused: {refusal}\n"),
    };
    // The words of `ringwatch check --json`.
    let mut text = format!("{asked}: {}: {}\n", plan.kind, plan.why);
    for choice in &plan.probes {
        let twin = serde_json::to_value(choice.twin).ok();
        let twin = twin.as_ref().and_then(Value::as_str).unwrap_or_default();
        text += &format!("  {twin:<5} {}\n", choice.probe.place());
    }
    for why in left_out {
        text += &format!("  left out: {why}\n");
    }
    for (probe, lost) in &plan.missing {
        text += &format!("  none  {}: {lost}\n", probe.name());
    }
    text
}
