//! What holds of /proc's text about polling threads.

use super::pollers::{first_number, work};

pub(crate) fn proc(text: &[u8]) {
    let _ = first_number(&String::from_utf8_lossy(text));
    let _ = work(text, 4711);
    // No name of a registered file passes for the time.
    let info = |name: &[u8]| [b"SqThread:\t4711\nUserFiles:\t1\n    0: ", name, b"\nUserBufs:\t0\n"].concat();
    assert_eq!(work(&info(text), 4711), None);
}
