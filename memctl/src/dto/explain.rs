//! DTO of an explanation.

use agentd_proto::v1;
use serde::Serialize;

use super::{
    Condition, ModeName, Pin, Pool, Position, Resize, Time, Transfer, Verdict, VmMemory, VmName,
    seconds, time,
};

/// Why a VM got what it got at one tick.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Explanation {
    pub(crate) vm: VmName,
    pub(crate) tick: u64,
    pub(crate) position: Option<Position>,
    pub(crate) time: Option<Time>,
    pub(crate) tick_age_seconds: Option<f64>,
    pub(crate) mode: ModeName,
    pub(crate) algorithm: String,
    pub(crate) verdict: Option<Verdict>,
    /// The whole story, a sentence each.
    pub(crate) sentences: Vec<String>,
    pub(crate) memory: Option<VmMemory>,
    pub(crate) resize: Option<Resize>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) pool: Option<Pool>,
    /// What left it alone for a while; null where nothing did.
    pub(crate) pin: Option<Pin>,
    /// What keeps this from being current, or from being carried out.
    pub(crate) conditions: Vec<Condition>,
}

impl From<v1::ExplainVmResponse> for Explanation {
    fn from(wire: v1::ExplainVmResponse) -> Self {
        Self {
            mode: ModeName::of(wire.mode),
            vm: wire.vm.unwrap_or_default().into(),
            tick: wire.tick,
            position: wire.position.map(Into::into),
            time: time(wire.time),
            tick_age_seconds: seconds(wire.tick_age),
            algorithm: wire.algorithm,
            verdict: wire.verdict.map(Into::into),
            sentences: wire.sentences,
            memory: wire.memory.map(Into::into),
            resize: wire.resize.map(Into::into),
            transfers: wire.transfers.into_iter().map(Into::into).collect(),
            pool: wire.pool.map(Into::into),
            pin: wire.pin.map(Into::into),
            conditions: wire.conditions.into_iter().map(Into::into).collect(),
        }
    }
}
