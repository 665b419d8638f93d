//! What is said of an event beside its fields: the manual's page, and what its requests are.

use serde_json::Value;

use super::parts::Rules;

/// An event's page.
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
    /// The opcodes whose requests it reports. None: it reports no request, or all.
    pub opcodes: &'static [&'static str],
    /// Its requests are about an open file: without one, which it was is not known.
    pub has_file: bool,
    /// They read from a second one.
    pub has_second_file: bool,
    /// Its requests name two files.
    pub two_names: bool,
    /// How the kernel looks up the first or the second name.
    pub(crate) rules: fn(&Asks, usize) -> Rules,
    pub(crate) schema: fn() -> Value,
}

/// What a request asks, as its SQE does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asks {
    pub(crate) opcode: u8,
    pub(crate) fd: i32,
    /// Numbers; which, each operation's room says.
    pub(crate) arg: [i64; 4],
}

impl Page {
    /// A request of io_uring that is no write.
    pub(super) const REQUEST: Self = Self {
        name: "",
        summary: "",
        sets: &["io_uring"],
        description: "",
        dependencies: &[
            "tracepoint io_uring_submit_req (before 6.4: io_uring_submit_sqe)",
            "tracepoint io_uring_complete",
            "tracepoint io_uring_req_failed",
            "tracepoint io_uring_queue_async_work",
            "tracepoint io_uring_cqe_overflow",
            "tracepoint io_uring_fail_link",
            "tracepoint io_uring_poll_arm (--requests)",
        ],
        // Where a completion names its request.
        kernels: "Linux 5.18 and later; see docs/compatibility.md",
        use_cases: &[],
        related: &[],
        opcodes: &[],
        has_file: false,
        has_second_file: false,
        two_names: false,
        rules: |asks, _| Rules::below(asks.fd),
        schema: || Value::Null,
    };

    /// A function of the kernel outside of io_uring.
    pub(super) const FUNCTION: Self = Self {
        sets: &["files"],
        dependencies: &[],
        kernels: "Linux 5.5 and later where the kernel takes programs for functions, by fentry or kprobe; `ringwatch check` says where not",
        ..Self::REQUEST
    };

    /// The schema of the event's `data`.
    #[must_use]
    pub fn schema(&self) -> Value {
        (self.schema)()
    }
}
