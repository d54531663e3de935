//! Files of secrets, good and bad.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn refused(path: PathBuf) -> String {
    let errors = FleetSecrets::read(&[path], false).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn a_new_secret_is_private_and_good_and_never_replaces_a_file() {
    let folder = Folder::new();
    let path = folder.path("fleet.key");
    write_new_secret(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let (secrets, warnings) = FleetSecrets::read(std::slice::from_ref(&path), true).unwrap();
    assert_eq!(warnings, []);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() == 65 && text.ends_with('\n'), "{} bytes", text.len());
    let again = write_new_secret(&path).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert!(!format!("{secrets:?}").contains(text.trim()), "{secrets:?}");
    symlink(folder.path("nowhere"), folder.path("link")).unwrap();
    assert!(write_new_secret(&folder.path("link")).is_err(), "a link is followed by no writer");
    assert!(!folder.path("nowhere").exists());
}

#[test]
fn every_bad_file_is_named_and_none_is_waited_for() {
    let folder = Folder::new();
    let short = folder.write("short", &[0xf7; 31]);
    let missing = folder.path("missing");
    let errors = FleetSecrets::read(&[short, missing], false).unwrap_err();
    let found: Vec<(usize, String)> = errors.iter().map(|e| (e.entry, e.problem.to_string())).collect();
    assert_eq!(found[0], (0, "a secret has at least 32 bytes, and this one has 31".to_owned()));
    assert!(found[1].0 == 1 && found[1].1.contains("No such file"), "{found:?}");
    assert!(errors[1].hint().contains("weir secret new"));

    assert!(refused(folder.0.path().to_owned()).contains("must be a file"));
    let pipe = folder.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refused(pipe).contains("must be a file"), "and no writer is waited for");
    assert!(refused("/dev/zero".into()).contains("must be a file"));
    assert!(refused(folder.write("large", &[7; 4097])).contains("more than 4096 bytes"));
}

#[test]
fn no_message_repeats_a_secret() {
    let folder = Folder::new();
    let text = "0123456789abcdef0123456789abcdef";
    let one = folder.write("one", text.as_bytes());
    let two = folder.write("two", format!("{text}\n").as_bytes());
    let three = folder.write("three", &text.as_bytes()[..20]);
    fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).unwrap();
    let (secrets, warnings) = FleetSecrets::read(&[one.clone(), two.clone()], false).unwrap();
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains("mode 0644")), "{said:#?}");
    assert!(
        said.iter().any(|text| text.contains("does not look random") || text.contains("stands for 16 bytes")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|text| text.contains(&format!("the same secret as in {}", one.display()))),
        "{said:#?}"
    );
    let errors = FleetSecrets::read(&[one, three], true).unwrap_err();
    assert!(errors[0].to_string().contains("mode 0644") && errors.len() == 2, "{errors:?}");
    let all = format!("{said:?} {errors:?} {secrets:?} {warnings:?}");
    assert!(!all.contains(&text[..8]), "{all}");
}

#[test]
fn another_content_is_seen_and_a_bad_one_is_refused() {
    let folder = Folder::new();
    let path = folder.path("fleet.key");
    write_new_secret(&path).unwrap();
    let (before, _) = FleetSecrets::read(std::slice::from_ref(&path), false).unwrap();
    assert_eq!(before.read_again().unwrap().0, before);
    fs::remove_file(&path).unwrap();
    assert!(before.read_again().is_err());
    write_new_secret(&path).unwrap();
    let (after, _) = before.read_again().unwrap();
    assert_ne!(after, before);
    assert_ne!(after.names().next().unwrap().1, before.names().next().unwrap().1);
    folder.write("fleet.key", b"too short");
    assert!(after.read_again().is_err());
    assert!(FleetSecrets::default().is_empty() && FleetSecrets::default().read_again().unwrap().0.is_empty());
}
