//! Where paths begin, and why there is none.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Process, Text};

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Root {
    /// This is no path, or one of a file that has none, such as a pipe.
    #[default]
    None,
    /// At the root of a mount namespace, by its inode number.
    Namespace(u32),
    /// At a mount that is in no namespace.
    Nowhere,
    /// At the root of a file system of which another part is mounted.
    Unreachable,
}

/// Why a path does not begin at the root of the process's mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detached {
    /// The file is on a mount that is attached nowhere: made by open_tree(2) or fsmount(2), or lazily unmounted. The path begins at that mount.
    Nowhere,
    /// It is the path of another mount namespace.
    OtherNamespace,
    /// The file was moved out of what is mounted, or opened by a handle: the path begins at the root of the file system, or as far up as the kernel knows it.
    Unreachable,
}

impl Detached {
    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::OtherNamespace => "other_namespace",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Why the path of a file is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathUnknown {
    /// No open file was found for the descriptor.
    NoFile,
    /// It was renamed, or a directory above it was, each time that it was read.
    Renamed,
    /// It was opened by a handle (open_by_handle_at), and the kernel knows no name of it.
    NoName,
    /// It is below many directories, and so many paths of that kind were asked for at once that this one was not read.
    TooDeep,
    /// ringwatch no longer has it.
    Forgotten,
}

impl PathUnknown {
    /// In place of a path, for people.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            Self::NoFile => "(no file)",
            Self::Renamed => "(renamed meanwhile)",
            Self::NoName => "(opened by handle)",
            Self::TooDeep => "(too deep)",
            Self::Forgotten => "(forgotten)",
        }
    }

    /// As in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFile => "no_file",
            Self::Renamed => "renamed",
            Self::NoName => "no_name",
            Self::TooDeep => "too_deep",
            Self::Forgotten => "forgotten",
        }
    }
}

impl Text {
    /// A path that begins there.
    #[must_use]
    pub fn below(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    /// Why it does not begin at the root of the process's mount namespace.
    #[must_use]
    pub fn detached(&self, process: Option<&Process>) -> Option<Detached> {
        match self.root {
            Root::None => None,
            Root::Nowhere => Some(Detached::Nowhere),
            Root::Unreachable => Some(Detached::Unreachable),
            // A process that has ended is in none.
            Root::Namespace(root) => {
                process.is_some_and(|p| p.mount_ns != 0 && p.mount_ns != root).then_some(Detached::OtherNamespace)
            }
        }
    }
}
