// Draws one Vega-Lite specification from binary columns, and updates it in place. Vega comes from one shared file.

const BUNDLE = "missioncontrol/static/vega.js";
const DAY = 24 * 3600 * 1000; // Vega's row numbers pass 2^32 some day: embed anew
const CLEAN_AFTER = 2000; // removed rows after which the look-up tables of Vega are rid of their nulls
const SHOWN = ["spec", "columns", "summary", "readout"]; // the traits that a drawing shows
const COLOUR = /var\((--[\w-]+)\)/g;

// ---------- Vega, once a page ----------

function bundleUrl() {
  const config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
  const folder = config.fullLabextensionsUrl || `${config.baseUrl || "/"}lab/extensions`;
  return new URL(`${folder}/${BUNDLE}`, document.baseURI).href;
}

function bundleFromKernel(model) {
  return new Promise((resolve, reject) => {
    const answer = (message, buffers) => {
      if (message.do !== "bundle") return;
      model.off("msg:custom", answer);
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "text/javascript" }));
      import(url).then(resolve, reject);
    };
    model.on("msg:custom", answer);
    model.send({ want: "bundle" });
  });
}

// Relay and Project keep a look-up table in which every removed row leaves a null for ever. Vega's classes are reached
// through a view, for the bundle does not export them.
function cureLeaks(view) {
  const { relay, project } = view._runtime.transforms;
  if (relay.isCured) return;
  relay.isCured = true;
  dropNulls(relay);
  dropNulls(project);
}

function dropNulls(transform) {
  const evaluate = transform.prototype.transform;
  transform.prototype.transform = function (parameters, pulse) {
    const result = evaluate.call(this, parameters, pulse);
    this.removed = (this.removed || 0) + (pulse.rem?.length || 0);
    if (this.removed > CLEAN_AFTER && this.value && !Array.isArray(this.value)) {
      this.value = Object.fromEntries(Object.entries(this.value).filter(([, row]) => row));
      this.removed = 0;
    }
    return result;
  };
}

function loadVega(model) {
  globalThis.missioncontrolVega ??= import(bundleUrl())
    .catch((error) => {
      if (document.body.dataset.voila !== undefined) throw error; // the file is this server's: what fails is the network
      return bundleFromKernel(model);
    })
    .catch((error) => {
      delete globalThis.missioncontrolVega;
      throw error;
    });
  return globalThis.missioncontrolVega;
}

// ---------- data ----------

function bytes(view) {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}

function codes(view, length) {
  const size = length ? view.byteLength / length : 4;
  return size === 8 ? new Float64Array(bytes(view)) : size === 1 ? new Int8Array(bytes(view)) : new Int32Array(bytes(view));
}

function reader(column, length) {
  if (column.labels) {
    const numbers = codes(column.codes, length);
    return { length: numbers.length, at: (i) => column.labels[numbers[i]] ?? null };
  }
  const numbers = new Float64Array(bytes(column));
  return { length: numbers.length, at: (i) => (Number.isFinite(numbers[i]) ? numbers[i] : null) };
}

function rows(columns) {
  const plain = Object.values(columns).find((column) => !column.labels);
  const names = Object.keys(columns);
  const readers = names.map((name) => reader(columns[name], plain ? plain.byteLength / 8 : 0));
  return Array.from({ length: readers[0]?.length ?? 0 }, (_, i) => {
    const row = {};
    for (let k = 0; k < names.length; k++) row[names[k]] = readers[k].at(i);
    return row;
  });
}

function tables(columns) {
  return Object.fromEntries(Object.entries(columns).map(([name, table]) => [name, rows(table)]));
}

// ---------- specification ----------

// Times are epoch milliseconds already: Vega-Lite's toDate formulas would only copy, and leak, every row.
function keepNumbers(scope) {
  for (const data of scope.data || []) {
    if (data.format?.parse) {
      for (const [field, type] of Object.entries(data.format.parse)) if (type === "date") delete data.format.parse[field];
    }
    data.transform = data.transform?.filter((step) => !(step.type === "formula" && /^toDate\(/.test(step.expr)));
  }
  (scope.marks || []).forEach(keepNumbers);
  return scope;
}

function resolve(node, colour, width) {
  if (typeof node === "string") {
    if (node === "mc:width") return width;
    return node.replace(COLOUR, (_, name) => colour(name));
  }
  if (Array.isArray(node)) return node.map((item) => resolve(item, colour, width));
  if (node && typeof node === "object") {
    return Object.fromEntries(
      Object.entries(node).map(([key, value]) => [
        key,
        key === "width" && value === "container" ? width : resolve(value, colour, width),
      ]),
    );
  }
  return node;
}

function wantsWidth(spec) {
  return /"mc:width"|"width":"container"/.test(JSON.stringify(spec));
}

// ---------- the line of figures above the chart ----------

function escape(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML.replaceAll('"', "&quot;");
}

function moment(readout, x) {
  if (readout.kind === "age") return age(x);
  return `${new Date(x).toUTCString().slice(0, 22)} UTC`;
}

// "+5 min", "+1 h 25 min", "+4 d 1 h": two units at most
function age(hours) {
  const minutes = Math.round(hours * 60);
  const units = [[Math.floor(minutes / 1440), "d"], [Math.floor(minutes / 60) % 24, "h"], [minutes % 60, "min"]];
  const said = units.filter(([number]) => number).slice(0, 2).map(([number, unit]) => `${number} ${unit}`);
  return said.length ? `+${said.join(" ")}` : "release";
}

function grouped(number) {
  return Math.round(number).toLocaleString("en").replaceAll(",", "\u202f");
}

function usage(hours) {
  if (hours == null) return "";
  if (hours >= 1e7) return `, ${(hours / 1e6).toFixed(1)} million h`;
  return `, ${hours >= 10000 ? `${Math.round(hours / 1000)} k h` : `${hours < 10 ? hours.toFixed(1) : Math.round(hours)} h`}`;
}

// Three significant digits of the rate, at most four decimals; its interval has as many decimals.
function decimals(row) {
  const size = row.rate || row.upper;
  return size > 0 ? Math.max(0, Math.min(4, 2 - Math.floor(Math.log10(size)))) : 2;
}

function rateAndInterval(row) {
  if (row.rate == null) return "<b>–</b>";
  const digits = decimals(row);
  const known = row.lower != null && row.upper != null;
  const interval = known ? ` (${row.lower.toFixed(digits)} to ${row.upper.toFixed(digits)})` : "";
  return `<b>${row.rate.toFixed(digits)}</b>${interval}`;
}

function figures(series, row, show) {
  const key = `<span class="mc-key ${escape(series.class || "")}">${escape(series.name)}</span>`;
  const figure = show === "count" ? `<b>${row.events == null ? "–" : grouped(row.events)}</b>` : rateAndInterval(row);
  const late = row.complete === 0 || row.complete === false ? ", incomplete" : "";
  return `<span>${key} ${figure}${usage(row.usage_hours)}${late}</span>`;
}

function readoutHtml(readout, data, x) {
  const here = (data[readout.dataset] || []).filter((row) => row[readout.x] === x);
  const spans = (readout.series || []).map((series, i) => {
    const row = here.find((candidate) => candidate.series === i || candidate.series === series.name);
    return row ? figures(series, row, readout.show) : "";
  });
  return `<b>${moment(readout, x)}</b>${spans.join("")}`;
}

// ---------- one chart ----------

class Drawing {
  constructor(model, el) {
    this.tail = Promise.resolve();
    this.line = Object.assign(document.createElement("p"), { className: "mc-readout" });
    this.box = Object.assign(document.createElement("div"), { className: "mc-chart" });
    this.box.setAttribute("role", "img");
    this.box.dataset.mcEmbeds = 0;
    this.box.dataset.mcUpdates = 0;
    this.box.addEventListener("mc-export", (event) => this.save(event.detail));
    this.moveTo(model, el);
  }

  // From a page that is still only shown to the widget that has come for it.
  moveTo(model, el) {
    this.deafen?.();
    Object.assign(this, { model, el });
    el.append(this.line, this.box);
    this.listen();
    this.schedule();
  }

  listen() {
    const { model } = this;
    const changed = () => this.schedule();
    const restyled = () => {
      this.themed = true;
      this.schedule();
    };
    for (const name of SHOWN) model.on(`change:${name}`, changed);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", restyled);
    const themes = new MutationObserver(restyled);
    const attributes = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "data-jp-theme-name"] };
    const themed = [document.documentElement, document.body, this.el.closest(".mc")].filter(Boolean);
    for (const node of themed) themes.observe(node, attributes);
    const sizes = new ResizeObserver(changed);
    sizes.observe(this.box);
    this.deafen = () => {
      for (const name of SHOWN) model.off(`change:${name}`, changed);
      dark.removeEventListener("change", restyled);
      themes.disconnect();
      sizes.disconnect();
    };
  }

  schedule() {
    if (this.pending) return;
    this.pending = true;
    this.tail = this.tail.then(async () => {
      this.pending = false;
      try {
        if (!this.removed) await this.draw();
      } catch (error) {
        console.error(error);
        this.box.dataset.mcError = String(error);
        if (!this.view) this.box.textContent = "This chart could not be drawn.";
      }
    });
  }

  async draw() {
    const { model } = this;
    const spec = model.get("spec");
    this.box.setAttribute("aria-label", model.get("summary"));
    this.tell();
    if (!Object.keys(spec).length) return this.clear();
    const width = Math.floor(this.box.clientWidth);
    if (!width) return undefined; // not laid out yet: the ResizeObserver comes back
    const old = !this.view || this.spec !== spec || this.themed || Date.now() - this.embeddedAt > DAY;
    if (old) return this.embed(spec, width);
    if (this.columns !== model.get("columns")) await this.update();
    if (this.fluid) await this.fit(width);
    return undefined;
  }

  async embed(spec, width) {
    const colours = getComputedStyle(this.box);
    const key = JSON.stringify(resolve(spec, (name) => colours.getPropertyValue(name).trim(), 0));
    this.themed = false;
    if (this.view && key === this.key && Date.now() - this.embeddedAt <= DAY) {
      this.spec = spec;
      return this.update();
    }
    const { embed } = await loadVega(this.model);
    const host = document.createElement("div");
    host.setAttribute("aria-hidden", "true");
    host.append(document.createElement("div"));
    host.style.cssText = "position: absolute; visibility: hidden";
    this.box.append(host);
    this.columns = this.model.get("columns");
    this.data = tables(this.columns);
    const plot = Math.max(40, this.plot || width - 60);
    const ready = resolve(spec, (name) => colours.getPropertyValue(name).trim(), plot);
    ready.datasets = { ...ready.datasets, ...this.data };
    ready.config = { ...ready.config, aria: false };
    let result;
    try {
      const tooltip = !Object.keys(this.model.get("readout")).length; // figures stand above the chart, or beside the pointer
      result = await embed(host.firstChild, ready, { ast: true, actions: false, renderer: "canvas", tooltip, patch: keepNumbers });
    } catch (error) {
      host.remove();
      throw error;
    }
    this.replace(result, host, { spec, key, plot });
    if (this.fluid) await this.fit(width);
    host.style.cssText = "";
    this.box.dataset.mcEmbeds = +this.box.dataset.mcEmbeds + 1;
    if (!globalThis.missioncontrolDrawn) globalThis.missioncontrolDrawn = performance.now();
    return undefined;
  }

  replace(result, host, { spec, key, plot }) {
    this.clear(host);
    Object.assign(this, { view: result.view, host, spec, key, plot, embeddedAt: Date.now(), fluid: wantsWidth(spec) });
    for (const part of host.querySelectorAll(".vega-embed, canvas")) part.style.display = "block";
    this.box.mcView = this.view;
    this.view.cleanThreshold = 500;
    cureLeaks(this.view);
    this.widths = (result.vgSpec.signals || [])
      .filter((signal) => /width$/i.test(signal.name) && signal.value === plot)
      .map((signal) => signal.name);
    if (result.vgSpec.width === plot) this.widths.push("width");
    try {
      this.view.addSignalListener("hover", (_, value) => this.point(value));
    } catch {
      // a chart without a parameter of that name has no figures to read out
    }
  }

  async update() {
    this.columns = this.model.get("columns");
    this.data = tables(this.columns);
    for (const [name, table] of Object.entries(this.data)) this.view.data(name, table);
    await this.view.runAsync();
    this.tell();
    this.box.dataset.mcUpdates = +this.box.dataset.mcUpdates + 1;
  }

  // The axes' labels take what they need; the plot gets the rest of the box.
  async fit(width) {
    for (let round = 0; round < 3; round++) {
      const canvas = this.host.querySelector("canvas");
      const over = Math.ceil(parseFloat(canvas.style.width) || canvas.width) - width;
      if (over === 0 || (over < 0 && over > -2)) return;
      this.plot = Math.max(40, this.plot - over);
      for (const name of this.widths) this.view.signal(name, this.plot);
      await this.view.runAsync();
    }
  }

  point(value) {
    const readout = this.model.get("readout");
    const x = value && typeof value === "object" ? value[readout.x]?.[0] : value;
    this.x = x == null ? null : +x;
    this.tell();
  }

  tell() {
    const readout = this.model.get("readout");
    this.line.hidden = !Object.keys(readout).length;
    const html = this.x == null || !this.data ? readout.quiet || "" : readoutHtml(readout, this.data, this.x);
    if (this.shown !== html) this.line.innerHTML = this.shown = html;
  }

  async save({ format, filename }) {
    if (!this.view) return;
    const link = document.createElement("a");
    const ground = getComputedStyle(this.box).getPropertyValue("--mc-surface").trim() || "#ffffff";
    const blob = await (format === "svg" ? this.svg(ground) : this.png(ground));
    link.href = URL.createObjectURL(blob);
    link.download = filename;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  async svg(ground) {
    const text = await this.view.toSVG();
    const filled = text.replace(/(<svg[^>]*>)/, `$1<rect width="100%" height="100%" fill="${ground}"/>`);
    return new Blob([filled], { type: "image/svg+xml" });
  }

  async png(ground) {
    const drawn = await this.view.toCanvas(2);
    const canvas = Object.assign(document.createElement("canvas"), { width: drawn.width, height: drawn.height });
    const context = canvas.getContext("2d");
    context.fillStyle = ground;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(drawn, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  clear(keep) {
    this.view?.finalize();
    this.view = this.spec = undefined;
    for (const child of [...this.box.childNodes]) if (child !== keep) child.remove();
  }

  remove() {
    this.removed = true;
    this.deafen();
    this.tail.then(() => this.clear());
  }
}

export default {
  render({ model, el }) {
    let drawing;
    let removed = false;
    const start = (still) => {
      if (removed) return still?.remove();
      if (still) still.moveTo(model, el);
      drawing = still ?? new Drawing(model, el);
      return undefined;
    };
    if (globalThis.missioncontrolStill) globalThis.missioncontrolStill.claim(start);
    else start();
    return () => {
      removed = true;
      drawing?.remove();
    };
  },
};
