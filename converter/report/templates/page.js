"use strict";
(() => {
  const root = document.documentElement;

  const theme = document.getElementById("theme");
  const themes = [["", "auto"], ["light", "light"], ["dark", "dark"]];
  let chosen = 0;
  const name = () => {
    theme.textContent = `◐ ${themes[chosen][1]}`;
    theme.setAttribute("aria-label", `Colours: ${themes[chosen][1]}`);
  };
  theme.hidden = false;
  name();
  theme.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    if (themes[chosen][0]) root.dataset.theme = themes[chosen][0];
    else delete root.dataset.theme;
    name();
  });

  const valueOf = (row, column, words) => {
    const cell = row.cells[column];
    if (words) return cell.textContent.trim();
    return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
  };
  const compare = (one, other, words) => {
    if (words) return one.localeCompare(other, "en", {numeric: true});
    return Number.isNaN(one) || Number.isNaN(other) ? 0 : one - other;
  };
  const sort = (table, column, head) => {
    const words = head.dataset.kind === "text";
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [valueOf(row, column, words), row]);
    const without = keyed.filter(([value]) => Number.isNaN(value));
    const ordered = keyed.filter(([value]) => !Number.isNaN(value));
    ordered.sort(([one], [other]) => (down ? -1 : 1) * compare(one, other, words));
    body.append(...[...ordered, ...without].map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, column, head));
      head.replaceChildren(button);
    });
  }

  const filters = document.getElementById("filters");
  if (filters) {
    const rows = [...document.querySelectorAll("#table tbody tr")];
    const shown = document.getElementById("shown");
    for (const select of filters.querySelectorAll("select")) {
      for (const value of new Set(rows.map((row) => row.dataset[select.name]))) {
        select.append(new Option(value, value));
      }
    }
    const apply = () => {
      const wanted = new FormData(filters);
      const text = String(wanted.get("text")).trim().toLowerCase();
      for (const row of rows) {
        const fits = ["tower", "target", "precision", "verdict"].every(
          (name) => !wanted.get(name) || row.dataset[name] === wanted.get(name));
        row.hidden = !(fits && row.cells[0].textContent.toLowerCase().includes(text));
      }
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} files shown`;
    };
    filters.hidden = false;
    filters.addEventListener("input", apply);
    filters.addEventListener("reset", () => setTimeout(apply));
    filters.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const around = target && target.closest("details");
    if (around) {
      around.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll(".gaps, figure details")) details.open = true;
  });
})();
