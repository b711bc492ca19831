//! [`Process`]: which process a VM is, as the kernel tells it.
//!
//! libvirt numbers the starts of VMs, but counts anew when it starts itself: a VM that was ended and
//! started meanwhile may have its old number. The kernel gives no two processes the same number
//! within the moment in which it counts their starts.

use std::fs;

use super::group::Places;

/// One process, among all since the host booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    /// When it began, in the kernel's ticks since its boot.
    began: u64,
}

impl Places {
    /// The process of a VM; `None` where libvirt or the kernel do not tell, as for drivers that run
    /// VMs without one.
    pub(super) fn process_of(&self, vm: &str) -> Option<Process> {
        let pid = self.pid_of(vm)?;
        let stat = fs::read_to_string(self.processes.join(format!("{pid}/stat"))).ok()?;
        Some(Process { pid, began: began(&stat)? })
    }
}

/// When a process began, from its file `stat`. The second field is its name in brackets, in which
/// anything may stand.
fn began(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(BEGAN - AFTER_NAME)?.parse().ok()
}

/// The fields are counted from one.
const BEGAN: usize = 22;
const AFTER_NAME: usize = 3;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    impl Process {
        /// Process 1, begun then.
        pub(in crate::hypervisor::libvirt) fn begun(began: u64) -> Self {
            Self { pid: 1, began }
        }
    }

    #[test]
    fn a_process_is_known_by_its_number_and_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = || folder.path().to_owned();
        let places = Places { groups: at(), processes: at(), pids: at() };
        let stat = |began: u64| {
            let zeros = "0 ".repeat(18);
            let text = format!("77 (qemu) 1) S {zeros}{began} 4096 9\n");
            write(&folder.path().join("77/stat"), &text);
        };
        assert_eq!(places.process_of("web1"), None, "libvirt does not tell");
        write(&folder.path().join("web1.pid"), "77\n");
        assert_eq!(places.process_of("web1"), None, "it is gone");
        stat(500);
        let first = places.process_of("web1");
        assert_eq!(first, Some(Process { pid: 77, began: 500 }));
        stat(501);
        assert_ne!(places.process_of("web1"), first, "the number was given again");
        write(&folder.path().join("77/stat"), "77 (qemu) S 1 2");
        assert_eq!(places.process_of("web1"), None);
    }

    #[test]
    fn reads_what_this_kernel_writes() {
        let stat = fs::read_to_string("/proc/self/stat").expect("this process");
        assert!(began(&stat).is_some_and(|began| began > 0), "{stat}");
    }
}
