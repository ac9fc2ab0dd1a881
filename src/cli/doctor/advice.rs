//! What the user can do for a faster transfer, from what is known of this machine and of the way to the
//! other.

use std::time::Duration;

use super::expect::{Figures, Limit};
use crate::client::probe::{Loses, Packets};
use crate::limits::{LONG_PATH_ROUND_TRIP, SOCKET_BUFFER_BYTES};
use crate::session::link::{Interface, Path};
use crate::units;

/// One thing to do, or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// For scripts.
    pub topic: &'static str,
    pub text: String,
    /// What to type, as root.
    pub commands: Vec<String>,
}

impl Advice {
    fn new(topic: &'static str, text: impl Into<String>) -> Advice {
        Advice { topic, text: text.into(), commands: Vec::new() }
    }

    fn with(self, commands: Vec<String>) -> Advice {
        Advice { commands, ..self }
    }
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub figures: Figures,
    /// The folder is in memory.
    pub in_memory: bool,
    /// The way to the other machine, and how long a round trip takes there.
    pub way: Option<(Path, Duration)>,
    /// Which packets get there.
    pub packets: Option<Packets>,
}

/// The Ethernet that every network can carry.
const USUAL_MTU: u32 = 1500;

/// Headers of IPv6 and TCP with its usual options, and some room: what a segment may be shorter than the MTU.
const HEADERS_MAX: u32 = 120;

/// A link is worth looking at where transfers use less of it than this; headers take 6 % of Ethernet.
const LINK_WELL_USED: f64 = 0.7;

/// Faster than this (10 Gbit/s), or with a long round trip, small socket buffers hold TCP up.
const FAST_MBIT: u32 = 10_000;

/// What to do, the most important first.
pub fn advise(known: &Known) -> Vec<Advice> {
    let mut all = Vec::new();
    if let Some((path, round_trip)) = &known.way {
        let lost = known.packets.and_then(|packets| lost(&packets, path.interface.as_ref()));
        // Segments are small for that, and say nothing of the way.
        let segment_bytes = path.segment_bytes.filter(|_| lost.is_none());
        all.extend(lost);
        if let Some(interface) = path.interface.as_ref().filter(|_| !path.same_machine) {
            all.extend(link(interface, &known.figures));
            all.extend(mtu(interface, segment_bytes));
        }
        all.extend(buffers(path, *round_trip, &known.figures));
        all.extend(congestion(path, *round_trip));
        if path.same_machine {
            all.push(Advice::new(
                "same_machine",
                "both ends are this machine and share its CPU, so this says nothing about a network",
            ));
        }
    }
    all.extend(disk(known));
    all
}

fn link(interface: &Interface, figures: &Figures) -> Vec<Advice> {
    let Interface { name, speed, full_duplex, wireless, .. } = interface;
    let mut all = Vec::new();
    if *full_duplex == Some(false) {
        let text = format!(
            "{name} is half-duplex: it cannot send and receive at once; let both ends of the cable negotiate, and \
             replace the cable or the switch if that does not help"
        );
        all.push(Advice::new("duplex", text).with(vec![format!("ethtool -s {name} autoneg on")]));
    }
    if *wireless {
        let text = format!("{name} is wireless; a cable is faster and steadier");
        all.push(Advice::new("wireless", text));
    }
    let Some(speed) = speed else { return all };
    if *speed <= 100 {
        let text = format!(
            "{name} runs at {speed} Mbit/s; nearly every machine can do 1000, so look at the cable (four pairs, Cat 5e \
             or better), the socket and the switch"
        );
        all.push(Advice::new("link_speed", text));
    } else if let Some((_, rate)) = figures.best_network()
        && rate * 8.0 < LINK_WELL_USED * f64::from(*speed) * 1e6
    {
        let text = format!(
            "{name} could carry {speed} Mbit/s and the way there carried {}; others may be using it, or something on the \
             way or the other machine's link is slower: run `lanx doctor` there, too",
            units::bit_rate_of(rate)
        );
        all.push(Advice::new("link_use", text));
    }
    all
}

/// Packets that are lost for their size, which other programs do not get around.
fn lost(packets: &Packets, interface: Option<&Interface>) -> Option<Advice> {
    let Packets { largest, loses } = packets;
    let (which, lower) = match (*loses)? {
        Loses::There => {
            let which = format!("packets of more than {largest} bytes are lost on the way there");
            (which, "lower the MTU of both machines, or ")
        }
        Loses::Back => ("large packets are lost on the way back".into(), ""),
    };
    let text = format!(
        "{which}, and nothing says so: something in between, as a switch, a tunnel or a VPN, takes less than the MTU of both machines. \
         Raise it there; otherwise {lower}have TCP find out by itself at both:"
    );
    let lower = interface.filter(|_| *loses == Some(Loses::There));
    let lower = lower.map(|interface| format!("ip link set {} mtu {largest}", interface.name));
    let commands = lower.into_iter().chain(["sysctl -w net.ipv4.tcp_mtu_probing=1".into()]).collect();
    Some(Advice::new("large_packets", text).with(commands))
}

fn mtu(interface: &Interface, segment_bytes: Option<u32>) -> Option<Advice> {
    let (name, mtu) = (&interface.name, interface.mtu?);
    if mtu < USUAL_MTU {
        let text = format!(
            "the MTU of {name} is {mtu}, below the usual {USUAL_MTU}; unless a tunnel needs that, raise it"
        );
        return Some(Advice::new("mtu", text).with(vec![format!("ip link set {name} mtu {USUAL_MTU}")]));
    }
    let segment = segment_bytes.filter(|segment| segment.saturating_add(HEADERS_MAX) < mtu)?;
    let text = format!(
        "the MTU of {name} is {mtu}, and the way there takes only segments of {segment} bytes: the MTUs on the way differ; \
         give both machines and the switch the same"
    );
    Some(Advice::new("mtu_mixed", text))
}

fn buffers(path: &Path, round_trip: Duration, figures: &Figures) -> Option<Advice> {
    let speed = path.interface.as_ref().and_then(|interface| interface.speed);
    let measured = figures.best_network().map_or(0.0, |(_, rate)| rate * 8.0 / 1e6);
    // Where nobody knows the link it may be fast.
    let fast = speed.is_none_or(|speed| speed >= FAST_MBIT) || measured >= 0.8 * f64::from(FAST_MBIT);
    if !fast && round_trip < LONG_PATH_ROUND_TRIP {
        return None;
    }
    let line = |name: &str, clamp: Option<u64>| {
        clamp.map(|_| format!("sysctl -w net.core.{name}={SOCKET_BUFFER_BYTES}"))
    };
    let commands: Vec<String> = [line("rmem_max", path.receive_clamp), line("wmem_max", path.send_clamp)]
        .into_iter()
        .flatten()
        .collect();
    let text =
        "the socket buffer limits are too small for fast or long-distance links; on both machines run:";
    (!commands.is_empty()).then(|| Advice::new("socket_buffers", text).with(commands))
}

fn congestion(path: &Path, round_trip: Duration) -> Option<Advice> {
    let name = path.congestion.as_deref()?;
    let set = |to: &str| vec![format!("sysctl -w net.ipv4.tcp_congestion_control={to}")];
    match name {
        "cubic" | "reno" | "dctcp" if round_trip >= LONG_PATH_ROUND_TRIP => {
            let text = format!("the way there is long and TCP uses {name}; bbr bears losses better there");
            Some(Advice::new("congestion_control", text).with(set("bbr")))
        }
        "cubic" | "reno" | "dctcp" | "bbr" | "bbr2" | "bbr3" | "htcp" => None,
        _ => {
            let text =
                format!("TCP uses {name}, which few systems do; see whether cubic, the usual one, is faster");
            Some(Advice::new("congestion_control", text).with(set("cubic")))
        }
    }
}

fn disk(known: &Known) -> Option<Advice> {
    if known.in_memory {
        let text =
            "the folder is in memory (tmpfs), so no disk was measured; name one on a disk with --dir DIR";
        return Some(Advice::new("disk_in_memory", text));
    }
    let disk = known.figures.sending().is_some_and(|expected| expected.limit == Limit::DiskRead);
    (disk && known.way.is_some()).then(|| {
        let text =
            "the disk here is slower than the way there: more connections will not help, a faster disk would";
        Advice::new("disk", text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine at which there is nothing to find.
    fn good() -> Known {
        let interface = Interface {
            name: "eth0".into(),
            mtu: Some(1500),
            speed: Some(1000),
            full_duplex: Some(true),
            wireless: false,
        };
        let path = Path {
            same_machine: false,
            interface: Some(interface),
            segment_bytes: Some(1448),
            congestion: Some("cubic".into()),
            receive_clamp: Some(212_992),
            send_clamp: Some(212_992),
        };
        let network = vec![(1, 117e6), (2, 117e6), (4, 117e6), (8, 117e6)];
        let figures = Figures { network, disk_read: Some(1e9), ..Figures::default() };
        Known { figures, way: Some((path, Duration::from_micros(300))), ..Known::default() }
    }

    /// The topics of the advice after `change`, and the commands.
    fn after(change: impl FnOnce(&mut Known)) -> (Vec<&'static str>, Vec<String>) {
        let mut known = good();
        change(&mut known);
        let advice = advise(&known);
        (
            advice.iter().map(|advice| advice.topic).collect(),
            advice.into_iter().flat_map(|advice| advice.commands).collect(),
        )
    }

    fn interface(known: &mut Known) -> &mut Interface {
        known.way.as_mut().unwrap().0.interface.as_mut().unwrap()
    }

    fn path(known: &mut Known) -> &mut Path {
        &mut known.way.as_mut().unwrap().0
    }

    #[test]
    fn a_good_machine_is_left_alone() {
        assert_eq!(advise(&good()), []);
        assert_eq!(advise(&Known::default()), []);
    }

    #[test]
    fn the_link_is_looked_at() {
        assert_eq!(after(|k| interface(k).full_duplex = Some(false)).0, ["duplex"]);
        assert_eq!(after(|k| interface(k).speed = Some(100)).0, ["link_speed"]);
        assert_eq!(after(|k| interface(k).speed = Some(10)).0, ["link_speed"]);
        assert_eq!(after(|k| interface(k).speed = Some(2500)).0, ["link_use"]);
        assert_eq!(after(|k| interface(k).wireless = true).0, ["wireless"]);
    }

    #[test]
    fn an_mtu_that_is_small_or_differs_on_the_way_is_told() {
        let (topics, commands) = after(|k| interface(k).mtu = Some(1400));
        assert_eq!((topics, commands), (vec!["mtu"], vec!["ip link set eth0 mtu 1500".to_string()]));
        assert_eq!(after(|k| interface(k).mtu = Some(9000)).0, ["mtu_mixed"]);
        let jumbo = |k: &mut Known| {
            interface(k).mtu = Some(9000);
            path(k).segment_bytes = Some(8948);
        };
        assert!(after(jumbo).0.is_empty());
    }

    #[test]
    fn packets_that_are_lost_for_their_size_come_first_and_small_segments_are_no_wonder_then() {
        let lost = |loses| {
            after(|k| {
                k.packets = Some(Packets { largest: 1300, loses });
                path(k).segment_bytes = Some(1188);
            })
        };
        let probing = "sysctl -w net.ipv4.tcp_mtu_probing=1".to_owned();
        let lower = "ip link set eth0 mtu 1300".to_owned();
        assert_eq!(lost(Some(Loses::There)), (vec!["large_packets"], vec![lower, probing.clone()]));
        assert_eq!(lost(Some(Loses::Back)), (vec!["large_packets"], vec![probing]));
        assert_eq!(lost(None).0, ["mtu_mixed"]);
    }

    #[test]
    fn clamped_buffers_matter_on_fast_links_and_long_ways_only() {
        let fast = |k: &mut Known| {
            interface(k).speed = Some(10_000);
            k.figures.network = vec![(4, 1.1e9)];
            k.figures.disk_read = Some(5e9);
        };
        let lines = ["sysctl -w net.core.rmem_max=4194304", "sysctl -w net.core.wmem_max=4194304"];
        assert_eq!(after(fast), (vec!["socket_buffers"], lines.map(String::from).to_vec()));
        let one = |k: &mut Known| {
            fast(k);
            path(k).send_clamp = None;
        };
        assert_eq!(after(one).1, lines[..1]);
        let raised = |k: &mut Known| {
            fast(k);
            (path(k).receive_clamp, path(k).send_clamp) = (None, None);
        };
        assert!(after(raised).0.is_empty());
        let (topics, _) = after(|k| k.way.as_mut().unwrap().1 = Duration::from_millis(40));
        assert_eq!(topics, ["socket_buffers", "congestion_control"]);
    }

    #[test]
    fn an_odd_congestion_control_is_told() {
        assert_eq!(
            after(|k| path(k).congestion = Some("vegas".into())).1,
            ["sysctl -w net.ipv4.tcp_congestion_control=cubic"]
        );
        assert!(after(|k| path(k).congestion = Some("bbr".into())).0.is_empty());
        assert!(after(|k| path(k).congestion = None).0.is_empty());
    }

    #[test]
    fn a_slow_disk_and_one_that_is_none_are_told() {
        assert_eq!(after(|k| k.figures.disk_read = Some(50e6)).0, ["disk"]);
        assert_eq!(after(|k| k.in_memory = true).0, ["disk_in_memory"]);
    }

    #[test]
    fn of_one_machine_with_itself_no_link_is_told() {
        let (topics, _) = after(|k| {
            path(k).same_machine = true;
            interface(k).mtu = Some(65_536);
        });
        assert_eq!(topics, ["same_machine"]);
    }
}
