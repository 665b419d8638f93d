//! RINGWATCH_PART=0/3: the first of three parts of the tests, which are the same in each run.

use std::env;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use libtest_mimic::Trial;

/// Keeps the part that is asked for; all where none is.
///
/// # Panics
/// Where the variable cannot be understood: no test must be left out by mistake.
pub(crate) fn retain(trials: &mut Vec<Trial>) {
    let Ok(value) = env::var("RINGWATCH_PART") else { return };
    let numbers =
        value.split_once('/').and_then(|(part, parts)| Some((part.parse::<u64>().ok()?, parts.parse().ok()?)));
    let Some((part, parts)) = numbers.filter(|&(part, parts)| part < parts) else {
        panic!("RINGWATCH_PART is `{value}`, and not as 0/3")
    };
    trials.retain(|trial| {
        let mut hasher = DefaultHasher::new();
        trial.name().hash(&mut hasher);
        hasher.finish() % parts == part
    });
}
