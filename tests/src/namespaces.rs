//! Networks beyond loopback, in namespaces: a client's and a backend's, with weir between them. Needs no more rights than
//! a user namespace gives; `ip` and `unshare` come from `packaging/test-peers.sh`.

use crate::program::{Finished, run};
use crate::weir::binary;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// Longer than a scenario takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the commands of a scenario, in the middle network, with this configuration as `weir.yaml` beside the files of
/// `folder`: [the script](../namespaces.sh) says which functions they have.
pub async fn scenario(folder: &TempDir, yaml: &str, commands: &str) -> Finished {
    let (at, source) = (folder.path(), Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    std::fs::write(at.join("weir.yaml"), yaml).unwrap();
    for name in ["mirror", "hear"] {
        std::fs::copy(source.join(format!("namespaces_{name}.py")), at.join(format!("{name}.py"))).unwrap();
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
    command.arg(source.join("namespaces.sh")).arg(at).arg(binary()).arg(commands);
    run(command, b"", PATIENCE).await
}
