//! `io_setxattr`.

use schemars::JsonSchema;
use serde::Serialize;

use super::body::{Body, Part, Row};
use super::page::Page;
use super::parts::{Asked, Descriptor, Named, Parts, Request, Rules, low, unsigned};
use super::{Base64, Text};
use crate::opcode::{self, Names};
use crate::schema::schema_of;

/// An extended attribute was set (SETXATTR by name, FSETXATTR by descriptor).
#[derive(Debug, Serialize, JsonSchema)]
pub struct IoSetxattr {
    #[serde(flatten)]
    pub path: Named,
    /// Name of the attribute.
    #[schemars(with = "Option<String>")]
    pub name: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// Bytes of the value.
    pub size: u64,
    /// XATTR_* as a number.
    pub flags: u64,
    /// Their names.
    #[schemars(with = "Vec<String>")]
    pub flag_names: Names,
    /// The file has no name any more: path is the last one.
    pub deleted: bool,
    /// The name in path is gone, or never was one (O_TMPFILE), and the file lives under other names, which are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_stale: bool,
    /// Device of the file, in the kernel's encoding: major << 20 | minor. Null for SETXATTR.
    pub device: Option<u32>,
    /// Inode number of the file. Null for SETXATTR.
    pub inode: Option<u64>,
    #[serde(flatten)]
    pub descriptor: Descriptor,
    #[serde(flatten)]
    pub request: Request,
}

/// SETXATTR names its file from the current directory, and follows links.
const BY_NAME: Rules = Rules { follow: true, ..Rules::NONE };

impl From<Parts> for IoSetxattr {
    fn from(mut parts: Parts) -> Self {
        let by_descriptor = parts.asks.opcode == opcode::FSETXATTR;
        let mut path = parts.name(0, None);
        if by_descriptor {
            path.is_of(&parts.file);
        }
        let flags = u64::from(low(parts.asks.arg[1]));
        let name = parts.take_more().other;
        Self {
            path,
            name_bytes: name.as_ref().and_then(Text::base64),
            name,
            size: unsigned(parts.asks.arg[0]),
            flags,
            flag_names: opcode::xattr_flags(flags),
            deleted: parts.file.deleted,
            path_stale: parts.file.path_stale,
            device: parts.file.device,
            inode: parts.file.inode,
            descriptor: Descriptor { fd: parts.descriptor.fd.filter(|_| by_descriptor), ..parts.descriptor },
            request: parts.request,
        }
    }
}

impl Body for IoSetxattr {
    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }

    fn paths(&self) -> [Option<&Text>; 2] {
        [self.path.path.as_ref(), None]
    }

    fn asked(&self) -> Option<&Asked> {
        Some(&self.path.asked)
    }

    fn row(&self) -> Row<'_> {
        let mut shown = self.path.shown();
        shown.push(Part::Quoted(self.name.as_ref()));
        Row { len: Some(self.size), ..Row::request(&self.request, shown) }
    }
}

pub(super) static PAGE: Page = Page {
    name: "io_setxattr",
    summary: "an extended attribute was set",
    description: "Exactly one event for each SETXATTR (by name) and FSETXATTR (by descriptor) request, reported once its outcome is known. The value itself is not reported.",
    use_cases: &["Detect capabilities and labels that are given to files (security.capability)."],
    related: &["io_write"],
    opcodes: &["SETXATTR", "FSETXATTR"],
    rules: |_, _| BY_NAME,
    schema: schema_of::<IoSetxattr>,
    ..Page::REQUEST
};
