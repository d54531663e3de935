//! Entries and folders whose files change while they are in use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::fixtures::{Pki, ecdsa, params};
use crate::rotation::Rotation;

const NOW: i64 = 1_800_000_000;

/// An entry in force, and what holds its certificates.
struct World {
    pki: Pki,
    store: CertificateStore,
    entry: Arc<Entry>,
}

impl World {
    fn new(strict: bool) -> Self {
        let (pki, store) = (Pki::new(), CertificateStore::default());
        let key = EntryKey { files: pki.issue_for("a", &ecdsa(), valid(2020, 2040)), strict };
        let (entry, _) = stage(&key, 0, &store, None, NOW).expect("a certificate");
        let entry = store.put_in_force(&entry);
        Self { pki, store, entry }
    }

    /// One look, and its taking.
    fn look(&self, now: i64) -> Option<Rotation> {
        self.entry.look(now)?;
        self.entry.take(&self.store.held, now)
    }

    fn end(&self) -> i64 {
        self.entry.served().expect("a certificate").facts.not_after
    }

    /// A reload: a plan reads the files and comes into force.
    fn reload(&self, now: i64) {
        let (staged, _) = stage(&self.entry.key, 0, &self.store, None, now).expect("a certificate");
        assert!(Arc::ptr_eq(&self.store.put_in_force(&staged), &self.entry));
    }

    /// Writes another certificate into the same files.
    fn renew(&self, from: i32, to: i32) {
        self.pki.issue_for("a", &ecdsa(), valid(from, to));
    }
}

fn valid(from: i32, to: i32) -> rcgen::CertificateParams {
    let mut params = params(&["example.com"]);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

fn year(year: i32) -> i64 {
    rcgen::date_time_ymd(year, 1, 1).unix_timestamp()
}

#[test]
fn a_change_is_taken_once() {
    let world = World::new(false);
    assert_eq!(world.look(NOW), None);
    world.renew(2020, 2041);
    let Some(Rotation::Served { names, not_after, new: false, .. }) = world.look(NOW) else {
        panic!("a new certificate")
    };
    assert_eq!((names, not_after, world.end()), (vec!["example.com".to_owned()], year(2041), year(2041)));
    assert_eq!(world.look(NOW), None);
}

#[test]
fn dates_are_judged_by_the_clock_of_each_look() {
    let world = World::new(false);
    for (from, to, reason, then) in
        [(2035, 2050, "not valid before", year(2035)), (2010, 2015, "expired on", year(2012))]
    {
        world.renew(from, to);
        let Some(Rotation::Refused { reason: said, serves_on: true, .. }) = world.look(NOW) else {
            panic!("it is not valid now")
        };
        assert!(said.contains(reason), "{said}");
        assert_eq!((world.look(NOW), world.end()), (None, year(2040)), "told once");
        // Its time has come, or a clock was wrong.
        assert!(matches!(world.look(then), Some(Rotation::Served { .. })), "{reason}");
        assert_eq!((world.end(), world.entry.status().refused), (year(to), None));
        world.renew(2020, 2040);
        assert!(world.look(NOW).is_some());
    }
}

#[test]
fn a_refusal_ends_with_its_content() {
    let world = World::new(false);
    let files = world.entry.key.files.clone();
    let good = fs::read(&files.cert).unwrap();
    fs::write(&files.cert, &good[..good.len() / 2]).unwrap();
    assert!(matches!(world.look(NOW), Some(Rotation::Refused { .. })));
    assert_eq!(world.look(NOW), None);
    fs::write(&files.cert, &good[..good.len() / 3]).unwrap();
    assert!(matches!(world.look(NOW), Some(Rotation::Refused { .. })), "another change");
    fs::write(&files.cert, &good).unwrap();
    assert_eq!(world.look(NOW), None, "nothing to tell");
    assert_eq!(world.entry.status().refused, None);
    fs::remove_file(&files.key).unwrap();
    let Some(Rotation::Refused { reason, .. }) = world.look(NOW) else { panic!("the key is gone") };
    assert!(reason.contains("a.key: cannot be read"), "{reason}");
    assert_eq!((world.look(NOW), world.end()), (None, year(2040)));
}

#[test]
fn a_strict_entry_refuses_a_key_that_is_opened_to_others() {
    let (world, lax) = (World::new(true), World::new(false));
    for (world, refuses) in [(&world, true), (&lax, false)] {
        let key = &world.entry.key.files.key;
        fs::set_permissions(key, fs::Permissions::from_mode(0o604)).unwrap();
        assert_eq!(matches!(world.look(NOW), Some(Rotation::Refused { .. })), refuses);
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!((world.look(NOW), world.entry.status().refused), (None, None));
    }
    let key = EntryKey { strict: true, ..lax.entry.key.clone() };
    fs::set_permissions(&key.files.key, fs::Permissions::from_mode(0o640)).unwrap();
    let errors = stage(&key, 0, &lax.store, None, NOW).expect_err("an exposed key");
    assert!(matches!(errors[0].problem, CertificateProblem::Exposed { mode: 0o640 }), "{errors:?}");
    assert_eq!(errors[0].file, CertificateFile::Key);
}

#[test]
fn of_two_reads_the_one_that_began_later_counts() {
    let world = World::new(false);
    // A plan reads the files, the watcher takes a change, and then the plan comes into force.
    let (staged, _) = stage(&world.entry.key, 0, &world.store, None, NOW).expect("a certificate");
    world.renew(2020, 2041);
    assert!(world.look(NOW).is_some());
    assert!(Arc::ptr_eq(&world.store.put_in_force(&staged), &world.entry));
    assert_eq!(world.end(), year(2041), "the old content is not brought back");
    // The plan has read a change that the watcher has not seen.
    world.renew(2020, 2042);
    let (staged, _) = stage(&world.entry.key, 0, &world.store, None, NOW).expect("a certificate");
    assert_eq!(world.end(), year(2041), "a plan that is being made changes nothing");
    world.store.put_in_force(&staged);
    assert_eq!((world.end(), world.look(NOW)), (year(2042), None), "and nothing is told twice");
}

#[test]
fn a_reload_keeps_a_valid_pair_where_the_files_have_one_that_is_not_valid_now() {
    for (from, to, reason, then) in
        [(2035, 2050, "not valid before", year(2035)), (2010, 2015, "expired on", year(2012))]
    {
        // The watcher has refused the pair before the reload, or sees it after the reload.
        for is_refused in [true, false] {
            let world = World::new(false);
            world.renew(from, to);
            if is_refused {
                assert!(matches!(world.look(NOW), Some(Rotation::Refused { serves_on: true, .. })));
            }
            world.reload(NOW);
            world.reload(NOW);
            assert_eq!((world.end(), world.look(NOW)), (year(2040), None), "{reason}: told once");
            let refused = world.entry.status().refused.expect("a refusal in the status");
            assert!(refused.reason.contains(reason), "{}", refused.reason);
            assert!(matches!(world.look(then), Some(Rotation::Served { .. })), "{reason}");
            assert_eq!((world.end(), world.entry.status().refused), (year(to), None));
        }
    }
}

#[test]
fn a_reload_takes_a_pair_that_is_no_worse() {
    let world = World::new(false);
    world.renew(2010, 2015);
    // All that the process has served has expired by then.
    world.reload(year(2045));
    assert_eq!((world.end(), world.entry.status().refused), (year(2015), None));
    world.renew(2044, 2050);
    world.reload(year(2045));
    assert_eq!((world.end(), world.entry.status().refused), (year(2050), None));
}

/// A folder with these names in it, each with its content.
fn folder(pki: &Pki, files: &[(&str, &[u8])]) -> std::path::PathBuf {
    let folder = pki.path().join("live");
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[test]
fn what_is_wrong_with_an_entry_of_a_folder_is_a_warning_and_the_others_serve() {
    let (pki, store) = (Pki::new(), CertificateStore::default());
    let files = pki.issue("a", &["example.com"]);
    let (cert, key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    let both = [cert.clone(), key.clone()].concat();
    let folder = folder(
        &pki,
        &[
            ("good/fullchain.pem", &cert),
            ("good/privkey.pem", &key),
            ("good/README", b"text"),
            ("keyless/tls.crt", &cert),
            ("certless/privkey.pem", &key),
            ("half.pem", &cert),
            ("both.pem", &both),
            ("empty.pem", b""),
            (".hidden.pem", &cert),
            ("..data/tls.crt", &cert),
            ("neither/a.txt", b"text"),
            ("a.crt", &cert),
        ],
    );
    let key = FolderKey { path: folder.clone(), strict: false };
    let (read, warnings) = Folder::read(&key, &store, None, NOW).expect("a folder");
    let entries = read.entries();
    let served: Vec<_> =
        entries.iter().filter_map(|entry| entry.served()).map(|one| one.facts.path.clone()).collect();
    assert_eq!(served, [folder.join("both.pem"), folder.join("good/fullchain.pem")]);
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    for (file, what) in [
        ("certless/fullchain.pem", "cannot be read"),
        ("empty.pem", "is empty"),
        ("half.pem", "has no private key"),
        ("keyless/tls.key", "cannot be read"),
    ] {
        let found = said.iter().any(|line| line.contains(file) && line.contains(what));
        assert!(found, "{file}: {said:#?}");
    }
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(
        Folder::read(&FolderKey { path: pki.path().join("nowhere"), strict: false }, &store, None, NOW)
            .is_err()
    );
}

#[test]
fn a_folder_may_be_a_pair_itself() {
    let (pki, store) = (Pki::new(), CertificateStore::default());
    let files = pki.issue("a", &["example.com"]);
    let (cert, key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    let path = folder(
        &pki,
        &[("fullchain.pem", &cert), ("privkey.pem", &key), ("cert.pem", &cert), ("chain.pem", &cert)],
    );
    let (read, warnings) =
        Folder::read(&FolderKey { path, strict: false }, &store, None, NOW).expect("a folder");
    assert_eq!((read.entries().len(), warnings), (1, Vec::new()));
}

#[test]
fn a_folder_with_too_much_in_it_serves_the_first() {
    let (pki, store) = (Pki::new(), CertificateStore::default());
    let files = pki.issue("a", &["example.com"]);
    let both = [fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap()].concat();
    let path = folder(&pki, &[("a.pem", &both)]);
    // Holes: they are as large as they say, and take no room on the disk.
    for number in 0..33 {
        let file = fs::File::create(path.join(format!("b{number}.pem"))).unwrap();
        file.set_len(8 << 20).unwrap();
    }
    let key = FolderKey { path: path.clone(), strict: false };
    let listing = directory::list(&path).unwrap();
    assert!(listing.is_cut && listing.entries.len() < 34, "{}", listing.entries.len());
    for number in 1..33 {
        fs::File::create(path.join(format!("b{number}.pem"))).unwrap().set_len((8 << 20) + 1).unwrap();
    }
    let (read, warnings) = Folder::read(&key, &store, None, NOW).expect("a folder");
    assert_eq!(read.entries().iter().filter_map(|entry| entry.served()).count(), 1);
    assert!(warnings.iter().any(|one| matches!(one, Warning::DirectoryCut { .. })), "{warnings:?}");
    assert!(warnings.iter().any(|one| one.to_string().contains("larger than")), "{warnings:?}");
}
