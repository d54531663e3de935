//! What all workers and the control plane share: the plan in force, the counters, the limits on connections, and
//! where the process is in its life.

use crate::handoff::WorkerLoads;
use crate::sockets::SocketRegistry;
use arc_swap::{ArcSwap, Guard};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;
use weir_core::account::failures::Failures;
use weir_core::bandwidth::Bandwidth;
use weir_core::clients::Clients;
use weir_core::gate::Gate;
use weir_core::limits::{PendingTotal, Permits};
use weir_core::plan::{ListenAddress, Listener, Plan, Recording};
use weir_core::rates::Rates;
use weir_log::throttle::LogThrottle;
use weir_metrics::Metrics;

/// What all workers and the control plane share.
#[derive(Debug)]
pub struct Node {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Permits for connections of the process.
    pub permits: Permits,
    /// Closed while the process holds too much memory: then no connection is accepted.
    pub memory: Gate,
    /// How many workers there are.
    pub workers: usize,
    /// Where the process listens.
    pub sockets: SocketRegistry,
    /// The last early ends of connections.
    pub failures: Arc<Failures>,
    /// The open connections of each client.
    pub clients: Arc<Clients>,
    /// The rates of clients.
    pub rates: Arc<Rates>,
    /// When the process started.
    pub started: Instant,
    /// When to warn that nothing can be accepted.
    pub(crate) cannot_accept: LogThrottle,
    /// What each worker has.
    pub(crate) loads: WorkerLoads,
    in_force: ArcSwap<InForce>,
    past: Mutex<Past>,
    /// Announces every plan.
    generation: watch::Sender<u64>,
    phase: watch::Sender<Phase>,
    /// When the first phase after [`Phase::Serving`] began.
    leaving: OnceLock<Instant>,
    /// The first 64 bits of its connections' identifiers, in place.
    boot: u128,
}

/// The plan in force and what its sockets share, swapped together.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) plan: Arc<Plan>,
    acceptors: HashMap<ListenAddress, ListenerState>,
}

impl InForce {
    /// What the sockets of an address share.
    pub(crate) fn acceptor(&self, address: &ListenAddress) -> Option<&ListenerState> {
        self.acceptors.get(address)
    }
}

/// Past plans and listeners that connections still have.
#[derive(Debug, Default)]
struct Past {
    /// The current generation is the last.
    generations: Vec<Arc<Generation>>,
    listeners: Vec<(Arc<str>, Weak<ListenerLimits>)>,
}

/// One plan's connections.
#[derive(Debug)]
pub struct Generation {
    /// The plan's number, from 1.
    pub number: u64,
    pub(crate) open: AtomicUsize,
    /// Whether its connections have been told to end.
    outdated: AtomicBool,
}

/// How many past generations may have connections. Each keeps the pools that its connections use: their backends, and
/// up to half a MiB of hash table for each pool that balances by a hash.
pub const PAST_GENERATIONS: usize = 64;

/// What a new plan has left out.
#[derive(Debug, Default)]
pub struct Dropped {
    /// Addresses that are no longer listened on.
    pub addresses: Vec<ListenAddress>,
    /// Listeners whose connections drain.
    pub listeners: Vec<Arc<ListenerLimits>>,
}

/// How often weir warns that it cannot accept connections.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// A listener's limits on connections. They outlive plans, so that they hold over a reload.
#[derive(Debug)]
pub struct ListenerLimits {
    /// The listener's name.
    pub name: Arc<str>,
    pub(crate) permits: Permits,
    pub(crate) pending: PendingTotal,
    pub(crate) bandwidth: Arc<Bandwidth>,
    returns: AtomicU32,
}

impl ListenerLimits {
    /// The number of a drain of the listener that begins now: higher after each return of the listener.
    pub fn drain_number(&self) -> u32 {
        self.returns.load(Ordering::Relaxed)
    }
}

/// What the sockets of one listener share, on all workers.
#[derive(Clone, Debug)]
pub(crate) struct ListenerState {
    pub(crate) listener: Arc<Listener>,
    pub(crate) limits: Arc<ListenerLimits>,
    pub(crate) generation: Arc<Generation>,
    /// Which records of its connections are written.
    pub(crate) recording: Recording,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Listening.
    Serving,
    /// Still listening but no longer ready, so that load balancers in front notice first.
    Leaving,
    /// No longer listening; open connections may go on until `over`.
    Draining {
        /// When it began.
        since: Instant,
        /// When the last connections will have been closed.
        over: Instant,
    },
}

impl Node {
    /// A node with `plan` in force, and permits for `max_connections` clients.
    pub fn new(plan: Arc<Plan>, metrics: Arc<Metrics>, max_connections: usize) -> Arc<Self> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (workers, generation) = (plan.runtime.workers, watch::Sender::new(plan.generation));
        let mut past = Past::default();
        let in_force = force(plan, &HashMap::new(), &mut past);
        Arc::new(Self {
            clients: Arc::new(Clients::new(metrics.clients())),
            rates: Arc::new(Rates::new(metrics.rates())),
            metrics,
            permits: Permits::new(max_connections),
            memory: Gate::default(),
            workers,
            sockets: SocketRegistry::default(),
            failures: Arc::default(),
            started: Instant::now(),
            cannot_accept: LogThrottle::new(1, WARN_EVERY),
            loads: WorkerLoads::new(workers),
            in_force: ArcSwap::from_pointee(in_force),
            past: Mutex::new(past),
            generation,
            phase: watch::Sender::new(Phase::Serving),
            leaving: OnceLock::new(),
            boot: boot(since_1970, fastrand::u16(..)),
        })
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.in_force.load().plan)
    }

    /// Puts another plan in force, in one store. Connections keep the plan that they began with.
    pub fn install(&self, plan: Arc<Plan>) -> Dropped {
        let mut past = self.past();
        let before = self.in_force.load_full();
        let after = force(plan, &before.acceptors, &mut past);
        let mut dropped = Dropped::default();
        for (address, shared) in &before.acceptors {
            if !after.acceptors.contains_key(address) {
                dropped.addresses.push(address.clone());
            }
            let limits = &shared.limits;
            let stays = after.acceptors.values().any(|s| Arc::ptr_eq(&s.limits, limits));
            if !stays && !dropped.listeners.iter().any(|l| Arc::ptr_eq(l, limits)) {
                dropped.listeners.push(Arc::clone(limits));
                past.listeners.push((Arc::clone(&limits.name), Arc::downgrade(limits)));
            }
        }
        let generation = after.plan.generation;
        self.in_force.store(Arc::new(after));
        self.generation.send_replace(generation);
        dropped
    }

    /// Gives up a plan that was never in force: the series of its listeners go at the next [`Node::sweep`], unless they
    /// are in force or have connections.
    pub fn abandon(&self, plan: &Plan) {
        self.past().listeners.extend(plan.listeners.iter().map(|l| (Arc::clone(&l.name), Weak::new())));
    }

    /// Announces every plan that is put in force.
    pub fn plans(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The state that workers read for each connection.
    pub(crate) fn in_force(&self) -> Guard<Arc<InForce>> {
        self.in_force.load()
    }

    /// Open connections by the generation of the plan that they began with, the current one last.
    pub fn generations(&self) -> Vec<(u64, usize)> {
        self.past().generations.iter().map(|g| (g.number, g.open.load(Ordering::Relaxed))).collect()
    }

    /// The oldest generations with connections, in excess of [`PAST_GENERATIONS`]. Each is returned once.
    pub fn outdated(&self) -> Vec<Arc<Generation>> {
        let past = self.past();
        let Some((_current, generations)) = past.generations.split_last() else { return Vec::new() };
        let open = |g: &&Arc<Generation>| g.open.load(Ordering::Relaxed) > 0;
        let too_many = generations.iter().filter(open).count().saturating_sub(PAST_GENERATIONS);
        let oldest = generations.iter().filter(open).take(too_many);
        oldest.filter(|g| !g.outdated.swap(true, Ordering::Relaxed)).cloned().collect()
    }

    /// Forgets generations and listeners that have no connection any more.
    pub fn sweep(&self) {
        let plan = self.plan();
        let mut past = self.past();
        let open = |g: &Arc<Generation>| g.number == plan.generation || g.open.load(Ordering::Relaxed) > 0;
        past.generations.retain(open);
        // A listener that came back and went again has several limits under its name.
        let all = past.listeners.drain(..);
        let (alive, gone): (Vec<_>, Vec<_>) = all.partition(|(_, limits)| limits.strong_count() > 0);
        let stay: HashSet<&str> =
            plan.listeners.iter().map(|l| &*l.name).chain(alive.iter().map(|(name, _)| &**name)).collect();
        let gone: HashSet<&str> = gone.iter().map(|(name, _)| &**name).collect();
        self.metrics.forget_listeners(&gone.difference(&stay).copied().collect());
        past.listeners = alive;
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the process is in its life.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Announces every change of phase.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// When the process was told to end; `None` before that.
    pub fn leaving_since(&self) -> Option<Instant> {
        self.leaving.get().copied()
    }

    /// A count for each worker, which it moves on some times a second for as long as it works.
    pub fn worker_ticks(&self) -> Vec<u64> {
        self.loads.ticks()
    }

    /// Client connections open now.
    pub fn open(&self) -> usize {
        self.generations().iter().map(|(_, open)| open).sum()
    }

    /// Enters the next phase of the process's life.
    pub fn enter(&self, phase: Phase) {
        if phase != Phase::Serving {
            self.leaving.get_or_init(Instant::now);
        }
        if matches!(phase, Phase::Draining { .. }) {
            // First: a worker that has given its sockets back has closed them.
            self.sockets.close();
        }
        self.phase.send_replace(phase);
    }

    /// A connection's identifier, 128 bits: when the process started, in milliseconds since 1970 (48), a random number
    /// (16), the worker (16), its count of connections (48). Two connections, on this node or another, share one only
    /// if two processes start in the same millisecond and draw the same number.
    pub(crate) fn connection_id(&self, worker: usize, number: u64) -> u128 {
        self.boot | (worker as u128 & 0xffff) << 48 | u128::from(number & 0xffff_ffff_ffff)
    }
}

fn boot(since_1970: Duration, random: u16) -> u128 {
    (since_1970.as_millis() & 0xffff_ffff_ffff) << 80 | u128::from(random) << 64
}

/// Prepares a plan for its use: listeners keep their limits, found by name, and a listener that comes back while it still
/// has connections finds the limits that count them.
fn force(plan: Arc<Plan>, before: &HashMap<ListenAddress, ListenerState>, past: &mut Past) -> InForce {
    let generation = Arc::new(Generation {
        number: plan.generation,
        open: AtomicUsize::new(0),
        outdated: AtomicBool::new(false),
    });
    past.generations.push(Arc::clone(&generation));
    let known: HashMap<&str, &Arc<ListenerLimits>> =
        before.values().map(|s| (&*s.limits.name, &s.limits)).collect();
    let mut acceptors = HashMap::new();
    for listener in &plan.listeners {
        let living = || {
            let mut of_its_name = past.listeners.iter().rev().filter(|(name, _)| *name == listener.name);
            let limits = of_its_name.find_map(|(_, limits)| limits.upgrade())?;
            limits.returns.fetch_add(1, Ordering::Relaxed);
            Some(limits)
        };
        let limits = match known.get(&*listener.name).map(|limits| Arc::clone(limits)).or_else(living) {
            Some(limits) => {
                limits.permits.set_limit(listener.max_connections);
                limits.pending.set_limit(listener.pending);
                limits.bandwidth.set(listener.bandwidth);
                limits
            }
            None => Arc::new(ListenerLimits {
                name: Arc::clone(&listener.name),
                permits: Permits::new(listener.max_connections),
                pending: PendingTotal::new(listener.pending),
                bandwidth: Arc::new(Bandwidth::new(listener.bandwidth)),
                returns: AtomicU32::new(0),
            }),
        };
        let shared = ListenerState {
            listener: Arc::clone(listener),
            limits,
            generation: Arc::clone(&generation),
            recording: plan.log.access,
        };
        acceptors.extend(listener.all_addresses().map(|a| (a.clone(), shared.clone())));
    }
    InForce { plan, acceptors }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use weir_core::bandwidth::Speeds;
    use weir_core::plan::{
        Address, Kind, Log, LogFormat, ModeName, Runtime, Stream, StreamSettings, Timeouts,
    };
    use weir_core::rates::Scope;
    use weir_core::route::Table;
    use weir_core::socket::Options;
    use weir_tls::FleetSecrets;

    const NONE: Duration = Duration::ZERO;

    pub(crate) fn plan(metrics: &Metrics, generation: u64, names: &[&str]) -> Arc<Plan> {
        let (client_hello, handshake, connect, idle, half_closed) = (NONE, NONE, NONE, NONE, NONE);
        let listeners = (1..).zip(names).map(|(port, name)| Listener {
            admission: None,
            scope: Scope::of(name),
            name: Arc::from(*name),
            addresses: vec![
                Address { socket: ([127, 0, 0, 1], port).into(), dual_stack: false, mptcp: false }.into(),
            ],
            mode: ModeName::Passthrough,
            peek: None,
            routes: Table::build(Vec::new()).unwrap(),
            default: None,
            kind: Kind::Stream(Stream {
                backlog: 1,
                freebind: false,
                fast_open: 0,
                settings: Arc::new(StreamSettings {
                    failed_handshakes: None,
                    timeouts: Timeouts { client_hello, handshake, connect, idle, half_closed },
                    handshakes: None,
                    starttls: None,
                    options: Options { nodelay: true, keepalive: NONE, user_timeout: NONE },
                    metrics: Arc::new(metrics.listener(name)),
                }),
                http: None,
            }),
            metrics: Arc::new(metrics.listener(name)),
            max_connections: 1,
            bandwidth: Speeds::default(),
            pending: 1,
        });
        let runtime = Runtime {
            workers: 1,
            affinity: false,
            max_connections: None,
            max_memory: None,
            max_connection_age: None,
            shutdown_delay: NONE,
            drain_timeout: NONE,
            watch: false,
            resolvers: Vec::new(),
        };
        let log = Log {
            level: String::new(),
            format: LogFormat::Auto,
            access: Recording::default(),
            access_file: None,
        };
        let listeners = listeners.map(Arc::new).collect();
        Arc::new(Plan {
            generation,
            listeners,
            pools: Vec::new(),
            runtime,
            log,
            admin: None,
            metrics: None,
            fleet: FleetSecrets::default(),
        })
    }

    #[tokio::test]
    async fn connection_ids_differ_between_all_workers_and_starts() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let node = || Node::new(plan(&metrics, 1, &[]), Arc::clone(&metrics), 1);
        let mut seen = HashSet::new();
        let nodes = [node(), node(), node(), node()];
        for node in &nodes {
            for worker in [0, 1, 255, 256, 257, 511, 512, 1023, 65_535] {
                for number in [0, 1, (1 << 40) - 1, 1 << 40, (1 << 48) - 1] {
                    seen.insert(node.connection_id(worker, number));
                }
            }
        }
        // Four starts within a millisecond or two share a random number once in ten thousand times.
        assert!(seen.len() >= 3 * 9 * 5, "{}", seen.len());
        let of_one: std::collections::HashSet<u128> =
            (0..1024).map(|worker| nodes[0].connection_id(worker, 7)).collect();
        assert_eq!(of_one.len(), 1024);
    }

    #[test]
    fn an_id_holds_start_random_number_worker_and_count() {
        let boot = boot(Duration::from_millis(0x0123_4567_89ab), 0xcdef);
        assert_eq!(boot, 0x0123_4567_89ab_cdef_0000_0000_0000_0000);
    }

    /// Otherwise it would have its limits twice: for old connections, and for new ones.
    #[tokio::test]
    async fn restored_listeners_keep_the_limits_of_their_connections() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let node = Node::new(plan(&metrics, 1, &["edge"]), Arc::clone(&metrics), 1);
        let limits = |node: &Node| Arc::clone(&node.in_force().acceptors.values().next().unwrap().limits);
        let connection = limits(&node);
        let permit = connection.permits.try_take().unwrap();
        let dropped = node.install(plan(&metrics, 2, &[]));
        assert_eq!(dropped.listeners.len(), 1);
        let drain = connection.drain_number();
        node.sweep();
        node.install(plan(&metrics, 3, &["edge"]));
        assert!(limits(&node).permits.try_take().is_none(), "one of one");
        assert_ne!(connection.drain_number(), drain, "its drain is over");
        drop(permit);
        assert!(limits(&node).permits.try_take().is_some());
        // Without connections it starts with new limits.
        drop((connection, dropped));
        drop(node.install(plan(&metrics, 4, &[])));
        node.install(plan(&metrics, 5, &["edge"]));
        assert_eq!(limits(&node).drain_number(), 0);
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_generations_are_outdated_once() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let node = Node::new(plan(&metrics, 1, &[]), Arc::clone(&metrics), 1);
        let open = |node: &Node, generation: u64| {
            let past = node.past();
            let found = past.generations.iter().find(|g| g.number == generation).unwrap();
            found.open.fetch_add(1, Ordering::Relaxed);
        };
        let most = PAST_GENERATIONS as u64;
        for generation in 2..=most + 1 {
            open(&node, generation - 1);
            node.install(plan(&metrics, generation, &[]));
            assert!(node.outdated().is_empty(), "{generation}");
        }
        // A generation without connections does not count.
        node.install(plan(&metrics, most + 2, &[]));
        assert!(node.outdated().is_empty());
        open(&node, most + 2);
        node.install(plan(&metrics, most + 3, &[]));
        let numbers = |node: &Node| node.outdated().iter().map(|g| g.number).collect::<Vec<_>>();
        assert_eq!(numbers(&node), [1]);
        assert!(numbers(&node).is_empty(), "told already");
        open(&node, most + 3);
        node.install(plan(&metrics, most + 4, &[]));
        assert_eq!(numbers(&node), [2]);
    }

    #[tokio::test]
    async fn listeners_of_an_abandoned_plan_leave_no_series() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let counted = |name: &str| metrics.scrape().unwrap().contains(&format!("listener=\"{name}\""));
        let node = Node::new(plan(&metrics, 1, &["stays", "drains"]), Arc::clone(&metrics), 1);
        let dropped = node.install(plan(&metrics, 2, &["stays"]));
        node.abandon(&plan(&metrics, 3, &["stays", "drains", "new"]));
        assert!(counted("new"));
        node.sweep();
        assert_eq!(["stays", "drains", "new"].map(counted), [true, true, false]);
        drop(dropped);
        node.sweep();
        assert_eq!(["stays", "drains", "new"].map(counted), [true, false, false]);
    }
}
