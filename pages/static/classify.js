// Sends pictures to be classified: one by a request, or many through one WebSocket.

import { Problem, address, call } from "./api.js";
import { key } from "./keyring.js";

/** Return "?top_k=3" for options, and an empty text without any. */
export function query(options) {
  const text = String(new URLSearchParams(options));
  return text ? `?${text}` : "";
}

/** Classify one picture; return the answer, its headers and the time it took. Throws a Problem. */
export async function classify(picture, fileName, options) {
  const form = new FormData();
  form.append("image", picture, fileName);
  const began = performance.now();
  const { response, answer } = await call(`v2/classify${query(options)}`, { method: "POST", body: form });
  return { answer, headers: response.headers, totalMs: performance.now() - began };
}

/**
 * Return a function that classifies one picture after the other, and its `close`.
 *
 * It uses the WebSocket /v2/stream, and a request for each picture where a socket is refused or lost.
 */
export async function openStream(options) {
  let socket = await openSocket(options).catch(() => null);
  return {
    async classify(picture) {
      if (socket) {
        try {
          return await throughSocket(socket, picture);
        } catch (error) {
          if (error instanceof Problem) throw error;
          socket = null;
        }
      }
      return classify(picture, "camera.jpg", options);
    },
    close() {
      socket?.close();
    },
  };
}

function openSocket(options) {
  const url = new URL(address(`v2/stream${query(options)}`));
  url.protocol = url.protocol.replace("http", "ws");
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, [`bearer.${key()}`]);
    socket.addEventListener("open", () => resolve(socket), { once: true });
    socket.addEventListener("error", reject, { once: true });
  });
}

async function throughSocket(socket, picture) {
  const began = performance.now();
  const answer = JSON.parse(await reply(socket, picture));
  if (!answer.predictions) throw new Problem(answer);
  return { answer, headers: null, totalMs: performance.now() - began };
}

function reply(socket, picture) {
  return new Promise((resolve, reject) => {
    const listening = new AbortController();
    const end = (settle) => (event) => { listening.abort(); settle(event); };
    const { signal } = listening;
    socket.addEventListener("message", end(({ data }) => resolve(data)), { signal });
    socket.addEventListener("close", end(() => reject(new Error("the socket was closed"))), { signal });
    if (socket.readyState === WebSocket.OPEN) socket.send(picture);
    else end(reject)(new Error("the socket is closed"));
  });
}
