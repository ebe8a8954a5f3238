// The page: which view is shown, and the key with which everything is asked.

import { Problem, call } from "./api.js";
import { announce, byId, el } from "./dom.js";
import { forget, idOf, isRemembered, key, onChange, use } from "./keyring.js";
import * as keys from "./keys.js";
import * as limits from "./limits.js";
import { closeCamera } from "./live.js";
import * as owner from "./owner.js";
import * as result from "./result.js";
import * as attempt from "./try.js";
import * as usage from "./usage.js";

const VIEWS = ["try", "usage", "keys", "owner"];
const DRAWN = {
  usage: () => drawUsage(),
  keys: () => keys.draw(byId("keys-list")),
  owner: () => owner.draw(byId("owner-lists")),
};
// The limits are asked for by a key of the scope `usage` only; without it they come with the first answer.
const SCOPE_MISSING = 403;

function begin() {
  attempt.begin(askForKey);
  keys.begin();
  byId("key-form").addEventListener("submit", enterKey);
  byId("forget-key").addEventListener("click", forget);
  byId("show-key").addEventListener("click", showOrHideKey);
  for (const range of document.querySelectorAll("[name=range]")) range.addEventListener("change", showView);
  addEventListener("hashchange", showView);
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
  onChange(changeKey);
  setInterval(() => { limits.tick(); result.tick(); }, 1000);
  showKey();
  void showView();
  if (!key()) return;
  void showLimits();
  void offerOwnersView();
}

function currentView() {
  const named = location.hash.slice(1);
  const isKnown = VIEWS.includes(named) && !(named === "owner" && byId("link-owner").hidden);
  return isKnown ? named : "try";
}

async function showView() {
  const shown = currentView();
  for (const view of VIEWS) {
    byId(`view-${view}`).hidden = view !== shown;
    if (view === shown) byId(`link-${view}`).setAttribute("aria-current", "page");
    else byId(`link-${view}`).removeAttribute("aria-current");
  }
  if (shown !== "try") closeCamera();
  const note = byId(`note-${shown}`);
  if (!note) return;
  const content = byId(`content-${shown}`);
  content.hidden = !key();
  note.replaceChildren(key() ? "" : "Enter your API key above to see this.");
  const asked = key();
  if (!asked) return;
  try {
    await DRAWN[shown]();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    content.hidden = true;
    note.replaceChildren(el("strong", {}, problem.title), el("br"), problem.detail);
  }
  if (asked === key()) return;
  emptyViews();
  void showView();
}

/** Empty the views: another key may not read what they show. */
function emptyViews() {
  for (const place of ["usage-charts", "keys-list", "owner-lists"]) byId(place).replaceChildren();
}

async function drawUsage() {
  const { answer } = await call("v2/limits");
  limits.show(limits.fromAnswer(answer));
  await usage.draw(byId("usage-charts"), "v2/usage", document.querySelector("[name=range]:checked").value);
}

function askForKey() {
  byId("key-note").textContent = "Enter your API key, and the picture is classified.";
  byId("key").focus();
}

async function enterKey(event) {
  event.preventDefault();
  const text = byId("key").value.trim();
  const note = byId("key-note");
  if (!/^[\x21-\x7e]+$/.test(text)) {
    note.textContent = "Enter your API key; it begins with imc_.";
    return;
  }
  let policies = null;
  try {
    const { answer } = await call("v2/limits", { as: text });
    policies = limits.fromAnswer(answer);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status !== SCOPE_MISSING) {
      note.textContent = problem.detail;
      byId("key").select();
      return;
    }
  }
  use(text, byId("remember").checked);
  if (policies) limits.show(policies);
}

function changeKey() {
  byId("key").value = "";
  byId("link-owner").hidden = true;
  attempt.clear();
  emptyViews();
  showKey();
  announce(key() ? "The key is in use." : "The key is forgotten.");
  void showView();
  if (!key()) return;
  void offerOwnersView();
  attempt.resume();
}

function showKey() {
  const isKnown = Boolean(key());
  byId("key-entry").hidden = isKnown;
  byId("key-known").hidden = !isKnown;
  byId("key-note").textContent = "";
  byId("key-id").textContent = idOf(key());
  byId("key-place").textContent = isRemembered() ? "remembered on this computer" : "in this tab only";
}

function showOrHideKey() {
  const isHidden = byId("key").type === "password";
  byId("key").type = isHidden ? "text" : "password";
  byId("show-key").textContent = isHidden ? "Hide" : "Show";
}

/** Show what is left of the limits of a key that was there before. */
async function showLimits() {
  const asked = key();
  try {
    const { answer } = await call("v2/limits");
    if (asked === key()) limits.show(limits.fromAnswer(answer));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
}

/** Show the link to the owner's view if the server lets the key see it. */
async function offerOwnersView() {
  const asked = key();
  const isOwner = await owner.isOwner();
  if (asked !== key()) return;
  byId("link-owner").hidden = !isOwner;
  if (isOwner && location.hash === "#owner") void showView();
}

begin();
