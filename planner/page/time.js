// The data, the colours, and how times are said.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

// Columns of a transfer's row.
const STEP = 0, BLOB = 1, ROUTE = 2, START = 3, END = 4, RAN_START = 5, RAN_END = 6, TOOK = 7, FAILED = 8;

// Neighbours in the order of blobs differ in hue and in lightness.
const blobColour = data.blobs.map((_, index) =>
  `hsl(${Math.round(205 + (300 * index) / Math.max(data.blobs.length, 1)) % 360} 62% ${index % 2 ? 56 : 45}%)`);
const PIPE_COLOURS = ["#c2571a", "#7b4bc4", "#b03060", "#0f7c8a", "#8a6d0b", "#4a5fc1", "#a04a9c", "#5b7d16"];
let distributed = 0;
for (const pipeline of data.pipelines) {
  pipeline.colour = pipeline.local ? "#1f7a46" : PIPE_COLOURS[distributed++ % PIPE_COLOURS.length];
}

function seconds(nanos) {
  if (nanos === null || nanos === undefined) return "never";
  if (nanos === 0) return "0 s";
  const size = Math.abs(nanos);
  if (size >= 1e9) return `${(nanos / 1e9).toFixed(3)} s`;
  return size >= 1e6 ? `${(nanos / 1e6).toFixed(3)} ms` : `${(nanos / 1e3).toFixed(3)} µs`;
}

// Start and end of a transfer or pipeline in a run; null where there is none.
function spanOf(transfer, run) {
  return run === "measured" ? [transfer[RAN_START], transfer[RAN_END]] : [transfer[START], transfer[END]];
}

function share(nanos) {
  return `${(100 * Math.min(Math.max(nanos, 0), data.horizon)) / data.horizon}%`;
}

function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}
