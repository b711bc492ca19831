//! The wire of agentd.
