// Shows HTML that Python writes, and changes only what is new in it: the keyboard's focus, selected text, scroll positions,
// open details and what the page's own scripts have written stay. Elements of a list keep their identity by `data-mc-key`.

// ---------- what Python last said of a node ----------

const said = new WeakMap(); // a shown node -> the node of Python's HTML that it was made from

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function remember(shown, source) {
  said.set(shown, source);
  source.childNodes.forEach((child, i) => remember(shown.childNodes[i], child));
}

function copyOf(source) {
  const shown = document.importNode(source, true);
  remember(shown, source);
  return shown;
}

// ---------- which shown node a new one continues ----------

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-mc-key") || node.id || null : null;
}

// For each child of the new HTML: the shown child that becomes it, or undefined. Those with keys are found by these, the
// others in their order.
function pairs(shown, wanted) {
  const keyed = new Map();
  const others = [];
  for (const node of shown) {
    const name = key(node);
    if (name !== null) keyed.set(node.nodeName + name, node);
    else others.push(node);
  }
  let next = 0;
  return wanted.map((node) => {
    const name = key(node);
    if (name !== null) {
      const found = keyed.get(node.nodeName + name);
      keyed.delete(node.nodeName + name);
      return found;
    }
    const at = others.findIndex((other, i) => i >= next && other.nodeName === node.nodeName);
    if (at < 0) return undefined;
    next = at + 1;
    return others[at];
  });
}

// ---------- changing ----------

// Only the part that differs, so that a selection that begins or ends in the rest of the text stays.
function changeText(shown, text) {
  const before = shown.data;
  if (before === text) return;
  const most = Math.min(before.length, text.length);
  let head = 0;
  while (head < most && before[head] === text[head]) head++;
  let tail = 0;
  while (tail < most - head && before[before.length - 1 - tail] === text[text.length - 1 - tail]) tail++;
  shown.replaceData(head, before.length - head - tail, text.slice(head, text.length - tail));
}

// An attribute that Python says as before stays as it is, for the visitor or a script may have changed it since.
function changeAttributes(shown, before, now) {
  for (const { name, value } of now.attributes) {
    if (before.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  for (const { name } of [...before.attributes]) if (!now.hasAttribute(name)) shown.removeAttribute(name);
}

function change(shown, now) {
  const before = said.get(shown) ?? shown;
  if (before.isEqualNode(now)) return;
  said.set(shown, now);
  if (now.nodeType !== Node.ELEMENT_NODE) {
    changeText(shown, now.data);
    return;
  }
  changeAttributes(shown, before, now);
  if (!haveEqualChildren(before, now)) changeChildren(shown, now);
}

function haveEqualChildren(one, other) {
  const children = other.childNodes;
  return one.childNodes.length === children.length && [...one.childNodes].every((node, i) => node.isEqualNode(children[i]));
}

function move(parent, node, before) {
  if (node.isConnected && parent.moveBefore) parent.moveBefore(node, before); // keeps focus and scroll positions
  else parent.insertBefore(node, before);
}

// The child that holds the focus or the selection stays where it is, and the others are put around it.
function changeChildren(parent, now) {
  const wanted = [...now.childNodes];
  const found = pairs([...parent.childNodes], wanted);
  const kept = new Set(found);
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
  const children = wanted.map((node, i) => found[i] ?? copyOf(node));
  let fixed = children.findIndex((node) => node.contains(document.activeElement));
  if (fixed < 0) fixed = children.findIndex((node) => node.contains(getSelection()?.anchorNode ?? null));
  if (fixed < 0) fixed = children.findIndex((node) => node.parentNode === parent);
  for (let i = fixed - 1; i >= 0; i--) {
    if (children[i].nextSibling !== children[i + 1]) move(parent, children[i], children[i + 1]);
  }
  for (let i = Math.max(fixed, -1) + 1; i < children.length; i++) {
    const place = i ? children[i - 1].nextSibling : parent.firstChild;
    if (children[i] !== place) move(parent, children[i], place);
  }
  children.forEach((node, i) => found[i] && change(node, wanted[i]));
}

// ---------- one place of HTML ----------

function fill(place, html) {
  const now = parse(html);
  place.replaceChildren(...[...now.childNodes].map(copyOf));
}

export default {
  render({ model, el }) {
    const place = document.createElement("div");
    place.className = "widget-html-content";
    el.classList.add("jupyter-widgets", "widget-inline-hbox", "widget-html");
    fill(place, model.get("value"));
    el.append(place);
    const changed = () => changeChildren(place, parse(model.get("value")));
    model.on("change:value", changed);
    return () => model.off("change:value", changed);
  },
};
