//! Memory per connection is a promise: a relay's own state has a ceiling.

use super::*;

/// 400 bytes were measured without a hello to replay (debug build), plus a margin: mostly the two directions
/// and a timer.
const CEILING: usize = 464;

#[tokio::test]
async fn relays_are_small() {
    let Sides { client: _client, mut front, mut back, backend: _backend } = sides().await;
    let rig = Rig::new(0);
    let mut traffic = rig.traffic();
    let size = size_of_val(&relay(&mut front, &mut back, Ahead::default(), rig.terms(), &mut traffic));
    assert!(size <= CEILING, "{size} bytes of at most {CEILING}");
    let hello = Prefix::new(Vec::new(), HelloReplay::OnAnyEnd);
    let size = size_of_val(&relay_hello(&mut front, &mut back, hello, rig.terms(), &mut traffic));
    assert!(size <= CEILING, "{size} bytes of at most {CEILING}");
}
