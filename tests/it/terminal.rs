//! A real terminal, which tmux is, and what memctl shows on one while something takes long.

use std::process::{Command, Stdio};

use crate::sim_host::{LOCAL, World, run, until};

/// A terminal of its own server. Closed when dropped.
pub(crate) struct Terminal<'a> {
    world: &'a World,
}

impl<'a> Terminal<'a> {
    /// One in which a shell runs this.
    pub(crate) fn open(world: &'a World, shell: &str) -> Self {
        Self::of_width(world, 150, shell)
    }

    pub(crate) fn of_width(world: &'a World, columns: u16, shell: &str) -> Self {
        let terminal = Self { world };
        let columns = &columns.to_string();
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", "40", shell];
        terminal.tmux(&new);
        terminal
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        until(what, || Ok(is(&self.screen())));
    }

    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    pub(crate) fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.world.path("tmux")).args(args).stdin(Stdio::null());
        command.env("LANG", "C.UTF-8").env("PATH", std::env::var("PATH").unwrap_or_default());
        command.env("XDG_CONFIG_HOME", self.world.path(""));
        let answer = run(&mut command);
        assert_eq!(answer.exit, Some(0), "tmux {args:?}: {}", answer.stderr);
        answer.stdout
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.world.path("tmux")).arg("kill-server");
        run(&mut command);
    }
}

/// Nothing is carried out, so that the reservation fills when the test has seen that it does not.
#[test]
fn a_reservation_that_fills_is_a_line_that_goes_again() {
    let world = World::new(SCENARIO);
    let _agent = world.start(LOCAL);
    until("a first tick", || Ok(!world.ask(&["status"], "status")["tick"].is_null()));
    world.done(&["mode", "observe"]);
    let program = world.programs().memctl.display();
    let shell = format!(
        "{program} reserve 3GiB --for 2h --wait-for 1h -H {} --timeout 60s; echo \"ended $?\"; exec sleep 600",
        world.uri(LOCAL)
    );
    let terminal = Terminal::open(&world, &shell);
    let shows = |screen: &str| screen.lines().filter(|line| line.contains(" is there, ")).count();
    terminal.until("the line", |screen| shows(screen) == 1 && screen.contains("of 3 GiB is there"));
    let first = terminal.screen();
    // It is the same line, told anew.
    terminal.until("the line told anew", |screen| screen != first && shows(screen) == 1);
    assert!(!terminal.screen().contains("ended"), "{}", terminal.screen());

    world.done(&["mode", "active"]);
    terminal.until("the end", |screen| screen.contains("ended"));
    let screen = terminal.screen();
    assert!(screen.contains("ended 0") && screen.contains("FILLED"), "{screen}");
    assert_eq!(shows(&screen), 0, "the line is gone: {screen}");

    // Who reads a pipe is told once, and no line that moves.
    let piped = world.memctl(&["reserve", "64MiB"]);
    assert_eq!(piped.exit, Some(0), "{piped:?}");
    assert!(!piped.stderr.contains('\r') && !piped.stderr.contains('\u{1b}'), "{piped:?}");
}

/// Two idle VMs that hold nearly all there is.
const SCENARIO: &str = r#"
tick_interval = "100ms"
[sim]
ideal = true
[host]
total = "8GiB"
other = "1GiB"
[policy]
algorithm = "working-set"
[[vm]]
name = "web1"
max = "4GiB"
actual = "3GiB"
demand = "500MiB"
[[vm]]
name = "web2"
max = "4GiB"
actual = "3GiB"
demand = "500MiB"
"#;
