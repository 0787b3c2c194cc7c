// Tables: sort by a heading, filter by model and method, show further columns. The controls stand in the page already.
(() => {
  const keyOf = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.querySelector(".ref") || cell.textContent === "–" ? null : cell.textContent.trim();
  };
  const nameOf = (row) => row.cells[0].dataset.name || row.cells[0].textContent.trim();
  const order = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : order.compare(String(a), String(b)));

  const sortBy = (table, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    $$("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = head.cellIndex === 0 ? nameOf : (row) => keyOf(row, head.cellIndex);
    // Each body is a group of rows that may be ranked together: rows never leave it, and its heading stays first.
    [...table.tBodies].forEach((body) => {
      const keyed = $$("tr:not(.group)", body).map((row) => [key(row), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // unknown stays last either way
        return down ? compare(b, a) : compare(a, b);
      });
      body.append(...keyed.map(([, row]) => row));
    });
  };

  const filter = (table, tools) => {
    const rows = $$("tbody tr:not(.group)", table);
    const selects = $$("select", tools);
    const wanted = (row) => selects.every(({ value, dataset }) => {
      const own = row.dataset[dataset.key];
      return !value || !own || own === value; // controls have no scheduler: they stay to compare with
    });
    rows.forEach((row) => { row.hidden = !wanted(row); });
    $$("tr.group", table).forEach((heading) => {
      heading.hidden = rows.every((row) => row.hidden || row.parentNode !== heading.parentNode);
    });
    const out = $("output", tools);
    if (out) out.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };

  $$("table.sortable").forEach((table) => {
    $$("thead button", table).forEach((button) => {
      button.addEventListener("click", () => sortBy(table, button.closest("th")));
    });
  });
  $$(".tools[data-for]").forEach((tools) => {
    const table = document.getElementById(tools.dataset.for);
    $$("select", tools).forEach((select) => select.addEventListener("change", () => filter(table, tools)));
    $$("input[data-group]", tools).forEach((box) => {
      box.addEventListener("change", () => table.classList.toggle(`hide-${box.dataset.group}`, !box.checked));
    });
  });

  // A link to a row that a filter hides shows all rows again.
  const reveal = () => {
    const row = $(":target");
    if (!row || !row.hidden || !row.closest("table[id]")) return;
    const tools = $(`.tools[data-for="${CSS.escape(row.closest("table").id)}"]`);
    if (!tools) return;
    $$("select", tools).forEach((select) => { select.value = ""; });
    filter(row.closest("table"), tools);
    row.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
})();
