//! Which events are told: sets, names and patterns to kinds, and kinds to what the kernel side must watch.

use std::str::FromStr;

use globset::{Glob, GlobMatcher};

use crate::event::{self, Kind};
use crate::kernel::plan::{Files, Wanted};
use crate::opcode;

/// One part of `--event`: a set, a name or a pattern; with `-` before it, what is left out.
#[derive(Debug, Clone)]
pub struct Term {
    out: bool,
    kinds: Vec<Kind>,
    /// It names events_lost.
    lost: bool,
}

impl Term {
    /// Whether it asks for io_issue_sqe in particular, and not for a set that it is part of.
    fn names_every_request(&self) -> bool {
        !self.out && self.kinds == [Kind::IoIssueSqe]
    }
}

impl FromStr for Term {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (out, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let glob: GlobMatcher =
            Glob::new(name).map_err(|e| format!("`{name}` is no pattern: {}", e.kind()))?.compile_matcher();
        let fits = |kind: &Kind| kind.page().sets.contains(&name) || glob.is_match(kind.name());
        let kinds: Vec<_> = Kind::ALL.iter().copied().filter(fits).collect();
        let lost = kinds.is_empty() && glob.is_match(LOST);
        if lost && out {
            return Err(format!("{LOST} cannot be left out: a gap is always reported"));
        }
        if kinds.is_empty() && !lost {
            let meant = closest(name).map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
            return Err(format!("there is no event or set `{name}`{meant} (`ringwatch events` lists them)"));
        }
        Ok(Self { out, kinds, lost })
    }
}

impl Term {
    /// Whether it names the event of a gap, which every trace reports.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }
}

const LOST: &str = "events_lost";

/// The event or set that was probably meant.
#[must_use]
pub fn closest(name: &str) -> Option<&'static str> {
    let names = event::pages().flat_map(|page| page.sets.iter().copied().chain([page.name]));
    let near = names.map(|known| (strsim::jaro_winkler(name, known), known)).filter(|(near, _)| *near > 0.9);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// The events that are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    kinds: Vec<Kind>,
    /// `io_issue_sqe` also reports requests that have an event of their own.
    every_request: bool,
    /// Otherwise it does not report these either: they were left out by name.
    left_out: Vec<Kind>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { kinds: vec![Kind::IoWrite], every_request: false, left_out: vec![] }
    }
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { kinds: Kind::ALL.to_vec(), every_request: true, left_out: vec![] }
    }

    /// The terms in order; what begins by leaving something out, begins with the set io_uring. A request is one event: where
    /// `io_issue_sqe` comes by a set, it stands for the requests that no other event reports; by its own name, for all.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn new(terms: &[Term]) -> Result<Self, String> {
        let mut chosen = match terms.first() {
            None => return Ok(Self::default()),
            Some(term) if term.out => {
                Kind::ALL.iter().copied().filter(|kind| kind.page().sets.contains(&"io_uring")).collect()
            }
            Some(_) => vec![],
        };
        let (mut left_out, mut every_request) = (vec![], false);
        for term in terms {
            every_request |= term.names_every_request();
            every_request &= !(term.out && term.kinds.contains(&Kind::IoIssueSqe));
            chosen.retain(|kind| !term.kinds.contains(kind));
            left_out.retain(|kind| !term.kinds.contains(kind));
            if term.out { &mut left_out } else { &mut chosen }.extend(&term.kinds);
        }
        if chosen.is_empty() && terms.iter().all(Term::is_lost) {
            return Err(format!("{LOST} comes with every trace: name the events to trace as well"));
        }
        if chosen.is_empty() {
            return Err("--event leaves every event out".to_owned());
        }
        chosen.sort_unstable();
        Ok(Self { kinds: chosen, every_request, left_out })
    }

    /// Whether this event is reported.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether `io_issue_sqe` reports a request with an event of its own, or with none.
    #[must_use]
    pub fn has_as_any_request(&self, own: Option<Kind>) -> bool {
        let elsewhere = |kind: Kind| self.has(kind) || self.left_out.contains(&kind);
        self.has(Kind::IoIssueSqe) && (self.every_request || !own.is_some_and(elsewhere))
    }

    /// Leaves out what `wanted` does not cover, and returns the names of that.
    pub fn retain(&mut self, wanted: &Wanted) -> Vec<&'static str> {
        let covered = |kind: &Kind| match kind {
            Kind::IoWrite => wanted.writes,
            Kind::IoUringCreate => wanted.created,
            Kind::VfsWrite => wanted.files.write,
            Kind::VfsWritev => wanted.files.writev,
            Kind::SecurityFileOpen => wanted.files.open,
            Kind::FileModification => wanted.files.modified,
            _ => wanted.others(),
        };
        self.kinds.extract_if(.., |kind| !covered(kind)).map(Kind::name).collect()
    }

    /// What the kernel side must watch; `life`: with the steps of each request.
    #[must_use]
    pub fn wanted(&self, life: bool) -> Wanted {
        let files = Files {
            write: self.has(Kind::VfsWrite),
            writev: self.has(Kind::VfsWritev),
            open: self.has(Kind::SecurityFileOpen),
            modified: self.has(Kind::FileModification),
        };
        let mut wanted = Wanted { created: self.has(Kind::IoUringCreate), files, ..Wanted::default() };
        let others = |kinds: &[Kind]| {
            let mut set = [0; 4];
            let others = kinds.iter().filter(|&&kind| kind != Kind::IoWrite).flat_map(|kind| kind.page().opcodes);
            for number in others.filter_map(|name| opcode::number(name)) {
                set[usize::from(number) / 64] |= 1 << (number % 64);
            }
            set
        };
        if self.has(Kind::IoIssueSqe) {
            let unwanted = if self.every_request { &[][..] } else { &self.left_out };
            let writes = !unwanted.contains(&Kind::IoWrite);
            return Wanted { writes, opcodes: others(unwanted).map(|set: u64| !set), wide: true, life, ..wanted };
        }
        wanted.writes = self.has(Kind::IoWrite);
        wanted.opcodes = others(&self.kinds);
        wanted.life = life && (wanted.writes || wanted.others());
        wanted.wide = wanted.life;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(terms: &[&str]) -> String {
        let terms: Vec<Term> = terms.iter().map(|t| t.parse().unwrap()).collect();
        let kinds = Selection::new(&terms).unwrap().kinds;
        kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sets_names_and_patterns() {
        assert_eq!(names(&[]), "io_write");
        assert_eq!(names(&["io_write"]), "io_write");
        assert_eq!(names(&["io_f*"]), "io_fallocate io_ftruncate io_fsync");
        assert_eq!(names(&["io_uring"]).split(' ').count(), Kind::ALL.len() - 4);
        assert_eq!(names(&["vfs_*", "io_write"]), "io_write vfs_write vfs_writev");
        assert_eq!(names(&["io_f*", "-io_fsync"]), "io_fallocate io_ftruncate");
        assert_eq!(names(&["-io_fsync"]).split(' ').count(), Kind::ALL.len() - 5);
        assert!("nothing".parse::<Term>().is_err_and(|e| e.contains("no event or set `nothing`")));
        assert!("io_wirte".parse::<Term>().is_err_and(|e| e.contains("did you mean `io_write`?")));
        assert!("-events_lost".parse::<Term>().is_err_and(|e| e.contains("cannot be left out")));
        assert_eq!(names(&["io_write", "events_lost"]), "io_write");
        assert_eq!(names(&["*"]).split(' ').count(), Kind::ALL.len());
        assert!(Selection::new(&["events_lost".parse().unwrap()]).is_err_and(|e| e.contains("comes with every trace")));
        assert!(Selection::new(&["io_write".parse().unwrap(), "-io_*".parse().unwrap()]).is_err());
    }

    fn selection(terms: &[&str]) -> Selection {
        Selection::new(&terms.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_request_is_one_event_unless_every_request_is_asked_for_by_name() {
        let (write, fsync, nop) = (Some(Kind::IoWrite), Some(Kind::IoFsync), None);
        let of = |terms: &[&str]| [write, fsync, nop].map(|own| selection(terms).has_as_any_request(own));
        for set in [&["io_uring"][..], &["*"], &["io_*"]] {
            assert_eq!(of(set), [false, false, true], "{set:?}");
        }
        for named in
            [&["io_uring", "io_issue_sqe"][..], &["io_issue_sqe", "io_uring"], &["io_issue*"], &["io_issue_sqe"]]
        {
            assert_eq!(of(named), [true; 3], "{named:?}");
        }
        // What is left out does not come back by another name.
        assert_eq!(of(&["io_uring", "-io_fsync"]), [false, false, true]);
        assert_eq!(of(&["io_uring", "-io_fsync", "io_issue_sqe"]), [true; 3]);
        // What was only not asked for does.
        assert_eq!(of(&["io_[iw]*"]), [false, true, true]);
        assert_eq!(of(&["io_uring", "-io_issue_sqe"]), [false; 3]);
        assert_eq!(of(&["io_uring", "-io_fsync", "io_fsync"]), [false, false, true]);
    }

    #[test]
    fn what_is_left_out_is_not_watched_either() {
        let wanted = selection(&["io_uring", "-io_write", "-io_fsync"]).wanted(false);
        assert!(!wanted.writes && wanted.wide);
        assert_eq!(wanted.opcodes, [!(1 << opcode::number("FSYNC").unwrap()), u64::MAX, u64::MAX, u64::MAX]);
        let every = selection(&["io_issue_sqe", "-io_write"]).wanted(false);
        assert!(every.writes && every.opcodes == [u64::MAX; 4]);
    }

    #[test]
    fn every_event_has_a_page_and_a_set() {
        for kind in Kind::ALL {
            assert!(!kind.page().sets.is_empty(), "{kind:?}");
            assert!(kind.page().opcodes.iter().all(|name| opcode::number(name).is_some()), "{kind:?}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_watched() {
        let wanted = |terms: &[&str], life| {
            let terms: Vec<Term> = terms.iter().map(|t| t.parse().unwrap()).collect();
            Selection::new(&terms).unwrap().wanted(life)
        };
        assert_eq!(wanted(&[], false), Wanted::default());
        assert!(!wanted(&["io_uring_create"], true).life);
        let mkdir = wanted(&["io_mkdirat"], false);
        assert_eq!((mkdir.writes, mkdir.opcodes, mkdir.wide), (false, [1 << 37, 0, 0, 0], false));
        let all = wanted(&["io_uring"], false);
        assert!(all.writes && all.created && all.wide && all.others());
    }
}
