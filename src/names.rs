//! The kernel's names of numbers.

use std::sync::OnceLock;

/// `ENOSPC`.
pub(crate) fn errno_name(errno: i32) -> &'static str {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| (0..=133).map(|n| format!("{:?}", nix::errno::Errno::from_raw(n))).collect());
    usize::try_from(errno).ok().and_then(|i| names.get(i)).map_or("UNKNOWN", String::as_str)
}

/// IORING_SETUP_*, by bit.
const SETUP_FLAGS: [&str; 21] = [
    "IOPOLL",
    "SQPOLL",
    "SQ_AFF",
    "CQSIZE",
    "CLAMP",
    "ATTACH_WQ",
    "R_DISABLED",
    "SUBMIT_ALL",
    "COOP_TASKRUN",
    "TASKRUN_FLAG",
    "SQE128",
    "CQE32",
    "SINGLE_ISSUER",
    "DEFER_TASKRUN",
    "NO_MMAP",
    "REGISTERED_FD_ONLY",
    "NO_SQARRAY",
    "HYBRID_IOPOLL",
    "CQE_MIXED",
    "SQE_MIXED",
    "SQ_REWIND",
];

/// The names of the bits of IORING_SETUP_*; those without one as numbers.
#[must_use]
pub(crate) fn setup_flags(flags: u32) -> Vec<String> {
    (0..u32::BITS)
        .map(|bit| (bit, 1 << bit))
        .filter(|(_, mask)| flags & mask != 0)
        .map(|(bit, mask)| SETUP_FLAGS.get(bit as usize).map_or_else(|| format!("{mask:#x}"), |&name| name.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names_and_unknown_bits_are_numbers() {
        assert_eq!(setup_flags(0), Vec::<String>::new());
        assert_eq!(setup_flags(1 << 1 | 1 << 13 | 1 << 31), ["SQPOLL", "DEFER_TASKRUN", "0x80000000"]);
    }
}
