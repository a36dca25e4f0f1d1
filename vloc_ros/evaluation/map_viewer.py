"""The page around a map: a canvas that draws its points in software, so that it needs no WebGL."""

PAGE = r"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
html, body { margin: 0; height: 100%; overflow: hidden; background: #fff; color: #1b1f24;
  font: 14px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; cursor: grab; }
header { position: absolute; left: 20px; top: 16px; pointer-events: none; }
h1 { font-size: 20px; margin: 0; letter-spacing: -0.01em; }
p { margin: 2px 0; color: #5b6570; font-size: 13px; font-variant-numeric: tabular-nums; }
form { position: absolute; left: 20px; bottom: 16px; color: #5b6570; font-size: 13px; }
label { margin-right: 16px; }
#scale { position: absolute; right: 24px; bottom: 16px; border-top: 2px solid #1b1f24; text-align: center;
  font-size: 12px; color: #5b6570; pointer-events: none; }
</style></head><body>
<canvas></canvas>
<header><h1>@TITLE@</h1><p>@FACTS@</p><p>drag to turn, shift-drag to move, wheel to zoom, double-click to start over</p>
</header>
<form><label><input type="checkbox" id="points" checked> points</label>
<label><input type="checkbox" id="keyframes" checked> keyframes@FEW@</label></form>
<div id="scale"></div>
<script>
"use strict";
const map = @DATA@;
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const levels = new Uint16Array(bytes(map.points).buffer), colours = bytes(map.colours);
const count = levels.length / 3;
const canvas = document.querySelector("canvas"), context = canvas.getContext("2d");
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = a => { const n = Math.hypot(...a); return a.map(v => v / n); };
const sum = (a, b, f) => a.map((v, i) => v + f * b[i]);

const up = unit(map.up);
const east = unit(cross(up, Math.abs(up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0])), north = cross(up, east);
const focal = 1.2;
let view;
function reset() {
  view = { turn: 0.6, tilt: 0.75, distance: 2.6 * map.radius, target: [...map.centre] };
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
  const image = context.createImageData(width, height);
  new Uint32Array(image.data.buffer).fill(0xffffffff);
  if (document.getElementById("points").checked) drawPoints(image, eye, pixels, Math.max(2, Math.round(1.6 * ratio)));
  context.putImageData(image, 0, 0);
  if (document.getElementById("keyframes").checked) drawKeyframes(eye, pixels, width, height, ratio);
  drawScale(pixels / ratio);
}

function drawPoints(image, eye, pixels, size) {
  const { width, height } = image, out = new Uint32Array(image.data.buffer);
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
    const colour = 0xff000000 | colours[3 * i + 2] << 16 | colours[3 * i + 1] << 8 | colours[3 * i];
    for (let row = v; row < v + size; row++)
      for (let at = row * width + u; at < row * width + u + size; at++)
        if (depth < depths[at]) { depths[at] = depth; out[at] = colour; }
  }
}

function drawKeyframes(eye, pixels, width, height, ratio) {
  const project = point => {
    const from = sum(point, eye.at, -1), depth = dot(eye.forward, from);
    if (depth < 0.02 * map.radius) return null;
    return [width / 2 + pixels * dot(eye.right, from) / depth, height / 2 + pixels * dot(eye.down, from) / depth];
  };
  const size = 0.035 * map.radius;
  context.lineWidth = ratio;
  const line = (a, b) => { if (a && b) { context.moveTo(...a); context.lineTo(...b); } };
  map.positions.forEach((position, k) => {
    context.strokeStyle = map.few[k] ? "rgb(214, 110, 10)" : "rgba(11, 92, 173, 0.85)";
    context.beginPath();
    const r = map.rotations[k];
    const corners = [[-1, -0.75], [1, -0.75], [1, 0.75], [-1, 0.75]].map(([x, y]) => project(
      position.map((v, i) => v + size * (r[3 * i] * x + r[3 * i + 1] * y + r[3 * i + 2] * 1.4))));
    const tip = project(position);
    corners.forEach((corner, i) => { line(tip, corner); line(corner, corners[(i + 1) % 4]); });
    context.stroke();
  });
}

function drawScale(pixels) {
  const perUnit = pixels / view.distance, wanted = 110 / perUnit;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const length = [5, 2, 1].map(f => f * power).find(v => v <= wanted) || power;
  const bar = document.getElementById("scale");
  bar.style.width = length * perUnit + "px";
  bar.textContent = +length.toPrecision(2) + (map.metric ? " m" : "");
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function turn(dx, dy) {
  view.turn -= 0.006 * dx;
  view.tilt = Math.min(1.55, Math.max(-1.55, view.tilt + 0.006 * dy));
}

function move(dx, dy) {
  const eye = eyeOf(), metres = view.distance / (focal * Math.min(canvas.clientWidth, canvas.clientHeight));
  view.target = sum(sum(view.target, eye.right, -dx * metres), eye.down, -dy * metres);
}

function zoom(factor) {
  view.distance = Math.min(100 * map.radius, Math.max(0.02 * map.radius, view.distance * factor));
}

// one finger or button turns, two fingers zoom and move
const fingers = new Map();
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
canvas.addEventListener("pointermove", event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY], dx = now[0] - before[0], dy = now[1] - before[1];
  const other = [...fingers].find(([id]) => id !== event.pointerId);
  if (other) {
    const gap = point => Math.max(10, Math.hypot(point[0] - other[1][0], point[1] - other[1][1]));
    zoom(gap(before) / gap(now));
    move(dx / 2, dy / 2);
  } else if (event.shiftKey || event.buttons > 1) move(dx, dy);
  else turn(dx, dy);
  fingers.set(event.pointerId, now);
  redraw();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, e => fingers.delete(e.pointerId));
canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(0.001 * event.deltaY)); redraw(); },
  { passive: false });
canvas.addEventListener("contextmenu", event => event.preventDefault());
canvas.addEventListener("dblclick", () => { reset(); redraw(); });
document.querySelector("form").addEventListener("change", redraw);
window.addEventListener("resize", redraw);
reset();
draw();
</script></body></html>
"""
