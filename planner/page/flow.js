// The flow: lines coloured over the whole plan or at the time of the slider; tips by pointer and by the arrow keys.
const SHADES = 5;
const flowTexts = new Map();
const flowLevels = new Map();
const flowOrder = [];
const flowWhole = new Map();

function flowText(index) {
  return flowTexts.get(index) ?? null;
}

function shadeOf(level) {
  return Math.min(Math.floor((level * SHADES) / 35), SHADES - 1);
}

function paintFlow(now) {
  if (!data.flow) return;
  const follow = byId("flow-now").checked;
  const column = Math.floor((80 * now) / data.flow.duration);
  for (const [index, levels] of flowLevels) {
    const line = byId(`e${index}`);
    const level = column < levels.length ? parseInt(levels[column], 36) : 0;
    const shade = follow ? (level ? `u${shadeOf(level)}` : "still") : flowWhole.get(index);
    if (line.shade === shade) continue;
    line.classList.remove(line.shade ?? flowWhole.get(index));
    line.classList.add(shade);
    line.shade = shade;
  }
}

// One stop of the tab key for the whole drawing; arrow keys go from line to line, the busiest first.
function moveFocus(event) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -flowOrder.length, End: flowOrder.length };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const at = flowOrder.indexOf(document.activeElement);
  flowOrder[Math.min(Math.max(at + step, 0), flowOrder.length - 1)].focus();
}

function showFocused(event) {
  const line = event.target.closest("[data-edge]");
  for (const each of flowOrder) each.setAttribute("tabindex", each === line ? "0" : "-1");
  const area = line.getBoundingClientRect();
  placeTip(flowText(Number(line.dataset.edge)), area.right, area.top + area.height / 2);
}

function makeFlow() {
  if (!data.flow) return;
  for (const [index, text, levels] of data.flow.edges) {
    const line = byId(`e${index}`);
    if (!line) continue;
    flowTexts.set(index, text);
    flowLevels.set(index, levels);
    flowWhole.set(index, [...line.classList].find((name) => /^u[0-9]$/.test(name)));
    flowOrder.push(line);
  }
  flowOrder[0]?.setAttribute("tabindex", "0");
  byId("flow").addEventListener("keydown", moveFocus);
  byId("flow").addEventListener("focusin", showFocused);
  byId("flow").addEventListener("focusout", () => { byId("tip").hidden = true; });
  byId("flow-now").addEventListener("change", () => paintFlow(now));
}
