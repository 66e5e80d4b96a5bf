// What a page needs once: its URL, links, clipboard, downloads, the kernel's heartbeat and the clock of freshness.

const BEAT_MS = 2000;
const hosted = () => document.body.dataset.voila !== undefined; // in JupyterLab the address bar is not ours
let ahead = 0; // server's clock minus this machine's, in milliseconds

// ---------- URL ----------

function showUrl(model, search, how) {
  const current = hosted() ? location.search : model.get("search");
  if (search === current) return;
  if (hosted()) history[how](null, "", location.pathname + search + location.hash);
}

function goTo(model, search) {
  showUrl(model, search, "pushState");
  model.set("search", search);
  model.save_changes();
  scrollTo(0, 0);
}

function followUrl(model) {
  model.set("search", location.search);
  model.save_changes();
}

// ---------- clicks ----------

// A notebook may show several dashboards, and one more than once: each answers what is clicked in its own.
const places = new Map(); // a model's identity -> the elements in which it is shown

function isOurs(model, target) {
  const root = target.closest(".mc");
  return [...(places.get(model.get("identity")) || [])].some((el) => el.closest(".mc") === root);
}

function plainClick(event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}

async function copy(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return undefined;
}

function confirmOn(button, text) {
  if (button.dataset.mcWas !== undefined) return;
  button.dataset.mcWas = button.textContent;
  button.textContent = text;
  setTimeout(() => {
    button.textContent = button.dataset.mcWas;
    delete button.dataset.mcWas;
  }, 1500);
}

function exportChart(button, format) {
  const charts = [...button.closest(".mc").querySelectorAll(".mc-chart[data-mc-embeds]")];
  const chart = charts.find((candidate) => candidate.querySelector("canvas") && candidate.clientWidth);
  const filename = `${button.dataset.mcFilename || "missioncontrol"}.${format}`;
  chart?.dispatchEvent(new CustomEvent("mc-export", { detail: { format, filename } }));
}

function act(model, button) {
  const action = button.dataset.mcAction;
  if (action === "skip") button.closest(".mc").querySelector(".mc-main")?.focus();
  else if (action === "copy-link") copy(location.href).then(() => confirmOn(button, "Copied"));
  else if (action === "copy-text") copy(button.dataset.mcText || "").then(() => confirmOn(button, "Copied"));
  else if (action === "png" || action === "svg") exportChart(button, action);
  else model.send({ action });
}

function onClick(model, event) {
  const target = event.target.closest?.(".mc a[href^='?'], .mc [data-mc-action]");
  if (!target || !plainClick(event) || !isOurs(model, target)) return;
  event.preventDefault();
  if (target.dataset.mcAction) act(model, target);
  else goTo(model, target.getAttribute("href"));
}

// ---------- what Python asks for ----------

function download(filename, mime, buffer) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([buffer], { type: mime }));
  link.download = filename;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function onMessage(model, message, buffers) {
  if (message.do === "push") showUrl(model, message.search, "pushState");
  if (message.do === "replace") showUrl(model, message.search, "replaceState");
  if (message.do === "download") download(message.filename, message.mime, buffers[0]);
  if (message.do === "beat") {
    ahead = Math.abs(message.now - Date.now()) > 2000 ? message.now - Date.now() : 0;
    dispatchEvent(new CustomEvent("mc:beat"));
  }
}

// ---------- freshness ----------

function age(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function clock(ms) {
  const text = new Date(ms).toISOString();
  const today = new Date(Date.now() + ahead).toISOString();
  return text.slice(0, 10) === today.slice(0, 10) ? text.slice(11, 19) : `${text.slice(0, 10)} ${text.slice(11, 19)}`;
}

function tick() {
  for (const span of document.querySelectorAll(".mc-fresh[data-mc-up-to]")) {
    const upTo = Number(span.dataset.mcUpTo);
    if (!upTo) continue;
    const seconds = Math.max(0, (Date.now() + ahead - upTo) / 1000);
    const stale = seconds > Number(span.dataset.mcStaleAfter || Infinity);
    const text = `${stale ? "Data stopped at" : "Data up to"} ${clock(upTo)} UTC · ${age(seconds)} ago`;
    span.classList.toggle("mc-stale", stale);
    if (span.textContent !== text) span.textContent = text;
    sayNews(span.parentElement.querySelector(".mc-fresh-news"), stale, clock(upTo));
  }
}

const wasStale = new WeakMap(); // the place where a screen reader hears of it -> what it last heard

function sayNews(place, stale, upTo) {
  if (!place || wasStale.get(place) === stale) return;
  if (wasStale.has(place)) place.textContent = stale ? `Data stopped at ${upTo} UTC` : `Data arrive again, up to ${upTo} UTC`;
  wasStale.set(place, stale);
}

// ---------- what ipywidgets leave unsaid to keyboards and screen readers ----------

function set(el, name, value) {
  if (el && el.getAttribute(name) !== value) el.setAttribute(name, value);
}

function describe() {
  for (const main of document.querySelectorAll(".mc-main")) {
    set(main, "role", hosted() ? "main" : "region");
    set(main, "aria-label", "Mission Control");
    set(main, "tabindex", "-1");
    if (hosted() && !document.getElementById("mc-main")) main.id = "mc-main";
  }
  for (const toggles of document.querySelectorAll(".mc .widget-toggle-buttons")) {
    const group = toggles.querySelector(":scope > div");
    set(group, "role", "group");
    set(group, "aria-label", toggles.querySelector(".widget-label")?.textContent || "");
    toggles.querySelectorAll("button").forEach((each) => set(each, "aria-pressed", String(each.classList.contains("mod-active"))));
  }
  for (const field of document.querySelectorAll(".mc .mc-day")) {
    set(field.querySelector("input"), "aria-invalid", String(field.classList.contains("mc-invalid")));
  }
  for (const more of document.querySelectorAll(".mc .mc-more")) {
    set(more, "aria-expanded", String(more.closest(".mc-controls")?.classList.contains("mc-open") ?? false));
  }
}

// ---------- the one page ----------

function measure(model) {
  if (model.get("viewport") === innerWidth) return;
  model.set("viewport", innerWidth);
  model.save_changes();
}

// Not before all widgets are made, as they are when one is shown: those that are not drop what Python answers.
function announce(model) {
  if (hosted()) model.set("search", location.search);
  model.set("viewport", innerWidth);
  model.set("opened", Date.now());
  model.save_changes();
  model.send({ beat: 1 });
}

function start(model, stopped) {
  const on = (target, name, handler, options) => target.addEventListener(name, handler, { ...options, signal: stopped });
  let resizing;
  on(document, "click", (event) => onClick(model, event), { capture: true });
  on(window, "resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => measure(model), 150);
  });
  if (hosted()) on(window, "popstate", () => followUrl(model));
  // A line just drawn anew does not say its age, nor that it is stale: it does before it is painted.
  const redrawn = new MutationObserver(tick);
  redrawn.observe(document.body, { childList: true, characterData: true, subtree: true });
  stopped.addEventListener("abort", () => redrawn.disconnect());
  const described = new MutationObserver(describe);
  described.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  stopped.addEventListener("abort", () => described.disconnect());
  describe();
  const timers = [setInterval(() => model.send({ beat: 1 }), BEAT_MS), setInterval(tick, 1000)];
  stopped.addEventListener("abort", () => timers.forEach(clearInterval));
}

export default {
  initialize({ model }) {
    const stop = new AbortController();
    const retitle = () => {
      if (hosted() && model.get("title")) document.title = model.get("title");
    };
    model.on("msg:custom", (message, buffers) => onMessage(model, message, buffers));
    model.on("change:title", retitle);
    retitle();
    tick();
    start(model, stop.signal);
    return () => stop.abort();
  },
  render({ model, el }) {
    el.style.display = "none";
    const identity = model.get("identity");
    if (!places.has(identity)) places.set(identity, new Set());
    places.get(identity).add(el);
    announce(model);
    return () => places.get(identity).delete(el);
  },
};
