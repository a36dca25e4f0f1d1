"use strict";
// The page of `vloc serve`: the map seen from above, and the answer to a photograph.
const el = (id) => document.getElementById(id);
const at = (x, y) => [y, x]; // Leaflet has the vertical first
const drawn = L.canvas({ padding: 0.4 });
const map = L.map("map", { crs: L.CRS.Simple, minZoom: -8, maxZoom: 12, zoomSnap: 0.25, renderer: drawn, attributionControl: false });
const layers = { plan: L.layerGroup().addTo(map), heat: L.layerGroup().addTo(map), answer: L.layerGroup().addTo(map) };
const LEAST_SHARE = 0.01;
let overview = null, newest = 0; // number of the newest request

function corners(place) {
  const turn = (place.yaw_deg * Math.PI) / 180, half = place.side_m / 2;
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) =>
    at(place.x + half * (a * Math.cos(turn) - b * Math.sin(turn)), place.y + half * (a * Math.sin(turn) + b * Math.cos(turn))));
}

function drawPlace(place, style) {
  if (place.side_m > 0) return L.polygon(corners(place), style);
  return L.circleMarker(at(place.x, place.y), { radius: 4, ...style });
}

function drawPlan() {
  for (const [x, y] of overview.points) L.circleMarker(at(x, y), { radius: 1, stroke: false, fillColor: "#7d8790", fillOpacity: 0.7 }).addTo(layers.plan);
  drawHeat([]);
  fitPlan();
  map.on("resize", () => { if (!layers.answer.getLayers().length) fitPlan(); });
}

function fitPlan() { map.fitBounds(L.latLngBounds(overview.extent.map(([x, y]) => at(x, y))).pad(0.05), { animate: false }); }

function nameAxes() {
  const [right, upward] = overview.axes.map((axis) => axis.name && `${axis.is_exact ? "" : "about "}${axis.name}`), control = L.control({ position: "bottomright" });
  control.onAdd = () => {
    const note = document.createElement("div");
    note.className = "axes";
    note.textContent = right && upward ? `seen from above: ${right} →, ${upward} ↑` : "seen from above";
    return note;
  };
  control.addTo(map);
}

// after a refusal without colour: what resembles the photograph is not where it was taken
function drawHeat(weights, located = false) {
  layers.heat.clearLayers();
  const most = Math.max(...weights, 1e-12);
  overview.places.forEach((place, k) => {
    const share = weights.length ? weights[k] / most : 0;
    drawPlace(place, { weight: 0.5, color: "#9aa5af", fillColor: located ? "#d4502a" : "#5b6670", fillOpacity: weights.length ? 0.5 * share : 0.02 })
      .bindTooltip(() => name(place.name, weights, k)).addTo(layers.heat);
  });
}

function name(text, weights, k) {
  const span = document.createElement("span");
  span.textContent = weights.length ? `${text}: ${share(weights[k])} of the similarity` : text;
  return span;
}

function drawAnswer(answer) {
  layers.answer.clearLayers();
  drawHeat(answer.weights, answer.fix !== null);
  listPlaces(answer);
  drawMatches(answer);
  el("fix").replaceChildren();
  const fix = answer.fix;
  if (!fix) return;
  for (const { x, y } of answer.matches) L.circleMarker(at(x, y), { radius: 2, stroke: false, fillColor: "#1e8a4c", fillOpacity: 0.9 }).addTo(layers.answer);
  L.polygon(fix.ellipse.map(([x, y]) => at(x, y)), { color: "#0b5cad", weight: 2, fillOpacity: 0.15 }).addTo(layers.answer);
  showOutlying(fix);
  const [x, y] = fix.at, reach = arrowLength(); // as long as the direction is level
  L.polyline([at(x, y), at(x + reach * fix.ahead[0], y + reach * fix.ahead[1])], { color: "#0b5cad", weight: 3 }).addTo(layers.answer);
  L.circleMarker(at(x, y), { radius: 5, color: "#0b5cad", fillOpacity: 1 }).addTo(layers.answer);
  describeFix(fix, answer);
}

// a camera may be outside of what the map shows
function showOutlying(fix) {
  const seen = map.getBounds(), here = at(...fix.at);
  if (!seen.contains(here)) map.fitBounds(seen.extend(here).pad(0.05), { animate: false });
}

function arrowLength() {
  const bounds = map.getBounds();
  return 0.06 * Math.max(bounds.getEast() - bounds.getWest(), bounds.getNorth() - bounds.getSouth());
}

// lengths in one unit, of which the largest has two digits
function withUnit(lengths) {
  const largest = Math.max(...lengths);
  const [unit, size] = !overview.metric ? ["units of the map", 1] : largest < 0.01 ? ["mm", 1e-3] : largest < 1 ? ["cm", 1e-2] : ["m", 1];
  const decimals = largest > 0 ? Math.min(Math.max(1 - Math.floor(Math.log10(largest / size)), 0), 9) : 0;
  return { numbers: lengths.map((one) => (one / size).toFixed(decimals)), unit };
}

function describePosition(fix) {
  const decimals = Math.min(Math.max(Math.ceil(-Math.log10(Math.max(...fix.position_std_m, 1e-6))), 1), 6);
  const std = withUnit(fix.position_std_m), unit = overview.metric ? "m" : "units of the map";
  return [["position x, y, z", `${[fix.x, fix.y, fix.z].map((one) => one.toFixed(decimals)).join(", ")} ${unit}`],
    ["standard deviation", `${std.numbers.join(", ")} ${std.unit}`]];
}

// 0 to 360 degrees, with as many decimals as the standard deviation has
function describeAngle(angle, std) {
  const decimals = Math.min(Math.max(-Math.floor(Math.log10(Math.max(std, 1e-6))), 1), 3);
  return `${((angle + 360) % 360).toFixed(decimals)}° ± ${std.toFixed(decimals)}°`;
}

function describeDirection(fix) {
  const fromAbove = overview.kind === "aerial", [right, upward] = overview.axes.map((axis) => axis.name);
  const term = fromAbove ? "upper edge of the image" : "direction of view";
  if (fix.yaw_std_deg > 90) return [term, fix.pitch_deg < 0 ? "straight down" : "straight up"]; // turned by any angle
  const from = right && upward ? `from ${right} to ${upward}` : "counter-clockwise from the right of the plan";
  const yaw = fix.heading_deg === null ? `${describeAngle(fix.yaw_deg, fix.yaw_std_deg)} ${from}`
    : `${describeAngle(fix.heading_deg, fix.heading_std_deg)} from true north to east`;
  const pitch = `${Math.abs(fix.pitch_deg).toFixed(1)}° ${fix.pitch_deg < 0 ? "down" : "up"}`;
  return [term, fromAbove ? yaw : `${yaw}, ${pitch}`];
}

function describeEarth(fix) {
  const { numbers, unit } = withUnit(fix.earth_std_m);
  return [["latitude, longitude", `${fix.latitude.toFixed(7)}, ${fix.longitude.toFixed(7)}`],
    ["standard deviation", `${numbers[0]} ${unit} east, ${numbers[1]} ${unit} north`]];
}

function describeFix(fix, answer) {
  const rows = [...(fix.latitude === null ? [] : describeEarth(fix)), ...describePosition(fix), describeDirection(fix),
    ["confidence", `${(100 * answer.confidence).toFixed(1)} %${overview.kind === "aerial" ? " (provisional)" : ""}, ${answer.inliers} inliers`]];
  for (const [term, text] of rows) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = term; dd.textContent = text;
    el("fix").append(dt, dd);
  }
}

const placeWord = () => (overview.kind === "aerial" ? "tiles" : "keyframes");
const share = (weight) => `${(100 * weight).toFixed(0)} %`;

// those that are hardly similar say nothing; and similar places of a refused photograph are no answer
function listPlaces(answer) {
  const similar = answer.places.filter((found) => found.weight >= LEAST_SHARE);
  const stands = similar.length ? "Shares of the similarity, not calibrated." : "None stands out.";
  el("ranking").hidden = answer.places.length === 0;
  el("ranking").querySelector("h2").textContent = `Most similar ${placeWord()}`;
  el("ranking").querySelector("p").textContent = answer.fix ? stands : `The photograph was not located: these are no location. ${stands}`;
  el("places").replaceChildren(...similar.map((found) => {
    const item = document.createElement("li"), place = overview.places[found.place];
    item.textContent = `${found.name}: ${share(found.weight)}`;
    item.tabIndex = 0;
    const show = () => map.setView(at(place.x, place.y), Math.max(map.getZoom(), 1));
    item.addEventListener("click", show);
    item.addEventListener("keydown", (event) => event.key === "Enter" && show());
    return item;
  }));
}

function drawMatches(answer) {
  const canvas = el("photo").querySelector("canvas");
  canvas.width = answer.width; canvas.height = answer.height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#2fd07a";
  const radius = Math.max(2, answer.width / 160);
  for (const { u, v } of answer.matches) { pen.beginPath(); pen.arc(u, v, radius, 0, 2 * Math.PI); pen.fill(); }
}

function say(text, kind) { el("status").textContent = text; el("status").className = kind; }

function clearAnswer() {
  layers.answer.clearLayers(); el("fix").replaceChildren(); el("places").replaceChildren(); el("ranking").hidden = true;
  drawHeat([]);
  drawMatches({ width: 1, height: 1, matches: [] });
}

function showPhoto(file) {
  const shown = el("photo").querySelector("img");
  URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(file);
  el("photo").hidden = false;
}

async function locate(file) {
  const known = new FormData(el("known")), words = new URLSearchParams(), number = ++newest;
  for (const key of ["focal_px", "altitude_m"]) if (known.get(key)) words.set(key, known.get(key));
  if (known.get("nadir") && overview.kind === "aerial") words.set("nadir", "true");
  clearAnswer();
  showPhoto(file);
  say("searching…", "");
  document.body.dataset.state = "searching";
  try {
    const response = await fetch(`api/locate?${words}`, { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } });
    const found = await readAnswer(response);
    if (number !== newest) return; // another photograph was dropped meanwhile
    if (found.refusal) say(found.refusal, "refused");
    else {
      drawAnswer(found);
      say(found.status === "ok" ? "located" : `${found.status.replaceAll("_", " ")}: ${found.reason}`, found.status === "ok" ? "ok" : "refused");
    }
  } catch (error) {
    if (number !== newest) return;
    clearAnswer();
    say(`the server does not answer (${error.message})`, "refused");
  }
  document.body.dataset.state = "answered";
}

// what a full server says is plain text
async function readAnswer(response) {
  const isJson = (response.headers.get("Content-Type") ?? "").startsWith("application/json");
  if (response.status === 503) return { refusal: "the server is busy; try again" };
  if (!isJson) return { refusal: `the server failed (${response.status})` };
  const content = await response.json();
  if (response.ok) return content;
  return { refusal: content.error ? nameFields(content.error) : "the server failed" };
}

// a refusal in the words of the form, in place of the parameters of the API
function nameFields(refusal) {
  const named = (text, key) => text.replace(new RegExp(`(^|; )${key}(?= is )`), `$1${el("known").elements.namedItem(key).labels[0].textContent.trim()}`);
  return ["focal_px", "altitude_m"].reduce(named, refusal);
}

function listen() {
  const drop = el("drop");
  el("file").addEventListener("change", (event) => { if (event.target.files[0]) locate(event.target.files[0]); event.target.value = ""; });
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) locate(event.dataTransfer.files[0]);
  });
  el("known").addEventListener("submit", (event) => event.preventDefault());
}

async function start() {
  overview = await (await fetch("api/map")).json();
  el("name").textContent = overview.name;
  const where = overview.latitude === null ? "" : ` · ${overview.latitude.toFixed(5)}, ${overview.longitude.toFixed(5)}`;
  el("facts").textContent = `${overview.places.length} ${placeWord()} · frame ${overview.frame_id}${where}`;
  for (const one of document.querySelectorAll(".aerial")) one.hidden = overview.kind !== "aerial";
  el("known").elements.focal_px.placeholder = overview.needs_camera ? "needed" : "calibrated";
  if (overview.metric) L.control.scale({ imperial: false }).addTo(map);
  nameAxes();
  drawPlan();
  listen();
  document.body.dataset.state = "ready";
}

start();
