//! Compiles `agentd/v1/*.proto` with protox, so that no protoc has to be installed.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["common", "host", "vm", "policy", "reservation", "shadow", "event", "audit", "history"];
    let files = files.map(|f| format!("agentd/v1/{f}.proto"));
    println!("cargo::rerun-if-changed=agentd/v1");
    let descriptors = protox::compile(&files, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
