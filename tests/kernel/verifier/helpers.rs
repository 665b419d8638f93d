//! The helpers that the programs may call there, and what they take.

/// What an argument must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Any,
    Number,
    Context,
    Map,
    Key,
    Value,
    /// Memory of the size behind it.
    Read,
    Written,
    /// That of the memory before it.
    Size,
}

#[derive(Debug)]
pub(super) struct Helper {
    id: i32,
    pub(super) name: &'static str,
    pub(super) arguments: &'static [Argument],
    /// Gives a value of the map, or NULL.
    pub(super) looks_up: bool,
}

const fn helper(id: i32, name: &'static str, arguments: &'static [Argument]) -> Helper {
    Helper { id, name, arguments, looks_up: id == 1 }
}

use Argument::{Any, Context, Key, Map, Number, Read, Size, Value, Written};

/// By their numbers. The reads by kind of memory are later than 5.4, where libbpf puts bpf_probe_read and
/// bpf_probe_read_str in their place.
const HELPERS: [Helper; 15] = [
    helper(1, "bpf_map_lookup_elem", &[Map, Key]),
    helper(2, "bpf_map_update_elem", &[Map, Key, Value, Number]),
    helper(3, "bpf_map_delete_elem", &[Map, Key]),
    helper(4, "bpf_probe_read", &[Written, Size, Any]),
    helper(5, "bpf_ktime_get_ns", &[]),
    helper(8, "bpf_get_smp_processor_id", &[]),
    helper(14, "bpf_get_current_pid_tgid", &[]),
    helper(15, "bpf_get_current_uid_gid", &[]),
    helper(16, "bpf_get_current_comm", &[Written, Size]),
    helper(25, "bpf_perf_event_output", &[Context, Map, Number, Read, Size]),
    helper(35, "bpf_get_current_task", &[]),
    helper(80, "bpf_get_current_cgroup_id", &[]),
    helper(112, "bpf_probe_read_user", &[Written, Size, Any]),
    helper(113, "bpf_probe_read_kernel", &[Written, Size, Any]),
    helper(115, "bpf_probe_read_kernel_str", &[Written, Size, Any]),
];

pub(super) fn get(id: i32) -> Option<&'static Helper> {
    HELPERS.iter().find(|helper| helper.id == id)
}
