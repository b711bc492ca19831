//! The `[bounds]` table of a config: what no policy goes beyond, whoever sets it.

use agentd_core::policy::Policy;

use super::section;
use crate::{
    control::Bounds,
    fields::{Field, FieldError, Fields},
};

/// Reads the bounds; an empty text binds nothing.
pub(super) fn read(root: &Fields<'_>) -> Result<Bounds, FieldError> {
    let Some(fields) = section(root, "bounds", &KEYS)? else { return Ok(Bounds::default()) };
    let given = |key| fields.get(key).filter(|field| field.text() != Ok(""));
    let size = |key| given(key).map(|field| field.size()).transpose();
    let bounds = Bounds {
        floor: size(KEYS[0])?,
        host_reserve: size(KEYS[1])?,
        shrink_step: size(KEYS[2])?,
        shrink_percent: given(KEYS[3]).map(|field| field.count()).transpose()?,
    };
    sane(&fields, &bounds)?;
    Ok(bounds)
}

/// Refuses bounds that no policy could keep.
fn sane(fields: &Fields<'_>, bounds: &Bounds) -> Result<(), FieldError> {
    let fault = bounds.within(&Policy::default()).validate().into_iter().next();
    let Some(fault) = fault else { return Ok(()) };
    let key = fault.path.rsplit('.').next().unwrap_or_default();
    fields.get(key).map_or(Ok(()), |field: Field<'_>| Err(field.error(fault.problem)))
}

const KEYS: [&str; 4] = ["floor", "host_reserve", "shrink_step", "shrink_percent"];
