//! [`stamp`]: what tells one report of a VM from the next.

use agentd_core::{
    bytes::ByteCount,
    sample::{GuestFigures, Stamp},
};

/// Of the report of a second, as libvirt tells it: those of one second are told apart by what they say.
pub(super) fn stamp(second: u64, guest: &GuestFigures) -> Stamp {
    Stamp { second, mark: digest(guest) }
}

/// A number that is another one for other figures, as good as always.
fn digest(guest: &GuestFigures) -> u64 {
    let GuestFigures { unused, usable, swap_in, swap_out, major_faults } = guest;
    let amounts = [unused, usable, swap_in, swap_out].map(|amount| amount.map(ByteCount::as_u64));
    let figures = amounts.into_iter().chain([*major_faults]);
    figures.fold(0, |digest: u64, figure| {
        let said = figure.map_or(0, |figure| figure.wrapping_add(1));
        digest.rotate_left(13).wrapping_mul(ODD).wrapping_add(said)
    })
}

/// 2^64 over the golden ratio: Fibonacci hashing.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
