//! Runs the real binary in a world of its own: an empty home, no settings from outside.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A folder with a configuration, and whatever the test puts beside it.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

/// What one run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: i32,
}

impl World {
    pub(crate) fn new() -> Self {
        // Short, as paths of sockets must be, and of one length, as columns are.
        let folder = tempfile::Builder::new().prefix("memctl-").tempdir_in("/tmp").unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration: a host for each name, each on a socket of its name, all current.
    pub(crate) fn configure(&self, names: &[&str]) {
        let mut text = format!("schema = 1\ncurrent = {names:?}\n");
        for name in names {
            let socket = self.path(&format!("{name}.sock"));
            text.push_str(&format!("[hosts.{name}]\nuri = \"unix://{}\"\n", socket.display()));
        }
        self.write_config(&text);
    }

    pub(crate) fn write_config(&self, text: &str) {
        let path = self.path("memctl/config.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.path("memctl/config.toml")).unwrap()
    }

    /// The command, its output piped, its input empty. Where it is not said how long it waits for a host,
    /// that is long: the machine is busy with other tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memctl"));
        // What follows "--" is a line that is to be completed.
        if args.first() != Some(&"--") && !args.contains(&"--timeout") {
            command.args(["--timeout", "60s"]);
        }
        command
            .args(args)
            .env_clear()
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("MEMCTL_SYSTEM_CONFIG", self.path("system.toml"))
            .env("MEMCTL_SOCKET", self.path("local.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args).spawn().unwrap(), self.folder.path()).await
    }

    pub(crate) async fn finish(&self, child: Child) -> Run {
        finish(child, self.folder.path()).await
    }
}

/// Waits for the end, and makes the output independent of where it ran.
async fn finish(child: Child, folder: &Path) -> Run {
    let waited = tokio::time::timeout(GIVE_UP, child.wait_with_output()).await;
    let output = waited.expect("memctl did not end by itself").unwrap();
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap().replace(&folder.display().to_string(), FOLDER)
    };
    Run {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        exit: output.status.code().unwrap_or(-1),
    }
}

/// What the world's folder is called in the output; as long as its name.
pub(crate) const FOLDER: &str = "/tmp/memctl-FOLDER";
/// Far more than any run needs, also on a busy machine.
const GIVE_UP: Duration = Duration::from_secs(120);
