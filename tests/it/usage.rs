//! What the programs beside the tests say to who asks how they are called, and to what they cannot do.

use std::process::Command;

const PROGRAMS: [(&str, &str); 4] = [
    ("soak", env!("CARGO_BIN_EXE_soak")),
    ("bench-policies", env!("CARGO_BIN_EXE_bench-policies")),
    ("bench-bursts", env!("CARGO_BIN_EXE_bench-bursts")),
    ("bench-attacks", env!("CARGO_BIN_EXE_bench-attacks")),
];

/// What a program prints, and how it ends.
fn run(program: &str, words: &[&str]) -> (Option<i32>, String) {
    let ended = Command::new(program).args(words).env("RUST_BACKTRACE", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{program} {words:?}");
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
}

#[test]
fn every_program_says_how_it_is_called_and_what_it_does_not_know() {
    for (name, program) in PROGRAMS {
        for help in ["--help", "-h"] {
            let (exit, said) = run(program, &[help]);
            assert_eq!(exit, Some(0), "{name}: {said}");
            assert!(said.starts_with(&format!("{name} [--")), "{said}");
        }
        let (exit, said) = run(program, &["--nonsense", "1"]);
        assert_eq!(exit, Some(2), "{name}: {said}");
        assert!(said.starts_with(&format!("{name}: --nonsense is not known: --")), "{said}");
    }
}

#[test]
fn no_rounds_are_refused_before_anything_is_begun() {
    for (name, program) in &PROGRAMS[2..] {
        let (exit, said) = run(program, &["--rounds", "0"]);
        assert_eq!(exit, Some(2), "{name}: {said}");
        assert!(said.starts_with(&format!("{name}: --rounds 0: ")), "{said}");
    }
}

#[test]
fn of_few_seeds_it_is_said_that_no_saboteur_is_played() {
    let (exit, said) = run(PROGRAMS[0].1, &["--seeds", "0"]);
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("\nsaboteurs: not played: that takes 300 seeds, with the "), "{said}");
    assert!(!said.contains("NOT CAUGHT"), "{said}");
    assert!(said.ends_with(" passed, 0 failed\n"), "{said}");
}
