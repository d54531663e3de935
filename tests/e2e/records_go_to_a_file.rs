//! `log.access.file`: records in a file, over rotations, reloads and full disks.

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Record, Weir};

const PATIENCE: Duration = Duration::from_secs(10);

fn body(edge: &Port) -> String {
    format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, default_pool: main}}\npools:\n  - \
         {{name: main, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n",
        edge.addr()
    )
}

fn launch(edge: &Port, access: &str) -> Launch {
    Launch::new(tempfile::tempdir().unwrap(), body(edge)).level("info").access(access)
}

/// Connects without TLS, and waits for the end.
async fn connection(edge: &Port) {
    let mut stream = tcp(edge.addr()).await;
    stream.send(b"no TLS\r\n").await.unwrap();
    stream.rest().await;
}

/// The records in a file; none if there is no such file.
fn records(file: &Path) -> Vec<Record> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(Record::parse).collect()
}

async fn until(file: &Path, count: usize) -> Vec<Record> {
    eventually(PATIENCE, &format!("{count} records in {}", file.display()), async || {
        let records = records(file);
        if records.len() == count { Ok(records) } else { Err(format!("{}", records.len())) }
    })
    .await
}

async fn exists(file: &Path) {
    eventually(PATIENCE, &format!("{} is there", file.display()), async || {
        if file.exists() { Ok(()) } else { Err(String::new()) }
    })
    .await;
}

#[tokio::test]
async fn instead_of_standard_output() {
    let edge = Port::free();
    let mut weir = launch(&edge, "{file: access.log}").start().await;
    let file = weir.folder().join("access.log");
    connection(&edge).await;
    until(&file, 1).await[0].ended("not_tls", "client");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    // What is in it already stays.
    connection(&edge).await;
    assert!(weir.terminate().await.success());
    assert_eq!((records(&file).len(), weir.records().len()), (2, 0), "written before the end");
}

#[tokio::test]
async fn no_record_is_lost_around_rotations() {
    let edge = Port::free();
    let weir = launch(&edge, "{file: access.log}").start().await;
    let file = weir.folder().join("access.log");
    let mut files = vec![file.clone()];
    let mut all = 0;
    for round in 0..6 {
        let renamed = file.with_extension(format!("log.{round}"));
        let rotate = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            fs::rename(&file, &renamed).unwrap();
            if round % 2 == 0 {
                weir.signal(Signal::USR1);
            }
        };
        let load = async {
            for _ in 0..100 {
                connection(&edge).await;
            }
        };
        tokio::join!(load, rotate);
        all += 100;
        // By the signal, or by itself: also if no further record comes.
        exists(&file).await;
        files.push(renamed);
        eventually(PATIENCE, "each record is in one of the files", async || {
            let ids: Vec<String> = files
                .iter()
                .flat_map(|file| records(file))
                .map(|record| record.text("id").to_owned())
                .collect();
            let different: BTreeSet<&String> = ids.iter().collect();
            if (ids.len(), different.len()) == (all, all) {
                Ok(())
            } else {
                Err(format!("{} of {all}", ids.len()))
            }
        })
        .await;
    }
    assert_eq!(weir.metrics().await.sum("weir_access_records_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn a_removed_file_is_made_again() {
    let edge = Port::free();
    let weir = launch(&edge, "{file: access.log}").start().await;
    let file = weir.folder().join("access.log");
    connection(&edge).await;
    until(&file, 1).await;
    fs::remove_file(&file).unwrap();
    exists(&file).await;
    connection(&edge).await;
    until(&file, 1).await;
}

#[tokio::test]
async fn a_reload_changes_the_file_or_nothing() {
    let edge = Port::free();
    let weir = launch(&edge, "{file: a.log}").start().await;
    let folder = weir.folder().to_owned();
    let yaml = folder.join("weir.yaml");
    let rewritten = |access: &str| {
        let text = fs::read_to_string(&yaml).unwrap();
        let (before, after) = text.split_once("access: {").unwrap();
        let (_old, rest) = after.split_once('}').unwrap();
        fs::write(&yaml, format!("{before}access: {access}{rest}")).unwrap();
    };
    connection(&edge).await;
    until(&folder.join("a.log"), 1).await;
    rewritten("{file: no/folder/b.log}");
    let refused = reload(&weir, 422).await;
    assert!(refused.contains("weir.yaml:2:") && refused.contains("no/folder/b.log"), "{refused}");
    connection(&edge).await;
    until(&folder.join("a.log"), 2).await;
    rewritten("{file: b.log}");
    reload(&weir, 200).await;
    connection(&edge).await;
    until(&folder.join("b.log"), 1).await;
    rewritten("{open: true}");
    reload(&weir, 200).await;
    connection(&edge).await;
    weir.only_record().await;
    assert_eq!((records(&folder.join("a.log")).len(), records(&folder.join("b.log")).len()), (2, 1));
}

async fn reload(weir: &Weir, wanted: u16) -> String {
    let answer = weir_tests::http::request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, wanted, "{}", answer.body);
    answer.body
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_at_the_start() {
    for (file, why) in [("none/x.log", "No such file or directory"), (".", "it is no regular file")] {
        let failed = launch(&Port::free(), &format!("{{file: {file}}}")).fail().await;
        assert_ne!(failed.code, Some(0));
        assert!(failed.stderr.contains(why) && failed.stderr.contains("weir.yaml:2:"), "{}", failed.stderr);
    }
}

/// A full disk costs records, which are counted, and nothing else.
#[tokio::test]
async fn a_full_disk_is_counted() {
    let edge = Port::free();
    // Room for a few records.
    let limit = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=2048:2048", "--"];
    let weir = launch(&edge, "{file: access.log}").under(&limit).start().await;
    let file = weir.folder().join("access.log");
    for _ in 0..20 {
        connection(&edge).await;
    }
    eventually(PATIENCE, "some records are counted as lost", async || {
        let metrics = weir.metrics().await;
        let lost = metrics.count("weir_access_records_dropped_total", &[("reason", "write_failed")]);
        let text = fs::read_to_string(&file).unwrap();
        let whole = text.lines().filter(|line| line.ends_with('}')).count() as u64;
        if lost > 0 && lost + whole == 20 { Ok(()) } else { Err(format!("{lost} lost, {whole} written")) }
    })
    .await;
    // With space again, the next record is whole.
    fs::remove_file(&file).unwrap();
    exists(&file).await;
    connection(&edge).await;
    until(&file, 1).await;
}
