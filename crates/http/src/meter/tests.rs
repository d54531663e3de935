//! The meter, fed with frames in pieces of any size.

use super::frames::PADDED;
use super::*;
use proptest::prelude::*;

/// A frame as bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A meter that has seen the preface.
fn meter(now: Instant) -> Meter {
    let mut meter = Meter::new(now);
    meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
    meter
}

/// How many of these frames a client may send at once before it is ended, and for what.
fn until_ended(meter: &mut Meter, one: &[u8], now: Instant) -> (u32, Flood) {
    for sent in 0..100_000 {
        if let Err(flood) = meter.read(one, now) {
            return (sent, flood);
        }
    }
    panic!("100,000 frames did not end it");
}

#[test]
fn each_flood_ends_at_its_ceiling() {
    let now = Instant::now();
    for (one, flood) in [
        (frame(PING, 0, 0, &[0; 8]), Flood::Pings),
        (frame(PING, 1, 0, &[0; 8]), Flood::Pings),
        (frame(SETTINGS, 0, 0, &[]), Flood::Settings),
        (frame(SETTINGS, 1, 0, &[]), Flood::Settings),
        (frame(RST_STREAM, 0, 1, &[0; 4]), Flood::Resets),
        (frame(DATA, 0, 1, &[]), Flood::EmptyData),
        (frame(DATA, PADDED, 1, &[3, 0, 0, 0]), Flood::EmptyData),
        (frame(DATA, PADDED, 1, &[0]), Flood::EmptyData),
        (frame(DATA, PADDED, 1, &[]), Flood::EmptyData),
        (frame(PRIORITY, 0, 1, &[0; 5]), Flood::Priority),
        (frame(PRIORITY_UPDATE, 0, 0, &[0; 8]), Flood::Priority),
        (frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), Flood::WindowUpdates),
        (frame(GOAWAY, 0, 0, &[0; 8]), Flood::Unknown),
        (frame(0xbb, 0xff, 7, &[1; 30]), Flood::Unknown),
    ] {
        let (sent, ended) = until_ended(&mut meter(now), &one, now);
        assert_eq!((sent, ended), (flood.base(), flood), "{one:?}");
    }
    let (sent, ended) = until_ended(&mut meter(now), &frame(CONTINUATION, 0, 1, &[]), now);
    assert_eq!((sent, ended), (BLOCK, Flood::Continuation));
}

#[test]
fn requests_and_bodies_are_no_flood() {
    let now = Instant::now();
    let mut meter = meter(now);
    for stream in (1..200_001).step_by(2) {
        meter.read(&frame(HEADERS, 4, stream, &[0x82]), now).unwrap();
        meter.read(&frame(DATA, 0, stream, &[1]), now).unwrap();
        meter.read(&frame(DATA, PADDED, stream, &[2, 7, 0, 0]), now).unwrap();
        meter.read(&frame(DATA, END_STREAM, stream, &[]), now).unwrap();
    }
    assert_eq!(meter.goaway()[9..13], 199_999_u32.to_be_bytes());
}

#[test]
fn ceilings_begin_anew_each_second() {
    let now = Instant::now();
    let mut meter = meter(now);
    let ping = frame(PING, 0, 0, &[0; 8]);
    for second in 0..5 {
        let at = now + SECOND * second;
        (0..Flood::Pings.base()).for_each(|_| meter.read(&ping, at).unwrap());
    }
    assert_eq!(meter.read(&ping, now + SECOND * 4), Err(Flood::Pings));
}

#[test]
fn answers_and_data_earn_frames() {
    let now = Instant::now();
    let mut meter = meter(now);
    (0..1000).for_each(|_| meter.wrote(&frame(DATA, 0, 1, &[0; 100])));
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
    assert_eq!(until_ended(&mut meter, &update, now), (6000, Flood::WindowUpdates));
    let mut meter = self::meter(now);
    (0..100).for_each(|_| meter.wrote(&frame(HEADERS, END_STREAM | 4, 1, &[0x88])));
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    assert_eq!(until_ended(&mut meter, &reset, now), (350, Flood::Resets));
}

#[test]
fn a_window_opened_by_bytes_earns_nothing() {
    let now = Instant::now();
    let mut meter = meter(now);
    (0..10_000).for_each(|_| meter.wrote(&frame(DATA, 0, 1, &[0])));
    let update = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    assert_eq!(until_ended(&mut meter, &update, now), (2000, Flood::WindowUpdates));
}

#[test]
fn slow_resets_end_the_connection_too() {
    let now = Instant::now();
    let mut meter = meter(now);
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    let ended = (0..10_000).find(|n| meter.read(&reset, now + SECOND / 200 * *n).is_err());
    assert_eq!(ended, Some(2000));
}

#[test]
fn a_goaway_stands_between_frames() {
    let mut meter = Meter::new(Instant::now());
    assert_eq!(meter.owed(), 0);
    let bytes = frame(DATA, 0, 1, &[7; 20]);
    meter.wrote(&bytes[..4]);
    assert_eq!(meter.owed(), 5, "of the header");
    meter.wrote(&bytes[4..9]);
    assert_eq!(meter.owed(), 20);
    meter.wrote(&bytes[9..]);
    assert_eq!(meter.owed(), 0);
    assert_eq!(meter.goaway(), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]);
}

#[test]
fn a_padded_frame_under_way_owes_its_padding_too() {
    let mut meter = Meter::new(Instant::now());
    let bytes = frame(DATA, PADDED, 1, &[3, 1, 0, 0, 0]);
    for cut in 1..bytes.len() {
        meter.wrote(&bytes[cut - 1..cut]);
        assert!(meter.owed() > 0, "{cut}");
        assert!(meter.owed() <= bytes.len() - cut, "{cut}");
    }
    meter.wrote(&bytes[bytes.len() - 1..]);
    assert_eq!(meter.owed(), 0);
}

#[test]
fn settings_come_first() {
    let now = Instant::now();
    for (first, sound) in [
        (frame(SETTINGS, 0, 0, &[]), true),
        (frame(SETTINGS, ACK, 0, &[]), false),
        (frame(HEADERS, END_HEADERS, 1, &[0x82]), false),
        (frame(PING, 0, 0, &[0; 8]), false),
    ] {
        let mut meter = meter(now);
        assert!(!meter.is_out_of_order());
        meter.read(&first, now).unwrap();
        meter.read(&frame(SETTINGS, 0, 0, &[]), now).unwrap();
        assert_eq!(meter.is_out_of_order(), !sound, "{first:?}");
    }
}

#[test]
fn a_frame_under_way_is_as_old_as_its_first_byte() {
    let start = Instant::now();
    let at = |seconds| start + SECOND * seconds;
    let mut meter = Meter::new(start);
    assert_eq!(meter.under_way(), Some(UnderWay::Other(start)), "the preface");
    meter.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", at(1)).unwrap();
    assert_eq!(meter.under_way(), None);
    // Neither its further bytes nor its header's end make it younger.
    let bytes = frame(DATA, 0, 1, &[7; 20]);
    for (n, byte) in (2..).zip(bytes.chunks(1).take(28)) {
        meter.read(byte, at(n)).unwrap();
        let expected = if n < 10 { UnderWay::Other(at(2)) } else { UnderWay::Data(at(2)) };
        assert_eq!(meter.under_way(), Some(expected), "{n}");
    }
    // Its last byte, and the first one of another.
    meter.read(&[7, 0], at(40)).unwrap();
    assert_eq!(meter.under_way(), Some(UnderWay::Other(at(40))));
}

#[test]
fn a_block_of_fields_is_as_old_as_its_first_frame() {
    let start = Instant::now();
    let at = |seconds| start + SECOND * seconds;
    let mut meter = meter(start);
    meter.read(&frame(HEADERS, END_STREAM, 1, &[0x82]), at(1)).unwrap();
    for n in 2..30 {
        meter.read(&frame(CONTINUATION, 0, 1, &[0x82]), at(n)).unwrap();
        assert_eq!(meter.under_way(), Some(UnderWay::Other(at(1))), "{n}");
    }
    meter.read(&frame(CONTINUATION, END_HEADERS, 1, &[]), at(30)).unwrap();
    assert_eq!(meter.under_way(), None);
    // DATA in pieces that each begin the next frame: never old.
    let two = [frame(DATA, 0, 1, &[0; 30]), frame(DATA, 0, 1, &[0; 30])].concat();
    meter.read(&two[..50], at(31)).unwrap();
    assert_eq!(meter.under_way(), Some(UnderWay::Data(at(31))));
    meter.read(&two[50..], at(32)).unwrap();
    assert_eq!(meter.under_way(), None);
}

/// Frames of all kinds, known and unknown.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (0_u8..18, any::<u8>(), 0_u32..1 << 31, prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(
        one.prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
        0..400,
    )
}

proptest! {
    #[test]
    fn pieces_make_no_difference(frames in frames(), cuts in prop::collection::vec(1_usize..50, 1..200)) {
        let now = Instant::now();
        let all = frames.concat();
        let (mut whole, mut pieces, mut single) = (meter(now), meter(now), meter(now));
        let expected = whole.read(&all, now);
        let (mut rest, mut cuts) = (&all[..], cuts.iter().cycle());
        let mut ended = Ok(());
        while !rest.is_empty() && ended.is_ok() {
            let piece;
            (piece, rest) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            ended = pieces.read(piece, now);
        }
        prop_assert_eq!(ended, expected);
        prop_assert_eq!(all.chunks(1).try_for_each(|byte| single.read(byte, now)), expected);
        prop_assert_eq!(whole.goaway(), single.goaway());
    }

    #[test]
    fn nothing_is_owed_exactly_between_frames(frames in frames()) {
        let mut meter = Meter::new(Instant::now());
        for frame in frames {
            for byte in frame.chunks(1) {
                meter.wrote(byte);
            }
            prop_assert_eq!(meter.owed(), 0);
        }
    }

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        let ended = meter.read(&bytes, now);
        prop_assert!(ended.is_ok() || matches!(ended, Err(flood) if flood.limit().label().starts_with("h2_")));
        meter.wrote(&bytes);
    }
}
