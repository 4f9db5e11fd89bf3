// The player, the tips, and the fragment: #t=1.5&run=measured&flow=now sets the instant, the run, and what the flow shows.
const slider = byId("time");
const STEPS = 2000;
let run = "planned";
let now = 0;
let playing = null;

function show(nanos, keepSlider) {
  now = Math.min(Math.max(nanos, 0), data.horizon);
  if (!keepSlider) slider.value = Math.round((STEPS * now) / data.horizon);
  byId("clock").textContent = seconds(Math.round(now));
  slider.setAttribute("aria-valuetext", seconds(Math.round(now)));
  byId("cursor").style.left = share(now);
  paintGraph(Math.round(now), run);
  paintFlow(now);
}

function setRun(wanted) {
  run = wanted === "measured" && data.measured ? "measured" : "planned";
  for (const radio of document.querySelectorAll("input[name=run]")) radio.checked = radio.value === run;
}

function fromFragment() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  setRun(parameters.get("run") ?? (data.measured ? "measured" : "planned"));
  if (data.flow) byId("flow-now").checked = parameters.get("flow") === "now";
  const wanted = Number(parameters.get("t") ?? 0);
  show(Number.isFinite(wanted) ? wanted * 1e9 : 0);
}

function stop() {
  if (playing !== null) cancelAnimationFrame(playing);
  playing = null;
  byId("play").textContent = "Play";
  byId("play").setAttribute("aria-pressed", "false");
}

// The whole takes 4 to 20 seconds, and as long as it really takes in between.
function play() {
  const length = Math.min(Math.max(data.horizon / 1e6, 4000), 20000);
  let before = performance.now();
  if (now >= data.horizon) show(0);
  byId("play").textContent = "Pause";
  byId("play").setAttribute("aria-pressed", "true");
  const frame = (at) => {
    show(now + ((at - before) / length) * data.horizon);
    before = at;
    if (now >= data.horizon) stop();
    else playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
}

function transferText(index) {
  const transfer = data.transfers[index];
  const route = data.routes[transfer[ROUTE]];
  const [name, bytes] = data.blobs[transfer[BLOB]];
  const lines = [
    `transfer ${transfer[STEP]}: ${name}, ${bytes.toLocaleString("en")} bytes`,
    `${route.from} to ${route.to}`,
    `planned ${seconds(transfer[START])} to ${seconds(transfer[END])}, ${seconds(transfer[END] - transfer[START])}`,
  ];
  if (data.measured) {
    const failed = transfer[FAILED] === null ? "" : `, failed at ${seconds(transfer[FAILED])}`;
    lines.push(transfer[RAN_START] === null ? `measured: never started${failed}`
      : transfer[RAN_END] === null ? `measured: started at ${seconds(transfer[RAN_START])}, never ended${failed}`
        : `measured ${seconds(transfer[RAN_START])} to ${seconds(transfer[RAN_END])}, ${seconds(transfer[TOOK])}`);
  }
  return lines.join("\n");
}

function pipelineText(index) {
  const pipeline = data.pipelines[index];
  const say = ([opened, closed]) => opened === null ? "never opened"
    : `open from ${seconds(opened)} ${closed === null ? "on" : `to ${seconds(closed)}`}`;
  const lines = [pipeline.id, pipeline.stages, `planned: ${say(pipeline.planned)}`];
  if (pipeline.measured) lines.push(`measured: ${say(pipeline.measured)}`);
  return lines.join("\n");
}

function heatText(canvas, event) {
  const area = canvas.getBoundingClientRect();
  const row = Math.floor(((event.clientY - area.top) / area.height) * canvas.height);
  const column = Math.floor(((event.clientX - area.left) / area.width) * canvas.width);
  const level = data.heat[canvas.dataset.run][row]?.[column];
  if (level === undefined) return null;
  const at = seconds(Math.round((data.horizon * (column + 1)) / canvas.width));
  return `${data.heat.groups[row]}\n${Math.round((100 * parseInt(level, 36)) / 35)} % held at ${at}`;
}

function tipText(event) {
  const target = event.target;
  if (target.dataset?.i !== undefined) return transferText(Number(target.dataset.i));
  if (target.dataset?.pipeline !== undefined) return pipelineText(Number(target.dataset.pipeline));
  const edge = target.closest?.("[data-edge]");
  if (edge) return flowText(Number(edge.dataset.edge));
  if (target.dataset?.run !== undefined) return heatText(target, event);
  return null;
}

function moveTip(event) {
  placeTip(tipText(event), event.clientX, event.clientY);
}

function placeTip(text, clientX, clientY) {
  const tip = byId("tip");
  tip.hidden = text === null;
  if (text === null) return;
  tip.textContent = text;
  const right = clientX + 14 + tip.offsetWidth > window.innerWidth;
  tip.style.left = `${Math.max(right ? clientX - tip.offsetWidth - 10 : clientX + 14, 4)}px`;
  const low = clientY + 18 + tip.offsetHeight > window.innerHeight;
  tip.style.top = `${low ? clientY - tip.offsetHeight - 10 : clientY + 18}px`;
}

slider.max = STEPS;
byId("runs").hidden = !data.measured;
makeLegend();
makeLanes();
makeHeat();
makeFlow();
slider.addEventListener("input", () => { stop(); show((data.horizon * slider.value) / STEPS, true); });
byId("play").addEventListener("click", () => (playing === null ? play() : stop()));
for (const radio of document.querySelectorAll("input[name=run]")) {
  radio.addEventListener("change", () => { setRun(radio.value); show(now); });
}
document.addEventListener("pointermove", moveTip);
document.addEventListener("pointerdown", moveTip);
window.addEventListener("hashchange", fromFragment);
fromFragment();
