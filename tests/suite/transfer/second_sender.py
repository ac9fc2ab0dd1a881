#!/usr/bin/env python3
"""A second sender, written from PROTOCOL.md, that shares no code with lanx: it sends as it should, and then tries what an
attacker would. Called as second_sender.py PORT DIR CASE...: each CASE is a function below, and DIR is where the receiver
on PORT puts files. Ends with an error at the first thing that is not as PROTOCOL.md says."""
import contextlib, functools, hashlib, hmac, os, pathlib, socket, struct, sys
from datetime import datetime
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

CHUNK = 262144
PORT, DIR = int(sys.argv[1]), sys.argv[2]

# ---- BLAKE3 (its specification, section 2) -------------------------------------------------------

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, PARENT, ROOT = 1, 2, 4, 8
ORDERS = [range(16)]
for _ in range(6):
    ORDERS.append([ORDERS[-1][i] for i in PERMUTATION])

def compress(cv, block, counter, flags):
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*cv, *IV[:4], counter & 0xFFFFFFFF, counter >> 32, len(block), flags]
    for order in ORDERS:
        for q, (a, b, c, d) in enumerate(QUARTERS):
            for word, right, left in ((m[order[2 * q]], 16, 12), (m[order[2 * q + 1]], 8, 7)):
                v[a] = (v[a] + v[b] + word) & 0xFFFFFFFF
                x = v[d] ^ v[a]
                v[d] = (x >> right | x << 32 - right) & 0xFFFFFFFF
                v[c] = (v[c] + v[d]) & 0xFFFFFFFF
                x = v[b] ^ v[c]
                v[b] = (x >> left | x << 32 - left) & 0xFFFFFFFF
    return tuple(v[i] ^ v[i + 8] for i in range(8))

def leaf(data, counter, flags):
    cv, last = IV, max(len(data) - 1, 0) // 64 * 64
    for at in range(0, last + 1, 64):
        cv = compress(cv, data[at:at + 64], counter, (START if at == 0 else 0) | (END | flags if at == last else 0))
    return cv

def merge(values, flags=0):
    """The root of the tree over these values: whatever is left of a node is complete, and as large as can be."""
    if len(values) == 1:
        return values[0]
    left = 1 << (len(values) - 1).bit_length() - 1
    pair = merge(values[:left]) + merge(values[left:])
    return compress(IV, struct.pack("<16I", *pair), 0, PARENT | flags)

@functools.lru_cache
def subtree(data, index, flags=0):
    pieces = [data[i:i + 1024] for i in range(0, len(data), 1024)] or [b""]
    alone = flags if len(pieces) == 1 else 0
    return merge([leaf(piece, index * 256 + n, alone) for n, piece in enumerate(pieces)], flags)

def chunks(data):
    return [data[i:i + CHUNK] for i in range(0, len(data), CHUNK)] or [b""]

def root(data):
    if len(data) <= CHUNK:
        return struct.pack("<8I", *subtree(data, 0, ROOT))
    return struct.pack("<8I", *merge([subtree(chunk, n) for n, chunk in enumerate(chunks(data))], ROOT))

# ---- TLS 1.3 (RFC 8446) with X25519, TLS_AES_128_GCM_SHA256 and Ed25519 ---------------------------

def sha256(data):
    return hashlib.sha256(data).digest()

def extract(salt, key):
    return hmac.digest(salt, key, "sha256")

def expand(key, info, length=32):
    return extract(key, info + b"\x01")[:length]

def expand_label(key, label, context=b"", length=32):
    label = b"tls13 " + label
    return expand(key, struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context, length)

def sized(width, data):
    return len(data).to_bytes(width, "big") + data

class Keys:
    """One direction of a TLS connection."""
    def __init__(self, secret):
        self.aead = AESGCM(expand_label(secret, b"key", length=16))
        self.iv, self.count = expand_label(secret, b"iv", length=12), 0

    def nonce(self):
        self.count += 1
        return (int.from_bytes(self.iv, "big") ^ self.count - 1).to_bytes(12, "big")

    def seal(self, kind, data):
        header = struct.pack(">BHH", 23, 0x303, len(data) + 17)
        return header + self.aead.encrypt(self.nonce(), data + bytes([kind]), header)

    def open(self, header, data):
        inner = self.aead.decrypt(self.nonce(), data, header).rstrip(b"\0")
        return inner[-1], inner[:-1]

class Identity:
    def __init__(self):
        self.key = Ed25519PrivateKey.generate()
        made, name = x509.CertificateBuilder().public_key(self.key.public_key()), x509.Name([])
        made = made.subject_name(name).issuer_name(name)
        made = made.serial_number(1).not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2049, 1, 1))
        self.certificate = made.sign(self.key, None).public_bytes(serialization.Encoding.DER)

class Tls:
    def __init__(self, sock, identity):
        self.sock, self.stream, self.identity = sock, sock.makefile("rb"), identity
        self.transcript, self.unread, self.reads = b"", b"", None
        self.shake()

    def read_exactly(self, count):
        data = self.stream.read(count)
        if len(data) < count:
            raise EOFError("the receiver closed the connection")
        return data

    def record(self):
        while True:
            header = self.read_exactly(5)
            kind, data = header[0], self.read_exactly(int.from_bytes(header[3:], "big"))
            if kind == 23:
                kind, data = self.reads.open(header, data)
            if kind == 21:
                raise EOFError(f"TLS alert {data[1]}")
            if kind != 20:
                return kind, data

    def handshake(self, wanted):
        """The body of the next handshake message, and what was said before it."""
        while len(self.unread) < 4 or len(self.unread) < 4 + int.from_bytes(self.unread[1:4], "big"):
            self.unread += self.record()[1]
        before, end = self.transcript, 4 + int.from_bytes(self.unread[1:4], "big")
        assert self.unread[0] == wanted, f"handshake message {self.unread[0]}, not {wanted}"
        body, self.unread, self.transcript = self.unread[4:end], self.unread[end:], before + self.unread[:end]
        return body, before

    def message(self, kind, body):
        data = bytes([kind]) + sized(3, body)
        self.transcript += data
        return data

    def shake(self):
        mine, raw = X25519PrivateKey.generate(), serialization.PublicFormat.Raw
        public = mine.public_key().public_bytes(serialization.Encoding.Raw, raw)
        extensions = b"".join(struct.pack(">H", tag) + sized(2, data) for tag, data in (
            (43, b"\x02\x03\x04"), (10, b"\0\x02\0\x1d"), (13, b"\0\x02\x08\x07"),
            (51, sized(2, b"\0\x1d" + sized(2, public))), (16, sized(2, sized(1, b"lanx/2")))))
        hello = b"\x03\x03" + os.urandom(32) + b"\0" + sized(2, b"\x13\x01") + b"\x01\0" + sized(2, extensions)
        hello = self.message(1, hello)
        self.sock.sendall(b"\x16\x03\x01" + sized(2, hello))
        body, _ = self.handshake(2)
        body, extra = body[35 + body[34] + 5:], {}
        while body:
            tag, length = struct.unpack(">HH", body[:4])
            extra[tag], body = body[4:4 + length], body[4 + length:]
        assert extra[43] == b"\x03\x04", "TLS 1.3"
        shared = mine.exchange(X25519PublicKey.from_public_bytes(extra[51][4:]))
        empty, early = sha256(b""), extract(bytes(32), bytes(32))
        agreed = extract(expand_label(early, b"derived", empty), shared)
        ours = expand_label(agreed, b"c hs traffic", sha256(self.transcript))
        theirs = expand_label(agreed, b"s hs traffic", sha256(self.transcript))
        self.reads = Keys(theirs)
        encrypted, _ = self.handshake(8)
        assert b"lanx/2" in encrypted, "ALPN was agreed"
        asked, _ = self.handshake(13)
        body, _ = self.handshake(11)
        peer = x509.load_der_x509_certificate(body[7:7 + int.from_bytes(body[4:7], "big")])
        body, before = self.handshake(15)
        peer.public_key().verify(body[4:], b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + sha256(before))
        finished, before = self.handshake(20)
        assert finished == extract(expand_label(theirs, b"finished"), sha256(before)), "its Finished"
        # What the exporters and the keys of the session are made of.
        master = extract(expand_label(agreed, b"derived", empty), bytes(32))
        ended = sha256(self.transcript)
        flight = self.message(11, asked[:1 + asked[0]] + sized(3, sized(3, self.identity.certificate) + b"\0\0"))
        said = b" " * 64 + b"TLS 1.3, client CertificateVerify\0" + sha256(self.transcript)
        flight += self.message(15, b"\x08\x07" + sized(2, self.identity.key.sign(said)))
        flight += self.message(20, extract(expand_label(ours, b"finished"), sha256(self.transcript)))
        self.sock.sendall(Keys(ours).seal(22, flight))
        self.reads = Keys(expand_label(master, b"s ap traffic", ended))
        self.writes = Keys(expand_label(master, b"c ap traffic", ended))
        self.exporter = expand_label(master, b"exp master", ended)

    def export(self, label):
        return expand_label(expand_label(self.exporter, label, sha256(b"")), b"exporter", sha256(b""))

    def send(self, data):
        for at in range(0, len(data), 16384):
            self.sock.sendall(self.writes.seal(23, data[at:at + 16384]))

    def receive(self, count):
        while len(self.unread) < count:
            self.unread += self.record()[1]
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

# ---- lanx ----------------------------------------------------------------------------------------

SEND, COMPARE, MISSING, HASH, OUTCOME, DIFFERS, CONFIRMED = 2, 3, 4, 5, 6, 24, 14
ASIDE = (7, CONFIRMED, 15, 18, 19)  # Progress, confirmed, hung up, share, spent.
STORED, IDENTICAL, HIGHEST_VERSION = b"\x01", b"\x03", (1, b"\x02\0")

def string(data):
    return struct.pack("<H", len(data)) + data

def options(*of):
    return bytes([len(of)]) + b"".join(bytes([tag]) + string(data) for tag, data in of)

def preface(role, version=2):
    sock = socket.create_connection(("127.0.0.1", PORT), 60)
    sock.sendall(struct.pack("<4sHBB", b"lanx", version, role, 0))
    return sock

class Sender:
    def __init__(self, identity=None, end=options(HIGHEST_VERSION), delta=0):
        sock, self.data, self.count, self.files, self.confirmed = preface(0), None, 0, 0, 0
        assert sock.recv(8, socket.MSG_WAITALL) == b"lanx\x02\0\0\0", "it answers the preface"
        self.tls = Tls(sock, identity or Identity())
        self.say(1, bytes([4, 1, 0, 0, delta, 0, 0]) + string(b"second") + end)
        tag, body = self.hear()
        assert tag == 1, f"not let in: {tag} {body}"
        self.session, cipher = body[:16], body[17]
        rest, self.granted = body[19:], set()
        for _ in range(body[18]):
            self.granted.add(rest[0])
            rest = rest[3 + int.from_bytes(rest[1:3], "little"):]
        key = expand(extract(b"lanx/2 data keys", self.tls.export(b"EXPORTER-lanx-2-session")),
                     b"lanx/2 data key" + bytes([cipher]) + self.session + b"\0\0\0\0\x01")
        self.aead = (AESGCM if cipher == 1 else ChaCha20Poly1305)(key)

    def say(self, tag, body=b""):
        self.tls.send(struct.pack("<IB", len(body) + 1, tag) + body)

    def hear(self, also=None):
        """The next message that is about a file, or ends something."""
        while True:
            body = self.tls.receive(int.from_bytes(self.tls.receive(4), "little"))
            if body[0] == CONFIRMED:
                self.confirmed = int.from_bytes(body[5:], "little")
            if body[0] not in ASIDE or body[0] == also:
                return body[0], body[1:]

    def seal(self, associated, payload):
        self.count += 1
        return self.aead.encrypt(struct.pack(">IQ", 0, self.count - 1), payload, associated)

    def frame(self, kind, file, chunk, payload):
        if self.data is None:
            self.data = preface(1)
            hello = struct.pack("<4sHBB", b"lanx", 2, 1, 0) + self.session + b"\0\0\0\0"
            self.data.sendall(hello[8:] + self.seal(hello, b""))
        header = struct.pack("<B3xIQQ", kind, len(payload), file, chunk)
        self.data.sendall(header + self.seal(header, payload))

    def offer(self, path, size, archive=b"\0", sparse=0):
        metadata, entry = struct.pack("<IqI", 0o644, 1, 0) + archive, struct.pack("<BQB", 1, size, sparse)
        self.say(2, struct.pack("<Q", self.files) + metadata + string(path) + entry)
        self.files += 1
        return self.files - 1

    def transfer(self, path, content, most=1 << 30, vanish=False):
        """Offers a file and does what is asked, but sends so many chunks at most; then it withdraws the file, or leaves it
        as it is. Returns what the receiver said, without the number of the file."""
        pieces, said, sent, covered, existing, short = chunks(content), [], 0, 0, False, False
        file = self.offer(path, len(content))
        number = struct.pack("<Q", file)
        while True:
            tag, body = self.hear()
            assert tag in (SEND, COMPARE, MISSING, HASH, DIFFERS, OUTCOME) and body[:8] == number, f"{tag}: {body}"
            said.append((tag, body[8:]))
            if tag == OUTCOME:
                return said
            if tag in (COMPARE, SEND):
                existing, covered = tag == COMPARE and body[8] == 2, 0
            first, count = 0, len(pieces) if tag == SEND else int(existing and len(pieces) == 1)
            if tag in (MISSING, HASH, DIFFERS):
                first, count = struct.unpack("<QQ", (body[8:] + struct.pack("<Q", 1))[:16])
            for n in range(first, first + count) if tag != COMPARE else ():
                if tag == HASH:
                    self.say(3, number + struct.pack("<Q", n) + struct.pack("<8I", *subtree(pieces[n], n)))
                elif sent < most:
                    whole = len(pieces) == 1
                    self.frame(2 if whole else 1, file, n, root(content) + content if whole else pieces[n])
                    sent += 1
                elif not short and not vanish:
                    short = True
                    self.say(6, number + b"\x03" + string(b"not today"))
            covered += count if tag != DIFFERS else 0
            if vanish and covered == len(pieces):
                while self.confirmed < sent:
                    self.hear(CONFIRMED)
                return said
            if covered == len(pieces) and tag != DIFFERS and not short and (len(pieces) > 1 or tag == COMPARE):
                self.say(5, number + root(content))

# ---- the cases -----------------------------------------------------------------------------------

NOISE = hashlib.shake_256(b"lanx").digest(2 * CHUNK + 77)

def put(name, content):
    pathlib.Path(DIR, name).write_bytes(content)

def read(name):
    return pathlib.Path(DIR, name).read_bytes()

def is_refused(end):
    try:
        Sender(end=end)
    except (AssertionError, EOFError, OSError):
        return True

def sends():
    sender = Sender()
    for name, content in (("empty", b""), ("small", NOISE[:5]), ("chunk", NOISE[:CHUNK]), ("large", NOISE)):
        assert sender.transfer(b"new/" + name.encode(), content)[-1] == (OUTCOME, STORED), name
        assert read("new/" + name) == content, name
        assert sender.transfer(b"new/" + name.encode(), content)[-1] == (OUTCOME, IDENTICAL), name
    sender.say(7, struct.pack("<Q", sender.files))
    assert sender.hear()[0] == 9, "bye"

def an_unfinished_file_belongs_to_its_key():
    one, other = Identity(), Identity()
    assert Sender(one).transfer(b"shared", NOISE, most=1, vanish=True) == [(SEND, b"")]
    assert Sender(other).transfer(b"shared", NOISE, most=0)[0] == (SEND, b""), "a third key hears of the part file"
    said = Sender(one).transfer(b"shared", NOISE)
    assert said[0] == (COMPARE, b"\x01") and said[-1] == (OUTCOME, STORED), said
    hashed = [struct.unpack("<QQ", body) for tag, body in said if tag == HASH]
    assert hashed and all(first + count <= 2 for first, count in hashed), f"a short chunk is compared: {hashed}"

def no_byte_of_a_file_can_be_guessed():
    """The last chunk covers one byte of what is there: right or wrong, the receiver says the same."""
    put("secret", NOISE)
    guesses = [NOISE[:CHUNK] + bytes([NOISE[CHUNK] ^ wrong]) for wrong in (0, 1, 2)]
    heard = {tuple(sorted(Sender(delta=1).transfer(b"secret", guess, most=0))) for guess in guesses}
    assert len(heard) == 1, heard

def no_small_file_can_be_probed():
    put("pin", b"1234")
    heard = {tuple(Sender().transfer(b"pin", guess, most=0)) for guess in (b"1235", b"2234", bytes(4))}
    assert len(heard) == 1, heard

def no_size_can_be_probed():
    put("pin", b"1234"), put("secret", NOISE)
    for name, sizes in ((b"pin", (4, 3, 0, 9999)), (b"secret", (len(NOISE), len(NOISE) - 1, CHUNK + 1))):
        heard = {tuple(Sender().transfer(name, bytes(size), most=0)) for size in sizes}
        assert len({said[0] for said in heard} | {said[-1] for said in heard}) == 2, heard

def an_offer_alone_copies_nothing():
    for n in range(4):
        put(f"base{n}", NOISE)
    sender = Sender(delta=1)
    for n in range(4):
        sender.offer(b"base%d" % n, len(NOISE) + 1)
    compared = 0
    while compared < 4:
        compared += sender.hear()[0] == COMPARE
    parts = [read(name) for name in os.listdir(DIR) if name.endswith(".lanx-part")]
    assert len(parts) == 4 and not any(map(any, parts)), "copied unasked"

def scattered_chunks_are_asked_for_in_bounds():
    key, size = Identity(), 64 * CHUNK
    sender = Sender(key)
    sender.offer(b"scattered", size)
    assert sender.hear()[0] == SEND
    for n in range(0, 64, 2):
        sender.frame(1, 0, n, NOISE[:CHUNK])
    while sender.confirmed < 32:
        sender.hear(CONFIRMED)
    sender = Sender(key)
    sender.offer(b"scattered", size)
    assert sender.hear() == (COMPARE, bytes(8) + b"\x01")
    sender.say(7, struct.pack("<Q", 1))
    asked = 0
    while asked < 16:
        tag, body = sender.hear()
        asked += struct.unpack("<QQQ", body)[2] if tag == HASH else 0
    assert asked == 16, f"{asked} chunks are to be compared at first"

def heavy_offers_are_borne():
    sender, pairs = Sender(), b"".join(string(b"user.%04d" % n) + string(b"1") for n in range(512))
    with contextlib.suppress(OSError):
        for n in range(4096):
            sender.offer(b"flood/%d" % n, 5, b"\x01" + struct.pack("<IIH", 0, 0, 512) + pairs)
    assert Sender().transfer(b"beside the flood", b"hello")[-1] == (OUTCOME, STORED)

def versions_and_options_are_as_agreed():
    assert preface(0, version=1).recv(99) == b"lanx\x02\0\x01\0", "version 1 is refused"
    Sender(end=options((1, b"\x03\0"), (99, b"x" * 1000), (200, b"")))
    right, lower, short, other, long = HIGHEST_VERSION, (1, b"\x01\0"), (1, b"\x02"), (9, b""), (9, b"x" * 2048)
    lists = [options(*wrong) for wrong in ((), (lower,), (short,), (right, right), (other, right), (right, long))]
    for wrong in (*lists, b"\x02" + options(right)[1:], options(right) + b"x"):
        assert is_refused(wrong), wrong

def holes_travel_as_one_frame():
    sender = Sender(end=options(HIGHEST_VERSION, (99, b"what a later program says")))
    assert 11 in sender.granted, sender.granted
    content = bytes(2 * CHUNK) + NOISE[:CHUNK] + bytes(CHUNK + 5)
    file = sender.offer(b"sparse", len(content), sparse=1)
    assert sender.hear() == (SEND, struct.pack("<Q", file))
    sender.frame(5, file, 3, struct.pack("<Q", 2))
    sender.frame(1, file, 2, content[2 * CHUNK:3 * CHUNK])
    sender.frame(3, file, 1, b"")
    sender.frame(5, file, 0, struct.pack("<Q", 1))
    sender.say(5, struct.pack("<Q", file) + root(content))
    assert sender.hear() == (OUTCOME, struct.pack("<Q", file) + STORED)
    assert read("sparse") == content

for case in sys.argv[3:]:
    globals()[case]()
    print(case)
