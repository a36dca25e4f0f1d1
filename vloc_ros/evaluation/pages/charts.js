const INK = "#1b1f24", SOFT = "#5b6570", FAINT = "#9aa4af", LINE = "#dfe3e8";
const GOOD = "#0b5cad", REFUSED = "#c2570c", BAD = "#8c1d40";
// Okabe and Ito's colours, told apart by all
const RUN_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

// thousands of points are drawn by WebGL where the browser has it, which is faster; fewer as SVG, which prints better
function pointsType(count) {
  return count > 1000 && document.createElement("canvas").getContext("webgl") ? "scattergl" : "scatter";
}

// plotly.js is in the page, gzipped
async function loadPlotly() {
  const packed = Uint8Array.from(atob(byId("plotly").textContent), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function axis(title, more = {}) {
  return { title: { text: title, font: { size: 12, color: SOFT }, standoff: 8 }, gridcolor: LINE, linecolor: FAINT, zeroline: false,
    tickfont: { size: 11, color: SOFT }, ticks: "outside", ticklen: 4, tickcolor: FAINT, automargin: true, ...more };
}

function layout(more) {
  return { margin: { l: 56, r: 14, t: 10, b: 44 }, height: 300, font: { family: "system-ui, Segoe UI, Roboto, Arial, sans-serif", color: INK },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "pan",
    hoverlabel: { bgcolor: "#fff", bordercolor: FAINT, font: { size: 12, color: INK }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } }, ...more };
}

// round ticks from 10^start to 10^end: 0.1, 1, 10, with 2 and 5 between them where there is room; where these are fewer than
// two, multiples of a round step
function roundTicks(start, end) {
  const steps = end - start < 2.2 ? [1, 2, 5] : [1], ticks = [];
  for (let power = Math.floor(start); power <= Math.ceil(end); power++)
    for (const step of steps) ticks.push(+(step * 10 ** power).toPrecision(1));
  const kept = ticks.filter(tick => Math.log10(tick) >= start - 1e-9 && Math.log10(tick) <= end + 1e-9);
  return kept.length > 1 ? kept : evenTicks(10 ** start, 10 ** end);
}

// two to five multiples of a round step
function evenTicks(low, high) {
  const power = 10 ** Math.floor(Math.log10(high - low)), step = [0.2, 0.5, 1, 2].map(f => f * power).find(v => v >= (high - low) / 5);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => +((first + k) * step).toPrecision(6));
}

function logAxis(title, range, more = {}) {
  const ticks = roundTicks(...range);
  return axis(title, { type: "log", range, tickvals: ticks, ticktext: ticks.map(String), ...more });
}

// HTML of a hover label: plotly draws a few tags, so what comes from outside is escaped
const escaped = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// the share of all queries that are within an error; a query without one never is. Points in the order of the error
function errorCurve(values, smallest) {
  const order = values.map((_, i) => i).filter(i => values[i] !== null).sort((a, b) => values[a] - values[b]);
  return { x: order.map(i => Math.max(values[i], smallest)), y: order.map((_, rank) => 100 * (rank + 1) / values.length), order };
}

// where an axis of errors ends: at the largest, or beyond the limits that people look for
function errorRange(curves, smallest, limit) {
  const found = curves.flatMap(curve => curve.x.length ? [curve.x[0], curve.x.at(-1)] : []);
  return [Math.log10(Math.max(smallest, Math.min(limit / 10, ...found) * 0.7)), Math.log10(Math.max(limit, ...found) * 1.5)];
}

const dotted = (limits, name) => limits.map(at => ({ type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1,
  line: { color: FAINT, width: 1, dash: "dot" }, name }));

// draw a page whose function needs plotly.js, and say so where that fails
async function drawWith(draw) {
  try {
    await loadPlotly();
    await draw();
    document.body.dataset.ready = "yes";
  } catch (error) {
    const text = `The charts could not be drawn (${error.message}). They need a browser of 2023 or later; the tables are complete.`;
    for (const chart of document.querySelectorAll(".chart:empty")) chart.append(element("p", text, { class: "empty" }));
    throw error;
  }
}

function emptyChart(id, text) {
  byId(id).replaceChildren(element("p", text, { class: "empty" }));
}
