//! What the lab needs of the machine, and whether it is there.

use std::path::Path;
use std::time::Duration;

use super::image::BUSYBOX;
use super::shell;

/// Why the lab cannot run here, or nothing when it can.
pub fn missing() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some(format!("lab VMs are x86_64, this machine is {}", std::env::consts::ARCH));
    }
    if !is_root() {
        return Some("the lab makes namespaces, for which it must be root".to_owned());
    }
    let absent: Vec<&str> = PROGRAMS.into_iter().filter(|program| !is_installed(program)).collect();
    if !absent.is_empty() {
        return Some(format!("not installed: {} (see tests/install.sh)", absent.join(", ")));
    }
    let spaces = ["--mount", "--pid", "--net", "--uts", "--fork", "--mount-proc", "true"];
    let refusal = shell::run("unshare", &spaces, SPACES_LIMIT).err()?;
    Some(format!("root may make no namespaces here (a container?): {refusal:#}"))
}

/// Whether VMs can use the processor's virtualization.
///
/// /dev/kvm proves nothing: on a processor without the feature it may let QEMU make a VM that then
/// never runs an instruction; and with the feature it may be closed to us. So the processor must
/// say that it can, and QEMU must be able to.
pub(crate) fn kvm_works() -> bool {
    let args = ["-accel", "kvm", "-machine", "none", "-display", "none", "-nodefaults"];
    let args = [&args[..], &["-monitor", "stdio"]].concat();
    processor_virtualizes()
        && Path::new("/dev/kvm").exists()
        && shell::feed("qemu-system-x86_64", &args, "quit\n", KVM_LIMIT).is_ok()
}

fn processor_virtualizes() -> bool {
    let said = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    said.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn is_installed(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Everything the lab starts that a minimal Debian lacks.
const PROGRAMS: [&str; 9] = [
    "libvirtd",
    "virsh",
    "qemu-system-x86_64",
    BUSYBOX,
    "ip",
    "xz",
    "unshare",
    "nsenter",
    "apt-get",
];

/// Making and leaving namespaces takes milliseconds.
const SPACES_LIMIT: Duration = Duration::from_secs(60);

/// QEMU says no within milliseconds.
const KVM_LIMIT: Duration = Duration::from_secs(60);
