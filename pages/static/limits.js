// What is left of the caller's limits: read from the header RateLimit or from /v2/limits, drawn as gauges.

import { byId, el, shortNumber, span } from "./dom.js";

const WINDOWS = { 1: "second", 60: "minute", 3600: "hour", 86400: "day" };

/** Read RateLimit-Policy and RateLimit: `"default";q=5;w=60` and `"default";r=3;t=41`; null without them. */
export function fromHeaders(headers) {
  const policies = items(headers.get("RateLimit-Policy"));
  const standings = items(headers.get("RateLimit"));
  if (!policies.length || !standings.length) return null;
  return policies.map(({ name, q, w }) => {
    const { r, t } = standings.find((standing) => standing.name === name) ?? {};
    return { name, quota: q, windowS: w, remaining: r ?? 0, resetS: t ?? 0 };
  });
}

/** Read the answer of /v2/limits. */
export function fromAnswer({ policies }) {
  return policies.map(({ name, quota, window, remaining, reset }) =>
    ({ name, quota, windowS: window, remaining, resetS: reset }));
}

/** Draw the limits wherever the page has a place for them. */
export function show(policies) {
  const readAt = Date.now();
  for (const place of document.querySelectorAll("[data-limits]")) {
    place.replaceChildren(...policies.map((policy) => gauge(policy, readAt)));
  }
  byId("limits-card").hidden = false;
  tick();
}

/** Remove the gauges: another key has other limits. */
export function clear() {
  for (const place of document.querySelectorAll("[data-limits]")) place.replaceChildren();
  byId("limits-card").hidden = true;
}

/** Count the waiting times on the gauges down; call it each second. */
export function tick() {
  for (const note of document.querySelectorAll("[data-free-at]")) {
    const left = (Number(note.dataset.freeAt) - Date.now()) / 1000;
    note.textContent = left > 0 ? `next one back in ${span(left)}` : "";
  }
}

function gauge({ quota, windowS, remaining, resetS }, readAt) {
  const window = WINDOWS[windowS] ?? span(windowS);
  const share = quota ? remaining / quota : 0;
  const level = share > 0.25 ? "plenty" : share > 0 ? "few" : "none";
  const fill = el("div", { class: `fill ${level}` });
  fill.style.width = `${100 * share}%`;
  const isFull = remaining >= quota || resetS <= 0;
  const meter = {
    class: "track", role: "meter", "aria-label": `Left of ${quota} per ${window}`,
    "aria-valuemin": 0, "aria-valuemax": quota, "aria-valuenow": remaining,
  };
  return el("div", { class: "gauge" },
    el("div", { class: "gauge-text" },
      el("span", {}, el("strong", {}, shortNumber(remaining)), ` of ${shortNumber(quota)} left per ${window}`),
      el("span", { class: "quiet", "data-free-at": isFull ? 0 : readAt + 1000 * resetS })),
    el("div", meter, fill));
}

function items(header) {
  return (header ?? "").split(",").filter(Boolean).map((item) => {
    const [name, ...parameters] = item.trim().split(";");
    const numbers = parameters.map((parameter) => parameter.split("="));
    const values = Object.fromEntries(numbers.map(([letter, value]) => [letter, Number(value)]));
    return { name: name.replaceAll('"', ""), ...values };
  });
}
