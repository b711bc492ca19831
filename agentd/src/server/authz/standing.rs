//! How long somebody who has a role keeps it, and what ends with it.

use tokio::time;
use tonic::Code;

use super::Authz;
use crate::server::peer::Peer;

impl Authz {
    /// Waits until somebody who had a role has none any more: other rules are in force, or they have left
    /// a group. For ever where they have none to lose.
    pub(in crate::server) async fn until_without_role(&self, peer: &Peer) {
        let mut rules = self.rules.subscribe();
        let mut had_one = false;
        loop {
            let has_one = match self.caller(peer).await {
                Ok(caller) => caller.role.is_some(),
                // Nobody has said no: it is asked again.
                Err(unsure) if unsure.code() == Code::Unavailable => had_one,
                Err(_) => false,
            };
            if had_one && !has_one {
                return;
            }
            had_one = has_one;
            tokio::select! {
                // The sender is in `self`, so that it does not fail.
                _ = rules.changed() => {}
                () = time::sleep(self.recheck_after(peer)) => {}
            }
        }
    }
}
