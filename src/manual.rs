//! The events' manual: one source for `ringwatch events`, docs/events.md and the JSON Schema. Names, types and
//! descriptions of fields come from the types of [`crate::event`].

use std::fmt::Write as _;

use serde_json::Value;

use crate::event::files::{FileModification, SecurityFileOpen, VfsWrite};
use crate::event::ops::{
    IoFallocate, IoFsync, IoFtruncate, IoIssueSqe, IoMkdirat, IoOpenat, IoRenameat, IoSetxattr, IoSplice, IoSymlinkat,
    IoUnlinkat, IoUringCmd, IoUringCreate,
};
use crate::event::{Event, EventsLost, IoWrite, Process};
use crate::schema::{field_table, fields, schema_of};

/// One event's page.
#[derive(Debug)]
pub struct Page {
    /// The event's name.
    pub name: &'static str,
    /// In one line.
    pub summary: &'static str,
    /// The sets that it belongs to.
    pub sets: &'static [&'static str],
    /// At length.
    pub description: &'static str,
    /// What it depends on.
    pub dependencies: &'static [&'static str],
    /// Where it works.
    pub kernels: &'static str,
    /// What it is for.
    pub use_cases: &'static [&'static str],
    /// Other events of the same story.
    pub related: &'static [&'static str],
    schema: fn() -> Value,
}

/// What the events of requests depend on.
const REQUESTS: &[&str] = &[
    "tracepoint io_uring_submit_req (before 6.4: io_uring_submit_sqe)",
    "tracepoint io_uring_complete",
    "tracepoint io_uring_req_failed",
    "tracepoint io_uring_queue_async_work",
    "tracepoint io_uring_cqe_overflow",
    "tracepoint io_uring_fail_link",
    "tracepoint io_uring_poll_arm (--requests)",
];

/// Where a completion names its request.
const NEWER: &str = "Linux 5.18 and later; see docs/compatibility.md";

/// What watches functions.
const FUNCTIONS: &str = "Linux 5.5 and later where the kernel takes programs for functions, by fentry or kprobe; `ringwatch check` says where not";

/// All pages.
pub const PAGES: [Page; 21] = [
    Page {
        name: "io_write",
        summary: "a write made through io_uring",
        sets: &["io_uring"],
        description: "Exactly one event for each write request (WRITE, WRITEV, WRITE_FIXED, WRITEV_FIXED) that a program \
submits to an io_uring and the kernel accepts or refuses, reported once its outcome is known. No write system call is \
made, so system-call tracers and auditd do not see it. The process is the submitter's, also when a \
worker of io-wq or the ring's polling thread did the work.",
        dependencies: &[
            "tracepoint io_uring_submit_req (before 6.4: io_uring_submit_sqe)",
            "tracepoint io_uring_complete",
            "tracepoint io_uring_req_failed",
            "tracepoint io_uring_queue_async_work",
            "tracepoint io_uring_cqe_overflow",
            "tracepoint io_uring_fail_link",
            "tracepoint io_uring_create",
            "function io_write (plans fentry and kprobe)",
            "functions kiocb_done, io_complete_rw, io_complete_rw_iopoll, io_req_complete_post (before 5.18)",
            "functions __io_submit_sqe, io_complete_rw, io_cqring_fill_event, io_uring_setup (5.1 to 5.4)",
        ],
        kernels: "Linux 5.5 and later, with BTF of its own or from a file (--btf); 5.3 and 5.4 by the plan kprobe-legacy, which no test run covers; see docs/compatibility.md",
        use_cases: &[
            "Detect writes to sensitive files that bypass system-call monitoring.",
            "Audit who wrote which bytes of which file, and with what result.",
            "See which writes are done inline and which by io-wq workers, and how long they take.",
        ],
        related: &["io_uring_create", "io_issue_sqe", "vfs_write", "file_modification", "security_file_open"],
        schema: || schema_of::<IoWrite>(),
    },
    Page {
        name: "io_uring_create",
        summary: "a ring was created",
        sets: &["io_uring"],
        description: "One event for each ring that a program creates with io_uring_setup, with its sizes and flags by name; with SQPOLL also the kernel thread that polls it. Rings created before ringwatch started are listed by `ringwatch rings`.",
        dependencies: &["tracepoint io_uring_create", "function io_uring_setup (5.3 and 5.4)"],
        kernels: "as io_write",
        use_cases: &[
            "See which programs use io_uring at all.",
            "Detect rings that work without system calls (SQPOLL).",
        ],
        related: &["io_write", "io_issue_sqe"],
        schema: || schema_of::<IoUringCreate>(),
    },
    Page {
        name: "io_issue_sqe",
        summary: "a request of any opcode",
        sets: &["io_uring"],
        description: "Exactly one event for each request of any opcode, including those that work on no file, reported once its outcome is known: so all of a program's use of io_uring is visible. Opcodes newer than ringwatch are reported by number. A request has one event: where a set or a pattern brought io_issue_sqe along (`-e io_uring`), it stands for the requests that no other event reports, and not for those of an event that was left out (`-e io_uring,-io_fsync`). Where it is asked for by name (`-e io_uring,io_issue_sqe`), it reports every request, also those that another event reports.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &[
            "Audit everything that is done through io_uring, network operations included.",
            "See which operations a program uses, how long they take, and which fail.",
        ],
        related: &["io_write", "io_uring_create"],
        schema: || schema_of::<IoIssueSqe>(),
    },
    Page {
        name: "io_openat",
        summary: "a file was opened through io_uring",
        sets: &["io_uring"],
        description: "Exactly one event for each OPENAT and OPENAT2 request, reported once its outcome is known. After success the path is that of the opened file, from the kernel's own object, with symbolic links followed; after failure it is built from the name and the directory that it is relative to.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect opens that bypass system-call monitoring.", "See which opens created or truncated files."],
        related: &["io_write", "security_file_open"],
        schema: || schema_of::<IoOpenat>(),
    },
    Page {
        name: "io_fallocate",
        summary: "space of a file was allocated or released",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect holes punched into logs and other files (FALLOC_FL_PUNCH_HOLE)."],
        related: &["io_write", "io_ftruncate"],
        schema: || schema_of::<IoFallocate>(),
    },
    Page {
        name: "io_ftruncate",
        summary: "a file's length was set",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
        dependencies: REQUESTS,
        kernels: "Linux 6.9 and later, which have the opcode",
        use_cases: &["Detect files that are truncated without a write."],
        related: &["io_write", "io_fallocate"],
        schema: || schema_of::<IoFtruncate>(),
    },
    Page {
        name: "io_splice",
        summary: "data was moved into a file from another one",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object. The data does not pass through the program's memory; path_in names where it came from.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect file content that changes without a write."],
        related: &["io_write", "io_tee"],
        schema: || schema_of::<IoSplice>(),
    },
    Page {
        name: "io_tee",
        summary: "data was copied from one pipe to another",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Follow data on its way between pipes."],
        related: &["io_splice"],
        schema: || schema_of::<IoSplice>(),
    },
    Page {
        name: "io_renameat",
        summary: "a file was renamed",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect files that replace others."],
        related: &["io_linkat", "io_unlinkat"],
        schema: || schema_of::<IoRenameat>(),
    },
    Page {
        name: "io_unlinkat",
        summary: "a name was removed",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect removals that bypass system-call monitoring."],
        related: &["io_renameat", "io_mkdirat"],
        schema: || schema_of::<IoUnlinkat>(),
    },
    Page {
        name: "io_mkdirat",
        summary: "a directory was created",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["See which directories programs create."],
        related: &["io_unlinkat", "io_openat"],
        schema: || schema_of::<IoMkdirat>(),
    },
    Page {
        name: "io_symlinkat",
        summary: "a symbolic link was created",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect links that lead privileged programs elsewhere."],
        related: &["io_linkat"],
        schema: || schema_of::<IoSymlinkat>(),
    },
    Page {
        name: "io_linkat",
        summary: "a file got a second name",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source says how it was found, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect second names of protected files."],
        related: &["io_symlinkat", "io_renameat"],
        schema: || schema_of::<IoRenameat>(),
    },
    Page {
        name: "io_setxattr",
        summary: "an extended attribute was set",
        sets: &["io_uring"],
        description: "Exactly one event for each SETXATTR (by name) and FSETXATTR (by descriptor) request, reported once its outcome is known. The value itself is not reported.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect capabilities and labels that are given to files (security.capability)."],
        related: &["io_write"],
        schema: || schema_of::<IoSetxattr>(),
    },
    Page {
        name: "io_fsync",
        summary: "a file was written back to its device",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["See what durability costs."],
        related: &["io_write"],
        schema: || schema_of::<IoFsync>(),
    },
    Page {
        name: "io_uring_cmd",
        summary: "a command was passed to a driver",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, reported once its outcome is known. The path is that of the kernel's own file object. What the command means depends on the driver: NVMe passthrough, sockets, ublk.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect writes to a device that bypass its file system (NVMe passthrough)."],
        related: &["io_write", "io_issue_sqe"],
        schema: || schema_of::<IoUringCmd>(),
    },
    Page {
        name: "vfs_write",
        summary: "a write by a system call",
        sets: &["files"],
        description: "One event for each write(2) and pwrite64(2), so that one policy covers both interfaces: a write through io_uring never appears here, and these never as io_write.",
        dependencies: &["function vfs_write (fentry or kprobe)"],
        kernels: FUNCTIONS,
        use_cases: &["Watch a file by whichever interface it is written."],
        related: &["io_write", "vfs_writev"],
        schema: || schema_of::<VfsWrite>(),
    },
    Page {
        name: "vfs_writev",
        summary: "a write of a vector by a system call",
        sets: &["files"],
        description: "One event for each writev(2), pwritev(2) and pwritev2(2); a write through io_uring never appears here.",
        dependencies: &["function vfs_writev (fentry or kprobe)"],
        kernels: FUNCTIONS,
        use_cases: &["Watch a file by whichever interface it is written."],
        related: &["io_write", "vfs_write"],
        schema: || schema_of::<VfsWrite>(),
    },
    Page {
        name: "security_file_open",
        summary: "a file is opened",
        sets: &["files"],
        description: "One event for each open that the security modules are asked about, with their answer: by system call, exec or io_uring.",
        dependencies: &["function security_file_open (fentry or kprobe)"],
        kernels: FUNCTIONS,
        use_cases: &["See who opens a file, by whichever interface."],
        related: &["io_openat", "vfs_write"],
        schema: || schema_of::<SecurityFileOpen>(),
    },
    Page {
        name: "file_modification",
        summary: "a file's content changes",
        sets: &["files"],
        description: "One event for each regular file between its open and its close whose content is about to change, reported at the first change, whether by system call, io_uring or mapped memory. Truncation is not reported.",
        dependencies: &[
            "functions file_modified, kiocb_modified and file_update_time (fentry or kprobe)",
            "function security_file_free",
        ],
        kernels: FUNCTIONS,
        use_cases: &["Integrity monitoring with one event for each change."],
        related: &["io_write", "vfs_write"],
        schema: || schema_of::<FileModification>(),
    },
    Page {
        name: "events_lost",
        summary: "a gap in the stream",
        sets: &["io_uring"],
        description: "Events that could not be reported: how many, and why. Events and losses together account for everything \
that the programs did.",
        dependencies: &[],
        kernels: "all",
        use_cases: &["Know whether the stream is complete; raise --buffer-size or filter when it is not."],
        related: &["io_write"],
        schema: || schema_of::<EventsLost>(),
    },
];

/// The page of `name`.
#[must_use]
pub fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|p| p.name == name)
}

/// The JSON Schema of a line of the stream.
#[must_use]
pub fn stream_schema() -> Value {
    schema_of::<Event>()
}

impl Page {
    /// The schema of the event's `data`.
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut section = |title: &str, body: &str| {
            let _ = writeln!(out, "{title}\n{body}");
        };
        section("NAME", &format!("  {} - {}\n", self.name, self.summary));
        section("DESCRIPTION", &wrap(self.description));
        section("SETS", &format!("  {}\n", self.sets.join(", ")));
        let list = |items: &[&str]| items.iter().fold(String::new(), |all, item| all + &wrap(item));
        let table = fields(&self.schema()).iter().fold(String::new(), |all, f| {
            all + "  " + &f.name + " (" + &f.kind + ")\n" + &indent(&wrap(&f.description))
        });
        section("FIELDS OF data", &table);
        if !self.dependencies.is_empty() {
            section("DEPENDENCIES", &list(self.dependencies));
        }
        section("KERNELS", &wrap(self.kernels));
        section("USE CASES", &list(self.use_cases));
        section("RELATED EVENTS", &wrap(&self.related.join(", ")));
        out
    }

    fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}\n\n", self.name, self.description);
        let _ = writeln!(out, "Sets: {}.\n", self.sets.join(", "));
        out += &field_table(&self.schema());
        let mut list = |title: &str, items: &[&str]| {
            if !items.is_empty() {
                let _ = write!(out, "\n### {title}\n\n");
                for item in items {
                    let _ = writeln!(out, "- {item}");
                }
            }
        };
        list("Dependencies", self.dependencies);
        list("Kernels", &[self.kernels]);
        list("Use cases", self.use_cases);
        list("Related events", self.related);
        out
    }
}

/// docs/events.md.
#[must_use]
pub fn markdown() -> String {
    let mut out =
        "# Events\n\nGenerated by `cargo xtask docs`; do not edit. Each line of the stream is one JSON object:\n\n"
            .to_owned();
    out +=
        "```json\n{\"timestamp\":\"RFC 3339 with nanoseconds\",\"event\":\"NAME\",\"data\":{},\"process\":{}}\n```\n\n";
    out += "`timestamp` is when the outcome became known; the submission was `latency_ns` earlier. `process` is the \
submitter. The JSON Schema of a line is [events.schema.json](events.schema.json); `ringwatch events NAME --schema` \
prints that of one event's `data`.\n\n## process\n\n";
    out += &field_table(&schema_of::<Process>());
    for page in &PAGES {
        out.push('\n');
        out += &page.markdown();
    }
    out
}

/// docs/events.schema.json.
#[must_use]
pub fn schema_file() -> String {
    format!("{:#}\n", stream_schema())
}

/// Lines of at most 100 columns, indented by two.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 96 {
            let _ = writeln!(out, "  {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(out, "  {line}");
    out
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + "    " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_type_and_a_meaning() {
        for page in &PAGES {
            let fields = fields(&page.schema());
            assert!(!fields.is_empty(), "{}", page.name);
            for field in fields {
                assert!(field.kind != "any" && !field.description.is_empty(), "{}.{}", page.name, field.name);
            }
        }
    }

    #[test]
    fn the_contract_of_io_write_stands() {
        let schema = page("io_write").map(Page::schema).unwrap_or_default();
        let kinds: Vec<_> = fields(&schema).into_iter().map(|f| (f.name, f.kind)).collect();
        for (name, kind) in [
            ("path", "string or null"),
            ("pos", "int64 or null"),
            ("buf", "string"),
            ("len", "uint32"),
            ("worker_host_tid", "uint32"),
            ("device", "uint32 or null"),
            ("inode", "uint64 or null"),
        ] {
            assert!(kinds.contains(&(name.to_owned(), kind.to_owned())), "{name}: {kinds:?}");
        }
    }
}
