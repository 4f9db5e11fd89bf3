// Lanes: per node its ports and its pipelines, per link between switches its transfers; planned above, measured below.
const ROW = 9; // pixels of one row of transfers

function transferRows(transfers) {
  // Rectangles of numbers only; the tip finds the transfer by its index.
  const runs = data.measured ? ["planned", "measured"] : ["planned"];
  const parts = [];
  runs.forEach((run, row) => {
    for (const index of transfers) {
      const transfer = data.transfers[index];
      const [start, arrived] = spanOf(transfer, run);
      const end = arrived ?? (run === "measured" ? transfer[FAILED] : null);
      if (start === null || end === null) continue;
      const kind = arrived === null ? "failed" : data.measured && !row ? "faint" : "";
      const x = (10000 * start) / data.horizon;
      const width = Math.max((10000 * (end - start)) / data.horizon, 4);
      parts.push(`<rect x="${x.toFixed(1)}" y="${row * ROW}" width="${width.toFixed(1)}" height="${ROW - 1}" `
        + `fill="${blobColour[transfer[BLOB]]}"${kind && ` class="${kind}"`} data-i="${index}"/>`);
    }
  });
  const height = runs.length * ROW;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 10000 ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("height", height);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${transfers.length} transfers`);
  svg.innerHTML = parts.join("");
  return svg;
}

function laneRow(label, title, content) {
  return element("div", { className: "row" }, element("span", { textContent: label, title }), content);
}

function bar(pipeline, span, top, ran) {
  const [opened, closed] = span;
  const made = element("div", { className: ran ? "bar ran" : "bar", textContent: pipeline.short });
  made.dataset.pipeline = data.pipelines.indexOf(pipeline);
  made.style.cssText = `left:${share(opened)};right:calc(100% - ${share(closed ?? data.horizon)});top:${top}px`;
  made.style.setProperty("--c", pipeline.colour);
  return made;
}

// Pipelines that overlap in time get rows of their own.
function pipelineRows(pipelines) {
  const ends = [];
  const box = element("div", { className: "bars" });
  const height = data.measured ? 28 : 17;
  const spans = (pipeline) => [pipeline.planned, pipeline.measured].filter((span) => span && span[0] !== null);
  const first = (pipeline) => Math.min(...spans(pipeline).map(([opened]) => opened));
  const last = (pipeline) => Math.max(...spans(pipeline).map(([, closed]) => closed ?? data.horizon));
  for (const pipeline of [...pipelines].sort((one, other) => first(one) - first(other))) {
    let row = ends.findIndex((end) => end <= first(pipeline));
    if (row < 0) row = ends.length;
    ends[row] = last(pipeline);
    box.append(bar(pipeline, pipeline.planned, row * height + 1, false));
    if (pipeline.measured && pipeline.measured[0] !== null) {
      box.append(bar(pipeline, pipeline.measured, row * height + 17, true));
    }
  }
  box.style.height = `${Math.max(ends.length, 1) * height}px`;
  return box;
}

function groupTransfers() {
  const ports = data.nodes.map(() => ({ send: new Map(), receive: new Map() }));
  const inner = new Map();
  const add = (map, key, index) => map.get(key)?.push(index) ?? map.set(key, [index]);
  data.transfers.forEach((transfer, index) => {
    const route = data.routes[transfer[ROUTE]];
    if (route.sendNode >= 0) add(ports[route.sendNode].send, route.send, index);
    if (route.receiveNode >= 0) add(ports[route.receiveNode].receive, route.receive, index);
    for (const link of route.inner) add(inner, link, index);
  });
  return { ports, inner };
}

function loadText(node, received) {
  const say = (run) => {
    const ends = received.map((index) => spanOf(data.transfers[index], run)[1]);
    return ends.includes(null) ? "never whole" : `whole at ${seconds(Math.max(...ends))}`;
  };
  if (!received.length) {
    const holds = data.memories.some(([, owner, held]) => owner === node && held.length);
    return holds ? "has its blobs from the start" : "receives nothing";
  }
  return data.measured ? `planned ${say("planned")}, measured ${say("measured")}` : say("planned");
}

function nodeLanes(node, ports) {
  const received = [...ports.receive.values()].flat();
  const pipelines = data.pipelines.filter((pipeline) => pipeline.nodes.includes(node));
  if (!received.length && !ports.send.size && !pipelines.length) return null;
  const name = data.nodes[node];
  const block = element("section", { className: "node" },
    element("h3", { textContent: name }, element("small", { textContent: loadText(node, received) })));
  for (const [verb, lanes] of [["receives", ports.receive], ["sends", ports.send]]) {
    for (const [link, transfers] of lanes) {
      const label = lanes.size > 1 ? link.replaceAll(`${name}/`, "") : verb;
      block.append(laneRow(label, `${verb} over ${link}`, transferRows(transfers)));
    }
  }
  if (pipelines.length) block.append(laneRow("serves", "pipelines with a stage on this node", pipelineRows(pipelines)));
  return block;
}

// A round step, so that at most `most` ticks stand on the axis.
function tickStep(most) {
  let step = 1;
  for (let index = 0; step * most < data.horizon; index += 1) step *= index % 3 === 1 ? 2.5 : 2;
  return step;
}

function makeAxis() {
  const ticks = element("div", { className: "ticks" });
  const step = tickStep(window.innerWidth < 640 ? 4 : 12);
  const [unit, factor] = step >= 1e8 ? ["s", 1e9] : step >= 1e5 ? ["ms", 1e6] : ["µs", 1e3];
  for (let at = 0; at <= data.horizon; at += step) {
    const tick = element("span", { textContent: `${Number((at / factor).toFixed(3))} ${unit}` });
    tick.style.left = share(at);
    ticks.append(tick);
  }
  return element("div", { className: "axis" }, element("span"), ticks);
}

function makeMarks(overlay) {
  const rows = [];
  for (const mark of data.marks) {
    for (const run of ["planned", "measured"]) {
      const at = mark[run];
      if (at === null || at === undefined) continue;
      const line = element("i", { className: run === "measured" ? "ran" : "" });
      line.style.left = share(at);
      overlay.append(line);
      const several = new Set(data.marks.map((each) => each.of)).size > 1 ? ` of ${mark.of}` : "";
      const which = data.measured ? `${run} ` : "";
      const label = element("span", { textContent: `${which}${mark.what}${several} ${seconds(at)}` });
      label.className = at < data.horizon / 2 ? "left" : "";
      label.style.left = share(at);
      rows.push(element("div", { className: "row" }, element("span"), element("div", { className: "marks" }, label)));
    }
  }
  for (const [node, , at, reason] of data.losses) {
    const line = element("i", { className: "ran loss" });
    line.style.left = share(at);
    overlay.append(line);
    const label = element("span", { textContent: `${node} counted as lost (${reason}) ${seconds(at)}` });
    label.className = at < data.horizon / 2 ? "left loss" : "loss";
    label.style.left = share(at);
    rows.push(element("div", { className: "row" }, element("span"), element("div", { className: "marks" }, label)));
  }
  return rows;
}

function makeLanes() {
  const box = byId("lanes");
  const { ports, inner } = groupTransfers();
  const overlay = element("div", { className: "overlay" }, element("i", { id: "cursor" }));
  const marks = makeMarks(overlay);
  box.append(overlay, makeAxis(), ...marks);
  const idle = [];
  ports.forEach((each, node) => {
    const lanes = nodeLanes(node, each);
    if (lanes) box.append(lanes);
    else idle.push(data.nodes[node]);
  });
  if (inner.size) {
    const block = element("section", { className: "node" }, element("h3", { textContent: "links between switches" }));
    for (const [link, transfers] of [...inner].slice(0, 64)) block.append(laneRow(link, link, transferRows(transfers)));
    box.append(block);
  }
  if (idle.length) box.append(element("p", { className: "small", textContent: `Take no part: ${idle.join(", ")}.` }));
  byId("lanes-help").textContent = data.measured
    ? "Each port and each pipeline has two rows: above as planned, below as measured. Instants between nodes are as good as their clocks agree."
    : "As planned. Each port carries one blob at a time.";
}

function makeHeat() {
  if (!data.heat) return;
  const count = data.heat.nodes.toLocaleString("en");
  const block = element("section", { className: "node" }, element("h3", {
    textContent: `the other ${count} nodes: share of their copies that they hold`,
  }));
  for (const run of ["planned", "measured"]) {
    const rows = data.heat[run];
    if (!rows) continue;
    const canvas = element("canvas", { width: rows[0].length, height: rows.length });
    canvas.style.height = `${Math.max(rows.length * 2, 24)}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `how full ${rows.length} groups of nodes are over time, as ${run}`);
    const pen = canvas.getContext("2d");
    rows.forEach((levels, y) => [...levels].forEach((level, x) => {
      const full = parseInt(level, 36) / 35;
      pen.fillStyle = full >= 1 ? "#1f8a4c" : `hsl(${Math.round(215 + 60 * full)} 70% 50% / ${full})`;
      pen.fillRect(x, y, 1, 1);
    }));
    canvas.dataset.run = run;
    block.append(laneRow(run, "", canvas));
  }
  block.append(element("p", {
    className: "small",
    textContent: "Each line is a group of nodes; the fuller the colour, the more they hold; green: everything.",
  }));
  byId("lanes").append(block);
}
