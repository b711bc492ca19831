//! [`Refusals`]: VMs whose orders the hypervisor does not take, said when that begins and when it is over,
//! and not at every tick.

use std::collections::BTreeMap;

use agentd_core::{
    state::{Outcome, Resized},
    vm::VmId,
};

use crate::event::TickRecord;

/// VMs whose last order was not taken. As many as there are VMs, at most.
#[derive(Debug, Default)]
pub struct Refusals {
    now: BTreeMap<VmId, &'static str>,
}

/// What became of a VM's orders, where that is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News<'a> {
    /// The hypervisor refuses them, with these words.
    Refused(&'a str),
    /// It does not answer.
    Unanswered,
    /// It takes them again.
    Taken,
}

impl Refusals {
    /// Says what is news of the orders of a tick.
    pub fn look(&mut self, record: &TickRecord) {
        for resized in &record.applied.resized {
            let Some(news) = self.note(resized) else { continue };
            let vm = resized.vm;
            let known = record.vm(vm);
            let name = known.map_or("", |known| known.name.as_ref());
            match news {
                News::Refused(why) => tracing::warn!(%vm, name, why, "an order was refused"),
                News::Unanswered => tracing::warn!(%vm, name, "an order was not answered in time"),
                News::Taken => tracing::info!(%vm, name, "orders are taken again"),
            }
        }
        if let Some(sample) = &record.sample {
            self.now.retain(|vm, _| sample.vms.contains_key(vm));
        }
    }

    fn note<'a>(&mut self, resized: &'a Resized) -> Option<News<'a>> {
        let (word, news) = match (&resized.outcome, &resized.rest_refused) {
            (Outcome::Refused(why), _) | (_, Some(why)) => ("refused", News::Refused(why)),
            (Outcome::InDoubt, None) => ("unanswered", News::Unanswered),
            (Outcome::Accepted, None) => {
                return self.now.remove(&resized.vm).map(|_| News::Taken);
            }
            (Outcome::VmGone | Outcome::Held | Outcome::Skipped, None) => return None,
        };
        (self.now.insert(resized.vm, word) != Some(word)).then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use agentd_core::bytes::ByteCount;

    use super::*;

    #[test]
    fn a_vm_that_refuses_for_an_hour_is_two_lines() {
        let mut refusals = Refusals::default();
        let order = |outcome| Resized {
            vm: VmId::from_bytes([1; 16]),
            planned: ByteCount::mib(100),
            ordered: None,
            outcome,
            rest_refused: None,
        };
        let refused = order(Outcome::Refused("no".to_owned()));
        assert_eq!(refusals.note(&order(Outcome::Accepted)), None);
        assert_eq!(refusals.note(&refused), Some(News::Refused("no")));
        for _ in 0..1800 {
            assert_eq!(refusals.note(&refused), None);
        }
        assert_eq!(refusals.note(&order(Outcome::Held)), None, "that is no answer");
        assert_eq!(refusals.note(&order(Outcome::InDoubt)), Some(News::Unanswered));
        let part = Resized { rest_refused: Some("no more".to_owned()), ..order(Outcome::Accepted) };
        assert_eq!(refusals.note(&part), Some(News::Refused("no more")));
        assert_eq!(refusals.note(&order(Outcome::Accepted)), Some(News::Taken));
        assert_eq!(refusals.note(&order(Outcome::Accepted)), None);
    }
}
