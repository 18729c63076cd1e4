"use strict";
// Zoom, a filter by socket, details by pointer and keyboard, for each ladder of
// the page. Nothing is fetched; without this script the picture is the same.
for (const figure of document.querySelectorAll("figure.lad")) {
  const svg = figure.querySelector("svg.ladder"), scroll = figure.querySelector(".lad-scroll");
  const tools = figure.querySelector(".lad-tools"), detail = figure.querySelector(".lad-detail");
  if (!svg || !scroll || !tools || !detail) continue;
  const rows = [...svg.querySelectorAll(".r")];
  const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
  let zoom = 1, at = -1;

  const show = (z) => {
    zoom = Math.min(3, Math.max(0.3, z));
    svg.style.width = width * zoom + "px";
    svg.style.height = height * zoom + "px";
    svg.style.maxWidth = "none";
  };
  const fit = () => show(scroll.clientWidth / width);
  const pick = (i, move) => {
    rows[at]?.classList.remove("on");
    at = i;
    const row = rows[at];
    if (!row) { detail.textContent = ""; return; }
    row.classList.add("on");
    detail.textContent = row.querySelector("title")?.textContent ?? "";
    if (move) row.scrollIntoView({block: "nearest", inline: "nearest"});
  };
  const filter = (socket) => {
    for (const g of svg.querySelectorAll("[data-s], .r:not(.step):not(.fold)")) {
      g.classList.toggle("dim", socket !== "" && !(g.dataset.s ?? "").split(" ").includes(socket));
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
  for (const line of svg.querySelectorAll(".foot [data-s]")) choice.append(new Option(line.textContent, line.dataset.s));
  choice.addEventListener("change", () => filter(choice.value));
  tools.append(label);
  button("−", "Zoom out", () => show(zoom / 1.25));
  button("+", "Zoom in", () => show(zoom * 1.25));
  button("1:1", "Original size", () => show(1));
  button("Fit", "Fit the width", fit);
  tools.hidden = detail.hidden = false;
  if (scroll.clientWidth > 700) fit(); else show(1);

  svg.addEventListener("pointerover", (e) => {
    const row = e.target.closest?.(".r");
    if (row) pick(rows.indexOf(row), false);
  });
  svg.addEventListener("click", (e) => {
    const bar = e.target.closest?.(".bars [data-s]");
    if (bar) filter(choice.value === bar.dataset.s ? "" : bar.dataset.s);
  });
  scroll.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    switch (e.key) {
    case "ArrowDown": pick(Math.min(rows.length - 1, at + 1), true); break;
    case "ArrowUp": pick(Math.max(0, at - 1), true); break;
    case "Enter": { const link = rows[at]?.querySelector("a"); if (link) location.hash = link.getAttribute("href"); break; }
    case "+": case "=": show(zoom * 1.25); break;
    case "-": show(zoom / 1.25); break;
    case "0": fit(); break;
    case "Escape": filter(""); pick(-1, false); break;
    default: return;
    }
    e.preventDefault();
  });
}
