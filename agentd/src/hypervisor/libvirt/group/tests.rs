use std::fs;

use super::*;

const SCOPE: &str = r"machine.slice/machine-qemu\x2d1\x2dweb1.scope";

#[test]
fn finds_the_group_of_one_vm_alone() {
    let emulator = format!("/{SCOPE}/libvirt/emulator");
    assert_eq!(own_group(&emulator), Some(PathBuf::from(SCOPE)));
    assert_eq!(own_group(&format!("/{SCOPE}")), Some(PathBuf::from(SCOPE)));
    let plain = "machine/qemu-1-web1.libvirt-qemu";
    assert_eq!(own_group(&format!("/{plain}/emulator")), Some(PathBuf::from(plain)));
    // Those of a login, of a container, of libvirtd: what is in them is not of one VM.
    for shared in
        ["/", "/user.slice/user-0.slice", "/machine.slice", "/system.slice/libvirtd.service"]
    {
        assert_eq!(own_group(shared), None, "{shared}");
    }
    assert_eq!(own_group(&format!("/../{SCOPE}")), None);
}

#[test]
fn reads_where_a_process_is() {
    let hybrid = "12:memory:/a\n3:cpu,cpuacct:/b\n0::/c\n";
    assert_eq!(path_in(hybrid, Layout::Legacy), Some("/a"));
    assert_eq!(path_in(hybrid, Layout::Unified), Some("/c"));
    assert_eq!(path_in("5:devices,memory:/d:e\n", Layout::Legacy), Some("/d:e"));
    assert_eq!(path_in("0::/c\n", Layout::Legacy), None);
    assert_eq!(path_in("nonsense\n::\n", Layout::Legacy), None);
}

#[test]
fn only_what_cannot_be_dropped_is_resident() {
    let unified = "anon 1000\nfile 5000\nkernel 7\nshmem 200\nfile_mapped 9\ninactive_file 4000\n";
    assert_eq!(resident_in(unified, Layout::Unified), Some(ByteCount::bytes(1200)));
    let huge = format!("{unified}hugetlb 4096\n");
    assert_eq!(resident_in(&huge, Layout::Unified), Some(ByteCount::bytes(1200)));
    let legacy = "cache 5\nrss 1\nshmem 2\ntotal_rss 1000\ntotal_shmem 24\ntotal_cache 9\n";
    assert_eq!(resident_in(legacy, Layout::Legacy), Some(ByteCount::bytes(1024)));
    assert_eq!(resident_in("anon 1000\n", Layout::Unified), None);
    assert_eq!(resident_in("anon many\nshmem 1\n", Layout::Unified), None);
    assert_eq!(resident_in("anon -5\nshmem 1\n", Layout::Unified), None);
}

/// A tree as a kernel would show it, and the host that it is on.
struct Tree {
    folder: tempfile::TempDir,
    places: Places,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let places = Places { groups: at("sys"), processes: at("proc"), pids: at("run") };
        let tree = Self { folder, places };
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

fn gib(total: u32, usable: u32) -> HostMemory {
    let pressure = None;
    HostMemory { total: ByteCount::gib(total), usable: ByteCount::gib(usable), pressure }
}

#[test]
fn the_resident_memory_of_a_vm_is_that_of_its_group() {
    let stat = format!("sys/{SCOPE}/memory.stat");
    let emulator = format!("0::/{SCOPE}/libvirt/emulator\n");
    let tree = Tree::new(&[
        ("sys/cgroup.controllers", "cpu memory\n"),
        (&stat, "anon 1048576\nshmem 0\n"),
        ("run/web1.pid", "77\n"),
        ("proc/77/cgroup", &emulator),
        ("run/web2.pid", "78"),
        ("proc/78/cgroup", "0::/user.slice\n"),
        ("run/web3.pid", "many"),
        ("elsewhere.pid", "77"),
    ]);
    let group = tree.places.group_of("web1").expect("it has a group of its own");
    assert_eq!(group.resident(), Ok(ByteCount::mib(1)));
    tree.write(&stat, "anon 2097152\nshmem 0\n");
    assert_eq!(group.resident(), Ok(ByteCount::mib(2)));
    tree.write(&stat, "");
    assert_eq!(group.resident(), Err(Untold::Now));
    for other in ["web2", "web3", "web4", "../elsewhere", "..", ""] {
        assert_eq!(tree.places.group_of(other), None, "{other:?}");
    }
    fs::remove_file(tree.folder.path().join(&stat)).expect("it is there");
    assert_eq!(group.resident(), Err(Untold::Gone));
    assert_eq!(tree.places.group_of("web1"), None, "a group that tells nothing is none");
}

#[test]
fn the_group_of_all_vms_may_be_narrower_than_the_host() {
    let mib = |mib: u64| (mib << 20).to_string();
    let tree = Tree::new(&[
        ("sys/cgroup.controllers", "memory\n"),
        ("sys/machine.slice/memory.max", "max\n"),
        ("sys/machine.slice/memory.high", "max\n"),
        ("sys/machine.slice/memory.current", &mib(3 * 1024)),
        ("sys/machine.slice/memory.stat", &format!("anon 5\ninactive_file {}\n", mib(1024))),
    ]);
    let narrow = |host| tree.places.narrow(host);
    assert_eq!(narrow(gib(16, 12)), Ok(gib(16, 12)), "no limit");
    tree.write("sys/machine.slice/memory.max", &mib(8 * 1024));
    assert_eq!(narrow(gib(16, 12)), Ok(gib(8, 6)));
    assert_eq!(narrow(gib(16, 2)), Ok(gib(8, 2)), "the host itself is nearer to its end");
    tree.write("sys/machine.slice/memory.high", &mib(4 * 1024));
    assert_eq!(narrow(gib(16, 12)), Ok(gib(4, 2)));
    tree.write("sys/machine.slice/memory.current", &mib(9 * 1024));
    assert_eq!(narrow(gib(16, 12)), Ok(gib(4, 0)));
    tree.write("sys/machine.slice/memory.high", "-1\n");
    let error = narrow(gib(16, 12)).expect_err("an unknown limit is not no limit");
    assert!(error.path.ends_with("machine.slice/memory.high"), "{error:?}");
    assert_eq!(error.problem, "\"-1\" is no amount of bytes");
}

#[test]
fn the_layout_of_before_has_limits_too() {
    let limit = "sys/memory/machine/memory.limit_in_bytes";
    let tree = Tree::new(&[
        (limit, "9223372036854771712\n"),
        ("sys/memory/machine/memory.usage_in_bytes", "1073741824\n"),
        ("sys/memory/machine/memory.stat", "inactive_file 7\ntotal_inactive_file 0\n"),
    ]);
    assert_eq!(tree.places.narrow(gib(16, 12)), Ok(gib(16, 12)));
    tree.write(limit, "4294967296\n");
    assert_eq!(tree.places.narrow(gib(16, 12)), Ok(gib(4, 3)));
}

#[test]
fn without_control_groups_there_is_no_limit() {
    assert_eq!(Tree::new(&[]).places.narrow(gib(16, 12)), Ok(gib(16, 12)));
    let off =
        Tree::new(&[("sys/cgroup.controllers", "cpu\n"), ("sys/machine.slice/cgroup.procs", "")]);
    assert_eq!(off.places.narrow(gib(16, 12)), Ok(gib(16, 12)), "its memory is not controlled");
}
