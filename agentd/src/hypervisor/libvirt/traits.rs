//! What a VM is made of, from its XML: what its balloon cannot free on the host, how often it reports.
//!
//! Pure. The XML is that of the VM as it runs.

use agentd_core::{
    bytes::ByteCount,
    sample::{Obstacle, Traits},
};
use roxmltree::{Document, Node};

/// Reads a VM's traits from its XML.
pub(super) fn traits(xml: &str) -> Result<Traits, String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let domain = document.root_element();
    if domain.tag_name().name() != "domain" {
        return Err(format!("<{}> is not the XML of a VM", domain.tag_name().name()));
    }
    let balloon = child(domain, "devices").and_then(|devices| child(devices, "memballoon"));
    let deflates = |balloon: Node<'_, '_>| balloon.attribute("autodeflate") == Some("on");
    Ok(Traits {
        obstacle: obstacle(domain, balloon),
        takes_back_on_oom: balloon.is_some_and(deflates),
        set_aside: set_aside(domain),
    })
}

/// After how many seconds a VM reports again, from its XML; `None` for never.
pub(super) fn stats_period(xml: &str) -> Option<i32> {
    let document = Document::parse(xml).ok()?;
    let balloon = child(child(document.root_element(), "devices")?, "memballoon")?;
    child(balloon, "stats")?.attribute("period")?.parse().ok()
}

/// What no order could do comes before what no order would help.
fn obstacle(domain: Node<'_, '_>, balloon: Option<Node<'_, '_>>) -> Option<Obstacle> {
    let backed = |name| backing(domain, name).is_some();
    let holds = [
        (
            balloon.is_none_or(|balloon| balloon.attribute("model") == Some("none")),
            Obstacle::NoBalloon,
        ),
        (child(domain, "launchSecurity").is_some_and(encrypts), Obstacle::Confidential),
        (child(domain, "devices").is_some_and(has_host_device), Obstacle::Device),
        (backed("hugepages"), Obstacle::HugePages),
        (backed("locked"), Obstacle::Locked),
    ];
    holds.into_iter().find_map(|(holds, obstacle)| holds.then_some(obstacle))
}

/// What is said of the memory that a VM is made of.
fn backing<'a, 'input>(domain: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    child(child(domain, "memoryBacking")?, name)
}

/// What is made of huge pages, all of which libvirt has QEMU take at the start. They may be for some of a VM's
/// nodes only. A memory device is made of what its node is, where it does not say otherwise.
fn set_aside(domain: Node<'_, '_>) -> ByteCount {
    let numa = child(domain, "cpu").and_then(|cpu| child(cpu, "numa"));
    let cells: Vec<_> = numa.into_iter().flat_map(|numa| children(numa, "cell")).collect();
    if cells.is_empty() {
        let whole = child(domain, "memory").filter(|_| is_node_huge(domain, 0));
        return whole.and_then(sized).unwrap_or_default();
    }
    let of_cells = (0..).zip(cells).filter_map(|(place, cell)| {
        let number = cell.attribute("id").map_or(Some(place), |own| own.parse().ok())?;
        amount(cell.attribute("memory")?, cell).filter(|_| is_node_huge(domain, number))
    });
    let devices = child(domain, "devices");
    let of_devices =
        devices.into_iter().flat_map(|own| children(own, "memory")).filter_map(|device| {
            let target = child(device, "target")?;
            let pages = child(device, "source").and_then(|source| child(source, "pagesize"));
            let is_huge = match pages {
                Some(own) => sized(own).is_some_and(is_huge),
                None => is_node_huge(domain, child(target, "node")?.text()?.trim().parse().ok()?),
            };
            sized(child(target, "size")?).filter(|_| is_huge)
        });
    of_cells.chain(of_devices).sum()
}

/// Whether the memory of one of the VM's nodes is made of huge pages.
fn is_node_huge(domain: Node<'_, '_>, number: u64) -> bool {
    let Some(pages) = backing(domain, "hugepages") else { return false };
    let kinds: Vec<_> = children(pages, "page").collect();
    let names =
        |page: &&Node<'_, '_>| page.attribute("nodeset").is_some_and(|own| lists(own, number));
    let usual = || kinds.iter().find(|page| page.attribute("nodeset").is_none());
    let size = |page: &Node<'_, '_>| amount(page.attribute("size")?, *page);
    kinds.is_empty() || kinds.iter().find(names).or_else(usual).and_then(size).is_some_and(is_huge)
}

/// Pages of up to 64 KiB are ordinary ones on some machines.
const fn is_huge(page: ByteCount) -> bool {
    page.as_u64() > ByteCount::kib(64).as_u64()
}

/// The amount that an element has as its text.
fn sized(element: Node<'_, '_>) -> Option<ByteCount> {
    amount(element.text()?, element)
}

/// An amount in the unit that its element says, which is KiB where it says none; `None` in any other unit than
/// libvirt prints.
fn amount(number: &str, element: Node<'_, '_>) -> Option<ByteCount> {
    let unit: u64 = match element.attribute("unit") {
        Some("b" | "bytes") => 1,
        None | Some("k" | "KiB") => 1 << 10,
        Some("M" | "MiB") => 1 << 20,
        Some("G" | "GiB") => 1 << 30,
        Some("T" | "TiB") => 1 << 40,
        Some(_) => return None,
    };
    number.trim().parse::<u64>().ok()?.checked_mul(unit).map(ByteCount::bytes)
}

/// Whether a list like "0,2-3,^2" has this number.
fn lists(list: &str, number: u64) -> bool {
    let is = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from.trim().parse::<u64>().ok().zip(to.trim().parse::<u64>().ok());
        range.is_some_and(|(from, to)| (from..=to).contains(&number))
    };
    let parts = || list.split(',').map(str::trim);
    let without = parts().filter_map(|part| part.strip_prefix('^'));
    parts().any(is) && !without.into_iter().any(is)
}

/// VFIO and vDPA pin all memory for the device to reach, and QEMU then leaves what the balloon gives
/// where it is. What is passed on by other means, USB or SCSI, does not. A device from a network's
/// pool stands here as what it is.
fn has_host_device(devices: Node<'_, '_>) -> bool {
    devices.children().any(|device| {
        matches!(
            (device.tag_name().name(), device.attribute("type")),
            ("hostdev", Some("pci" | "mdev"))
                | ("interface", Some("hostdev" | "vdpa"))
                | ("disk", Some("nvme" | "vhostvdpa"))
        )
    })
}

/// Every kind of memory encryption keeps pages from the host, those to come too; "s390-pv" is one.
fn encrypts(security: Node<'_, '_>) -> bool {
    security.attribute("type").is_some_and(|kind| !kind.is_empty())
}

fn children<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libvirt 9.0 prints it, shortened.
    fn domain(backing: &str, devices: &str) -> String {
        format!(
            "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
              <name>web1</name>
              <metadata><app:x xmlns:app='http://example.org/'><app:hugepages/></app:x></metadata>
              <memory unit='KiB'>1048576</memory>
              {backing}
              <devices>
                <emulator>/usr/bin/qemu-system-x86_64</emulator>
                <disk type='file' device='disk'><driver name='qemu' type='raw'/></disk>
                <interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>
                {devices}
              </devices>
              <seclabel type='dynamic' model='dac' relabel='yes'><label>+0:+0</label></seclabel>
            </domain>"
        )
    }

    const BALLOON: &str = "<memballoon model='virtio'><stats period='1'/>
        <alias name='balloon0'/><address type='pci' bus='0x00' slot='0x03'/></memballoon>";

    fn obstacle(backing: &str, devices: &str) -> Option<Obstacle> {
        let xml = domain(backing, &format!("{devices}{BALLOON}"));
        traits(&xml).expect("good XML").obstacle
    }

    #[test]
    fn tells_how_often_a_vm_reports() {
        assert_eq!(stats_period(&domain("", BALLOON)), Some(1));
        assert_eq!(stats_period(&domain("", "<memballoon model='virtio'/>")), None);
        assert_eq!(stats_period(&domain("", "")), None);
        assert_eq!(stats_period("<domain"), None);
    }

    #[test]
    fn an_ordinary_vm_has_nothing_against_it() {
        assert_eq!(traits(&domain("", BALLOON)), Ok(Traits::default()));
        assert_eq!(obstacle("<memoryBacking><nosharepages/></memoryBacking>", ""), None);
        let shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
        assert_eq!(obstacle(shared, ""), None);
        for usb_and_the_like in [
            "<hostdev mode='subsystem' type='usb' managed='yes'/>",
            "<hostdev mode='subsystem' type='scsi'/>",
            "<hostdev mode='capabilities' type='misc'/>",
            "<interface type='vhostuser'/>",
            "<tpm><backend type='emulator'><hugepages/></backend></tpm>",
        ] {
            assert_eq!(obstacle("", usb_and_the_like), None, "{usb_and_the_like}");
        }
    }

    #[test]
    fn the_balloon_may_be_missing_or_obliging() {
        let none = |devices: &str| traits(&domain("", devices)).expect("good XML").obstacle;
        assert_eq!(none("<memballoon model='none'/>"), Some(Obstacle::NoBalloon));
        assert_eq!(none(""), Some(Obstacle::NoBalloon));
        let obliging = domain("", "<memballoon model='virtio' autodeflate='on'/>");
        assert!(traits(&obliging).expect("good XML").takes_back_on_oom);
        let not = domain("", "<memballoon model='virtio' autodeflate='off'/>");
        assert!(!traits(&not).expect("good XML").takes_back_on_oom);
    }

    /// Of a VM of 1 GiB with no nodes, and of one with three, of 256, 256 and 512 MiB.
    #[test]
    fn huge_pages_are_set_aside_for_a_vm_or_for_some_of_its_nodes() {
        let mib = |backing: &str, cpu: &str| {
            let xml = domain(&format!("<memoryBacking>{backing}</memoryBacking>{cpu}"), BALLOON);
            traits(&xml).expect("good XML").set_aside.mib_floor()
        };
        let pages = |own: &str| format!("<hugepages>{own}</hugepages>");
        let huge = pages("<page size='1048576' unit='KiB'/>");
        let of = |nodes: &str| pages(&format!("<page size='2' unit='M' nodeset='{nodes}'/>"));
        let cells = "<cpu><numa><cell id='0' cpus='0' memory='262144' unit='KiB'/>\
                     <cell id='1' cpus='1' memory='256' unit='MiB'/>\
                     <cell id='2' cpus='2' memory='524288'/></numa></cpu>";
        let usual = "<page size='4' unit='KiB'/><page size='1' unit='G' nodeset='2'/>";
        for (backing, without_nodes, with_nodes) in [
            ("<hugepages/>", 1024, 1024),
            (&huge, 1024, 1024),
            (&pages("<page size='4' unit='KiB'/>"), 0, 0),
            (&pages("<page size='64' unit='KiB'/>"), 0, 0),
            ("<locked/>", 0, 0),
            (&of("0"), 1024, 256),
            (&of("0-1"), 1024, 512),
            (&of("0,2"), 1024, 768),
            (&of("0-2,^1"), 1024, 768),
            (&of("7"), 0, 0),
            (&pages(usual), 0, 512),
        ] {
            let found = (mib(backing, ""), mib(backing, cells));
            assert_eq!(found, (without_nodes, with_nodes), "{backing}");
        }
        let device = |source: &str| {
            let target = "<target><size unit='KiB'>131072</size><node>0</node></target>";
            format!("<memory model='dimm'>{source}{target}</memory>")
        };
        let ordinary = "<source><pagesize unit='KiB'>4</pagesize></source>";
        let huge = "<source><pagesize unit='KiB'>2048</pagesize></source>";
        for (backing, source, all) in [
            (&of("0") as &str, "", 256 + 128),
            (&of("0"), ordinary, 256),
            (&of("1"), "", 256),
            (&of("1"), huge, 256 + 128),
            ("", huge, 128),
        ] {
            let xml = format!("<memoryBacking>{backing}</memoryBacking>{cells}");
            let xml = domain(&xml, &format!("{}{BALLOON}", device(source)));
            let set_aside = traits(&xml).expect("good XML").set_aside;
            assert_eq!(set_aside.mib_floor(), all, "{backing} {source}");
        }
    }

    #[test]
    fn devices_of_the_host_hold_memory() {
        for device in [
            "<hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/></hostdev>",
            "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>",
            "<interface type='hostdev' managed='yes'><mac address='52:54:00:6d:90:02'/></interface>",
            "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>",
            "<disk type='nvme' device='disk'><source type='pci' managed='yes'/></disk>",
        ] {
            assert_eq!(obstacle("", device), Some(Obstacle::Device), "{device}");
        }
    }

    #[test]
    fn memory_may_be_huge_locked_or_encrypted() {
        let backed = |by: &str| obstacle(&format!("<memoryBacking>{by}</memoryBacking>"), "");
        assert_eq!(backed("<hugepages/>"), Some(Obstacle::HugePages));
        let pages = "<hugepages><page size='2048' unit='KiB' nodeset='0'/></hugepages>";
        assert_eq!(backed(pages), Some(Obstacle::HugePages));
        assert_eq!(backed("<nosharepages/><locked/>"), Some(Obstacle::Locked));
        for kind in ["sev", "sev-snp", "tdx"] {
            let security =
                format!("<launchSecurity type='{kind}'><policy>0x1</policy></launchSecurity>");
            assert_eq!(obstacle(&security, ""), Some(Obstacle::Confidential), "{kind}");
        }
    }

    #[test]
    fn what_is_no_vm_is_called_so() {
        for xml in
            ["", "<domain", "<domain></network>", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;"]
        {
            assert!(traits(xml).is_err(), "{xml}");
        }
        assert_eq!(traits("<network/>"), Err("<network> is not the XML of a VM".to_owned()));
    }
}
