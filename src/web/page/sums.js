// What all files of the queue come to.

// What a person calls the state of a file.
const KIND = {
  waiting: "waiting", hashing: "preparing", comparing: "comparing", sending: "sending", checking: "sending", lost: "interrupted",
  paused: "paused", failed: "failed", cancelled: "cancelled", done: "stored",
};

// Files and bytes are those of all files that were chosen and not cancelled. `left` are the bytes that come by themselves, so not those
// that are paused or have failed. `kinds` has the number of files of each kind.
export function sums(uploads) {
  const all = { files: 0, stored: 0, size: 0, done: 0, left: 0, active: 0, kinds: {} };
  for (const { state, size, shown, isStarting } of uploads) {
    const kind = isStarting ? "starting" : KIND[state], done = state === "done" ? size : Math.min(size, shown ?? 0);
    all.kinds[kind] = (all.kinds[kind] ?? 0) + 1;
    if (kind === "cancelled") continue;
    all.files++;
    all.size += size;
    all.done += done;
    if (kind === "stored") {
      all.stored++;
    } else if (kind !== "paused" && kind !== "failed") {
      all.active++;
      all.left += size - done;
    }
  }
  return all;
}
