// Draws usage over time: figures, requests by status, response times, and the same as a table.

import { call } from "./api.js";
import { lines, stackedBars } from "./charts.js";
import { duration, el, shortNumber, shortTime } from "./dom.js";

const RANGES = {
  hour: { bucket: "minute", widthS: 60, buckets: 60, name: "the last hour" },
  day: { bucket: "hour", widthS: 3600, buckets: 24, name: "the last 24 hours" },
  month: { bucket: "day", widthS: 86400, buckets: 30, name: "the last 30 days" },
};
const CLASSES = [["2xx", "Answered"], ["3xx", "Redirected"], ["4xx", "Refused"], ["5xx", "Failed"]];
const PERCENTILES = ["p50", "p95", "p99"];

/**
 * Read usage and draw it. Throws a Problem.
 *
 * @param place the element that gets it
 * @param path "v2/usage", or the owner's path with its own part of the query, `{user: …}` in `more`
 * @param range "hour", "day" or "month"
 */
export async function draw(place, path, range, more = {}) {
  const { bucket, widthS, buckets, name } = RANGES[range];
  const firstS = (Math.floor(Date.now() / 1000 / widthS) - buckets + 1) * widthS;
  const found = await read(path, { ...more, bucket, from: new Date(1000 * firstS).toISOString() });
  const byStart = new Map(found.map((one) => [Date.parse(one.start) / 1000, one]));
  const starts = Array.from({ length: buckets }, (_, at) => firstS + at * widthS);
  const all = starts.map((start) => byStart.get(start) ?? null);
  const labels = starts.map((start) => label(start, bucket));

  const byStatus = el("div", {});
  const times = el("div", {});
  place.replaceChildren(
    figures(found),
    card("Requests", byStatus),
    card("Response time", times),
    table(found, bucket),
  );
  // Drawn only now: a chart is as wide as its place.
  const drawCharts = () => {
    stackedBars(byStatus, `Requests in ${name}, by status`, labels, statusSeries(all));
    lines(times, `Response times in ${name}`, labels, timeSeries(all), "ms");
  };
  drawCharts();
  redraw = drawCharts;
}

let redraw = () => {};
addEventListener("resize", () => redraw());

async function read(path, query) {
  const found = [];
  for (let cursor = null; ;) {
    const page = new URLSearchParams(cursor === null ? query : { ...query, cursor });
    const { answer } = await call(`${path}?${page}`);
    found.push(...answer.data);
    cursor = answer.next_cursor;
    if (cursor === null) return found;
  }
}

function label(startS, bucket) {
  const options = bucket === "day" ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(undefined, options).format(new Date(1000 * startS));
}

function statusSeries(all) {
  const series = CLASSES.map(([status, name]) => ({
    name: `${name} (${status})`,
    className: `s${status}`,
    values: all.map((one) => one?.status[status] ?? 0),
  }));
  return series.filter(({ className, values }) => className !== "s3xx" || values.some(Boolean));
}

function timeSeries(all) {
  return PERCENTILES.map((name) => ({
    name, className: name, values: all.map((one) => one?.response_time_ms[name] ?? null),
  }));
}

function figures(found) {
  const sum = (value) => found.reduce((total, one) => total + value(one), 0);
  const requests = sum((one) => one.requests);
  const answered = sum((one) => one.status["2xx"]);
  const spent = sum((one) => one.requests * one.response_time_ms.mean);
  const rows = [
    ["Requests", shortNumber(requests)],
    ["Images", shortNumber(sum((one) => one.images))],
    ["Answered", requests ? `${shortNumber((100 * answered) / requests)} %` : "–"],
    ["Mean time", requests ? duration(spent / requests) : "–"],
  ];
  return el("dl", { class: "figures" },
    ...rows.map(([name, value]) => el("div", { class: "card" }, el("dt", {}, name), el("dd", {}, value))));
}

function card(title, ...children) {
  return el("section", { class: "card" }, el("h2", {}, title), ...children);
}

function table(found, bucket) {
  const heads = ["From", "Requests", "Images", ...CLASSES.map(([status]) => status), "p50", "p95", "p99"];
  const rows = found.toReversed().map((one) => el("tr", {},
    el("th", { scope: "row" }, bucket === "day" ? label(Date.parse(one.start) / 1000, bucket) : shortTime(one.start)),
    ...[one.requests, one.images, ...CLASSES.map(([status]) => one.status[status])].map((value) =>
      el("td", {}, shortNumber(value))),
    ...PERCENTILES.map((name) => el("td", {}, duration(one.response_time_ms[name])))));
  return el("details", { class: "card" },
    el("summary", {}, "The same as a table"),
    scrolled("Usage", el("table", {},
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...rows))));
}

/** Put a wide table in a box that scrolls by itself, also with the keyboard. */
export function scrolled(name, content) {
  return el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": name }, content);
}
