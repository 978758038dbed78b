"use strict";
// Sorting and filtering of registers. Without this script the tables are whole and readable.
for (const table of document.querySelectorAll("table.tool")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const number = (text) => {
    const found = text.replace(/,/g, "").replace(/[−‒]/g, "-").match(/-?\d+(\.\d+)?(e-?\d+)?/);
    return found ? Number(found[0]) : NaN;
  };
  const key = (row, i) => row.cells[i].dataset.sort || row.cells[i].textContent.trim();
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("number");
      const sorted = [...rows].sort((a, b) => {
        const x = key(a, i), y = key(b, i);
        if (!numeric) return x.localeCompare(y, "en");
        const p = number(x), q = number(y);
        return Number.isNaN(p) ? (Number.isNaN(q) ? 0 : 1) : Number.isNaN(q) ? -1 : p - q;
      });
      if (down) sorted.reverse();
      body.append(...sorted);
    });
  });
  const controls = document.createElement("div"), filter = document.createElement("input");
  const select = document.createElement("select"), count = document.createElement("span");
  controls.className = "controls";
  filter.type = "search";
  const last = heads.length - 1;
  const results = [...new Set(rows.map((row) => row.cells[last].textContent.trim()))].sort();
  for (const word of ["all", ...results]) select.add(new Option(word, word));
  count.setAttribute("role", "status");
  const labelled = (text, input) => {
    const label = document.createElement("label");
    label.append(text, input);
    return label;
  };
  const show = () => {
    const wanted = filter.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const result = select.value === "all" || row.cells[last].textContent.trim() === select.value;
      row.hidden = !(result && row.textContent.toLowerCase().includes(wanted));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  filter.addEventListener("input", show);
  select.addEventListener("change", show);
  controls.append(labelled("Filter", filter), labelled("Result", select), count);
  table.closest(".table").prepend(controls);
  show();
}
