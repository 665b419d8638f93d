//! Who did it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Base64, Text, Timestamp};

/// The process that submitted a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Process {
    /// Process id in the host's pid namespace.
    pub host_pid: u32,
    /// Thread id in the host's pid namespace.
    pub host_tid: u32,
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// Thread id in its own pid namespace.
    pub tid: u32,
    /// The ring was there before ringwatch, and which thread made it is not known: host_tid is what the name of the ring's poll thread says, which the program can change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub thread_from_name: bool,
    /// Parent's process id in the host's pid namespace.
    pub ppid: u32,
    /// Name of the thread.
    #[schemars(with = "String")]
    pub name: Text,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub name_bytes: Option<Base64>,
    /// Path of the executable.
    #[schemars(with = "Option<String>")]
    pub executable: Option<Text>,
    /// Its exact bytes in base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub executable_bytes: Option<Base64>,
    /// Arguments, joined by blanks. Null where they could not be read while this program ran.
    #[schemars(with = "Option<String>")]
    pub command_line: Option<Text>,
    /// Their exact bytes in base64, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub command_line_bytes: Option<Base64>,
    /// The arguments were longer than 4,096 bytes: command_line has the first of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub command_line_truncated: bool,
    /// Why command_line is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line_missing: Option<NoCommandLine>,
    /// Real user id.
    pub uid: u32,
    /// When the thread was started.
    #[schemars(with = "String")]
    pub start_time: Timestamp,
    /// Id of the cgroup (v2).
    pub cgroup_id: u64,
    /// Inode number of the mount namespace.
    pub mount_ns: u32,
    /// Inode number of the pid namespace.
    pub pid_ns: u32,
}

/// Why there is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoCommandLine {
    /// The process has no arguments.
    None,
    /// They could not be read in the kernel, and when ringwatch looked, the process was gone or ran another program.
    Unreadable,
}
