const queries = data.queries, numbers = queries.map((_, i) => i), names = data.runs;
document.querySelectorAll("i.key").forEach((key, at) => { key.style.background = RUN_COLOURS[at]; });
const centimetres = row => row && row.translation_m !== null ? row.translation_m * 100 : null;
const degrees = row => row ? row.rotation_deg : null;
const outcome = row => !row ? "not in this run" : row.false_accept ? "false accept" : row.accepted ? "accepted" : row.status.replaceAll("_", " ");
const kind = row => !row ? "missing" : row.false_accept ? "false" : row.accepted ? "accepted" : "refused";
let first = 0, other = 1, selected = null, marks = [];

function hover(i) {
  const lines = queries[i].runs.map((row, at) => {
    const error = centimetres(row) === null ? "" : ` ${lengthText(row.translation_m)}, ${figure(row.rotation_deg, 2)}°`;
    return `${escaped(names[at])}: ${escaped(outcome(row))}${error}${row ? `, ${row.inliers} inliers` : ""}`;
  });
  return `<b>${escaped(queries[i].image)}</b><br>${lines.join("<br>")}<extra></extra>`;
}

async function chart(id, traces, shape, place) {
  const box = byId(id);
  traces.push({ type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", showlegend: false, cliponaxis: false,
    marker: { symbol: "circle-open", size: 16, color: INK, line: { width: 2 } } });
  await Plotly.react(box, traces, layout(shape), CONFIG);
  box.removeAllListeners("plotly_click");
  box.removeAllListeners("plotly_hover");
  box.on("plotly_hover", event => { const i = event.points[0].customdata; if (Number.isInteger(i)) showImage(i); });
  box.on("plotly_click", event => { const i = event.points[0].customdata; if (Number.isInteger(i)) select(i); });
  marks = [...marks.filter(mark => mark.box !== box), { box, trace: traces.length - 1, place }];
}

function drawCurves(id, value, smallest, limits, title) {
  const curves = names.map((_, at) => {
    const mine = numbers.filter(i => queries[i].runs[at]);
    const curve = errorCurve(mine.map(i => value(queries[i].runs[at])), smallest);
    return { ...curve, order: curve.order.map(k => mine[k]) };
  });
  if (!curves.some(curve => curve.order.length)) return emptyChart(id, "No run accepted a query: there is no error to draw.");
  const [start, end] = errorRange(curves, smallest, limits.at(-1));
  const traces = curves.map((curve, at) => ({ name: names[at], type: "scatter", mode: curve.order.length > 1000 ? "lines" : "lines+markers", customdata: [null, ...curve.order, null],
    x: [10 ** start, ...curve.x, 10 ** end], y: [0, ...curve.y, curve.y.at(-1) || 0], hovertemplate: ["", ...curve.order.map(hover), ""],
    line: { color: RUN_COLOURS[at], width: 1.8, shape: "hv", dash: DASHES[at] }, marker: { size: [0, ...curve.order.map(() => 4), 0] } }));
  return chart(id, traces, { height: 340, showlegend: true, margin: { l: 56, r: 14, t: 30, b: 44 }, xaxis: logAxis(title, [start, end]), yaxis: axis("queries, %", { range: [0, 103] }),
    shapes: dotted(limits) }, i => curves.flatMap(curve => { const k = curve.order.indexOf(i); return k < 0 ? [] : [[curve.x[k], curve.y[k]]]; }));
}

// two values of every query of both runs, on logarithmic axes of one scale
function drawPairs(id, value, smallest, title) {
  const both = numbers.filter(i => queries[i].runs[first] && queries[i].runs[other]);
  const values = i => [first, other].map(at => { const v = value(queries[i].runs[at]); return v === null ? null : Math.max(smallest, v); });
  const known = both.flatMap(values).filter(v => v !== null);
  if (!known.length) return emptyChart(id, "No query of both runs has a value to draw.");
  const low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known)), pad = Math.max(0.12, 0.06 * (high - low));
  // refused ones stand in a margin of their own, beyond the largest value
  const gap = both.some(i => values(i).includes(null)) ? 2.2 * pad : 0, range = [low - pad, high + pad + gap], edge = 10 ** (high + pad + gap / 2);
  const spot = i => values(i).map(v => v === null ? edge : v), complete = both.filter(i => !values(i).includes(null));
  const partly = both.filter(i => values(i).filter(v => v === null).length === 1);
  const trace = (name, which, marker) => ({ name, type: pointsType(queries.length), mode: "markers", customdata: which, x: which.map(i => spot(i)[0]),
    y: which.map(i => spot(i)[1]), hovertemplate: which.map(hover), marker });
  const traces = [
    { type: "scatter", mode: "lines", x: range.map(v => 10 ** v), y: range.map(v => 10 ** v), hoverinfo: "skip", showlegend: false, line: { color: FAINT, width: 1 } },
    trace("both", complete, { size: 7, color: GOOD, opacity: 0.75 }),
  ];
  if (partly.length) traces.push(trace("refused by one", partly, { size: 9, symbol: "diamond-open", color: REFUSED, line: { width: 1.6 } }));
  return chart(id, traces, { height: 400, showlegend: partly.length > 0, margin: { l: 60, r: 14, t: 30, b: 48 }, xaxis: logAxis(`${names[first]}: ${title}`, range),
    yaxis: logAxis(`${names[other]}: ${title}`, range, { scaleanchor: "x" }) }, i => both.includes(i) && values(i).some(v => v !== null) ? [spot(i)] : []);
}

const difference = query => { const [a, b] = [first, other].map(at => centimetres(query.runs[at])); return a === null || b === null ? null : +(b - a).toFixed(5); };
const inlierDifference = query => query.runs[first] && query.runs[other] ? query.runs[other].inliers - query.runs[first].inliers : null;
const signed = (value, digits) => value === null ? "–" : (value > 0 ? "+" : "") + value.toFixed(digits);
const columns = [
  { name: "image", unit: "", value: query => query.image, text: query => query.image, isName: true },
  ...names.flatMap((name, at) => [
    { name, unit: "", value: query => outcome(query.runs[at]), text: query => outcome(query.runs[at]), className: query => "status " + kind(query.runs[at]) },
    ...(data.negatives ? [] : [{ name: `error ${name}`, label: "error", unit: "cm", number: true, value: query => centimetres(query.runs[at]), text: query => figure(centimetres(query.runs[at]), 2) }]),
    { name: `rotation ${name}`, unit: "°", value: query => degrees(query.runs[at]), csvOnly: true },
    { name: `inliers ${name}`, label: "inliers", unit: "", number: true, value: query => query.runs[at] && query.runs[at].inliers, text: query => query.runs[at] ? String(query.runs[at].inliers) : "–" },
    { name: `time ${name}`, unit: "ms", value: query => query.runs[at] && query.runs[at].latency_ms, csvOnly: true },
  ]),
  data.negatives
    ? { name: "difference of inliers", label: "difference", unit: "", number: true, value: inlierDifference, text: query => signed(inlierDifference(query), 0) }
    : { name: "difference", unit: "cm", number: true, value: difference, text: query => signed(difference(query), 2) },
];
const accepted = (query, at) => query.runs[at] !== null && query.runs[at].accepted;
const shared = query => query.runs[first] !== null && query.runs[other] !== null;
const table = queryTable(byId("queries"), queries, columns, {
  filters: { "all queries": () => true, "of both runs": shared,
    "accepted by one of the two": query => shared(query) && accepted(query, first) !== accepted(query, other),
    "false accepts": query => query.runs.some(row => row && row.false_accept) },
  filterSelect: byId("filter"), search: byId("search"), count: byId("count"), csv: byId("csv"), file: "comparison.csv", onSelect: select,
  matches: query => [query.image, ...query.runs.flatMap(row => row ? [row.reason, outcome(row)] : [])].join(" ").toLowerCase(),
});

// the image of a query that has one; what is shown stays until another one is
function showImage(i) {
  const figure = byId("picture");
  if (!figure) return;
  const image = figure.querySelector("img"), caption = figure.querySelector("figcaption");
  image.hidden = !(i in data.images);
  image.src = data.images[i] || "";
  image.alt = `query ${queries[i].image}`;
  caption.textContent = `${queries[i].image}${i in data.images ? "" : ": its image is not on this page"}`;
}

function select(i) {
  selected = i;
  showImage(i);
  table.select(i);
  for (const { box, trace, place } of marks) {
    const spots = place(i);
    Plotly.restyle(box, { x: [spots.map(spot => spot[0])], y: [spots.map(spot => spot[1])] }, [trace]);
  }
}

names.forEach((name, at) => { byId("first").add(new Option(name, at)); byId("other").add(new Option(name, at)); });
byId("other").value = other;
async function drawBoth() {
  if (data.negatives) await drawPairs("pairs", row => row.inliers, 1, "inliers");
  else await drawPairs("pairs", centimetres, 0.01, "position error, cm");
  await drawPairs("latencies", row => row.latency_ms, 0.1, "time, ms");
}
for (const id of ["first", "other"]) byId(id).addEventListener("change", async () => {
  first = +byId("first").value;
  other = +byId("other").value;
  await drawBoth();
  table.refresh();
  if (selected !== null) select(selected);
});
drawWith(async () => {
  if (!data.negatives) {
    await drawCurves("translation", centimetres, 0.01, [2, 5, 50], "translation error, cm");
    await drawCurves("rotation", degrees, 0.001, [2, 5], "rotation error, degrees");
  }
  await drawBoth();
});
