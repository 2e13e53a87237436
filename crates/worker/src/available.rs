//! The main memory that is free to use: what the machine has available, or what the control groups of this process or the
//! limit on its address space (`ulimit -v`) leave.
//!
//! A container is a control group, and its limit is not seen in `/proc/meminfo`. A group may lie in others, each with limits of
//! its own, so the least that any of them leaves counts.
//!
//! ```text
//! /proc/self/cgroup   0::/a/b            version 2   /sys/fs/cgroup/a/b, /sys/fs/cgroup/a, /sys/fs/cgroup
//!                     4:memory:/a/b      version 1   /sys/fs/cgroup/memory/a/b, …
//! ```
//!
//! Inside a container, the folder of its group may be mounted in the place of the root, so folders that are missing are
//! passed over and the root is always read.

use std::path::{Component, Path, PathBuf};

/// The files of one version of control groups.
struct Version {
    /// The folder of the root group.
    root: &'static str,
    /// The files with limits, in bytes. One that says `max` sets none.
    limits: &'static [&'static str],
    /// The file with the bytes in use.
    usage: &'static str,
    /// The entry of `memory.stat` with the pages of files that can be dropped at once.
    droppable: &'static str,
}

const V2: Version = Version {
    root: "sys/fs/cgroup",
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    droppable: "inactive_file",
};

const V1: Version = Version {
    root: "sys/fs/cgroup/memory",
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};

/// The main memory that is free to use, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableMemory {
    /// The number of bytes that are free to use.
    pub bytes: u64,
    /// The bound that leaves the least.
    pub bound: MemoryBound,
}

/// What bounds the main memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBound {
    /// The machine has no more available.
    Machine,
    /// A control group has a limit, as in a container.
    ControlGroup,
    /// The process has a limit on its address space.
    AddressSpace,
}

/// The main memory that is free to use; `None` where the system does not say.
pub fn available_memory() -> Option<AvailableMemory> {
    available_under(Path::new("/"))
}

/// The same for a system whose files are under `root`.
fn available_under(root: &Path) -> Option<AvailableMemory> {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.saturating_mul(1024);
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(version_and_path).flat_map(|(version, path)| {
        let top = root.join(version.root);
        folders(&top, path).into_iter().filter_map(move |folder| left_in(&folder, version)).collect::<Vec<_>>()
    });
    // Where no line names a group, the root may still be a container's.
    let of_root = [&V2, &V1].into_iter().filter_map(|version| left_in(&root.join(version.root), version));
    let mut least = AvailableMemory { bytes: available, bound: MemoryBound::Machine };
    let of_groups = left.chain(of_root).map(|bytes| AvailableMemory { bytes, bound: MemoryBound::ControlGroup });
    let of_process =
        left_of_address_space(root).map(|bytes| AvailableMemory { bytes, bound: MemoryBound::AddressSpace });
    for other in of_groups.chain(of_process) {
        if other.bytes < least.bytes {
            least = other;
        }
    }
    Some(least)
}

/// What the limit on this process's address space (`RLIMIT_AS`) leaves beside what it has mapped, in bytes; `None` where
/// the address space is unlimited.
fn left_of_address_space(root: &Path) -> Option<u64> {
    let limits = std::fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit = limit.split_whitespace().next()?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let mapped = mapped.and_then(|kb| kb.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(mapped.saturating_mul(1024)))
}

/// The version of a line of `/proc/self/cgroup` that has the memory, and the path of the group.
fn version_and_path(line: &str) -> Option<(&'static Version, &str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    match controllers {
        "" => Some((&V2, path)),
        _ => controllers.split(',').any(|controller| controller == "memory").then_some((&V1, path)),
    }
}

/// The folders of a group and of those that it lies in. A path that leads out of the root is that of a process moved here
/// from another container, whose groups cannot be seen.
fn folders(top: &Path, path: &str) -> Vec<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Vec::new();
    }
    path.ancestors().map(|group| top.join(group)).collect()
}

/// What the limits of one group leave, in bytes; `None` where it has none.
fn left_in(folder: &Path, version: &Version) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = version.limits.iter().filter_map(|name| number(name)).min()?;
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = stat.lines().find_map(|line| line.strip_prefix(version.droppable)?.trim().parse::<u64>().ok());
    let used = number(version.usage).unwrap_or(0).saturating_sub(droppable.unwrap_or(0));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What is available in a system with these files, which has 8 GiB available as a whole.
    fn with(files: &[(&str, &str)]) -> Option<u64> {
        bounded(files).map(|available| available.bytes)
    }

    fn bounded(files: &[(&str, &str)]) -> Option<AvailableMemory> {
        let root = tempfile::tempdir().expect("a folder");
        let meminfo = ("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        available_under(root.path())
    }

    #[test]
    fn without_limits_the_machine_decides() {
        assert_eq!(with(&[]), Some(8192 * MIB));
        assert_eq!(with(&[("proc/self/cgroup", "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")]), Some(8192 * MIB));
        // Version 1 writes no limit as the largest number of whole pages.
        let huge = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(with(&[("proc/self/cgroup", "4:memory:/\n"), huge]), Some(8192 * MIB));
        assert_eq!(available_under(Path::new("/no/such/system")), None);
    }

    #[test]
    fn a_limit_on_the_address_space_leaves_what_is_not_mapped_and_is_named() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max data size             unlimited            unlimited            bytes     \n\
                     Max address space         {soft}            unlimited            bytes     \n"
            )
        };
        let status = ("proc/self/status", "Name:\tassay\nVmPeak:\t  300000 kB\nVmSize:\t  262144 kB\n");
        let limited = limits("1073741824");
        assert_eq!(
            bounded(&[status, ("proc/self/limits", &limited)]),
            Some(AvailableMemory { bytes: 768 * MIB, bound: MemoryBound::AddressSpace })
        );
        let group = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1048576\n")];
        assert_eq!(
            bounded(&[status, ("proc/self/limits", &limited), group[0], group[1]]),
            Some(AvailableMemory { bytes: MIB, bound: MemoryBound::ControlGroup })
        );
        let unlimited = limits("unlimited");
        assert_eq!(
            bounded(&[status, ("proc/self/limits", &unlimited)]),
            Some(AvailableMemory { bytes: 8192 * MIB, bound: MemoryBound::Machine })
        );
    }

    #[test]
    fn the_least_that_nested_groups_leave_counts() {
        let group = ("proc/self/cgroup", "0::/outer/inner\n");
        let inner = ("sys/fs/cgroup/outer/inner/memory.max", "2147483648\n");
        assert_eq!(with(&[group, inner]), Some(2048 * MIB));
        let outer =
            [("sys/fs/cgroup/outer/memory.max", "1073741824\n"), ("sys/fs/cgroup/outer/memory.current", "268435456\n")];
        assert_eq!(with(&[group, inner, outer[0], outer[1]]), Some(768 * MIB));
        let high = ("sys/fs/cgroup/outer/inner/memory.high", "104857600\n");
        assert_eq!(with(&[group, inner, outer[0], outer[1], high]), Some(100 * MIB));
    }

    #[test]
    fn pages_of_files_that_can_be_dropped_are_not_in_the_way() {
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/memory.current", "1073741824\n"),
            ("sys/fs/cgroup/memory.stat", "anon 104857600\ninactive_file 943718400\nactive_file 25165824\n"),
        ];
        assert_eq!(with(&files), Some(900 * MIB));
    }

    #[test]
    fn version_1_and_a_container_whose_group_is_mounted_as_the_root_are_seen() {
        let groups =
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:blkio,memory:/docker/x\n1:name=systemd:/docker/x\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        let usage = ("sys/fs/cgroup/memory/memory.usage_in_bytes", "134217728\n");
        let stat = ("sys/fs/cgroup/memory/memory.stat", "inactive_file 0\ntotal_inactive_file 33554432\n");
        assert_eq!(with(&[groups, limit, usage, stat]), Some(416 * MIB));
        // A path out of the root says nothing; the root does.
        let outside = ("proc/self/cgroup", "0::/../other\n");
        assert_eq!(with(&[outside, ("sys/fs/cgroup/memory.max", "1048576\n")]), Some(MIB));
        assert_eq!(with(&[("sys/fs/cgroup/memory.max", "1048576\n")]), Some(MIB), "no line at all");
    }
}
