// Two threads that hash. A worker is this module as well: it is told which part of which file, reads it, and answers with its value.

import { value } from "./blake3.js";

const WORKERS = 2;

if (typeof document === "undefined") {
  self.onmessage = async ({ data: { blob, offset, whole } }) => {
    try {
      self.postMessage({ value: value(await blob.arrayBuffer(), offset, whole) });
    } catch {
      self.postMessage({ value: null });
    }
  };
}

const idle = [], waiting = [];
let started = 0;

// The value of a part of a file that begins at `offset`; null where it cannot be read any more.
export function hash(blob, offset, whole) {
  return new Promise((done) => {
    waiting.push({ blob, offset, whole, done });
    next();
  });
}

function next() {
  if (waiting.length === 0) return;
  if (idle.length === 0) {
    if (started === WORKERS) return;
    started++;
    idle.push(new Worker("/.lanx/hasher.js", { type: "module" }));
  }
  const worker = idle.pop(), { done, ...job } = waiting.shift();
  worker.onmessage = ({ data }) => {
    idle.push(worker);
    done(data.value);
    next();
  };
  worker.postMessage(job);
}
