// layout says what is wrong with the ladder and the state diagrams that the page shows,
// and how many texts it looked at: labels that overlap, leave the picture, cover a bar
// or a box, or are too small.
() => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const wrong = [];
  let texts = 0, smallest = 100;
  // The corners of what an element draws, in the units of its SVG.
  const corners = (element) => {
    const b = element.getBBox(), turned = element.transform.baseVal.consolidate()?.matrix;
    return [[b.x, b.y], [b.x + b.width, b.y], [b.x + b.width, b.y + b.height], [b.x, b.y + b.height]].map(([x, y]) =>
      turned ? [turned.a * x + turned.c * y + turned.e, turned.b * x + turned.d * y + turned.f] : [x, y]);
  };
  // How deep two convex figures lie in one another: 0 or less if a line is between them.
  const depth = (p, q) => {
    let least = Infinity;
    for (const figure of [p, q]) for (let i = 0; i < 4; i++) {
      const [x0, y0] = figure[i], [x1, y1] = figure[(i + 1) % 4], long = Math.hypot(x1 - x0, y1 - y0) || 1;
      const along = (points) => points.map(([x, y]) => ((y1 - y0) * x - (x1 - x0) * y) / long);
      const a = along(p), b = along(q);
      least = Math.min(least, Math.min(Math.max(...a), Math.max(...b)) - Math.max(Math.min(...a), Math.min(...b)));
    }
    return least;
  };
  const of = (points, k) => points.map((p) => p[k]);
  const allowed = 2.2; // a line's box is higher than its letters
  for (const svg of document.querySelectorAll(".lad-scroll svg.ladder, svg.tcp")) {
    if (!svg.clientWidth) continue;
    const view = svg.viewBox.baseVal, scale = svg.clientWidth / view.width;
    const all = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim() !== "").map((t) => ({t, c: corners(t), name: JSON.stringify(t.textContent)}));
    texts += all.length;
    for (const {t, c, name} of all) {
      smallest = Math.min(smallest, parseFloat(getComputedStyle(t).fontSize) * scale);
      if (Math.min(...of(c, 0)) < view.x - .5 || Math.max(...of(c, 0)) > view.x + view.width + .5 ||
        Math.min(...of(c, 1)) < view.y - 1 || Math.max(...of(c, 1)) > view.y + view.height + 1) wrong.push(name + " leaves the picture");
    }
    all.sort((a, b) => Math.min(...of(a.c, 1)) - Math.min(...of(b.c, 1)));
    for (let i = 0; i < all.length; i++) for (let j = i + 1; j < all.length; j++) {
      if (Math.min(...of(all[j].c, 1)) > Math.max(...of(all[i].c, 1))) break;
      if (depth(all[i].c, all[j].c) > allowed) wrong.push(all[i].name + " overlaps " + all[j].name);
    }
    const bars = [...svg.querySelectorAll(".bars rect")].map(corners);
    for (const {t, c, name} of all) {
      // A fold, a remark and a step's title have a ground of their own.
      if (t.closest(".rows") && !t.closest(".fold, .step") && !t.parentElement.querySelector(".patch") && bars.some((b) => depth(b, c) > allowed)) wrong.push(name + " covers a bar");
    }
    const boxes = [...svg.querySelectorAll(".box, .been rect")].map(corners);
    for (const {t, c, name} of all) {
      if (t.matches(".quiet") && boxes.some((b) => depth(b, c) > allowed)) wrong.push(name + " covers a box");
    }
    for (const tip of svg.querySelectorAll(".tip, .cross")) {
      const c = corners(tip);
      if (!tip.closest(".again") && (Math.min(...of(c, 1)) < view.y || Math.min(...of(c, 0)) < view.x || Math.max(...of(c, 0)) > view.x + view.width)) wrong.push("an arrow is clipped");
    }
  }
  for (const scroll of document.querySelectorAll(".lad-scroll")) {
    if (scroll.scrollWidth > scroll.clientWidth + 1) wrong.push("the ladder is wider than its frame");
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wrong.push("the page is wider than the screen");
  return {texts, smallest, wrong};
}
