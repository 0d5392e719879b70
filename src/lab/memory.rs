//! What memory this host has for guests: `/proc/meminfo`, and what control groups leave of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// All there is.
    pub total: u64,
    /// What processes can have without others being swapped out.
    pub available: u64,
}

impl Host {
    /// What this process may use.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn read() -> Result<Host> {
        Host::of(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    fn of(proc: &Path, cgroups: &Path) -> Result<Host> {
        let text = fs::read_to_string(proc.join("meminfo"))
            .context("cannot tell how much memory there is")?;
        let all = Host {
            total: kib(&text, "MemTotal:").context("/proc/meminfo says no MemTotal")?,
            available: kib(&text, "MemAvailable:").context("/proc/meminfo says no MemAvailable")?,
        };
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        Ok(limits(&own, cgroups).fold(all, |host, limit| Host {
            total: host.total.min(limit.total),
            available: host.available.min(limit.available),
        }))
    }
}

/// What a process holds that no file backs, bytes: its guest's memory, too.
pub fn held(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&text, "RssAnon:").unwrap_or(0) + kib(&text, "RssShmem:").unwrap_or(0)
}

/// The value of `KEY   123 kB`, bytes.
fn kib(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// The limits of the control groups this process is in, of either version, and of all above them.
fn limits<'a>(own: &'a str, cgroups: &'a Path) -> impl Iterator<Item = Host> + 'a {
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let names = match controllers {
            "" => (cgroups.to_owned(), ["memory.max", "memory.current", "inactive_file"]),
            _ if controllers.split(',').any(|name| name == "memory") => {
                let names =
                    ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                (cgroups.join("memory"), names)
            }
            _ => return None,
        };
        Some((names, path.trim_start_matches('/').to_owned()))
    };
    own.lines().filter_map(group).flat_map(|((root, files), path)| {
        let dirs: Vec<PathBuf> = Path::new(&path).ancestors().map(|path| root.join(path)).collect();
        dirs.into_iter().filter_map(move |dir| limit(&dir, files))
    })
}

/// What one control group leaves; pages of files it can do without count as left.
fn limit(dir: &Path, [most, used, droppable]: [&str; 3]) -> Option<Host> {
    let number = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    let (total, used) = (number(most)?, number(used)?);
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let droppable = stat.lines().find_map(|line| line.strip_prefix(droppable)?.trim().parse().ok());
    let used = used.saturating_sub(droppable.unwrap_or(0));
    Some(Host { total, available: total.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    800 kB\n";

    fn host(files: &[(&str, &str)]) -> Result<Host> {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        Host::of(&dir.path().join("proc"), &dir.path().join("cgroup"))
    }

    #[test]
    fn without_control_groups_it_is_what_the_kernel_says() {
        let found = host(&[("proc/meminfo", MEMINFO)]).expect("it is told");
        assert_eq!(found, Host { total: 1000 << 10, available: 800 << 10 });
        assert!(host(&[]).is_err());
    }

    #[test]
    fn the_tightest_control_group_above_a_process_counts() {
        let found = host(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/memory.max", "500000\n"),
            ("cgroup/a/memory.current", "400000\n"),
            ("cgroup/a/memory.stat", "anon 1\ninactive_file 100000\n"),
            ("cgroup/a/b/memory.max", "max\n"),
        ]);
        assert_eq!(found.expect("it is told"), Host { total: 500_000, available: 200_000 });
    }

    #[test]
    fn control_groups_of_version_1_count_too() {
        let found = host(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "3:cpu,memory:/x\n2:pids:/x\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/memory.usage_in_bytes", "5\n"),
            ("cgroup/memory/x/memory.limit_in_bytes", "300\n"),
            ("cgroup/memory/x/memory.usage_in_bytes", "100\n"),
        ]);
        assert_eq!(found.expect("it is told"), Host { total: 300, available: 200 });
    }
}
