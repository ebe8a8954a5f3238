// The caller's own keys: which there are, and how one is replaced or revoked.

import { Problem, call } from "./api.js";
import { announce, byId, copyWith, el, shortTime } from "./dom.js";
import { forget, idOf, isRemembered, key, use } from "./keyring.js";
import { scrolled } from "./usage.js";

let chosen = null;

/** Add the listeners of the dialogs of this view. */
export function begin() {
  byId("rotate-form").addEventListener("submit", (event) => act(event, "rotate-dialog", rotate));
  byId("revoke-form").addEventListener("submit", (event) => act(event, "revoke-dialog", revoke));
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  byId("copy-key").addEventListener("click", ({ target }) => copyWith(target, byId("new-key").value));
  byId("new-key-dialog").addEventListener("close", () => { byId("new-key").value = ""; });
}

/** Draw the keys in `place`. Throws a Problem. */
export async function draw(place) {
  const { answer } = await call("v2/keys");
  const heads = ["Key", "State", "Scopes", "Created", "Last used", "Expires", "Change"];
  place.replaceChildren(scrolled("Your keys", el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...answer.data.map(row)))));
}

const time = (iso) => (iso ? shortTime(iso) : "–");

function row(one) {
  const isOwn = one.key_id === idOf(key());
  const name = el("th", { scope: "row" }, one.name ? el("div", {}, one.name) : null, el("code", {}, one.key_id));
  if (isOwn) name.append(" ", el("span", { class: "badge own" }, "in use here"));
  const isLive = one.state === "live";
  return el("tr", {}, name,
    el("td", {}, el("span", { class: `badge ${one.state}` }, one.state)),
    el("td", {}, one.scopes.join(", ")),
    ...[one.created_at, one.last_used_at, one.expires_at].map((iso) => el("td", {}, time(iso))),
    el("td", { class: "actions" },
      isLive ? button("Rotate", one, "rotate-dialog") : null,
      isLive ? button("Revoke", one, "revoke-dialog") : null));
}

function button(label, one, dialog) {
  const open = () => {
    chosen = one;
    const box = byId(dialog);
    box.querySelector("[data-key]").textContent = one.name ?? one.key_id;
    box.querySelector("[data-problem]").textContent = "";
    box.showModal();
  };
  return el("button", { type: "button", "aria-label": `${label} ${one.name ?? one.key_id}`, onclick: open }, label);
}

async function act(event, dialog, change) {
  event.preventDefault();
  const box = byId(dialog);
  const problemPlace = box.querySelector("[data-problem]");
  problemPlace.textContent = "";
  try {
    await change();
    box.close();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    problemPlace.textContent = problem.detail;
  }
}

async function rotate() {
  const isOwn = chosen.key_id === idOf(key());
  const path = `v2/keys/${encodeURIComponent(chosen.key_id)}/rotate`;
  const { answer } = await call(path, { method: "POST", json: { grace: byId("grace").value } });
  byId("new-key").value = answer.key;
  byId("new-key-note").hidden = !isOwn;
  byId("new-key-dialog").showModal();
  if (isOwn) use(answer.key, isRemembered());
  else dispatchEvent(new Event("hashchange"));
}

async function revoke() {
  const isOwn = chosen.key_id === idOf(key());
  await call(`v2/keys/${encodeURIComponent(chosen.key_id)}`, { method: "DELETE" });
  announce("The key is revoked.");
  if (isOwn) forget();
  else dispatchEvent(new Event("hashchange"));
}
