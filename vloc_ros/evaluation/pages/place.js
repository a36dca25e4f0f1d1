const wrong = data.wrong, MAP = byId("map");
const hover = row => `<b>${escaped(row.query)}</b><br>${lengthText(row.distance_m)} off<extra></extra>`;
const columns = [
  { name: "query", unit: "", value: row => row.query, text: row => row.query, isName: true },
  { name: "first result", unit: "", value: row => row.first, text: row => row.first, isName: true },
  { name: "distance", unit: "m", number: true, value: row => row.distance_m, text: row => figure(row.distance_m, 1) },
  { name: "nearest", unit: "m", number: true, value: row => row.nearest_m, text: row => figure(row.nearest_m, 1) },
  { name: "positives", unit: "", number: true, value: row => row.positives, text: row => String(row.positives) },
  { name: "similarity", unit: "", number: true, value: row => row.similarity, text: row => figure(row.similarity, 3) },
];
const table = queryTable(byId("queries"), wrong, columns, {
  filters: { "all wrong": () => true, "with a positive": row => row.positives > 0, "without a positive": row => row.positives === 0 },
  filterSelect: byId("filter"), search: byId("search"), count: byId("count"), csv: byId("csv"), file: "wrong-places.csv",
  onSelect: select, matches: row => `${row.query} ${row.first}`.toLowerCase(),
});

function select(i) {
  table.select(i);
  const row = wrong[i], titles = { query: "query", answer: "first result", nearest: "nearest in the database" };
  byId("images").replaceChildren(...Object.entries(titles).map(([name, title]) => {
    const box = element("div");
    box.append(element("h3", title));
    if (row.images) box.append(element("img", "", { src: row.images[name], alt: title, style: "width: 100%" }));
    else box.append(element("p", "no image in this page", { class: "empty" }));
    return box;
  }));
  if (MAP.data) Plotly.restyle(MAP, { x: [[row.at[0], row.answer[0]]], y: [[row.at[1], row.answer[1]]] }, [3]);
}

drawWith(async () => {
  if (!wrong.length) return emptyChart("map", "No answer is wrong.");
  const lines = wrong.flatMap(row => [row.at, row.answer, [null, null]]);
  const spots = (name, points, marker, more = {}) => ({ name, type: pointsType(points.length), mode: "markers",
    x: points.map(p => p[0]), y: points.map(p => p[1]), marker, ...more });
  const traces = [
    spots("database", data.database, { size: 4, color: FAINT }, { hoverinfo: "skip" }),
    { name: "to the first result", type: "scatter", mode: "lines", x: lines.map(p => p[0]), y: lines.map(p => p[1]),
      line: { color: BAD, width: 1 }, opacity: 0.4, hoverinfo: "skip" },
    spots("wrong queries", wrong.map(row => row.at), { size: 8, color: BAD },
      { customdata: wrong.map((_, i) => i), hovertemplate: wrong.map(hover) }),
    { type: "scatter", mode: "lines+markers", x: [], y: [], hoverinfo: "skip", showlegend: false,
      line: { color: INK, width: 2 }, marker: { symbol: "circle-open", size: 14, color: INK } },
  ];
  await Plotly.newPlot(MAP, traces, layout({ height: 480, showlegend: true, margin: { l: 56, r: 14, t: 30, b: 48 },
    xaxis: axis("east, m"), yaxis: axis("north, m", { scaleanchor: "x" }) }), CONFIG);
  MAP.on("plotly_click", event => { const i = event.points[0].customdata; if (Number.isInteger(i)) select(i); });
  select(0);
});
