//! Other rules from a config that was read again, while connections are open.

use std::sync::Arc;

use super::Authz;
use crate::{
    config::{Config, ConfigError},
    publish::Publisher,
};

/// What a config that was read again has changed of who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Its rules are those in force.
    Same,
    /// Its rules are in force now.
    Other,
}

impl Authz {
    /// Puts the rules of a config in force. Where it could not be read those of before stay, and
    /// [`AUTHZ_RELOAD_FAILED`] says so until one can.
    pub(in crate::server) fn reload(
        &self,
        config: Result<Config, ConfigError>,
        publisher: &Publisher,
    ) -> Result<Reloaded, ConfigError> {
        let rules = match config {
            Ok(config) => config.authz,
            Err(error) => {
                let message = format!(
                    "{error}; who may do what stays as [authz] said before: correct it, and send SIGHUP"
                );
                publisher.tell(AUTHZ_RELOAD_FAILED, Some(message));
                return Err(error);
            }
        };
        publisher.tell(AUTHZ_RELOAD_FAILED, None);
        if *self.rules() == rules {
            return Ok(Reloaded::Same);
        }
        tracing::info!(?rules, "other rules of who may do what are in force");
        self.rules.send_replace(Arc::new(rules));
        Ok(Reloaded::Other)
    }
}

/// Raised while a config that was read again cannot be taken, so that who may do what is as before.
const AUTHZ_RELOAD_FAILED: &str = "AUTHZ_RELOAD_FAILED";
