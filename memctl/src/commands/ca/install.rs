//! `memctl ca issue-server --install`: a server's files put where agentd looks for them, through
//! ssh, and named in its config as far as that names none.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::places::ON_A_HOST;
use crate::address::{Address, Ssh};
use crate::failure::{Code, Failure};

/// Reads `[USER@]HOST[:PORT]`, as ssh:// has it.
pub(super) fn parse_target(text: &str) -> Result<Ssh, String> {
    let bare = text.strip_prefix("ssh://").unwrap_or(text);
    match Address::parse(&format!("ssh://{bare}")) {
        Ok(Address::Ssh(ssh)) if ssh.socket.is_none() => Ok(ssh),
        Ok(_) => Err(format!("\"{text}\" has a path: write [USER@]HOST")),
        Err(failure) => Err(failure.message),
    }
}

/// Copies files, each with its name there, and has agentd use them. Files take the place of others
/// whole.
pub(super) fn install(target: &Ssh, files: &[(&str, &Path)]) -> Result<(), Failure> {
    let script = script(files)?;
    let mut command = Command::new("ssh");
    command.args(["-T", "-o", "BatchMode=yes"]);
    if let Some(port) = target.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args([target.destination().as_str(), "sh", "-s"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |what: String| {
        let what = format!("cannot install on {}: {what}", target.destination());
        Failure::new(Code::Unavailable, "INSTALL_FAILED", what)
            .hint("the certificate is issued; copy it by hand, or try again with --renew")
    };
    let mut child = command.spawn().map_err(|error| failed(format!("ssh: {error}")))?;
    // A shell that ended early tells why below.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said.join("; ") }))
}

fn script(files: &[(&str, &Path)]) -> Result<String, Failure> {
    let mut script = format!("set -e\numask 077\nmkdir -p {ON_A_HOST}\ncd {ON_A_HOST}\n");
    for (name, path) in files {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let what = format!("cannot read {}: {error}", path.display());
            Failure::new(Code::Unknown, "CA_UNREADABLE", what)
        })?;
        // PEM has no line that could end the text early.
        script.push_str(&format!("cat > .{name}.new <<'{END}'\n{}\n{END}\n", text.trim_end()));
    }
    for (name, _) in files {
        script.push_str(&format!("mv .{name}.new {name}\n"));
    }
    script.push_str(OWN);
    script.push_str(USE);
    Ok(script)
}

/// Ends a text in the script.
const END: &str = "END-OF-FILE";
/// Gives the files to the user that agentd runs as, where it is not root: nobody else is to read the key.
const OWN: &str = "if id -u agentd > /dev/null 2>&1; then chown -R agentd: .; fi\n";
/// Names the files in the config where it names none, and has a service that runs take them. What
/// somebody wrote into the config stays.
const USE: &str = r#"file=/etc/agentd/agentd.toml
if [ -f $file ]; then
    sed -e 's|^addresses = \[\]$|addresses = ["unix:///run/agentd/agentd.sock", "tcp://[::]:7433"]|' \
        -e 's|^cert = ""$|cert = "/etc/agentd/tls/server.pem"|' \
        -e 's|^key = ""$|key = "/etc/agentd/tls/server.key"|' \
        -e 's|^client_ca = ""$|client_ca = "/etc/agentd/tls/ca.pem"|' \
        -e 's|^client_crl = ""$|client_crl = "/etc/agentd/tls/crl.pem"|' $file > $file.new
    chmod --reference=$file $file.new
    cmp -s $file $file.new && rm $file.new || mv $file.new $file
fi
if systemctl is-active --quiet agentd 2> /dev/null; then systemctl restart agentd; fi
"#;
