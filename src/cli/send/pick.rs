//! `lanx send FILE` without a HOST: receivers are shown as they come, and a person picks one.

use anyhow::anyhow;
use tokio::time::{Instant, sleep_until};

use crate::cli::credentials::{Acquaintances, ask_line, forget_typed};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::list::line;
use crate::cli::ui::out;
use crate::limits::{FOUND_MAX, MENU_LINES_MAX, PICK_HINT_AFTER};
use crate::name::Escaped;
use crate::net::address::Peer;
use crate::net::discovery::{Browse, Change, Sighting};

const QUESTION: &str = "Send to which? (number or name) ";

/// Has the person at the terminal pick a receiver.
pub async fn pick(known: &Acquaintances) -> Result<Peer, Failure> {
    let mut browse = Browse::start().map_err(|error| Failure::new(Exit::Other, error))?;
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
        let Some(line) = line else {
            let error = anyhow!("no receiver was picked, so nothing was sent; name one: lanx send FILE HOST");
            return Err(Failure::new(Exit::Usage, error));
        };
        match menu.choose(&line) {
            Ok(peer) => return Ok(peer),
            Err(why) => out::note(why),
        }
    }
}

fn say(text: &str) {
    out::ask(format_args!("{text}\n"));
}

/// Puts a line in the place of the question, and asks again beneath it. What was typed is not shown there, so it is not to
/// count either.
fn above_question(line: &str) {
    forget_typed();
    let width = QUESTION.len();
    let rest = if out::can_draw() { NO_REST } else { "" };
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
}

impl Menu {
    fn is_empty(&self) -> bool {
        self.items.iter().all(|item| item.gone)
    }

    /// Takes in a change. Returns what is to be shown of it: nothing where a receiver says what it said before but for
    /// further addresses, nor once a flood of changes has filled the screen. Past [`FOUND_MAX`] no receiver is added.
    fn heard(&mut self, change: Change, known: &Acquaintances) -> Option<String> {
        let (number, news) = match change {
            Change::Here(id, sighting) => match self.items.iter().position(|item| item.id == id) {
                Some(at) => {
                    let item = self.items.get_mut(at)?;
                    let same = !item.gone
                        && item.sighting.key == sighting.key
                        && item.sighting.port == sighting.port;
                    (item.sighting, item.gone) = (sighting, false);
                    (at, !same)
                }
                None if self.items.len() >= FOUND_MAX => return None,
                None => {
                    self.items.push(Item { id, sighting, gone: false });
                    (self.items.len() - 1, true)
                }
            },
            Change::Gone(id) => {
                let at = self.items.iter().position(|item| item.id == id)?;
                self.items.get_mut(at)?.gone = true;
                (at, true)
            }
        };
        if !news || self.lines >= MENU_LINES_MAX {
            return None;
        }
        self.lines += 1;
        Some(self.items.get(number)?.line(number + 1, known))
    }

    /// The receiver of that number or name.
    ///
    /// # Errors
    /// What to tell the person instead.
    fn choose(&self, answer: &str) -> Result<Peer, String> {
        let answer = answer.trim();
        // What looks like a number never is a name: nobody is to call themselves what somebody else is picked by.
        if !answer.is_empty() && answer.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            return match number.and_then(|at| self.items.get(at)) {
                Some(item) if item.gone => {
                    Err(format!("{} has left; pick another one", Escaped::from(&*item.sighting.name)))
                }
                Some(item) => Ok(item.sighting.peer()),
                None => Err(self.none_of_them()),
            };
        }
        let name = answer.to_lowercase();
        let named = self.items.iter().filter(|item| !item.gone && item.sighting.name == name);
        let named: Vec<&Item> = named.collect();
        match named[..] {
            [only] => Ok(only.sighting.peer()),
            [] => Err(self.none_of_them()),
            _ => Err("more than one is called so; pick it by its number".into()),
        }
    }

    fn none_of_them(&self) -> String {
        if self.is_empty() {
            return "there is no receiver so far; start `lanx recv` on the other machine".into();
        }
        "that is none of them; type a number or a name from the list, or press Ctrl-C".into()
    }
}

impl Item {
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

    fn sighting(name: &str, port: u16) -> Sighting {
        let addrs = vec![([10, 0, 0, 5], port).into()];
        Sighting { name: name.into(), port, addrs, key: None, version: None }
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

    fn picked(menu: &Menu, answer: &str) -> Option<u16> {
        menu.choose(answer).ok().map(|peer| peer.port)
    }

    #[test]
    fn a_receiver_is_picked_by_number_or_name() {
        let menu = menu();
        for (answer, port) in
            [("2\n", Some(2)), ("nas", Some(1)), (" NAS \n", Some(1)), ("4", Some(4)), ("1", Some(1))]
        {
            assert_eq!(picked(&menu, answer), port, "{answer:?}");
        }
        assert_eq!(picked(&menu, "5"), Some(5), "the one that is called 1");
        for answer in ["", "0", "6", "7", "+1", "-1", "99999999999999999999999", "na", "twin", "\x1b[A"] {
            let why = menu.choose(answer).unwrap_err();
            assert_eq!(crate::name::escape(&why), why, "{answer:?}");
        }
    }

    #[test]
    fn a_number_stays_with_its_receiver() {
        let (mut menu, known) = (menu(), Acquaintances::default());
        assert_eq!(menu.heard(Change::Gone("a".into()), &known).unwrap(), "  1  nas has left");
        assert_eq!((picked(&menu, "nas"), picked(&menu, "2")), (None, Some(2)));
        assert_eq!(menu.choose("1").unwrap_err(), "nas has left; pick another one", "whoever is called 1");
        assert!(
            menu.heard(Change::Here("a".into(), sighting("nas", 9)), &known)
                .unwrap()
                .starts_with("  1  nas ")
        );
        assert_eq!(picked(&menu, "nas"), Some(9));
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
        assert_eq!(picked(&menu, "1"), Some(u16::MAX), "what is not shown counts all the same");
    }

    #[test]
    fn further_addresses_are_taken_without_a_word() {
        let (mut menu, known) = (menu(), Acquaintances::default());
        let mut more = sighting("nas", 1);
        more.addrs.push("[fd00::5]:1".parse().unwrap());
        assert_eq!(menu.heard(Change::Here("a".into(), more.clone()), &known), None);
        assert_eq!(menu.choose("nas").unwrap().found.unwrap().addrs, more.addrs);
    }
}
