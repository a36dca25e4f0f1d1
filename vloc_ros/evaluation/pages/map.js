"use strict";
const map = JSON.parse(document.getElementById("data").textContent);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const levels = new Uint16Array(bytes(map.points).buffer), count = levels.length / 3;
const colours = { landmark: bytes(map.landmark_colours), image: map.image_colours ? bytes(map.image_colours) : null };
const landmarkOf = new Uint32Array(bytes(map.landmark_of).buffer), seen = new Uint32Array(bytes(map.seen).buffer);
const byId = id => document.getElementById(id);
const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const n = Math.hypot(...a); return a.map(v => v / n); };
const sum = (a, b, f) => a.map((v, i) => v + f * b[i]);
const KEYFRAME = "#0b5cad", FEW = "#c2570c", QUERY = "#8c1d40", metres = map.metric ? " m" : "";
const pointAt = i => [0, 1, 2].map(a => map.low[a] + levels[3 * i + a] * map.step[a]);

// which keyframes observe each point: their numbers from firstOf[i] to firstOf[i + 1]
const firstOf = new Uint32Array(count + 1), keyframesOf = new Uint32Array(seen.length);
for (const i of seen) firstOf[i + 1]++;
for (let i = 0; i < count; i++) firstOf[i + 1] += firstOf[i];
{
  const next = firstOf.slice();
  let at = 0;
  map.seen_counts.forEach((many, k) => { for (const end = at + many; at < end; at++) keyframesOf[next[seen[at]]++] = k; });
}

const up = unit(map.up);
const east = unit(cross(up, Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0])), north = cross(up, east);
const focal = 1.2;
let view, hovered = null, chosen = null, targets = [], owners = null;
// the first view is along the cameras, where they look one way
function reset() {
  const forward = sum(map.forward, up, -dot(map.forward, up)), agree = Math.hypot(...forward) > 0.3;
  const turn = agree ? Math.atan2(-dot(forward, north), -dot(forward, east)) : 0.6;
  view = { turn, tilt: agree ? 0.42 : 0.75, distance: 3 * map.radius, target: [...map.centre] };
}

// where the eye is, and the axes of its image: right, down, forward
function eyeOf() {
  const flat = sum(east.map(v => v * Math.cos(view.turn)), north, Math.sin(view.turn));
  const back = sum(flat.map(v => v * Math.cos(view.tilt)), up, Math.sin(view.tilt));
  const forward = back.map(v => -v), right = unit(cross(forward, up)), down = cross(forward, right);
  return { at: sum(view.target, back, view.distance), right, down, forward };
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  const eye = eyeOf(), pixels = focal * Math.min(width, height);
  const project = point => {
    const from = sum(point, eye.at, -1), depth = dot(eye.forward, from);
    if (depth < 0.02 * map.radius) return null;
    return [width / 2 + pixels * dot(eye.right, from) / depth, height / 2 + pixels * dot(eye.down, from) / depth];
  };
  const mode = document.querySelector("input[name=colour]:checked").value;
  owners = { width, height, ratio, of: new Int32Array(width * height).fill(-1) };
  const image = context.createImageData(width, height);
  if (mode !== "none") drawPoints(image, eye, pixels, Math.max(2, Math.round(1.6 * ratio)), colours[mode]);
  context.putImageData(image, 0, 0);
  if (byId("grid").checked) drawGrid(project, ratio);
  targets = [];
  if (byId("keyframes").checked) map.positions.forEach((position, k) => drawCamera(project, ratio, { keyframe: k, name: map.names[k] },
    position, map.rotations[k], map.few[k] ? FEW : KEYFRAME));
  if (byId("queries") && byId("queries").checked) map.queries.forEach((query, q) => drawCamera(project, ratio, { query: q, name: query.name },
    query.position, query.rotation, QUERY));
  if (hovered && hovered.point !== undefined) drawRays(project, ratio, hovered.point);
  drawScale(pixels / ratio);
}

function drawPoints(image, eye, pixels, size, shade) {
  const { width, height } = image, out = new Uint32Array(image.data.buffer), { of } = owners;
  const depths = new Float32Array(width * height).fill(Infinity);
  const [rx, ry, rz] = eye.right, [dx, dy, dz] = eye.down, [fx, fy, fz] = eye.forward;
  for (let i = 0; i < count; i++) {
    const x = map.low[0] + levels[3 * i] * map.step[0] - eye.at[0];
    const y = map.low[1] + levels[3 * i + 1] * map.step[1] - eye.at[1];
    const z = map.low[2] + levels[3 * i + 2] * map.step[2] - eye.at[2];
    const depth = fx * x + fy * y + fz * z;
    if (depth < 0.02 * map.radius) continue;
    const u = Math.round(width / 2 + pixels * (rx * x + ry * y + rz * z) / depth);
    const v = Math.round(height / 2 + pixels * (dx * x + dy * y + dz * z) / depth);
    if (u < 0 || v < 0 || u + size > width || v + size > height) continue;
    const colour = 0xff000000 | shade[3 * i + 2] << 16 | shade[3 * i + 1] << 8 | shade[3 * i];
    for (let row = v; row < v + size; row++)
      for (let at = row * width + u; at < row * width + u + size; at++)
        if (depth < depths[at]) { depths[at] = depth; out[at] = colour; of[at] = i; }
  }
}

function line(a, b) {
  if (a && b) { context.moveTo(...a); context.lineTo(...b); }
}

function drawCamera(project, ratio, target, position, r, colour) {
  const size = 0.035 * map.radius, tip = project(position);
  const isHovered = hovered && hovered.keyframe === target.keyframe && hovered.query === target.query && hovered.point === undefined;
  const isChosen = chosen && chosen.keyframe === target.keyframe && chosen.query === target.query;
  context.strokeStyle = colour;
  context.lineWidth = (isHovered || isChosen ? 2.6 : 1) * ratio;
  context.beginPath();
  const corners = [[-1, -0.75], [1, -0.75], [1, 0.75], [-1, 0.75]].map(([x, y]) => project(
    position.map((v, i) => v + size * (r[3 * i] * x + r[3 * i + 1] * y + r[3 * i + 2] * 1.4))));
  corners.forEach((corner, i) => { line(tip, corner); line(corner, corners[(i + 1) % 4]); });
  context.stroke();
  if (tip) targets.push({ ...target, at: tip.map((v, a) => (v + corners.reduce((all, c) => all + (c ? c[a] : v), 0) / 4) / 2) });
}

// from a point to the keyframes that observe it
function drawRays(project, ratio, i) {
  const point = project(pointAt(i));
  if (!point) return;
  context.strokeStyle = "rgba(27, 31, 36, 0.35)";
  context.lineWidth = ratio;
  context.beginPath();
  for (let at = firstOf[i]; at < firstOf[i + 1]; at++) line(point, project(map.positions[keyframesOf[at]]));
  context.stroke();
  context.strokeStyle = "#1b1f24";
  context.lineWidth = 1.6 * ratio;
  context.beginPath();
  context.arc(...point, 6 * ratio, 0, 7);
  context.stroke();
}

// the grid lies in the map's own axes, at the lowest points, and is labelled with coordinates of the map frame
const vertical = [0, 1, 2].reduce((best, a) => Math.abs(up[a]) > Math.abs(up[best]) ? a : best, 0);
const [across, along] = [0, 1, 2].filter(a => a !== vertical);
const grid = (() => {
  const quantile = (values, q) => values[Math.round(q * (values.length - 1))];
  const some = Array.from({ length: Math.min(count, 5000) }, (_, n) => pointAt(Math.floor(n * count / Math.min(count, 5000))));
  const range = a => {
    const values = some.map(p => p[a]).sort((x, y) => x - y), cameras = map.positions.map(p => p[a]);
    return [Math.min(quantile(values, 0.03), ...cameras), Math.max(quantile(values, 0.97), ...cameras)];
  };
  const ranges = [0, 1, 2].map(range), longest = Math.max(...[across, along].map(a => ranges[a][1] - ranges[a][0]));
  const power = 10 ** Math.floor(Math.log10(longest / 5)), step = [5, 2, 1].map(f => f * power).find(v => v <= longest / 5) || power;
  // in steps of the map frame, whose coordinates are larger by the origin
  const ends = a => [Math.floor((ranges[a][0] + map.origin[a]) / step), Math.ceil((ranges[a][1] + map.origin[a]) / step)];
  return { step, floor: up[vertical] > 0 ? ranges[vertical][0] : ranges[vertical][1], across: ends(across), along: ends(along) };
})();

function gridPoint(i, j) {
  const point = [0, 0, 0];
  point[across] = i * grid.step - map.origin[across];
  point[along] = j * grid.step - map.origin[along];
  point[vertical] = grid.floor;
  return point;
}

function drawGrid(project, ratio) {
  const [a0, a1] = grid.across, [b0, b1] = grid.along;
  context.strokeStyle = "rgba(120, 132, 144, 0.35)";
  context.lineWidth = ratio;
  context.beginPath();
  for (let i = a0; i <= a1; i++) for (let j = b0; j < b1; j++) line(project(gridPoint(i, j)), project(gridPoint(i, j + 1)));
  for (let j = b0; j <= b1; j++) for (let i = a0; i < a1; i++) line(project(gridPoint(i, j)), project(gridPoint(i + 1, j)));
  context.stroke();
  context.fillStyle = "#5b6570";
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  const label = (i, j, value) => {
    const at = project(gridPoint(i, j));
    if (at) context.fillText(+(value * grid.step).toPrecision(6) + "", at[0], at[1] + 13 * ratio);
  };
  // both edges meet in a corner, which has one label
  const [i0, j0] = [nearEdge(project, 1), nearEdge(project, 0)];
  for (let i = a0; i <= a1; i++) label(i, j0, i);
  for (let j = b0; j <= b1; j++) if (j !== j0) label(i0, j, j);
  drawAxes(project, ratio);
}

const middle = ends => (ends[0] + ends[1]) / 2;

// of two opposite edges of the grid, the one that is lower in the picture: labels there hide nothing
function nearEdge(project, axis) {
  const at = axis === 0 ? grid.along.map(j => [j, project(gridPoint(middle(grid.across), j))])
    : grid.across.map(i => [i, project(gridPoint(i, middle(grid.along)))]);
  const [[first, p], [last, q]] = at;
  return !q || (p && p[1] >= q[1]) ? first : last;
}

// outside of a labelled edge, beyond its labels
function besideEdge(project, ratio, axis) {
  const [i, j] = axis === across ? [middle(grid.across), nearEdge(project, 0)] : [nearEdge(project, 1), middle(grid.along)];
  const edge = project(gridPoint(i, j)), centre = project(gridPoint(middle(grid.across), middle(grid.along)));
  if (!edge || !centre) return null;
  const outward = unit([0, 1].map(a => edge[a] - centre[a]));
  return [edge[0] + 34 * ratio * outward[0], edge[1] + ratio * (34 * outward[1] + 9)];
}

// the axes of the map frame, at the farthest corner of the grid: x, y and z, in red, green and blue as in RViz
function drawAxes(project, ratio) {
  const eye = eyeOf().at, apart = point => Math.hypot(...sum(point, eye, -1));
  const corner = grid.across.flatMap(i => grid.along.map(j => gridPoint(i, j))).reduce((far, point) => apart(point) > apart(far) ? point : far);
  const from = project(corner);
  ["#c0392b", "#1e8449", "#2457c5"].forEach((colour, a) => {
    const end = [...corner];
    end[a] += 0.8 * grid.step;
    const to = project(end);
    if (!from || !to) return;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = 2.2 * ratio;
    context.beginPath();
    line(from, to);
    context.stroke();
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    const at = a === vertical ? [to[0] + 16 * ratio, to[1] + 4 * ratio] : besideEdge(project, ratio, a);
    if (at) context.fillText("xyz"[a] + metres.replace(" ", ", "), ...at);
  });
}

function drawScale(pixels) {
  const perUnit = pixels / view.distance, wanted = 110 / perUnit;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const length = [5, 2, 1].map(f => f * power).find(v => v <= wanted) || power;
  const bar = byId("scale");
  bar.style.width = length * perUnit + "px";
  bar.textContent = +length.toPrecision(2) + metres;
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// what is below the pointer: a camera within 9 pixels, else the nearest point within 5
function find(x, y) {
  const { ratio, width, height, of } = owners, at = [x * ratio, y * ratio];
  const near = targets.map(target => [Math.hypot(target.at[0] - at[0], target.at[1] - at[1]), target]).sort((a, b) => a[0] - b[0])[0];
  if (near && near[0] <= 9 * ratio) return near[1];
  let best = null, shortest = 5 * ratio;
  const reach = Math.ceil(shortest), [cx, cy] = at.map(Math.round);
  for (let v = Math.max(0, cy - reach); v <= Math.min(height - 1, cy + reach); v++)
    for (let u = Math.max(0, cx - reach); u <= Math.min(width - 1, cx + reach); u++) {
      const distance = Math.hypot(u - at[0], v - at[1]);
      if (of[v * width + u] >= 0 && distance <= shortest) { shortest = distance; best = { point: of[v * width + u] }; }
    }
  return best;
}

const coordinates = position => position.map((v, a) => (v + map.origin[a]).toFixed(2)).join(", ") + metres;
function describe(target) {
  if (target.query !== undefined) return `${target.name}\nquery${map.queries[target.query].note ? ", " + map.queries[target.query].note : ""}`;
  if (target.keyframe !== undefined) return `${target.name}\nkeyframe, observes ${map.seen_counts[target.keyframe]} points`;
  const i = target.point, many = firstOf[i + 1] - firstOf[i];
  const names = Array.from(keyframesOf.slice(firstOf[i], firstOf[i] + 3), k => map.names[k]);
  return `landmark ${landmarkOf[i]}, key ${map.landmarks[landmarkOf[i]]}\n${coordinates(pointAt(i))}\nobserved by ${many} keyframes`
    + (many ? `: ${names.join(", ")}${many > 3 ? ", …" : ""}` : "");
}

function hover(x, y) {
  const found = find(x, y), tip = byId("tip");
  canvas.classList.toggle("over", Boolean(found && found.point === undefined));
  tip.hidden = !found;
  if (found) {
    tip.textContent = describe(found);
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 8)) + "px";
  }
  const key = target => target ? `${target.point} ${target.keyframe} ${target.query}` : "";
  if (key(found) !== key(hovered)) { hovered = found; redraw(); }
}

// the card of a camera: its image where the page has it
function choose(target) {
  chosen = target;
  const card = byId("card"), image = card.querySelector("img");
  card.hidden = !target;
  redraw();
  if (!target) return;
  const isKeyframe = target.keyframe !== undefined, source = isKeyframe ? map.images[target.keyframe] : undefined;
  const position = isKeyframe ? map.positions[target.keyframe] : map.queries[target.query].position;
  let text = describe(target).split("\n").slice(1).join("\n") + `\nat ${coordinates(position)}`;
  if (isKeyframe && !source && Object.keys(map.images).length) text += "\nIts image is not in the page, which holds an even sample.";
  card.querySelector("h2").textContent = target.name;
  card.querySelector("p").textContent = text;
  image.hidden = !source;
  if (source) { image.src = source; image.alt = target.name; } else image.removeAttribute("src");
  byId("find").value = isKeyframe ? target.keyframe : "";
}

function turn(dx, dy) {
  view.turn -= 0.006 * dx;
  view.tilt = Math.min(1.55, Math.max(-1.55, view.tilt + 0.006 * dy));
}

function move(dx, dy) {
  const eye = eyeOf(), length = view.distance / (focal * Math.min(canvas.clientWidth, canvas.clientHeight));
  view.target = sum(sum(view.target, eye.right, -dx * length), eye.down, -dy * length);
}

function zoom(factor) {
  view.distance = Math.min(100 * map.radius, Math.max(0.02 * map.radius, view.distance * factor));
}

// one finger or button turns, two fingers zoom and move; without a button the pointer hovers, and a click chooses
const fingers = new Map();
let pressedAt = null;
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  pressedAt = [event.clientX, event.clientY];
});
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return hover(event.clientX, event.clientY);
  const now = [event.clientX, event.clientY], dx = now[0] - before[0], dy = now[1] - before[1];
  const other = [...fingers].find(([id]) => id !== event.pointerId);
  if (other) {
    const gap = point => Math.max(10, Math.hypot(point[0] - other[1][0], point[1] - other[1][1]));
    zoom(gap(before) / gap(now));
    move(dx / 2, dy / 2);
  } else if (event.shiftKey || event.buttons > 1) move(dx, dy);
  else turn(dx, dy);
  fingers.set(event.pointerId, now);
  byId("tip").hidden = true;
  redraw();
});
canvas.addEventListener("pointerup", event => {
  fingers.delete(event.pointerId);
  if (!pressedAt || Math.hypot(event.clientX - pressedAt[0], event.clientY - pressedAt[1]) > 4) return;
  const found = find(event.clientX, event.clientY);
  if (found && found.point === undefined) choose(found);
});
canvas.addEventListener("pointercancel", event => fingers.delete(event.pointerId));
canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; if (hovered) { hovered = null; redraw(); } });
canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(0.001 * event.deltaY)); redraw(); },
  { passive: false });
canvas.addEventListener("contextmenu", event => event.preventDefault());
canvas.addEventListener("dblclick", () => { reset(); redraw(); });
canvas.addEventListener("keydown", event => {
  const steps = { ArrowLeft: () => turn(-30, 0), ArrowRight: () => turn(30, 0), ArrowUp: () => turn(0, 30), ArrowDown: () => turn(0, -30),
    "+": () => zoom(0.85), "-": () => zoom(1 / 0.85), Home: reset, Escape: () => choose(null) };
  if (!(event.key in steps)) return;
  event.preventDefault();
  steps[event.key]();
  redraw();
});
map.names.forEach((name, k) => byId("find").add(new Option(name, k)));
byId("find").addEventListener("change", event => choose(event.target.value === "" ? null
  : { keyframe: +event.target.value, name: map.names[event.target.value] }));
byId("close").addEventListener("click", () => choose(null));
document.querySelector("form").addEventListener("change", redraw);
window.addEventListener("resize", redraw);
reset();
draw();
document.body.dataset.ready = "yes";
