//! Whether the kernel's out-of-memory killer has ended a process, by its counts for this control group and for the
//! system.

use std::path::Path;

/// The number of processes that the out-of-memory killer has ended so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OomKills {
    of_group: Option<u64>,
    of_system: Option<u64>,
}

impl OomKills {
    /// The counts now. A count is `None` when the system does not tell it.
    pub(super) fn now() -> OomKills {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let group = read(Path::new("/proc/self/cgroup")).and_then(|text| {
            let folder = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
            read(&Path::new("/sys/fs/cgroup").join(folder).join("memory.events"))
        });
        OomKills {
            of_group: group.as_deref().and_then(oom_kill),
            of_system: read(Path::new("/proc/vmstat")).as_deref().and_then(oom_kill),
        }
    }

    /// Whether the killer has ended a process between an earlier count and this one.
    pub(super) fn more_than(&self, earlier: &OomKills) -> bool {
        let rose = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(now, then)| now > then);
        rose(self.of_group, earlier.of_group) || rose(self.of_system, earlier.of_system)
    }
}

/// The count `oom_kill` in a file with one `name number` on each line.
fn oom_kill(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_read_and_only_a_rise_counts() {
        assert_eq!(oom_kill("low 0\nhigh 0\noom 2\noom_kill 3\noom_group_kill 1\n"), Some(3));
        assert_eq!(oom_kill("pgpgin 1\n"), None);
        let count = |of_group, of_system| OomKills { of_group, of_system };
        assert!(count(None, Some(2)).more_than(&count(None, Some(1))));
        assert!(count(Some(1), Some(1)).more_than(&count(Some(0), Some(1))));
        assert!(!count(Some(1), None).more_than(&count(Some(1), Some(1))));
        assert!(!OomKills::now().more_than(&OomKills::now()));
    }
}
