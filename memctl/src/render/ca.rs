//! Text of `memctl ca`.

use jiff::Timestamp;
use serde::Serialize;

use super::table::{Cell, Paint, Table};
use super::text::date_time;
use super::{Show, View};
use crate::dto::{Item, Time};
use crate::identity::EXPIRY_WARNING;
use crate::pki::{Entry, Kind};

/// Body of an item of `memctl ca`: one certificate.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct CertificateBody {
    certificate: Certificate,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Certificate {
    /// Whose it is.
    name: String,
    /// "ca", "server" or "client".
    kind: Kind,
    /// What its owner may do; only clients have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// Names and addresses that it is for; only servers have some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sans: Vec<String>,
    /// Serial number, in lower hexadecimal digits.
    serial: String,
    /// Serial number of the CA that signed it.
    issuer: String,
    /// From when it is valid.
    not_before: Time,
    /// Until when it is valid.
    not_after: Time,
    /// "valid", "expiring", "expired" or "revoked".
    state: &'static str,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<Time>,
}

impl CertificateBody {
    /// One certificate as it stands at `now`.
    pub(crate) fn new(entry: &Entry, now: Timestamp) -> Self {
        let Entry { name, kind, role, sans, serial, issuer, not_before, not_after, revoked } =
            entry.clone();
        let state = match revoked {
            Some(_) => "revoked",
            None if not_after <= now => "expired",
            None if not_after.duration_since(now) < EXPIRY_WARNING => "expiring",
            None => "valid",
        };
        let (not_before, not_after) = (Time(not_before), Time(not_after));
        let revoked = revoked.map(Time);
        Self {
            certificate: Certificate {
                name,
                kind,
                role,
                sans,
                serial,
                issuer,
                not_before,
                not_after,
                state,
                revoked,
            },
        }
    }
}

impl Show for CertificateBody {
    const KIND: &'static str = "Certificate";

    fn text(items: &[Item<Self>], view: &View) -> String {
        let heads = ["NAME", "KIND", "ROLE", "SERIAL", "EXPIRES", "STATE", "REVOKED"];
        let wide = ["SANS", "ISSUER", "VALID FROM"];
        let heads: Vec<&'static str> =
            heads.into_iter().chain(wide.into_iter().filter(|_| view.wide)).collect();
        let mut table = Table::new(view, &heads);
        for item in items {
            let Some(Self { certificate }) = &item.body else { continue };
            table.row(&item.host, certificate.cells(view));
        }
        table.render(view)
    }

    fn name(&self) -> String {
        self.certificate.name.clone()
    }
}

impl Certificate {
    fn cells(&self, view: &View) -> Vec<Cell> {
        let time = |time: Time| Cell::text(date_time(time.0, &view.zone));
        let state = match self.state {
            "valid" => Cell::Painted(self.state.to_owned(), Paint::Good),
            "expiring" => Cell::Painted(self.state.to_owned(), Paint::Warn),
            _ => Cell::Painted(self.state.to_owned(), Paint::Bad),
        };
        let mut cells = vec![
            Cell::text(&*self.name),
            Cell::text(self.kind.to_string()),
            self.role.as_deref().map_or(Cell::Absent, Cell::text),
            Cell::text(&*self.serial),
            time(self.not_after),
            state,
            self.revoked.map_or(Cell::Absent, time),
        ];
        if view.wide {
            let sans = self.sans.join(",");
            cells.push(if sans.is_empty() { Cell::Absent } else { Cell::text(sans) });
            cells.push(Cell::text(&*self.issuer));
            cells.push(time(self.not_before));
        }
        cells
    }
}
