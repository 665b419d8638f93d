//! Names behind links, in other roots, and on ways that change while their requests wait: what is told as certain is what
//! was acted upon, and no filter of paths is passed by.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use super::{NOBODY, Place, Told, text};
use crate::corpus::{Form, user_data};
use crate::hard::in_vm;
use crate::support::lost;

const EVENTS: &str = "io_openat,io_renameat,io_unlinkat,io_mkdirat,io_symlinkat,io_linkat,io_setxattr";

type Check = fn(&Form) -> Result<()>;

pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    let parts: [(&str, Check); 3] =
        [("lead", names_lead), ("pass_no_filter", no_filter_is_passed), ("are_certain", quiet_names_are_certain)];
    // What is made of the names does not depend on the form: where a processor is emulated, one is enough for that.
    let runs = |form: &Form, name: &str| !in_vm() || name == "lead" || form.name == "fentry";
    let trials = forms.iter().flat_map(|form| parts.map(|(name, test)| (form.clone(), name, test)));
    let trial = |(form, name, test): (Form, &'static str, Check)| {
        let runs = runs(&form, name);
        Trial::test(format!("adversary::names::{name}::{}", form.name), move || {
            if form.early {
                eprintln!("corpus case names::{} skipped: completions do not name their requests here", form.name);
                return Ok(());
            }
            if !runs {
                eprintln!("skipped: adversary::names::{name}::{}: one form is enough in a VM", form.name);
                return Ok(());
            }
            test(&form).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    trials.map(trial).collect()
}

fn attack(place: &Place, form: &Form, what: &[&str], options: &[&str]) -> Result<Told> {
    let work = text(&place.work());
    let told = place.attack(
        NOBODY,
        &[&["names", &work], what].concat(),
        &[&["-e", EVENTS], form.arguments, options].concat(),
    )?;
    ensure!(lost(&told.events) == 0, "events were lost: {}", told.ended.stderr);
    Ok(told)
}

/// The paths of an event, old and new.
fn paths(event: &Value) -> Vec<&Value> {
    let data = &event["data"];
    if data["new_dirfd"].is_null() { vec![&data["path"]] } else { vec![&data["old_path"], &data["new_path"]] }
}

fn names_lead(form: &Form) -> Result<()> {
    let place = Place::new()?;
    let told = attack(&place, form, &[], &[])?;
    let mut events: HashMap<(&str, u64), Vec<&Value>> = HashMap::new();
    for event in &told.events {
        let name = event["event"].as_str().context("no name")?;
        events.entry((name, user_data(&event["data"])?)).or_default().push(event);
    }
    let mut wrong = vec![];
    let mut cases = vec![];
    for truth in &told.truth {
        let case = truth["case"].as_str().context("no case")?;
        cases.push(case);
        let of = (truth["event"].as_str().context("no event")?, user_data(truth)?);
        let found = events.get(&of).map(Vec::as_slice).unwrap_or_default();
        let [event] = found else {
            wrong.push(format!("{case}: {} events", found.len()));
            continue;
        };
        let (data, right) =
            (&event["data"], paths(event) == truth["paths"].as_array().context("no paths")?.iter().collect::<Vec<_>>());
        let certain = data["path_certain"] == true;
        if !right && (certain || truth["races"] == false) {
            wrong.push(format!(
                "{case}: led to {} and not {}: {event}",
                Value::from(paths(event).into_iter().cloned().collect::<Vec<_>>()),
                truth["paths"]
            ));
        }
        // Where the kernel's functions tell, nothing is left to doubt.
        if form.plan != "tracepoint"
            && truth["result"] == 0
            && (!certain || !right || !["kernel", "file"].iter().any(|source| data["path_source"] == *source))
        {
            wrong.push(format!("{case}: not told by the kernel: {event}"));
        }
    }
    for case in ["dotdot", "link", "cwd", "dirfd-replaced", "renamed", "worker"] {
        ensure!(cases.contains(&case), "the attack did not get to {case}: {cases:?}");
    }
    ensure!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// What was acted upon below a directory, or asked for there, is shown, whatever the name says.
fn no_filter_is_passed(form: &Form) -> Result<()> {
    for (below, by) in [("links/d", "*/links/d/*"), ("two", "*/two/*"), ("nested", "*/nested/*")] {
        let place = Place::new()?;
        let told = attack(&place, form, &[], &["--path", by])?;
        let shown: Vec<u64> = told.events.iter().map(|e| user_data(&e["data"])).collect::<Result<_>>()?;
        let mut meant = 0;
        for truth in &told.truth {
            let acted = truth["paths"].to_string().contains(&format!("/{below}/"));
            let asked =
                below == "nested" && ["nested", "rename", "symlinkat"].iter().any(|case| truth["case"] == *case);
            if acted || asked {
                meant += 1;
                ensure!(shown.contains(&user_data(truth)?), "{by} leaves out {truth}");
            }
        }
        ensure!(meant > 1, "{by} means nothing: {:?}", told.truth);
    }
    Ok(())
}

/// Where nothing changes, the path is known, so that a filter of others can leave the event out.
fn quiet_names_are_certain(form: &Form) -> Result<()> {
    let place = Place::new()?;
    let links = place.work().with_file_name("links");
    std::fs::create_dir(&links)?;
    std::os::unix::fs::symlink(place.work(), links.join("way"))?;
    let told = attack(&place, form, &["--quiet"], &[])?;
    let [absolute, link, here] = &told.events[..] else { anyhow::bail!("{:?}", told.events) };
    for (event, truth) in [absolute, link, here].into_iter().zip(&told.truth) {
        ensure!(event["data"]["path"] == truth["paths"][0], "{event} and not {truth}");
    }
    // The events file is beside the directory: what it made there has not been so long ago.
    let certain = told.events.iter().filter(|e| e["data"]["path_certain"] == true).count();
    ensure!(certain == 3, "{certain} of 3 are certain: {:?}", told.events);
    for made in ["absolute", "link", "here"] {
        std::fs::remove_dir(place.work().join(made))?;
    }
    let told = attack(&place, form, &["--quiet"], &["--path", "/nowhere/*"])?;
    ensure!(told.events.is_empty(), "{:?}", told.events);
    Ok(())
}
