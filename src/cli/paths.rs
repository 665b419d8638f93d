//! Patterns of paths, as they are given to paths as the kernel has them: absolute, without links and without `..`.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Characters of a pattern that do not stand for themselves.
const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];
/// Beginnings of names of files without a path.
const NAMELESS: [&str; 4] = ["pipe:", "socket:", "anon_inode:", "memfd:"];

/// Whether it is a name and no pattern.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains(SPECIAL)
}

/// Matches what any of `patterns` means. `None`: there are none.
pub(super) fn globs(option: &str, patterns: &[String]) -> Result<Option<GlobSet>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let wrong = |why: String| format!("{option} {pattern}: {why}");
        for form in forms(pattern).map_err(wrong)? {
            let glob =
                GlobBuilder::new(&form).backslash_escape(true).build().map_err(|e| wrong(e.kind().to_string()))?;
            set.add(glob);
        }
    }
    set.build().map(Some).map_err(|e| format!("{option}: {e}"))
}

/// The globs that a pattern stands for.
fn forms(pattern: &str) -> Result<Vec<String>, String> {
    if pattern.is_empty() {
        return Err("an empty path matches nothing; write / for all files with a path".to_owned());
    }
    if NAMELESS.iter().any(|name| pattern.starts_with(name)) {
        return Ok(vec![pattern.to_owned()]);
    }
    let Some(at) = pattern.find(SPECIAL) else {
        // A directory, or a file, which has nothing below it.
        let below = |dir: String| [dir.clone(), format!("{}/*", dir.trim_end_matches('/'))];
        return Ok(both(Path::new(pattern))?.into_iter().flat_map(below).collect());
    };
    let (dir, rest) = pattern.split_at(pattern[..at].rfind('/').map_or(0, |slash| slash + 1));
    if rest.ends_with('/')
        || ["//", "/./", "/../"].iter().any(|part| rest.contains(part))
        || rest.ends_with("/.")
        || rest.ends_with("/..")
    {
        return Err("no path has `//`, `/./` or `/../`, or ends in `/`, so nothing would match behind the first wildcard; for all below directories write /*".to_owned());
    }
    match dir {
        // It may begin with whatever a path begins with.
        "" if at == 0 => Ok(vec![pattern.to_owned()]),
        "" => Err(format!(
            "paths are matched as a whole and begin with /, so this matches none: write ./{pattern} for files of this directory, or '*/{pattern}' for those of any"
        )),
        dir => {
            Ok(both(Path::new(dir))?.into_iter().map(|dir| format!("{}/{rest}", dir.trim_end_matches('/'))).collect())
        }
    }
}

/// The path as given and as it is without links, as globs that match these alone.
fn both(path: &Path) -> Result<Vec<String>, String> {
    let absolute = std::path::absolute(path).map_err(|e| format!("the current directory is not known: {e}"))?;
    let mut both = vec![];
    // Of what follows a link, `..` leads elsewhere.
    if !absolute.components().any(|part| part == Component::ParentDir) {
        both.push(absolute.components().collect());
    }
    both.push(resolved(&absolute));
    both.dedup();
    Ok(both.iter().map(|path| globset::escape(&path.to_string_lossy())).collect())
}

/// Without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    for dir in path.ancestors() {
        if let Ok(real) = dir.canonicalize() {
            let rest = path.strip_prefix(dir).unwrap_or(Path::new(""));
            return rest.components().fold(real, |mut path, part| {
                match part {
                    Component::ParentDir => drop(path.pop()),
                    part => path.push(part),
                }
                path
            });
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        globs("--path", &[pattern.to_owned()]).unwrap().unwrap().is_match(path)
    }

    #[test]
    fn directories_mean_what_is_below() {
        for pattern in ["/etc", "/etc/", "/etc/.", "//etc"] {
            assert!(
                matches(pattern, "/etc") && matches(pattern, "/etc/ssl/x") && !matches(pattern, "/etcetera"),
                "{pattern}"
            );
        }
        assert!(matches("/", "/x/y") && !matches("/", "pipe:[1]"));
        assert!(matches("/etc/*.conf", "/etc/a/b.conf") && !matches("/etc/*.conf", "/etc/a"));
        assert!(matches("*.log", "/var/x.log") && matches("memfd:*", "memfd:x"));
        assert!(matches(r"/a/\[b\]", "/a/[b]"));
    }

    #[test]
    fn relative_ones_and_links_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let path = |name: &str| dir.join(name).display().to_string();
        fs::create_dir_all(dir.join("real/[sub]")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        for pattern in ["link", "link/*", "link/new", "real/../link/new"] {
            assert!(matches(&path(pattern), &path("real/new")), "{pattern}");
        }
        assert!(matches(&path("link"), &path("link/x")), "as given");
        // What is below the link, not beside it.
        fs::create_dir_all(dir.join("elsewhere/below")).unwrap();
        symlink("elsewhere/below", dir.join("deep")).unwrap();
        assert!(matches(&path("deep/../x"), &path("elsewhere/x")) && !matches(&path("deep/../x"), &path("x")));
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        let below = |name: &str| here.join(name).display().to_string();
        for pattern in ["x.bin", "./x.bin", "./x*", "no-such/../x.bin"] {
            assert!(matches(pattern, &below("x.bin")), "{pattern}");
        }
    }

    #[test]
    fn what_never_matches_is_an_error() {
        for pattern in ["", "slow*", "/etc/*/", "/etc/*/../x", "/a/[b"] {
            assert!(globs("--path", &[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }
}
