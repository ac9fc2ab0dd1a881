//! A sender, or a browser, whose network changes under a transfer, between network namespaces; as root (`make test-discovery`).

use crate::common::*;

/// Two hosts, and a transfer between them over QUIC at this rate. The other machine knows the sender by its key.
struct Move {
    scene: Scene,
    lan: Lan,
    receiver: Receiver,
    sender: Process,
    file: std::path::PathBuf,
}

impl Move {
    fn begin(len: usize, limit: &str) -> Move {
        let scene = Scene::over_quic();
        let lan = Lan::new(&["sender", "receiver"], Family::V4);
        let file = make(&scene.src, "image.raw", len);
        let command = lan.hosts[1].lanx(&scene);
        let receiver = Receiver::start_as(command, "0.0.0.0:0", &["--open"], &scene.dst);
        let host = format!("{}:{}", lan.hosts[1].v4, receiver.addr.port());
        let mut command = lan.hosts[0].lanx(&scene);
        command.args(["send", "--json", "--retry-for", "0", "--limit", limit]).arg(&file).arg(host);
        let sender = Process::spawn(command);
        Move { scene, lan, receiver, sender, file }
    }

    /// Bytes that the receiver has written so far, as it says once a second.
    fn written(&self) -> u64 {
        let events = self.sender.events();
        of_kind(&events, "progress").last().map_or(0, |event| event["bytes"].as_u64().unwrap())
    }

    fn wait_for(&mut self, bytes: u64) {
        let before = self.written();
        wait_until("more has arrived", PATIENCE, || {
            self.written() >= before + bytes || !self.sender.is_running()
        });
    }

    /// Demands that it was one session, in which next to nothing crossed twice.
    fn end(self) {
        let output = self.sender.finish(PATIENCE);
        output.expect_code(0);
        assert_arrived(&[&self.file], &self.scene.dst);
        let events = output.events();
        assert!(of_kind(&events, "lost").is_empty(), "{events:?}");
        let done = of_kind(&events, "done")[0];
        let (sent, size) = (done["wire_bytes"].as_u64().unwrap(), done["bytes"].as_u64().unwrap());
        assert!(sent < size + size / 50, "{sent} bytes for {size}");
        assert!(output.err().contains("address has changed"), "{}", output.err());
        let said = self.receiver.process.stderr.text();
        assert!(said.contains("goes on"), "{said}");
    }
}

#[test]
#[ignore = "needs root"]
fn twenty_changes_of_address_cost_no_session_and_no_byte() {
    let mut scene = Move::begin(400 * CHUNK, "8M");
    scene.wait_for(1 << 20);
    let mut now = format!("{}/24", scene.lan.hosts[0].v4);
    for n in 0..20 {
        let next = format!("10.88.0.{}/24", 100 + n);
        scene.lan.hosts[0].ip(&format!("addr del {now} dev lan0"));
        scene.lan.hosts[0].ip(&format!("addr add {next} dev lan0"));
        now = next;
        scene.wait_for(1 << 20);
    }
    scene.end();
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_down_while_another_comes_up_costs_no_session() {
    let mut scene = Move::begin(100 * CHUNK, "8M");
    scene.wait_for(1 << 20);
    scene.lan.hosts[0].ip("link set lan0 down");
    // For as long as it takes to notice.
    std::thread::sleep(std::time::Duration::from_secs(2));
    scene.lan.hosts[0].ip(&format!("addr del {}/24 dev lan0", scene.lan.hosts[0].v4));
    scene.lan.hosts[0].ip("addr add 10.88.0.77/24 dev lan0");
    scene.lan.hosts[0].ip("link set lan0 up");
    scene.end();
}

/// Bytes that left a host by its one interface.
fn sent_by(host: &Host) -> u64 {
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lan0:")).unwrap();
    line.split_whitespace().nth(8).unwrap().parse().unwrap()
}

/// The page in a browser of its own machine, whose cable is pulled out for longer than a connection is believed in.
#[test]
#[ignore = "needs root, and chromium"]
fn a_page_goes_on_where_it_was_when_its_cable_is_back() {
    const LEN: usize = 240 * CHUNK;
    if std::process::Command::new("chromedriver").arg("--version").output().is_err() {
        #[allow(clippy::print_stderr, reason = "says what it does not test")]
        {
            eprintln!("skipped: chromedriver is not installed");
        }
        return;
    }
    let scene = Scene::new();
    let lan = Lan::new(&["browser", "server"], Family::V4);
    let file = make(&scene.src, "film", LEN);
    let mut command = lan.hosts[1].lanx(&scene);
    command.env("LANX_TOKEN", TOKEN);
    command
        .args(["serve", "--http", "--listen", "0.0.0.0:0", "--put", "--get", "--limit", "4M"])
        .arg(&scene.dst);
    let server = WebServer::start_as(command);
    lan.hosts[0].run(|| {
        let browser = Browser::start(&scene);
        visit(&browser, &format!("http://{}:{}", lan.hosts[1].v4, server.addr.port()));
        browser.choose("#files", std::slice::from_ref(&file));
        browser.wait("some of it is there", "return document.querySelector('.upload progress').value > 2e7");
        lan.hosts[0].ip("link set lan0 down");
        browser.wait_for(1, "lost");
        assert!(browser.text(".what").starts_with("Interrupted"), "{}", browser.text(".what"));
        lan.hosts[0].ip("link set lan0 up");
        browser.wait_for(1, "done");
    });
    assert!(read(&scene.dst.join("film")) == read(&file));
    let sent = sent_by(&lan.hosts[0]);
    assert!(sent < (LEN + LEN / 2) as u64, "{sent} bytes for {LEN}");
}
