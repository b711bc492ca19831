//! [`Balloond`]: the small balloon daemon of that name, from a description of it.
//!
//! Every 10 s it brings each VM's MemAvailable into 256 to 288 MiB, in chunks of 32 MiB, as many as
//! it takes. A VM with nothing available, or with more than it holds, is taken to have no driver.
//! It knows nothing of the host, and does not ask how old a figure is. It has no floor; the VM's
//! minimum is one here.

use std::time::Duration;

use agentd_core::bytes::ByteCount;
use agentd_core::vm::VmId;

use super::figures::{MIB, order, real, within_limits};
use crate::contest::rival::{Rival, Seen, SeenVm};

/// The small balloon daemon of that name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Balloond;

impl Rival for Balloond {
    fn name(&self) -> &'static str {
        "balloond"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn turn(&mut self, seen: &Seen) -> Vec<(VmId, ByteCount)> {
        seen.vms.iter().filter_map(|vm| order(vm, target(vm)?)).collect()
    }
}

fn target(vm: &SeenVm) -> Option<f64> {
    let usable = vm.usable.filter(|usable| !usable.is_zero() && *usable <= vm.actual).map(real)?;
    let chunks = if usable < LOW {
        ((LOW - usable) / CHUNK).ceil()
    } else if usable > HIGH {
        -((usable - LOW) / CHUNK).floor()
    } else {
        return None;
    };
    Some(within_limits(vm, real(vm.actual) + chunks * CHUNK))
}

const LOW: f64 = 256.0 * MIB;
const HIGH: f64 = 288.0 * MIB;
const CHUNK: f64 = 32.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::rivals::scenes::{given, reports, scene, vm};

    fn turn(usable: u32) -> Vec<(u8, u64)> {
        let vms = vec![reports(vm(1, 400, 1200, 1000), 0, usable)];
        given(&Balloond.turn(&scene(4000, 0, 100, vms)))
    }

    #[test]
    fn keeps_what_is_available_within_a_chunk() {
        assert_eq!(turn(255), [(1, 1032)]);
        assert_eq!(turn(100), [(1, 1160)]);
        assert_eq!(turn(256), []);
        assert_eq!(turn(288), []);
        assert_eq!(turn(289), [(1, 968)]);
        assert_eq!(turn(512), [(1, 744)]);
        assert_eq!(turn(1), [(1, 1200)]);
        assert_eq!(turn(1000), [(1, 400)]);
    }

    #[test]
    fn leaves_alone_what_makes_no_sense() {
        assert_eq!(turn(0), []);
        assert_eq!(turn(1001), []);
        assert!(Balloond.turn(&scene(4000, 0, 100, vec![vm(1, 400, 1200, 1000)])).is_empty());
    }
}
