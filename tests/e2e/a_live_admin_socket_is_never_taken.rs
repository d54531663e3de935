//! weir never takes the admin's Unix socket from a live process: it refuses the socket of another user, and
//! does not let a hanging process hold up its start.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;
use weir_tests::ports::Port;
use weir_tests::program::{Finished, run};
use weir_tests::unprivileged::{Unprivileged, open_to_all};
use weir_tests::weir::binary;

/// Starts weir without privileges, with its admin server at this socket, and gives how it ended.
async fn ends(folder: &Path, socket: &Path) -> Finished {
    let (user, edge) = (Unprivileged::default(), Port::free());
    let yaml = format!(
        "runtime: {{workers: 1}}\nadmin: {{address: \"unix:{}\"}}\n\
         listeners: [{{name: edge, address: \"{}\", mode: passthrough, default_pool: main}}]\n\
         pools: [{{name: main, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}]\n",
        socket.display(),
        edge.addr()
    );
    let file = folder.join("weir.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut words = user.words().to_vec();
    words.extend([binary().display().to_string(), "run".into(), "-c".into(), file.display().to_string()]);
    let mut command = tokio::process::Command::new(&words[0]);
    command.args(&words[1..]);
    run(command, b"", Duration::from_secs(20)).await
}

#[tokio::test]
async fn of_another_user_or_one_that_hangs() {
    let folder = open_to_all(tempfile::tempdir().unwrap());
    // Every user who may write to a folder may remove its files.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    for (mode, said) in [(0o000, "may be in use"), (0o777, "not answering")] {
        let socket = folder.path().join(format!("{mode}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode)).unwrap();
        // The listener accepts nothing, and its backlog is full.
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = (mode != 0).then(|| std::os::unix::net::UnixStream::connect(&socket).unwrap());
        let before = std::fs::metadata(&socket).unwrap().ino();
        let ended = ends(folder.path(), &socket).await;
        assert_eq!(ended.code, Some(1), "{}", ended.both());
        assert!(ended.stderr.contains("admin: cannot listen on unix:"), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(std::fs::metadata(&socket).unwrap().ino(), before, "it was replaced");
    }
}
