//! [`changed`]: what differs between two configs, and which of it takes a new start.

use std::fmt;

use super::{Config, Log, Variation};

/// When a key of the config file counts that was changed while agentd runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// Once the file is read again.
    Live,
    /// At the next start.
    AtStart,
}

/// Keys whose values differ; a section, where all of its keys count alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Those that count once the file is read again.
    pub live: Vec<&'static str>,
    /// Those that count at the next start.
    pub at_start: Vec<&'static str>,
}

/// What of `before` is otherwise in `after`.
#[must_use]
pub fn changed(before: &Config, after: &Config) -> Changed {
    // Each by its name: a new field does not compile before somebody has decided when it counts.
    let Config {
        host,
        mode,
        listen,
        metrics,
        tls,
        hypervisor,
        stats_period,
        tick,
        state_dir,
        freeze_file,
        lock_memory,
        history_age,
        history_size,
        max_watchers,
        authz,
        ring_size,
        audit,
        recording,
        log: Log { level, format },
        shadow,
        bounds,
        policy,
        source: _,
        policy_source: _,
    } = before;
    // What listens on TCP is made at the start; whose certificate it shows is not.
    let has_tls = tls.is_some() != after.tls.is_some();
    let is_history = (history_age, history_size) != (&after.history_age, &after.history_size);
    let all = [
        ("host", *host != after.host, Counts::AtStart),
        ("mode", *mode != after.mode, Counts::AtStart),
        ("listen.addresses", *listen != after.listen, Counts::AtStart),
        ("listen.metrics", *metrics != after.metrics, Counts::AtStart),
        ("tls", has_tls, Counts::AtStart),
        ("tls", *tls != after.tls && !has_tls, Counts::Live),
        ("hypervisor.uri", *hypervisor != after.hypervisor, Counts::AtStart),
        ("hypervisor.stats_period", *stats_period != after.stats_period, Counts::AtStart),
        ("tick", *tick != after.tick, Counts::AtStart),
        ("state.dir", *state_dir != after.state_dir, Counts::AtStart),
        ("state.freeze_file", *freeze_file != after.freeze_file, Counts::AtStart),
        ("state.history_*", is_history, Counts::AtStart),
        ("process.lock_memory", *lock_memory != after.lock_memory, Counts::AtStart),
        ("api.max_watchers", *max_watchers != after.max_watchers, Counts::AtStart),
        ("api.ring_size", *ring_size != after.ring_size, Counts::AtStart),
        ("authz", *authz != after.authz, Counts::Live),
        ("bounds", *bounds != after.bounds, Counts::Live),
        ("audit", *audit != after.audit, Counts::AtStart),
        ("recording", *recording != after.recording, Counts::AtStart),
        ("log.level", *level != after.log.level, Counts::Live),
        ("log.format", *format != after.log.format, Counts::AtStart),
        ("shadow", is_otherwise(shadow.as_ref(), after), Counts::Live),
        ("policy", *policy != after.policy, Counts::Live),
    ];
    let at = |when| move |(key, is, counts)| (is && counts == when).then_some(key);
    Changed {
        live: all.into_iter().filter_map(at(Counts::Live)).collect(),
        at_start: all.into_iter().filter_map(at(Counts::AtStart)).collect(),
    }
}

/// Whether a shadow would decide otherwise than the one of `after`: it knows the whole text of its file.
fn is_otherwise(shadow: Option<&Variation>, after: &Config) -> bool {
    let of = |shadow: Option<&Variation>| shadow.map(|own| own.apply(&after.policy).ok());
    of(shadow) != of(after.shadow.as_ref())
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.live.iter().chain(&self.at_start).copied().collect();
        f.write_str(&if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_FILE;

    fn config(text: &str) -> Config {
        Config::parse("agentd.toml", text).unwrap()
    }

    #[test]
    fn the_same_file_with_other_comments_is_no_change() {
        let shadow = "[shadow]\nalgorithm = \"working-set\"\n";
        let (before, after) = (config(shadow), config(&format!("# note\n{shadow}")));
        assert_eq!(changed(&before, &after), Changed::default());
        assert_eq!(changed(&config(""), &config(DEFAULT_FILE)), Changed::default());
    }

    #[test]
    fn every_key_says_when_it_counts() {
        let before = config("");
        let live = "[authz]\nlocal_admin_uids = []\n[bounds]\nfloor = \"64MiB\"\n\
                    [log]\nlevel = \"debug\"\n[shadow]\nfloor = \"80MiB\"\n\
                    [policy]\nfloor = \"70MiB\"\n";
        let differs = changed(&before, &config(live));
        assert_eq!(differs.live, ["authz", "bounds", "log.level", "shadow", "policy"]);
        assert_eq!(differs.at_start, Vec::<&str>::new());
        let at_start = "host = \"h\"\nmode = \"paused\"\n[tick]\ninterval = \"3s\"\n\
                        [hypervisor]\nstats_period = \"1s\"\nuri = \"test:///default\"\n\
                        [log]\nformat = \"json\"\n";
        let differs = changed(&before, &config(at_start));
        assert_eq!(differs.at_start, ["host", "mode", "hypervisor.uri", "tick", "log.format"]);
        assert_eq!(differs.to_string(), "host, mode, hypervisor.uri, tick, log.format");
    }

    #[test]
    fn other_files_of_tls_count_at_once_and_tls_where_there_was_none_does_not() {
        let with = |cert: &str| {
            config(&format!("[tls]\ncert = \"{cert}\"\nkey = \"/k\"\nclient_ca = \"/c\"\n"))
        };
        assert_eq!(changed(&with("/a"), &with("/b")).live, ["tls"]);
        assert_eq!(changed(&config(""), &with("/b")).at_start, ["tls"]);
    }
}
