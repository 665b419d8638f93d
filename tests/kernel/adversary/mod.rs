//! Programs that try to be told wrongly, to hide, or to hurt; as an unprivileged user.

pub(crate) mod output;

/// Somebody without any right.
const NOBODY: u32 = 65_534;
