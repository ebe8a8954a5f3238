// The lines that do what the page just did, in curl, Python and JavaScript. The key is $KEY in them, never the real one.

import { address } from "./api.js";
import { query } from "./classify.js";
import { byId, copyWith } from "./dom.js";

const LANGUAGES = ["curl", "python", "javascript"];
let shown = "curl";
let texts = {};

/** Add the listeners of the tabs and the copy button. */
export function begin() {
  for (const language of LANGUAGES) {
    const tab = byId(`tab-${language}`);
    tab.addEventListener("click", () => choose(language));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = LANGUAGES[(LANGUAGES.indexOf(language) + step + LANGUAGES.length) % LANGUAGES.length];
      choose(next);
      byId(`tab-${next}`).focus();
    });
  }
  byId("copy-code").addEventListener("click", ({ target }) => copyWith(target, texts[shown]));
}

/** Show the lines for a file and its options: `{top_k: 5}`. */
export function show(fileName, options) {
  const url = address(`v2/classify${query(options)}`);
  texts = { curl: curl(url, fileName), python: python(options, fileName), javascript: javascript(url, fileName) };
  byId("code").textContent = texts[shown];
}

function choose(language) {
  shown = language;
  for (const one of LANGUAGES) {
    const isShown = one === language;
    byId(`tab-${one}`).setAttribute("aria-selected", String(isShown));
    byId(`tab-${one}`).tabIndex = isShown ? 0 : -1;
  }
  byId("code-panel").setAttribute("aria-labelledby", `tab-${language}`);
  byId("code").textContent = texts[language] ?? "";
}

// Inside single quotes a shell takes everything as it is; curl reads ; and , in a file's name unless it is quoted again.
const forShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const quoted = (text) => JSON.stringify(text);

function curl(url, fileName) {
  const isPlain = /^[\w./-]+$/.test(fileName);
  const part = isPlain ? `image=@${fileName}` : forShell(`image=@${quoted(fileName)}`);
  return `curl -s "${url}" \\
  -H "Authorization: Bearer $KEY" \\
  -F ${part}`;
}

function python(options, fileName) {
  const parameters = Object.entries(options).map(([name, value]) => `"${name}": ${value}`).join(", ");
  const line = parameters && `\n        params={${parameters}},`;
  return `import os
import httpx  # pip install httpx

with open(${quoted(fileName)}, "rb") as picture:
    answer = httpx.post(
        "${address("v2/classify")}",${line}
        headers={"Authorization": f"Bearer {os.environ['KEY']}"},
        files={"image": picture},
    )
answer.raise_for_status()
for found in answer.json()["predictions"]:
    print(f"{found['confidence']:.1%}  {found['label']}")`;
}

function javascript(url, fileName) {
  return `import { readFile } from "node:fs/promises";

const form = new FormData();
form.append("image", new Blob([await readFile(${quoted(fileName)})]), "picture");
const answer = await fetch("${url}", {
  method: "POST",
  headers: { Authorization: \`Bearer \${process.env.KEY}\` },
  body: form,
});
const { predictions, detail } = await answer.json();
if (!answer.ok) throw new Error(detail);
for (const { label, confidence } of predictions) console.log(confidence, label);`;
}
