//! In place of a path's id: why the path of an open file is not known; `enum rw_path_unknown`.

/// Renamed each time that it was read.
pub const RENAMED: u64 = 1;
/// Opened by a handle.
pub const DISCONNECTED: u64 = 2;
/// Too many deep paths at once.
pub const DEEP: u64 = 3;
