//! The pure decisions of agentd.
