//! `metrics` in the `[listen]` table of a config.

use std::{net::SocketAddr, str::FromStr};

use crate::fields::{Field, FieldError};

/// Where metrics are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsAt {
    /// On this host alone, where VMs of it are served.
    #[default]
    Default,
    /// Nowhere.
    Nowhere,
    /// At this address.
    Address(SocketAddr),
}

/// A text that is no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address with a port, 127.0.0.1:9433 or [::1]:9433 for example, or \"off\"")]
pub struct NoPlace;

impl FromStr for MetricsAt {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        match text {
            "" => Ok(Self::Default),
            "off" => Ok(Self::Nowhere),
            address => address.parse().map(Self::Address).map_err(|_| NoPlace),
        }
    }
}

pub(super) fn read(field: &Field<'_>) -> Result<MetricsAt, FieldError> {
    field.text()?.parse().map_err(|error: NoPlace| field.error(error.to_string()))
}
