//! Values of the kernel side's configuration.

use super::FILTER_MAX;
use crate::here::Here;

pub(super) fn some(from: &[u32], to: &mut [u32; FILTER_MAX]) -> u32 {
    let n = from.len().min(FILTER_MAX);
    to[..n].copy_from_slice(&from[..n]);
    u32::try_from(n).unwrap_or(0)
}

/// Where ids are not those of the host. 0: they are.
pub(super) fn pid_namespace() -> u32 {
    let here = Here::get();
    let own = here.pid_namespace.filter(|_| !here.is_host_pid_namespace);
    own.and_then(|inode| inode.try_into().ok()).unwrap_or(0)
}

/// A name as the kernel compares it.
pub(super) fn words(name: &str) -> [u64; 2] {
    let mut bytes = [0u8; 16];
    let n = name.len().min(bytes.len() - 1);
    bytes[..n].copy_from_slice(&name.as_bytes()[..n]);
    let word = |part: &[u8]| part.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b));
    let (low, high) = bytes.split_at(8);
    [word(low), word(high)]
}

/// A key that no traced program can guess.
pub(super) fn random_key() -> libbpf_rs::Result<u64> {
    getrandom::u64().map_err(|e| libbpf_rs::Error::from_raw_os_error(e.raw_os_error().unwrap_or(libc::EIO)))
}
