// Opens the camera, and takes pictures of what it shows.

/** The camera can't be used; the message says what to do. */
export class NoCamera extends Error {}

const REASONS = {
  NotAllowedError: "The browser does not let this page use the camera; allow it beside the address, and try again.",
  NotFoundError: "No camera was found; connect one, or choose a file.",
  NotReadableError: "Another program uses the camera; close it, and try again.",
};

/** Return whether the browser gives this page a camera: only on HTTPS or localhost. */
export const isSupported = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Show the camera in a <video>. Throws NoCamera. */
export async function open(video) {
  const wanted = { video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false };
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    throw new NoCamera(REASONS[error.name] ?? "The camera could not be started; choose a file instead.");
  }
  await video.play();
}

/** Turn the camera off. */
export function close(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** Return what the camera shows now as a JPEG whose longer side has at most so many pixels. */
export function photograph(video, longestSide) {
  const scale = Math.min(1, longestSide / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}
