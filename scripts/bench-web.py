#!/usr/bin/env python3
"""Measures `lanx serve`, `lanx get` and the page beside what else is found in PATH, in turns: nginx, miniserve, dufs, curl, aria2c,
wrk, chromium. What is missing is said, and left out. Files are in memory. Figures are medians, and go to standard output as Markdown.

bench-web.py LANX    WEB_MIB (1024), WEB_TURNS (5), WEB_ONLY (words of the headings, separated by commas)
"""
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

LANX = os.path.abspath(sys.argv[1])
MIB = int(os.environ.get("WEB_MIB", "1024"))
TURNS = int(os.environ.get("WEB_TURNS", "5"))
ONLY = [word for word in os.environ.get("WEB_ONLY", "").split(",") if word]
GIB = MIB / 1024
TICK = os.sysconf("SC_CLK_TCK")
TOKEN = "correct-horse"
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


def found(program):
    path = shutil.which(program)
    if not path:
        print(f"skipped: {program} is not installed", file=sys.stderr)
    return path


def table(title, head, rows):
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    sys.stdout.flush()


def wanted(title):
    return not ONLY or any(word in title for word in ONLY)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def of_process(pid):
    """CPU seconds so far, of all its threads."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid, what="VmRSS"):
    """MiB."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"{what}:\s+(\d+)", file.read())[1]) / 1024


def descendants(pid):
    """A process and all that came of it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except OSError:
                pass
    every, left = [], [pid]
    while left:
        every.append(left.pop())
        left += parents.get(every[-1], [])
    return every


class Server:
    """One that runs until the end. `cpu` is what it has used since it was asked last."""

    def __init__(self, name, command, port, env=None, address="127.0.0.1"):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, env=dict(os.environ, **(env or {})), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection((address, port)).close()
                break
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"{name} did not start")
                time.sleep(0.02)
        self.before = of_process(self.process.pid)

    def cpu(self):
        now = of_process(self.process.pid)
        used, self.before = now - self.before, now
        return used

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


def nginx(room, folder, sendfile, tls):
    port = free_port()
    config = os.path.join(room, f"nginx-{port}.conf")
    secure = f"ssl_certificate {room}/cert.pem; ssl_certificate_key {room}/key.pem;" if tls else ""
    temporary = "".join(f"{name}_temp_path {room};" for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    with open(config, "w") as file:
        file.write(f"daemon off; master_process off; pid {room}/{port}.pid; error_log /dev/null;\n"
                   f"events {{ worker_connections 2048; }}\nhttp {{ access_log off; sendfile {sendfile}; {temporary}\n"
                   f"keepalive_requests 1000000; server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; {secure} root {folder}; }} }}\n")
    return Server(f"nginx, sendfile {sendfile}", ["nginx", "-c", config], port)


def lanx(room, folder, *flags, name="lanx"):
    port = free_port()
    flags = ["--listen", f"127.0.0.1:{port}", *flags, folder]
    env = {"LANX_TOKEN": TOKEN, "LANX_CONFIG_DIR": os.path.join(room, "config")}
    return Server(name, [LANX, "serve", *flags], port, env)


def servers(room, folder, tls):
    """All that serve a folder, started."""
    secure = ["--tls-cert", f"{room}/cert.pem", "--tls-key", f"{room}/key.pem"] if tls else []
    all_of_them = [lanx(room, folder, "--open", *secure)]
    if found("nginx"):
        all_of_them += [nginx(room, folder, sendfile, tls) for sendfile in (["off"] if tls else ["off", "on"])]
    if found("miniserve"):
        port = free_port()
        all_of_them.append(Server("miniserve", ["miniserve", "-i", "127.0.0.1", "-p", str(port), *secure, folder], port))
    if found("dufs"):
        port = free_port()
        all_of_them.append(Server("dufs", ["dufs", "-b", "127.0.0.1", "-p", str(port), *secure, folder], port))
    return all_of_them


def timed(command, env=None):
    """Wall and CPU seconds of a command that has to succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env=dict(os.environ, **(env or {})), stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(title, head, runs, of="lanx"):
    """Runs each of `runs`, (name, run), in turns, and shows medians. A run returns wall seconds and CPU seconds."""
    kept = {name: [] for name, _ in runs}
    for turn in range(TURNS + 1):
        for name, run in runs:
            sample = run()
            if turn > 0:
                kept[name].append(sample)
    median = {name: [statistics.median(values) for values in zip(*samples)] for name, samples in kept.items()}
    own = median[of][0]
    rows = [(name, f"{wall:.3f}", f"{wall / own:.2f}", f"{GIB / wall:.2f}", *(f"{cpu / GIB:.2f}" for cpu in cpus))
            for name, (wall, *cpus) in median.items()]
    table(f"{title}, {MIB} MiB, medians of {TURNS}", ["program", "wall s", f"of {of}", "GiB/s", *head], rows)


def serving(room, folder, tls):
    title = f"serve to curl over {'https' if tls else 'http'}"
    if not wanted(title) or not found("curl"):
        return
    running = servers(room, folder, tls)

    def run(server):
        def once():
            server.cpu()
            url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}/large"
            took, client = timed(["curl", "-sfk", "-o", "/dev/null", url])
            return took, server.cpu(), client
        return once
    compare(title, ["CPU s/GiB of the server", "of curl"], [(server.name, run(server)) for server in running])
    for server in running:
        server.end()


def small_requests(room, folder):
    title = "requests of 1 KiB"
    if not wanted(title) or not found("wrk"):
        return
    running = servers(room, folder, False)
    rates = {server.name: [] for server in running}
    for turn in range(TURNS + 1):
        for server in running:
            said = subprocess.run(["wrk", "-t2", "-c64", "-d2s", f"http://127.0.0.1:{server.port}/small"], check=True,
                                  capture_output=True, text=True).stdout
            if turn > 0:
                rates[server.name].append(float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]))
    table(f"{title}, 64 connections kept alive, wrk, medians of {TURNS}", ["program", "a second"],
          [(name, f"{statistics.median(values):,.0f}") for name, values in rates.items()])
    for server in running:
        server.end()


def many_clients(room, folder):
    title = "memory with many clients"
    if not wanted(title):
        return
    rows = []
    for server in servers(room, folder, False):
        idle = [connect(server.port, n) for n in range(1000)]
        for client in idle:
            ask(client, "/small")
            client.settimeout(20)
            while b"\r\n\r\n" not in client.recv(65536):
                pass
        with_idle = memory(server.process.pid)
        for client in idle:
            client.close()
        busy = [connect(server.port, n) for n in range(200)]
        for client in busy:
            ask(client, "/large")
        peak, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            for client in busy:
                client.recv(16384)
            peak = max(peak, memory(server.process.pid))
        for client in busy:
            client.close()
        rows.append((server.name, f"{with_idle:.0f}", f"{peak:.0f}"))
        server.end()
    table(f"{title}, MiB", ["program", "1,000 idle", "200 that read slowly"], rows)


def connect(port, n):
    """From several addresses, as one may not have all places."""
    return socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + n % 4}", 0))


def ask(client, path):
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


def getting(room, folder):
    title = "get"
    if not wanted(title):
        return
    into = os.path.join(room, "into")
    env = {"LANX_CONFIG_DIR": os.path.join(room, "config"), "LANX_TOKEN": TOKEN}
    runs = []

    def run(command, server, before=lambda: None):
        def once():
            shutil.rmtree(into, ignore_errors=True)
            os.mkdir(into)
            before()
            server.cpu()
            took, client = timed(command, env)
            used = server.cpu()
            if os.path.getsize(os.path.join(into, "large")) != MIB << 20:
                sys.exit("not all of it came")
            return took, client, used
        return once
    running = []
    if found("nginx"):
        server = nginx(room, folder, "on", False)
        running.append(server)
        url = f"http://127.0.0.1:{server.port}/large"
        runs.append(("lanx get, not verified", run([LANX, "get", "-q", "-o", f"{into}/large", url], server)))
        if found("curl"):
            runs.append(("curl", run(["curl", "-sf", "-o", f"{into}/large", url], server)))
        if found("aria2c"):
            aria2 = ["aria2c", "-q", "--file-allocation=falloc", "-x8", "-s8", "-k1M", "-d", into, url]
            runs.append(("aria2c, 8 connections", run(aria2, server)))
        compare(f"{title} from nginx", ["CPU s/GiB", "of the server"], runs, "lanx get, not verified")
    server = lanx(room, folder)
    running.append(server)
    address = f"http://127.0.0.1:{server.port}/large"
    command = [LANX, "get", "-q", "-o", f"{into}/large", address]
    # What it knows of a file is of one state of it.
    anew = run(command, server, lambda: os.utime(os.path.join(folder, "large")) or time.sleep(0.1))
    known = run(command, server)
    # Where the hash stands in the head of the answer there is nothing to do but to compare it, as of all that comes one is made anyway.
    runs = [("its hash was known", known), ("hashed meanwhile", anew)]
    compare(f"{title} from lanx, verified", ["CPU s/GiB", "of the server"], runs, "its hash was known")
    for server in running:
        server.end()


class Browser:
    """chromium by way of its driver: W3C WebDriver."""

    def __init__(self, room):
        env = dict(os.environ, HOME=room, TMPDIR=room)
        self.downloads = os.path.join(room, "downloads")
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, env=env)
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.port = int(line.split("on port ")[1].split(".")[0])
                break
        threading.Thread(target=self.driver.stdout.read, daemon=True).start()
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--no-proxy-server", "--disable-background-networking", f"--user-data-dir={room}/profile"]
        options = {"args": args, "prefs": {"download.default_directory": self.downloads,
                                           "profile.default_content_setting_values.automatic_downloads": 1}}
        wish = {"browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": options}
        self.session = ""
        self.session = "/session/" + self.call("POST", "/session", {"capabilities": {"alwaysMatch": wish}})["sessionId"]

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.session}{path}", data, method=method,
                                         headers={"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=300))["value"]

    def open(self, url):
        self.call("POST", "/url", {"url": url})
        self.wait("return document.documentElement.dataset.ready === '1'")

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script):
        while self.run(script) is not True:
            time.sleep(0.01)

    def choose(self, paths):
        element = self.call("POST", "/element", {"using": "css selector", "value": "#files"})
        self.call("POST", f"/element/{next(iter(element.values()))}/value", {"text": "\n".join(paths)})

    def cpu(self):
        every = descendants(self.driver.pid)
        return sum(of_process(pid) for pid in every if os.path.exists(f"/proc/{pid}"))

    def end(self):
        self.call("DELETE", "")
        self.driver.terminate()
        self.driver.wait()


# In the page: when files were chosen, and when all were stored.
WATCH = """
window.times = {};
performance.clearResourceTimings();
document.getElementById('files').addEventListener('change', () => { times = { begun: performance.now() } }, true);
const look = () => {
  const sum = document.getElementById('sum').textContent;
  if (times.begun && !times.all && /^([\\d,]+) of \\1 files? stored/.test(sum)) times.all = performance.now() - times.begun;
};
new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
"""


def browsing(room, folder, tls):
    title = f"a browser over {'https' if tls else 'http'}"
    if not wanted(title) or not found("chromedriver") or not found("curl"):
        return
    scheme = "https" if tls else "http"
    # Not of this machine's own address alone, so that it has a certificate.
    flags = ["--put", "--get", "--overwrite"] + (["--tls-cert", f"{room}/cert.pem", "--tls-key", f"{room}/key.pem"] if tls else [])
    taken = os.path.join(room, "taken")
    os.makedirs(taken, exist_ok=True)
    server = lanx(room, taken, *flags)
    base = f"{scheme}://127.0.0.1:{server.port}"
    source = os.path.join(folder, "large")
    browser = Browser(room)
    samples = {"up": [], "down": [], "curl -T": []}
    firsts = []
    for turn in range(TURNS + 1):
        browser.open(f"{base}/?t={TOKEN}")
        browser.run(WATCH)
        server.cpu()
        before = browser.cpu()
        browser.choose([source])
        browser.wait("return Boolean(times.all)")
        # When the answer to the first piece was there.
        times = browser.run("const pieces = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/pieces/'));"
                            "return { ...times, first: Math.min(...pieces.map(({ responseEnd }) => responseEnd)) - times.begun }")
        up = (times["all"] / 1000, server.cpu(), browser.cpu() - before)
        browser.wait("return document.querySelector(\"a[href='./large']\") !== null")
        shutil.rmtree(browser.downloads, ignore_errors=True)
        os.mkdir(browser.downloads)
        server.cpu()
        before, began = browser.cpu(), time.monotonic()
        browser.run("document.querySelector(\"a[href='./large']\").click()")
        back = os.path.join(browser.downloads, "large")
        while not os.path.exists(back) or os.path.getsize(back) != MIB << 20:
            time.sleep(0.005)
        down = (time.monotonic() - began, server.cpu(), browser.cpu() - before)
        os.remove(os.path.join(taken, "large"))
        took, client = timed(["curl", "-sfk", "-H", f"Authorization: Bearer {TOKEN}", "-T", source, base + "/large"])
        by_curl = (took, server.cpu(), client)
        os.remove(os.path.join(taken, "large"))
        if turn > 0:
            firsts.append(times["first"])
            for name, sample in [("up", up), ("down", down), ("curl -T", by_curl)]:
                samples[name].append(sample)
    median = {name: [statistics.median(values) for values in zip(*all_of_it)] for name, all_of_it in samples.items()}
    rows = [(name, f"{wall:.2f}", f"{MIB * 8.388608 / wall:,.0f}", f"{wall / median['curl -T'][0]:.2f}", f"{server_cpu / GIB:.2f}",
             f"{client / GIB:.2f}") for name, (wall, server_cpu, client) in median.items()]
    table(f"{title}, {MIB} MiB, medians of {TURNS}",
          ["way", "wall s", "Mbit/s", "of curl -T", "CPU s/GiB of the server", "of the browser, or curl"], rows)
    print(f"\nThe first piece was acknowledged {statistics.median(firsts):.0f} ms after the choice; the server's memory had its peak at "
          f"{memory(server.process.pid, 'VmHWM'):.0f} MiB.")
    if not tls:
        batch(room, browser, base)
    browser.end()
    server.end()


def batch(room, browser, base):
    """Many small files, and how soon the page is of use."""
    folder = os.path.join(room, "batch")
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, f"{n:04}.txt") for n in range(1000)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(os.urandom(1000))
    browser.open(base + "/")
    ready = browser.run("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    wire = browser.run("return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
                       ".reduce((sum, entry) => sum + entry.transferSize, 0)")
    browser.run(WATCH)
    browser.choose(paths)
    browser.wait("return Boolean(times.all)")
    took = browser.run("return times.all")
    print(f"\n1,000 files of 1 kB took {took / 1000:.1f} s, {took / 1000:.1f} ms each. The page was of use after {ready:.0f} ms, and {wire / 1024:.0f} KiB.")


def main():
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="lanx-web-") as room:
        folder = os.path.join(room, "folder")
        os.mkdir(folder)
        with open(os.path.join(folder, "large"), "wb") as file:
            for _ in range(MIB):
                file.write(os.urandom(1 << 20))
        with open(os.path.join(folder, "small"), "wb") as file:
            file.write(os.urandom(1024))
        tls = found("openssl")
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{room}/key.pem",
                            "-out", f"{room}/cert.pem"], check=True, capture_output=True)
        for secure in [False, True] if tls else [False]:
            serving(room, folder, secure)
        small_requests(room, folder)
        many_clients(room, folder)
        getting(room, folder)
        for secure in [False, True] if tls else [False]:
            browsing(room, folder, secure)


main()
