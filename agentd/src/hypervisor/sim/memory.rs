//! [`Memory`]: where the memory of one simulated VM is, and how it moves.
//!
//! ```text
//!   max = actual + balloon
//!         actual = resident + cache + free          the rest of its demand is swapped
//!         touched <= actual: what the host gave so far; free memory may never have been touched
//! ```
//!
//! Pure: time, orders and reports are `vm`'s.

use agentd_core::{bytes::ByteCount, sample::GuestFigures};

use super::numbers::Numbers;

/// Where the memory of one simulated VM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// What it holds.
    pub(super) actual: ByteCount,
    /// What its programs have in memory.
    pub(super) resident: ByteCount,
    /// What its programs have on its swap device.
    pub(super) swapped: ByteCount,
    /// Files that it has read.
    pub(super) cache: ByteCount,
    /// What the host has given it.
    pub(super) touched: ByteCount,
    /// Written to the swap device since its boot.
    pub(super) swap_out: ByteCount,
    /// Read from the swap device since its boot.
    pub(super) swap_in: ByteCount,
    /// How often a program was killed for want of memory.
    pub(super) oom_kills: u64,
}

/// What can be done in one step of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    /// How fast and how large things are.
    pub(super) numbers: &'a Numbers,
    /// What its programs want.
    pub(super) demand: ByteCount,
    /// Length of the step, lengthened or shortened by noise.
    pub(super) nanos: u64,
    /// What the swap device can still move in it.
    pub(super) disk: ByteCount,
    /// What the balloon gives back rather than let the kernel kill.
    pub(super) returns: ByteCount,
}

impl<'a> Step<'a> {
    /// The step with its swap device idle.
    pub(super) fn new(numbers: &'a Numbers, demand: ByteCount, nanos: u64) -> Self {
        let disk = numbers.swap_rate.fraction(nanos, SECOND);
        Self { numbers, demand, nanos, disk, returns: ByteCount::ZERO }
    }

    fn of(&self, rate: ByteCount) -> ByteCount {
        rate.fraction(self.nanos, SECOND)
    }
}

impl Memory {
    /// A VM that has run for long: its programs have what they want as far as it fits, its files
    /// are read, and it has touched all that it holds.
    pub(super) fn settled(actual: ByteCount, demand: ByteCount, numbers: &Numbers) -> Self {
        let mut memory = Self::booted(actual);
        memory.touched = actual;
        memory.resident = demand.min(memory.above_watermark(numbers));
        memory.swapped = demand.saturating_sub(memory.resident).min(numbers.swap);
        memory.swap_out = memory.swapped;
        memory.cache = numbers.cache.min(memory.above_watermark(numbers));
        memory
    }

    /// A VM at the start of its kernel: it holds all it may, and has not touched any.
    pub(super) const fn booted(max: ByteCount) -> Self {
        Self {
            actual: max,
            resident: ByteCount::ZERO,
            swapped: ByteCount::ZERO,
            cache: ByteCount::ZERO,
            touched: ByteCount::ZERO,
            swap_out: ByteCount::ZERO,
            swap_in: ByteCount::ZERO,
            oom_kills: 0,
        }
    }

    /// MemFree.
    pub(super) const fn free(&self) -> ByteCount {
        self.actual.saturating_sub(self.resident).saturating_sub(self.cache)
    }

    /// What a kernel would say of itself now.
    pub(super) fn figures(&self, numbers: &Numbers) -> GuestFigures {
        let usable = self.above_watermark(numbers).saturating_add(self.cache);
        GuestFigures {
            unused: Some(self.free().align_down(PAGE)),
            usable: Some(usable.align_down(PAGE)),
            swap_in: Some(self.swap_in.align_down(PAGE)),
            swap_out: Some(self.swap_out.align_down(PAGE)),
            major_faults: self.swap_in.as_u64().checked_div(PAGE.as_u64()),
        }
    }

    /// Lets its programs do what they can in a step.
    pub(super) fn work(&mut self, step: &mut Step<'_>) {
        let has = self.resident.saturating_add(self.swapped);
        if step.demand < has {
            self.release(has.saturating_sub(step.demand));
        } else {
            let wanted = step.demand.saturating_sub(has);
            self.allocate(wanted.min(step.of(step.numbers.touch_rate)), step);
        }
        self.swap_back(step);
        self.read_files(step);
        self.touched = self.touched.max(self.resident.saturating_add(self.cache));
    }

    /// Moves the balloon towards a target as far as it comes in a step.
    pub(super) fn resize(&mut self, target: ByteCount, step: &mut Step<'_>) {
        let growth = target.saturating_sub(self.actual);
        self.actual = self.actual.saturating_add(growth.min(step.of(step.numbers.grow_rate)));
        let shrinkage = self.actual.saturating_sub(target);
        let mut left = shrinkage.min(step.of(step.numbers.shrink_rate));
        left = left.saturating_sub(self.give(left.min(self.above_watermark(step.numbers))));
        let dropped = left.min(self.cache);
        self.cache = self.cache.saturating_sub(dropped);
        left = left.saturating_sub(self.give(dropped));
        let hot = step.demand.fraction(step.numbers.working_set_percent, 100);
        let cold = self.resident.saturating_sub(hot);
        let evicted = self.evict(left.min(cold), step);
        self.give(evicted);
    }

    /// What is free beyond what the kernel keeps.
    fn above_watermark(&self, numbers: &Numbers) -> ByteCount {
        self.free().saturating_sub(numbers.watermark.min(self.actual.fraction(1, 8)))
    }

    /// Programs give back memory, from the swap device as much as its share is.
    fn release(&mut self, amount: ByteCount) {
        let has = self.resident.saturating_add(self.swapped);
        let from_swap = amount.fraction(self.swapped.as_u64(), has.as_u64());
        self.swapped = self.swapped.saturating_sub(from_swap);
        self.resident = self.resident.saturating_sub(amount.saturating_sub(from_swap));
    }

    /// Programs take memory: free memory, else that of files, else that of other programs, which
    /// goes to the swap device. Where that is full the kernel kills, unless the balloon gives back
    /// what is missing.
    fn allocate(&mut self, amount: ByteCount, step: &mut Step<'_>) {
        let from_free = amount.min(self.above_watermark(step.numbers));
        let rest = amount.saturating_sub(from_free);
        let from_cache = rest.min(self.cache);
        self.cache = self.cache.saturating_sub(from_cache);
        let rest = rest.saturating_sub(from_cache);
        let room = step.numbers.swap.saturating_sub(self.swapped);
        let evicted = self.evict(rest.min(self.resident), step);
        let got = from_free.saturating_add(from_cache).saturating_add(evicted);
        self.resident = self.resident.saturating_add(got);
        let missing = rest.saturating_sub(evicted);
        let returned = missing.min(step.returns);
        if returned == missing {
            self.actual = self.actual.saturating_add(returned);
            self.resident = self.resident.saturating_add(returned);
        } else if room < rest && room == evicted && !step.disk.is_zero() {
            self.resident = ByteCount::ZERO;
            self.swapped = ByteCount::ZERO;
            self.oom_kills = self.oom_kills.saturating_add(1);
        }
    }

    /// Writes programs' memory to the swap device; returns how much became free.
    fn evict(&mut self, amount: ByteCount, step: &mut Step<'_>) -> ByteCount {
        let room = step.numbers.swap.saturating_sub(self.swapped);
        let out = amount.min(room).min(step.disk);
        step.disk = step.disk.saturating_sub(out);
        self.resident = self.resident.saturating_sub(out);
        self.swapped = self.swapped.saturating_add(out);
        self.swap_out = self.swap_out.saturating_add(out);
        out
    }

    /// Programs read back what they miss: into free memory, else that of files, else in exchange for
    /// other memory of theirs, which they will miss next.
    fn swap_back(&mut self, step: &mut Step<'_>) {
        let free = self.above_watermark(step.numbers);
        let back = self.swapped.min(step.disk).min(free.saturating_add(self.cache));
        self.cache = self.cache.saturating_sub(back.saturating_sub(free));
        step.disk = step.disk.saturating_sub(back);
        self.swapped = self.swapped.saturating_sub(back);
        self.resident = self.resident.saturating_add(back);
        let hot = step.demand.fraction(step.numbers.working_set_percent, 100);
        let missed = hot.saturating_sub(self.resident).min(self.swapped);
        let exchanged = missed.min(step.disk.fraction(1, 2));
        step.disk = step.disk.saturating_sub(exchanged.saturating_add(exchanged));
        self.swap_in = self.swap_in.saturating_add(back).saturating_add(exchanged);
        self.swap_out = self.swap_out.saturating_add(exchanged);
    }

    fn read_files(&mut self, step: &Step<'_>) {
        let unread = step.numbers.cache.saturating_sub(self.cache);
        let room = self.above_watermark(step.numbers);
        let read = unread.min(step.of(step.numbers.read_rate)).min(room);
        self.cache = self.cache.saturating_add(read);
    }

    /// Gives free memory to the host. Part of it was never touched, so that the host gets back
    /// less; returns how much was given.
    fn give(&mut self, amount: ByteCount) -> ByteCount {
        let free = self.free();
        let in_use = self.resident.saturating_add(self.cache);
        let touched = self.touched.saturating_sub(in_use);
        let back = touched.fraction(amount.as_u64(), free.as_u64());
        self.actual = self.actual.saturating_sub(amount);
        self.touched = self.touched.saturating_sub(back).min(self.actual);
        amount
    }
}

/// Kernels count in pages.
pub(super) const PAGE: ByteCount = ByteCount::kib(4);
const SECOND: u64 = 1_000_000_000;
