//! Bytes that a TLS session has accepted and not sent yet are sent, whatever happens to the side that they
//! came from.

use super::scripted::{Fate, Last, Say, Script, Scripted};
use super::*;

/// Length of the backend's answer.
const ANSWER: usize = 1_000;

/// A client whose flushes take `flush` milliseconds, and which sends nothing for a while.
fn client(silent: u64, last: Last, flush: u64) -> Script {
    Script { says: vec![Say::Pause(silent)], last, takes: Vec::new(), fate: Fate::Well, flush: Some(flush) }
}

/// A backend that answers at once, and ends with its answer.
fn backend(last: Last, fate: Fate) -> Script {
    Script { says: vec![Say::Bytes(ANSWER)], last, takes: Vec::new(), fate, flush: None }
}

/// The result of the relay; all of the answer has left for the client.
async fn delivered(client: Script, backend: Script) -> Result<Finished, ConnError> {
    let rig = Rig::new(0);
    let mut client = Scripted::<true>::new(client, 1);
    let mut backend = Scripted::<false>::new(backend, 2);
    let mut traffic = rig.traffic();
    let relaying = relay(
        &mut client,
        &mut backend,
        Ahead { up: payload(3, 100), ..Ahead::default() },
        rig.terms(),
        &mut traffic,
    );
    let end = rig.beside_turns(relaying).await;
    assert_eq!((client.heard.len(), client.held.get()), (ANSWER, 0), "{end:?}");
    end
}

/// The backend answers and resets, and the client's write to it meets the reset.
#[tokio::test(start_paused = true)]
async fn answers_leave_before_a_reset_that_a_write_has_met() {
    let end = delivered(client(60_000, Last::NoReply, 100), backend(Last::Reset, Fate::FailsAt(0))).await;
    assert!(matches!(end, Err(ConnError::Broken(Side::Backend, _))), "{end:?}");
}

/// The answer and the reset are read together.
#[tokio::test(start_paused = true)]
async fn answers_leave_before_the_reset_that_came_with_them() {
    let end = delivered(client(60_000, Last::NoReply, 800), backend(Last::Reset, Fate::Well)).await;
    assert!(matches!(end, Err(ConnError::Broken(Side::Backend, _))), "{end:?}");
}

/// A connection is half-closed once the answer has left; until then its client is a slow reader, bounded by
/// `idle`.
#[tokio::test(start_paused = true)]
async fn answers_and_their_end_may_leave_slowly() {
    let rules = Rig::new(0).rules;
    let slow = 1_000 * (rules.half_closed + (rules.idle - rules.half_closed) / 3).as_secs();
    let end = delivered(client(slow + 5_000, Last::Clean, slow), backend(Last::Clean, Fate::Well)).await;
    assert!(end.is_ok(), "{end:?}");
}
