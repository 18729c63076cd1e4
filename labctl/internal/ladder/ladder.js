"use strict";
// Zoom, a filter by socket, details by pointer and keyboard, for each ladder of
// the page. Nothing is fetched; without this script the picture is the same.
for (const figure of document.querySelectorAll("figure.lad")) {
  const tools = figure.querySelector(".lad-tools"), detail = figure.querySelector(".lad-detail");
  // The same ladder for wide and for narrow screens: the style shows one of them.
  const views = [...figure.querySelectorAll(".lad-scroll")].map((scroll) => (
    {scroll, sheets: scroll.querySelector(".lad-sheets"), rows: [...scroll.querySelectorAll(".r")], at: -1}));
  if (!tools || !detail || views.length === 0) continue;
  let rest = [-1, -1];
  const shown = () => views.find((v) => v.scroll.clientWidth > 0) ?? views[0];

  // The size is the style's until somebody zooms.
  const show = (view, width) => {
    view.sheets.style.width = width === null ? "" : width + "px";
    view.sheets.classList.toggle("zoomed", width !== null);
  };
  const natural = (view) => view.sheets.querySelector("svg").viewBox.baseVal.width;
  const zoom = (factor) => {
    const view = shown(), whole = natural(view);
    show(view, Math.min(3 * whole, Math.max(.3 * whole, view.sheets.querySelector("svg").clientWidth * factor)));
  };
  const fit = () => show(shown(), null);
  const pick = (view, i, move) => {
    view.rows[view.at]?.classList.remove("on");
    view.at = i;
    const row = view.rows[i];
    if (!row) { detail.textContent = ""; return; }
    row.classList.add("on");
    detail.textContent = row.querySelector("title")?.textContent ?? "";
    if (move) row.scrollIntoView({block: "nearest", inline: "nearest"});
  };
  const filter = (socket) => {
    for (const g of figure.querySelectorAll("[data-s], .r:not(.step):not(.fold)")) {
      if (g.localName !== "option") g.classList.toggle("dim", socket !== "" && !(g.dataset.s ?? "").split(" ").includes(socket));
    }
    if (choice.value !== socket) choice.value = socket;
  };
  const button = (text, name, act) => {
    const b = document.createElement("button");
    b.type = "button"; b.textContent = text; b.title = name; b.setAttribute("aria-label", name);
    b.addEventListener("click", act);
    tools.append(b);
  };

  const label = document.createElement("label"), choice = document.createElement("select");
  label.append("Show ", choice);
  choice.append(new Option("all sockets", ""));
  for (const line of figure.querySelectorAll(".lad-key [data-s]")) choice.append(new Option(line.textContent, line.dataset.s));
  choice.addEventListener("change", () => filter(choice.value));
  tools.append(label);
  button("−", "Zoom out", () => zoom(1 / 1.25));
  button("+", "Zoom in", () => zoom(1.25));
  button("1:1", "Original size", () => { const view = shown(); show(view, natural(view)); });
  button("Fit", "Fit the width", fit);
  tools.hidden = detail.hidden = false;

  for (const view of views) {
    // Not where the page scrolls below a pointer at rest: the keys would lose their row.
    view.scroll.addEventListener("pointermove", (e) => {
      if (e.screenX === rest[0] && e.screenY === rest[1]) return;
      rest = [e.screenX, e.screenY];
      const row = e.target.closest?.(".r");
      if (row && row !== view.rows[view.at]) pick(view, view.rows.indexOf(row), false);
    });
    view.scroll.addEventListener("click", (e) => {
      const bar = e.target.closest?.(".bars [data-s]");
      if (bar) filter(choice.value === bar.dataset.s ? "" : bar.dataset.s);
    });
    view.scroll.addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      switch (e.key) {
      case "ArrowDown": pick(view, Math.min(view.rows.length - 1, view.at + 1), true); break;
      case "ArrowUp": pick(view, Math.max(0, view.at - 1), true); break;
      case "Enter": { const link = view.rows[view.at]?.querySelector("a"); if (!link) return; location.hash = link.getAttribute("href"); break; }
      case "+": case "=": zoom(1.25); break;
      case "-": zoom(1 / 1.25); break;
      case "0": fit(); break;
      case "Escape": filter(""); pick(view, -1, false); break;
      default: return;
      }
      e.preventDefault();
    });
  }
}
