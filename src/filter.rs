//! Which events are reported, where the kernel side does not decide it: predicates that must all hold.
//!
//! A filter never leaves out what it could not judge: an event is left out only if a predicate certainly does not hold.

use globset::GlobSet;

use crate::event::{Event, Field, Outcome, Process, Text};

/// Whether an event was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Fits,
    /// It was not.
    FitsNot,
    /// What it depends on is not known, not certain, or not whole.
    Unknown,
}

impl From<bool> for Verdict {
    fn from(holds: bool) -> Self {
        if holds { Self::Fits } else { Self::FitsNot }
    }
}

impl std::ops::Not for Verdict {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Fits => Self::FitsNot,
            Self::FitsNot => Self::Fits,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl<T> Field<T> {
    /// What has no such value does not fit.
    fn judge(self, holds: impl FnOnce(T) -> bool) -> Verdict {
        match self {
            Self::Known(value) => holds(value).into(),
            Self::Unknown => Verdict::Unknown,
            Self::Absent => Verdict::FitsNot,
        }
    }
}

/// A process or a thread, wherever its id is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The inode of its pid namespace. `None`: the host's.
    pub namespace: Option<u32>,
    /// Its id there.
    pub number: u32,
}

impl Id {
    fn judge(self, host: u32, namespace: u32, own: u32) -> Verdict {
        match self.namespace {
            None => (self.number == host).into(),
            // A task that has ended is in none.
            Some(_) if namespace == 0 => Verdict::Unknown,
            Some(here) => (here == namespace && self.number == own).into(),
        }
    }
}

/// What a predicate asks.
#[derive(Debug, Clone)]
pub enum Test {
    /// One of its paths matches.
    Path(GlobSet),
    /// None of its paths is outside of these.
    Within(GlobSet),
    /// The thread's name matches.
    Name(GlobSet),
    /// It is of one of these processes.
    Process(Vec<Id>),
    /// It is of one of these threads.
    Thread(Vec<Id>),
    /// It is of one of these users.
    User(Vec<u32>),
    /// It failed.
    Failed,
    /// It took at least so many nanoseconds.
    Latency(u64),
    /// It transferred at least so many bytes.
    Bytes(u64),
}

impl Test {
    fn judge(&self, event: &Event) -> Verdict {
        let of = |test: &dyn Fn(&Process) -> Verdict| event.process.as_deref().map_or(Verdict::Unknown, |p| test(p));
        match self {
            Self::Path(globs) => one_path(event, globs),
            Self::Within(globs) => every_path(event, globs),
            Self::Name(globs) => of(&|p| globs.is_match(&*p.name.text()).into()),
            Self::User(users) => of(&|p| users.contains(&p.uid).into()),
            Self::Process(ids) => of(&|p| any(ids.iter().map(|id| id.judge(p.host_pid, p.pid_ns, p.pid)))),
            // A name that the program chose says which thread it was.
            Self::Thread(_) if event.process.as_deref().is_some_and(|p| p.thread_from_name) => Verdict::Unknown,
            Self::Thread(ids) => of(&|p| any(ids.iter().map(|id| id.judge(p.host_tid, p.pid_ns, p.tid)))),
            Self::Failed => match event.data.outcome() {
                Field::Known(Outcome::Unknown) => Verdict::Unknown,
                outcome => outcome.judge(|outcome| outcome == Outcome::Failure),
            },
            Self::Latency(least) => event.data.latency().judge(|ns| ns >= *least),
            Self::Bytes(least) => event.data.transferred().judge(|bytes| bytes >= *least),
        }
    }
}

fn any(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.fold(Verdict::FitsNot, |all, one| match (all, one) {
        (Verdict::Fits, _) | (_, Verdict::Fits) => Verdict::Fits,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        _ => Verdict::FitsNot,
    })
}

/// Paths that are known, those that were asked for by name, and whether these are not all, or not certain.
fn paths(event: &Event) -> (impl Iterator<Item = &Text>, bool) {
    let asked = event.data.asked();
    let names = asked.map(|asked| &asked.names[..]).unwrap_or_default();
    let unsure = asked.is_some_and(|asked| !asked.certain) || event.data.has_unknown_path();
    (event.data.paths().into_iter().flatten().chain(names), unsure)
}

/// What is cut, or of another mount namespace, is not certainly the path of its file.
fn is_certain(path: &Text, event: &Event) -> bool {
    !path.truncated && path.detached(event.process.as_deref().map(|p| &**p)).is_none()
}

fn one_path(event: &Event, globs: &GlobSet) -> Verdict {
    let (mut known, unsure) = paths(event);
    if known.any(|path| globs.is_match(&*path.text())) {
        return Verdict::Fits;
    }
    let certain = !unsure && paths(event).0.all(|path| is_certain(path, event));
    if certain { Verdict::FitsNot } else { Verdict::Unknown }
}

fn every_path(event: &Event, globs: &GlobSet) -> Verdict {
    let (mut known, unsure) = paths(event);
    if known.any(|path| is_certain(path, event) && !globs.is_match(&*path.text())) {
        return Verdict::FitsNot;
    }
    let certain = !unsure && paths(event).0.all(|path| is_certain(path, event));
    // What has no path is within none.
    if certain { (paths(event).0.count() > 0).into() } else { Verdict::Unknown }
}

/// One thing that must hold.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// Who asks, for people.
    pub option: &'static str,
    /// What.
    pub test: Test,
    /// The opposite must hold.
    pub not: bool,
}

impl Predicate {
    fn judge(&self, event: &Event) -> Verdict {
        let verdict = self.test.judge(event);
        if self.not { !verdict } else { verdict }
    }
}

/// All that must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter(pub Vec<Predicate>);

impl Filter {
    /// Whether the event is to be reported.
    #[must_use]
    pub fn judge(&self, event: &Event) -> Verdict {
        let mut all = Verdict::Fits;
        for predicate in &self.0 {
            match predicate.judge(event) {
                Verdict::FitsNot => return Verdict::FitsNot,
                Verdict::Unknown => all = Verdict::Unknown,
                Verdict::Fits => {}
            }
        }
        all
    }

    /// The options that ask, for people.
    #[must_use]
    pub fn options(&self) -> String {
        let options: Vec<_> = self.0.iter().map(|predicate| predicate.option).collect();
        match &options[..] {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [others @ .., last] => format!("{} or {last}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{self, Asked, Data, File, FileModification, IoRenameat, OldNew, Root, Timestamp};

    fn globs(pattern: &str) -> GlobSet {
        GlobSet::new([globset::Glob::new(pattern).unwrap()]).unwrap()
    }

    fn rename(old: Option<Text>, new: Option<Text>, certain: bool) -> Event {
        let names =
            OldNew { old_path: old, new_path: new, asked: Asked { names: vec![], certain }, ..OldNew::default() };
        let request = event::Request {
            opcode: Some("RENAMEAT"),
            opcode_number: 35,
            user_data: 0,
            ctx: event::Pointer(0),
            result: None,
            error: None,
            outcome: Outcome::Unknown,
            completion: event::Completion::InFlight,
            latency_ns: None,
            submitter: event::Submitter::Thread,
            worker_host_tid: 1,
            executor: None,
            executor_host_tid: None,
            names_dropped: false,
            life: None,
        };
        let flags = crate::opcode::Names::default();
        let data = Data::IoRenameat(IoRenameat { names, flags: 0, flag_names: flags, request });
        Event { timestamp: Timestamp(0), data, process: None }
    }

    fn judge(event: &Event, test: Test, not: bool) -> Verdict {
        Filter(vec![Predicate { option: "--x", test, not }]).judge(event)
    }

    #[test]
    fn an_event_is_left_out_by_its_paths_only_if_all_of_them_match() {
        let text = |path: &str| Some(Text::from(path));
        for (old, new, certain, only, not) in [
            (text("/a/x"), text("/a/y"), true, Verdict::Fits, Verdict::FitsNot),
            (text("/a/x"), text("/b/y"), true, Verdict::Fits, Verdict::Fits),
            (text("/b/x"), text("/b/y"), true, Verdict::FitsNot, Verdict::Fits),
            (text("/b/x"), text("/b/y"), false, Verdict::Unknown, Verdict::Fits),
            (text("/a/x"), text("/a/y"), false, Verdict::Fits, Verdict::Unknown),
            (text("/a/x"), None, true, Verdict::Fits, Verdict::Unknown),
            (None, None, true, Verdict::Unknown, Verdict::Unknown),
            (text("/a/x").map(|t| t.below(Root::Nowhere)), text("/a/y"), true, Verdict::Fits, Verdict::Unknown),
        ] {
            let event = rename(old.clone(), new.clone(), certain);
            assert_eq!(judge(&event, Test::Path(globs("/a/*")), false), only, "{old:?} {new:?} {certain}");
            assert_eq!(judge(&event, Test::Within(globs("/a/*")), true), not, "{old:?} {new:?} {certain}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_left_out_and_what_there_is_not_does_not_fit() {
        let unknown = rename(None, None, false);
        for test in [Test::Failed, Test::Latency(1), Test::User(vec![0]), Test::Name(globs("*"))] {
            assert_eq!(judge(&unknown, test.clone(), false), Verdict::Unknown, "{test:?}");
            assert_eq!(judge(&unknown, test.clone(), true), Verdict::Unknown, "not {test:?}");
        }
        // No bytes are transferred by a rename.
        assert_eq!(judge(&unknown, Test::Bytes(1), false), Verdict::FitsNot);
        let data = Data::FileModification(FileModification { file: File::default(), worker_host_tid: 1 });
        let absent = Event { data, ..unknown };
        for test in [Test::Failed, Test::Latency(0), Test::Bytes(0)] {
            assert_eq!(judge(&absent, test.clone(), false), Verdict::FitsNot, "{test:?}");
        }
        // One that certainly does not hold decides.
        let both = [Test::User(vec![0]), Test::Failed].map(|test| Predicate { option: "--x", test, not: false });
        assert_eq!(Filter(both.to_vec()).judge(&absent), Verdict::FitsNot);
        assert_eq!(Filter(both.to_vec()).options(), "--x or --x");
    }

    #[test]
    fn ids_are_of_their_namespace() {
        let inside = Id { namespace: Some(7), number: 3 };
        assert_eq!(inside.judge(100, 7, 3), Verdict::Fits);
        assert_eq!(inside.judge(3, 8, 3), Verdict::FitsNot);
        assert_eq!(inside.judge(3, 0, 0), Verdict::Unknown);
        assert_eq!(Id { namespace: None, number: 100 }.judge(100, 7, 3), Verdict::Fits);
    }
}
