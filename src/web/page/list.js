// The list of what is there: searched, sorted, and asked for anew.

import { $, make, say } from "./dom.js";
import { count } from "./units.js";

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
  if (wanted) say(count(shown, "match", "matches"));
}

let order = { key: "name", down: false };

function sort(key, title) {
  order = { key, down: order.key === key && !order.down };
  arrange();
  say(`sorted by ${title}, ${order.down ? "descending" : "ascending"}`);
}

const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function arrange() {
  const { key, down } = order;
  const of = (row) => key === "name" ? row.cells[0].textContent : Number(row.dataset[key] ?? -1);
  const compare = key === "name" ? names.compare : (a, b) => a - b;
  const sorted = rows().map((row) => [row.dataset.kind === "folder", of(row), row]).sort(([aIsFolder, a], [bIsFolder, b]) => {
    // Folders come first whatever the order is.
    const kind = Number(bIsFolder) - Number(aIsFolder);
    return kind || (down ? -1 : 1) * compare(a, b);
  });
  $("list").tBodies[0].append(...sorted.map(([, , row]) => row));
  for (const head of $("list").tHead.querySelectorAll("[data-sort]")) {
    head.ariaSort = head.dataset.sort !== key ? "none" : down ? "descending" : "ascending";
  }
}

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function dress() {
  for (const time of $("list").tBodies[0].querySelectorAll("time")) {
    // A time that no calendar has is not shown.
    if (time.textContent) time.textContent = times.format(new Date(Number(time.closest("tr").dataset.mtime) * 1000));
  }
  $("all").hidden = rows().length === 0;
  arrange();
  search();
}

// The list as the server has it now. It makes the rows, here as for whoever has no scripts.
export async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = $("list").tBodies[0].contains(document.activeElement) && document.activeElement.getAttribute("href");
    $("list").tBodies[0].replaceWith(page.getElementById("list").tBodies[0]);
    dress();
    // Whoever has no mouse stays where they were.
    if (focused) [...$("list").querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
  } catch {
    // It stays as it is until the server answers again.
  }
}

if ($("list")) {
  $("search").hidden = false;
  $("search").addEventListener("input", search);
  for (const head of $("list").tHead.querySelectorAll("[data-sort]")) {
    const button = make("button", "", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(head.dataset.sort, button.textContent.toLowerCase()));
    head.replaceChildren(button);
  }
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  dress();
}
