// Charts as small SVG pictures: stacked bars and lines over time. Each has a table beside it for people who can't see pictures.

import { el, shortNumber, svg } from "./dom.js";

const HEIGHT = 190;
const EDGE = { top: 10, right: 4, bottom: 22, left: 58 };

/**
 * Draw stacked bars.
 *
 * @param place the element that gets the chart
 * @param about what the chart shows, in a sentence
 * @param labels a label for each place on the x axis
 * @param series `{name, className, values}`, the lowest first
 */
export function stackedBars(place, about, labels, series) {
  const totals = labels.map((_, at) => series.reduce((sum, { values }) => sum + values[at], 0));
  const frame = axes(place, about, labels, Math.max(2, ...totals), (value) => shortNumber(value));
  const gap = frame.step > 6 ? 2 : 0.5;
  labels.forEach((label, at) => {
    let below = 0;
    const bar = svg("g", {}, svg("title", {}, `${label}: ${tips(series, at, shortNumber)}`));
    for (const { className, values } of series) {
      if (!values[at]) continue;
      const [top, bottom] = [frame.y(below + values[at]), frame.y(below)];
      const shape = { x: frame.x(at) + gap / 2, y: top, width: Math.max(1, frame.step - gap), height: bottom - top };
      bar.append(svg("rect", { class: className, ...shape }));
      below += values[at];
    }
    frame.picture.append(bar);
  });
  finish(place, frame, series);
}

/** Draw lines; a value that is null leaves a gap. The parameters are those of `stackedBars`, with the values' unit. */
export function lines(place, about, labels, series, unit) {
  const highest = Math.max(0, ...series.flatMap(({ values }) => values));
  const frame = axes(place, about, labels, highest, (value) => `${shortNumber(value)} ${unit}`);
  for (const { className, values } of series) {
    for (const run of runs(values)) {
      const points = run.map(({ at, value }) => `${frame.x(at) + frame.step / 2},${frame.y(value)}`);
      frame.picture.append(svg("polyline", { class: `line ${className}`, points: points.join(" ") }));
      // A lone point has no line.
      const [cx, cy] = points[0].split(",");
      if (points.length === 1) frame.picture.append(svg("circle", { class: `dot ${className}`, cx, cy, r: 2.5 }));
    }
  }
  labels.forEach((label, at) => {
    const area = { x: frame.x(at), y: EDGE.top, width: frame.step, height: HEIGHT - EDGE.top - EDGE.bottom };
    const tip = svg("title", {}, `${label}: ${tips(series, at, (value) => `${shortNumber(value)} ${unit}`)}`);
    frame.picture.append(svg("rect", { class: "hover", ...area }, tip));
  });
  finish(place, frame, series);
}

function tips(series, at, write) {
  const parts = series.filter(({ values }) => values[at]).map(({ name, values }) => `${name} ${write(values[at])}`);
  return parts.join(", ") || "nothing";
}

/** Return the runs of values that are not null: `[[{at, value}, …], …]`. */
function runs(values) {
  const found = [[]];
  values.forEach((value, at) => {
    if (value === null) found.push([]);
    else found.at(-1).push({ at, value });
  });
  return found.filter((run) => run.length);
}

function axes(place, about, labels, highest, write) {
  const width = Math.max(240, place.clientWidth || 600);
  const top = roundUp(highest || 1);
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const step = inner.width / labels.length;
  const x = (at) => EDGE.left + at * step;
  const y = (value) => EDGE.top + inner.height * (1 - value / top);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": about, class: "chart" });
  for (const value of [0, top / 2, top]) {
    picture.append(
      svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "axis", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, write(value)),
    );
  }
  const each = Math.ceil(labels.length / Math.max(2, Math.floor(inner.width / 95)));
  for (let at = 0; at < labels.length; at += each) {
    picture.append(svg("text", { class: "axis", x: x(at), y: HEIGHT - 6 }, labels[at]));
  }
  return { picture, x, y, step };
}

/** Return the next number of the form 1, 2, 4 or 6 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 10].map((factor) => factor * power).find((round) => round >= value);
}

function finish(place, { picture }, series) {
  const legend = el("ul", { class: "legend" }, ...series.map(({ name, className }) =>
    el("li", {}, el("span", { class: `swatch ${className}`, "aria-hidden": "true" }), name)));
  place.replaceChildren(picture, legend);
}
