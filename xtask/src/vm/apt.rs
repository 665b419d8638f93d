//! Debian packages, without touching the machine's own apt.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the series are: the older ones left the other suites.
const SUITES: [&str; 2] = ["trixie-backports", "bookworm"];
const SECURITY_SUITES: [&str; 3] = ["trixie-security", "bookworm-security", "bullseye-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Seconds that apt waits for a server that does not answer.
const SERVER_SECONDS: u32 = 30;
/// Seconds for a whole command.
const COMMAND_SECONDS: &str = "600";

/// The addresses that the machine's own apt has Debian from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirrors {
    main: Option<String>,
    security: Option<String>,
}

/// An apt with a state of its own below one directory.
#[derive(Debug)]
pub(super) struct Apt {
    directory: PathBuf,
}

impl Apt {
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        for below in ["etc/preferences.d", "etc/trusted.gpg.d", "state/lists/partial", "cache/archives/partial"] {
            let path = directory.join(below);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        fs::write(directory.join("status"), "").context("cannot write apt's status file")?;
        Ok(Self { directory })
    }

    /// Gets the lists of packages. Some suites may fail: an error only where there is no mirror.
    pub(super) fn update(&self) -> Result<()> {
        let mirrors = Mirrors::of_machine();
        let main = mirrors.main.context("no Debian mirror among the sources of this machine's apt")?;
        let mut sources = String::new();
        let mut add = |uri: &str, suites: &[&str]| {
            for suite in suites {
                sources += &format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n");
            }
        };
        add(&main, &SUITES);
        match &mirrors.security {
            Some(security) => add(security, &SECURITY_SUITES),
            None => eprintln!("vm: this machine's apt has no Debian security suite: older series may be missing"),
        }
        fs::write(self.directory.join("etc/sources.list"), sources).context("cannot write apt's sources")?;
        if let Err(error) = run(self.command("apt-get").args(["-qq", "update"])) {
            eprintln!("vm: not all lists of packages could be had: {error:#}");
        }
        Ok(())
    }

    /// Names of the packages that begin with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(run(self.command("apt-cache").args(["pkgnames", prefix]))?.lines().map(str::to_owned).collect())
    }

    /// The version of each package that has one.
    pub(super) fn versions(&self, packages: &[&str]) -> Result<BTreeMap<String, String>> {
        let text = run(self.command("apt-cache").args(["show", "--no-all-versions"]).args(packages))?;
        Ok(fields(&text))
    }

    /// Downloads a package into `directory`.
    pub(super) fn download(&self, package: &str, directory: &Path) -> Result<PathBuf> {
        run(self.command("apt-get").args(["-qq", "download", package]).current_dir(directory))?;
        let files = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
        files
            .flatten()
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .context("apt-get downloaded nothing")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", COMMAND_SECONDS, program]);
        let at = |below: &str| self.directory.join(below).display().to_string();
        for option in [
            format!("Dir::Etc={}", at("etc")),
            format!("Dir::Etc::sourcelist={}", at("etc/sources.list")),
            format!("Dir::Etc::sourceparts={}", at("etc/sources.list.d")),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
            // The user _apt may not reach a private directory.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Get::List-Cleanup=true".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            format!("Acquire::http::Timeout={SERVER_SECONDS}"),
            format!("Acquire::https::Timeout={SERVER_SECONDS}"),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// What a command printed; an error with the last line of what it complained about, without addresses.
fn run(command: &mut Command) -> Result<String> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output().context("cannot run apt")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("apt failed ({}): {}", output.status, without_addresses(said.trim().lines().last().unwrap_or_default()));
    }
    String::from_utf8(output.stdout).context("apt's output is not UTF-8")
}

/// Mirrors may be private: neither they nor their credentials belong into a log.
fn without_addresses(text: &str) -> String {
    text.split(' ').map(|word| if word.contains("://") { "(address)" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Versions by package from paragraphs of `Package:` and `Version:`.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
        if let (Some(package), Some(version)) = (field("Package:"), field("Version:")) {
            versions.entry(package).or_insert(version);
        }
    }
    versions
}

impl Mirrors {
    fn of_machine() -> Self {
        let mut mirrors = Self::default();
        let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
        let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path());
        paths.extend(parts);
        paths.sort();
        for path in paths {
            // A file that cannot be read has no mirror for us.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some("list") => text.lines().for_each(|line| mirrors.one_line(line)),
                Some("sources") => deb822(&text).iter().for_each(|paragraph| mirrors.paragraph(paragraph)),
                _ => {}
            }
        }
        mirrors
    }

    /// `deb [options] uri suite component...`
    fn one_line(&mut self, line: &str) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|r| r.starts_with([' ', '\t'])) else { return };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            self.found(uri, suite);
        }
    }

    fn paragraph(&mut self, paragraph: &BTreeMap<String, String>) {
        let words = |name: &str| paragraph.get(name).map_or("", String::as_str).split_whitespace();
        if !words("types").any(|t| t == "deb") || words("enabled").any(|e| e.eq_ignore_ascii_case("no")) {
            return;
        }
        if let Some(uri) = words("uris").next() {
            words("suites").for_each(|suite| self.found(uri, suite));
        }
    }

    fn found(&mut self, uri: &str, suite: &str) {
        const DEBIAN: [&str; 9] =
            ["bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"];
        let (name, kind) = suite.split_once('-').unwrap_or((suite, ""));
        if !DEBIAN.contains(&name) {
            return;
        }
        let place = match kind {
            "security" => &mut self.security,
            // One archive has them all; others have suites such as `bookworm-pgdg`.
            "" | "updates" | "backports" => &mut self.main,
            _ => return,
        };
        place.get_or_insert_with(|| uri.to_owned());
    }
}

/// Paragraphs of fields, by lower-case name, with continuation lines joined.
fn deb822(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut paragraphs = vec![BTreeMap::<String, String>::new()];
    let mut last = String::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if line.trim().is_empty() {
            paragraphs.push(BTreeMap::new());
            continue;
        }
        let Some(paragraph) = paragraphs.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            let value = paragraph.entry(last.clone()).or_default();
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.to_ascii_lowercase();
            paragraph.insert(last.clone(), value.trim().to_owned());
        }
    }
    paragraphs
}

/// The kernel image in a package.
pub(super) fn vmlinuz(package: &Path) -> Result<Vec<u8>> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let archive = unpack.stdout.take().context("dpkg-deb has no output")?;
    let output = Command::new("tar")
        .args(["-xO", "--wildcards", "--no-anchored", "vmlinuz*"])
        .stdin(archive)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run tar");
    let unpacked = unpack.wait().context("cannot wait for dpkg-deb")?;
    let output = output?;
    ensure!(unpacked.success() && output.status.success(), "the package cannot be unpacked");
    // The magic of the boot protocol: an empty or a cut image would only be seen as a silent VM.
    ensure!(output.stdout.get(0x202..0x206) == Some(b"HdrS"), "the package has no bootable kernel");
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(main: &str, security: &str) -> Mirrors {
        Mirrors { main: Some(main.to_owned()), security: Some(security.to_owned()) }
    }

    #[test]
    fn sources_of_one_line() {
        let mut found = Mirrors::default();
        for line in [
            "# deb http://a.example/debian bookworm main",
            "deb-src http://b.example/debian bookworm main",
            "deb https://c.example/postgresql bookworm-pgdg main",
            "deb [arch=amd64 signed-by=/k.gpg]  http://d.example/debian bookworm-updates main # why",
            "deb http://e.example/debian bookworm main",
            "deb\thttp://f.example bookworm main",
            "deb http://g.example/security trixie-security main",
            "deb [broken",
        ] {
            found.one_line(line);
        }
        assert_eq!(found, mirrors("http://d.example/debian", "http://g.example/security"));
    }

    #[test]
    fn sources_of_deb822() {
        let text = "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm\nEnabled: no\n\n\
            Types: deb-src\nURIs: http://b.example/debian\nSuites: bookworm\n\n\
            # comment\nTypes: deb deb-src\n# another\nURIs: http://c.example/debian\nsuites: bookworm\n  bookworm-updates\n\n\n\
            Types: deb\nURIs:\n http://d.example/security\nSuites: bookworm-security\n\n\
            Types: deb\nURIs: http://e.example/\nSuites: nodistro\n";
        let mut found = Mirrors::default();
        deb822(text).iter().for_each(|paragraph| found.paragraph(paragraph));
        assert_eq!(found, mirrors("http://c.example/debian", "http://d.example/security"));
    }

    #[test]
    fn versions_by_package() {
        let text = "Package: a\nVersion: 6.1.1-1\nDepends: b\n\nPackage: b\nVersion: 2\n\n";
        let found = fields(text);
        assert_eq!(found.get("a").map(String::as_str), Some("6.1.1-1"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn messages_name_no_server() {
        assert_eq!(
            without_addresses("E: Failed to fetch http://u:p@a.example/x 404"),
            "E: Failed to fetch (address) 404"
        );
    }
}
