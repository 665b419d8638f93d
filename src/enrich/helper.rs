//! Work that may have to wait for a program that is watched: it is done by a thread of its own, and given up on in time.

use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Of each second this much may go into waiting, for as long as this.
const SHARE: u32 = 4;
const SAVED: Duration = Duration::from_millis(250);
/// No answer takes longer, unless somebody holds it up.
const PATIENCE: Duration = Duration::from_millis(250);
/// Threads that are given up on and have not come back; with more, there are no answers until one does.
const STUCK_MAX: usize = 4;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread with a state of its own.
#[derive(Debug)]
pub(super) struct Helper<S> {
    name: &'static str,
    make: fn() -> Option<S>,
    worker: Option<Worker<S>>,
    stuck: Vec<JoinHandle<()>>,
    /// Time that may be spent, and when it was counted.
    left: Duration,
    counted: Instant,
}

#[derive(Debug)]
struct Worker<S> {
    jobs: Sender<Job<S>>,
    thread: JoinHandle<()>,
}

impl<S: 'static> Helper<S> {
    /// The thread starts with the first question; `make` gives its state, or nothing: then there are no answers.
    pub(super) fn new(name: &'static str, make: fn() -> Option<S>) -> Self {
        Self { name, make, worker: None, stuck: vec![], left: SAVED, counted: Instant::now() }
    }

    /// `None`: there was no answer in time, or too much time went into answers before.
    pub(super) fn ask<R: Send + 'static>(&mut self, job: impl FnOnce(&mut S) -> R + Send + 'static) -> Option<R> {
        let begin = Instant::now();
        self.left = SAVED.min(self.left + begin.saturating_duration_since(self.counted) / SHARE);
        self.counted = self.counted.max(begin);
        if self.left.is_zero() {
            return None;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let job = Box::new(move |state: &mut S| {
            let begin = Instant::now();
            let found = job(state);
            // Nobody waits any more: then nobody wants it.
            let _ = answer.send((found, begin.elapsed()));
        });
        self.worker()?.jobs.send(job).ok()?;
        match answered.recv_timeout(PATIENCE) {
            // A busy machine may let the thread wait for its turn, which is nobody's doing.
            Ok((found, took)) => {
                self.spend(took);
                Some(found)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.spend(begin.elapsed());
                self.stuck.extend(self.worker.take().map(|worker| worker.thread));
                None
            }
            // A thread that ended without an answer has no state to answer from.
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
        }
    }

    /// What it took beyond what was left is waited for: nobody gets more than the share by keeping each answer just too long.
    fn spend(&mut self, took: Duration) {
        let beyond = took.saturating_sub(self.left);
        if !beyond.is_zero() {
            self.counted = Instant::now() + beyond * SHARE;
        }
        self.left = self.left.saturating_sub(took);
    }

    fn worker(&mut self) -> Option<&Worker<S>> {
        self.stuck.retain(|thread| !thread.is_finished());
        if self.worker.is_none() && self.stuck.len() < STUCK_MAX {
            let (jobs, work) = mpsc::channel::<Job<S>>();
            let make = self.make;
            let body = move || {
                let Some(mut state) = make() else { return };
                work.iter().for_each(|job| job(&mut state));
            };
            let thread = thread::Builder::new().name(self.name.to_owned()).spawn(body).ok()?;
            self.worker = Some(Worker { jobs, thread });
        }
        self.worker.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question that is never answered costs a bounded time, and the next ones are answered.
    #[test]
    fn what_is_stuck_is_given_up_on() {
        let mut helper = Helper::new("helper", || Some(1));
        assert_eq!(helper.ask(|n| std::mem::replace(n, 2)), Some(1));
        assert_eq!(helper.ask(|n| *n), Some(2));
        let (hold, held) = mpsc::channel::<()>();
        assert_eq!(helper.ask(move |_| held.recv().is_ok()), None);
        assert_eq!(helper.stuck.len(), 1);
        helper.left = SAVED;
        assert_eq!(helper.ask(|n| *n), Some(1), "a new thread begins anew");
        drop(hold);
        while helper.stuck.iter().any(|thread| !thread.is_finished()) {
            thread::yield_now();
        }
        assert_eq!(helper.ask(|n| *n), Some(1));
        assert!(helper.stuck.is_empty());
    }

    #[test]
    fn more_than_a_few_are_not_held_up() {
        let mut helper = Helper::new("helper", || Some(()));
        let mut holds = vec![];
        for _ in 0..STUCK_MAX {
            let (hold, held) = mpsc::channel::<()>();
            holds.push(hold);
            helper.left = SAVED;
            assert_eq!(helper.ask(move |()| held.recv().is_ok()), None);
        }
        helper.left = SAVED;
        assert_eq!(helper.ask(|()| true), None);
        drop(holds);
    }

    #[test]
    fn what_was_spent_too_much_is_waited_for() {
        let mut helper = Helper::new("helper", || Some(()));
        helper.spend(SAVED + Duration::from_secs(10));
        assert!(helper.counted > Instant::now() + Duration::from_secs(30));
        assert_eq!(helper.ask(|()| true), None);
        helper.counted = Instant::now().checked_sub(Duration::from_secs(1)).expect("a machine that runs for a second");
        assert_eq!(helper.ask(|()| true), Some(true));
    }

    #[test]
    fn without_a_state_there_are_no_answers() {
        let mut helper = Helper::<()>::new("helper", || None);
        assert_eq!(helper.ask(|()| true), None);
    }
}
