use proptest::prelude::*;

use super::*;
use crate::name::RelativePath;

const WIDTHS: [usize; 6] = [20, 40, 60, 80, 120, 200];
const GIB: u64 = 1 << 30;

fn path(name: &str) -> RelativePath {
    RelativePath::from_wire(name.as_bytes()).unwrap()
}

fn file(name: &str, chunks: u64, of: u64) -> FileUnderWay {
    FileUnderWay { path: path(name), chunks, of: Some(of) }
}

/// Half of 4 GiB, at a steady rate.
fn view() -> View {
    View {
        reading: Reading { doing: Doing::Moving, rate: Some(1.17e9), left: Some(Duration::from_secs(125)) },
        kept: GIB / 2,
        arrived: 2 * GIB - 1,
        total: Some(4 * GIB),
        under_way: Some(UnderWay {
            connections: 4,
            files: vec![file("disk.img", 8191, 16384)],
            others: 0,
            all_offered: true,
        }),
        ..View::default()
    }
}

fn from_ann() -> View {
    let who = Who { name: Some("ann".into()), address: "192.168.1.20".into() };
    View { who: Some(who), receives: true, ..view() }
}

/// What a terminal of `columns` and 24 rows shows, without colours.
fn shown(columns: usize, views: &[View]) -> Vec<String> {
    block(columns, 24, views, Ink::Plain)
}

#[test]
fn a_line_tells_as_much_as_there_is_room_for() {
    let head = |columns| shown(columns, &[view()]).remove(0);
    assert_eq!(
        WIDTHS.map(head),
        [
            "sending  49%",
            "sending  49%  1.17 GB/s  2:05 left",
            "sending  [=####       ]  49%  1.17 GB/s  4 conn.  2:05 left",
            "sending  [=####       ]   49%  2.00 of 4.00 GiB   1.17 GB/s  4 conn.  2:05 left",
            "sending  [====##############                    ]   49%  2.00 of 4.00 GiB   1.17 GB/s  4 connections  2:05 left",
            "sending  [====##############                    ]   49%  2.00 of 4.00 GiB   1.17 GB/s  4 connections  2:05 left",
        ]
    );
}

#[test]
fn whoever_sends_is_named_and_by_the_name_alone_where_there_is_little_room() {
    let head = |columns| shown(columns, &[from_ann()]).remove(0);
    assert_eq!(
        WIDTHS.map(head),
        [
            "ann  receiving  49%",
            "ann  receiving  49%  1.17 GB/s  4 conn.",
            "ann (192.168.1.20)  receiving  49%  1.17 GB/s  2:05 left",
            "ann (192.168.1.20)  receiving  [=##     ]   49%   1.17 GB/s  4 conn.  2:05 left",
            "ann (192.168.1.20)  receiving  [===########             ]   49%  2.00 of 4.00 GiB   1.17 GB/s  4 connections  2:05 left",
            "ann (192.168.1.20)  receiving  [====##############                    ]   49%  2.00 of 4.00 GiB   1.17 GB/s  4 connections  2:05 left",
        ]
    );
}

#[test]
fn no_line_reaches_the_last_column_whatever_colours_it_has() {
    for columns in (0..=250).chain([10_000]) {
        for ink in [Ink::Plain, Ink::Colours] {
            for line in block(columns, 50, &[view(), from_ann()], ink) {
                let mut bare = line.clone();
                for colour in ["\x1b[32m", "\x1b[2m", "\x1b[0m"] {
                    bare = bare.replace(colour, "");
                }
                assert!(!bare.contains('\x1b') && (ink == Ink::Colours || bare == line), "{line:?}");
                assert!(columns_of(&bare) < columns.max(1), "{columns}: {line:?}");
            }
        }
    }
}

#[test]
fn what_was_there_and_what_was_sent_are_told_apart() {
    let bar =
        |kept, arrived| bar(22, &View { kept, arrived, total: Some(100), ..View::default() }, Ink::Plain);
    assert_eq!(bar(0, 0), "[                    ]");
    assert_eq!(bar(50, 75), "[==========#####     ]");
    assert_eq!(bar(100, 100), "[====================]");
    assert_eq!(bar(200, 300), "[====================]");
    let doing = |doing, receives| {
        let reading = Reading { doing, ..Reading::default() };
        doing_words(&View { reading, receives, ..View::default() })
    };
    assert_eq!(doing(Doing::Comparing, false), "comparing");
    assert_eq!(doing(Doing::Both, true), "comparing and receiving");
    assert_eq!((doing(Doing::Moving, false), doing(Doing::Moving, true)), ("sending", "receiving"));
    assert_eq!(doing(Doing::Waiting, false), "connecting");
}

fn doing_words(view: &View) -> &'static str {
    doing(view)[0]
}

#[test]
fn a_total_that_nobody_knows_is_not_made_up() {
    let mut view = View { total: None, files_done: 1234, ..view() };
    view.reading.left = None;
    let head = &shown(80, &[view])[0];
    assert_eq!(head, "sending  2.00 GiB   1.17 GB/s  4 connections  1234 files done");
}

#[test]
fn files_in_flight_take_the_room_that_there_is() {
    let names = ["a.bin", "b.bin", "c.bin", "d.bin"];
    let files = |n: usize, others| {
        let files = names.iter().take(n).map(|name| file(name, 1, 4)).collect();
        View { under_way: Some(UnderWay { files, others, ..UnderWay::default() }), ..View::default() }
    };
    let lines = |room, view: &View| -> Vec<String> {
        super::files(79, room, view, Ink::Plain).into_iter().map(|line| line.trim().into()).collect()
    };
    assert_eq!(lines(5, &files(4, 0)), ["25%  a.bin", "25%  b.bin", "25%  c.bin", "25%  d.bin"]);
    assert_eq!(
        lines(5, &files(4, 9)),
        ["25%  a.bin", "25%  b.bin", "25%  c.bin", "25%  d.bin", "9 more under way"]
    );
    assert_eq!(lines(3, &files(4, 9)), ["25%  a.bin", "25%  b.bin", "11 more under way"]);
    assert_eq!(lines(1, &files(1, 0)), ["25%  a.bin"]);
    assert_eq!(lines(1, &files(2, 0)), ["2 files under way"]);
    assert_eq!(lines(4, &files(0, 1)), ["1 file under way"]);
    assert!(lines(0, &files(4, 9)).is_empty() && lines(4, &files(0, 0)).is_empty());
}

#[test]
fn a_small_terminal_is_not_filled() {
    for rows in 0..60 {
        for transfers in 0..40 {
            let views = vec![view(); transfers];
            let lines = block(80, rows, &views, Ink::Plain);
            assert!(lines.len() <= (rows / 2).clamp(1, SCREEN_LINES_MAX), "{transfers} in {rows} rows");
            assert_eq!(lines.is_empty(), transfers == 0);
        }
    }
    let lines = block(80, 10, &vec![view(); 9], Ink::Plain);
    assert_eq!(lines.last().unwrap().trim(), "5 more transfers");
}

#[test]
fn long_names_lose_their_middle() {
    assert_eq!(elided("short", 5), "short");
    assert_eq!(elided("a-long-name.tar.gz", 11), "a-lo...r.gz");
    assert_eq!(elided("a-long-name.tar.gz", 4), "a...");
    assert_eq!(elided("a-long-name.tar.gz", 2), "..");
    assert_eq!(elided("a-long-name.tar.gz", 0), "");
    // Of a character of two columns there is no half.
    assert_eq!(elided("日本語のファイル名.txt", 12), "日本....txt");
    // A mark stays on its letter.
    assert_eq!(elided("ae\u{301}bcdefghe\u{301}z", 7), "ae\u{301}...e\u{301}z");
}

#[test]
fn names_of_others_do_nothing_to_the_terminal() {
    let name = "\x1b[2J\u{202e}gpj.exe\n日本";
    let line = file_line(60, &file(name, 1, 2));
    assert_eq!(line, "   50%  \\x1b[2J\\u{202e}gpj.exe\\n日本");
}

#[test]
fn times_to_come_are_told_in_steps() {
    for (seconds, text) in [
        (0, "0:01"),
        (59, "0:59"),
        (61, "1:05"),
        (125, "2:05"),
        (3_598, "1 h 00 min"),
        (3_900, "1 h 05 min"),
        (400_000, "4 days"),
    ] {
        assert_eq!(until(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn a_log_gets_plain_lines_and_not_many() {
    assert_eq!(log(&[view()]), ["sending: 49%, 2.00 of 4.00 GiB, 1.17 GB/s, 2:05 left"]);
    let unknown = View { total: None, reading: Reading::default(), ..from_ann() };
    assert_eq!(log(&[unknown]), ["ann (192.168.1.20): receiving: 2.00 GiB"]);
    assert_eq!(log(&vec![view(); 5]), ["5 transfers under way, 5.85 GB/s"]);
    assert!(log(&[]).is_empty());
}

proptest! {
    #[test]
    fn what_is_elided_fits_and_keeps_both_ends(text in "[a-zé日\u{301}]{0,40}", room in 0..50usize) {
        let short = elided(&text, room);
        prop_assert!(columns_of(&short) <= room);
        prop_assert!(columns_of(&text) > room || short == text);
        if let Some((head, tail)) = short.split_once("...").filter(|_| short != text) {
            prop_assert!(text.starts_with(head) && text.ends_with(tail));
            prop_assert!(tail.chars().next().is_none_or(|c| columns(c) > 0));
            // No more is lost than what a wide character needs at each end.
            prop_assert!(columns_of(&short) + 2 >= room);
        }
    }
}
