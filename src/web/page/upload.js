// One file on its way to the server. A small one goes in one request, with its hash; a larger one in pieces, each of which is hashed
// here while it is sent, and compared with what the server says that it has written.

import { hex, joined } from "./blake3.js";
import { hash } from "./hasher.js";
import { Lost, base64, judged, turn } from "./talk.js";

const MIB = 1 << 20;
// What the server compares; and up to here a file is one request.
const PIECE = 4 * MIB;
const PIECE_MIN = MIB, PIECE_MAX = 16 * MIB;
// A piece that takes less than the first is too small, one that takes more than the second too large.
const QUICK = 250, SLOW = 4000;
// Values in one comparison.
const BATCH = 16;
// Times that one piece may arrive wrong, and a file be begun anew because the server knows nothing of it.
const TRIES = 3;
// A request without any progress for so long may have lost its network without a word: the server is asked whether it is there. If it
// says nothing either, or so often, the request is given up.
const STALL = 20_000, STALL_ANSWER = 10_000, STALLS = 15;
const PAUSE_FIRST = 300, PAUSE_MAX = 10_000;

// Why a file cannot be sent, in words for its user. What to do next is to try again, to rename it, or something else, in words too.
class Refused extends Error {
  constructor(reason, next = "retry", words = next === "retry" ? "try again" : "") {
    super(words ? `${reason}; ${words}` : reason);
    this.next = next;
  }
}

class Stopped extends Error {}

// The server knows nothing of an upload any more: it was started anew, or nobody asked for long.
class Gone extends Error {}

// A browser reads no more of a file that is not what was chosen.
const changed = () => new Refused("the file was changed or removed here meanwhile", "choose", "choose it again");

export class Upload {
  // `path` is where it goes, escaped. `page` has what all have in common: talk, slots, names, changed().
  constructor(file, name, path, page) {
    Object.assign(this, { file, name, path, page });
    this.size = file.size;
    this.state = "waiting";
    this.detail = "";
    // Bytes that the server has written, as far as it has said; those that it has acknowledged, by where they begin.
    this.written = 0;
    this.acked = new Map();
    // Pieces on their way, by where they begin: { bytes, sent, hashed }.
    this.flying = new Map();
    // Bytes that have left since it was begun or gone on with, also those that were sent again.
    this.carried = 0;
    this.times = { all: 0, disk: 0, lag: 0 };
    this.pieceBytes = PIECE_MIN;
  }

  get isActive() {
    return ["hashing", "comparing", "sending", "checking", "lost"].includes(this.state);
  }

  // Nothing of it has left yet.
  get isStarting() {
    return this.state === "sending" && this.carried === 0 && this.progress === 0;
  }

  get isOver() {
    return ["done", "failed", "cancelled"].includes(this.state);
  }

  get progress() {
    return this.state === "done" ? this.size : Math.min(this.size, Math.max(this.proved, this.written));
  }

  // Bytes whose hash here is the same as the server's.
  get proved() {
    let bytes = 0;
    for (const [length] of this.acked.values()) bytes += length;
    return bytes;
  }

  get sent() {
    return this.#so("sent");
  }

  get hashed() {
    return this.#so("hashed");
  }

  #so(what) {
    let bytes = this.proved;
    for (const piece of this.flying.values()) bytes += piece[what];
    return bytes;
  }

  set(state, detail = "") {
    this.state = state;
    this.detail = detail;
    this.page.changed(this);
  }

  async run() {
    this.stop = new AbortController();
    this.began = performance.now();
    this.carried = 0;
    this.flying.clear();
    let pause = PAUSE_FIRST, anew = 0;
    for (;;) {
      try {
        const stored = this.size <= PIECE ? await this.sendWhole() : await this.sendPieces();
        if (!stored) {
          if (++anew > TRIES) throw new Refused("the server forgets it again and again");
          continue;
        }
        this.took = (performance.now() - this.began) / 1000;
        this.stored = stored;
        return this.set("done");
      } catch (error) {
        if (this.stop.signal.aborted) return;
        if (!(error instanceof Lost)) {
          this.next = error.next ?? "retry";
          this.set("failed", error instanceof Refused ? error.message : `this page made a mistake (${error.message}); try again`);
          return;
        }
        const before = this.progress;
        this.set("lost", error.message);
        await rest(pause, this.stop.signal);
        if (this.stop.signal.aborted) return;
        pause = this.progress > before ? PAUSE_FIRST : Math.min(2 * pause, PAUSE_MAX);
      }
    }
  }

  // Stops what goes on. What is there at the server waits.
  pause() {
    this.stop?.abort();
    this.set("paused");
  }

  async cancel() {
    this.stop?.abort();
    this.set("cancelled");
    const { id, asked } = this;
    this.id = this.asked = null;
    // Where it waited for its place, that comes later.
    const told = await asked?.catch(() => null);
    const own = id ?? told?.body.id;
    if (own) await this.page.talk.ask("DELETE", `pieces/${own}`).catch(() => {});
  }

  // From the beginning, as if it had just been chosen.
  reset() {
    this.forget();
    this.set("waiting");
  }

  // Nothing of it is known to be there.
  forget() {
    this.acked.clear();
    this.flying.clear();
    this.id = null;
    this.written = this.shown = 0;
  }

  get query() {
    return `modified_ms=${Math.max(0, Math.trunc(this.file.lastModified))}`;
  }

  async sendWhole() {
    this.set("hashing");
    const own = await hash(this.file, 0, true);
    if (!own) throw changed();
    const slot = await this.page.slots.take(this.stop.signal);
    const piece = { bytes: this.size, sent: 0, hashed: this.size };
    this.flying.set(0, piece);
    try {
      this.set("sending");
      const began = performance.now();
      const fields = { "Repr-Digest": `blake3=:${base64(own)}:` };
      const answer = await this.put(`/${this.path}?${this.query}`, this.file, fields, this.stop.signal, piece);
      this.times.all += performance.now() - began;
      if (answer.status !== 200 && answer.status !== 201) throw refusal(answer);
      if (answer.body.blake3 !== hex(own)) throw new Refused("what arrived is not what was sent");
      return answer.body;
    } finally {
      this.flying.clear();
      slot.release();
    }
  }

  // What the server says of the stored file; null where it has forgotten what it had of it.
  async sendPieces() {
    const told = await this.agree();
    if (!told) return null;
    try {
      return await new Attempt(this, told).run();
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      this.id = null;
      return null;
    }
  }

  // Asks for the file to get its name. What the server says of it; null where bytes are missing.
  async complete(hash) {
    this.set("checking");
    const answer = await this.page.talk.ask("POST", `pieces/${this.id}/complete?blake3=${hex(hash)}`);
    if (answer.status === 200 || answer.status === 201) return answer.body;
    if (answer.status === 422) return null;
    if (answer.status === 404) throw new Gone();
    if (answer.status === 400) {
      this.acked.clear();
      throw new Refused("the file was changed while it was sent");
    }
    throw refusal(answer);
  }

  // Agrees on where to go on.
  async agree() {
    const { talk, names } = this.page;
    if (this.id) {
      const told = await talk.ask("GET", `pieces/${this.id}`);
      if (told.status === 200) return { resumes: false, exists: false };
    }
    this.forget();
    const { signal } = this.stop;
    // Heard as well after it was paused and goes on.
    const waits = (why) => this.stop.signal.aborted || this.set("waiting", turn(why));
    const address = `upload/${this.path}?size=${this.size}&${names}&${this.query}`;
    this.asked ??= talk.ask("POST", address, undefined, waits);
    const { asked } = this;
    let isLeft = false;
    const told = await Promise.race([asked, aborted(signal)]).catch((error) => {
      isLeft = error instanceof Stopped;
      throw error;
    }).finally(() => {
      // Whoever pauses keeps the place in the queue.
      if (!isLeft) this.asked = null;
    });
    if (told.status !== 201) throw refusal(told);
    this.id = told.body.id;
    this.began = performance.now();
    return told.body;
  }

  // Sends a part of the file. The answer is { status, body }.
  async put(address, blob, fields, signal, piece) {
    const answer = await new Promise((done, lost) => {
      const request = new XMLHttpRequest();
      let timer, stalls = 0;
      const stop = () => request.abort();
      const live = () => {
        clearTimeout(timer);
        timer = setTimeout(stalled, STALL);
      };
      const stalled = async () => {
        // One that takes little at a time says nothing while what the network has taken already is enough.
        timer = setTimeout(stop, STALL_ANSWER);
        const isThere = ++stalls < STALLS && await this.page.talk.ask("GET", "pieces/none").then(() => true, () => false);
        if (request.readyState === XMLHttpRequest.DONE) return;
        if (isThere) live();
        else stop();
      };
      request.open("PUT", address);
      for (const name in fields) request.setRequestHeader(name, fields[name]);
      request.setRequestHeader("Lanx", "1");
      request.upload.onprogress = ({ loaded }) => {
        live();
        stalls = 0;
        this.carried += loaded - piece.sent;
        this.page.carried += loaded - piece.sent;
        piece.sent = loaded;
      };
      request.onloadend = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", stop);
        if (request.status === 0) return lost(new Lost("the connection was lost"));
        let body = {};
        try {
          body = JSON.parse(request.responseText);
        } catch {
          body = { error: request.responseText.trim() };
        }
        done({ status: request.status, body });
      };
      signal.addEventListener("abort", stop);
      live();
      if (signal.aborted) return lost(new Stopped());
      request.send(blob);
    }).catch(async (error) => {
      if (signal.aborted) throw new Stopped();
      // A browser says no more than that it failed. A file that was changed cannot be read at all.
      await this.file.slice(0, 1).arrayBuffer().catch(() => {
        throw changed();
      });
      throw error;
    });
    return judged(answer);
  }

  // How long a piece should be, by how long the last one took.
  adapt(took) {
    if (took < QUICK) this.pieceBytes = Math.min(2 * this.pieceBytes, PIECE_MAX);
    if (took > SLOW) this.pieceBytes = Math.max(this.pieceBytes / 2, PIECE_MIN);
  }

  // What its time went into.
  get limit() {
    if (this.took === undefined || this.took < 2) return "";
    if (this.times.lag > 0.2 * this.took * 1000) return "checksums on this device";
    return this.times.disk > 0.5 * this.times.all ? "the disk of the server" : "the network";
  }
}

// The pieces of one upload, from one agreement with the server to the end or to the loss of the connection.
class Attempt {
  constructor(upload, { resumes, exists }) {
    Object.assign(this, { upload, resumes, exists });
    this.stop = new AbortController();
    this.jobs = new Set();
    this.wrong = new Map();
    const { size, acked } = upload;
    const whole = size - size % PIECE;
    // Stretches that are to be sent, in order. Of what is compared first only what differs.
    this.todo = [];
    if (resumes) {
      if (whole < size) this.todo.push([whole, size]);
    } else {
      const starts = [...acked.keys()].sort((a, b) => a - b);
      let at = 0;
      for (const start of [...starts, size]) {
        if (start > at) this.todo.push([at, start]);
        at = start + (acked.get(start)?.[0] ?? 0);
      }
    }
  }

  // What the server says of the file, when all of it is there.
  async run() {
    const { upload } = this, abort = () => this.stop.abort();
    upload.stop.signal.addEventListener("abort", abort);
    try {
      if (this.exists) {
        const stored = await upload.complete(await this.hash());
        if (stored) return stored;
      }
      if (this.resumes) this.begin(this.compare());
      await this.send();
      const stored = await upload.complete(joined(upload.size, upload.acked));
      if (stored) return stored;
      // It has lost some of it, and says so once more where that is asked again.
      throw new Gone();
    } finally {
      this.stop.abort();
      upload.stop.signal.removeEventListener("abort", abort);
    }
  }

  // Runs a job beside the others. The first that fails ends them all.
  begin(job) {
    const own = job.catch((error) => {
      this.error ??= error;
    }).finally(() => this.jobs.delete(own));
    this.jobs.add(own);
  }

  async send() {
    const { upload } = this, { slots } = upload.page;
    for (;;) {
      if (this.error) throw this.error;
      if (this.stop.signal.aborted) throw new Stopped();
      const piece = this.next();
      if (!piece) {
        if (this.jobs.size === 0) return;
        await Promise.race(this.jobs);
        continue;
      }
      if (upload.state !== "sending") upload.set("sending");
      let slot;
      try {
        slot = await slots.take(this.stop.signal);
      } catch (error) {
        throw this.error ?? error;
      }
      this.begin(this.piece(piece, slot));
      // As many as may be on their way, but none is begun behind one that has failed.
      await Promise.race([slots.free(), ...this.jobs]);
    }
  }

  // The next piece: a power of two long, from a multiple of that on, or the end of the file.
  next() {
    const stretch = this.todo[0];
    if (!stretch) return null;
    const [at, end] = stretch, { size, pieceBytes } = this.upload;
    let bytes = pieceBytes;
    const fits = () => at % bytes === 0 && (at + bytes <= end || end === size);
    while (!fits() && bytes > PIECE_MIN) bytes /= 2;
    bytes = Math.min(bytes, end - at);
    if (at + bytes === end) this.todo.shift();
    else stretch[0] = at + bytes;
    return { at, bytes };
  }

  async piece({ at, bytes }, slot) {
    const { upload } = this, { file } = upload;
    const blob = file.slice(at, at + bytes);
    const flying = { bytes, sent: 0, hashed: 0 };
    upload.flying.set(at, flying);
    try {
      await this.prove(at, blob, flying, slot);
    } finally {
      upload.flying.delete(at);
    }
  }

  async prove(at, blob, flying, slot) {
    const { upload, stop } = this, { size, times } = upload, { bytes } = flying;
    const hashed = hash(blob, at, bytes === size).then((value) => {
      flying.hashed = bytes;
      return value;
    });
    let answer;
    const began = performance.now();
    try {
      answer = await upload.put(`/.lanx/pieces/${upload.id}?at=${at}`, blob, {}, stop.signal, flying);
    } finally {
      slot.release();
    }
    if (answer.status === 404) throw new Gone();
    if (answer.status !== 200) throw refusal(answer);
    const took = performance.now() - began;
    upload.adapt(took);
    times.all += took;
    times.disk += answer.body.disk_ms;
    const own = await hashed;
    times.lag += performance.now() - began - took;
    if (!own) throw changed();
    if (hex(own) === answer.body.value) {
      upload.acked.set(at, [bytes, own]);
      upload.page.changed(upload);
      return;
    }
    const wrong = (this.wrong.get(at) ?? 0) + 1;
    this.wrong.set(at, wrong);
    if (wrong >= TRIES) throw new Refused("what arrives is not what was sent, again and again");
    this.todo.unshift([at, at + bytes]);
  }

  // The values of whole pieces of the file, a batch at a time.
  async *values(state) {
    const { upload, stop } = this, pieces = Math.floor(upload.size / PIECE);
    const batch = (first) => Promise.all(
      Array.from({ length: Math.min(BATCH, pieces - first) }, (_, n) => {
        const at = (first + n) * PIECE;
        return hash(upload.file.slice(at, at + PIECE), at, upload.size === PIECE);
      }),
    );
    let coming = pieces > 0 ? batch(0) : null;
    for (let first = 0; first < pieces; first += BATCH) {
      const own = await coming;
      if (stop.signal.aborted) throw new Stopped();
      if (own.includes(null)) throw changed();
      coming = first + BATCH < pieces ? batch(first + BATCH) : null;
      if (upload.state !== "sending") {
        upload.set(state, `${Math.floor(100 * (first + own.length) / pieces)} %`);
      }
      yield [first, own];
    }
  }

  // Has the server hold what it has against the values of this file.
  async compare() {
    const { upload } = this;
    for await (const [first, own] of this.values("comparing")) {
      const told = await upload.page.talk.ask("POST", `pieces/${upload.id}/values?first=${first}`, flat(own));
      if (told.status === 404) throw new Gone();
      if (told.status !== 200) throw refusal(told);
      const differ = new Set(told.body.differ);
      own.forEach((value, n) => {
        const at = (first + n) * PIECE;
        if (differ.has(first + n)) this.todo.push([at, at + PIECE]);
        else upload.acked.set(at, [PIECE, value]);
      });
      upload.page.changed(upload);
    }
  }

  // The hash of the file, before any of it is sent: the server has one with its name and its length, which may be the same.
  async hash() {
    const { file, size } = this.upload, own = new Map();
    for await (const [first, values] of this.values("comparing")) {
      values.forEach((value, n) => own.set((first + n) * PIECE, [PIECE, value]));
    }
    const tail = size - size % PIECE;
    if (tail < size) {
      const value = await hash(file.slice(tail), tail, false);
      if (!value) throw changed();
      own.set(tail, [size - tail, value]);
    }
    return joined(size, own);
  }
}

// What to do where the server does not take a file.
const NEXT = {
  403: ["rename"],
  409: ["rename"],
  507: ["retry", "ask whoever runs it for room, then try again"],
};

function refusal({ status, body }) {
  if (status === 401) {
    return new Refused("the link that this page was opened with is not valid any more", "choose", "open a new one, and choose the file again");
  }
  return new Refused(`the server says: ${body.error || `status ${status}`}`, ...NEXT[status] ?? []);
}

// Fails as soon as it is stopped.
function aborted(signal) {
  return new Promise((_, lost) => {
    if (signal.aborted) lost(new Stopped());
    signal.addEventListener("abort", () => lost(new Stopped()), { once: true });
  });
}

function flat(values) {
  const all = new Uint8Array(32 * values.length);
  values.forEach((value, n) => all.set(value, 32 * n));
  return all;
}

// Waits; a network that comes back and a page that is shown again end it early.
function rest(time, signal) {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      document.removeEventListener("visibilitychange", end);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, time);
    addEventListener("online", end);
    document.addEventListener("visibilitychange", end);
    signal.addEventListener("abort", end);
  });
}

// The right to have so many requests on their way.
export class Slots {
  constructor(count) {
    this.left = count;
    this.waiting = [];
  }

  async take(signal) {
    while (this.left === 0) {
      await new Promise((done) => {
        this.waiting.push(done);
        signal.addEventListener("abort", done, { once: true });
      });
      if (signal.aborted) throw new Stopped();
    }
    this.left--;
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      this.left++;
      this.waiting.splice(0).forEach((done) => done());
    };
    return { release };
  }

  async free() {
    if (this.left === 0) await new Promise((done) => this.waiting.push(done));
  }
}
