// Shows what the server answered: labels as bars, where the time went, or the server's own words about an error.

import { announce, byId, duration, el, shortNumber, span } from "./dom.js";

const STAGES = { queue: "Queue", decode: "Decode", infer: "Model", rest: "Network and checks" };
let waitsUntil = 0;
let retry = null;
let lastLabel = null;

/** Show that a request is under way. */
export function showBusy() {
  byId("result").setAttribute("aria-busy", "true");
  announce("Classifying the picture.");
}

/** Show an answer of /v2/classify. `totalMs` is what the browser measured; `headers` is null for a stream. */
export function showAnswer(answer, totalMs, headers, note = "") {
  stopWaiting();
  const { predictions, model, image, id } = answer;
  const facts = [
    `${model.name}, ${model.engine} ${model.precision}`,
    `${image.format} ${image.width} × ${image.height}`,
    note,
  ].filter(Boolean);
  place(
    predictions.length ? bars(predictions) : el("p", {}, "No label is as probable as you ask for; lower the bound."),
    timing(stagesOf(headers), totalMs),
    el("p", { class: "quiet facts" }, facts.join(" · ")),
    el("p", { class: "quiet facts id" }, id),
  );
  tellLabel(predictions);
}

/** Show a problem, with a countdown if the server says when to try again. `again` sends the picture again. */
export function showProblem(problem, again = null) {
  stopWaiting();
  const children = [el("h3", {}, problem.title), el("p", {}, problem.detail)];
  if (problem.retryAfterS !== null) {
    waitsUntil = Date.now() + 1000 * problem.retryAfterS;
    children.push(el("p", { id: "countdown", class: "countdown" }));
  }
  if (again) {
    retry = el("button", { type: "button", class: "primary", onclick: again }, "Try again");
    children.push(retry);
  }
  if (problem.requestId) children.push(el("p", { class: "quiet facts id" }, problem.requestId));
  place(el("div", { class: "problem", role: "alert" }, ...children));
  lastLabel = null;
  tick();
}

/** Count down to the time of the next try; call it each second. */
export function tick() {
  const countdown = byId("countdown");
  if (!countdown) return;
  const left = (waitsUntil - Date.now()) / 1000;
  countdown.textContent = left > 0 ? `You can try again in ${span(left)}.` : "You can try again now.";
  if (retry) retry.disabled = left > 0;
}

/** Show nothing yet. */
export function showNothing() {
  stopWaiting();
  place(el("p", { class: "quiet" }, "The labels of your picture will appear here, the most probable first."));
}

function place(...children) {
  const result = byId("result");
  result.removeAttribute("aria-busy");
  result.replaceChildren(...children);
}

function stopWaiting() {
  waitsUntil = 0;
  retry = null;
}

function tellLabel(predictions) {
  const [first] = predictions;
  // A stream of pictures would never let a screen reader finish.
  if (!first || first.label === lastLabel) return;
  lastLabel = first.label;
  announce(`Most probable: ${first.label}, ${percent(first.confidence)}.`);
}

const percent = (share) => `${shortNumber(100 * share)} %`;

function bars(predictions) {
  return el("ol", { class: "bars" }, ...predictions.map(({ label, confidence }) => {
    const fill = el("div", { class: "fill" });
    fill.style.width = `${Math.max(0.5, 100 * confidence)}%`;
    return el("li", {},
      el("div", { class: "bar-text" }, el("span", {}, label), el("span", { class: "figure" }, percent(confidence))),
      el("div", { class: "track" }, fill));
  }));
}

/** Read Server-Timing: `queue;dur=0.10, decode;dur=1.25, infer;dur=9.80`, in ms. */
function stagesOf(headers) {
  const value = headers?.get("Server-Timing");
  return value ? Object.fromEntries(value.split(",").map((part) => {
    const [name, spent] = part.trim().split(";dur=");
    return [name, Number(spent)];
  })) : null;
}

function timing(stages, totalMs) {
  if (stages === null) return el("p", { class: "timing" }, `${duration(totalMs)} from here to the model and back`);
  const inside = Object.values(stages).reduce((sum, spent) => sum + spent, 0);
  const parts = { ...stages, rest: Math.max(0, totalMs - inside) };
  const split = el("div", { class: "split", "aria-hidden": "true" });
  const legend = el("ul", { class: "legend" });
  for (const [name, spent] of Object.entries(parts)) {
    const part = el("div", { class: name });
    part.style.flexGrow = spent;
    split.append(part);
    const swatch = el("span", { class: `swatch ${name}`, "aria-hidden": "true" });
    legend.append(el("li", {}, swatch, `${STAGES[name] ?? name} `, el("strong", {}, duration(spent))));
  }
  return el("div", { class: "timing" },
    el("p", {}, "Answered in ", el("strong", {}, duration(totalMs))), split, legend);
}
