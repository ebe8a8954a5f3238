// Holds the API key: in this tab only, or on this computer if the user asks for that.

const NAME = "image-classifier-key";
/** Storage that lasts until the tab is closed. */
export const inTab = storage("sessionStorage");
const onComputer = storage("localStorage");
const listeners = [];

/** Return the key; null without one. */
export const key = () => inTab.getItem(NAME) ?? onComputer.getItem(NAME);

/** Return whether the key stays on this computer when the tab is closed. */
export const isRemembered = () => onComputer.getItem(NAME) !== null;

/** Return the public id in a key: "imc_<id>_<secret>"; an empty text if there is none. */
export const idOf = (text) => (text ?? "").split("_")[1] ?? "";

/** Use a key from now on. */
export function use(text, remember) {
  forgetQuietly();
  (remember ? onComputer : inTab).setItem(NAME, text);
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
  inTab.removeItem(NAME);
  onComputer.removeItem(NAME);
}

function tell() {
  for (const listener of listeners) listener();
}

/** Return a storage of the browser; if the browser blocks it, one in memory that lasts as long as the page. */
function storage(name) {
  try {
    return window[name];
  } catch {
    const kept = new Map();
    return {
      getItem: (one) => kept.get(one) ?? null,
      setItem: (one, value) => kept.set(one, value),
      removeItem: (one) => kept.delete(one),
    };
  }
}
