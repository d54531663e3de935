//! An operator's commands.

use super::*;

/// Runs a verb against a running weir.
async fn tell(weir: &Weir, words: &[&str]) -> Finished {
    let mut verb = command(words);
    verb.args(["--admin", &format!("http://{}", weir.admin())]);
    run(verb, b"", PATIENCE).await
}

/// Runs a verb that must succeed, and gives its output.
async fn done(weir: &Weir, words: &[&str]) -> String {
    let said = tell(weir, words).await;
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{words:?}: {}", said.both());
    said.stdout
}

#[tokio::test]
async fn the_status_says_which_backends_are_down_and_why() {
    let [a, b] = Patient::several(["a", "b"]).await;
    let world = over(&[a.entry(""), b.entry("")]).pool(CHECK).start().await;
    b.be(false);
    up(&world.weir, 1).await;
    let _held = hold(world.edge, 1).await;
    let status = done(&world.weir, &["status"]).await;
    let line =
        |name: &str| status.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{status}"));
    assert!(status.contains("serving, generation 1") && status.contains("1 of at most"), "{status}");
    assert!(
        line("edge").contains("passthrough") && line("edge").contains(&world.edge.to_string()),
        "{status}"
    );
    assert!(line("round_robin").contains("1 of 2"), "{status}");
    assert!(line(&a.backend.addr.to_string()).contains(" up "), "{status}");
    let down = line(&b.backend.addr.to_string());
    assert!(down.contains(" down ") && down.contains("answered 503"), "{status}");
    let json = done(&world.weir, &["status", "--format", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pools"][0]["backends"][1]["state"], "down", "{json}");
    // The configuration leads to it as well; without an answer, the command says so.
    let file = world.weir.folder().join("weir.yaml");
    let said = run(command(&["status", "-c", &file.display().to_string()]), b"", PATIENCE).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    let unused = Port::free();
    let nowhere = format!("http://{}", unused.addr());
    let said = run(command(&["status", "--admin", &nowhere]), b"", PATIENCE).await;
    assert_eq!((said.code, &*said.stdout), (Some(1), ""));
    assert!(said.stderr.contains(&nowhere) && said.stderr.contains("is weir running"), "{}", said.stderr);
}

#[tokio::test]
async fn the_status_says_why_traffic_fails_and_leaves_out_healthy_parts() {
    let [a] = Patient::several(["a"]).await;
    let dead = Port::free();
    let world = over(&[a.entry(""), format!("{{address: \"{}\"}}", dead.addr())])
        .pool("health_check: {type: none}")
        .pool("passive_check: null")
        .start()
        .await;
    assert!(!done(&world.weir, &["status"]).await.contains("failed"));
    assert_eq!(served_by(&world, 8).await, "a");
    let status = done(&world.weir, &["status"]).await;
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("connections failed in") && words.contains("Connection refused"), "{status}");
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");
    let json: Value =
        serde_json::from_str(&done(&world.weir, &["status", "--format", "json"]).await).unwrap();
    let [well, ill] = [0, 1].map(|n| &json["pools"][0]["backends"][n]["dial_failures"]);
    assert_eq!(well, &Value::Null);
    assert!((4..=8).contains(&ill["count"].as_u64().unwrap()), "{ill}");
    assert!(ill["since_seconds_ago"].as_f64() >= ill["last_seconds_ago"].as_f64(), "{ill}");

    assert!(done(&world.weir, &["status", "--down"]).await.contains("no backend is out of service"));
    let address = a.backend.addr.to_string();
    done(&world.weir, &["backend", "drain", "main", &address]).await;
    let down = done(&world.weir, &["status", "--down", "--pool", "main"]).await;
    assert!(down.contains(&address) && !down.contains(&dead.addr().to_string()), "{down}");
    let unknown = tell(&world.weir, &["status", "--pool", "mian"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("did you mean `main`?"), "{}", unknown.stderr);
}

#[tokio::test]
async fn the_status_says_how_long_certificates_are_valid() {
    let world = World::of(Mode::Offload).start().await;
    let status = done(&world.weir, &["status"]).await;
    let line = status.lines().find(|line| line.contains("weir.pem")).unwrap_or_else(|| panic!("{status}"));
    let json: Value =
        serde_json::from_str(&done(&world.weir, &["status", "--format", "json"]).await).unwrap();
    let days = json["certificates"][0]["days_left"].as_i64().unwrap();
    let end: jiff::Timestamp = json["certificates"][0]["not_after"].as_str().unwrap().parse().unwrap();
    assert_eq!(days, (end.as_second() - jiff::Timestamp::now().as_second()).div_euclid(86_400));
    assert!(line.contains("edge") && line.contains(&format!(" {days} ")), "{status}");
}

#[tokio::test]
async fn a_backend_is_drained_weighed_and_made_ready_from_the_command_line() {
    let [a, b] = Patient::several(["a", "b"]).await;
    let world = over(&[a.entry(""), b.entry("")]).pool("drain_timeout: 60s").start().await;
    let address = b.backend.addr.to_string();
    let mut open = hold(world.edge, 2).await;
    let said = done(&world.weir, &["backend", "drain", "main", &address]).await;
    assert!(said.contains(&address) && said.contains("drains") && said.contains("60s"), "{said}");
    assert_eq!(served_by(&world, 6).await, "a");
    for (_, stream) in &mut open {
        stream.send(b"y").await.unwrap();
        assert_eq!(stream.exactly(1).await.unwrap(), b"y", "those that it has go on");
    }
    assert!(done(&world.weir, &["status"]).await.contains("drained"));
    let said = done(&world.weir, &["backend", "ready", "main", &address]).await;
    assert!(said.contains(&address) && said.contains("up"), "{said}");
    let said = done(&world.weir, &["backend", "weight", "main", &address, "3"]).await;
    assert!(said.contains(&address) && said.contains("weight 3"), "{said}");
    assert_eq!(shares(&world, 40).await, [("a".into(), 10), ("b".into(), 30)].into());
    done(&world.weir, &["backend", "weight", "main", &address, "0"]).await;
    assert_eq!(served_by(&world, 6).await, "a");
    assert!(done(&world.weir, &["status"]).await.contains("0 by hand"));
    done(&world.weir, &["backend", "ready", "main", &address]).await;
    assert_eq!(served_by(&world, 6).await, "ab", "the weight by hand is taken back");

    for (words, code, why) in [
        (
            &["backend", "drain", "main", "nobody"][..],
            1,
            "there is no backend \"nobody\" in the pool \"main\"",
        ),
        (&["backend", "drain", "nowhere", &address], 1, "there is no pool \"nowhere\""),
        (&["backend", "weight", "main", &address, "65536"], 2, "65536"),
        (&["backend", "weight", "main", &address], 2, "<WEIGHT>"),
    ] {
        let said = tell(&world.weir, words).await;
        assert_eq!((said.code, &*said.stdout), (Some(code), ""), "{words:?}: {}", said.both());
        assert!(said.stderr.contains(why), "{words:?}: {}", said.stderr);
    }
    drop(open);
    world.weir.settle().await;
}

#[tokio::test]
async fn a_plan_tells_what_a_reload_then_does() {
    let [a, b, c] = Patient::several(["a", "b", "c"]).await;
    let world = over(&[a.entry(""), b.entry("")]).start().await;
    let open = hold(world.edge, 4).await;
    let file = world.weir.folder().join("weir.yaml");
    let old = std::fs::read_to_string(&file).unwrap();
    let (b, c) = (b.backend.addr.to_string(), c.backend.addr.to_string());
    let new = old.replace(&b, &c).replace("    health_check:", "    retries: 1\n    health_check:");
    let new_file = world.weir.folder().join("new.yaml");
    std::fs::write(&new_file, &new).unwrap();
    let generation = async || world.weir.metrics().await.count("weir_config_generation", &[]);

    let plan = done(&world.weir, &["plan", "-c", &new_file.display().to_string()]).await;
    for line in [
        &*format!("- backend main/{b}   2 connections drain"),
        &*format!("+ backend main/{c}"),
        "~ pool main: retries 2 → 1",
        "3 changes",
    ] {
        assert!(plan.lines().any(|said| said == line), "no {line}:\n{plan}");
    }
    let same = done(&world.weir, &["plan", "-c", &file.display().to_string()]).await;
    assert_eq!(same, "nothing differs from what runs\n");
    assert_eq!((generation().await, &*served_by(&world, 6).await), (1, "ab"), "a plan changes nothing");

    let bad = new.replace("    retries: 1", "    retrys: 1");
    std::fs::write(&new_file, &bad).unwrap();
    std::fs::write(&file, &bad).unwrap();
    let line = 1 + bad.lines().position(|line| line.contains("retrys")).unwrap();
    for words in [&["plan", "-c", &*new_file.display().to_string()][..], &["reload"]] {
        let said = tell(&world.weir, words).await;
        assert_eq!((said.code, &*said.stdout), (Some(1), ""), "{words:?}: {}", said.both());
        for part in [&*format!(".yaml:{line}:5"), "retrys", "did you mean `retries`?", "1 error"] {
            assert!(said.stderr.contains(part), "{words:?}: no {part}:\n{}", said.stderr);
        }
    }
    assert_eq!((generation().await, &*served_by(&world, 6).await), (1, "ab"), "nothing has changed");

    std::fs::write(&file, &new).unwrap();
    let reload = done(&world.weir, &["reload"]).await;
    for line in [
        &*format!("- backend main/{b}"),
        &*format!("+ backend main/{c}"),
        "~ pool main: retries 2 → 1",
        "generation 2: 3 changes",
    ] {
        assert!(reload.lines().any(|said| said == line), "no {line}:\n{reload}");
    }
    assert_eq!((generation().await, &*served_by(&world, 6).await), (2, "ac"));
    assert!(done(&world.weir, &["reload"]).await.contains("nothing differs"));
    drop(open);
    world.weir.settle().await;
}
