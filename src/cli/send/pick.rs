//! `lanx send FILE` without a HOST: receivers are shown as they come, and a person picks one.

use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::time::{Instant, sleep_until};

use crate::cli::acquaintances::Acquaintances;
use crate::cli::credentials::{ask_line, forget_typed};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::list::line;
use crate::cli::ui::{out, screen};
use crate::limits::{FOUND_MAX, MENU_LINES_MAX, PICK_HINT_AFTER};
use crate::name::Escaped;
use crate::net::address::Peer;
use crate::net::discovery::{Browse, Change, Kind, Sighting};
use crate::trust::fingerprint::Fingerprint;

const QUESTION: &str = "Send to which? (number, name or address; q ends) ";

/// Has the person at the terminal pick a receiver.
pub async fn pick(known: &Acquaintances) -> Result<Peer, Failure> {
    let mut browse = Browse::start(Kind::Receiver).map_err(|error| Failure::new(Exit::Other, error))?;
    let mut menu = Menu::default();
    say("looking for receivers on this network; Ctrl-C ends");
    let hint_at = Instant::now() + PICK_HINT_AFTER;
    let mut hinted = false;
    loop {
        let answer = ask_line(QUESTION.into());
        tokio::pin!(answer);
        let line = loop {
            tokio::select! {
                line = &mut answer => break line?,
                change = browse.next() => {
                    if let Some(line) = menu.heard(change, known) {
                        above_question(&line);
                    }
                }
                () = sleep_until(hint_at), if !hinted => {
                    hinted = true;
                    if menu.is_empty() {
                        above_question("none so far; start `lanx recv` on the other machine, or name it: lanx send FILE HOST");
                    }
                }
            }
        };
        let Some(line) = line else { return Err(nobody_picked()) };
        if leaves(&line) {
            return Err(nobody_picked());
        }
        match address(&line).map_or_else(|| menu.choose(&line, known), Ok) {
            Ok(peer) => return Ok(peer),
            Err(why) => out::note(why),
        }
    }
}

fn nobody_picked() -> Failure {
    let error = anyhow!("nothing was sent, as no receiver was picked; give one: lanx send FILE HOST");
    Failure::new(Exit::Usage, error)
}

/// Whether the person wants to pick nobody. No receiver is picked by these, whatever it calls itself.
fn leaves(answer: &str) -> bool {
    let answer = answer.trim().to_lowercase();
    // The key Esc stands in the line as what it sends.
    let typed = answer.trim_start_matches('\x1b');
    ["q", "quit", "exit"].contains(&typed) || (typed.is_empty() && typed != answer)
}

/// A receiver that is in no list: an address, or a name with a dot or a port, which none in the list has.
fn address(answer: &str) -> Option<Peer> {
    let answer = answer.trim();
    answer.contains(['.', ':']).then(|| answer.parse().ok()).flatten()
}

fn say(text: &str) {
    out::ask(format_args!("{text}\n"));
}

/// Puts a line in the place of the question, and asks again beneath it. What was typed is not shown there, so
/// it is not to count either.
fn above_question(line: &str) {
    forget_typed();
    let width = QUESTION.len();
    let rest = if screen::can_draw() { NO_REST } else { "" };
    out::ask(format_args!("\r{line:width$}{rest}\n{QUESTION}"));
}

/// Has a terminal clear the line from the cursor on: more may have been typed than the new one covers.
const NO_REST: &str = "\x1b[K";

/// The receivers that were shown. A number stays with its receiver, whatever comes and goes.
#[derive(Default)]
struct Menu {
    items: Vec<Item>,
    /// Lines that were shown.
    lines: usize,
}

struct Item {
    id: String,
    sighting: Sighting,
    gone: bool,
    /// What the person has seen of it last; nothing where a flood kept it from the screen.
    shown: Option<Shown>,
}

/// What a person goes by who picks a receiver.
struct Shown {
    key: Option<Fingerprint>,
    port: u16,
    nearest: Option<SocketAddr>,
    gone: bool,
}

impl Menu {
    fn is_empty(&self) -> bool {
        self.items.iter().all(|item| item.gone)
    }

    /// Takes in a change. Returns what is to be shown of it: nothing where a receiver says what it said
    /// before but for further addresses, nor once a flood of changes has filled the screen. Past
    /// [`FOUND_MAX`] no receiver is added.
    fn heard(&mut self, change: Change, known: &Acquaintances) -> Option<String> {
        let at = match change {
            Change::Here(id, sighting) => match self.items.iter().position(|item| item.id == id) {
                Some(at) => {
                    let item = self.items.get_mut(at)?;
                    (item.sighting, item.gone) = (sighting, false);
                    at
                }
                None if self.items.len() >= FOUND_MAX => return None,
                None => {
                    self.items.push(Item { id, sighting, gone: false, shown: None });
                    self.items.len() - 1
                }
            },
            Change::Gone(id) => {
                let at = self.items.iter().position(|item| item.id == id)?;
                self.items.get_mut(at)?.gone = true;
                at
            }
        };
        let item = self.items.get_mut(at)?;
        if item.is_as_shown() || self.lines >= MENU_LINES_MAX {
            return None;
        }
        self.lines += 1;
        Some(item.show(at + 1, known))
    }

    /// The receiver of that number or name, if it still is what the person was shown: a flood that has filled
    /// the screen hides what changes behind it.
    ///
    /// # Errors
    /// What to tell the person instead.
    fn choose(&mut self, answer: &str, known: &Acquaintances) -> Result<Peer, String> {
        let at = self.meant(answer)?;
        let item = self.items.get_mut(at).ok_or("that is none of them")?;
        if item.gone {
            return Err(format!("{} has left; pick another one", Escaped::from(&*item.sighting.name)));
        }
        if !item.is_as_shown() {
            let line = item.show(at + 1, known);
            return Err(format!(
                "it is not as it was shown, but now: {}; pick it once more if that is right",
                line.trim()
            ));
        }
        Ok(item.sighting.peer())
    }

    /// Where the receiver of that number or name stands.
    fn meant(&self, answer: &str) -> Result<usize, String> {
        let answer = answer.trim();
        // What looks like a number never is a name: nobody is to call themselves what somebody else is picked
        // by.
        if !answer.is_empty() && answer.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            return number.filter(|at| *at < self.items.len()).ok_or_else(|| self.none_of_them());
        }
        let name = answer.to_lowercase();
        let is_meant = |item: &Item| !item.gone && item.sighting.name == name;
        let named: Vec<usize> =
            (0..).zip(&self.items).filter(|(_, item)| is_meant(item)).map(|(at, _)| at).collect();
        match named[..] {
            [only] => Ok(only),
            [] => Err(self.none_of_them()),
            _ => Err("more than one is called so; pick it by its number".into()),
        }
    }

    fn none_of_them(&self) -> String {
        if self.is_empty() {
            return "there is no receiver so far; start `lanx recv` on the other machine, or type its address".into();
        }
        "that is none of them; type a number or a name from the list, or an address, or q to end".into()
    }
}

impl Item {
    /// Whether the person has seen it like this, but for further addresses.
    fn is_as_shown(&self) -> bool {
        let Sighting { key, port, addrs, .. } = &self.sighting;
        self.shown.as_ref().is_some_and(|shown| {
            (shown.gone, shown.key, shown.port) == (self.gone, *key, *port)
                && shown.nearest.is_none_or(|nearest| addrs.contains(&nearest))
        })
    }

    /// Its line, which the person sees now.
    fn show(&mut self, number: usize, known: &Acquaintances) -> String {
        let Sighting { key, port, ref addrs, .. } = self.sighting;
        self.shown = Some(Shown { key, port, nearest: addrs.first().copied(), gone: self.gone });
        self.line(number, known)
    }

    fn line(&self, number: usize, known: &Acquaintances) -> String {
        if self.gone {
            return format!("{number:>3}  {} has left", Escaped::from(&*self.sighting.name));
        }
        let nearest = self.sighting.addrs.get(..1).unwrap_or_default();
        format!("{number:>3}  {}", line(&self.sighting, nearest, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PORT_DEFAULT;

    fn sighting(name: &str, port: u16) -> Sighting {
        let addrs = vec![([10, 0, 0, 5], port).into()];
        Sighting { name: name.into(), port, addrs, key: None, version: None, quic: false, secure: false }
    }

    fn menu() -> Menu {
        let mut menu = Menu::default();
        for (id, name, port) in
            [("a", "nas", 1), ("b", "attic", 2), ("c", "twin", 3), ("d", "twin", 4), ("e", "1", 5)]
        {
            let line = menu.heard(Change::Here(id.into(), sighting(name, port)), &Acquaintances::default());
            assert!(line.unwrap().contains(name));
        }
        menu
    }

    fn picked(menu: &mut Menu, answer: &str) -> Option<u16> {
        menu.choose(answer, &Acquaintances::default()).ok().map(|peer| peer.port)
    }

    #[test]
    fn a_receiver_is_picked_by_number_or_name() {
        let mut menu = menu();
        for (answer, port) in
            [("2\n", Some(2)), ("nas", Some(1)), (" NAS \n", Some(1)), ("4", Some(4)), ("1", Some(1))]
        {
            assert_eq!(picked(&mut menu, answer), port, "{answer:?}");
        }
        assert_eq!(picked(&mut menu, "5"), Some(5), "the one that is called 1");
        for answer in ["", "0", "6", "7", "+1", "-1", "99999999999999999999999", "na", "twin", "\x1b[A"] {
            let why = menu.choose(answer, &Acquaintances::default()).unwrap_err();
            assert_eq!(crate::name::escape(&why), why, "{answer:?}");
        }
    }

    #[test]
    fn an_address_is_picked_that_is_in_no_list_and_q_picks_nobody() {
        let host = |text| address(text).map(|peer| (peer.host, peer.port));
        assert_eq!(host(" 10.0.0.9\n"), Some(("10.0.0.9".into(), PORT_DEFAULT)));
        assert_eq!(host("nas.lan:7000"), Some(("nas.lan".into(), 7000)));
        assert_eq!(host("[fe80::1%eth0]:7"), Some(("fe80::1%eth0".into(), 7)));
        for answer in ["nas", "1", "", "nas:port", "a b.c", "\x1b.[A"] {
            assert_eq!(host(answer), None, "{answer:?}");
        }
        assert!(
            leaves(" Q\n")
                && leaves("quit")
                && leaves("\x1b\n")
                && leaves("\x1bq")
                && ["1", "", "\x1b[A"].iter().all(|answer| !leaves(answer))
        );
    }

    #[test]
    fn a_number_stays_with_its_receiver() {
        let (mut menu, known) = (menu(), Acquaintances::default());
        assert_eq!(menu.heard(Change::Gone("a".into()), &known).unwrap(), "  1  nas has left");
        assert_eq!((picked(&mut menu, "nas"), picked(&mut menu, "2")), (None, Some(2)));
        let left = menu.choose("1", &known).unwrap_err();
        assert_eq!(left, "nas has left; pick another one", "whoever is called 1");
        assert!(
            menu.heard(Change::Here("a".into(), sighting("nas", 9)), &known)
                .unwrap()
                .starts_with("  1  nas ")
        );
        assert_eq!(picked(&mut menu, "nas"), Some(9));
        assert_eq!(menu.heard(Change::Gone("never seen".into()), &known), None);
    }

    #[test]
    fn who_comes_and_goes_for_ever_fills_neither_the_menu_nor_the_screen() {
        let (mut menu, known) = (Menu::default(), Acquaintances::default());
        let mut lines = 0;
        for number in 0..3 * MENU_LINES_MAX {
            let id = number.to_string();
            lines += usize::from(menu.heard(Change::Here(id.clone(), sighting("nas", 1)), &known).is_some());
            lines += usize::from(menu.heard(Change::Gone(id), &known).is_some());
        }
        for port in 1..=u16::MAX {
            lines +=
                usize::from(menu.heard(Change::Here("0".into(), sighting("nas", port)), &known).is_some());
        }
        assert_eq!((menu.items.len(), lines), (FOUND_MAX, MENU_LINES_MAX));
    }

    #[test]
    fn what_changed_behind_a_flood_is_shown_before_it_can_be_picked() {
        let (mut menu, known) = (menu(), Acquaintances::default());
        for port in (10..).take(MENU_LINES_MAX) {
            menu.heard(Change::Here("b".into(), sighting("attic", port)), &known);
        }
        let other_key = Sighting { key: Some(Fingerprint([1; 32])), ..sighting("nas", 1) };
        let elsewhere = Sighting { addrs: vec![([10, 0, 0, 66], 1).into()], ..sighting("nas", 1) };
        for (answer, changed) in [("1", sighting("nas", 9)), ("nas", other_key), ("1", elsewhere)] {
            assert_eq!(menu.heard(Change::Here("a".into(), changed.clone()), &known), None, "no room");
            let why = menu.choose(answer, &known).unwrap_err();
            let now = changed.addrs[0].to_string();
            assert!(why.contains("not as it was shown") && why.contains(&now), "{why}");
            assert_eq!(menu.choose(answer, &known).unwrap(), changed.peer());
        }
        // Nor is one that came then picked unseen.
        menu.heard(Change::Here("f".into(), sighting("new", 6)), &known);
        assert_eq!((picked(&mut menu, "new"), picked(&mut menu, "new")), (None, Some(6)));
        assert_eq!(picked(&mut menu, "4"), Some(4), "the others are what they were");
    }

    #[test]
    fn further_addresses_are_taken_without_a_word() {
        let (mut menu, known) = (menu(), Acquaintances::default());
        let mut more = sighting("nas", 1);
        more.addrs.push("[fd00::5]:1".parse().unwrap());
        assert_eq!(menu.heard(Change::Here("a".into(), more.clone()), &known), None);
        assert_eq!(menu.choose("nas", &known).unwrap().found.unwrap().addrs, more.addrs);
    }
}
