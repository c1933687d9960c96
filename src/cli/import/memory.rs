//! How much memory an import may take: the more rows one commit has, the fewer times each page of the tables by name is written, so an
//! import of millions takes what the machine has to spare. Reads `/proc` and the control group; guesses nothing where they say nothing.

use std::fs;
use std::path::Path;

use crate::service::ports::MAX_IMPORT_ROWS;

/// Bytes that a row takes until its commit is done, two batches and their keys together, as measured for rows of 370 bytes.
const BYTES_A_ROW: u64 = 1_200;

/// What an import takes at least, whatever there is, and where nothing is known of it.
const LEAST: Room = Room { rows: 50_000, cache_bytes: 192 << 20 };
const UNKNOWN: Room = Room { rows: 250_000, ..LEAST };

/// The largest cache that an import asks for by itself, in bytes: it holds what a commit of two million rows changes among ten million users.
const MOST_CACHE: u64 = 2 << 30;

/// What an import may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Rows in one commit.
    pub(super) rows: usize,
    /// For the store's pages, in bytes: what a commit changes and does not find room here is written and read once more before it is
    /// done.
    pub(super) cache_bytes: usize,
}

impl Room {
    /// A quarter of the memory that is free for rows, at most two million, and an eighth for pages, at most two gigabytes.
    pub(super) fn here() -> Self {
        available().map_or(UNKNOWN, Self::of)
    }

    fn of(available: u64) -> Self {
        let fits = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            rows: fits(available / 4 / BYTES_A_ROW).clamp(LEAST.rows, MAX_IMPORT_ROWS),
            cache_bytes: fits((available / 8).min(MOST_CACHE)).max(LEAST.cache_bytes),
        }
    }
}

/// The bytes that may be taken without anybody being swapped out or killed: what the system has (`MemAvailable`, proc_meminfo(5)), and no
/// more than what each control group around this process leaves: `memory.max` of Linux's cgroup-v2, `memory.limit_in_bytes` where the memory
/// is counted by version 1, as old container hosts do.
fn available() -> Option<u64> {
    let system = meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.as_deref().and_then(|text| left_by(Path::new("/sys/fs/cgroup"), text));
    Some(group.map_or(system, |group| group.min(system)))
}

/// What the control groups leave of which `/proc/self/cgroup` tells: the least of both versions, since a host may have both mounted.
fn left_by(root: &Path, text: &str) -> Option<u64> {
    let of_two = own_group(text).and_then(|own| left_by_groups(root, own, VERSION_2));
    let of_one = own_memory_group(text).and_then(|own| left_by_groups(&root.join("memory"), own, VERSION_1));
    of_two.into_iter().chain(of_one).min()
}

/// The files of a group: what it may have at most, and has.
type Names = (&'static str, &'static str);
const VERSION_2: Names = ("memory.max", "memory.current");
/// A group without a limit has a number that is larger than any machine's memory.
const VERSION_1: Names = ("memory.limit_in_bytes", "memory.usage_in_bytes");

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The path of this process's group in the one hierarchy of version 2.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The path of this process's group in the hierarchy of version 1 that counts memory: `9:memory:/docker/0a1b`.
fn own_memory_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "memory").then(|| path.trim_start_matches('/'))
    })
}

/// What the group and those around it leave, the least of it; none if none of them has a limit. Inside a container the path is that of
/// the host, and not there: then the root, which is the container's own group, is all there is to look at.
fn left_by_groups(root: &Path, own: &str, (most, used): Names) -> Option<u64> {
    let groups = root.join(own);
    let groups = groups.ancestors().take_while(|group| group.starts_with(root));
    let left = groups.filter_map(|group| {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(read(most)?.saturating_sub(read(used)?))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_takes_what_there_is_between_its_bounds() {
        assert_eq!(Room::of(0), LEAST);
        assert_eq!(Room::of(1 << 30), Room { rows: 223_696, cache_bytes: 192 << 20 });
        assert_eq!(Room::of(4 << 30), Room { rows: 894_784, cache_bytes: 512 << 20 });
        assert_eq!(Room::of(u64::MAX), Room { rows: MAX_IMPORT_ROWS, cache_bytes: 2 << 30 });
    }

    #[test]
    fn what_the_system_has_is_read_from_meminfo() {
        let text = "MemTotal:       24563540 kB\nMemFree:         9000 kB\nMemAvailable:   18000 kB\nBuffers: 1 kB\n";
        assert_eq!(meminfo(text), Some(18_000 * 1_024));
        for text in ["", "MemTotal: 1 kB\n", "MemAvailable: x kB\n", "MemAvailable: 18446744073709551615 kB\n"] {
            assert_eq!(meminfo(text), None, "{text}");
        }
    }

    fn limit(group: &Path, (most_in, used_in): Names, most: &str, used: &str) {
        fs::create_dir_all(group).expect("folders");
        fs::write(group.join(most_in), most).expect("written");
        fs::write(group.join(used_in), used).expect("written");
    }

    #[test]
    fn the_tightest_of_the_groups_around_a_process_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let service = root.path().join("system.slice/authferry.service");
        fs::create_dir_all(&service).expect("folders");
        let groups = "1:name=systemd:/x\n0::/system.slice/authferry.service\n";
        assert_eq!(left_by(root.path(), groups), None, "nobody has a limit");
        limit(&service, VERSION_2, "max\n", "5\n");
        assert_eq!(left_by(root.path(), groups), None, "nor is `max` one");
        limit(&root.path().join("system.slice"), VERSION_2, "1000\n", "400\n");
        assert_eq!(left_by(root.path(), groups), Some(600));
        limit(&service, VERSION_2, "500\n", "700\n");
        assert_eq!(left_by(root.path(), groups), Some(0), "over its limit already");
        assert_eq!(left_by(root.path(), "0::/\n"), None, "the root has none");
    }

    #[test]
    fn the_limits_of_the_first_version_count_too() {
        let root = tempfile::tempdir().expect("a folder");
        let groups = "11:cpu,cpuacct:/docker/0a1b\n9:memory:/docker/0a1b\n1:name=systemd:/docker/0a1b\n0::/\n";
        assert_eq!(left_by(root.path(), groups), None);
        let memory = root.path().join("memory");
        let unlimited = "9223372036854771712\n";
        limit(&memory, VERSION_1, unlimited, "4096\n");
        assert_eq!(left_by(root.path(), groups), Some(9_223_372_036_854_767_616), "more than any system has");
        limit(&memory.join("docker/0a1b"), VERSION_1, "536870912\n", "134217728\n");
        assert_eq!(left_by(root.path(), groups), Some(384 << 20));
        limit(&memory.join("docker"), VERSION_1, "200\n", "100\n");
        assert_eq!(left_by(root.path(), groups), Some(100), "the tightest");
        limit(root.path(), VERSION_2, "70\n", "20\n");
        assert_eq!(left_by(root.path(), groups), Some(50), "of either version");
        assert_eq!(left_by(root.path(), "3:memory,hugetlb:/elsewhere\n"), Some(9_223_372_036_854_767_616));
        assert_eq!(left_by(root.path(), "3:memoryx:/\nnonsense\n"), None);
    }

    #[test]
    fn in_a_container_whose_groups_have_the_hosts_names_the_mounted_one_counts() {
        let root = tempfile::tempdir().expect("a folder");
        limit(&root.path().join("memory"), VERSION_1, "900\n", "300\n");
        assert_eq!(left_by(root.path(), "9:memory:/kubepods/burstable/pod1/0a1b\n"), Some(600));
    }
}
