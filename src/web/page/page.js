// What a person sees and does: the drop zone and the queue.

import { $, make, say } from "./dom.js";
import { refresh } from "./list.js";
import { Queue } from "./queue.js";
import { Speed, pace, rowOf, show } from "./row.js";
import { sums } from "./sums.js";
import { bytes, count, shown } from "./units.js";

// Rows of the queue that are shown at once.
const SHOWN = 60;
// How often the queue is drawn at most, and the list is asked for while more is under way and at the end. A long list takes a while, and
// so has so many times as much between.
const DRAW_EVERY = 200, REFRESH_EVERY = 3000, REFRESH_LAST = 300, REFRESH_PART = 10;

const UNFINISHED = "lanx-unfinished";
const changedRows = new Set();
let queue = null, isPlanned = false, drawnAt = 0, refreshAt = 0, refreshTook = 0;

function plan(upload) {
  if (upload) changedRows.add(upload);
  if (isPlanned) return;
  isPlanned = true;
  // With thousands of files each drawing takes a while, so there are few of them; a page in the background has no frames.
  setTimeout(() => {
    isPlanned = false;
    drawnAt = performance.now();
    draw();
  }, Math.max(0, drawnAt + DRAW_EVERY - performance.now()));
}

const RANK = { sending: 0, checking: 0, comparing: 0, hashing: 0, lost: 0, failed: 1, paused: 2, waiting: 3, done: 4, cancelled: 5 };

function draw() {
  const all = queue.uploads;
  // Not less than before, also where a piece was cut and is sent again.
  for (const upload of all) upload.shown = Math.max(upload.progress, upload.state === "waiting" ? 0 : upload.shown ?? 0);
  $("queue").hidden = all.length === 0;
  const sorted = all.map((upload, n) => [RANK[upload.state], n, upload]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const first = sorted.slice(0, SHOWN).map(([, , upload]) => upload);
  const list = $("uploads"), focused = document.activeElement;
  first.forEach((upload, n) => {
    const isNew = !upload.row, row = upload.row ??= rowOf(upload, queue);
    if (list.children[n] !== row) list.insertBefore(row, list.children[n] ?? null);
    if (isNew || upload.isActive || changedRows.has(upload)) show(upload);
  });
  while (list.children.length > first.length) list.lastElementChild.remove();
  const more = all.length - first.length;
  $("more").textContent = more > 0 ? `and ${count(more, "file")} more` : "";
  changedRows.clear();
  drawAll();
  keepFocus(focused);
  remember();
}

// A row that moves takes the focus with it. Where its button has gone, another one of the row has it, or else what is left of the
// queue: whoever has no mouse would have to begin anew at the top of the page.
function keepFocus(focused) {
  const isThere = (element) => element && (element.checkVisibility?.() ?? element.isConnected);
  if (focused === document.body || isThere(focused) && document.activeElement === focused) return;
  const buttons = [focused, ...focused.closest(".upload")?.querySelectorAll("button") ?? [], ...$("queue").querySelectorAll("button")];
  (buttons.find(isThere) ?? $("choose-files")).focus({ preventScroll: true });
}

const KINDS = ["preparing", "comparing", "starting", "sending", "interrupted", "waiting", "paused", "failed", "cancelled"];
const speed = new Speed();
let before = { active: 0, kinds: {} };

function drawAll() {
  const all = sums(queue.uploads), { active, kinds } = all;
  const bar = $("total");
  bar.max = Math.max(1, all.size);
  bar.value = all.size ? all.done : Number(all.stored === all.files);
  const now = speed.at(queue.page.carried);
  const isAll = all.files > 0 && all.stored === all.files;
  const files = `${all.stored.toLocaleString("en")} of ${count(all.files, "file")} stored${isAll ? " and verified" : ""}`;
  const time = kinds.sending ? pace(now, all.left) : "";
  $("sum").textContent = `${files} · ${bytes(all.done)} of ${bytes(all.size)}${time}${time && kinds.paused ? ", not counting what is paused" : ""}`;
  const named = KINDS.filter((kind) => kinds[kind]).map((kind) => `${kinds[kind].toLocaleString("en")} ${kind}`);
  $("kinds").textContent = [...named, ...advice(all)].join(" · ");
  $("kinds").classList.toggle("troubled", kinds.failed > 0 && active === 0);
  bar.classList.toggle("troubled", active === 0 ? kinds.failed > 0 : kinds.interrupted > 0 && !kinds.sending);
  $("clear").hidden = !kinds.stored && !kinds.cancelled;
  $("stop").hidden = active === 0;
  $("start").hidden = !kinds.paused;
  tell(all);
  before = all;
}

// What a person can do meanwhile.
function advice({ active, kinds: { interrupted, paused, failed } }) {
  if (interrupted) return ["keep this page open; if the server stays silent, look at your network, or ask whoever runs it"];
  if (active > 0) return ["keep this page open"];
  return paused || failed ? [] : ["this page can be closed"];
}

// What has happened since the last drawing, if it is worth a word to whoever does not see it.
function tell({ stored, active, kinds }) {
  const { failed = 0, interrupted = 0 } = kinds;
  if (before.active > 0 && active === 0) {
    say(failed ? `all is over: ${stored} stored, ${failed} failed` : `all ${count(stored, "file")} stored and verified`);
  } else if (failed > (before.kinds.failed ?? 0)) {
    const { name, detail } = queue.uploads.findLast((upload) => upload.state === "failed");
    say(`failed: ${shown(name)}, ${detail}`);
  } else if (interrupted && !before.kinds.interrupted) {
    say("interrupted; this page keeps trying");
  }
}

// What is not finished is named after the page was loaded anew: choosing it again goes on with it.
function remember() {
  const left = queue.uploads.filter((upload) => upload.isActive || ["waiting", "paused"].includes(upload.state));
  sessionStorage.setItem(UNFINISHED, JSON.stringify(left.slice(0, SHOWN).map((upload) => upload.name)));
}

function remind() {
  const names = JSON.parse(sessionStorage.getItem(UNFINISHED) ?? "[]");
  if (names.length === 0) return;
  const list = names.slice(0, 3).flatMap((name, n) => [n > 0 ? ", " : "", make("bdi", "", shown(name))]);
  note("Not finished when this page was loaded anew: ", ...list,
    `${names.length > 3 ? ` and ${names.length - 3} more` : ""}. Choose them again, and only what is missing is sent.`);
}

// What a person should know of what was chosen, for all to see.
function note(...parts) {
  $("note").hidden = parts.length === 0;
  $("note").replaceChildren(...parts);
}

// `unread` are those that the browser could not read.
function choose(files, unread = 0) {
  const here = location.pathname.slice(1);
  const chosen = [], odd = [];
  for (const { file, name } of files) {
    try {
      chosen.push({ file, name, path: here + name.split("/").map(encodeURIComponent).join("/") });
    } catch {
      // A name with half a character in it cannot be sent.
      odd.push(name);
    }
  }
  const twice = queue.add(chosen);
  const notes = [];
  if (files.length + unread === 0) notes.push("There is no file in what was chosen; empty folders are not sent.");
  if (odd.length) notes.push(`${count(odd.length, "name")} cannot be sent: half of a character is missing; rename what has it.`);
  if (unread) notes.push(`${count(unread, "file or folder", "files or folders")} could not be read, and will not be sent.`);
  if (twice) notes.push(`${count(twice, "file was", "files were")} in the list already, and will not be sent twice.`);
  note(...notes.join(" ") ? [notes.join(" ")] : []);
  say(`${count(chosen.length - twice, "file")} chosen. ${notes.join(" ")}`.trim());
}

// All files in what was dropped.
async function dropped({ items, files: plain }) {
  // The browser takes both away as soon as this has returned.
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length > 0 ? [] : [...plain].map((file) => ({ file, name: file.name }));
  let unread = 0;
  const read = (work) => new Promise(work).catch(() => {
    unread++;
  });
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await read((done, lost) => entry.file(done, lost));
      if (file) files.push({ file, name: path + file.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await read((done, lost) => reader.readEntries(done, lost)) ?? [];
      if (some.length === 0) return;
      for (const inner of some) await walk(inner, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  choose(files, unread);
}

function wire() {
  queue = new Queue(plan, (upload) => {
    if (upload.state === "done" && $("list") && refreshAt === 0) {
      const more = queue.uploads.some((other) => !other.isOver && other !== upload);
      refreshAt = setTimeout(async () => {
        refreshAt = 0;
        const began = performance.now();
        await refresh();
        refreshTook = performance.now() - began;
      }, more ? Math.max(REFRESH_EVERY, REFRESH_PART * refreshTook) : REFRESH_LAST);
    }
  });
  for (const id of ["files", "folder"]) {
    $(`choose-${id}`).addEventListener("click", () => $(id).click());
    $(id).addEventListener("change", ({ target }) => {
      choose([...target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
      target.value = "";
    });
  }
  const zone = $("drop");
  const hover = (isOver) => zone.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    hover(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || hover(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    hover(false);
    dropped(event.dataTransfer);
  });
  addEventListener("beforeunload", (event) => {
    if (queue.uploads.some((upload) => !upload.isOver)) event.preventDefault();
  });
  $("clear").addEventListener("click", () => queue.clear());
  $("stop").addEventListener("click", () => {
    for (const upload of queue.uploads) if (upload.isActive || upload.state === "waiting") upload.pause();
  });
  $("start").addEventListener("click", () => {
    for (const upload of queue.uploads) if (upload.state === "paused") upload.set("waiting");
    queue.next();
  });
  // Rates and times go on where nothing else changes.
  setInterval(() => {
    const active = queue.uploads.filter((upload) => upload.isActive);
    active.forEach((upload) => plan(upload));
  }, 500);
  $("put").hidden = false;
  remind();
}

if ($("put")) wire();
document.documentElement.dataset.ready = "1";
