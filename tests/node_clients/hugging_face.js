// Classifies with Hugging Face's own client. Writes one line of JSON: the answers without and with parameters, and errors.
import { InferenceClient } from "@huggingface/inference";

const [, , endpointUrl, key, base64] = process.argv;
const data = new Blob([Buffer.from(base64, "base64")]);

async function refused(promise) {
  const error = await promise.then(() => null, (reason) => reason);
  return { message: error?.message, status: error?.httpResponse?.status, body: error?.httpResponse?.body };
}

const client = new InferenceClient(key, { endpointUrl });
const plain = await client.imageClassification({ data });
const three = await client.imageClassification({ data, parameters: { top_k: 3 } });
const wrongParameter = await refused(client.imageClassification({ data, parameters: { function_to_apply: "none" } }));
const wrongKey = await refused(new InferenceClient("imc_wrong", { endpointUrl }).imageClassification({ data }));
console.log(JSON.stringify({ plain, three, wrongParameter, wrongKey }));
