// Sends a photograph in each way of Node's fetch and of its http module; prints a line for each: its name and the status.
import { readFileSync } from "node:fs";
import http from "node:http";

const [url, key, file] = process.argv.slice(2);
const photo = readFileSync(file);
const json = JSON.stringify({ image: photo.toString("base64") });
const authorization = { Authorization: `Bearer ${key}` };
const asJson = { ...authorization, "Content-Type": "application/json" };

function form(fields = {}) {
  const made = new FormData();
  made.append("image", new Blob([photo], { type: "image/png" }), "photo.png");
  for (const [name, value] of Object.entries(fields)) made.append(name, value);
  return made;
}

function stream(text) {
  return new Blob([text]).stream();
}

const ways = {
  json: ["/v1/classify", { method: "POST", headers: asJson, body: json }],
  "url-safe": [
    "/v1/classify",
    { method: "POST", headers: asJson, body: JSON.stringify({ image: photo.toString("base64url") }) },
  ],
  chunked: ["/v1/classify", { method: "POST", headers: asJson, body: stream(json), duplex: "half" }],
  file: ["/v2/classify", { method: "POST", headers: { ...authorization, "Content-Type": "image/png" }, body: photo }],
  blob: ["/v2/classify", { method: "POST", headers: authorization, body: new Blob([photo], { type: "image/png" }) }],
  form: ["/v2/classify", { method: "POST", headers: authorization, body: form({ top_k: "2" }) }],
  read: ["/v1/usage", { headers: authorization }],
  nothing: ["/nothing", { method: "DELETE", headers: authorization }],
  stranger: ["/v1/classify", { method: "POST", headers: { "Content-Type": "application/json" }, body: json }],
};
for (const [way, [path, options]] of Object.entries(ways)) {
  const answer = await fetch(url + path, options);
  await answer.text();
  console.log(way, answer.status);
}

function ask(path, headers, pieces) {
  return new Promise((resolve, reject) => {
    const request = http.request(url + path, { method: "POST", headers: { ...asJson, ...headers } }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    request.on("error", reject);
    for (const piece of pieces) request.write(piece);
    request.end();
  });
}

const halves = [json.slice(0, 1000), json.slice(1000)];
console.log("http", await ask("/v1/classify", { "Content-Length": Buffer.byteLength(json) }, halves));
console.log("http-chunked", await ask("/v1/classify", {}, halves));
console.log("http-upgrade", await ask("/v1/classify", { Connection: "Upgrade", Upgrade: "h2c" }, halves));
console.log("http-leave", await ask("/v1/classify", { Expect: "100-continue" }, halves));
