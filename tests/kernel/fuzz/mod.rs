//! Programs made by chance: each request of each is told once, with what it did. One that is told otherwise is made
//! smaller for as long as that stays so, and printed.
//!
//! RINGWATCH_FUZZ_SECONDS says for how long all of these tests may make programs, RINGWATCH_FUZZ_SEED where they begin;
//! RINGWATCH_FUZZ_PROGRAMS how many each makes instead, and RINGWATCH_FUZZ_PROGRAM names a file of programs to run. Without
//! any of them only programs that were told wrong before are run again.

mod judge;
mod shrink;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use self::judge::{Judgement, Kinds, judge};
use crate::corpus::Form;
use crate::hard::{in_vm, kernel_version};
use crate::support::{directory, json_lines, run, workload};

/// What one run of ringwatch sees.
const BATCH_SECONDS: f64 = 5.0;

const SECONDS: &str = "RINGWATCH_FUZZ_SECONDS";
const PROGRAMS: &str = "RINGWATCH_FUZZ_PROGRAMS";
const PROGRAM: &str = "RINGWATCH_FUZZ_PROGRAM";

/// Programs that were told wrong once, a line each.
const FOUND: &str = include_str!("found.jsonl");
/// What went wrong depended on the moment.
const FOUND_TIMES: usize = 8;

pub(crate) fn trials(forms: &[Form]) -> Vec<Trial> {
    // There tracepoints alone do not name what is posted past the list of completions: docs/limits.md.
    let past = matches!(kernel_version(), Ok((6, 0..=9)));
    let (forms, left_out): (Vec<_>, Vec<_>) = forms.iter().cloned().partition(|f| !past || f.plan != "tracepoint");
    let left_out = left_out.into_iter().map(|form| {
        Trial::test(format!("fuzz::{}", form.name), || {
            eprintln!("skipped: fuzz by tracepoints alone: on 6.0 to 6.9 not every overflow names its request");
            Ok(())
        })
    });
    let found = forms.iter().map(|form| {
        let kinds = if form.early { Kinds::Writes } else { Kinds::Requests };
        let traced = Traced { form: form.arguments, kinds };
        Trial::test(format!("fuzz::found::{}", form.name), move || {
            found(&traced).map_err(|e| Failed::from(format!("{e:#}")))
        })
    });
    found.chain(by_chance(&forms)).chain(left_out).collect()
}

fn found(traced: &Traced) -> Result<()> {
    let directory = directory()?;
    let file = directory.path().join("programs");
    // An emulated processor has no time for more, and its own moments.
    std::fs::write(&file, FOUND.repeat(if in_vm() { 1 } else { FOUND_TIMES }))?;
    told(traced, &traced.run(&Programs::File(&file))?, None)
}

fn by_chance(forms: &[Form]) -> Vec<Trial> {
    if [SECONDS, PROGRAMS, PROGRAM].into_iter().all(|name| env::var_os(name).is_none()) {
        return vec![];
    }
    let kinds = |form: &Form| if form.early { vec![Kinds::Writes] } else { vec![Kinds::Writes, Kinds::Requests] };
    let all: Vec<_> = forms.iter().flat_map(|form| kinds(form).into_iter().map(move |kinds| (form, kinds))).collect();
    let share = 1.0 / all.len().max(1) as f64;
    let trial = |(form, kinds): (&Form, Kinds)| {
        let form = form.clone();
        Trial::test(format!("fuzz::{}::{}", form.name, kinds.name()), move || {
            fuzz(&Traced { form: form.arguments, kinds }, share).map_err(|e| Failed::from(format!("{e:#}")))
        })
    };
    all.into_iter().map(trial).collect()
}

/// How ringwatch looks on.
#[derive(Clone, Copy)]
struct Traced {
    form: &'static [&'static str],
    kinds: Kinds,
}

/// Which programs.
enum Programs<'a> {
    Seconds { seed: u64, seconds: f64 },
    Count { seed: u64, programs: u64 },
    File(&'a Path),
}

fn fuzz(traced: &Traced, share: f64) -> Result<()> {
    if let Some(file) = env::var_os(PROGRAM) {
        let judged = traced.run(&Programs::File(file.as_ref()))?;
        return told(traced, &judged, None);
    }
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<f64>().context(name.to_owned())).transpose();
    let given = number("RINGWATCH_FUZZ_SEED")?.map(|seed| seed as u64);
    if let Some(programs) = number(PROGRAMS)? {
        let programs = Programs::Count { seed: given.unwrap_or(0), programs: programs as u64 };
        return told(traced, &traced.run(&programs)?, None);
    }
    let seconds = number(SECONDS)?.with_context(|| format!("{SECONDS} is not set"))? * share;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let start = Instant::now();
    // The same each time, and then others.
    let mut seed = given.unwrap_or(0);
    let (mut programs, mut requests) = (0, 0);
    loop {
        let left = seconds - start.elapsed().as_secs_f64();
        if left <= 0.0 {
            break;
        }
        let batch = left.clamp(0.2, BATCH_SECONDS);
        let judged = traced.run(&Programs::Seconds { seed, seconds: batch })?;
        (programs, requests) = (programs + judged.programs, requests + judged.requests);
        told(traced, &judged, Some(seed))?;
        seed = match given {
            Some(_) => seed.wrapping_add(judged.programs),
            None if seed == 0 => now % 1_000_000_007,
            None => seed.wrapping_add(judged.programs),
        };
    }
    eprintln!("fuzz: {programs} programs with {requests} requests, the last from seed {seed}");
    ensure!(requests > 0, "no program made a request");
    Ok(())
}

/// Fails with the smallest program that is told wrong.
fn told(traced: &Traced, judged: &Judgement, seed: Option<u64>) -> Result<()> {
    for (program, errors) in &judged.troubled {
        let first: String = errors[0].chars().take(200).collect();
        eprintln!("fuzz: the program of seed {} itself: {first}", program["seed"]);
    }
    for name in &judged.skipped {
        eprintln!("fuzz: skipped: {name}");
    }
    let Some((program, why)) = judged.wrong.first() else {
        ensure!(judged.lost == 0, "{} events were lost, from seed {seed:?}", judged.lost);
        return Ok(());
    };
    let (small, why_small) = shrink::shrink(program, |candidates| {
        let directory = directory()?;
        let file = directory.path().join("programs");
        let lines: Vec<_> = candidates.iter().map(Value::to_string).collect();
        std::fs::write(&file, lines.join("\n"))?;
        let judged = traced.run(&Programs::File(&file))?;
        Ok(judged.wrong)
    })?;
    bail!(
        "{} of {} programs were told wrong, and {} events lost; the first is that of seed {}: {why}\nmade smaller: {}\n{small}",
        judged.wrong.len(),
        judged.programs,
        judged.lost,
        program["seed"],
        why_small.as_deref().unwrap_or("it was told right when it ran again"),
    );
}

impl Traced {
    fn run(&self, programs: &Programs<'_>) -> Result<Judgement> {
        let directory = directory()?;
        let path = |name: &str| directory.path().join(name);
        let (events, truth) = (path("events"), path("truth"));
        let mut all: Vec<std::ffi::OsString> = vec!["trace".into()];
        all.extend(self.form.iter().map(Into::into));
        all.extend(self.kinds.arguments().iter().map(Into::into));
        all.extend(["-o".into(), format!("json:{}", events.display()).into(), "--".into()]);
        all.extend([workload().into_os_string(), "fuzz".into(), "--truth".into(), truth.clone().into()]);
        all.extend(["--dir".into(), path("work").into()]);
        match programs {
            Programs::Seconds { seed, seconds } => {
                all.extend(["--seed".into(), seed.to_string().into()]);
                all.extend(["--seconds".into(), seconds.to_string().into()]);
            }
            Programs::Count { seed, programs } => {
                all.extend(["--seed".into(), seed.to_string().into()]);
                all.extend(["--programs".into(), programs.to_string().into()]);
            }
            Programs::File(file) => all.extend(["--program".into(), PathBuf::from(file).into()]),
        }
        let ended = run(all)?;
        ended.expect_success()?;
        judge(self.kinds, &json_lines(&truth)?, &json_lines(&events)?)
    }
}
