//! A log that nobody takes delays nothing.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    process::{Command, Stdio},
    thread,
};

use rustix::io::ioctl_fionbio;

use crate::rig::{AGENTD, Home};

/// A pipe that takes nothing more until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    // A byte at a time in the end, so that there is no room for anything.
    for size in [4096, 1] {
        while writer.write(&vec![b'.'; size]).is_ok() {}
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// An agentd with its standard error in the pipe.
fn into(pipe: PipeWriter, home: &Home) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&0 </dev/null", AGENTD]);
    command.args(home.arguments(&home.path("state"))).stdin(Stdio::from(pipe));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_not_read_stops_no_tick_and_gets_its_lines_once_it_is() {
    let home = Home::new();
    let (mut reader, writer) = full_pipe();
    let mut agent = home.start_as(into(writer, &home)).await;
    agent.until_ticks_go_on().await;
    let read = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    agent.signal("TERM");
    assert_eq!(agent.wait().code(), Some(0));
    let text = read.join().unwrap();
    assert!(text.contains("agentd starts") && text.contains("stopping; every VM"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_never_read_keeps_nobody_from_stopping() {
    let home = Home::new();
    let (reader, writer) = full_pipe();
    let mut agent = home.start_as(into(writer, &home)).await;
    agent.signal("TERM");
    assert_eq!(agent.wait().code(), Some(0));
    drop(reader);
}
