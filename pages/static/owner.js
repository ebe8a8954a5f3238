// What the owner of the service sees with a key of the scope `admin`: users, keys and changes, to be read only.

import { Problem, call } from "./api.js";
import { announce, byId, el, shortTime } from "./dom.js";
import { idOf, inTab, key } from "./keyring.js";
import { draw as drawUsage, scrolled } from "./usage.js";

const LISTS = { users: "Users", keys: "Keys", plans: "Plans", audit: "Changes" };
const ORDERS = { audit: { order: "newest" } };

/** Return whether the key may see all this. The server decides; it is asked once for each key in a tab. */
export async function isOwner() {
  const name = `image-classifier-owner-${idOf(key())}`;
  const known = inTab.getItem(name);
  if (known !== null) return known === "true";
  let isAllowed = false;
  try {
    await call("v2/admin/users");
    isAllowed = true;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    // Not a refusal: the server may answer the next time.
    if (![403, 404].includes(problem.status)) return false;
  }
  inTab.setItem(name, String(isAllowed));
  return isAllowed;
}

/** Draw each list in `place`, in a part of its own; one that can't be read shows why. */
export async function draw(place) {
  const parts = Object.fromEntries(Object.keys(LISTS).map((name) => [name, el("section", { class: "card" })]));
  await Promise.all(Object.keys(LISTS).map((name) => fill(parts[name], name)));
  const find = async (address) => {
    const filters = address ? { users: { email: address }, keys: { user: address } } : { users: {}, keys: {} };
    await Promise.all(Object.entries(filters).map(([name, filter]) => fill(parts[name], name, filter)));
    announce(address ? `Users and keys of ${address} are shown.` : "All users and keys are shown.");
  };
  const usage = el("div", { id: "user-usage", class: "stack", tabindex: -1 });
  place.replaceChildren(finder(find), ...Object.values(parts), usage);
}

/** Return the field in which an address is entered: among many users, nobody finds one by its place in the list. */
function finder(find) {
  const field = el("input", { id: "find-user", autocomplete: "off", placeholder: "ada@example.org" });
  const submit = (event) => {
    event.preventDefault();
    void find(field.value.trim());
  };
  return el("form", { class: "card finder", role: "search", onsubmit: submit },
    el("label", { for: "find-user" }, "E-mail address of a user"), field, el("button", { type: "submit" }, "Find"));
}

async function fill(part, name, filter = {}) {
  const title = LISTS[name];
  const top = el("h2", {}, title);
  part.replaceChildren(top);
  const body = el("tbody", {});
  const head = el("tr", {});
  let columns = null;
  const more = el("button", { type: "button", onclick: () => void add() }, "Show more");
  const problemPlace = el("p", { role: "alert" });
  let cursor = null;

  async function add() {
    const query = new URLSearchParams({ ...ORDERS[name], ...filter, ...cursor === null ? {} : { cursor } });
    // A second click would ask for the same rows once more.
    more.disabled = true;
    problemPlace.textContent = "";
    try {
      const { answer } = await call(`v2/admin/${name}?${query}`);
      columns ??= columnsOf(answer.data);
      // A button behind a dozen columns would not be found.
      const titles = [...name === "users" ? ["usage"] : [], ...columns];
      if (!head.children.length) head.append(...titles.map((title) => el("th", { scope: "col" }, heading(title))));
      body.append(...answer.data.map((one) => el("tr", {},
        name === "users" ? usageButton(one) : null, ...columns.map((column) => cell(one[column])))));
      cursor = answer.next_cursor ?? null;
      more.hidden = cursor === null;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      problemPlace.textContent = problem.detail;
    } finally {
      more.disabled = false;
    }
  }

  await add();
  // Another search has begun meanwhile.
  if (top.parentNode !== part) return;
  if (body.children.length) part.append(scrolled(title, el("table", {}, el("thead", {}, head), body)), more);
  else if (columns !== null) part.append(el("p", { class: "quiet" }, filter.email || filter.user ? "There are none." : "There are none yet."));
  part.append(problemPlace);
}

function usageButton({ user_id: user, email }) {
  const show = async () => {
    const place = byId("user-usage");
    const charts = el("div", { class: "stack" });
    place.replaceChildren(el("h2", {}, `Usage of ${email}, 30 days`), charts);
    place.scrollIntoView();
    place.focus({ preventScroll: true });
    try {
      await drawUsage(charts, "v2/admin/usage", "month", { user });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      charts.replaceChildren(el("p", {}, problem.detail));
    }
  };
  return el("td", {}, el("button", { type: "button", "aria-label": `Show the usage of ${email}`, onclick: show }, "Show"));
}

/** Return the names of the columns; those that are empty in all of these rows come last. */
function columnsOf(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isFilled = (name) => rows.some((row) => String(row[name] ?? "") !== "");
  return [...names.filter(isFilled), ...names.filter((name) => !isFilled(name))];
}

const words = (name) => name.replaceAll("_", " ");
const heading = (name) => words(name[0].toUpperCase() + name.slice(1));

function cell(value) {
  if (value === null || value === undefined) return el("td", {}, "–");
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return el("td", {}, shortTime(value));
  if (Array.isArray(value)) return el("td", {}, value.map(text).join(", ") || "–");
  return el("td", {}, text(value));
}

function text(value) {
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value).map(([name, one]) => `${words(name)} ${text(one)}`).join(", ");
}
