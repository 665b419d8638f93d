//! Names that programs give, and the files that they lead to.

use super::Weigh;
use super::lookup::{self, Answer, Base, Question};
use crate::event::{Led, PathSource, Root, Rules, Text};
use crate::record::{Directory, Names};

/// A directory, and its path at the submission.
#[derive(Debug, Clone)]
struct Place {
    path: Text,
    directory: Directory,
}

impl Place {
    /// `None`: its path does not lead there from the root of its mount namespace.
    fn base(&self, path: &[u8]) -> Option<Base> {
        let Directory { inode, mount, .. } = self.directory;
        let below_root = matches!(self.path.root, Root::Namespace(_)) && !self.path.truncated;
        below_root.then(|| Base { path: path.to_vec(), inode, mount: mount.into() })
    }
}

/// What a request brought along of names.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// By position in the record.
    given: [Vec<u8>; 2],
    /// What is no file of its own: the target of a symbolic link, the name of an attribute.
    pub(super) other: Option<Text>,
    /// What the names are relative to, and what `..` does not lead out of.
    from: [Option<Place>; 2],
    root: Option<Place>,
}

impl Weigh for Held {
    fn weight(&self) -> usize {
        let of = |text: Option<&Text>| text.map_or(0, Weigh::weight);
        // What was forgotten elsewhere is kept alive by this.
        let places = self.from.iter().chain([&self.root]).flatten().map(|place| place.path.weight());
        size_of::<Self>()
            + self.given.iter().map(Vec::len).sum::<usize>()
            + of(self.other.as_ref())
            + places.sum::<usize>()
    }
}

impl Held {
    pub(super) fn new(record: &Names<'_>, path_of: impl Fn(u64) -> Option<Text>) -> Self {
        let place = |directory: Directory| Some(Place { path: path_of(directory.path_id)?, directory });
        let [old, new, other] = record.strings;
        Self {
            given: [old.to_vec(), new.to_vec()],
            other: Some(other).filter(|s| !s.is_empty()).map(|s| Text::new(s, false)),
            from: record.from.map(place),
            root: place(record.root),
        }
    }

    /// The file that a second descriptor named.
    pub(super) fn second_file(&self) -> Option<&Text> {
        self.from[1].as_ref().map(|place| &place.path)
    }

    /// Where one of the names leads: `acted` is the kernel's own word, `look_up` asks the file system, and where neither
    /// tells, the name says what it says.
    pub(super) fn lead(
        &self,
        i: usize,
        rules: Rules,
        source: PathSource,
        acted: Option<&Text>,
        look_up: impl FnOnce(Question) -> Option<Answer>,
    ) -> Option<Led> {
        let given = &self.given[i][..];
        if given.is_empty() {
            return None;
        }
        let mut led = Led {
            given: Text::new(given, false),
            path: None,
            source,
            certain: false,
            asked: vec![Text::new(given, false)],
        };
        if let Some(path) = acted {
            (led.path, led.source, led.certain) = (Some(path.clone()), PathSource::Kernel, true);
        }
        let Some(from) = &self.from[i] else { return Some(led) };
        let absolute = given.starts_with(b"/");
        let base = from.path.exact();
        let root = if rules.in_root { Some(from) } else { self.root.as_ref() };
        let floor = root.map(|place| place.path.exact()).unwrap_or_default();
        let below = |path: &[u8]| Text::new(path, from.path.truncated).below(from.path.root);
        let literal = below(&join(base, floor, given));
        led.asked = vec![literal.clone(), below(&collapse(base, floor, given))];
        if led.certain {
            return Some(led);
        }
        let question = || {
            let root = root?.base(floor)?;
            let (follow, links) = (rules.follow, !rules.no_links);
            Some(Question { root, base: from.base(base)?, given: given.to_vec(), follow, links })
        };
        // What it does not allow fails, wherever it would have led.
        let refused = rules.beneath && (absolute || given.split(|&b| b == b'/').any(|part| part == b".."));
        let answer = if source == PathSource::Name && !refused { question().and_then(look_up) } else { None };
        let text = match answer {
            Some(answer) => {
                led.source = PathSource::Lookup;
                // A descriptor may name another file for as long as that takes.
                let by_place = !rules.in_root && (absolute || !rules.by_descriptor);
                led.certain = answer.sure && rules.same_place && by_place;
                below(&answer.path)
            }
            None => literal,
        };
        led.path = Some(text);
        Some(led)
    }
}

/// `given` below `base`, whose own names are no links: only the `..` at its beginning is taken back, since behind a name
/// that may be a link it leads elsewhere. `floor` is the path that nothing leads out of.
fn join(base: &[u8], floor: &[u8], given: &[u8]) -> Vec<u8> {
    put_together(base, floor, given, false)
}

/// The same with every `..` taken back, as one reads it.
fn collapse(base: &[u8], floor: &[u8], given: &[u8]) -> Vec<u8> {
    put_together(base, floor, given, true)
}

fn put_together(base: &[u8], floor: &[u8], given: &[u8], all: bool) -> Vec<u8> {
    let floor: Vec<&[u8]> = lookup::parts(floor).collect();
    let mut path: Vec<&[u8]> = lookup::parts(base).collect();
    let mut straight = true;
    for part in lookup::parts(given) {
        match part {
            b".." if straight || all => {
                if path != floor {
                    path.pop();
                }
            }
            _ => {
                straight = false;
                path.push(part);
            }
        }
    }
    lookup::path(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn names_are_relative_to_their_directory() {
        let joined = |base: &str, given: &str| text(&join(base.as_bytes(), b"/", given.as_bytes()));
        assert_eq!(joined("/a/b", "c"), "/a/b/c");
        assert_eq!(joined("/a/b", "./c//d/"), "/a/b/c/d");
        assert_eq!(joined("/a/b", "../../../c"), "/c");
        assert_eq!(joined("/", "/etc/passwd"), "/etc/passwd");
        assert_eq!(joined("/", "/"), "/");
    }

    #[test]
    fn behind_what_may_be_a_link_nothing_is_taken_back() {
        assert_eq!(text(&join(b"/a", b"/", b"../link/../x")), "/link/../x");
        assert_eq!(text(&collapse(b"/a", b"/", b"../link/../x")), "/x");
    }

    #[test]
    fn nothing_leads_out_of_a_chroot() {
        let joined = |base: &str, given: &str| text(&join(base.as_bytes(), b"/jail", given.as_bytes()));
        assert_eq!(joined("/jail", "/../../etc"), "/jail/etc");
        assert_eq!(joined("/jail", "/.."), "/jail");
        assert_eq!(joined("/jail/a/b", "../../../../x"), "/jail/x");
        assert_eq!(text(&collapse(b"/jail/a", b"/jail", b"c/../../../x")), "/jail/x");
        // From outside of the root nothing stops there.
        assert_eq!(joined("/etc", "../../x"), "/x");
    }

    fn place(path: &str) -> Place {
        let path = Text::new(path.as_bytes(), false).below(Root::Namespace(1));
        Place { path, directory: Directory { path_id: 1, inode: 2, mount: 3 } }
    }

    fn lead(given: &str, rules: Rules, answer: Option<(&str, bool)>) -> Led {
        let held = Held {
            given: [given.as_bytes().to_vec(), vec![]],
            other: None,
            from: [Some(place("/a")), None],
            root: Some(place("/")),
        };
        let answer = answer.map(|(path, sure)| Answer { path: path.as_bytes().to_vec(), sure });
        held.lead(0, rules, PathSource::Name, None, |_| answer).expect("a name")
    }

    #[test]
    fn only_what_cannot_have_changed_is_certain() {
        let stays = Rules { same_place: true, ..Rules::NONE };
        let found = Some(("/b/x", true));
        let told = lead("link/../x", stays, found);
        assert_eq!((told.path.as_ref().map(Text::exact), told.certain), (Some(&b"/b/x"[..]), true));
        assert_eq!(told.asked.iter().map(|t| t.text().into_owned()).collect::<Vec<_>>(), ["/a/link/../x", "/a/x"]);
        assert!(!lead("x", Rules::NONE, found).certain);
        assert!(!lead("x", Rules { by_descriptor: true, ..stays }, found).certain);
        assert!(lead("/x", Rules { by_descriptor: true, ..stays }, found).certain);
        assert!(!lead("/x", Rules { in_root: true, ..stays }, found).certain);
        assert!(!lead("x", stays, Some(("/b/x", false))).certain);
        let text = lead("link/../x", stays, None);
        assert_eq!((text.path.as_ref().map(Text::exact), text.certain), (Some(&b"/a/link/../x"[..]), false));
        assert_eq!(text.source, PathSource::Name);
    }
}
