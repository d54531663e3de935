//! Bytes are conserved, and ends are passed on unchanged, in every interleaving of reads, short writes, waits
//! and faults.
//!
//! Both sides follow scripts ([`super::scripted`]) in paused time. Two scripts determine the result, except
//! for the order of faults that both have.

use super::scripted::{Fate, Last, Say, Script, Scripted, Take};
use super::*;
use crate::stop::Stop;
use proptest::prelude::*;
use std::cell::Cell;
use std::rc::Rc;

fn says() -> impl Strategy<Value = Vec<Say>> {
    let step = prop_oneof![
        3 => (1usize..20).prop_map(Say::Bytes),
        3 => (1usize..3_000).prop_map(Say::Bytes),
        2 => (1usize..300_000).prop_map(Say::Bytes),
        3 => (0u64..20).prop_map(Say::Pause),
    ];
    prop::collection::vec(step, 0..30)
}

fn takes() -> impl Strategy<Value = Vec<Take>> {
    let step = prop_oneof![
        2 => (1usize..20).prop_map(Take::Most),
        2 => (1usize..60_000).prop_map(Take::Most),
        2 => (0u64..20).prop_map(Take::Pause),
    ];
    prop::collection::vec(step, 0..8)
}

fn script() -> impl Strategy<Value = Script> {
    let last = prop_oneof![6 => Just(Last::Clean), 2 => Just(Last::Truncated), 2 => Just(Last::Reset), 1 => Just(Last::NoReply)];
    let at = || prop_oneof![0usize..40, 0usize..200_000];
    let fate = prop_oneof![
        8 => Just(Fate::Well),
        1 => at().prop_map(Fate::FailsAt),
        1 => at().prop_map(Fate::SticksAt),
        1 => Just(Fate::FailsAtTheEnd),
    ];
    let flush = prop_oneof![Just(None), (0u64..20).prop_map(Some)];
    (says(), last, takes(), fate, flush).prop_map(|(says, last, takes, fate, flush)| Script {
        says,
        last,
        takes,
        fate,
        flush,
    })
}

fn on_truncation() -> impl Strategy<Value = OnTruncation> {
    prop_oneof![Just(OnTruncation::Reset), Just(OnTruncation::Finish), Just(OnTruncation::PassOn)]
}

/// The parameters of a connection, besides its two scripts.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// The numbers of bytes that were read before: of the client, and of the backend.
    ahead: (usize, usize),
    client_truncation: OnTruncation,
    backend_truncation: OnTruncation,
    /// When the handle is cancelled.
    stop: Option<u64>,
}

fn setting() -> impl Strategy<Value = Setting> {
    let stop = prop_oneof![6 => Just(None), 1 => (0u64..60).prop_map(Some)];
    let ahead = (0usize..3_000, prop_oneof![2 => Just(0), 1 => 0usize..3_000]);
    (ahead, on_truncation(), on_truncation(), stop).prop_map(
        |(ahead, client_truncation, backend_truncation, stop)| Setting {
            ahead,
            client_truncation,
            backend_truncation,
            stop,
        },
    )
}

const IDLE: Duration = Duration::from_secs(60);
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// Extra time for unclean ends: weir waits a second for a side that does not accept its end.
const ENDING: Duration = Duration::from_millis(1_010);
/// Extra time when a side accepts nothing of its rest, and the other one is gone.
const PASSING_ON: Duration = Duration::from_millis(4_200);
/// How often a stuck side is checked.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The relay's timers, which could hide a lost wake-up, are not due before this.
const SLACK: Duration = Duration::from_millis(100);

/// One direction after the end of a relay.
struct Way<'a> {
    what: &'static str,
    given: &'a [u8],
    last: Last,
    on_truncation: OnTruncation,
    heard: &'a [u8],
    held: usize,
    fate: Fate,
    promised: Option<Finish>,
    told: Option<Finish>,
    destination_was_reset: bool,
    /// It has broken, as a source or as a destination, so it cannot be told.
    destination_is_gone: bool,
    /// It had ended before the failed attempt to tell it of the end.
    destination_is_excused: bool,
}

impl Way<'_> {
    fn is_whole(&self) -> bool {
        self.heard.len() == self.given.len()
    }

    /// Whether the write fails that this destination's fate names.
    fn write_fails(&self) -> bool {
        matches!(self.fate, Fate::FailsAt(at) if at < self.given.len())
    }

    fn sticks(&self) -> bool {
        matches!(self.fate, Fate::SticksAt(at) if at < self.given.len())
    }

    /// Checks the invariants of a direction, whatever happened to the connection; `cut` by a deadline or the
    /// handle.
    fn check(&self, cut: bool) {
        let Self { what, given, heard, .. } = self;
        assert!(
            given.starts_with(heard),
            "{what}: {} bytes that are not those of {}",
            heard.len(),
            given.len()
        );
        if let Fate::FailsAt(at) | Fate::SticksAt(at) = self.fate {
            assert!(heard.len() <= at, "{what}");
        }
        if self.told.is_some() {
            assert_eq!(self.held, 0, "{what}: an end before the bytes");
        }
        // The worst possible fault: a truncated stream that looks complete.
        match self.told {
            Some(Finish::Clean) if !cut => {
                let let_pass = self.last == Last::Truncated && self.on_truncation == OnTruncation::Finish;
                assert!(self.last == Last::Clean || let_pass, "{what}: a clean end of {:?}", self.last);
                assert!(self.is_whole(), "{what}: a clean end after {} of {}", heard.len(), given.len());
            }
            Some(Finish::Bare) => {
                assert_eq!(
                    (self.last, self.on_truncation),
                    (Last::Truncated, OnTruncation::PassOn),
                    "{what}"
                );
                assert!(self.is_whole(), "{what}: an end after {} of {}", heard.len(), given.len());
            }
            _ => {}
        }
        if self.promised.is_some() {
            assert!(
                self.told.is_some() || self.destination_is_gone,
                "{what}: its last bytes may be held back still"
            );
        }
        // Passing an end on waits for a second, and no flush here takes that long, so no accepted byte stays
        // behind.
        assert!(
            cut || self.destination_is_gone || matches!(self.fate, Fate::SticksAt(_)) || self.held == 0,
            "{what}: {} of {} never left",
            self.held,
            given.len()
        );
        // Every side that is still there gets an end.
        assert!(
            self.told.is_some() || self.destination_was_reset || self.destination_is_gone,
            "{what}: no end"
        );
    }
}

/// The possible results of a connection.
#[derive(Debug, Default)]
struct Verdicts {
    broken: Vec<Side>,
    truncated: Vec<Side>,
    deadline: bool,
    stopped: bool,
    ok: bool,
}

impl Verdicts {
    /// The results that the scripts allow. A certain fault is the result, unless another certain one comes
    /// first.
    fn of(up: &Way<'_>, down: &Way<'_>, setting: &Setting) -> Self {
        let mut verdicts = Self { stopped: setting.stop.is_some(), ..Self::default() };
        let mut certain = false;
        for (way, from, to) in [(up, Side::Client, Side::Backend), (down, Side::Backend, Side::Client)] {
            let reaches_end = !way.write_fails() && !way.sticks();
            if reaches_end {
                match way.last {
                    Last::Reset => {
                        verdicts.broken.push(from);
                        certain = true;
                    }
                    Last::Truncated => {
                        verdicts.truncated.push(from);
                        certain |= way.on_truncation == OnTruncation::Reset;
                    }
                    Last::NoReply => verdicts.deadline = true,
                    Last::Clean => {}
                }
            } else {
                if way.write_fails() {
                    verdicts.broken.push(to);
                    certain = true;
                } else {
                    verdicts.deadline = true;
                }
                // Its end may have come with its last bytes, and is then known.
                match way.last {
                    Last::Reset => verdicts.broken.push(from),
                    Last::Truncated => verdicts.truncated.push(from),
                    Last::Clean | Last::NoReply => {}
                }
            }
            // A destination that cannot be told of an end is a fault only if it has not ended itself.
            if reaches_end
                && way.fate == Fate::FailsAtTheEnd
                && !way.destination_is_excused
                && way.last != Last::NoReply
                && way.last != Last::Reset
            {
                verdicts.broken.push(to);
            }
        }
        if certain {
            verdicts.deadline = false;
        }
        // A side that answers the other one's clean end with a bare FIN has left nothing out.
        let well = |way: &Way<'_>, other: &Way<'_>| way.last == Last::Clean || other.last == Last::Clean;
        verdicts.ok = !certain && !verdicts.deadline && well(up, down);
        verdicts
    }

    fn allow(&self, end: &Result<Finished, ConnError>) -> bool {
        match end {
            Ok(_) => self.ok,
            Err(ConnError::Broken(side, _)) => self.broken.contains(side),
            Err(ConnError::Truncated(side)) => self.truncated.contains(side),
            Err(ConnError::IdleTimeout | ConnError::HalfClosedTimeout) => self.deadline,
            Err(ConnError::Stopped(Stop::Drained)) => self.stopped,
            Err(_) => false,
        }
    }

    /// Whether only one result is possible.
    fn faults(&self) -> usize {
        self.broken.len() + self.truncated.len() + usize::from(self.deadline) + usize::from(self.stopped)
    }
}

async fn relayed<const C: bool, const B: bool>(client: Script, backend: Script, setting: Setting) {
    let mut rig = Rig::new(0);
    rig.rules = Rules {
        idle: IDLE,
        half_closed: HALF_CLOSED,
        client_truncation: setting.client_truncation,
        backend_truncation: setting.backend_truncation,
    };
    let mut client = Scripted::<C>::new(client, 1);
    let mut backend = Scripted::<B>::new(backend, 2);
    let ahead = [payload(3, setting.ahead.0), payload(4, setting.ahead.1)];
    let mut traffic = rig.traffic();
    let started = Instant::now();
    let end = {
        let held_back = [held_for_nothing(&client), held_for_nothing(&backend)];
        let [up, down] = ahead.clone();
        let relaying = relay(&mut client, &mut backend, Ahead { up, down }, rig.terms(), &mut traffic);
        let watching = async {
            if let Some(ms) = setting.stop {
                sleep(Duration::from_millis(ms)).await;
                rig.handle.cancel(Stop::Drained);
            }
            // All pauses are over, and no deadline has been reached.
            sleep(HALF_CLOSED / 2).await;
            assert!(held_back.iter().all(|held| held.get() == 0), "bytes wait for a flush");
            std::future::pending::<()>().await;
        };
        tokio::select! { end = rig.beside_turns(relaying) => end, () = watching => unreachable!("pending") }
    };
    let took = started.elapsed();
    let [up, down] = ahead;
    let (up, down) = ([&up, client.says()].concat(), [&down, backend.says()].concat());
    let (of_client, of_backend) = (setting.client_truncation, setting.backend_truncation);
    let up = way("up", &up, (&client, of_client), (&backend, of_backend));
    let down = way("down", &down, (&backend, of_backend), (&client, of_client));
    let cut =
        matches!(end, Err(ConnError::IdleTimeout | ConnError::HalfClosedTimeout | ConnError::Stopped(_)));
    for way in [&up, &down] {
        way.check(cut);
    }
    let counted = (rig.listener.up.get(), rig.listener.down.get());
    assert_eq!(
        counted,
        ((up.heard.len() - up.held) as u64, (down.heard.len() - down.held) as u64),
        "what has left is what is counted"
    );
    let verdicts = Verdicts::of(&up, &down, &setting);
    assert!(verdicts.allow(&end), "{end:?} of {verdicts:?}");
    whole_where_it_must_be(&up, &down, &end, &verdicts);
    let slept = client.slept() + backend.slept();
    let patience = match &end {
        Err(ConnError::IdleTimeout) => IDLE + ENDING,
        Err(ConnError::HalfClosedTimeout) => HALF_CLOSED + ENDING,
        Ok(_) => Duration::ZERO,
        // If a side is stuck, checks notice the other one's reset, even after a truncation.
        Err(_) if up.sticks() || down.sticks() => LOOK_AGAIN + PASSING_ON,
        Err(_) => ENDING,
    };
    assert!(took <= slept + patience + SLACK, "{took:?} for {slept:?} of pauses: {end:?}");
}

/// The bytes this side holds back; a side that accepts nothing more cannot send them either.
fn held_for_nothing<const S: bool>(side: &Scripted<S>) -> Rc<Cell<usize>> {
    if matches!(side.script.fate, Fate::SticksAt(_)) { Rc::default() } else { Rc::clone(&side.held) }
}

fn way<'a, const S: bool, const D: bool>(
    what: &'static str,
    given: &'a [u8],
    (source, on_truncation): (&Scripted<S>, OnTruncation),
    (destination, its_truncation): (&'a Scripted<D>, OnTruncation),
) -> Way<'a> {
    let its_last = destination.script.last;
    let broke =
        its_last == Last::Reset || (its_last == Last::Truncated && its_truncation == OnTruncation::Reset);
    Way {
        what,
        given,
        last: source.script.last,
        on_truncation,
        heard: &destination.heard,
        held: destination.held.get(),
        fate: destination.script.fate,
        promised: destination.promised,
        told: destination.told,
        destination_was_reset: destination.was_reset(),
        destination_is_gone: destination.failed || broke,
        destination_is_excused: destination.excused,
    }
}

/// If only one result is possible, each side must have received a known stream.
fn whole_where_it_must_be(
    up: &Way<'_>,
    down: &Way<'_>,
    end: &Result<Finished, ConnError>,
    verdicts: &Verdicts,
) {
    if let Ok(finished) = end {
        assert!(up.is_whole() && down.is_whole(), "{} up, {} down", up.heard.len(), down.heard.len());
        assert!(matches!(finished.how, How::Fin | How::CloseNotify));
    }
    if verdicts.faults() != 1 {
        return;
    }
    for (way, from, to) in [(up, Side::Client, Side::Backend), (down, Side::Backend, Side::Client)] {
        match end {
            // Bytes before a reset or a cut are delivered, then it is passed on.
            Err(ConnError::Broken(side, _)) if *side == from && way.last == Last::Reset => {
                assert!(
                    way.is_whole() || way.sticks(),
                    "{}: {} of {}",
                    way.what,
                    way.heard.len(),
                    way.given.len()
                );
                assert!(way.destination_was_reset && way.told.is_none(), "{}: a reset is no end", way.what);
            }
            Err(ConnError::Broken(side, _)) if *side == to => {
                if let Fate::FailsAt(at) = way.fate
                    && way.write_fails()
                {
                    assert_eq!(way.heard.len(), at, "{}", way.what);
                }
            }
            Err(ConnError::Truncated(side)) => {
                let cut_off = way.sticks() || *side == to && cuts(if way.what == "up" { down } else { up });
                assert!(
                    way.is_whole() || cut_off,
                    "{}: {} of {}",
                    way.what,
                    way.heard.len(),
                    way.given.len()
                );
                if *side == from && cuts(way) {
                    assert!(way.destination_was_reset && way.told.is_none(), "{}", way.what);
                }
            }
            // A side that accepts nothing more has its accepted bytes; every other side has all bytes.
            Err(ConnError::IdleTimeout | ConnError::HalfClosedTimeout) => match way.fate {
                Fate::SticksAt(at) if at < way.given.len() => {
                    assert_eq!(way.heard.len(), at, "{}", way.what);
                    assert!(way.destination_was_reset && way.told.is_none(), "{}", way.what);
                }
                _ => assert!(way.is_whole(), "{}: {} of {}", way.what, way.heard.len(), way.given.len()),
            },
            _ => {}
        }
    }
}

/// Whether the truncation of this direction's source ends the connection.
fn cuts(way: &Way<'_>) -> bool {
    way.last == Last::Truncated && way.on_truncation == OnTruncation::Reset
}

fn run(client: Script, backend: Script, setting: Setting, tls: (bool, bool)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        match tls {
            (false, false) => relayed::<false, false>(client, backend, setting).await,
            (true, false) => relayed::<true, false>(client, backend, setting).await,
            (false, true) => relayed::<false, true>(client, backend, setting).await,
            (true, true) => relayed::<true, true>(client, backend, setting).await,
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_conserved_and_ends_are_told(
        client in script(), backend in script(), setting in setting(), tls in any::<(bool, bool)>()
    ) {
        run(client, backend, setting, tls);
    }
}
