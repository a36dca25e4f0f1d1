"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const ROWS_AT_ONCE = 200;

// an element with text, never HTML: names of images come from outside
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const figure = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits);

// centimetres, and metres from 1 m on
const lengthText = metres => metres === null ? "–" : metres < 1 ? `${figure(metres * 100, 2)} cm` : `${figure(metres, 2)} m`;

// one line of CSV; a text that a spreadsheet would take for a formula is kept a text
function csvLine(values) {
  return values.map(value => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }).join(",");
}

// A table of rows that is sorted by its headings, filtered, walked by arrow keys, and saved as CSV.
// columns: {name, label, unit, value(row), text(row), number, isName, csvOnly, className(row)}; filters: {label: row => bool}
function queryTable(table, rows, columns, { filters, filterSelect, search, count, csv, file, onSelect, matches }) {
  const head = table.createTHead().insertRow(), body = table.createTBody(), saved = columns;
  columns = columns.filter(column => !column.csvOnly);
  let sorted = { column: 0, descending: false }, shown = [], limit = ROWS_AT_ONCE, selected = null;
  for (const label of Object.keys(filters)) filterSelect.add(new Option(label, label));

  columns.forEach((column, at) => {
    const heading = element("th", "", column.number ? { class: "number", scope: "col" } : { scope: "col" });
    const button = element("button", (column.label || column.name) + (column.unit ? ", " + column.unit : ""));
    button.type = "button";
    button.addEventListener("click", () => {
      sorted = { column: at, descending: sorted.column === at ? !sorted.descending : Boolean(column.number) };
      update();
    });
    heading.append(button);
    head.append(heading);
  });

  function order(a, b) {
    const value = columns[sorted.column].value, [x, y] = [value(rows[a]), value(rows[b])];
    if (x === y) return a - b;
    // what is unknown is last, whichever way
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return (x < y ? -1 : 1) * (sorted.descending ? -1 : 1);
  }

  function update() {
    const accepts = filters[filterSelect.value], wanted = search.value.toLowerCase();
    shown = rows.map((_, i) => i).filter(i => accepts(rows[i], i) && (!wanted || matches(rows[i]).includes(wanted))).sort(order);
    [...head.children].forEach((heading, at) => {
      if (at === sorted.column) heading.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
      heading.firstChild.title = at === sorted.column ? (sorted.descending ? "descending" : "ascending") : "sort";
    });
    const all = rows.length === 1 ? "1 query" : `${rows.length} queries`;
    count.textContent = shown.length === rows.length ? all : `${shown.length} of ${all}`;
    draw();
  }

  function draw() {
    body.replaceChildren(...shown.slice(0, limit).map(rowOf));
    if (shown.length > limit) {
      const cell = body.insertRow().insertCell();
      cell.colSpan = columns.length;
      const more = element("button", `Show all ${shown.length}`, { type: "button" });
      more.addEventListener("click", () => { limit = Infinity; draw(); });
      cell.append(more);
    }
    if (!shown.length) {
      const cell = body.insertRow().insertCell();
      cell.colSpan = columns.length;
      cell.append(element("span", "No query is of this kind.", { class: "soft" }));
    }
    const first = body.querySelector('tr[aria-selected="true"]') || body.querySelector("tr[data-query]");
    if (first) first.tabIndex = 0;
  }

  function rowOf(i) {
    const line = element("tr", "", { "data-query": i, "aria-selected": i === selected, tabindex: -1 });
    for (const column of columns) {
      const cell = line.insertCell();
      if (column.number) cell.className = "number";
      if (column.isName) { cell.className = "name"; cell.title = column.text(rows[i]); }
      if (column.className) cell.append(element("span", column.text(rows[i]), { class: column.className(rows[i]) }));
      else cell.textContent = column.text(rows[i]);
    }
    return line;
  }

  body.addEventListener("click", event => {
    const line = event.target.closest("tr[data-query]");
    if (line) onSelect(+line.dataset.query);
  });
  table.addEventListener("keydown", event => {
    const line = event.target.closest("tr[data-query]");
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!line || !(event.key in steps)) return;
    event.preventDefault();
    const lines = [...body.querySelectorAll("tr[data-query]")];
    const to = lines[Math.min(lines.length - 1, Math.max(0, lines.indexOf(line) + steps[event.key]))];
    to.focus();
    onSelect(+to.dataset.query);
  });
  filterSelect.addEventListener("change", () => { limit = ROWS_AT_ONCE; update(); });
  search.addEventListener("input", () => { limit = ROWS_AT_ONCE; update(); });
  csv.addEventListener("click", () => {
    const heads = saved.map(column => column.name + (column.unit ? ` [${column.unit}]` : ""));
    const lines = [csvLine(heads), ...shown.map(i => csvLine(saved.map(column => column.value(rows[i]))))];
    const link = element("a", "", { download: file });
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  update();

  return {
    refresh: update,
    select(i) {
      selected = i;
      for (const line of body.querySelectorAll("tr[data-query]")) {
        const mine = +line.dataset.query === i;
        line.setAttribute("aria-selected", mine);
        line.tabIndex = mine ? 0 : -1;
        if (mine) scrollWithin(table.parentElement, line, head);
      }
    },
    // the query that is so many rows below in the order of the table
    beside: (i, step) => shown.length ? shown[Math.min(shown.length - 1, Math.max(0, shown.indexOf(i) + step))] : i,
  };
}

// bring a row into the part of the table that is seen, without moving the page
function scrollWithin(box, line, head) {
  const top = line.offsetTop - head.offsetHeight, bottom = line.offsetTop + line.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}
