//! Files that change, are wrong, or vanish.

use super::*;

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let world = World::of(Mode::Passthrough).plain().start().await;
    let file = world.weir.folder().join("weir.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let mut held = world.connect().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let in_use = good.replace(&world.edge.to_string(), &taken.local_addr().unwrap().to_string());
    for (bad, why) in [
        (good.replace("mode: passthrough", "mode: pasthrough"), "pasthrough"),
        (in_use, "another process"),
        ("listeners: [".to_owned(), "not YAML"),
    ] {
        std::fs::write(&file, bad).unwrap();
        let answer = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    std::fs::remove_file(&file).unwrap();
    let answer = request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_config_last_reload_successful", &[]), 0);
    assert_eq!(metrics.count("weir_config_generation", &[]), 1);
    held.send(b"x").await.unwrap();
    assert_eq!(held.exactly(1).await.unwrap(), b"x");
    let mut new = world.connect().await;
    new.send(b"y").await.unwrap();
    assert_eq!(new.exactly(1).await.unwrap(), b"y");
    std::fs::write(&file, &good).unwrap();
    world.weir.signal(Signal::HUP);
    eventually(Duration::from_secs(20), "a SIGHUP reloads", async || {
        match world.weir.metrics().await.count("weir_config_generation", &[]) {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_watched_file_is_taken_without_a_command() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 1, watch: true").start().await;
    let (weir, edge) = (&world.weir, world.edge);
    let other = Backend::plain(Role::Named("other".to_owned())).await;
    let (old, new) = (world.backend.addr.to_string(), other.addr.to_string());
    let first = read(weir);
    let second = first.replace(&old, &new);
    // Written in place.
    std::fs::write(file(weir), &second).unwrap();
    takes(weir, 2).await;
    assert_eq!(tcp(edge).await.exactly(6).await.unwrap(), b"other\n");
    // Replaced in one step, as editors and deployments do.
    let aside = weir.folder().join("weir.yaml.new");
    std::fs::write(&aside, &first).unwrap();
    std::fs::rename(&aside, file(weir)).unwrap();
    takes(weir, 3).await;
    echoes(&mut tcp(edge).await).await;
    // Broken.
    std::fs::write(file(weir), second.replace("mode: passthrough", "mode: pasthrough")).unwrap();
    eventually(Duration::from_secs(20), "the log says why", async || match complaints(weir).as_slice() {
        [line] if line.contains("pasthrough") => Ok(()),
        lines => Err(format!("{lines:#?}")),
    })
    .await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.count("weir_config_last_reload_successful", &[]), 0);
    assert_eq!(metrics.count("weir_config_generation", &[]), 3);
    echoes(&mut tcp(edge).await).await;
    // weir looks at the file twice a second, and must say nothing more about a file that stays as it is.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    std::fs::write(file(weir), &second).unwrap();
    takes(weir, 4).await;
    assert_eq!(complaints(weir).len(), 1, "{:#?}", complaints(weir));
    assert_eq!(weir.metrics().await.count("weir_config_last_reload_successful", &[]), 1);
    assert_eq!(tcp(edge).await.exactly(6).await.unwrap(), b"other\n");
    // A change that turns watching off is the last one to be taken automatically.
    std::fs::write(file(weir), first.replace(", watch: true", "")).unwrap();
    takes(weir, 5).await;
    std::fs::write(file(weir), &second).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(weir.metrics().await.count("weir_config_generation", &[]), 5);
}

#[tokio::test]
async fn changed_and_new_included_files_are_taken() {
    for watched in [false, true] {
        let runtime = if watched { "workers: 1, watch: true" } else { "workers: 1" };
        let (one, two) = (named("one").await, named("two").await);
        let (edge, late) = (Port::free(), Port::free());
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("conf.d");
        std::fs::create_dir(&parts).unwrap();
        let pool = |backend: &Backend| {
            format!(
                "pools: [{{name: main, backends: [\"{}\"], health_check: {{type: none}}}}]\n",
                backend.addr
            )
        };
        let listener = |name: &str, port: &Port| {
            format!(
                "listeners: [{{name: {name}, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}]\n",
                port.addr()
            )
        };
        std::fs::write(parts.join("pool.yaml"), pool(&one)).unwrap();
        let body = format!("include: [\"conf.d/*.yaml\"]\n{}", listener("edge", &edge));
        let weir = Launch::new(folder, body).runtime(runtime).start().await;
        let take = async |generation| {
            if !watched {
                let answer = post_reload(&weir).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            takes(&weir, generation).await;
        };
        assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"one\n");
        std::fs::write(parts.join("pool.yaml"), pool(&two)).unwrap();
        take(2).await;
        assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"two\n");
        std::fs::write(parts.join("late.yaml"), listener("late", &late)).unwrap();
        take(3).await;
        assert_eq!(tcp(late.addr()).await.exactly(4).await.unwrap(), b"two\n");
        std::fs::remove_file(parts.join("late.yaml")).unwrap();
        take(4).await;
        refuses(late.addr()).await;
        assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"two\n");
    }
}

#[tokio::test]
async fn a_lost_folder_takes_nothing_out_of_service() {
    let one = named("one").await;
    let edge = Port::free();
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    let pool =
        format!("pools: [{{name: late, backends: [\"{}\"], health_check: {{type: none}}}}]\n", one.addr);
    let listener = format!(
        "listeners: [{{name: late, address: \"{}\", mode: passthrough, peek: false, default_pool: late}}]\n",
        edge.addr()
    );
    std::fs::write(parts.join("late.yaml"), pool + &listener).unwrap();
    let other = Port::free();
    let body = format!(
        "include: [\"conf.d/*.yaml\"]\n\
         listeners: [{{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}]\n\
         pools: [{{name: main, backends: [\"{}\"], health_check: {{type: none}}}}]\n",
        other.addr(),
        one.addr
    );
    let weir = Launch::new(folder, body).runtime("workers: 1, watch: true").start().await;
    assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"one\n");
    let (parts, away) = (weir.folder().join("conf.d"), weir.folder().join("away"));
    std::fs::rename(&parts, &away).unwrap();
    eventually(Duration::from_secs(20), "the log says why", async || match complaints(&weir).as_slice() {
        [line] if line.contains("is gone") => Ok(()),
        lines => Err(format!("{lines:#?}")),
    })
    .await;
    assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"one\n");
    // An operator's command does not take it either, however often it is repeated.
    assert_eq!(post_reload(&weir).await.status, 422);
    assert_eq!(post_reload(&weir).await.status, 422);
    assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"one\n");
    std::fs::rename(&away, &parts).unwrap();
    takes(&weir, 2).await;
    // A file removed from a folder that exists is a change that the operator wanted.
    std::fs::remove_file(parts.join("late.yaml")).unwrap();
    takes(&weir, 3).await;
    refuses(edge.addr()).await;
}

async fn named(name: &str) -> Backend {
    Backend::plain(Role::Named(name.to_owned())).await
}

#[tokio::test]
async fn a_second_reload_at_once_is_told_to_wait() {
    let world = World::of(Mode::Passthrough).plain().start().await;
    let (weir, text) = (&world.weir, read(&world.weir));
    // A DNS server that never answers holds a reload up for two seconds.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let slow = text
        .replace("workers: 1", &format!("resolvers: [\"{}\"], workers: 1", silent.local_addr().unwrap()))
        .replace("backends: [", "backends: [\"nobody.example.test:1\", ");
    std::fs::write(file(weir), &slow).unwrap();
    let first = async { post_reload(weir).await };
    let second = async {
        // The first reload is under way once it asks the DNS server.
        silent.recv_from(&mut [0; 512]).await.unwrap();
        let busy = post_reload(weir).await;
        echoes(&mut world.connect().await).await;
        weir.signal(Signal::HUP);
        busy
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(second.status, 409, "{}", second.body);
    assert!(
        second.body.contains("another reload, or an upgrade, is under way; try again"),
        "{}",
        second.body
    );
    // The refused reload has changed nothing; the SIGHUP has waited and is not lost.
    takes(weir, 3).await;
    assert!(complaints(weir).is_empty(), "{:#?}", complaints(weir));
    echoes(&mut world.connect().await).await;
}

#[tokio::test]
async fn a_file_that_is_gone_or_no_file_changes_nothing() {
    let world = World::of(Mode::Offload).start().await;
    let (weir, text) = (&world.weir, read(&world.weir));
    let mut held = world.connect().await;
    let path = file(weir);
    let mut refused = async |why: &[&str]| {
        let answer = tokio::time::timeout(Duration::from_secs(10), post_reload(weir)).await.unwrap();
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(why.iter().all(|why| answer.body.contains(why)), "{why:?} is not in {}", answer.body);
        let metrics = weir.metrics().await;
        assert_eq!(metrics.count("weir_config_last_reload_successful", &[]), 0);
        assert_eq!(metrics.count("weir_config_generation", &[]), 1);
        echoes(&mut held).await;
        echoes(&mut world.connect().await).await;
    };
    std::fs::remove_file(&path).unwrap();
    refused(&["weir.yaml", "No such file"]).await;
    std::fs::create_dir(&path).unwrap();
    refused(&["weir.yaml", "directory"]).await;
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(weir.folder().join("nowhere"), &path).unwrap();
    refused(&["weir.yaml", "No such file"]).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    refused(&["weir.yaml", "empty"]).await;
    // The main file exists, but a file that it names does not.
    std::fs::write(&path, format!("include: [gone.yaml]\n{text}")).unwrap();
    refused(&["gone.yaml"]).await;
    std::fs::create_dir(weir.folder().join("gone.yaml")).unwrap();
    refused(&["gone.yaml", "is a folder"]).await;
    std::fs::write(&path, &text).unwrap();
    std::fs::rename(weir.folder().join("weir.key"), weir.folder().join("aside")).unwrap();
    refused(&["weir.key"]).await;
    std::fs::rename(weir.folder().join("aside"), weir.folder().join("weir.key")).unwrap();
    assert_eq!(post_reload(weir).await.status, 200);
    takes(weir, 2).await;
    echoes(&mut held).await;
}

/// The file vanishes, is cut short, and is back again, at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_vanishes_midway_is_taken_whole_or_not_at_all() {
    let world = World::of(Mode::Offload).start().await;
    let (weir, text) = (&world.weir, read(&world.weir));
    let included = weir.folder().join("more.yaml");
    let more = "pools: [{name: more, backends: [\"127.0.0.1:1\"], health_check: {type: none}}]\n";
    std::fs::write(file(weir), format!("include: [more.yaml]\n{text}")).unwrap();
    std::fs::write(&included, more).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let vandal = tokio::spawn(async move {
        let aside = included.with_extension("aside");
        while !stop.load(Ordering::Relaxed) {
            std::fs::remove_file(&included).unwrap();
            for text in ["pools: [{name: mo", more] {
                tokio::time::sleep(Duration::from_millis(1)).await;
                std::fs::write(&aside, text).unwrap();
                std::fs::rename(&aside, &included).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut held = world.connect().await;
    let (mut taken, mut refused) = (0, 0);
    let begun = Instant::now();
    while (taken < 20 || refused < 20) && begun.elapsed() < Duration::from_secs(60) {
        let answer = post_reload(weir).await;
        match answer.status {
            200 => taken += 1,
            422 => {
                assert!(answer.body.contains("more.yaml"), "{}", answer.body);
                refused += 1;
            }
            _ => panic!("{} {}", answer.status, answer.body),
        }
        let pools: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
        let names: Vec<_> =
            pools["pools"].as_array().unwrap().iter().map(|pool| pool["name"].clone()).collect();
        let whole = if taken == 0 { vec!["main"] } else { vec!["main", "more"] };
        assert_eq!(names, whole, "after {taken} taken and {refused} refused: {}", answer.body);
        assert_eq!(weir.metrics().await.count("weir_config_generation", &[]), 1 + taken);
        echoes(&mut held).await;
    }
    over.store(true, Ordering::Relaxed);
    vandal.await.unwrap();
    eprintln!("{taken} reloads were taken whole, {refused} were refused");
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}
