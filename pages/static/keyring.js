// Holds the API key: in this tab only, or on this computer if the user asks for that.

const NAME = "image-classifier-key";
const listeners = [];

/** Return the key; null without one. */
export const key = () => sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME);

/** Return whether the key stays on this computer when the tab is closed. */
export const isRemembered = () => localStorage.getItem(NAME) !== null;

/** Return the public id in a key: "imc_<id>_<secret>"; an empty text if there is none. */
export const idOf = (text) => (text ?? "").split("_")[1] ?? "";

/** Use a key from now on. */
export function use(text, remember) {
  forgetQuietly();
  (remember ? localStorage : sessionStorage).setItem(NAME, text);
  tell();
}

/** Forget the key, in this tab and on this computer. */
export function forget() {
  forgetQuietly();
  tell();
}

/** Call a function whenever another key is used, or none. */
export const onChange = (listener) => listeners.push(listener);

function forgetQuietly() {
  sessionStorage.removeItem(NAME);
  localStorage.removeItem(NAME);
}

function tell() {
  for (const listener of listeners) listener();
}
