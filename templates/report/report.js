"use strict";
// Sorting and filtering of long tables. Without this script the tables are whole and readable.
const number = (text) => {
  const found = text.replace(/,/g, "").replace(/[−‒]/g, "-").match(/-?\d+(\.\d+)?(e-?\d+)?/);
  return found ? Number(found[0]) : NaN;
};
const said = (cell) => cell.textContent.trim();

for (const table of document.querySelectorAll("table.tool")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const order = (i, numeric, down) => (a, b) => {
    const x = a.cells[i].dataset.sort || said(a.cells[i]), y = b.cells[i].dataset.sort || said(b.cells[i]);
    if (!numeric) return (down ? -1 : 1) * x.localeCompare(y, "en");
    // What has no number comes last, whichever way the others go.
    const p = number(x), q = number(y), without = Number.isNaN(p) - Number.isNaN(q);
    return without || Number.isNaN(p) ? without : down ? q - p : p - q;
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...rows].sort(order(i, head.classList.contains("number"), down)));
    });
  });

  const controls = document.createElement("div"), filter = document.createElement("input");
  const select = document.createElement("select"), count = document.createElement("span");
  const caption = said(table.caption), last = heads.length - 1;
  const labelled = (text, input) => {
    const label = document.createElement("label");
    label.append(text, input);
    input.setAttribute("aria-label", `${text}: ${caption}`);
    return label;
  };
  controls.className = "controls";
  filter.type = "search";
  count.setAttribute("role", "status");
  controls.append(labelled("Filter", filter));
  // A column of results is one of badges; of those there are few.
  const results = [...new Set(rows.filter((row) => row.cells[last].querySelector(".badge")).map((row) => said(row.cells[last])))];
  select.add(new Option("all", ""));
  for (const word of results.sort()) select.add(new Option(word, word));
  if (results.length) controls.append(labelled(said(heads[last]), select));
  controls.append(count);
  const show = () => {
    const wanted = filter.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const result = !select.value || said(row.cells[last]) === select.value;
      row.hidden = !(result && row.textContent.toLowerCase().includes(wanted));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  filter.addEventListener("input", show);
  select.addEventListener("change", show);
  table.closest(".table").prepend(controls);
  show();
}

// A box is a stop of the tab key only where there is something to scroll to.
const boxes = document.querySelectorAll(".scroll, .draw, .listing");
const watch = new ResizeObserver((seen) => {
  for (const { target } of seen) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
for (const box of boxes) watch.observe(box);
