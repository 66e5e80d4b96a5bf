"""The script that changes a page's HTML in place, by itself in an empty page of real Chromium."""

import pytest
from playwright.sync_api import Page

from missioncontrol_nb.dashboard.widgets.page import HERE

PAIRS = 500  # of random trees

SET_UP = """async (code) => {
  const {default: widget} = await import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})));
  window.show = (html) => {
    document.body.replaceChildren();
    const el = document.body.appendChild(document.createElement("div"));
    let changed;
    const model = {value: html, get: () => model.value, on: (_, callback) => { changed = callback; }, off() {}};
    widget.render({model, el});
    window.place = el.firstChild;
    window.update = (next) => { model.value = next; changed(); };
    return window.place;
  };
}"""


@pytest.fixture(scope="module")
def page(chromium) -> Page:
    page = chromium.new_context(viewport={"width": 800, "height": 600}).new_page()
    page.evaluate(SET_UP, (HERE / "markup.js").read_text(encoding="utf-8"))
    yield page
    page.context.close()


RANDOM_PAIRS = """(pairs) => {
  let seed = 1;
  const below = (limit) => (seed = (seed * 48271) % 2147483647) % limit;
  const names = ["p", "span", "b", "div", "a"];
  const words = ["one", "two", "three", "", "4 %"];
  function tree(depth) {
    const used = new Set();
    return Array.from({length: below(5)}, () => {
      if (depth === 0 || below(3) === 0) return words[below(5)];
      const name = names[below(5)], key = below(2) ? `k${below(6)}` : "";
      const keyed = key && !used.has(key) ? ` data-mc-key="${key}"` : "";
      used.add(key);
      const css = below(2) ? ` class="c${below(3)}"` : "";
      if (below(8) === 0) return `<svg viewBox="0 0 ${below(9)} 9"><path d="M0 ${below(9)}"/></svg>`;
      return `<${name}${keyed}${css}>${name === "p" ? words[below(5)] : tree(depth - 1)}</${name}>`;
    }).join("");
  }
  const wrong = [];
  for (let i = 0; i < pairs; i++) {
    const steps = [tree(4), tree(4), tree(4)].map((html) => html.replace(/<a/g, "<i").replace(/<\\/a/g, "</i"));
    show(steps[0]);
    for (const html of [steps[1], steps[2], steps[0]]) {
      update(html);
      const wanted = document.createElement("div");
      wanted.innerHTML = html;
      wanted.className = "widget-html-content";
      if (!place.isEqualNode(wanted)) wrong.push([steps, place.innerHTML]);
    }
  }
  return wrong.slice(0, 3);
}"""


def test_any_html_becomes_any_other(page):
    assert page.evaluate(RANDOM_PAIRS, PAIRS) == []


ROWS = """(order) => `<table><tbody>${order.map((name) =>
  `<tr data-mc-key="${name}"><th><a href="?${name}">${name}</a></th><td>some text of ${name}</td></tr>`
).join("")}</tbody></table>`"""


@pytest.mark.parametrize("order", ["dcba", "bacd", "cabd", "xaybzc", "c", "adbc"])
def test_row_with_the_focus_keeps_it_wherever_it_goes(page, order):
    kept = page.evaluate(
        f"""(order) => {{
          const rows = {ROWS};
          show(rows([..."abcd"]));
          const link = place.querySelector("[href='?c']");
          link.focus();
          let blurs = 0;
          link.addEventListener("blur", () => blurs++);
          update(rows(order));
          const shown = [...place.querySelectorAll("a")].map((each) => each.textContent);
          return [document.activeElement === link, blurs, shown];
        }}""",
        list(order),
    )
    assert kept == [True, 0, list(order)] if "c" in order else kept[2] == list(order)


@pytest.mark.parametrize("order", ["dcba", "xaybzc", "c"])
def test_selected_text_stays_selected_in_a_row_that_moves(page, order):
    selected = page.evaluate(
        f"""(order) => {{
          const rows = {ROWS};
          show(rows([..."abcd"]));
          const text = place.querySelector("[data-mc-key=c] td").firstChild;
          getSelection().setBaseAndExtent(text, 5, text, 14);
          update(rows(order));
          return String(getSelection());
        }}""",
        list(order),
    )
    assert selected == "text of c"


def test_text_that_stays_beside_a_figure_that_changes_stays_selected(page):
    assert (
        page.evaluate("""() => {
      show("<p>Crashes rose by 38 % since the release</p>");
      const text = place.querySelector("p").firstChild;
      getSelection().setBaseAndExtent(text, 8, text, 28);
      update("<p>Crashes rose by 1405 % since the release</p>");
      return String(getSelection());
    }""")
        == "rose by 1405 % since t"
    )


def test_what_the_visitor_opened_or_a_script_wrote_stays_until_python_says_otherwise(page):
    kept = page.evaluate("""() => {
      const html = (figure, clock) => `<details><summary>More</summary>${figure}</details>` +
        `<span class="fresh">${clock}</span>` +
        `<div style="height: 20px; overflow: auto"><p style="height: 90px">${figure}</p></div>`;
      show(html(1, "noon"));
      const [details, span, box] = place.children;
      details.open = true;
      span.textContent = "noon, 5 s ago";
      span.classList.add("stale");
      box.scrollTop = 30;
      update(html(2, "noon"));
      const written = [span.textContent, span.className];
      update(html(2, "one"));
      return [details.isConnected && details.open, details.textContent, ...written, box.scrollTop, span.textContent];
    }""")
    assert kept == [True, "More2", "noon, 5 s ago", "fresh stale", 30, "one"]
