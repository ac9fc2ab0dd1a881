// The conversation with the server: requests and their answers over one WebSocket, and over plain requests for as long as there is
// none (some browsers refuse one to a server whose certificate they do not know).

const PAUSE_FIRST = 500, PAUSE_MAX = 30_000;
// A conversation that owes an answer and says nothing for so long is asked whether it is still there, and left if it says nothing
// to that for as long again: a network that was gone for a while ends none. A plain request has so long.
const SILENCE = 8_000, PATIENCE = 60_000;

// The network does not carry, or the server has no room just now: whatever was asked can be asked again.
export class Lost extends Error {}

export class Talk {
  // `heard` is called with what the server says unasked, `joined` with each new connection.
  constructor(heard, joined) {
    this.heard = heard;
    this.joined = joined;
    this.socket = null;
    this.asked = new Map();
    this.number = 0;
    this.pause = PAUSE_FIRST;
    setInterval(() => this.watch(), 1000);
    addEventListener("online", () => this.connect());
    document.addEventListener("visibilitychange", () => document.hidden || this.connect());
    this.connect();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.timer);
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/.lanx/talk`);
    this.socket = socket;
    socket.onopen = () => {
      this.pause = PAUSE_FIRST;
      this.joined();
    };
    socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    socket.onclose = () => this.socket === socket && this.leave();
  }

  leave() {
    this.socket = null;
    // Each of them is asked again by a plain request.
    for (const { lost } of this.asked.values()) lost();
    this.asked.clear();
    this.timer = setTimeout(() => this.connect(), this.pause * (0.5 + Math.random()));
    this.pause = Math.min(2 * this.pause, PAUSE_MAX);
  }

  watch() {
    if (!this.isOpen || this.asked.size === 0) {
      this.doubt = 0;
      return;
    }
    const now = performance.now();
    if (now - this.heardAt < SILENCE) return;
    if (!this.doubt) {
      this.doubt = now;
      this.socket.send(JSON.stringify({ n: 0, ask: "GET pieces/none", body: "" }));
    } else if (now - this.doubt > SILENCE) {
      this.doubt = 0;
      this.socket.close();
      this.leave();
    }
  }

  hear(message) {
    this.heardAt = performance.now();
    this.doubt = 0;
    if (message.n === 0) return;
    if (message.event === "waiting") return this.asked.get(message.ask)?.waits?.(message);
    const asked = this.asked.get(message.n);
    if (!asked) return this.heard(message);
    this.asked.delete(message.n);
    asked.done(message);
  }

  // Asks for `method` of `address`, behind `/.lanx/`. The answer is { status, body }. `waits` hears why it does not come yet.
  async ask(method, address, body, waits) {
    if (this.isOpen) {
      const answer = await new Promise((done) => {
        const n = ++this.number;
        if (this.asked.size === 0) this.heardAt = performance.now();
        this.asked.set(n, { done, waits, lost: () => done(null) });
        this.socket.send(JSON.stringify({ n, ask: `${method} ${address}`, body: body ? base64(body) : "" }));
      });
      if (answer) return judged(answer);
    }
    let response;
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      response = await fetch(`/.lanx/${address}`, { method, body, signal, headers: { Lanx: "1" }, cache: "no-store" });
    } catch {
      throw new Lost("the server does not answer");
    }
    return judged({ status: response.status, body: await response.json().catch(() => ({})) });
  }
}

// Statuses that pass.
export function judged(answer) {
  if ([408, 429, 502, 503, 504].includes(answer.status)) {
    const { error, before, serving } = answer.body;
    throw new Lost(serving ? turn({ before, serving }) : error || "the server is busy");
  }
  return answer;
}

// Why an upload waits, in words.
export function turn({ before, serving }) {
  const first = before === 0 ? "this one is next" : `${before} ${before === 1 ? "comes" : "come"} before it`;
  return `the server takes ${serving} files just now, ${first}`;
}

export function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
