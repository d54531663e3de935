//! Tickets over time, over nodes, and from hands that never had a key.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;
/// In the middle of an epoch of an hour.
const NOW: u64 = 500_000 * HOUR + HOUR / 2;

fn secret(byte: u8) -> TicketSecret {
    TicketSecret::from_bytes(&[byte; SECRET_LEN])
}

fn tickets(secret: &TicketSecret, policy: &[u8]) -> Tickets {
    Tickets::new(secret, Scope::of(policy), Lifetime::new(Duration::from_secs(HOUR)))
}

fn none(byte: u8) -> Tickets {
    tickets(&secret(byte), b"none")
}

#[test]
fn what_was_sealed_opens_on_every_node_with_the_secret() {
    let ticket = none(1).seal(NOW, b"session").expect("a ticket");
    assert_eq!(none(1).open(NOW, &ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(none(2).open(NOW, &ticket), None, "another secret");
    assert_eq!(tickets(&secret(1), b"required").open(NOW, &ticket), None, "another scope");
    assert!(!ticket.windows(7).any(|window| window == b"session"));
}

#[test]
fn the_epochs_beside_the_current_one_are_accepted() {
    let one = none(1);
    let ticket = one.seal(NOW, b"session").expect("a ticket");
    // The clock of this node, and then the other node's, is behind.
    assert!(one.open(NOW - HOUR, &ticket).is_some(), "next epoch's ticket");
    assert!(one.open(NOW + HOUR, &ticket).is_some(), "previous epoch's ticket");
    assert!(one.open(NOW - 2 * HOUR, &ticket).is_none());
    assert!(one.open(NOW + 2 * HOUR, &ticket).is_none());
    assert!(one.open(NOW, &ticket).is_some(), "and the ring turns back");
}

#[test]
fn an_old_ticket_is_refused_though_its_key_is_still_there() {
    let one = none(1);
    let ticket = one.seal(NOW, b"session").expect("a ticket");
    assert!(one.open(NOW + HOUR, &ticket).is_some());
    assert!(one.open(NOW + HOUR + 1, &ticket).is_none());
}

#[test]
fn epochs_have_keys_of_their_own_and_tickets_never_repeat() {
    let one = none(1);
    let first = one.seal(NOW, b"session").expect("a ticket");
    let again = one.seal(NOW, b"session").expect("a ticket");
    let later = one.seal(NOW + HOUR, b"session").expect("a ticket");
    assert_ne!(first, again);
    assert_eq!(first[..ID_LEN], again[..ID_LEN]);
    assert_ne!(first[..ID_LEN], later[..ID_LEN]);
}

#[test]
fn every_bit_is_authenticated() {
    let one = none(1);
    let ticket = one.seal(NOW, b"session").expect("a ticket");
    for bit in 0..ticket.len() * 8 {
        let mut forged = ticket.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(one.open(NOW, &forged), None, "bit {bit}");
    }
    for len in 0..ticket.len() {
        assert_eq!(one.open(NOW, &ticket[..len]), None, "{len} bytes");
    }
}

#[test]
fn sizes_are_bounded() {
    let one = none(1);
    let largest = one.seal(NOW, &vec![7; MAX_PLAIN]).expect("a ticket");
    assert_eq!(largest.len(), MAX_TICKET);
    assert!(one.open(NOW, &largest).is_some());
    assert!(one.seal(NOW, &vec![7; MAX_PLAIN + 1]).is_none());
}

#[test]
fn lifetimes_are_whole_seconds_up_to_a_week() {
    let seconds = |lifetime| Lifetime::new(lifetime).0;
    assert_eq!(seconds(Duration::ZERO), 1);
    assert_eq!(seconds(Duration::from_millis(90_500)), 90);
    assert_eq!(seconds(Duration::MAX), WEEK);
}

#[test]
fn the_trait_seals_and_opens_by_the_clock() {
    let one = none(1);
    let ticket = one.encrypt(b"session").expect("a ticket");
    assert_eq!(one.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(ProducesTickets::lifetime(&one), 3600);
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", secret(1)), "TicketSecret(..)");
    assert_eq!(format!("{:?}", none(1)), "Tickets { lifetime: Lifetime(3600), .. }");
}

proptest! {
    #[test]
    fn anything_may_arrive(bytes in vec(any::<u8>(), 0..200), now in any::<u64>()) {
        prop_assert_eq!(none(1).open(now, &bytes), None);
    }

    /// Behind the right key id, so that the cipher itself sees the garbage.
    #[test]
    fn anything_may_follow_a_known_key_id(bytes in vec(any::<u8>(), 0..200)) {
        let one = none(1);
        let mut ticket = one.seal(NOW, b"").expect("a ticket");
        ticket.truncate(ID_LEN);
        ticket.extend(bytes);
        prop_assert_eq!(one.open(NOW, &ticket), None);
    }

    #[test]
    fn any_session_comes_back(plain in vec(any::<u8>(), 0..2000), now in 0..u64::MAX / 2) {
        let one = none(1);
        let ticket = one.seal(now, &plain).expect("a ticket");
        prop_assert_eq!(one.open(now, &ticket), Some(plain));
    }
}
