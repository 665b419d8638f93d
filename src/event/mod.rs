//! The public events: what sinks write, and what the JSON Schema describes. Each has a file: its fields, how it is made of
//! a request's parts, its row in a table, and its page in the manual. What several have is in `parts`.

mod body;
mod create;
mod fallocate;
mod field;
mod file_modification;
mod file_open;
mod fsync;
mod ftruncate;
mod issue;
mod lost;
mod mkdirat;
mod openat;
mod page;
mod parts;
mod path;
mod process;
mod renameat;
mod rendered;
mod setxattr;
mod splice;
mod symlinkat;
mod text;
mod unlinkat;
mod uring_cmd;
mod vfs_write;
mod write;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::body::{Body, Part, Returns, Row};
pub use self::create::IoUringCreate;
pub use self::fallocate::IoFallocate;
pub use self::field::Field;
pub use self::file_modification::FileModification;
pub use self::file_open::SecurityFileOpen;
pub use self::fsync::IoFsync;
pub use self::ftruncate::IoFtruncate;
pub use self::issue::IoIssueSqe;
pub use self::lost::{EventsLost, LossCause};
pub use self::mkdirat::IoMkdirat;
pub use self::openat::IoOpenat;
pub(crate) use self::page::Asks;
pub use self::page::Page;
pub use self::parts::{
    Asked, Completion, Descriptor, Executor, File, Named, OldNew, Outcome, PathSource, Pointer, Request, Stage, Step,
    Submitter,
};
pub(crate) use self::parts::{Led, More, Parts, Rules};
pub use self::path::{Detached, PathUnknown, Root};
pub use self::process::{NoCommandLine, Process};
pub use self::renameat::IoRenameat;
pub use self::rendered::Rendered;
pub use self::setxattr::IoSetxattr;
pub use self::splice::IoSplice;
pub use self::symlinkat::IoSymlinkat;
pub use self::text::{Base64, Text};
pub use self::unlinkat::IoUnlinkat;
pub use self::uring_cmd::IoUringCmd;
pub use self::vfs_write::VfsWrite;
pub use self::write::IoWrite;
use crate::opcode;
pub use crate::time::Timestamp;

/// The list of events. `requests` are made of a request's parts; `others` of what their probes saw.
macro_rules! events {
    (
        requests { $($(#[$about:meta])* $kind:ident($data:ident): $page:path,)* }
        others { $($(#[$other_about:meta])* $other:ident($other_data:ident): $other_page:path,)* }
    ) => {
        /// An event that can be asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$about])* $kind,)*
            $($(#[$other_about])* $other,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)* $(Self::$other,)*];

            /// Its page in the manual.
            #[must_use]
            pub fn page(self) -> &'static Page {
                match self {
                    $(Self::$kind => &$page,)*
                    $(Self::$other => &$other_page,)*
                }
            }
        }

        /// What happened, by the name of the event.
        #[derive(Debug, Serialize, JsonSchema)]
        #[serde(tag = "event", content = "data", rename_all = "snake_case")]
        #[allow(clippy::large_enum_variant, reason = "one is made at a time, on the stack")]
        pub enum Data {
            $($(#[$about])* $kind($data),)*
            $($(#[$other_about])* $other($other_data),)*
            /// A gap in the stream.
            EventsLost(EventsLost),
        }

        impl Data {
            /// What a request's event says. `None`: this event is not made of requests.
            pub(crate) fn of_request(kind: Kind, parts: Parts) -> Option<Self> {
                match kind {
                    $(Kind::$kind => Some(Self::$kind(parts.into())),)*
                    $(Kind::$other => None,)*
                }
            }

            /// Which event it is. `None`: a gap.
            #[must_use]
            pub fn kind(&self) -> Option<Kind> {
                match self {
                    $(Self::$kind(_) => Some(Kind::$kind),)*
                    $(Self::$other(_) => Some(Kind::$other),)*
                    Self::EventsLost(_) => None,
                }
            }

            /// What its room says of it. `None`: a gap.
            #[must_use]
            pub fn body(&self) -> Option<&dyn Body> {
                match self {
                    $(Self::$kind(data) => Some(data),)*
                    $(Self::$other(data) => Some(data),)*
                    Self::EventsLost(_) => None,
                }
            }
        }
    };
}

events! {
    requests {
        /// A write.
        IoWrite(IoWrite): write::PAGE,
        /// A request of any opcode.
        IoIssueSqe(IoIssueSqe): issue::PAGE,
        /// A file was opened.
        IoOpenat(IoOpenat): openat::PAGE,
        /// Room for a file was made or taken away.
        IoFallocate(IoFallocate): fallocate::PAGE,
        /// A file's length was set.
        IoFtruncate(IoFtruncate): ftruncate::PAGE,
        /// Data was moved into a file.
        IoSplice(IoSplice): splice::PAGE,
        /// Data was copied from pipe to pipe.
        IoTee(IoSplice): splice::TEE,
        /// A file was renamed.
        IoRenameat(IoRenameat): renameat::PAGE,
        /// A name was removed.
        IoUnlinkat(IoUnlinkat): unlinkat::PAGE,
        /// A directory was made.
        IoMkdirat(IoMkdirat): mkdirat::PAGE,
        /// A symbolic link was made.
        IoSymlinkat(IoSymlinkat): symlinkat::PAGE,
        /// A hard link was made.
        IoLinkat(IoRenameat): renameat::LINKAT,
        /// An attribute was set.
        IoSetxattr(IoSetxattr): setxattr::PAGE,
        /// A file was written back.
        IoFsync(IoFsync): fsync::PAGE,
        /// A command for a driver.
        IoUringCmd(IoUringCmd): uring_cmd::PAGE,
    }
    others {
        /// A ring was created.
        IoUringCreate(IoUringCreate): create::PAGE,
        /// A system call wrote.
        VfsWrite(VfsWrite): vfs_write::PAGE,
        /// A system call wrote a vector.
        VfsWritev(VfsWrite): vfs_write::WRITEV,
        /// A file was opened.
        SecurityFileOpen(SecurityFileOpen): file_open::PAGE,
        /// A file was changed.
        FileModification(FileModification): file_modification::PAGE,
    }
}

impl Kind {
    /// The event's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.page().name
    }

    /// The event of requests with this opcode in particular.
    #[must_use]
    pub fn of_opcode(number: u8) -> Option<Self> {
        let name = opcode::name(number)?;
        Self::ALL.iter().copied().find(|kind| kind.page().opcodes.contains(&name))
    }
}

/// The pages of all events, the gap's the last.
pub fn pages() -> impl Iterator<Item = &'static Page> {
    Kind::ALL.iter().map(|kind| kind.page()).chain([&lost::PAGE])
}

impl Data {
    /// What it has as a request.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.body()?.request()
    }

    /// The paths of files that it names.
    #[must_use]
    pub fn paths(&self) -> [Option<&Text>; 2] {
        self.body().map_or([None, None], Body::paths)
    }

    /// Why the path of its open file is null.
    #[must_use]
    pub fn path_unknown(&self) -> Option<PathUnknown> {
        self.body()?.file()?.path_unknown
    }

    /// Whether it has a path that is not known.
    #[must_use]
    pub fn has_unknown_path(&self) -> bool {
        self.body().is_some_and(Body::has_unknown_path)
    }

    /// What it says of names that a program gave; `None`: it is not about names.
    #[must_use]
    pub fn asked(&self) -> Option<&Asked> {
        self.body()?.asked()
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Field<Outcome> {
        self.body().map_or(Field::Absent, Body::outcome)
    }

    /// Nanoseconds from submission to completion.
    #[must_use]
    pub fn latency(&self) -> Field<u64> {
        self.body().map_or(Field::Absent, Body::latency)
    }

    /// Bytes transferred; 0 of what failed.
    #[must_use]
    pub fn transferred(&self) -> Field<u64> {
        self.body().map_or(Field::Absent, Body::transferred)
    }
}

/// One line of the stream.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Event {
    /// When the outcome was known; the submission was latency_ns earlier.
    #[schemars(with = "String")]
    pub timestamp: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub data: Data,
    /// The submitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Process>")]
    pub process: Option<Arc<Rendered<Process>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_name_a_set_and_known_opcodes() {
        let schema = crate::schema::schema_of::<Data>().to_string();
        for page in pages() {
            assert!(schema.contains(&format!("\"const\":\"{}\"", page.name)), "{}: {schema}", page.name);
            assert!(!page.sets.is_empty() && !page.summary.is_empty(), "{}", page.name);
            assert!(page.opcodes.iter().all(|name| opcode::number(name).is_some()), "{}", page.name);
        }
    }
}
