// One file of the queue, as a person sees it.

import { make } from "./dom.js";
import { bytes, duration, rate, shown } from "./units.js";

// Rates are those of the last seconds.
const WINDOW = 5000;

// How fast something has grown lately.
export class Speed {
  constructor() {
    this.samples = [];
  }

  // Bytes a second; 0 while nobody can tell.
  at(bytes) {
    const now = performance.now();
    const last = this.samples.at(-1);
    if (last && bytes < last[1]) this.samples = [];
    if (!last || now - last[0] > 100) this.samples.push([now, bytes]);
    while (this.samples.length > 2 && now - this.samples[0][0] > WINDOW) this.samples.shift();
    const [since, from] = this.samples[0] ?? [now, bytes];
    return now > since + 300 ? (bytes - from) / ((now - since) / 1000) : 0;
  }
}

// How fast it goes, and how long what is left takes so.
export function pace(speed, left) {
  return speed > 0 ? ` · ${rate(speed)} · ${duration(left / speed)} left` : "";
}

export function rowOf(upload, queue) {
  const row = make("li", "upload");
  const named = shown(upload.name);
  const name = make("bdi", "name", named);
  name.title = named;
  const bar = document.createElement("progress");
  bar.max = Math.max(1, upload.size);
  bar.setAttribute("aria-label", named);
  const what = make("span", "what");
  what.append(make("strong", "state"), make("span", "detail"));
  const proof = make("span", "proof");
  proof.append(make("span", "steps"), make("code", "hash"));
  const button = (action, text, does) => {
    const element = make("button", action, text);
    element.type = "button";
    element.setAttribute("aria-label", `${text}: ${named}`);
    element.addEventListener("click", does);
    return element;
  };
  const hide = button("hide", "Hide", () => queue.remove(upload));
  hide.title = "Takes it out of this list. What is stored stays stored.";
  const buttons = make("span", "buttons");
  buttons.append(
    button("first", "Send next", () => queue.prefer(upload)),
    button("pause", "Pause", () => upload.pause()),
    button("go", "Resume", () => queue.resume(upload)),
    button("retry", "Try again", () => queue.retry(upload)),
    button("rename", "Rename…", () => rename(upload, queue)),
    button("cancel", "Cancel", () => upload.cancel().then(() => queue.next())),
    hide,
  );
  row.append(name, buttons, bar, what, proof);
  return row;
}

function rename(upload, queue) {
  const name = prompt("Send it under the name", upload.path.split("/").map(decodeURIComponent).pop());
  if (name) queue.rename(upload, name);
}

export function show(upload) {
  const { row, state } = upload, [, , bar, what, proof] = row.children;
  row.dataset.state = state;
  row.dataset.next = upload.next ?? "";
  bar.value = state === "done" ? bar.max : upload.shown;
  const [named, detail, steps] = words(upload);
  what.children[0].textContent = named;
  what.children[1].textContent = detail && ` · ${detail}`;
  proof.children[0].textContent = steps ?? "";
  proof.children[1].textContent = state === "done" ? upload.stored.blake3 : "";
}

// The state in a word, the rest, and the line below.
function words(upload) {
  const size = bytes(upload.size), at = bytes(upload.shown);
  switch (upload.state) {
    case "waiting": return ["Waiting", `${size} · ${upload.detail || "other files of this page come first"}`];
    case "hashing": return ["Preparing", `${size} · this device computes its checksum before it is sent`];
    case "comparing": return ["Comparing", `${size} · ${upload.detail} of it held against what the server has`];
    case "sending": {
      if (upload.isStarting) return ["Starting", size];
      upload.speed ??= new Speed();
      return ["Sending", `${at} of ${size} stored${pace(upload.speed.at(upload.carried), upload.size - upload.shown)}`, steps(upload)];
    }
    case "checking": return ["Checking", `${size} · the server compares the checksum of all of it`];
    case "lost": return ["Interrupted", `${at} of ${size} stored · ${upload.detail}; this page keeps trying`];
    case "paused": return ["Paused", `${at} of ${size} stored`];
    case "cancelled": return ["Cancelled", size];
    case "failed": return ["Failed", upload.detail];
    default: return ["Stored and verified", stored(upload, size), "BLAKE3 "];
  }
}

// What has left and is not stored yet, and what is waited for.
function steps({ size, hashed, sent, shown: stored }) {
  if (sent === size) return `all of it is sent; ${hashed < size ? "this device still computes checksums" : "the server still writes it"}`;
  const parts = [];
  if (sent > stored) parts.push(`${bytes(sent - stored)} on the way`);
  if (hashed < sent) parts.push(`${bytes(sent - hashed)} not yet checked`);
  return parts.join(" · ");
}

function stored(upload, size) {
  const { took, limit, carried } = upload, { status, href } = upload.stored;
  if (status === "identical") return `${size} · it was there already`;
  const time = Math.max(took, 0.001);
  const part = carried < 0.95 * upload.size ? `, of which ${bytes(carried)} were sent` : "";
  const name = status === "renamed" ? ` · as \u2068${shown(decodeURIComponent(href.split("/").pop()))}\u2069` : "";
  // Of little the rate says nothing. What was sent twice counts once.
  const speed = carried >= 1e6 ? `, ${rate(Math.min(carried, upload.size) / time)}` : "";
  return `${size}${part} in ${duration(time)}${speed}${name}${limit ? ` · limited by ${limit}` : ""}`;
}
