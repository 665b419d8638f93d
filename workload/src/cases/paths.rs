//! Paths that are deep, long, odd, or change under the writer.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Case, case};
use crate::cx::Cx;
use crate::os;
use crate::target::Target;

pub(super) const CASES: &[Case] = &[
    case("depth-below", "1 to 64, and 200 directories below the case's own", depth_below),
    case("depth-total", "paths of exactly so many components, around the powers of two", depth_total),
    case("long-names", "names of 255 bytes, one and 64 levels of them", long_names),
    case("not-utf8", "names that are not UTF-8", not_utf8),
    case("odd-names", "control characters, quotes, right-to-left, names that look like something else", odd_names),
    case("rename", "the file is renamed between writes", rename),
    case("rename-parent", "a directory above it is renamed between writes", rename_parent),
    case("rename-over", "another file takes the name: the first is deleted", rename_over),
    case("deleted-parent", "the file and its directory are removed while open", deleted_parent),
];

/// Opens a new file below `dir`, in the directories given, relative step by step because the whole
/// path may be longer than the kernel takes.
fn open_below(dir: &Path, directories: &[Vec<u8>], name: &[u8]) -> Result<(OwnedFd, Target)> {
    let mut path = dir.as_os_str().as_bytes().to_vec();
    let mut at: OwnedFd = File::open(dir)?.into();
    for directory in directories {
        // Another request of the case may have made it.
        if let Err(error) = os::mkdirat(&at, directory) {
            let known = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
            if known != Some(libc::EEXIST) {
                return Err(error);
            }
        }
        at = os::openat(&at, directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
        path.push(b'/');
        path.extend_from_slice(directory);
    }
    path.push(b'/');
    path.extend_from_slice(name);
    let file = os::openat(&at, name, libc::O_WRONLY | libc::O_CREAT)?;
    let target = Target::named(&file, OsStr::from_bytes(&path))?;
    Ok((file, target))
}

fn write_below(cx: &Cx, directories: &[Vec<u8>], name: &[u8]) -> Result<()> {
    let (_file, target) = open_below(&cx.dir, directories, name)?;
    cx.run(vec![cx.write(&target, 0, cx.buf(10)), cx.write(&target, 10, cx.buf(11))])
}

fn levels(count: usize, name: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..count).map(name).collect()
}

fn depth_below(cx: &Cx) -> Result<()> {
    [1, 2, 3, 8, 16, 32, 63, 64, 200].into_iter().try_for_each(|depth| {
        let name = format!("file-{depth}");
        write_below(cx, &levels(depth, |i| format!("d{i}").into_bytes()), name.as_bytes())
    })
}

fn depth_total(cx: &Cx) -> Result<()> {
    let own = cx.dir.components().count() - 1;
    for total in [8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129] {
        // The file itself is a component too.
        if let Some(depth) = (total - 1usize).checked_sub(own) {
            let name = format!("t{total}");
            write_below(cx, &levels(depth, |i| format!("e{i}").into_bytes()), name.as_bytes())?;
        }
    }
    Ok(())
}

fn long_names(cx: &Cx) -> Result<()> {
    let long = |i: usize| {
        let mut name = format!("{i:03}-").into_bytes();
        name.resize(255, b'n');
        name
    };
    for depth in [0, 1, 8, 15, 16, 17, 64] {
        write_below(cx, &levels(depth, long), &long(900 + depth))?;
    }
    Ok(())
}

fn not_utf8(cx: &Cx) -> Result<()> {
    let names: [&[u8]; 5] = [b"\xff", b"latin-\xe9t\xe9", b"cut-\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80"];
    names.iter().try_for_each(|name| write_below(cx, &[], name))?;
    write_below(cx, &[b"dir-\xfe".to_vec()], b"plain")
}

fn odd_names(cx: &Cx) -> Result<()> {
    let names = [
        "new\nline",
        "tab\there",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}]0;title\u{7}",
        "del\u{7f}",
        "return\rhere",
        "back\u{8}space",
        "c1-\u{9b}31m",
        "rtl-\u{202e}gpj.exe",
        "zero\u{200b}width",
        "\"double\"",
        "'single'",
        "back\\slash",
        "\\n",
        "%s%n",
        "{\"json\":1}",
        " leading and trailing ",
        "-rf",
        "gone (deleted)",
        "pipe:[1]",
        "#12345",
        "日本語-ü-🦀",
        "\u{1}\u{2}\u{1f}",
        "star*?[a]",
    ];
    names.iter().try_for_each(|name| write_below(cx, &[], name.as_bytes()))?;
    write_below(cx, &[b"dir\nwith\tcontrol".to_vec(), b"..x".to_vec()], b"...")
}

fn opened(path: &Path) -> Result<(File, Target)> {
    let file = os::open(path, 0)?;
    let target = Target::at(&file, path)?;
    Ok((file, target))
}

fn rename(cx: &Cx) -> Result<()> {
    let names: [PathBuf; 3] = ["first", "second", "third"].map(|name| cx.dir.join(name));
    let (_file, mut target) = opened(&names[0])?;
    let mut ring = cx.plain_ring()?;
    ring.run(cx, vec![cx.write(&target, 0, cx.buf(10))])?;
    for pair in names.windows(2) {
        fs::rename(&pair[0], &pair[1])?;
        target = target.moved_to(&pair[1]);
        ring.run(cx, vec![cx.write(&target, 10, cx.buf(11))])?;
    }
    Ok(())
}

fn rename_parent(cx: &Cx) -> Result<()> {
    let (old, new) = (cx.dir.join("old"), cx.dir.join("new-and-longer"));
    fs::create_dir_all(old.join("sub/sub"))?;
    let (_file, target) = opened(&old.join("sub/sub/file"))?;
    let mut ring = cx.plain_ring()?;
    ring.run(cx, vec![cx.write(&target, 0, cx.buf(10))])?;
    fs::rename(&old, &new)?;
    let target = target.moved_to(new.join("sub/sub/file"));
    ring.run(cx, vec![cx.write(&target, 10, cx.buf(11))])?;
    // The same length and depth, elsewhere.
    fs::rename(new.join("sub"), new.join("bus"))?;
    let target = target.moved_to(new.join("bus/sub/file"));
    ring.run(cx, vec![cx.write(&target, 21, cx.buf(12))])
}

fn rename_over(cx: &Cx) -> Result<()> {
    let (path, other) = (cx.dir.join("name"), cx.dir.join("other"));
    let (_first, first) = opened(&path)?;
    let (_second, second) = opened(&other)?;
    cx.run(vec![cx.write(&first, 0, cx.buf(10)), cx.write(&second, 0, cx.buf(11))])?;
    fs::rename(&other, &path)?;
    let (first, second) = (first.deleted(), second.moved_to(&path));
    cx.run(vec![cx.write(&first, 10, cx.buf(12)), cx.write(&second, 11, cx.buf(13))])
}

fn deleted_parent(cx: &Cx) -> Result<()> {
    let parent = cx.dir.join("parent");
    fs::create_dir(&parent)?;
    let (_file, target) = opened(&parent.join("file"))?;
    fs::remove_dir_all(&parent)?;
    let target = target.deleted();
    cx.run(vec![cx.write(&target, 0, cx.buf(10)), cx.write(&target, 10, cx.buf(11))])
}
