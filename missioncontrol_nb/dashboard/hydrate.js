// A page before its widgets have come: draws what the kernel showed when it was asked for, and gives its charts to the
// widgets once all of these are there. Follows widgets/vega_chart.js in one module.

const SWAP_ANYWAY_MS = 3000; // after the first widget, when what comes is not what was shown

function decode(_name, value) {
  if (typeof value?.base64 !== "string") return value;
  return new DataView(Uint8Array.from(atob(value.base64), (character) => character.charCodeAt(0)).buffer);
}

function stillModel(text) {
  const traits = JSON.parse(text, decode);
  const send = () => {
    throw new Error("no kernel is connected yet");
  };
  return { get: (name) => traits[name], on() {}, off() {}, send };
}

function weight(root) {
  return root?.querySelectorAll(".widget-html-content, .widget-box, select, input, button").length ?? 0;
}

class Still {
  constructor(place, cells) {
    Object.assign(this, { place, cells, claims: [], isDrawn: false });
    for (const button of place.querySelectorAll("[data-mc-action]")) button.inert = true;
    this.drawings = [...place.querySelectorAll(".mc-waits")].map(
      (el) => new Drawing(stillModel(el.firstElementChild.textContent), el),
    );
    this.drawn();
    this.weight = weight(place);
    this.watch = new MutationObserver(() => this.look());
    this.watch.observe(cells, { childList: true, subtree: true });
    place.addEventListener("click", (event) => this.click(event));
  }

  async drawn() {
    await Promise.all(this.drawings.map((drawing) => drawing.tail));
    this.isDrawn = true;
    dispatchEvent(new Event("mc:drawn"));
  }

  // Where a link leads is in the URL, which the widgets read when they come, or hear of if they are there behind.
  click(event) {
    const link = event.target.closest("a[href^='?']");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, "", location.pathname + link.getAttribute("href"));
    dispatchEvent(new PopStateEvent("popstate"));
    this.place.setAttribute("aria-busy", "true");
    this.isLeft = true; // what comes is not what was shown
  }

  // A chart's widget is there: `take` is called with the drawing to go on with.
  claim(take) {
    this.claims.push(take);
    this.look();
  }

  look() {
    if (!this.cells.querySelector(".mc, .mc-failed")) return;
    this.timer ??= setTimeout(() => this.swap(), SWAP_ANYWAY_MS);
    const isComplete = weight(this.cells) >= this.weight && this.claims.length >= this.drawings.length;
    if (this.isLeft ? this.cells.querySelector(".mc-main > *") : isComplete) this.swap();
  }

  swap() {
    clearTimeout(this.timer);
    this.watch.disconnect();
    delete globalThis.missioncontrolStill;
    this.claims.forEach((take) => take(this.drawings.shift()));
    this.drawings.forEach((drawing) => drawing.remove());
    const link = this.place.contains(document.activeElement) && document.activeElement.getAttribute("href");
    this.place.remove();
    if (link) this.cells.querySelector(`a[href=${JSON.stringify(link)}]`)?.focus();
  }
}

globalThis.missioncontrolStill = new Still(document.getElementById("mc-still"), document.getElementById("rendered_cells"));
