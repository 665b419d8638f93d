//! The events' manual: one source for `ringwatch events`, docs/events.md and the JSON Schema. Names, types and
//! descriptions of fields come from the types of [`crate::event`].

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::event::files::{FileModification, SecurityFileOpen, VfsWrite};
use crate::event::ops::{
    IoFallocate, IoFsync, IoFtruncate, IoIssueSqe, IoMkdirat, IoOpenat, IoRenameat, IoSetxattr, IoSplice, IoSymlinkat,
    IoUnlinkat, IoUringCmd, IoUringCreate,
};
use crate::event::{Event, EventsLost, IoWrite, Process};
use crate::rings::{Holder, Personality, Registered, Ring, Sqpoll, Thread, Worker};

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
    /// What it rests on.
    pub dependencies: &'static [&'static str],
    /// Where it works.
    pub kernels: &'static str,
    /// What it is for.
    pub use_cases: &'static [&'static str],
    /// Other events of the same story.
    pub related: &'static [&'static str],
    schema: fn() -> Value,
}

/// What the events of requests rest on.
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
submits to an io_uring and the kernel accepts or refuses, told when its outcome is known. No write system call is \
made on this way, so system-call tracers and auditd do not see it. The process is the submitter's, also when a \
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
        kernels: "Linux 5.5 and later, with BTF of its own or from a file (--btf); 5.3 and 5.4 by the plan kprobe-legacy, which no test has run; see docs/compatibility.md",
        use_cases: &[
            "Detect writes to sensitive files that bypass system-call monitoring.",
            "Audit who wrote which bytes of which file, and what came of it.",
            "See which writes are done inline and which by io-wq workers, and how long they take.",
        ],
        related: &["io_uring_create", "io_issue_sqe", "vfs_write", "file_modification", "security_file_open"],
        schema: || schema_of::<IoWrite>(),
    },
    Page {
        name: "io_uring_create",
        summary: "a ring was created",
        sets: &["io_uring"],
        description: "One event for each ring that a program creates with io_uring_setup, with its sizes and flags by name; with SQPOLL also the thread of the kernel that polls it. Rings that are older than ringwatch are listed by `ringwatch rings`.",
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
        description: "Exactly one event for each request of any opcode, also those that work on no file, told when its outcome is known: so a program's whole use of io_uring is seen. Opcodes that are newer than ringwatch are told by their number. A request has one event: where a set or a pattern brought io_issue_sqe along (`-e io_uring`), it stands for the requests that no other event reports, and not for those of an event that was left out (`-e io_uring,-io_fsync`). Where it is asked for by name (`-e io_uring,io_issue_sqe`), it reports every request, also those that another event reports.",
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
        description: "Exactly one event for each OPENAT and OPENAT2 request, told when its outcome is known. After a success the path is that of the file which was opened, from the kernel's own object, with symbolic links followed; after a failure it is put together from the name and the directory that it is relative to.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &[
            "Detect files that are opened past system-call monitoring.",
            "See which opens made or emptied files.",
        ],
        related: &["io_write", "security_file_open"],
        schema: || schema_of::<IoOpenat>(),
    },
    Page {
        name: "io_fallocate",
        summary: "room for a file was made or taken away",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object.",
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
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object.",
        dependencies: REQUESTS,
        kernels: "Linux 6.9 and later, which have the opcode",
        use_cases: &["Detect files that are cut or emptied without a write."],
        related: &["io_write", "io_fallocate"],
        schema: || schema_of::<IoFtruncate>(),
    },
    Page {
        name: "io_splice",
        summary: "data was moved into a file from another one",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object. The data does not pass through the program's memory; path_in names where it came from.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect content of files that changes without a write."],
        related: &["io_write", "io_tee"],
        schema: || schema_of::<IoSplice>(),
    },
    Page {
        name: "io_tee",
        summary: "data was copied from one pipe to another",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object.",
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
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source tells what it rests on, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect files that are put in the place of others."],
        related: &["io_linkat", "io_unlinkat"],
        schema: || schema_of::<IoRenameat>(),
    },
    Page {
        name: "io_unlinkat",
        summary: "a name was removed",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source tells what it rests on, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["Detect files and directories that are removed past system-call monitoring."],
        related: &["io_renameat", "io_mkdirat"],
        schema: || schema_of::<IoUnlinkat>(),
    },
    Page {
        name: "io_mkdirat",
        summary: "a directory was made",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source tells what it rests on, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
        dependencies: REQUESTS,
        kernels: NEWER,
        use_cases: &["See which directories programs make."],
        related: &["io_unlinkat", "io_openat"],
        schema: || schema_of::<IoMkdirat>(),
    },
    Page {
        name: "io_symlinkat",
        summary: "a symbolic link was made",
        sets: &["io_uring"],
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source tells what it rests on, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
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
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the file that was acted upon, with every link on the way followed; path_source tells what it rests on, and path_certain whether it is beyond doubt. path_given is the name as the program gave it.",
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
        description: "Exactly one event for each SETXATTR (by name) and FSETXATTR (by descriptor) request, told when its outcome is known. The value itself is not told.",
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
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object.",
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
        description: "Exactly one event for each such request that is submitted, told when its outcome is known. The path is that of the kernel's own file object. What the command means depends on the driver: NVMe passthrough, sockets, ublk.",
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
        description: "One event for each write(2) and pwrite64(2), so that one policy covers both worlds: a write through io_uring never appears here, and these never as io_write.",
        dependencies: &["function vfs_write (fentry or kprobe)"],
        kernels: FUNCTIONS,
        use_cases: &["Watch a file whichever way it is written."],
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
        use_cases: &["Watch a file whichever way it is written."],
        related: &["io_write", "vfs_write"],
        schema: || schema_of::<VfsWrite>(),
    },
    Page {
        name: "security_file_open",
        summary: "a file is opened",
        sets: &["files"],
        description: "One event for each open that the security modules are asked about, with what they said: by system calls, by exec and by io_uring.",
        dependencies: &["function security_file_open (fentry or kprobe)"],
        kernels: FUNCTIONS,
        use_cases: &["See who opens a file, whichever way."],
        related: &["io_openat", "vfs_write"],
        schema: || schema_of::<SecurityFileOpen>(),
    },
    Page {
        name: "file_modification",
        summary: "what a file holds changes",
        sets: &["files"],
        description: "One event for each regular file between its open and its close whose content is about to change, told at the first change; by whatever means: system calls, io_uring, mapped memory. Truncation is not told.",
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
        description: "Events that could not be told, with how many and why. Events and losses together are what the \
programs did.",
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

fn schema_of<T: schemars::JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// The JSON Schema of a line of the stream.
#[must_use]
pub fn stream_schema() -> Value {
    schema_of::<Event>()
}

/// docs/stat.schema.json.
#[must_use]
pub fn stat_schema_file() -> String {
    format!("{:#}\n", schema_of::<crate::stat::report::Report>())
}

/// A field as its schema tells it.
struct Field {
    name: String,
    kind: String,
    description: String,
}

fn fields(schema: &Value) -> Vec<Field> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, field)| Field {
            name: name.clone(),
            kind: kind(schema, field),
            description: field
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .replace("\\[", "[")
                .replace("\\]", "]")
                .replace('\n', " "),
        })
        .collect()
}

/// `uint32`, `string or null`, or the values of an enum.
fn kind(root: &Value, field: &Value) -> String {
    if let Some(name) = field.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
        return match root.get("$defs").and_then(|d| d.get(name)) {
            Some(object) if object.get("properties").is_some() => name.to_owned(),
            Some(other) => kind(root, other),
            None => String::new(),
        };
    }
    for list in ["anyOf", "oneOf"] {
        if let Some(kinds) = field.get(list).and_then(Value::as_array) {
            return kinds.iter().map(|k| kind(root, k)).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(value) = field.get("const").and_then(Value::as_str) {
        return format!("\"{value}\"");
    }
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        return values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    }
    let array = |of: &str| field.get("items").map_or_else(|| of.to_owned(), |i| format!("{of} of {}", kind(root, i)));
    let format = field.get("format").and_then(Value::as_str);
    let name = |t: &str| match (t, format) {
        ("integer", Some(format)) => format.to_owned(),
        (t @ "array", _) => array(t),
        (t, _) => t.to_owned(),
    };
    match field.get("type") {
        Some(Value::String(t)) => name(t),
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).map(name).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
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

fn field_table(schema: &Value) -> String {
    let mut out = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    for field in fields(schema) {
        let cell = |s: &str| s.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {} | {} |", field.name, cell(&field.kind), cell(&field.description));
    }
    out
}

/// docs/events.md.
#[must_use]
pub fn markdown() -> String {
    let mut out =
        "# Events\n\nMade by `cargo xtask docs`; do not edit. Each line of the stream is one JSON object:\n\n"
            .to_owned();
    out +=
        "```json\n{\"timestamp\":\"RFC 3339 with nanoseconds\",\"event\":\"NAME\",\"data\":{},\"process\":{}}\n```\n\n";
    out += "`timestamp` is the moment the outcome was known; the submission was `latency_ns` earlier. `process` is the \
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

/// docs/rings.schema.json: a line of `ringwatch rings --json`.
#[must_use]
pub fn rings_schema_file() -> String {
    format!("{:#}\n", schema_of::<Ring>())
}

/// docs/rings.md.
#[must_use]
pub fn rings_markdown() -> String {
    let mut out = "# Rings\n\nMade by `cargo xtask docs`; do not edit. `ringwatch rings --json` prints one JSON object a line, \
one for each ring that exists, whoever created it and however long ago. Its JSON Schema is \
[rings.schema.json](rings.schema.json), which `ringwatch rings --schema` prints as well. What cannot be seen is in \
[limits.md](limits.md).\n\nRings are found by BPF iterators over the open files, the registered rings and the mapped memory \
of all tasks (Linux 5.8 and later, with BTF; CAP_BPF and CAP_PERFMON). Where these cannot be had, /proc tells what it \
shows: `source` is `proc` then. What is not known is null. Thread and process ids that begin with `host_` are those of \
ringwatch's own pid namespace.\n"
        .to_owned();
    let sections = [
        ("Ring", schema_of::<Ring>()),
        ("Holder", schema_of::<Holder>()),
        ("Sqpoll", schema_of::<Sqpoll>()),
        ("Personality", schema_of::<Personality>()),
        ("Thread", schema_of::<Thread>()),
        ("Registered", schema_of::<Registered>()),
        ("Worker", schema_of::<Worker>()),
    ];
    for (name, schema) in sections {
        let _ = write!(out, "\n## {name}\n\n{}", field_table(&schema));
    }
    out
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

    #[test]
    fn the_documents_are_current() {
        let documents = [
            ("docs/events.md", markdown()),
            ("docs/events.schema.json", schema_file()),
            ("docs/rings.md", rings_markdown()),
            ("docs/rings.schema.json", rings_schema_file()),
            ("docs/stat.schema.json", stat_schema_file()),
        ];
        for (file, now) in documents {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let held = std::fs::read_to_string(path).unwrap_or_default();
            assert!(held == now, "{file} is out of date: run `cargo xtask docs`");
        }
    }
}
