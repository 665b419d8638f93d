//! Kernels of Debian's cloud flavour, which has built in all that the guest needs. They are kept outside the work tree.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::apt::{self, Apt};
use super::series::{Name, Series};

/// What Debian had when this was written: one that is gone is reported, not forgotten. 5.10 has the io_uring of 5.15.
const KNOWN: [Series; 11] = [
    Series(5, 10),
    Series(6, 1),
    Series(6, 12),
    Series(6, 16),
    Series(6, 17),
    Series(6, 18),
    Series(6, 19),
    Series(7, 0),
    Series(7, 1),
    Series(7, 2),
    Series(7, 3),
];

/// A package that holds a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Package {
    fn directory(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }

    fn parse(directory: &str) -> Option<(Name, Self)> {
        let (name, version) = directory.split_once('_')?;
        Some((Name::parse(name)?, Self { name: name.to_owned(), version: version.to_owned() }))
    }
}

/// The newest package of each series.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// When the mirror was asked.
    date: String,
    newest: BTreeMap<Series, Package>,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Kernels {
    directory: PathBuf,
    index: Index,
    /// Why the mirror could not be asked.
    offline: Option<String>,
}

/// A kernel that can be started.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) series: Series,
    pub(super) package: Package,
    pub(super) image: PathBuf,
}

impl Kernels {
    /// Asks the mirror, once a day.
    pub(super) fn open() -> Result<Self> {
        let directory = cache_directory()?.join("ringwatch/kernels");
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("index.json");
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let known: Option<Index> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let (index, offline) = match known {
            Some(index) if index.date == today => (index, None),
            known => match ask(&directory, today) {
                Ok(index) => {
                    write(&path, (serde_json::to_string_pretty(&index)? + "\n").as_bytes())?;
                    (index, None)
                }
                Err(error) => {
                    eprintln!("vm: no new kernels: {error:#}");
                    (known.unwrap_or_default(), Some(format!("{error:#}")))
                }
            },
        };
        Ok(Self { directory, index, offline })
    }

    /// All series there ought to be, oldest first.
    pub(super) fn series(&self) -> Vec<Series> {
        let mut all = KNOWN.to_vec();
        all.extend(self.index.newest.keys().filter(|&&s| s >= KNOWN[0]));
        all.extend(self.cached().keys());
        all.sort();
        all.dedup();
        all
    }

    /// The newest of the newest series that can be had.
    pub(super) fn newest(&self) -> Option<Series> {
        self.index.newest.keys().chain(self.cached().keys()).max().copied()
    }

    /// The package that `get` would bring, and whether it is here.
    pub(super) fn look(&self, series: Series) -> Option<(Package, bool)> {
        let wanted = self.index.newest.get(&series).cloned().or_else(|| self.cached().remove(&series))?;
        let here = self.image(&wanted).exists();
        Some((wanted, here))
    }

    /// The newest kernel of the series; where it cannot be fetched, the newest that is here.
    pub(super) fn get(&self, series: Series) -> Result<Kernel> {
        let kernel = |package: Package| Kernel { series, image: self.image(&package), package };
        let wanted = self.index.newest.get(&series).with_context(|| match &self.offline {
            Some(why) => format!("the mirror could not be asked: {why}"),
            None => "the mirror has no such kernel".to_owned(),
        });
        let error = match wanted.and_then(|package| self.fetch(package).map(|()| package.clone())) {
            Ok(package) => return Ok(kernel(package)),
            Err(error) => error,
        };
        match self.cached().remove(&series) {
            Some(package) => {
                eprintln!("vm: {series}: {error:#}; using {} {}", package.name, package.version);
                Ok(kernel(package))
            }
            None => Err(error),
        }
    }

    fn fetch(&self, package: &Package) -> Result<()> {
        let image = self.image(package);
        if image.exists() {
            return Ok(());
        }
        eprintln!("vm: fetching {} {}", package.name, package.version);
        let scratch = tempfile::tempdir_in(&self.directory).context("cannot make a directory")?;
        let file = Apt::new(self.directory.join("apt"))?.download(&package.name, scratch.path())?;
        let vmlinuz = apt::vmlinuz(&file)?;
        let directory = self.directory.join(package.directory());
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        write(&image, &vmlinuz)
    }

    fn image(&self, package: &Package) -> PathBuf {
        self.directory.join(package.directory()).join("vmlinuz")
    }

    /// The newest package of each series that is here.
    fn cached(&self) -> BTreeMap<Series, Package> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut found: Vec<(Name, Package)> = entries
            .filter(|entry| entry.path().join("vmlinuz").exists())
            .filter_map(|entry| Package::parse(entry.file_name().to_str()?))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.into_iter().map(|(name, package)| (name.series, package)).collect()
    }
}

fn ask(directory: &Path, date: String) -> Result<Index> {
    let apt = Apt::new(directory.join("apt"))?;
    apt.update()?;
    let mut names: Vec<Name> = vec![];
    for prefix in ["linux-image-", "linux-binary-"] {
        names.extend(apt.names(prefix)?.iter().filter_map(|name| Name::parse(name)));
    }
    ensure!(!names.is_empty(), "the lists of packages have no kernel");
    names.sort();
    // Of equal keys the last stays.
    let newest: BTreeMap<Series, Name> = names.into_iter().map(|name| (name.series, name)).collect();
    let versions = apt.versions(&newest.values().map(|name| name.package.as_str()).collect::<Vec<_>>())?;
    let newest = newest
        .into_iter()
        .filter_map(|(series, name)| {
            let version = versions.get(&name.package)?.clone();
            Some((series, Package { name: name.package, version }))
        })
        .collect();
    Ok(Index { date, newest })
}

fn cache_directory() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
