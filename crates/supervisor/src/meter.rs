//! How large each process and its directory are, looked at now and then, against bounds.
//!
//! Memory is what the kernel calls resident; a directory is the sum of its files' lengths, recycled space included: that is what an
//! operator must provide. Absent on purpose: any judgement of why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use synod_protocol::NodeId;

use crate::fleet::Fleet;
use crate::policy::Kind;
use crate::timeline::Happening;

/// How large one process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of its memory that are resident.
    pub memory_bytes: u64,
    /// Bytes of its directory.
    pub disk_bytes: u64,
}

impl Size {
    fn max(self, other: Size) -> Size {
        Size {
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            disk_bytes: self.disk_bytes.max(other.disk_bytes),
        }
    }
}

/// How large each process may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// An acceptor.
    pub acceptor: Size,
    /// A learner.
    pub learner: Size,
}

/// Looks at processes and remembers the largest that each has been.
#[derive(Clone, Debug)]
pub struct Meter {
    data_dir: PathBuf,
    peaks: BTreeMap<NodeId, Size>,
}

impl Meter {
    /// A meter of processes whose directories are in `data_dir`.
    pub fn new(data_dir: PathBuf) -> Meter {
        Meter { data_dir, peaks: BTreeMap::new() }
    }

    /// Looks at every process of `fleet`, and tells the largest of each kind as they are.
    pub fn look(&mut self, fleet: &Fleet) -> Happening {
        let mut largest: BTreeMap<Kind, Size> = BTreeMap::new();
        for node in fleet.nodes() {
            let memory_bytes = fleet.pid(node).map_or(0, resident_bytes);
            let size =
                Size { memory_bytes, disk_bytes: directory_bytes(&self.data_dir.join(node.to_string())) };
            let peak = self.peaks.entry(node).or_default();
            *peak = peak.max(size);
            if let Some(kind) = Kind::of(node) {
                let of_kind = largest.entry(kind).or_default();
                *of_kind = of_kind.max(size);
            }
        }
        let of = |kind| largest.get(&kind).copied().unwrap_or_default();
        let (acceptor, learner) = (of(Kind::Acceptor), of(Kind::Learner));
        Happening::Sizes {
            acceptor_disk_bytes: acceptor.disk_bytes,
            acceptor_memory_bytes: acceptor.memory_bytes,
            learner_disk_bytes: learner.disk_bytes,
            learner_memory_bytes: learner.memory_bytes,
        }
    }

    /// What was ever larger than it may be, in words.
    pub fn excesses(&self, bounds: &Bounds) -> Vec<String> {
        let mut found = Vec::new();
        for (node, peak) in &self.peaks {
            let bound = match node {
                NodeId::Acceptor(_) => bounds.acceptor,
                NodeId::Learner(_) => bounds.learner,
                NodeId::Proposer(_) | NodeId::Client(_) => continue,
            };
            for (what, bytes, most) in [
                ("in memory", peak.memory_bytes, bound.memory_bytes),
                ("on disk", peak.disk_bytes, bound.disk_bytes),
            ] {
                if bytes > most {
                    found.push(format!("{node} took {} MiB {what}, more than {}", bytes >> 20, most >> 20));
                }
            }
        }
        found
    }
}

/// The resident memory of a process, bytes; 0 when it is gone.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The length of all files in a directory and below, bytes; what vanishes meanwhile counts nothing.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::{AcceptorId, LearnerId};

    #[test]
    fn peaks_above_a_bound_are_named() {
        let size = |memory_bytes, disk_bytes| Size { memory_bytes, disk_bytes };
        let mut meter = Meter::new(PathBuf::new());
        meter.peaks.insert(AcceptorId(1).into(), size(10 << 20, 20 << 20));
        meter.peaks.insert(LearnerId(1).into(), size(30 << 20, 40 << 20));
        let mut bounds = Bounds { acceptor: size(10 << 20, 20 << 20), learner: size(30 << 20, 40 << 20) };
        assert_eq!(meter.excesses(&bounds), Vec::<String>::new());
        bounds.acceptor.disk_bytes -= 1;
        bounds.learner.memory_bytes = 7 << 20;
        assert_eq!(
            meter.excesses(&bounds),
            ["a1 took 20 MiB on disk, more than 19", "l1 took 30 MiB in memory, more than 7"]
        );
    }

    #[test]
    fn this_process_has_memory_and_one_that_is_gone_has_none() {
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert_eq!(resident_bytes(u32::MAX), 0);
        assert!(directory_bytes(Path::new(env!("CARGO_MANIFEST_DIR"))) > 10_000);
    }
}
