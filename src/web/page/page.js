// What a person sees and does: the drop zone, the queue, and the list of what is there.

import { Queue } from "./queue.js";
import { bytes, count, duration, rate, shown } from "./units.js";

const $ = (id) => document.getElementById(id);
const make = (tag, name, text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
};
// One line for whoever hears the page and does not see it.
const say = (text) => {
  $("say").textContent = text;
};

// ---- the list ------------------------------------------------------------------------------------------------------------------

const rows = () => [...$("list").tBodies[0].rows];

function search() {
  const wanted = $("search").value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows()) {
    row.hidden = wanted !== "" && !row.cells[0].textContent.toLowerCase().includes(wanted);
    if (!row.hidden) shown++;
  }
  $("empty").hidden = shown > 0;
  $("empty").textContent = wanted ? "Nothing matches." : "Nothing is here yet.";
  if (wanted) say(count(shown, "match").replace(/matchs$/, "matches"));
}

let order = { key: "name", down: false };

function sort(key) {
  order = { key, down: order.key === key && !order.down };
  arrange();
  const column = key === "mtime" ? "time" : key;
  say(`sorted by ${column}, ${order.down ? "descending" : "ascending"}`);
}

function arrange() {
  const { key, down } = order;
  const of = (row) => key === "name" ? row.cells[0].textContent : Number(row.dataset[key] ?? -1);
  const compare = key === "name"
    ? new Intl.Collator(undefined, { numeric: true, sensitivity: "base" }).compare
    : (a, b) => a - b;
  const sorted = rows().sort((a, b) => {
    // Folders come first whatever the order is.
    const kind = Number(b.dataset.kind === "folder") - Number(a.dataset.kind === "folder");
    return kind || (down ? -1 : 1) * compare(of(a), of(b));
  });
  $("list").tBodies[0].append(...sorted);
  for (const head of $("list").tHead.querySelectorAll("[data-sort]")) {
    head.ariaSort = head.dataset.sort !== key ? "none" : down ? "descending" : "ascending";
  }
}

function dress() {
  for (const time of $("list").tBodies[0].querySelectorAll("time")) {
    const at = new Date(Number(time.closest("tr").dataset.mtime) * 1000);
    time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
  arrange();
  search();
}

// The list as the server has it now. It makes the rows, here as for whoever has no scripts.
async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    $("list").tBodies[0].replaceWith(page.getElementById("list").tBodies[0]);
    dress();
  } catch {
    // It stays as it is until the server answers again.
  }
}

if ($("list")) {
  $("tools").hidden = false;
  $("search").addEventListener("input", search);
  for (const head of $("list").tHead.querySelectorAll("[data-sort]")) {
    const button = make("button", "", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(head.dataset.sort));
    head.replaceChildren(button);
  }
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  dress();
}

// ---- the queue -----------------------------------------------------------------------------------------------------------------

// Rows of the queue that are shown at once.
const SHOWN = 60;
// How often the queue is drawn at most, and the list is asked for while more is under way and at the end.
const DRAW_EVERY = 200, REFRESH_EVERY = 3000, REFRESH_LAST = 300;
// Rates are those of the last seconds.
const WINDOW = 5000;

const UNFINISHED = "lanx-unfinished";
const changedRows = new Set();
let queue = null, isPlanned = false, drawnAt = 0, refreshAt = 0;

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
    const row = upload.row ??= rowOf(upload);
    if (list.children[n] !== row) list.insertBefore(row, list.children[n] ?? null);
    show(upload);
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
  const isThere = (element) => element?.checkVisibility();
  if (focused === document.body || isThere(focused) && document.activeElement === focused) return;
  const buttons = [focused, ...focused.closest(".upload")?.querySelectorAll("button") ?? [], ...$("queue").querySelectorAll("button")];
  (buttons.find(isThere) ?? $("choose-files")).focus({ preventScroll: true });
}

function rowOf(upload) {
  const row = make("li", "upload");
  const named = shown(upload.name);
  const name = make("bdi", "name", named);
  name.title = named;
  const what = make("span", "what");
  const bar = document.createElement("progress");
  bar.max = Math.max(1, upload.size);
  bar.setAttribute("aria-label", named);
  const hash = make("code", "hash");
  const button = (action, text, does) => {
    const element = make("button", action, text);
    element.type = "button";
    element.setAttribute("aria-label", `${text}: ${named}`);
    element.addEventListener("click", does);
    return element;
  };
  const buttons = make("span", "buttons");
  buttons.append(
    button("first", "Send next", () => queue.prefer(upload)),
    button("pause", "Pause", () => upload.pause()),
    button("go", "Go on", () => queue.resume(upload)),
    button("retry", "Retry", () => queue.retry(upload)),
    button("cancel", "Cancel", () => upload.cancel().then(() => queue.next())),
    button("remove", "Remove", () => queue.remove(upload)),
  );
  row.append(name, buttons, bar, what, hash);
  return row;
}

function show(upload) {
  const { row, state } = upload;
  row.dataset.state = state;
  const [, , bar, what, hash] = row.children;
  upload.speed ??= new Speed();
  if (!changedRows.has(upload) && row.dataset.shown === state) return;
  row.dataset.shown = state;
  bar.value = state === "done" ? bar.max : upload.shown;
  what.textContent = words(upload);
  hash.textContent = upload.stored?.blake3 ?? "";
}

function words(upload) {
  const size = bytes(upload.size), at = bytes(upload.shown);
  switch (upload.state) {
    case "waiting": return `${size}, waits for its turn${upload.detail && `: ${upload.detail}`}`;
    case "hashing": return `${size}, is hashed`;
    case "comparing": return `${size}, compared with what is there: ${upload.detail}`;
    case "sending": return `sending: ${at} of ${size}${pace(upload.speed, upload.shown, upload.size)}`;
    case "checking": return `${size}, the server checks it`;
    case "lost": return `${at} of ${size}, waits: ${upload.detail}`;
    case "paused": return `${at} of ${size}, paused`;
    case "cancelled": return "cancelled";
    case "failed": return upload.detail;
    default: break;
  }
  const { status, href } = upload.stored;
  const took = Math.max(upload.took, 0.001), limit = upload.limit;
  if (status === "identical") return `${size}, was there already`;
  const name = status === "renamed" ? `, stored as \u2068${shown(decodeURIComponent(href.split("/").pop()))}\u2069` : "";
  return `${size} in ${duration(took)}, ${rate(upload.size / took)}${name}${limit ? `, limited by ${limit}` : ""}`;
}

// How fast something has grown lately.
class Speed {
  constructor() {
    this.samples = [];
  }

  // Bytes a second; 0 while nobody can tell.
  at(bytes) {
    const now = performance.now();
    const last = this.samples.at(-1);
    if (!last || now - last[0] > 100) this.samples.push([now, bytes]);
    while (this.samples.length > 2 && now - this.samples[0][0] > WINDOW) this.samples.shift();
    const [since, from] = this.samples[0];
    return now > since + 300 ? Math.max(0, bytes - from) / ((now - since) / 1000) : 0;
  }
}

function pace(speed, done, size) {
  const now = speed.at(done);
  return now > 0 ? `, ${rate(now)}, ${duration((size - done) / now)} left` : "";
}

const speed = new Speed();
let before = { active: 0 };

function drawAll() {
  const all = queue.uploads;
  const kept = all.filter((upload) => upload.state !== "cancelled");
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  const size = sum(kept.map((upload) => upload.size));
  const done = sum(kept.map((upload) => upload.state === "done" ? upload.size : upload.shown ?? 0));
  const finished = all.filter((upload) => upload.state === "done").length;
  const failed = all.filter((upload) => upload.state === "failed").length;
  const active = all.filter((upload) => upload.isActive || upload.state === "waiting").length;
  const bar = $("total");
  bar.max = Math.max(1, size);
  bar.value = done;
  const parts = [`${count(finished, "file")} of ${all.length} stored`, `${bytes(done)} of ${bytes(size)}`];
  if (failed) parts.push(`${failed} failed`);
  const now = pace(speed, done, size);
  if (active && now) parts.push(now.slice(2));
  $("sum").textContent = parts.join(" · ");
  $("clear").hidden = !all.some((upload) => ["done", "cancelled"].includes(upload.state));
  $("stop").hidden = active === 0;
  $("start").hidden = !all.some((upload) => upload.state === "paused");
  if (before.active > 0 && active === 0) {
    say(failed ? `all is over: ${finished} stored, ${failed} failed` : `all ${count(finished, "file")} stored`);
  }
  before = { active };
}

// What is not finished is named after the page was loaded anew: choosing it again goes on with it.
function remember() {
  const left = queue.uploads.filter((upload) => upload.isActive || ["waiting", "paused"].includes(upload.state));
  sessionStorage.setItem(UNFINISHED, JSON.stringify(left.slice(0, SHOWN).map((upload) => upload.name)));
}

function remind() {
  const names = JSON.parse(sessionStorage.getItem(UNFINISHED) ?? "[]");
  if (names.length === 0) return;
  $("remind").hidden = false;
  const list = names.slice(0, 3).flatMap((name, n) => [n > 0 ? ", " : "", make("bdi", "", shown(name))]);
  $("remind").replaceChildren("Not finished when this page was loaded anew: ", ...list,
    `${names.length > 3 ? ` and ${names.length - 3} more` : ""}. Choose them again, and only what is missing is sent.`);
}

function choose(files) {
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
  $("remind").hidden = true;
  queue.add(chosen);
  say(`${count(chosen.length, "file")} chosen${odd.length ? `, ${odd.length} with names that cannot be sent` : ""}`);
}

// All files in what was dropped.
async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await new Promise((done) => entry.file(done, () => done(null)));
      if (file) files.push({ file, name: path + file.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done) => reader.readEntries(done, () => done([])));
      if (some.length === 0) return;
      for (const inner of some) await walk(inner, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  choose(files);
}

function wire() {
  queue = new Queue(plan, (upload) => {
    if (upload.state === "done" && $("list") && refreshAt === 0) {
      const more = queue.uploads.some((other) => !other.isOver && other !== upload);
      refreshAt = setTimeout(() => {
        refreshAt = 0;
        refresh();
      }, more ? REFRESH_EVERY : REFRESH_LAST);
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
    dropped(event.dataTransfer.items);
  });
  addEventListener("beforeunload", (event) => {
    if (queue.uploads.some((upload) => upload.isActive)) event.preventDefault();
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
