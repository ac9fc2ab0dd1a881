use super::*;

/// An outlet whose writer does nothing.
fn held() -> Outlet {
    let outlet = Outlet::default();
    outlet.state.lock().writer = Writer::Thread;
    outlet
}

fn text(bytes: usize) -> Vec<u8> {
    [vec![b'x'; bytes - 1], vec![b'\n']].concat()
}

#[test]
fn past_the_bound_lines_are_left_out_and_counted_until_all_before_them_are_written() {
    let outlet = held();
    let line = UNREAD_BYTES_MAX / 8;
    for _ in 0..12 {
        outlet.say(outlet.state.lock(), Stream::Stderr, text(line));
    }
    outlet.say(outlet.state.lock(), Stream::Stderr, b"small enough\nand yet\n".to_vec());
    let mut state = outlet.state.lock();
    assert!((7..=8).contains(&state.unread.len()) && state.bytes <= UNREAD_BYTES_MAX);
    let (waiting, missing) = (state.unread.len(), state.missing);
    assert_eq!(waiting as u64 + missing, 12 + 2);
    for _ in 0..waiting {
        assert!(matches!(state.task(), Some(Task::Write(Stream::Stderr, _))));
    }
    assert!(matches!(state.task(), Some(Task::TellGap(lines)) if lines == missing));
    assert!(state.task().is_none() && state.bytes == 0);
    drop(state);
    outlet.say(outlet.state.lock(), Stream::Stderr, text(line));
    assert_eq!(outlet.state.lock().unread.len(), 1, "there is room again");
}

#[test]
fn what_waits_for_one_stream_goes_out_in_one_write_of_a_bounded_length() {
    let outlet = held();
    let (out, err) = (Stream::Stdout, Stream::Stderr);
    for (to, bytes) in [(out, 9), (out, 1), (err, 5), (out, OUTPUT_WRITE_BYTES - 1), (out, 1), (out, 1)] {
        outlet.say(outlet.state.lock(), to, text(bytes));
    }
    let mut state = outlet.state.lock();
    for expected in [(out, 10), (err, 5), (out, OUTPUT_WRITE_BYTES), (out, 1)] {
        let written = match state.task() {
            Some(Task::Write(to, text)) => (to, text.len()),
            _ => (out, 0),
        };
        assert_eq!(written, expected);
    }
    assert!(state.task().is_none() && state.bytes == 0);
}

#[test]
fn one_text_is_taken_whatever_its_length() {
    let outlet = held();
    outlet.say(outlet.state.lock(), Stream::Stdout, text(2 * UNREAD_BYTES_MAX));
    let state = outlet.state.lock();
    assert_eq!((state.unread.len(), state.missing), (1, 0));
}

#[test]
fn the_screen_is_drawn_once_and_after_all_that_was_said() {
    let outlet = held();
    outlet.redraw();
    outlet.redraw();
    outlet.say(outlet.state.lock(), Stream::Stderr, text(9));
    let mut state = outlet.state.lock();
    assert!(matches!(state.task(), Some(Task::Write(..))));
    assert!(matches!(state.task(), Some(Task::Draw)));
    assert!(state.task().is_none());
}

#[test]
fn what_nobody_reads_is_given_up_at_the_end_and_what_is_said_then_is_not_kept() {
    let outlet = held();
    outlet.say(outlet.state.lock(), Stream::Stderr, text(9));
    outlet.state.lock().still_since = Instant::now().checked_sub(READER_PATIENCE);
    assert!(!outlet.finish(Instant::now().checked_sub(READER_PATIENCE).unwrap()));
    outlet.say(outlet.state.lock(), Stream::Stderr, text(9));
    assert_eq!(outlet.state.lock().unread.len(), 1);
}

#[test]
fn what_must_not_be_left_out_is_kept_beyond_the_bound_and_nobody_waits_for_that() {
    let outlet = held();
    for _ in 0..3 {
        outlet.keep(outlet.state.lock(), Stream::Stdout, text(UNREAD_BYTES_MAX));
    }
    outlet.say(outlet.state.lock(), Stream::Stdout, text(9));
    let state = outlet.state.lock();
    assert_eq!((state.unread.len(), state.missing), (3, 1));
}
