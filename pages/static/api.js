// Calls the API that this page came from. No address of another server is ever used.

import { key } from "./keyring.js";

const NO_CONTENT = 204;

/** An error answer (RFC 9457); `detail` is the server's own sentence. */
export class Problem extends Error {
  constructor({ title, status, detail, request_id: requestId, retry_after: retryAfter }) {
    super(detail);
    Object.assign(this, { title, status, detail, requestId, retryAfterS: retryAfter ?? null });
  }
}

/** Return the absolute address of a path such as "v2/limits". */
export const address = (path) => new URL(path, document.baseURI).href;

/**
 * Send a request with the key, and return the answer with its JSON (null if it is empty).
 * Throws a Problem for every error, also if the server can't be reached, or a proxy answers in its place.
 */
export async function call(path, { method = "GET", body, json, as = key() } = {}) {
  const headers = { Accept: "application/json" };
  if (as) headers.Authorization = `Bearer ${as}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const sent = json === undefined ? body : JSON.stringify(json);
  let response;
  try {
    response = await fetch(address(path), { method, headers, body: sent, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Problem({
      title: "No answer",
      status: 0,
      detail: "The server can't be reached; check your connection and try again.",
    });
  }
  const answer = await readJson(response);
  if (!response.ok) throw asProblem(response, answer);
  if (answer === null && response.status !== NO_CONTENT) {
    throw new Problem({
      title: "No answer",
      status: response.status,
      detail: "What came back is not this service's answer; check your connection and try again.",
    });
  }
  return { response, answer };
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function asProblem(response, answer) {
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  const problem = new Problem({
    title: response.statusText || "Error",
    status: response.status,
    detail: `The server answered with status ${response.status}; try again.`,
    retry_after: retryAfter,
    ...answer,
  });
  problem.response = response;
  return problem;
}
