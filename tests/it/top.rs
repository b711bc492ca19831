//! `memctl top` in a real terminal, which tmux is: it starts, follows its size, outlives a host, and
//! leaves the terminal as it found it.

use crate::sim_host::{SCENARIO, World};
use crate::terminal::Terminal;

#[test]
fn it_lives_in_a_terminal_and_outlives_a_host() {
    let world = World::new(SCENARIO);
    let _first = world.start("node1");
    let second = world.start("node2");
    let hosts = format!("{},{}", world.uri("node1"), world.uri("node2"));
    let shell = format!(
        "stty -g; {} top -d 200ms -H {hosts}; echo \"ended $?\"; stty -g; exec sleep 600",
        world.programs().memctl.display()
    );
    let terminal = Terminal::open(&world, &shell);

    terminal.until("both hosts", |screen| count(screen, "HEALTHY") == 2 && screen.contains("web1"));
    terminal.tmux(&["resize-window", "-x", "70", "-y", "16"]);
    terminal.until("another size", |screen| {
        screen.lines().count() == 16 && screen.contains("web1") && !screen.contains("EVENTS")
    });
    terminal.tmux(&["resize-window", "-x", "150", "-y", "40"]);
    terminal.until("the first size", |screen| screen.contains("EVENTS"));

    second.kill();
    terminal.until("the lost host, and the other", |screen| {
        screen.contains("RETRY IN") && count(screen, "HEALTHY") == 1
    });
    let _second = world.start("node2");
    terminal.until("the host again", |screen| count(screen, "HEALTHY") == 2);

    terminal.tmux(&["send-keys", "Enter"]);
    terminal.until("the explanation", |screen| screen.contains("FIGURE"));
    terminal.tmux(&["send-keys", "Escape"]);
    terminal.until("the list", |screen| !screen.contains("FIGURE"));
    terminal.tmux(&["send-keys", "m"]);
    terminal.until("the modes", |screen| screen.contains("nothing is decided"));
    terminal.tmux(&["send-keys", "p"]);
    terminal.until("a question", |screen| screen.contains("y yes"));
    terminal.tmux(&["send-keys", "y"]);
    terminal.until("the pause", |screen| screen.contains("mode paused: done"));
    assert_eq!(world.ask(&["mode", "-H", &world.uri("node1")], "mode"), "paused");

    terminal.tmux(&["send-keys", "q"]);
    let settings = |screen: &str| -> Vec<String> {
        screen.lines().filter(|line| line.contains(':')).map(str::to_owned).collect()
    };
    terminal.until("the end, and the settings after it", |screen| {
        screen.contains("ended 0") && settings(screen).len() == 2
    });
    let screen = terminal.screen();
    let settings = settings(&screen);
    assert_eq!(settings[0], settings[1], "the terminal is as it was: {screen}");
    assert!(!screen.contains("HEALTHY"), "the screen is as it was: {screen}");
}

/// Not the screen of all hosts, but a table, which is no wider than the terminal that shows it.
#[test]
fn a_table_fits_on_a_narrow_terminal_and_names_what_it_leaves_out() {
    let world = World::new(SCENARIO);
    let _agent = world.start("node1");
    let memctl = world.programs().memctl.display();
    let shell = format!("{memctl} status -H {}; exec sleep 600", world.uri("node1"));
    let terminal = Terminal::of_width(&world, 60, &shell);
    terminal.until("the table", |screen| screen.contains("-o wide shows all"));
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 3, "a line was broken: {screen}");
    assert!(lines[0].contains("STATE") && lines[1].contains("HEALTHY"), "{screen}");
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let world = World::new(SCENARIO);
    let answer = world.memctl(&["top"]);
    assert_eq!(answer.exit, Some(2));
    assert!(answer.stderr.contains("needs a terminal"), "{}", answer.stderr);
    assert!(answer.stderr.contains("memctl watch"), "{}", answer.stderr);
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}
