//! A log line about a connection carries the id of its record.

use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::world::{MODES, World};

#[tokio::test]
async fn every_debug_line_has_an_id() {
    for mode in MODES {
        let world = World::of(mode).start().await;
        for _ in 0..3 {
            let mut bad = tcp(world.edge).await;
            bad.send(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            bad.rest().await;
        }
        let records = world.weir.some_records(3).await;
        let ids: HashSet<String> = records.iter().map(|record| record.text("id").to_owned()).collect();
        let told = eventually(Duration::from_secs(10), "a line for each connection", async || {
            let log = world.weir.program.stderr.all();
            let lines: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let of_connections = |line: &&Value| line["message"] == "a connection ended early";
            let lines: Vec<Value> = lines.iter().filter(of_connections).cloned().collect();
            if lines.len() == 3 { Ok(lines) } else { Err(format!("{log:#?}")) }
        })
        .await;
        let named: HashSet<String> =
            told.iter().map(|line| line["span"]["id"].as_str().unwrap_or_default().to_owned()).collect();
        assert_eq!(named, ids, "{mode:?}: {told:#?}");
        world.weir.settle().await;
    }
}
