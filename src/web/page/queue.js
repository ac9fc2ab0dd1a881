// The files that were chosen: which of them are sent, and what the page shows of each.

import { Slots, Upload } from "./upload.js";
import { Talk } from "./talk.js";

// Files at once, and requests with bytes in them: a browser has six connections to a server, and two more wait behind them.
const ACTIVE = 4, REQUESTS = 8;

export class Queue {
  // `changed` is called when there is something new to show, `ended` with an upload that is over.
  constructor(changed, ended) {
    this.uploads = [];
    this.ended = ended;
    const talk = new Talk((message) => this.hear(message), () => this.rejoin());
    this.page = { talk, slots: new Slots(REQUESTS), names: names(), changed, carried: 0 };
  }

  // Returns how many of them are in it already, and are not sent twice at once.
  add(chosen) {
    let twice = 0;
    const own = new Set(this.uploads.filter((upload) => !upload.isOver).map((upload) => upload.path));
    for (const { file, name, path } of chosen) {
      if (own.has(path)) {
        twice++;
        continue;
      }
      own.add(path);
      this.uploads.push(new Upload(file, name, path, this.page));
    }
    this.next();
    return twice;
  }

  next() {
    let active = this.uploads.filter((upload) => upload.isRunning).length;
    for (const upload of this.uploads) {
      if (active >= ACTIVE) break;
      if (upload.state !== "waiting" || upload.isRunning) continue;
      active++;
      upload.isRunning = true;
      upload.run().finally(() => {
        upload.isRunning = false;
        this.ended(upload);
        this.next();
      });
    }
    this.page.changed();
  }

  // To be sent before all others that wait.
  prefer(upload) {
    this.uploads = [upload, ...this.uploads.filter((other) => other !== upload)];
    this.page.changed();
  }

  resume(upload) {
    upload.set("waiting");
    this.next();
  }

  retry(upload) {
    upload.reset();
    this.next();
  }

  // One whose name the server does not take, under another one.
  rename(upload, name) {
    const folder = (path) => path.slice(0, path.lastIndexOf("/") + 1);
    const path = folder(upload.path) + encodeURIComponent(name);
    if (this.add([{ file: upload.file, name: folder(upload.name) + name, path }]) > 0) return;
    upload.cancel();
    this.remove(upload);
  }

  remove(upload) {
    this.uploads = this.uploads.filter((other) => other !== upload);
    this.page.changed();
  }

  clear() {
    this.uploads = this.uploads.filter((upload) => !["done", "cancelled"].includes(upload.state));
    this.page.changed();
  }

  hear(message) {
    if (message.event !== "progress") return;
    for (const { id, written } of message.uploads) {
      const upload = this.uploads.find((upload) => upload.id === id);
      if (!upload) continue;
      upload.written = written;
      this.page.changed(upload);
    }
  }

  // What is under way belongs to the new conversation from now on.
  rejoin() {
    for (const upload of this.uploads) {
      if (upload.id && upload.isActive) this.page.talk.ask("GET", `pieces/${upload.id}`).catch(() => {});
    }
  }
}

// Who this page is to the server, and who it was before it was loaded anew: what it began then is its own.
function names() {
  const before = sessionStorage.getItem("lanx-client") ?? "";
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const client = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem("lanx-client", client);
  return `client=${client}&before=${before}`;
}
