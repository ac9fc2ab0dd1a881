#!/usr/bin/env python3
"""Makes docs/terminals.svg: two terminals, in which `lanx recv` and `lanx send` really run.

    scripts/picture.py PROGRAM OUT.svg

The program runs on two hosts, nas and laptop, which are network namespaces with a cable between them, each in a window
of tmux. What is typed is sent to those windows key by key, and what they show at the end is written down as text with
its colours. Needs Linux, tmux, iproute2 and util-linux, and either root or user namespaces.
"""

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

COLUMNS = 108
FILE_MIB = 512
PATIENCE = 30.0

# The terminal's colours: the sixteen of xterm, made softer for a dark window.
BACKGROUND, FOREGROUND, BAR = "#161b22", "#d7dde4", "#2b323b"
PALETTE = ["#484f58", "#ff7b72", "#6bc46d", "#d9b44a", "#6cb6ff", "#d2a8ff", "#56d4dd", "#c9d1d9",
           "#6e7681", "#ffa198", "#8ddb8c", "#f0ce6b", "#96d0ff", "#e2c5ff", "#87e8ef", "#ffffff"]
# Of one character, in units of the picture.
WIDTH, HEIGHT, SIZE = 8.4, 18, 14
MARGIN, BAR_HEIGHT, GAP = 14, 28, 16


def run(*command):
    subprocess.run(command, check=True)


def in_namespaces():
    """Starts this script anew where it may make hosts and a home of its own."""
    if os.environ.get("LANX_PICTURE"):
        return
    own = ["--net", "--uts", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        own.insert(0, "--map-root-user")
    os.environ["LANX_PICTURE"] = "1"
    os.execvp("unshare", ["unshare", *own, sys.executable, *sys.argv])


class Terminal:
    """One window of tmux, with a shell of one host in it."""

    def __init__(self, socket, name, enter):
        self.tmux = ["tmux", "-S", socket, "-f", "/dev/null"]
        self.name = name
        shell = [*enter, "env", "-i", "--chdir=/home/ann", f"PATH={os.path.dirname(socket)}:{os.environ['PATH']}", "HOME=/home/ann",
                 "TERM=tmux-256color", "LANG=C.UTF-8", f"PS1=\\[\\e[1;32m\\]{name}\\[\\e[0m\\]$ ",
                 "bash", "--norc", "--noprofile"]
        # 60 lines are more than either shows, so that nothing scrolls away.
        run(*self.tmux, "new-session", "-d", "-s", name, "-x", str(COLUMNS), "-y", "60", *shell)
        self.wait_for(r"\$ $")

    def type(self, text):
        run(*self.tmux, "send-keys", "-t", self.name, "-l", text)
        run(*self.tmux, "send-keys", "-t", self.name, "Enter")

    def shows(self, *options):
        captured = subprocess.run([*self.tmux, "capture-pane", "-p", *options, "-t", self.name],
                                  check=True, capture_output=True, text=True)
        return captured.stdout.rstrip("\n")

    def wait_for(self, pattern):
        """What the window shows as soon as it matches."""
        deadline = time.monotonic() + PATIENCE
        while True:
            # Joined, so that a line that wraps is one line here.
            shown = self.shows("-J").rstrip()
            found = re.search(pattern, shown if not pattern.endswith("$ $") else shown + " ")
            if found:
                return found
            if time.monotonic() > deadline:
                sys.exit(f"picture: {self.name} does not show {pattern}:\n{shown}")
            time.sleep(0.02)

    def end(self):
        subprocess.run([*self.tmux, "kill-session", "-t", self.name], check=False)


def play(program, scene):
    """Both terminals as they are when the file has arrived."""
    shutil.copy(program, os.path.join(scene, "lanx"))
    holder = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "sleep", "600"])
    terminals = []
    try:
        there = ["nsenter", "-t", str(holder.pid), "--net", "--uts", "--mount"]
        for kind in ["net", "uts", "mnt"]:
            own = os.readlink(f"/proc/self/ns/{kind}")
            while os.readlink(f"/proc/{holder.pid}/ns/{kind}") == own:
                time.sleep(0.01)
        for enter in [[], there]:
            run(*enter, "mount", "-t", "tmpfs", "tmpfs", "/home")
            run(*enter, "mkdir", "-p", "/home/ann/incoming")
        with open("/home/ann/disk.img", "wb") as file:
            for _ in range(FILE_MIB):
                file.write(os.urandom(1 << 20))
        # Memory that is touched for the first time is slow on a virtual machine; the benchmark does the same.
        _ = b"\1" * ((FILE_MIB + 512) << 20)
        del _
        run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", str(holder.pid))
        for enter, name, address in [([], "laptop", "192.168.1.10"), (there, "nas", "192.168.1.20")]:
            run(*enter, "hostname", name)
            run(*enter, "ip", "link", "set", "lo", "up")
            run(*enter, "ip", "link", "set", "lan0", "up")
            run(*enter, "ip", "address", "add", f"{address}/24", "dev", "lan0")

        socket = os.path.join(scene, "tmux")
        nas = Terminal(socket, "nas", there)
        terminals.append(nas)
        laptop = Terminal(socket, "laptop", [])
        terminals.append(laptop)
        nas.type("lanx recv ~/incoming")
        code = nas.wait_for(r"\b[0-9A-Z]{3}-[0-9A-Z]{3}-[0-9A-Z]{3}\b").group()
        nas.wait_for(r"\bannounced\b|\bnas\b.*finds it")
        laptop.type("lanx send disk.img nas")
        laptop.wait_for(r"code[^\n]*: ?$")
        laptop.type(code.lower().replace("-", " "))
        laptop.wait_for(r"\b1 file\b[^$]*\n.*\$ $")
        nas.wait_for(r"\b1 file\b")
        # Without the prompt that waits for the next command.
        sender = laptop.shows("-e").rsplit("\n", 1)[0]
        return [("nas", nas.shows("-e")), ("laptop", sender)]
    finally:
        for terminal in terminals:
            terminal.end()
        holder.terminate()
        holder.wait()


def colour(codes):
    """A colour as SGR names it behind 38 or 48, and what is left of the codes."""
    if codes[0] == 5:
        index = codes[1]
        if index < 16:
            return PALETTE[index], codes[2:]
        if index < 232:
            steps = [0, 95, 135, 175, 215, 255]
            index -= 16
            red, green, blue = steps[index // 36], steps[index // 6 % 6], steps[index % 6]
        else:
            red = green = blue = 8 + 10 * (index - 232)
        return f"#{red:02x}{green:02x}{blue:02x}", codes[2:]
    return "#{:02x}{:02x}{:02x}".format(*codes[1:4]), codes[4:]


def restyled(style, codes):
    """The style after one escape sequence."""
    style = dict(style)
    codes = codes or [0]
    while codes:
        code, codes = codes[0], codes[1:]
        if code == 0:
            style = {}
        elif code in (1, 2, 3, 4):
            style[{1: "bold", 2: "dim", 3: "italic", 4: "underline"}[code]] = True
        elif code == 22:
            style.pop("bold", None)
            style.pop("dim", None)
        elif code in (23, 24):
            style.pop({23: "italic", 24: "underline"}[code], None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style["colour"] = PALETTE[code - 30 if code < 90 else code - 82]
        elif code == 38:
            style["colour"], codes = colour(codes)
        elif code == 39:
            style.pop("colour", None)
        elif code == 48:
            _, codes = colour(codes)
    return style


def spans(line, style):
    """A line of a terminal as pieces of one style each, and the style at its end."""
    pieces = []
    at = 0
    for escape in [*re.finditer(r"\x1b\[([0-9;]*)m|\x1b\([B0]|\x0e|\x0f", line), None]:
        text = line[at:escape.start() if escape else len(line)]
        if text:
            pieces.append((text, style))
        if escape and escape.group(1) is not None:
            style = restyled(style, [int(code or 0) for code in escape.group(1).split(";")])
        at = escape.end() if escape else at
    return pieces, style


def attributes(style):
    out = f'fill="{style.get("colour", FOREGROUND)}"'
    out += ' font-weight="bold"' if style.get("bold") else ""
    out += ' fill-opacity="0.6"' if style.get("dim") else ""
    out += ' font-style="italic"' if style.get("italic") else ""
    out += ' text-decoration="underline"' if style.get("underline") else ""
    return out


def window(name, text, top):
    """The elements of one terminal, and where it ends."""
    lines = text.split("\n")
    width = round(COLUMNS * WIDTH + 2 * MARGIN)
    height = BAR_HEIGHT + len(lines) * HEIGHT + 2 * MARGIN - 6
    out = [f'<rect y="{top}" width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
           f'<path d="M0 {top + BAR_HEIGHT}v-20a8 8 0 0 1 8-8h{width - 16}a8 8 0 0 1 8 8v20z" fill="{BAR}"/>',
           f'<text x="{width / 2}" y="{top + 19}" text-anchor="middle" fill="#9aa4af">{html.escape(name)}</text>']
    style = {}
    for number, line in enumerate(lines):
        y = top + BAR_HEIGHT + MARGIN + number * HEIGHT + 10
        column = 0
        pieces, style = spans(line, style)
        for piece, look in pieces:
            body = piece.strip(" ")
            if body:
                x = MARGIN + (column + len(piece) - len(piece.lstrip(" "))) * WIDTH
                out.append(f'<text x="{x:.1f}" y="{y}" textLength="{len(body) * WIDTH:.1f}" {attributes(look)}>'
                           f'{html.escape(body)}</text>')
            column += len(piece)
    return out, top + height, width


def picture(windows):
    elements, top, width = [], 0, 0
    for name, text in windows:
        drawn, bottom, width = window(name, text, top)
        elements += drawn
        top = bottom + GAP
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text) for _, text in windows)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top - GAP}" role="img" '
        f'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" '
        f'font-size="{SIZE}" xml:space="preserve">',
        f"<title>{html.escape(' '.join(plain.split()))}</title>",
        *elements, "</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for tool in ["tmux", "ip", "unshare", "nsenter", "hostname"]:
        if not shutil.which(tool):
            sys.exit(f"picture: there is no {tool}; install it")
    program, out = map(os.path.abspath, sys.argv[1:])
    in_namespaces()
    with tempfile.TemporaryDirectory() as scene:
        drawn = picture(play(program, scene))
    with open(out, "w", encoding="utf-8") as file:
        file.write(drawn)
    print(f"made {out}")


main()
