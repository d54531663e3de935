//! Tickets over time, over nodes, over rings, and forged without a key.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fleet::FleetSecrets;
use crate::secret::SECRET_LEN;
use arc_swap::ArcSwap;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// In the middle of an epoch of an hour.
const NOW: u64 = 500_000 * HOUR + HOUR / 2;

fn secret(byte: u8) -> Secret {
    Secret::from_bytes(&[byte; SECRET_LEN])
}

fn tickets(secret: &Secret, policy: &[u8]) -> Tickets {
    of_ring(&shared(std::slice::from_ref(secret)), policy)
}

fn of_ring(ring: &SharedRing, policy: &[u8]) -> Tickets {
    Tickets::new(ring, Scope::of(policy), Lifetime::new(Duration::from_millis(HOUR)))
}

fn ring(secrets: &[Secret]) -> SecretRing {
    SecretRing::new(&FleetSecrets::of(secrets), &secret(255))
}

fn shared(secrets: &[Secret]) -> SharedRing {
    Arc::new(ArcSwap::from_pointee(ring(secrets)))
}

/// A node of the fleet with the secret 1, whose profile has this lifetime.
fn with_lifetime(lifetime: u64) -> Tickets {
    let lifetime = Lifetime::new(Duration::from_millis(lifetime));
    Tickets::new(&shared(&[secret(1)]), Scope::of(b"none"), lifetime)
}

/// The fields that tell the key.
const KEY_FIELDS: usize = SPAN_LEN + EPOCH_LEN;

fn none(byte: u8) -> Tickets {
    tickets(&secret(byte), b"none")
}

#[test]
fn tickets_open_on_every_node_with_the_secret() {
    let ticket = none(1).seal(NOW, b"session").expect("a ticket");
    assert_eq!(none(1).open(NOW, &ticket).as_deref(), Some(&b"session"[..]));
    assert_eq!(none(2).open(NOW, &ticket), None, "another secret");
    assert_eq!(tickets(&secret(1), b"required").open(NOW, &ticket), None, "another scope");
    assert!(!ticket.windows(7).any(|window| window == b"session"));
}

#[test]
fn every_secret_of_the_ring_opens_and_the_first_seals() {
    let (old, new) = (secret(1), secret(2));
    let [by_old, by_new] = [1, 2].map(|byte| none(byte).seal(NOW, b"session").expect("a ticket"));
    let both = of_ring(&shared(&[new.clone(), old.clone()]), b"none");
    assert!(both.open(NOW, &by_old).is_some(), "sealed by the second");
    assert!(both.open(NOW + HOUR, &by_old).is_some(), "in the epoch before");
    assert!(both.open(NOW, &by_new).is_some(), "sealed by the first");
    let ticket = both.seal(NOW, b"session").expect("a ticket");
    assert!(none(2).open(NOW, &ticket).is_some() && none(1).open(NOW, &ticket).is_none(), "the first seals");
}

#[test]
fn another_ring_is_in_force_at_the_next_use() {
    let (old, new) = (secret(1), secret(2));
    let shared = shared(std::slice::from_ref(&old));
    let tickets = of_ring(&shared, b"none");
    let by_old = tickets.seal(NOW, b"session").expect("a ticket");
    shared.store(Arc::new(ring(&[new.clone(), old])));
    assert!(tickets.open(NOW, &by_old).is_some(), "the old secret still opens");
    let by_new = tickets.seal(NOW, b"session").expect("a ticket");
    assert!(none(2).open(NOW, &by_new).is_some(), "the new secret seals");
    shared.store(Arc::new(ring(&[new])));
    assert!(tickets.open(NOW, &by_old).is_none(), "its secret is gone");
    assert!(tickets.open(NOW, &by_new).is_some());
}

#[test]
fn the_own_secret_goes_on_beside_a_fleet_and_a_removed_one_ends() {
    let (own, fleet) = (secret(7), secret(1));
    let ring = |fleet: &[Secret]| SecretRing::new(&FleetSecrets::of(fleet), &own);
    let shared: SharedRing = Arc::new(ArcSwap::from_pointee(ring(&[])));
    let tickets = of_ring(&shared, b"none");
    let by_own = tickets.seal(NOW, b"session").expect("a ticket");
    assert!(none(7).open(NOW, &by_own).is_some(), "without a fleet the own secret seals");
    shared.store(Arc::new(ring(std::slice::from_ref(&fleet))));
    assert!(tickets.open(NOW, &by_own).is_some());
    let by_fleet = tickets.seal(NOW, b"session").expect("a ticket");
    assert!(none(1).open(NOW, &by_fleet).is_some(), "with a fleet its secret seals");
    shared.store(Arc::new(ring(&[])));
    assert!(tickets.open(NOW, &by_own).is_some());
    assert!(tickets.open(NOW, &by_fleet).is_none(), "it may have been removed because it is known");
}

#[test]
fn old_tickets_are_refused_although_their_key_is_there() {
    let one = none(1);
    let ticket = one.seal(NOW, b"session").expect("a ticket");
    assert!(one.open(NOW + HOUR, &ticket).is_some());
    assert!(one.open(NOW + HOUR + 1, &ticket).is_none());
}

#[test]
fn clocks_that_differ_by_five_minutes_agree_whatever_the_lifetime_and_the_epoch() {
    for lifetime in [SECOND, MINUTE, 5 * MINUTE, 10 * MINUTE, HOUR, 12 * HOUR, 7 * 24 * HOUR] {
        let node = with_lifetime(lifetime);
        let span = u64::from(node.lifetime.span().0) * SECOND;
        let begin = NOW - NOW % span;
        // At both ends of an epoch, and within it.
        for issued in [begin, begin + 1, begin + span / 2, begin + span - 1] {
            let ticket = node.seal(issued, b"session").expect("a ticket");
            let opens = |now: u64| with_lifetime(lifetime).open(now, &ticket).is_some();
            assert!(opens(issued - 5 * MINUTE), "by a clock behind: {lifetime} {issued}");
            assert!(!opens(issued - 5 * MINUTE - 1), "by a clock too far behind: {lifetime} {issued}");
            assert!(opens(issued) && opens(issued + lifetime), "{lifetime} {issued}");
            assert!(!opens(issued + lifetime + 1), "too old: {lifetime} {issued}");
        }
    }
}

#[test]
fn each_node_judges_by_its_own_lifetime() {
    let (short, long) = (MINUTE, 12 * HOUR);
    let by_long = with_lifetime(long).seal(NOW, b"session").expect("a ticket");
    assert!(with_lifetime(short).open(NOW + short, &by_long).is_some());
    assert!(
        with_lifetime(short).open(NOW + short + 1, &by_long).is_none(),
        "too old for the node that is asked"
    );
    let by_short = with_lifetime(short).seal(NOW, b"session").expect("a ticket");
    assert!(with_lifetime(long).open(NOW + 5 * MINUTE, &by_short).is_some());
    assert!(with_lifetime(long).open(NOW + 20 * MINUTE, &by_short).is_none(), "its key is gone");
    assert!(none(2).open(NOW, &by_short).is_none(), "another secret");
    assert!(tickets(&secret(1), b"required").open(NOW, &by_short).is_none(), "another scope");
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let one = none(1);
    let before = one.seal(NOW, b"session").expect("a ticket");
    let ahead = one.seal(NOW + 24 * HOUR, b"session").expect("a ticket");
    assert!(one.open(NOW + 24 * HOUR, &before).is_none() && one.open(NOW + 24 * HOUR, &ahead).is_some());
    assert!(one.open(NOW, &before).is_some(), "the clock is right again");
    assert!(one.open(NOW, &ahead).is_none(), "made in the future");
    let slightly = one.seal(NOW + 6 * MINUTE, b"session").expect("a ticket");
    assert!(one.open(NOW, &slightly).is_none(), "in the same epoch, but more than clocks differ");
    for now in [0, 1, u64::MAX / 2, u64::MAX] {
        let ticket = one.seal(now, b"session").expect("a ticket");
        assert!(one.open(now, &ticket).is_some(), "{now}");
    }
}

#[test]
fn threads_agree_while_the_epoch_and_the_ring_change() {
    let ring_now = shared(&[secret(1)]);
    let tickets = of_ring(&ring_now, b"none");
    let begin = NOW - NOW % HOUR + HOUR;
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let tickets = &tickets;
            scope.spawn(move || {
                for step in 0..500 {
                    // Around the end of an epoch, forth and back.
                    let now = begin + (step * 7 + thread) % 40 - 20;
                    let ticket = tickets.seal(now, b"session").expect("a ticket");
                    assert_eq!(tickets.open(now + 20, &ticket).as_deref(), Some(&b"session"[..]), "{now}");
                }
            });
        }
        for step in 0..100_u8 {
            let both = [secret(1 + step % 2), secret(2 - step % 2)];
            ring_now.store(Arc::new(ring(&both)));
            std::thread::yield_now();
        }
    });
}

#[test]
fn epochs_have_keys_of_their_own_and_tickets_never_repeat() {
    let one = none(1);
    let first = one.seal(NOW, b"session").expect("a ticket");
    let again = one.seal(NOW, b"session").expect("a ticket");
    let later = one.seal(NOW + HOUR, b"session").expect("a ticket");
    assert_ne!(first, again);
    assert_eq!(first[..KEY_FIELDS], again[..KEY_FIELDS]);
    assert_ne!(first[..KEY_FIELDS], later[..KEY_FIELDS]);
    let key = |epoch| {
        let mut bytes = b"the same".to_vec();
        let key = derive(&secret(1), Scope::of(b"none"), Span(3600), epoch).expect("a key");
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).expect("sealed");
        bytes
    };
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
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
    assert_eq!(format!("{:?}", secret(1)), format!("Secret({})", secret(1).name()));
    assert_eq!(format!("{:?}", none(1)), "Tickets { lifetime: Lifetime(3600), .. }");
}

proptest! {
    #[test]
    fn garbage_does_not_open(bytes in vec(any::<u8>(), 0..200), now in any::<u64>()) {
        prop_assert_eq!(none(1).open(now, &bytes), None);
    }

    /// Behind the right span and epoch, so that the cipher itself sees the garbage.
    #[test]
    fn garbage_after_a_known_epoch_does_not_open(bytes in vec(any::<u8>(), 0..200), lifetime in 0..2_u64) {
        let one = none(1);
        let mut ticket = with_lifetime((1 + lifetime) * HOUR).seal(NOW, b"").expect("a ticket");
        ticket.truncate(KEY_FIELDS);
        ticket.extend(bytes);
        prop_assert_eq!(one.open(NOW, &ticket), None);
    }

    /// Promised: good from five minutes before the time of issue until the lifetime has passed, and never else.
    #[test]
    fn tickets_open_within_their_time_and_never_else(
        sealer in 1..8 * 24 * 3600_u64,
        opener in 1..8 * 24 * 3600_u64,
        age in -400_000..700_000_000_i64,
        issued in NOW..NOW + 24 * HOUR,
    ) {
        let ticket = with_lifetime(sealer * SECOND).seal(issued, b"session").expect("a ticket");
        let now = issued.saturating_add_signed(age);
        let opens = with_lifetime(opener * SECOND).open(now, &ticket).is_some();
        let week = 7 * 24 * HOUR;
        let good = |lifetime: u64| {
            let lifetime = i64::try_from((lifetime * SECOND).min(week)).expect("short");
            (-300_000..=lifetime).contains(&age)
        };
        // Never beyond the opener's lifetime; always within both.
        prop_assert!(!opens || good(opener));
        prop_assert!(opens || !(good(opener) && good(sealer)));
    }

    #[test]
    fn sessions_come_back_unchanged(plain in vec(any::<u8>(), 0..2000), now in 0..u64::MAX / 2) {
        let one = none(1);
        let ticket = one.seal(now, &plain).expect("a ticket");
        prop_assert_eq!(one.open(now, &ticket), Some(plain));
    }
}
