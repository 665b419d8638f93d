//! Looking a name up as the kernel does, from the root of the mount namespace down.
//!
//! ringwatch comes after the fact, so an answer is sure only where no directory that a name was looked up in has changed
//! since: the kernel sets a directory's time of change with every name that is made, removed or replaced in it, and no
//! program can set that time.

use std::rc::Rc;

/// Links that the kernel follows for one name.
const LINKS: usize = 40;
/// Looks at one name are bounded, as a program chooses how winding it is.
const STEPS: usize = 400;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Link,
    Other,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) inode: u64,
    pub(super) mount: u64,
    /// The latest time, since the epoch, at which names in it may have changed.
    pub(super) changed_ns: i64,
    /// Its file system answers at once, and keeps that time.
    pub(super) honest: bool,
}

/// What is found under a name.
#[derive(Debug)]
pub(super) enum Found<F> {
    Is(F, Facts),
    /// Nothing.
    Missing,
    /// It cannot be told.
    Unknown,
}

/// Directories and links.
pub(super) trait Tree {
    type File;

    fn root(&self) -> Option<(Self::File, Facts)>;
    /// Asked only of directories that are honest.
    fn child(&self, directory: &Self::File, name: &[u8]) -> Found<Self::File>;
    fn target(&self, link: &Self::File) -> Option<Vec<u8>>;
}

/// A directory as the kernel had it when the request was submitted.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) path: Vec<u8>,
    pub(super) inode: u64,
    pub(super) mount: u64,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// What `..` and absolute links do not lead out of.
    pub(super) root: Base,
    /// What the name is relative to; of an absolute one the root.
    pub(super) base: Base,
    pub(super) given: Vec<u8>,
    /// A link at the end of the name is followed.
    pub(super) follow: bool,
    /// Links are followed at all.
    pub(super) links: bool,
}

/// Where the name leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) path: Vec<u8>,
    /// It led there from the time on that was asked for.
    pub(super) sure: bool,
}

/// Names without `.` and what is empty.
pub(super) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Names to a path.
pub(super) fn path<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = vec![];
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() { b"/".to_vec() } else { path }
}

#[derive(Debug)]
struct Node<F> {
    name: Vec<u8>,
    file: F,
    facts: Facts,
}

/// The way to a directory, each node below the one before.
type Way<F> = Vec<Rc<Node<F>>>;

struct Walk<'a, T: Tree> {
    tree: &'a T,
    question: &'a Question,
    /// What happened before that does not matter.
    since_ns: i64,
    steps: usize,
    sure: bool,
}

/// `None`: it cannot be told.
pub(super) fn look_up<T: Tree>(tree: &T, question: &Question, since_ns: i64) -> Option<Answer> {
    Walk { tree, question, since_ns, steps: 0, sure: true }.run()
}

impl<T: Tree> Walk<'_, T> {
    /// A name in the last directory of the way.
    fn child(&mut self, way: &Way<T::File>, name: &[u8]) -> Option<Option<Rc<Node<T::File>>>> {
        self.steps += 1;
        let last = way.last()?;
        if self.steps > STEPS || !last.facts.honest {
            return None;
        }
        if last.facts.kind != Kind::Directory {
            return Some(None);
        }
        self.sure &= last.facts.changed_ns < self.since_ns;
        match self.tree.child(&last.file, name) {
            Found::Is(file, facts) => Some(Some(Rc::new(Node { name: name.to_vec(), file, facts }))),
            Found::Missing => Some(None),
            Found::Unknown => None,
        }
    }

    /// The way to a directory by its true path, which no link is in.
    fn enter(&mut self, base: &Base) -> Option<Way<T::File>> {
        let (file, facts) = self.tree.root()?;
        let mut way = vec![Rc::new(Node { name: vec![], file, facts })];
        for name in parts(&base.path) {
            let node = self.child(&way, name)??;
            if node.facts.kind == Kind::Link {
                return None;
            }
            way.push(node);
        }
        let found = way.last()?.facts;
        (found.inode == base.inode && found.mount == base.mount).then_some(way)
    }

    fn run(mut self) -> Option<Answer> {
        let root = self.enter(&self.question.root)?;
        let mut way = self.enter(&self.question.base)?;
        let given = &self.question.given[..];
        // Behind a name that ends in `.` there is a directory: the name before it is followed.
        let ends_in_dot = given.rsplit(|&b| b == b'/').find(|part| !part.is_empty()).is_some_and(|part| part == b".");
        let follow = self.question.follow || ends_in_dot;
        let mut todo: Vec<Vec<u8>> = parts(given).rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                if way.last()?.facts.kind != Kind::Directory {
                    return None;
                }
                let at_root = way.len() == root.len() && way.iter().zip(&root).all(|(a, b)| a.name == b.name);
                if !at_root && way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            if todo.is_empty() && !follow {
                return Some(self.answer(&way, &name, &todo));
            }
            let Some(node) = self.child(&way, &name)? else { return Some(self.answer(&way, &name, &todo)) };
            if node.facts.kind != Kind::Link {
                way.push(node);
                continue;
            }
            if !self.question.links {
                return Some(self.answer(&way, &name, &todo));
            }
            links += 1;
            let target = self.tree.target(&node.file).filter(|target| !target.is_empty() && links <= LINKS)?;
            if target.starts_with(b"/") {
                way.clone_from(&root);
            }
            todo.extend(parts(&target).rev().map(<[u8]>::to_vec));
            if todo.len() > STEPS {
                return None;
            }
        }
        let path = path(way.iter().skip(1).map(|node| &node.name[..]));
        Some(Answer { path, sure: self.sure })
    }

    /// The way, and what comes behind it as it was given.
    fn answer(&self, way: &Way<T::File>, name: &[u8], todo: &[Vec<u8>]) -> Answer {
        let behind = std::iter::once(name).chain(todo.iter().rev().map(|part| &part[..]));
        let path = path(way.iter().skip(1).map(|node| &node.name[..]).chain(behind));
        // Behind what is not there, `..` leads nowhere.
        Answer { path, sure: self.sure && !todo.iter().any(|part| part == b"..") }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files by path; links with their target.
    #[derive(Debug, Default)]
    struct Fake(BTreeMap<&'static str, (Kind, &'static str, i64)>);

    impl Fake {
        fn facts(&self, path: &str) -> Option<Facts> {
            let (kind, _, changed_ns) = *self.0.get(path)?;
            let inode = self.0.keys().position(|p| *p == path)? as u64;
            Some(Facts { kind, inode, mount: 7, changed_ns, honest: !path.starts_with("/proc") })
        }
    }

    impl Tree for Fake {
        type File = String;

        fn root(&self) -> Option<(String, Facts)> {
            Some((String::new(), self.facts("")?))
        }

        fn child(&self, directory: &String, name: &[u8]) -> Found<String> {
            let path = format!("{directory}/{}", String::from_utf8_lossy(name));
            match self.facts(&path) {
                Some(facts) => Found::Is(path, facts),
                None => Found::Missing,
            }
        }

        fn target(&self, link: &String) -> Option<Vec<u8>> {
            Some(self.0.get(&link[..])?.1.as_bytes().to_vec())
        }
    }

    fn tree() -> Fake {
        let directories = ["", "/a", "/a/b", "/a/b/c", "/jail", "/jail/a", "/etc", "/proc", "/x", "/x/y"];
        let links = [
            ("/a/up", ".."),
            ("/a/to-c", "b/c"),
            ("/x/y/etc", "/etc"),
            ("/x/loop", "loop"),
            ("/x/twice", "y/etc"),
            ("/jail/out", "/a"),
            ("/jail/a/back", "../.."),
            ("/x/proc", "/proc/self"),
        ];
        let mut all = BTreeMap::new();
        for name in directories {
            all.insert(name, (Kind::Directory, "", if name == "/x/y" { 100 } else { 1 }));
        }
        for (name, target) in links {
            all.insert(name, (Kind::Link, target, 1));
        }
        all.insert("/a/file", (Kind::Other, "", 1));
        Fake(all)
    }

    fn ask(root: &str, base: &str, given: &str, follow: bool) -> Option<(String, bool)> {
        let tree = tree();
        let of = |path: &str| tree.facts(if path == "/" { "" } else { path }).map(|f| (f.inode, f.mount));
        let ((root_inode, mount), (inode, _)) = (of(root)?, of(base)?);
        let root = Base { path: root.as_bytes().to_vec(), inode: root_inode, mount };
        let base = Base { path: base.as_bytes().to_vec(), inode, mount };
        let question = Question { root, base, given: given.as_bytes().to_vec(), follow, links: true };
        look_up(&tree, &question, 50).map(|a| (String::from_utf8_lossy(&a.path).into_owned(), a.sure))
    }

    fn sure(path: &str) -> Option<(String, bool)> {
        Some((path.to_owned(), true))
    }

    #[test]
    fn links_on_the_way_are_followed() {
        assert_eq!(ask("/", "/", "/a/to-c/../victim", false), sure("/a/b/victim"));
        assert_eq!(ask("/", "/a", "up/etc/passwd", false), sure("/etc/passwd"));
        assert_eq!(ask("/", "/a", "to-c/new", false), sure("/a/b/c/new"));
    }

    #[test]
    fn a_link_at_the_end_only_where_it_is_asked_for() {
        assert_eq!(ask("/", "/a", "to-c", false), sure("/a/to-c"));
        assert_eq!(ask("/", "/a", "to-c", true), sure("/a/b/c"));
        assert_eq!(ask("/", "/a", "to-c/.", false), sure("/a/b/c"));
        assert_eq!(ask("/", "/a", "to-c/", false), sure("/a/to-c"));
        assert_eq!(ask("/", "/x", "loop", true), None);
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        assert_eq!(ask("/", "/a", "../../../../etc/x", false), sure("/etc/x"));
        assert_eq!(ask("/jail", "/jail/a", "../../../etc", false), sure("/jail/etc"));
        assert_eq!(ask("/jail", "/jail", "out/x", false), sure("/jail/a/x"));
        assert_eq!(ask("/jail", "/jail/a", "back/x", false), sure("/jail/x"));
        // A directory outside of the root never meets it.
        assert_eq!(ask("/jail", "/a/b", "../../etc/x", false), sure("/etc/x"));
    }

    #[test]
    fn what_changed_since_is_not_sure() {
        assert_eq!(ask("/", "/x", "y/new", false), sure("/x/y/new"));
        assert_eq!(ask("/", "/x", "y/etc/new", false), Some(("/etc/new".to_owned(), false)));
        assert_eq!(ask("/", "/x", "twice/new", false), Some(("/etc/new".to_owned(), false)));
    }

    #[test]
    fn what_is_not_there_stays_as_given() {
        assert_eq!(ask("/", "/a", "missing/./x", false), sure("/a/missing/x"));
        assert_eq!(ask("/", "/a", "missing/../x", false), Some(("/a/missing/../x".to_owned(), false)));
        assert_eq!(ask("/", "/a", "file/x", false), sure("/a/file/x"));
        assert_eq!(ask("/", "/a", "file/../x", false), None);
        assert_eq!(ask("/", "/a", "missing", true), sure("/a/missing"));
    }

    #[test]
    fn file_systems_that_may_not_answer_are_not_asked() {
        assert_eq!(ask("/", "/", "/proc/x/y", false), None);
        assert_eq!(ask("/", "/x", "proc/y", false), None);
    }

    #[test]
    fn winding_names_have_an_end() {
        let winding = "a/../".repeat(500);
        assert_eq!(ask("/", "/", &winding, false), None);
    }
}
