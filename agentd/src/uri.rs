//! What the URI of a hypervisor says of it.

/// False for what takes no memory of this host.
pub(crate) fn is_real(uri: &str) -> bool {
    !matches!(uri.split([':', '+']).next(), Some("sim" | "test"))
}

/// A scheme of letters, "+" and the like, and what belongs to it.
pub(crate) fn is_uri(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// A URI with a host, or with a transport that leads to one.
pub(crate) fn is_remote(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let leads_away = scheme.split_once('+').is_some_and(|(_, transport)| transport != "unix");
    leads_away || !(rest.is_empty() || rest.starts_with(['/', '?']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_memory_of_this_host_is_real() {
        let real = ["qemu:///system", "qemu+unix:///session", "ch:///system", "lxc:///"];
        let play = ["sim:/etc/x.toml", "sim:x", "test:///default", "test+unix:///x"];
        assert!(real.iter().all(|uri| is_real(uri)));
        assert!(play.iter().all(|uri| !is_real(uri)));
    }

    #[test]
    fn only_uris_of_this_host_are_served() {
        let none = ["foo", "qemu:/system", "://", "", "sim", "q emu:///system"];
        assert!(none.iter().all(|text| !is_uri(text)));
        let here =
            ["qemu:///system", "qemu+unix:///system?socket=/x", "test:///default", "qemu://"];
        let there = ["qemu+ssh://root@node1/system", "qemu://node1/system", "xen+tls:///"];
        assert!(here.iter().all(|uri| !is_remote(uri) && is_uri(uri)));
        assert!(there.iter().all(|uri| is_remote(uri)));
    }
}
