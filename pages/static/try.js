// The view in which a picture is chosen, dropped, pasted or photographed, and classified.

import { Problem } from "./api.js";
import { classify } from "./classify.js";
import { byId } from "./dom.js";
import { key } from "./keyring.js";
import * as limits from "./limits.js";
import * as live from "./live.js";
import * as result from "./result.js";
import * as snippets from "./snippets.js";

// How many labels the server answers with if it is not told.
const DEFAULT_LABELS = "5";
let picture = null;
let turn = 0;
let askForKey;

/** Add the listeners of this view. `ask` shows where a key is entered. */
export function begin(ask) {
  askForKey = ask;
  for (const input of [byId("file"), byId("capture")]) {
    input.addEventListener("change", () => {
      if (input.files.length) take(input.files[0], input.files[0].name);
      // So that the same file can be chosen again.
      input.value = "";
    });
  }
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("preview").addEventListener("error", () => { byId("drop-note").textContent = "This browser can't show it."; });
  for (const option of [byId("top-k"), byId("least")]) option.addEventListener("change", changeOptions);
  takeDrops();
  document.addEventListener("paste", ({ clipboardData }) => takeFirst(clipboardData.files, "pasted.png"));
  live.begin({
    onPhoto: (photo) => { live.closeCamera(); take(photo, "photo.jpg"); },
    onAnswer: ({ answer, headers, totalMs }) => {
      result.showAnswer(answer, totalMs, headers, headers ? "" : "by WebSocket");
      showLimits(headers);
    },
    onProblem: (problem) => {
      result.showProblem(problem);
      showLimits(problem.response?.headers);
    },
    options,
    mayStart,
  });
  result.showNothing();
  snippets.begin();
  snippets.show("photo.jpg", options());
}

/** Classify the picture that waits for a key. */
export function resume() {
  if (picture) void send();
}

/** Forget the answer, and stop what is under way: both belong to another key. */
export function clear() {
  turn += 1;
  live.closeCamera();
  result.showNothing();
  limits.clear();
}

function options() {
  const chosen = {};
  if (byId("top-k").value !== DEFAULT_LABELS) chosen.top_k = byId("top-k").value;
  if (byId("least").value !== "0") chosen.min_confidence = byId("least").value;
  return chosen;
}

function changeOptions() {
  snippets.show(picture?.name ?? "photo.jpg", options());
  if (picture && key()) void send();
}

function takeDrops() {
  const zone = byId("drop");
  // Without this a browser leaves the page to show the file.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    takeFirst(event.dataTransfer.files, "dropped.png");
  });
  zone.addEventListener("dragenter", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget)) zone.classList.remove("over");
  });
}

function takeFirst(files, name) {
  const [file] = files ?? [];
  if (file) take(file, file.name || name);
}

function take(file, name) {
  location.hash = "#try";
  live.closeCamera();
  picture = { file, name };
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = `Your picture: ${name}`;
  preview.hidden = false;
  byId("drop").classList.add("filled");
  byId("drop-note").textContent = name;
  snippets.show(name, options());
  void send();
}

function mayStart() {
  if (!key()) askForKey();
  return Boolean(key());
}

async function send() {
  if (!mayStart()) return;
  const own = ++turn;
  result.showBusy();
  try {
    const { answer, headers, totalMs } = await classify(picture.file, picture.name, options());
    if (own !== turn) return;
    result.showAnswer(answer, totalMs, headers);
    showLimits(headers);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (own !== turn) return;
    result.showProblem(problem, send);
    showLimits(problem.response?.headers);
  }
}

function showLimits(headers) {
  const policies = headers ? limits.fromHeaders(headers) : null;
  if (policies) limits.show(policies);
}
