// What the page is made of.

export const $ = (id) => document.getElementById(id);

export function make(tag, name, text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}

// One line for whoever hears the page and does not see it.
export function say(text) {
  $("say").textContent = text;
}
