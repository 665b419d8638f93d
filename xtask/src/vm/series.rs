//! Versions of kernel packages.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error};
use serde::{Deserialize, Serialize};

const FLAVOUR: &str = "-cloud-amd64";

/// `6.12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Series(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Series {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (major, minor) = text.split_once('.').with_context(|| format!("`{text}` is no series such as 6.12"))?;
        let number = |part: &str| part.parse().with_context(|| format!("`{text}` is no series such as 6.12"));
        Ok(Self(number(major)?, number(minor)?))
    }
}

impl TryFrom<String> for Series {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Series> for String {
    fn from(series: Series) -> Self {
        series.to_string()
    }
}

/// A package that holds a kernel, such as `linux-image-6.1.0-56-cloud-amd64`, in the order of their age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) series: Series,
    /// All numbers of the version.
    numbers: Vec<u64>,
    /// Since 6.19 `linux-image-*` is empty and `linux-binary-*` has the kernel: of two, the latter.
    binary: bool,
    pub(super) package: String,
}

impl Name {
    /// `None`: not a bootable, signed kernel of the flavour.
    pub(super) fn parse(package: &str) -> Option<Self> {
        let (binary, rest) = match package.strip_prefix("linux-binary-") {
            Some(rest) => (true, rest),
            None => (false, package.strip_prefix("linux-image-")?),
        };
        let version = rest.strip_suffix(FLAVOUR)?;
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let numbers: Vec<u64> =
            version.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).flat_map(str::parse).collect();
        // Two numbers are a metapackage.
        let [major, minor, _, ..] = numbers[..] else { return None };
        let series = Series(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        Some(Self { series, numbers, binary, package: package.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_versions() {
        let ordered = [
            "linux-image-5.10.0-46-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.96+deb13-cloud-amd64",
            "linux-image-6.12.115+deb12-cloud-amd64",
            "linux-image-6.12.115+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.19.14+deb13-cloud-amd64",
            "linux-binary-6.19.14+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
        ];
        let mut names: Vec<_> = ordered.iter().rev().filter_map(|n| Name::parse(n)).collect();
        names.sort();
        assert_eq!(names.iter().map(|n| n.package.as_str()).collect::<Vec<_>>(), ordered);
        assert_eq!(names[3].series, Series(6, 1));
    }

    #[test]
    fn only_kernels_count() {
        for name in [
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-headers-7.3.4+deb13-cloud-amd64",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn series_are_numbers() {
        assert!("6.12".parse::<Series>().is_ok_and(|s| s > Series(6, 2)));
        assert!(["6", "6.x", "newest", "6.1.0"].iter().all(|s| s.parse::<Series>().is_err()));
    }
}
