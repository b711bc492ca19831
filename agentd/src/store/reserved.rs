//! Reservations in the database of the operator's will: those that are open, and the last that are
//! over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    policy::VmKey,
    reserve::{Reservation, ReservationId},
};
use rusqlite::{Connection, Row, params};

use super::will::{from_nanos, nonsense, to_i64, to_nanos};
use crate::control::{Actor, Ending, Reservations, Reserved};

/// Makes the table.
pub(super) const MIGRATION: &str = "
    CREATE TABLE reservation (
        id INTEGER PRIMARY KEY,
        min INTEGER NOT NULL, max INTEGER NOT NULL,
        vm TEXT,
        actor TEXT NOT NULL, peer TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL,
        request_id TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        ending TEXT, ended_at INTEGER, handed_to TEXT, handed_to_name TEXT
    ) STRICT;
";

/// Keeps one, and forgets the oldest of too many that are over.
pub(super) fn save(db: &mut Connection, reserved: &Reserved) -> rusqlite::Result<()> {
    let Reservation { id, min, max, vm } = &reserved.reservation;
    let (ending, ended_at) = reserved.end.as_ref().map(|(how, at)| (how, to_nanos(*at))).unzip();
    let handed_to = match ending {
        Some(Ending::HandedOver { vm, name }) => Some((vm.to_string(), name.to_string())),
        Some(Ending::Expired | Ending::Released) | None => None,
    };
    let (handed_to, name) = handed_to.unzip();
    let Actor { id: actor, peer, time } = &reserved.actor;
    let db = db.transaction()?;
    db.execute(
        PUT,
        params![
            to_i64(id.0),
            to_i64(min.as_u64()),
            to_i64(max.as_u64()),
            vm.as_ref().map(ToString::to_string),
            actor,
            peer,
            to_nanos(*time),
            reserved.reason,
            reserved.request_id,
            to_nanos(reserved.expires_at),
            ending.map(Ending::name),
            ended_at,
            handed_to,
            name
        ],
    )?;
    db.execute(PRUNE, params![i64::try_from(Reservations::ENDED).unwrap_or(i64::MAX)])?;
    db.commit()
}

/// Takes one back that nobody was told of.
pub(super) fn forget(db: &Connection, id: ReservationId) -> rusqlite::Result<()> {
    db.execute("DELETE FROM reservation WHERE id = ?1", params![to_i64(id.0)])?;
    Ok(())
}

/// All that are kept, those that are over in the order in which they ended. One that cannot be read is
/// left out, and told: it holds up nothing else.
pub(super) fn load(db: &Connection) -> Vec<Reserved> {
    let read = || -> rusqlite::Result<Vec<Reserved>> {
        let mut query = db.prepare(GET)?;
        let rows = query.query_map([], |row| {
            Ok(read(row).inspect_err(|error| {
                tracing::warn!(%error, "a reservation cannot be read and is left out");
            }))
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the reservations cannot be read: there are none");
        Vec::new()
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Reserved> {
    let bytes =
        |index| row.get::<_, i64>(index).map(|bytes| ByteCount::bytes(bytes.unsigned_abs()));
    let vm: Option<String> = row.get("vm")?;
    Ok(Reserved {
        reservation: Reservation {
            id: ReservationId(row.get::<_, i64>("id")?.unsigned_abs()),
            min: bytes("min")?,
            max: bytes("max")?,
            vm: vm.as_deref().map(VmKey::from),
        },
        actor: Actor {
            id: row.get("actor")?,
            peer: row.get("peer")?,
            time: from_nanos(row.get("time")?),
        },
        reason: row.get("reason")?,
        request_id: row.get("request_id")?,
        expires_at: from_nanos(row.get("expires_at")?),
        expires: Duration::ZERO,
        filled: false,
        end: read_end(row)?,
    })
}

fn read_end(row: &Row<'_>) -> rusqlite::Result<Option<(Ending, SystemTime)>> {
    let Some(ending) = row.get::<_, Option<String>>("ending")? else { return Ok(None) };
    let how = match ending.as_str() {
        "expired" => Ending::Expired,
        "released" => Ending::Released,
        "handed_over" => {
            let (vm, name): (String, String) = (row.get("handed_to")?, row.get("handed_to_name")?);
            let vm = vm.parse().map_err(|_| nonsense(format!("\"{vm}\" is no UUID")))?;
            Ending::HandedOver { vm, name: Arc::from(name) }
        }
        other => return Err(nonsense(format!("\"{other}\" is no end of a reservation"))),
    };
    Ok(Some((how, from_nanos(row.get("ended_at")?))))
}

const PUT: &str = "INSERT OR REPLACE INTO reservation VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
const GET: &str = "SELECT * FROM reservation ORDER BY ended_at, id";
/// Of those that are over, all but the last.
const PRUNE: &str = "DELETE FROM reservation WHERE id IN (
    SELECT id FROM reservation WHERE ending IS NOT NULL
    ORDER BY ended_at DESC, id DESC LIMIT -1 OFFSET ?1)";
