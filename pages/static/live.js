// The camera on the page: one picture at a press, or one after the other until it is stopped.

import { Problem } from "./api.js";
import { NoCamera, close, isSupported, open, photograph } from "./camera.js";
import { openStream } from "./classify.js";
import { announce, byId } from "./dom.js";

// A longer side of a stream's pictures: models take 224 pixels or little more, and each picture crosses the network.
const STREAM_SIDE = 640;
const PHOTO_SIDE = 2048;
let streaming = null;

/**
 * Make the buttons of the camera work.
 *
 * @param onPhoto called with a picture
 * @param onAnswer called with each answer of a stream
 * @param onProblem called with each problem of a stream; the stream waits as long as it says, and goes on
 * @param options returns the options that the user chose
 * @param mayStart returns whether there is a key, and asks for one if not
 */
export function begin({ onPhoto, onAnswer, onProblem, options, mayStart }) {
  const video = byId("video");
  byId("open-camera").addEventListener("click", () => openCamera(video));
  byId("close-camera").addEventListener("click", () => closeCamera(video));
  byId("shoot").addEventListener("click", async () => onPhoto(await photograph(video, PHOTO_SIDE)));
  byId("stream").addEventListener("click", () => {
    if (streaming) stopStream();
    else if (mayStart()) void runStream(video, { onAnswer, onProblem, options });
  });
  // Nobody sees the answers, and each costs a hit.
  document.addEventListener("visibilitychange", () => { if (document.hidden) stopStream(); });
}

/** Turn the camera off, and end the stream. */
export function closeCamera(video = byId("video")) {
  stopStream();
  close(video);
  byId("camera").hidden = true;
  byId("drop").hidden = false;
}

async function openCamera(video) {
  if (!isSupported()) {
    // The file chooser of a phone offers its camera, also where a page may not use it.
    byId("capture").click();
    return;
  }
  byId("camera-note").textContent = "";
  try {
    await open(video);
  } catch (error) {
    if (!(error instanceof NoCamera)) throw error;
    byId("drop-note").textContent = error.message;
    announce(error.message);
    return;
  }
  byId("drop-note").textContent = "";
  byId("drop").hidden = true;
  byId("camera").hidden = false;
  byId("shoot").focus();
}

function stopStream() {
  streaming?.abort();
  streaming = null;
  byId("stream").textContent = "Classify continuously";
  byId("camera-note").textContent = "";
}

async function runStream(video, { onAnswer, onProblem, options }) {
  const run = new AbortController();
  streaming = run;
  byId("stream").textContent = "Stop";
  byId("camera-note").textContent = "Each picture counts against your limit.";
  const stream = await openStream(options());
  run.signal.addEventListener("abort", stream.close);
  while (!run.signal.aborted) {
    const began = performance.now();
    let waitMs = 1000 / Number(byId("rate").value);
    try {
      const picture = await photograph(video, STREAM_SIDE);
      const result = await stream.classify(picture);
      if (!run.signal.aborted) onAnswer(result);
    } catch (error) {
      if (run.signal.aborted) break;
      if (!(error instanceof Problem)) throw error;
      onProblem(error);
      if (error.retryAfterS === null) break;
      waitMs = 1000 * error.retryAfterS;
    }
    await sleep(began + waitMs - performance.now(), run.signal);
  }
  stream.close();
  if (streaming === run) stopStream();
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, ms));
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
