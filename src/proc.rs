//! What files in /proc hold.

/// /proc/PID/cmdline as a line: NULs between the arguments become blanks. `None`: there are none.
pub(crate) fn joined(arguments: &[u8]) -> Option<Vec<u8>> {
    let end = arguments.iter().rposition(|&b| b != 0)? + 1;
    Some(arguments[..end].iter().map(|&b| if b == 0 { b' ' } else { b }).collect())
}
