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
/// more than what each control group around this process leaves (`memory.max`, Linux's cgroup-v2).
fn available() -> Option<u64> {
    let system = meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.as_deref().and_then(own_group).and_then(|own| left_by_groups(Path::new("/sys/fs/cgroup"), own));
    Some(group.map_or(system, |group| group.min(system)))
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The path of this process's group in the one hierarchy of version 2.
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// What the group and those around it leave, the least of it; none if none of them has a limit.
fn left_by_groups(root: &Path, own: &str) -> Option<u64> {
    let groups = root.join(own);
    let groups = groups.ancestors().take_while(|group| group.starts_with(root));
    let left = groups.filter_map(|group| {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(read("memory.max")?.saturating_sub(read("memory.current")?))
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

    #[test]
    fn the_tightest_of_the_groups_around_a_process_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let service = root.path().join("system.slice/authferry.service");
        fs::create_dir_all(&service).expect("folders");
        let own = own_group("1:name=systemd:/x\n0::/system.slice/authferry.service\n").expect("a group");
        assert_eq!(left_by_groups(root.path(), own), None, "nobody has a limit");
        let limit = |group: &Path, most: &str, current: &str| {
            fs::write(group.join("memory.max"), most).expect("written");
            fs::write(group.join("memory.current"), current).expect("written");
        };
        limit(&service, "max\n", "5\n");
        assert_eq!(left_by_groups(root.path(), own), None, "nor is `max` one");
        limit(&root.path().join("system.slice"), "1000\n", "400\n");
        assert_eq!(left_by_groups(root.path(), own), Some(600));
        limit(&service, "500\n", "700\n");
        assert_eq!(left_by_groups(root.path(), own), Some(0), "over its limit already");
        assert_eq!(left_by_groups(root.path(), own_group("0::/\n").expect("the root")), None);
    }
}
