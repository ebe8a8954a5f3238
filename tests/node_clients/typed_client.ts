// Classifies with the client that openapi-typescript and openapi-fetch make of /openapi.json. It must compile in strict
// mode. Writes one line of JSON: the answers to JSON, to a form and to the file itself, and the error of a wrong request.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , url, key, base64] = process.argv as [string, string, string, string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const photo = new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))]);

const json = await client.POST("/v2/classify", { body: { image: base64, top_k: 1 } });

const form = await client.POST("/v2/classify", {
  params: { query: { top_k: 2 } },
  body: { image: "" },
  bodySerializer: () => {
    const fields = new FormData();
    fields.append("image", photo, "photo.png");
    return fields;
  },
});

const file = await client.POST("/v2/classify", {
  params: { query: { top_k: 3 } },
  headers: { "Content-Type": "application/octet-stream" },
  body: "",
  bodySerializer: () => photo,
});

const wrong = await client.POST("/v2/classify", { body: { image: "no base64!" } });
const limits = await client.GET("/v2/limits");

const labels = [json, form, file].map((answer) => answer.data?.predictions.map((prediction) => prediction.label));
const remaining = limits.data?.policies[0]?.remaining;
console.log(JSON.stringify({ labels, detail: wrong.error?.detail, status: wrong.error?.status, remaining }));
