//! Memory per connection is a promise: a relay's own state has a ceiling.

use super::*;

/// 512 bytes measured (debug build), and a tenth: mostly the two directions and a timer.
const CEILING: usize = 564;

#[tokio::test]
async fn a_relay_is_small() {
    let Sides { client: _client, mut front, mut back, backend: _backend } = sides().await;
    let rig = Rig::new(0);
    let metrics = Arc::clone(&rig.listener);
    let opening = Opening {
        id: 1,
        listener: Arc::from("edge"),
        mode: "passthrough",
        client: front.peer_addr().unwrap(),
        local: front.local_addr().unwrap(),
        generation: 1,
    };
    let mut record = Record::open(opening, metrics, None);
    let terms = Terms { rules: rig.rules, memory: &rig.memory, switch: &rig.switch };
    let size = size_of_val(&relay(&mut front, &mut back, Vec::new(), terms, &mut record.traffic));
    assert!(size <= CEILING, "{size} bytes of at most {CEILING}");
}
