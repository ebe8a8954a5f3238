// Classifies with Hugging Face's own client. Writes one line of JSON: the answers without and with parameters, and errors.
import { InferenceClient } from "@huggingface/inference";

const [, , endpointUrl, key, base64] = process.argv;
const inputs = new Blob([Buffer.from(base64, "base64")]);

async function refused(promise) {
  const error = await promise.then(() => null, (reason) => reason);
  return { message: error?.message, status: error?.httpResponse?.status };
}

const client = new InferenceClient(key, { endpointUrl });
// `imageClassification` sends the file alone, and drops parameters. `request` sends both as JSON.
const plain = await client.imageClassification({ inputs });
const three = await client.request({ inputs: base64, parameters: { top_k: 3 } });
const wrongParameter = await refused(client.request({ inputs: base64, parameters: { function_to_apply: "none" } }));
const wrongKey = await refused(new InferenceClient("imc_wrong", { endpointUrl }).imageClassification({ inputs }));
console.log(JSON.stringify({ plain, three, wrongParameter, wrongKey }));
