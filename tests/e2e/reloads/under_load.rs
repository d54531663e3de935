//! Reloads under traffic: clients that are connected, that connect, or that are in between do not notice
//! them.

use super::*;

/// How many reloads; `make soak` has more.
fn reloads() -> usize {
    std::env::var("WEIR_RELOADS").map_or(200, |text| text.parse().unwrap())
}

/// Connections that live through all reloads, a third of them on each listener.
pub(super) const LIVE: usize = 300;
/// New connections every [`TICK`], one on each listener: 300 a second.
const TICK: Duration = Duration::from_millis(10);
/// The most new connections that have not ended: no more are opened then, so that a slow machine has a lower
/// rate.
const AT_ONCE: usize = 200;
/// New connections between two reloads. So the number of connections that meet each reload does not depend on the
/// machine's speed; at 300 a second there are five reloads a second.
const BETWEEN: usize = 60;
/// Most bytes of a new connection's body, each way.
const BODY: u32 = 128 << 10;

/// A weir with the scene's configuration, and all results of its clients.
pub(super) struct Traffic {
    pub(super) scene: Scene,
    pub(super) weir: Weir,
    /// `runtime`, `log` and `admin` of its configuration.
    head: String,
    /// The last generation asked for, and the last one in force when the answer had come.
    asked: AtomicUsize,
    pub(super) in_force: AtomicUsize,
    pub(super) begun: AtomicUsize,
    pub(super) served: AtomicUsize,
    /// Connections by what weir did with TLS.
    modes: [AtomicUsize; 3],
    resumed: AtomicUsize,
    /// Connections to the extra listener that came while it went away.
    turned_away: AtomicUsize,
    /// Exchanges over the connections that live through all.
    exchanges: AtomicUsize,
    pub(super) over: AtomicBool,
    failures: Mutex<Vec<String>>,
    room: Arc<Semaphore>,
    remembering: TlsClient,
    forgetful: TlsClient,
}

impl Traffic {
    pub(super) async fn start() -> Arc<Self> {
        let scene = Scene::new().await;
        let body = scene.yaml(1);
        let weir = Launch::new(scene.folder(), body.clone())
            .runtime("workers: 2, drain_timeout: 3600s")
            .level("info")
            .start()
            .await;
        let text = std::fs::read_to_string(weir.folder().join("weir.yaml")).unwrap();
        let head = text.strip_suffix(&body).unwrap().to_owned();
        let remembering = scene.identities.client();
        let forgetful = scene.identities.client().forgetful();
        Arc::new(Self {
            scene,
            weir,
            head,
            asked: AtomicUsize::new(1),
            in_force: AtomicUsize::new(1),
            begun: AtomicUsize::default(),
            served: AtomicUsize::default(),
            modes: Default::default(),
            resumed: AtomicUsize::default(),
            turned_away: AtomicUsize::default(),
            exchanges: AtomicUsize::default(),
            over: AtomicBool::default(),
            failures: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            remembering,
            forgetful,
        })
    }

    fn addr(&self, listener: usize) -> SocketAddr {
        self.scene.doors.get(listener).unwrap_or(&self.scene.extra).addr()
    }

    fn fail(&self, why: String) {
        self.failures.lock().unwrap().push(why);
    }

    /// All connections, in words.
    pub(super) fn figures(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let [passthrough, offload, bridging] = self.modes.each_ref().map(of);
        format!(
            "{} new connections; {passthrough} passthrough, {offload} offload, {bridging} bridging, {} resumed, {} turned \
             away by a listener that went; {} exchanges over {LIVE} live connections",
            of(&self.begun),
            of(&self.resumed),
            of(&self.turned_away),
            of(&self.exchanges),
        )
    }

    /// Asserts that no client and no backend has seen an error.
    pub(super) fn check(&self) {
        let failures = self.failures.lock().unwrap();
        let faults: Vec<_> = self.scene.keepers().flat_map(|keeper| keeper.faults()).collect();
        let (one, two) = (&failures[..failures.len().min(10)], &faults[..faults.len().min(10)]);
        assert!(
            failures.is_empty() && faults.is_empty(),
            "{} failures: {one:#?}\n{} faults: {two:#?}\n{}",
            failures.len(),
            faults.len(),
            self.weir.program.stderr.text()
        );
    }

    /// Puts the next generation of the scene in force.
    async fn reload(&self) -> usize {
        let generation = self.write_next(&self.head);
        let answer = post_reload(&self.weir).await;
        assert_eq!(answer.status, 200, "generation {generation}: {}", answer.body);
        self.in_force.store(generation, Ordering::SeqCst);
        generation
    }

    /// Has a new process put the next generation of the scene in force, with another number of workers.
    pub(super) async fn upgrade(&self) -> usize {
        let workers = [1, 3, 2][self.asked.load(Ordering::SeqCst) % 3];
        let generation = self.write_next(&self.head.replace("workers: 2", &format!("workers: {workers}")));
        let answer = self.weir.upgrade().await;
        assert_eq!(answer.status, 200, "generation {generation}: {}", answer.body);
        // The workers of the old process stop accepting a moment after its answer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.in_force.store(generation, Ordering::SeqCst);
        generation
    }

    /// Writes the next generation of the scene.
    fn write_next(&self, head: &str) -> usize {
        let generation = self.asked.load(Ordering::SeqCst) + 1;
        let yaml = format!("{head}{}", self.scene.yaml(generation));
        std::fs::write(self.weir.folder().join("weir.yaml"), yaml).unwrap();
        self.asked.store(generation, Ordering::SeqCst);
        generation
    }

    /// Makes one connection to a listener; a plan that was in force while it was opened must serve it. `None`
    /// when it failed.
    async fn open(&self, listener: usize, seed: usize, ask: Ask) -> Option<Served> {
        let name = NAMES[seed % NAMES.len()];
        let client = if seed.is_multiple_of(2) { &self.remembering } else { &self.forgetful };
        let first = self.in_force.load(Ordering::SeqCst);
        let mut last = usize::MAX;
        let connected = || last = self.asked.load(Ordering::SeqCst);
        let served = visit(client, &self.scene, (self.addr(listener), name), ask, connected).await;
        let asked = self.asked.load(Ordering::SeqCst);
        match served {
            Ok(served) => {
                if !(first..=asked).any(|plan| self.scene.allows(plan, listener, name, &served)) {
                    self.fail(format!(
                        "{name} at listener {listener} in generations {first} to {asked}: {served:?}"
                    ));
                }
                let mode = MODES.iter().position(|mode| *mode == served.mode).unwrap();
                self.modes[mode].fetch_add(1, Ordering::Relaxed);
                self.resumed.fetch_add(usize::from(served.certificate.is_none()), Ordering::Relaxed);
                Some(served)
            }
            // The connection came while the listener went away.
            Err(failure)
                if listener == 3
                    && failure.stage != "exchange"
                    && !(first..=last.min(asked)).all(Scene::has_extra) =>
            {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(failure) => {
                self.fail(format!("listener {listener}, generations {first} to {asked}: {failure:?}"));
                None
            }
        }
    }

    /// A connection that comes, has one exchange, perhaps pauses in the middle of it, and goes.
    pub(super) async fn come_and_go(self: Arc<Self>, listener: usize, seed: usize) {
        let length = |step: usize| (seed * step) as u32 % BODY;
        // Some are in the middle of their bodies when the plan changes, even several times.
        let pause = if seed % 10 == 3 { Duration::from_millis(seed as u64 % 1000) } else { Duration::ZERO };
        let ask = Ask { seed: seed as u64, up: length(7919), down: length(104_729), pause };
        let Some(served) = self.open(listener, seed, ask).await else { return };
        match leave(served.stream).await {
            Ok(()) => _ = self.served.fetch_add(1, Ordering::Relaxed),
            Err(failure) => self.fail(format!("listener {listener}: {failure:?}")),
        }
    }

    /// New connections, at all listeners, until it is over; then waits for the last of them.
    pub(super) async fn flow(self: Arc<Self>, stop: Arc<AtomicBool>) {
        let mut running = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let extra = Scene::has_extra(self.in_force.load(Ordering::SeqCst));
            for listener in 0..3 + usize::from(extra && self.begun.load(Ordering::Relaxed) % 10 < 3) {
                let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { continue };
                let seed = self.begun.fetch_add(1, Ordering::Relaxed);
                let traffic = Arc::clone(&self);
                running.spawn(async move {
                    traffic.come_and_go(listener, seed).await;
                    drop(permit);
                });
            }
            while running.try_join_next().is_some() {}
        }
        running.join_all().await;
    }

    /// A connection that lives until the traffic is over, and is used all the time.
    async fn live(self: Arc<Self>, mut stream: Stream, mut seed: u64) {
        loop {
            let over = self.over.load(Ordering::Relaxed);
            seed += 1_000_003;
            let most = if over { BODY } else { 8 << 10 };
            let ask =
                Ask { seed, up: seed as u32 % most, down: (seed / 7) as u32 % most, pause: Duration::ZERO };
            if let Err(error) = exchange(&mut stream, ask).await {
                return self.fail(format!("a connection that was open all the time: {error}"));
            }
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            if over {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500 + seed % 1000)).await;
        }
        if let Err(failure) = leave(stream).await {
            self.fail(format!("a connection that was open all the time: {failure:?}"));
        }
    }

    /// Reloads under new connections until this generation is in force; then waits until those have ended.
    /// Gives how many came in a second.
    pub(super) async fn reload_until(self: &Arc<Self>, generation: usize, lives: &mut JoinSet<()>) -> f64 {
        let (start, before) = (Instant::now(), self.begun.load(Ordering::Relaxed));
        let stop = Arc::new(AtomicBool::new(false));
        let flow = tokio::spawn(Arc::clone(self).flow(Arc::clone(&stop)));
        while self.in_force.load(Ordering::SeqCst) < generation {
            let next = self.begun.load(Ordering::Relaxed) + BETWEEN;
            eventually_true(Duration::from_secs(60), "new connections come", || {
                self.begun.load(Ordering::Relaxed) >= next
            })
            .await;
            let now = self.reload().await;
            self.check();
            // The listener that goes next has lasting connections. Only a few: each keeps its whole plan.
            if [4, 8, 12].contains(&now) {
                self.stay(3, now, lives).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let rate = (self.begun.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
        flow.await.unwrap();
        self.check();
        rate
    }

    /// Opens a connection that lives until the traffic is over.
    pub(super) async fn stay(self: &Arc<Self>, listener: usize, seed: usize, lives: &mut JoinSet<()>) {
        let ask = Ask { seed: seed as u64, up: 1000, down: 1000, pause: Duration::ZERO };
        let served = self.open(listener, seed, ask).await;
        self.check();
        lives.spawn(Arc::clone(self).live(served.unwrap().stream, seed as u64));
    }
}

/// The fewest descriptors seen over a while: health checks and scrapes come and go.
async fn descriptors(weir: &Weir) -> usize {
    let mut least = usize::MAX;
    for _ in 0..50 {
        least = least.min(weir.fds());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    least
}

fn threads(weir: &Weir) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap().count()
}

fn children(weir: &Weir) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap();
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_lost_and_nothing_is_left_behind() {
    let traffic = Traffic::start().await;
    let weir = &traffic.weir;
    for (seed, listener) in [0, 1, 2, 3].repeat(5).into_iter().enumerate() {
        Arc::clone(&traffic).come_and_go(listener, seed).await;
    }
    traffic.check();
    weir.settle().await;
    let (fds, tasks) = (descriptors(weir).await, threads(weir));

    let start = Instant::now();
    let mut lives = JoinSet::new();
    for seed in 0..LIVE {
        traffic.stay(seed % 3, seed, &mut lives).await;
    }
    let opened = start.elapsed();
    // The extra listener has a connection all the time, so its series stay and the books can be checked at
    // the end.
    traffic.stay(3, LIVE, &mut lives).await;
    // The last generation must have the listeners of the first.
    let last = reloads().next_multiple_of(4) + 1;
    let start = Instant::now();
    let first_rate = traffic.reload_until(last / 5, &mut lives).await;
    let early = weir.resident();
    let rate = traffic.reload_until(last, &mut lives).await;
    let late = weir.resident();
    let took = start.elapsed();
    let known =
        eventually(Duration::from_secs(10), "generations without connections are forgotten", async || {
            let known = generations(weir).await;
            let idle = known.iter().filter(|(number, open)| *open == 0 && *number != last as u64).count();
            if idle == 0 { Ok(known) } else { Err(format!("{known:?}")) }
        })
        .await;
    assert_eq!(known[0], (1, LIVE as u64 + 1), "all that were there at the start live on");

    traffic.over.store(true, Ordering::Relaxed);
    lives.join_all().await;
    traffic.check();
    let after = weir.resident();
    eprintln!(
        "{} reloads in {took:.1?} ({LIVE} opened in {opened:.1?} before), {first_rate:.0} and {rate:.0} new connections a \
         second: {}; {early} KiB after a fifth, {late} at the end, {after} after the last connection",
        last - 1,
        traffic.figures(),
    );
    let metrics = weir.settle().await;
    let records = weir.records();
    let odd: Vec<_> = records.iter().filter(|record| record.outcome() != "ok").collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert_eq!(metrics.count("weir_access_records_dropped_total", &[]), 0);
    assert_eq!(metrics.count("weir_retries_total", &[]), 0);
    assert_eq!(metrics.count("weir_config_generation", &[]), last as u64);
    assert!(
        late.saturating_sub(early) < 6 * 1024,
        "{early} KiB after a fifth of the reloads, {late} after all"
    );
    eventually(Duration::from_secs(40), "descriptors, threads and generations are back", async || {
        let (now, tasks_now, known) = (weir.fds(), threads(weir), generations(weir).await);
        match now <= fds && tasks_now == tasks && known == [(last as u64, 0)] {
            true => Ok(()),
            false => Err(format!(
                "{now} descriptors, {fds} at the start; {tasks_now} threads, {tasks} at the start; {known:?}"
            )),
        }
    })
    .await;
    assert_eq!(children(weir), "", "weir is one process");
}
