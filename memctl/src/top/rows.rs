//! Which VMs are listed, and in which order. Pure.

use super::fleet::{Fleet, HostView, VmView};
use super::look::Look;

/// A VM on the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// Number of its host.
    pub(super) number: usize,
    /// Its host.
    pub(super) host: &'a HostView,
    /// The VM.
    pub(super) view: &'a VmView,
}

/// By what VMs are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// The host, then the name.
    #[default]
    Name,
    /// What is used, the most first.
    Used,
    /// What is held, the most first.
    Actual,
    /// What is used of what is held, the fullest first.
    Full,
    /// How far the target is away, the farthest first.
    Moving,
}

impl Sort {
    /// The next one.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Name => Self::Used,
            Self::Used => Self::Actual,
            Self::Actual => Self::Full,
            Self::Full => Self::Moving,
            Self::Moving => Self::Name,
        }
    }

    /// Its name.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Used => "used",
            Self::Actual => "actual",
            Self::Full => "full",
            Self::Moving => "moving",
        }
    }

    /// What to order by: large comes first. VMs without the figure come last.
    fn figure(self, view: &VmView) -> Option<u64> {
        let memory = view.vm.memory.as_ref()?;
        match self {
            Self::Name => None,
            Self::Used => memory.used_bytes,
            Self::Actual => Some(memory.actual_bytes),
            Self::Full => {
                let used = u128::from(memory.used_bytes?);
                u64::try_from(used * 1_000_000 / u128::from(memory.actual_bytes.max(1))).ok()
            }
            Self::Moving => memory.target_bytes.map(|t| t.abs_diff(memory.actual_bytes)),
        }
    }
}

/// The VMs to list: those of the chosen host, or of all, that the filter lets through.
pub(super) fn rows<'a>(fleet: &'a Fleet, look: &Look) -> Vec<Row<'a>> {
    let hosts = fleet.hosts.iter().enumerate();
    let chosen = hosts.filter(|(number, _)| look.host.is_none_or(|host| host == *number));
    let all = chosen
        .flat_map(|(number, host)| host.vms.values().map(move |view| Row { number, host, view }));
    let mut rows: Vec<Row<'_>> = all.filter(|row| row.passes(&look.filter)).collect();
    rows.sort_by(|a, b| {
        let figures = look.sort.figure(b.view).cmp(&look.sort.figure(a.view));
        let names = (a.number, &a.view.vm.vm).cmp(&(b.number, &b.view.vm.vm));
        figures.then(names)
    });
    if look.is_reverse {
        rows.reverse();
    }
    rows
}

impl Row<'_> {
    /// Whether the host, the VM, its state or its verdict has the words of the filter; with "!" in
    /// front, whether it has not.
    fn passes(&self, filter: &str) -> bool {
        let (wanted, words) = match filter.strip_prefix('!') {
            Some(words) => (false, words),
            None => (true, filter),
        };
        let words = words.trim().to_lowercase();
        if words.is_empty() {
            return true;
        }
        let reason = self.view.vm.verdict.as_ref().map_or("", |verdict| &*verdict.reason);
        let texts = [&*self.host.name, self.view.vm.vm.label(), &*self.view.vm.state, reason];
        texts.iter().any(|text| text.to_lowercase().contains(&words)) == wanted
    }
}
