//! What a lab VM is made of, and the libvirt XML that says so.

use std::fmt::Write as _;

use super::image::Image;
use super::space::uuid_of;

/// Whether a VM can be resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balloon {
    /// The device and its driver: as it should be.
    Working,
    /// The device, but no driver in the VM: orders are accepted and nothing happens.
    Driverless,
    /// No device: orders are refused.
    Absent,
}

/// A VM to be started.
#[derive(Debug, Clone)]
pub struct VmSpec {
    pub(crate) name: String,
    pub(crate) uuid: String,
    max_mib: u64,
    actual_mib: u64,
    vcpus: u32,
    balloon: Balloon,
    autodeflate: bool,
    locked: bool,
    pub(crate) swap_mib: u64,
    swap_mib_per_s: Option<u64>,
    small_pages: bool,
    hold_at_boot_mib: u64,
    pub(crate) persistent: bool,
}

impl VmSpec {
    /// A VM with one processor, a working balloon and no swap that holds all of its `max_mib`.
    pub fn new(name: &str, max_mib: u64) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid_of(name),
            max_mib,
            actual_mib: max_mib,
            vcpus: 1,
            balloon: Balloon::Working,
            autodeflate: false,
            locked: false,
            swap_mib: 0,
            swap_mib_per_s: None,
            small_pages: false,
            hold_at_boot_mib: 0,
            persistent: false,
        }
    }

    /// The memory that it holds once its driver is loaded.
    #[must_use]
    pub fn actual_mib(mut self, mib: u64) -> Self {
        self.actual_mib = mib;
        self
    }

    /// Its identity; without this it follows from the name.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        uuid.clone_into(&mut self.uuid);
        self
    }

    /// How many processors it has.
    #[must_use]
    pub fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Whether it can be resized.
    #[must_use]
    pub fn balloon(mut self, balloon: Balloon) -> Self {
        self.balloon = balloon;
        self
    }

    /// Lets the VM take memory back by itself before it kills a process.
    #[must_use]
    pub fn autodeflate(mut self) -> Self {
        self.autodeflate = true;
        self
    }

    /// Locks all of its memory on the host: its balloon frees nothing there.
    #[must_use]
    pub fn locked(mut self) -> Self {
        self.locked = true;
        self
    }

    /// A swap disk.
    #[must_use]
    pub fn swap_mib(mut self, mib: u64) -> Self {
        self.swap_mib = mib;
        self
    }

    /// How fast the swap disk reads and writes together; without this, as fast as host memory.
    #[must_use]
    pub fn swap_mib_per_s(mut self, mib_per_s: u64) -> Self {
        self.swap_mib_per_s = Some(mib_per_s);
        self
    }

    /// No huge pages. With them the kernel of a small VM keeps up to 56 MiB of what was freed in
    /// lists of its processor, and `MemFree` moves only when these overflow or run out.
    #[must_use]
    pub fn small_pages(mut self) -> Self {
        self.small_pages = true;
        self
    }

    /// A process that takes this much at every boot, before the balloon's driver is loaded. It is
    /// held as "boot".
    #[must_use]
    pub fn hold_at_boot_mib(mut self, mib: u64) -> Self {
        self.hold_at_boot_mib = mib;
        self
    }

    /// Known to libvirt also while it is shut off, as for [`super::Vm::managed_save`].
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// How much its disk holds, from which page cache is filled.
    pub(crate) fn disk_mib(&self) -> u64 {
        self.max_mib * 2
    }

    /// Where the VM's files are, on its host.
    pub(crate) fn file(&self, kind: &str) -> String {
        format!("/run/lab/vm-{}.{kind}", self.name)
    }

    /// The XML that libvirt makes it from.
    pub(crate) fn xml(&self, image: &Image, kvm: bool) -> String {
        let mut xml = String::new();
        let locked = if self.locked { "<memoryBacking><locked/></memoryBacking>" } else { "" };
        let kind = if kvm { "kvm" } else { "qemu" };
        // Without this bound, emulation keeps up to 1 GiB of translated code per VM.
        let tcg = if kvm { "" } else { "<tcg><tb-cache unit='MiB'>32</tb-cache></tcg>" };
        let _ = write!(
            xml,
            "<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{max}</memory>
  <currentMemory unit='MiB'>{actual}</currentMemory>{locked}
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/><apic/>{tcg}</features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>
    <channel type='unix'><source mode='bind' path='{channel}'/>
      <target type='virtio' name='lab'/></channel>
",
            name = self.name,
            uuid = self.uuid,
            max = self.max_mib,
            actual = self.actual_mib,
            vcpus = self.vcpus,
            kernel = image.kernel.display(),
            initramfs = image.initramfs.display(),
            cmdline = self.kernel_command_line(),
            console = self.file("console"),
            channel = self.file("channel"),
        );
        self.write_disks(&mut xml);
        self.write_balloon(&mut xml);
        xml.push_str("  </devices>\n</domain>\n");
        xml
    }

    fn write_disks(&self, xml: &mut String) {
        write_disk(xml, "vda", &self.file("disk"), None);
        if self.swap_mib > 0 {
            write_disk(xml, "vdb", &self.file("swap"), self.swap_mib_per_s);
        }
    }

    fn write_balloon(&self, xml: &mut String) {
        let autodeflate = if self.autodeflate { " autodeflate='on'" } else { "" };
        let _ = match self.balloon {
            Balloon::Working | Balloon::Driverless => {
                writeln!(xml, "    <memballoon model='virtio'{autodeflate}/>")
            }
            Balloon::Absent => writeln!(xml, "    <memballoon model='none'/>"),
        };
    }

    fn kernel_command_line(&self) -> String {
        let mut line = KERNEL_COMMAND_LINE.to_owned();
        if self.balloon == Balloon::Driverless {
            line.push_str(" noballoon");
        }
        if self.swap_mib > 0 {
            line.push_str(" labswap");
        }
        if self.hold_at_boot_mib > 0 {
            let _ = write!(line, " labhold={}", self.hold_at_boot_mib);
        }
        if self.small_pages {
            line.push_str(" transparent_hugepage=never");
        }
        line
    }
}

fn write_disk(xml: &mut String, name: &str, file: &str, mib_per_s: Option<u64>) {
    let _ = writeln!(xml, "    <disk type='file' device='disk'><driver name='qemu' type='raw'/>");
    let _ = writeln!(xml, "      <source file='{file}'/><target dev='{name}' bus='virtio'/>");
    if let Some(mib) = mib_per_s {
        let bytes = mib * 1024 * 1024;
        let _ = writeln!(xml, "      <iotune><total_bytes_sec>{bytes}</total_bytes_sec></iotune>");
    }
    let _ = writeln!(xml, "    </disk>");
}

/// Warnings on the console (an OOM kill is one), a reboot after a panic as on any server, and
/// nothing that makes an emulated processor wait.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=1 edd=off no_timer_check \
    mitigations=off nokaslr audit=0 random.trust_cpu=on cryptomgr.notests";

#[cfg(test)]
mod tests {
    use super::{Balloon, VmSpec};
    use crate::lab::image::Image;

    fn xml(spec: &VmSpec) -> String {
        let image =
            Image { kernel: "/k".into(), initramfs: "/i".into(), capabilities: "/c".into() };
        spec.xml(&image, false)
    }

    #[test]
    fn emulation_has_a_bounded_code_cache() {
        assert!(xml(&VmSpec::new("a", 256)).contains("<tb-cache unit='MiB'>32</tb-cache>"));
    }

    #[test]
    fn a_vm_without_a_balloon_has_no_device_and_one_without_a_driver_has_one() {
        let absent = xml(&VmSpec::new("a", 256).balloon(Balloon::Absent));
        assert!(absent.contains("<memballoon model='none'/>"));
        let driverless = xml(&VmSpec::new("a", 256).balloon(Balloon::Driverless));
        assert!(driverless.contains("<memballoon model='virtio'/>"));
        assert!(driverless.contains(" noballoon"));
    }

    #[test]
    fn agentd_is_left_to_arm_the_statistics_period() {
        assert!(!xml(&VmSpec::new("a", 256)).contains("stats period"));
    }
}
