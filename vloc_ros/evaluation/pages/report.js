const rows = data.rows, numbers = rows.map((_, i) => i);
const LIMITS_CM = [2, 5, 50], LIMITS_DEG = [2, 5];
const centimetres = row => row.translation_m === null ? null : row.translation_m * 100;
const sigma = row => row.position_std_m === null ? null : row.position_std_m * 100;
const words = text => text.replaceAll("_", " ");
const outcome = row => row.false_accept ? "false accept" : row.accepted ? "accepted" : words(row.status);
const kind = row => row.false_accept ? "false" : row.accepted ? "accepted" : "refused";
let selected = null;

function hover(i) {
  const row = rows[i];
  const lines = [`<b>${escaped(row.image)}</b>`, escaped(outcome(row))];
  if (row.translation_m !== null) lines.push(`${lengthText(row.translation_m)}, ${figure(row.rotation_deg, 2)}°, estimated ${lengthText(row.position_std_m)}`);
  lines.push(`${row.inliers} inliers of ${row.matches} matches`);
  if (!data.queries[i]) lines.push("no image in this page");
  return lines.join("<br>") + "<extra></extra>";
}

// a trace whose points are queries
function points(name, which, x, y, more) {
  return { name, type: pointsType(rows.length), mode: "markers", x, y, customdata: which, hovertemplate: which.map(hover), ...more };
}

const marks = [];  // how the selected query is marked in each chart: [chart, trace number, i => [x, y] or null]
async function chart(id, traces, shape, place) {
  const box = byId(id);
  if (place) traces.push({ type: "scatter", mode: "markers", x: [], y: [], hoverinfo: "skip", showlegend: false, cliponaxis: false,
    marker: { symbol: "circle-open", size: 16, color: INK, line: { width: 2 } } });
  await Plotly.newPlot(box, traces, layout(shape), CONFIG);
  box.on("plotly_click", event => { const i = event.points[0].customdata; if (Number.isInteger(i)) select(i); });
  if (place) marks.push([box, traces.length - 1, place]);
}

function drawTrajectory() {
  const view = data.view, { truth, estimates } = view;
  const kept = numbers.filter(i => estimates[i] && (rows[i].translation_m !== null || !data.with_errors));
  const wrong = kept.filter(i => rows[i].false_accept), right = kept.filter(i => !rows[i].false_accept);
  const missing = numbers.filter(i => !rows[i].accepted && truth[i]), errors = right.map(i => Math.max(0.01, centimetres(rows[i])));
  const top = Math.max(5, ...errors), bottom = Math.min(0.1, top / 10), levels = roundTicks(Math.log10(bottom), Math.log10(top));
  const path = truth.filter(Boolean), gaps = kept.filter(i => truth[i]).flatMap(i => [truth[i], estimates[i], [null, null]]);
  const box = byId("trajectory"), spans = [0, 1].map(a => view.high[a] - view.low[a]);
  const height = Math.round(Math.min(560, Math.max(260, (box.clientWidth - 150) * spans[1] / spans[0] + 80)));
  const traces = [
    { name: "keyframes", type: "scatter", mode: "markers", x: view.keyframes.map(p => p[0]), y: view.keyframes.map(p => p[1]),
      hoverinfo: "skip", marker: { size: 4, color: FAINT, symbol: "square" } },
    ...(path.length ? [{ name: "ground truth", type: "scatter", mode: "lines", x: path.map(p => p[0]), y: path.map(p => p[1]), hoverinfo: "skip",
      line: { color: INK, width: 1.2 } }] : []),
    { type: "scatter", mode: "lines", x: gaps.map(p => p[0]), y: gaps.map(p => p[1]), hoverinfo: "skip", showlegend: false,
      line: { color: BAD, width: 1 } },
    points(data.with_errors ? "estimate, by its error" : "estimate", right, right.map(i => estimates[i][0]), right.map(i => estimates[i][1]),
      { marker: data.with_errors ? { size: 8, color: errors.map(Math.log10), cmin: Math.log10(bottom), cmax: Math.log10(top),
        colorscale: [[0, GOOD], [0.5, "#a9b7c2"], [1, "#d55e00"]], line: { color: "#fff", width: 0.7 },
        colorbar: { title: { text: "error, cm", side: "right", font: { size: 12, color: SOFT } }, thickness: 10, len: 0.8, outlinewidth: 0,
          tickvals: levels.map(Math.log10), ticktext: levels.map((level, at) => at === 0 && Math.min(...errors) < level ? `≤ ${level}` : String(level)), tickfont: { size: 11, color: SOFT } },
      } : { size: 7, color: GOOD } }),
  ];
  if (wrong.length) traces.push(points("false accept", wrong, wrong.map(i => estimates[i][0]), wrong.map(i => estimates[i][1]),
    { marker: { size: 10, symbol: "square", color: BAD } }));
  if (missing.length) traces.push(points("refused, where it was", missing, missing.map(i => truth[i][0]), missing.map(i => truth[i][1]),
    { marker: { size: 9, symbol: "diamond-open", color: REFUSED, line: { width: 1.6 } } }));
  const [low, high] = [view.low, view.high];
  return chart("trajectory", traces, { height, margin: { l: 56, r: 10, t: 34, b: 44 },
    xaxis: axis(view.axes[0], { range: [low[0], high[0]] }), yaxis: axis(view.axes[1], { range: [low[1], high[1]], scaleanchor: "x" }),
    images: [{ source: view.points, xref: "x", yref: "y", x: low[0], y: high[1], sizex: spans[0], sizey: spans[1], sizing: "stretch", layer: "below" }],
  }, i => rows[i].accepted && estimates[i] ? estimates[i] : truth[i]);
}

function drawCurve(id, values, smallest, limits, title) {
  const curve = errorCurve(values, smallest);
  if (!curve.order.length) return emptyChart(id, "No query was accepted: there is no error to draw.");
  const spots = new Map(curve.order.map((query, rank) => [query, [curve.x[rank], curve.y[rank]]]));
  const [start, end] = errorRange([curve], smallest, limits.at(-1));
  return chart(id, [
    { type: "scatter", mode: "lines", x: [10 ** start, ...curve.x, 10 ** end], y: [0, ...curve.y, curve.y.at(-1)], hoverinfo: "skip",
      line: { color: GOOD, width: 1.8, shape: "hv" }, showlegend: false },
    points("query", curve.order, curve.x, curve.y, { marker: { size: 5, color: GOOD }, showlegend: false }),
  ], { height: 280, xaxis: logAxis(title, [start, end]), yaxis: axis("queries, %", { range: [0, 103] }), shapes: dotted(limits) },
  i => spots.get(i) || null);
}

function drawOverQueries() {
  const kept = numbers.filter(i => rows[i].translation_m !== null), missing = numbers.filter(i => !rows[i].accepted);
  if (!kept.length) return emptyChart("over_queries", "No query was accepted: there is no error to draw.");
  const errors = kept.map(i => Math.max(0.01, centimetres(rows[i])));
  const drawn = [...errors, ...kept.map(i => sigma(rows[i])).filter(value => value)];
  // a refused query has no error: it stands above the largest, at the bad end
  const largest = Math.max(...drawn) * 1.4, edge = missing.length ? largest * 1.3 : largest;
  const range = [Math.log10(Math.min(...drawn) / 1.6), Math.log10(missing.length ? edge * 1.3 : edge)];
  const traces = [
    { name: "estimated (1 σ)", type: pointsType(rows.length), mode: "markers", x: kept.map(i => i + 1), y: kept.map(i => sigma(rows[i])), hoverinfo: "skip",
      marker: { symbol: "line-ew-open", size: 8, color: FAINT, line: { width: 1.5, color: FAINT } } },
    points("error", kept, kept.map(i => i + 1), errors,
      { marker: { size: 6, color: kept.map(i => rows[i].false_accept ? BAD : GOOD), symbol: kept.map(i => rows[i].false_accept ? "square" : "circle") } }),
  ];
  if (missing.length) traces.push(points("refused", missing, missing.map(i => i + 1), missing.map(() => edge),
    { marker: { size: 8, symbol: "diamond-open", color: REFUSED, line: { width: 1.6 } }, cliponaxis: false }));
  return chart("over_queries", traces, { height: 300, margin: { l: 56, r: 14, t: 30, b: 44 },
    xaxis: axis("query", { range: [0, rows.length + 1], ...(rows.length < 12 ? { dtick: 1 } : {}) }), yaxis: logAxis("position, cm", range) },
  i => rows[i].translation_m === null ? (rows[i].accepted ? null : [i + 1, edge]) : [i + 1, Math.max(0.01, centimetres(rows[i]))]);
}

function drawInliers() {
  const most = Math.max(10, ...rows.map(row => row.inliers)), size = Math.max(1, Math.ceil(most / 30));
  const bars = [["accepted", GOOD], ["refused", REFUSED], ["false", BAD]].map(([which, colour]) => ({
    name: which === "false" ? "false accepts" : which, type: "histogram", x: rows.filter(row => kind(row) === which).map(row => row.inliers),
    xbins: { start: 0, end: most + size, size }, marker: { color: colour }, hovertemplate: "%{x} inliers: %{y} queries<extra></extra>",
  })).filter(bar => bar.x.length);
  const counts = {};
  for (const row of rows) { const bin = Math.floor(row.inliers / size); counts[bin] = (counts[bin] || 0) + 1; }
  const whole = Math.max(...Object.values(counts)) < 10 ? { dtick: 1 } : {};
  return chart("inliers", bars, { height: 280, barmode: "stack", bargap: 0.08, showlegend: true, margin: { l: 56, r: 14, t: 30, b: 44 },
    xaxis: axis("inliers", { range: [0, most + size] }), yaxis: axis("queries", { rangemode: "tozero", ...whole }) });
}

function drawLatency() {
  const stages = Object.keys(data.latency_ms).reverse(), names = stages.map(words);
  const bar = (name, colour) => ({ name, type: "bar", orientation: "h", y: names, x: stages.map(stage => data.latency_ms[stage][name]),
    marker: { color: colour }, hovertemplate: `%{y}, ${name}: %{x:.1f} ms<extra></extra>` });
  return chart("latency", [bar("p95", "#c6d9ee"), bar("p50", GOOD)], { height: 60 + 34 * Math.max(3, stages.length), barmode: "overlay",
    bargap: 0.35, margin: { l: 96, r: 14, t: 30, b: 40 }, xaxis: axis("ms", { rangemode: "tozero" }), yaxis: axis("", { showgrid: false, ticks: "" }) });
}

const column = (name, unit, value, digits) => ({ name, unit, value, number: true, text: row => figure(value(row), digits) });
const rounded = (value, digits) => value === null ? null : +value.toFixed(digits);
const columns = [
  { name: "query", unit: "", value: row => row.number, text: row => String(row.number), number: true },
  { name: "image", unit: "", value: row => row.image, text: row => row.image, isName: true },
  { name: "result", unit: "", value: outcome, text: outcome, className: row => "status " + kind(row) },
  ...(!data.with_errors ? [] : [
    column("error", "cm", row => rounded(centimetres(row), 4), 2),
    column("rotation", "°", row => rounded(row.rotation_deg, 4), 2),
  ]),
  ...(rows.some(row => row.position_std_m !== null) ? [column("σ", "cm", row => rounded(sigma(row), 4), 2)] : []),
  column("inliers", "", row => row.inliers, 0),
  { ...column("matches", "", row => row.matches, 0), csvOnly: true },
  column("confidence", "", row => rounded(row.confidence, 6), 3),
  column("time", "ms", row => row.latency_ms === null ? null : rounded(row.latency_ms, 3), 0),
  ...["candidate", "reason", "stamp_ns"].map(name => ({ name, unit: "", value: row => row[name], csvOnly: true })),
];
rows.forEach((row, i) => { row.number = i + 1; });
const table = queryTable(byId("queries"), rows, columns, {
  filters: { "all queries": () => true, "with an image": (_, i) => i in data.queries, accepted: row => row.accepted,
    refused: row => !row.accepted, "false accepts": row => row.false_accept },
  filterSelect: byId("filter"), search: byId("search"), count: byId("count"), csv: byId("csv"), file: "queries.csv",
  onSelect: select, matches: row => `${row.image} ${row.reason} ${outcome(row)}`.toLowerCase(),
});

function factsOf(row) {
  const facts = [];
  if (data.with_errors && row.accepted) facts.push(["error", row.translation_m === null ? "in another scene" : lengthText(row.translation_m)],
    ["rotation", row.rotation_deg === null ? "–" : `${figure(row.rotation_deg, 2)}°`]);
  if (row.position_std_m !== null) facts.push(["estimated", lengthText(row.position_std_m)]);
  facts.push(["confidence", figure(row.confidence, 3)], ["inliers", `${row.inliers} of ${row.matches}`]);
  facts.push(["time", row.latency_ms === null ? "–" : `${row.latency_ms.toFixed(0)} ms`]);
  if (row.candidate) facts.push(["candidate", words(row.candidate)]);
  return facts;
}

function select(i) {
  selected = i;
  const row = rows[i], image = data.queries[i], keyframe = image && image.keyframe !== null ? data.keyframes[image.keyframe] : null;
  byId("name").textContent = row.image;
  byId("outcome").textContent = "";
  byId("outcome").append(element("span", outcome(row), { class: "status " + kind(row) }), row.reason ? ": " + row.reason : "");
  byId("facts").replaceChildren(...factsOf(row).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  drawImage(image, keyframe);
  table.select(i);
  for (const [box, trace, place] of marks) {
    const spot = place(i);
    Plotly.restyle(box, { x: [spot ? [spot[0]] : []], y: [spot ? [spot[1]] : []] }, [trace]);
  }
}

function drawImage(image, keyframe) {
  const box = byId("picture");
  if (!image) {
    box.replaceChildren(element("p", "This query's image is not in the page, which holds the worst and an even sample.", { class: "empty" }));
    return;
  }
  drawPicture(box, image, keyframe);
  const drawn = image.inliers.length, all = image.first_view_inliers, inliers = drawn < all ? `${drawn} of the ${all} inliers` : "inliers";
  let text = !drawn ? "No inliers."
    : image.inliers.some(row => row[2] !== null) ? `Yellow: ${inliers}. Orange: their reprojection errors, 8 times as long as they are.`
    : `Yellow: ${inliers}. A refused query has no pose, and so no reprojection errors.`;
  if (keyframe) text += ` ${narrow.matches ? "Right" : "Below"}: ${keyframe.name}, the keyframe that shares most of them.`;
  else if (image.keyframe !== null && !Object.keys(data.keyframes).length) text += " With --map-images DIR the keyframe stands beside it.";
  box.append(element("p", text, { class: "caption" }));
}

byId("previous").addEventListener("click", () => select(table.beside(selected, -1)));
byId("next").addEventListener("click", () => select(table.beside(selected, 1)));
narrow.addEventListener("change", () => { if (selected !== null) select(selected); });

// begin with the worst: a false accept, else a refused query, else the largest error
function worstQuery() {
  const badness = row => [row.false_accept, !row.accepted && !data.negatives, data.negatives ? row.inliers : row.translation_m || 0];
  const isWorse = (a, b) => { const at = a.findIndex((value, k) => value !== b[k]); return at >= 0 && a[at] > b[at]; };
  return numbers.reduce((worst, i) => isWorse(badness(rows[i]), badness(rows[worst])) ? i : worst, 0);
}

select(worstQuery());
drawWith(async () => {
  if (!data.negatives) await drawTrajectory();
  if (data.with_errors) {
    await drawCurve("translation", rows.map(centimetres), 0.01, LIMITS_CM, "translation error, cm");
    await drawCurve("rotation", rows.map(row => row.rotation_deg), 0.001, LIMITS_DEG, "rotation error, degrees");
    await drawOverQueries();
  }
  await drawInliers();
  if (Object.keys(data.latency_ms).length) await drawLatency();
  select(selected);
});
