//! [`ReservationScenario`]: memory that a scenario reserves for a while, as written in its file.

use agentd_core::{bytes::ByteCount, policy::VmKey};

use super::{
    fields::{Field, FieldError, Fields},
    scenario::Window,
};
use crate::control::Reservations;

/// Memory that is to be kept for a VM to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationScenario {
    /// When it is made and when it is released.
    pub during: Window,
    /// What it is to be guaranteed.
    pub min: ByteCount,
    /// Most that it is to take; at least `min`.
    pub max: ByteCount,
    /// The VM that it is for; `None` for the first that comes once it is filled.
    pub vm: Option<VmKey>,
}

impl ReservationScenario {
    /// Reads those of a scenario: as many as may be open at a time, and no two for one VM at one time.
    pub(super) fn read_all(root: &Fields<'_>) -> Result<Vec<Self>, FieldError> {
        let Some(list) = root.get("reservation") else {
            return Ok(Vec::new());
        };
        let mut all: Vec<Self> = Vec::new();
        for item in list.items(Reservations::MOST)? {
            let one = Self::read(&item)?;
            let rival =
                |own: &Self| own.vm.is_some() && own.vm == one.vm && own.during.meets(&one.during);
            if let Some(first) = all.iter().position(rival) {
                let problem = format!("reservation[{first}] is for this VM at the same time");
                return Err(item.fields()?.need("vm", "\"db7\"")?.error(problem));
            }
            all.push(one);
        }
        Ok(all)
    }

    fn read(item: &Field<'_>) -> Result<Self, FieldError> {
        let fields = item.fields()?;
        fields.only(&["from", "until", "min", "max", "vm"])?;
        let min = fields.need("min", "\"1GiB\"")?;
        let least = min.size()?;
        if least.is_zero() {
            return Err(min.error("must be more than nothing"));
        }
        let max = fields.size_or("max", least)?;
        if let Some(field) = fields.get("max").filter(|_| max < least) {
            return Err(field.error(format!("must be at least min, which is {least}")));
        }
        let vm = fields.get("vm").map(|field| field.text().map(VmKey::from)).transpose()?;
        Ok(Self { during: Window::read(&fields, Window::ALWAYS)?, min: least, max, vm })
    }
}
