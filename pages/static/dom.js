// Builds elements. Text becomes a text node, never HTML: labels and errors come from elsewhere.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element of this id. */
export const byId = (id) => document.getElementById(id);

/** Make an HTML element. Functions become event handlers: `{onclick: …}`. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Tell a screen reader something that others see. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Copy text, and say so on the button for a moment. */
export async function copyWith(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers give the clipboard only to pages on HTTPS or localhost.
    button.textContent = "Select and copy it";
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

/** Return a time as its reader writes it: "28 Nov, 23:10"; one of another year with the year. */
export function shortTime(iso) {
  const time = new Date(iso);
  const options = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  if (time.getFullYear() !== new Date().getFullYear()) options.year = "numeric";
  return new Intl.DateTimeFormat(undefined, options).format(time);
}

const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** Return a number as its reader writes it, with at most one decimal. */
export const shortNumber = (value) => NUMBER.format(value);

/** Return a number of milliseconds as text: "840 µs", "12.3 ms", "1.2 s". */
export function duration(ms) {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return ms < 1000 ? `${shortNumber(ms)} ms` : `${shortNumber(ms / 1000)} s`;
}

/** Return a number of seconds as text: "41 s", "3 min", "2 h", "12 days". */
export function span(seconds) {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  if (seconds < 6000) return `${Math.ceil(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.ceil(seconds / 3600)} h` : `${Math.ceil(seconds / 86400)} days`;
}
