// The image of a query with its inliers, beside the keyframe that shares most of them, as SVG.
const SVG = "http://www.w3.org/2000/svg";
const ERROR_MAGNIFICATION = 8;
const narrow = window.matchMedia("(max-width: 1000px)");

function svg(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

// a picture with at most two images, below each other, or side by side where the window is narrow
function drawPicture(box, query, keyframe) {
  const gap = 0.02 * query.width;
  const factor = !keyframe ? 0 : narrow.matches ? query.height / keyframe.height : query.width / keyframe.width;
  const shift = narrow.matches ? [query.width + gap, 0] : [0, query.height + gap];
  const size = !keyframe ? [query.width, query.height]
    : narrow.matches ? [shift[0] + keyframe.width * factor, query.height] : [query.width, shift[1] + keyframe.height * factor];
  const root = svg("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, role: "img" });
  svg("title", {}, root).textContent = "inliers of the query" + (keyframe ? " and their points in the keyframe" : "");
  svg("image", { href: query.src, width: query.width, height: query.height, class: "query" }, root);
  if (keyframe) svg("image", { href: keyframe.src, x: shift[0], y: shift[1], width: keyframe.width * factor,
    height: keyframe.height * factor, class: "keyframe" }, root);
  const unit = query.width / (narrow.matches ? 300 : 400) / (narrow.matches && keyframe ? 0.8 : 1);
  const lines = svg("g", { fill: "none", "stroke-width": 0.7 * unit, class: "lines" }, root);
  for (const [x, y, px, py, kx, ky] of query.inliers) {
    if (keyframe && kx !== null) svg("line", { x1: x, y1: y, x2: shift[0] + kx * factor, y2: shift[1] + ky * factor,
      stroke: "#56b4e9", "stroke-opacity": 0.45 }, lines);
    if (px !== null) svg("line", { x1: x, y1: y, x2: x + ERROR_MAGNIFICATION * (px - x), y2: y + ERROR_MAGNIFICATION * (py - y),
      stroke: "#ff7a1a", "stroke-width": 1.2 * unit }, lines);
  }
  const circle = (x, y) => {
    svg("circle", { cx: x, cy: y, r: 2.6 * unit, fill: "none", stroke: "#000", "stroke-opacity": 0.55, "stroke-width": 1.8 * unit }, lines);
    svg("circle", { cx: x, cy: y, r: 2.6 * unit, fill: "none", stroke: "#f0e442", "stroke-width": 0.9 * unit, class: "inlier" }, lines);
  };
  for (const [x, y, , , kx, ky] of query.inliers) {
    circle(x, y);
    if (keyframe && kx !== null) circle(shift[0] + kx * factor, shift[1] + ky * factor);
  }
  box.replaceChildren(root);
}
