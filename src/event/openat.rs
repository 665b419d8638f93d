//! `io_openat`.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;
use super::body::{Body, Returns, Row, flags, marks};
use super::page::{Asks, Page};
use super::parts::{Asked, Named, Parts, Request, Rules, low, unsigned};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// A file was opened (OPENAT, OPENAT2).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoOpenat {
    #[serde(flatten)]
    pub name: Named,
    /// O_* as a number, with O_LARGEFILE where the kernel adds it.
    pub flags: u64,
    /// Their names; bits without one as hex numbers.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// Permissions of a file that is made.
    pub mode: u32,
    /// RESOLVE_* of OPENAT2 as a number.
    pub resolve: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub resolve_names: Names,
    /// This open made the file, also without a name (O_TMPFILE). Null where it did not succeed.
    pub created: Option<bool>,
    /// This open made an older file empty (O_TRUNC). Null where it did not succeed.
    pub truncated: Option<bool>,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Device of the opened file, in the kernel's encoding: major << 20 | minor.
    pub device: Option<u32>,
    /// Inode number of the opened file.
    pub inode: Option<u64>,
    /// Index among the ring's registered files that the file went to. Null where it got a descriptor.
    pub fixed_slot: Option<u32>,
    #[serde(flatten)]
    pub request: Request,
}

fn rules(asks: &Asks) -> Rules {
    let [flags, _, resolve, _] = asks.arg.map(unsigned);
    let made = flags & opcode::O_CREAT != 0 && flags & opcode::O_EXCL != 0;
    Rules {
        follow: flags & opcode::O_NOFOLLOW == 0 && !made,
        no_links: resolve & opcode::RESOLVE_NO_SYMLINKS != 0,
        in_root: resolve & opcode::RESOLVE_IN_ROOT != 0,
        beneath: resolve & opcode::RESOLVE_BENEATH != 0,
        ..Rules::below(asks.fd)
    }
}

impl From<Parts> for IoOpenat {
    fn from(parts: Parts) -> Self {
        let [flags, mode, resolve, slot] = parts.asks.arg;
        let (flags, resolve) = (unsigned(flags), unsigned(resolve));
        let opened = parts.posted.filter(|&result| result >= 0);
        let created = opened.map(|_| parts.created || opcode::makes_unnamed(flags));
        let mut name = parts.name(0, parts.dirfd());
        if parts.file.path.is_some() {
            name.is_of(&parts.file);
        }
        Self {
            name,
            flags,
            flag_names: opcode::open_flags(flags),
            mode: low(mode),
            resolve,
            resolve_names: opcode::resolve_flags(resolve),
            created,
            truncated: created.map(|created| flags & opcode::O_TRUNC != 0 && !created),
            deleted: parts.file.deleted,
            path_stale: parts.file.path_stale,
            device: parts.file.device,
            inode: parts.file.inode,
            fixed_slot: match low(slot) {
                0 => None,
                // The kernel chose it.
                u32::MAX => opened.map(i32::cast_unsigned),
                slot => Some(slot - 1),
            },
            request: parts.request,
        }
    }
}

impl Body for IoOpenat {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn paths(&self) -> [Option<&Text>; 2] {
        [self.name.path.as_ref(), None]
    }

    fn asked(&self) -> Option<&Asked> {
        Some(&self.name.asked)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.name.shown();
        shown.push(flags(&self.flag_names));
        shown.extend(marks([(self.created == Some(true), "(created)"), (self.truncated == Some(true), "(truncated)")]));
        let returns = self.fixed_slot.map_or(Returns::Descriptor, Returns::Slot);
        Row { returns, ..Row::request(&self.request, shown) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_openat",
    summary: "a file was opened through io_uring",
    description: "Exactly one event for each OPENAT and OPENAT2 request, reported once its outcome is known. After success the path is that of the opened file, from the kernel's own object, with symbolic links followed; after failure it is built from the name and the directory that it is relative to.",
    use_cases: &["Detect opens that bypass system-call monitoring.", "See which opens created or truncated files."],
    related: &["io_write", "security_file_open"],
    opcodes: &["OPENAT", "OPENAT2"],
    rules: |asks, _| rules(asks),
    schema: schema_of::<IoOpenat>,
    ..Page::REQUEST
};
