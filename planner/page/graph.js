// The place graph at an instant: which cells are filled, which wires are lit, which pipelines are open.
const cells = data.memories.map((_, memory) => data.blobs.map((_, blob) => byId(`b${memory}-${blob}`)));
const fullBars = data.memories.map((_, memory) => byId(`f${memory}`));
const fullWidth = fullBars.map((bar) => (bar ? Number(bar.previousElementSibling.getAttribute("width")) : 0));
// How many blobs each memory ever holds.
const ever = data.memories.map(([, , start]) => new Set(start));
for (const transfer of data.transfers) ever[data.routes[transfer[ROUTE]].destination]?.add(transfer[BLOB]);
const counters = data.nodes.map((_, node) => byId(`c${node}`));
const cards = data.nodes.map((_, node) => byId(`n${node}`));
const dots = data.nodes.map((_, node) => byId(`d${node}`));
const litWires = new Map();

// Of each memory, how much of each blob it holds: 0 to 1.
function holdingsAt(now, run) {
  const held = data.memories.map(([, , start]) => {
    const levels = new Float32Array(data.blobs.length);
    for (const blob of start) levels[blob] = 1;
    return levels;
  });
  const running = [];
  for (const transfer of data.transfers) {
    const [start, end] = spanOf(transfer, run);
    if (start === null || start > now) continue;
    const route = data.routes[transfer[ROUTE]];
    const over = end !== null && end <= now;
    const failed = run === "measured" && transfer[FAILED] !== null && transfer[FAILED] <= now;
    if (!over && !failed) running.push(transfer);
    if (route.destination >= 0) {
      // A transfer that never ended has brought nothing that can be used.
      const level = over ? 1 : end === null ? 0 : (now - start) / Math.max(end - start, 1);
      const levels = held[route.destination];
      levels[transfer[BLOB]] = Math.max(levels[transfer[BLOB]], level);
    }
  }
  for (const [blob, memory, at] of data.releases) if (at <= now) held[memory][blob] = 0;
  return { held, running };
}

function openAt(now, run) {
  return data.pipelines.filter((pipeline) => {
    const [opened, closed] = pipeline[run];
    return opened !== null && opened <= now && (closed === null || closed > now);
  });
}

function paintCells(held) {
  const perNode = data.nodes.map(() => [0, 0]);
  held.forEach((levels, memory) => {
    const node = data.memories[memory][1];
    let whole = 0;
    levels.forEach((level, blob) => {
      if (level >= 1) whole += 1;
      const cell = cells[memory][blob];
      if (!cell) return;
      const state = level >= 1 ? 1 : level > 0 ? 0.15 + 0.45 * level : 0;
      if (cell.state === state) return;
      cell.state = state;
      cell.style.fill = state > 0 ? blobColour[blob] : "";
      cell.style.fillOpacity = state > 0 ? state : "";
    });
    if (fullBars[memory]) fullBars[memory].setAttribute("width", (fullWidth[memory] * whole) / Math.max(ever[memory].size, 1));
    if (node >= 0) {
      perNode[node][0] += whole;
      perNode[node][1] += ever[memory].size;
    }
  });
  perNode.forEach(([whole, most], node) => {
    counters[node].textContent = most > 0 ? `${whole}/${most}` : ""; // nothing is ever there
  });
}

function paintWires(running) {
  const lit = new Map();
  for (const transfer of running) {
    for (const wire of data.routes[transfer[ROUTE]].wires) lit.set(wire, blobColour[transfer[BLOB]]);
  }
  for (const [wire, colour] of litWires) {
    if (lit.get(wire) === colour) continue;
    const path = byId(`w${wire}`);
    path.classList.remove("lit");
    path.style.stroke = "";
    litWires.delete(wire);
  }
  for (const [wire, colour] of lit) {
    if (litWires.has(wire)) continue;
    const path = byId(`w${wire}`);
    path.classList.add("lit");
    path.style.stroke = colour;
    litWires.set(wire, colour);
  }
}

function paintPipelines(open) {
  const serving = data.nodes.map(() => []);
  for (const pipeline of open) for (const node of pipeline.nodes) serving[node].push(pipeline);
  serving.forEach((list, node) => {
    cards[node].classList.toggle("serves", list.length > 0);
    const key = list.map((pipeline) => pipeline.id).join(" ");
    if (dots[node].key === key) return;
    dots[node].key = key;
    dots[node].replaceChildren(...list.slice(0, 8).map((pipeline, index) => {
      const dot = document.createElementNS(SVG, "rect");
      for (const [name, value] of [["x", index * 11], ["width", 9], ["height", 6], ["rx", 2]]) dot.setAttribute(name, value);
      dot.style.fill = pipeline.colour;
      const title = document.createElementNS(SVG, "title");
      title.textContent = `${pipeline.id} is open`;
      dot.append(title);
      return dot;
    }));
  });
}

function lostAt(now, run) {
  return run === "measured" ? data.losses.filter(([, , at]) => at <= now) : [];
}

function sayNow(now, run, held, running, open) {
  let copies = 0, most = 0;
  held.forEach((levels, memory) => {
    most += ever[memory].size;
    levels.forEach((level) => { if (level >= 1) copies += 1; });
  });
  const names = open.map((pipeline) => pipeline.id);
  const shown = names.slice(0, 12).join(", ") + (names.length > 12 ? ` and ${names.length - 12} more` : "");
  const where = data.heat ? " of the nodes shown" : "";
  byId("now").textContent = `At ${seconds(now)}${data.measured ? `, as ${run}` : ""}: ${running.length} ${running.length === 1 ? "transfer" : "transfers"} under way, `
    + `${copies.toLocaleString("en")} of ${most.toLocaleString("en")} copies held${where}. Open pipelines: ${shown || "none"}.`
    + lostAt(now, run).map(([node, , at, reason]) => ` ${node} counts as lost since ${seconds(at)} (${reason}).`).join("");
}

function paintGraph(now, run) {
  const { held, running } = holdingsAt(now, run);
  const open = openAt(now, run);
  paintCells(held);
  paintWires(running);
  paintPipelines(open);
  const lost = new Set(lostAt(now, run).map(([, node]) => node));
  cards.forEach((card, node) => card.classList.toggle("lost", lost.has(node)));
  sayNow(now, run, held, running, open);
}

function makeLegend() {
  const few = data.blobs.length <= 24;
  const shown = few ? data.blobs.map((_, index) => index) : [0, Math.floor(data.blobs.length / 2), data.blobs.length - 1];
  byId("legend").replaceChildren(...shown.map((index) => {
    const [name, bytes] = data.blobs[index];
    const entry = element("span", { textContent: name, title: `${bytes.toLocaleString("en")} bytes` });
    entry.style.setProperty("--c", blobColour[index]);
    return entry;
  }));
}
