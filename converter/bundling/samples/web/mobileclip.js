// The model of this bundle behind two functions; all that it needs to know is in preprocessing.json.

import * as ort from "onnxruntime-web";
import { decode, prepare, toInput } from "./picture.js";
import { Tokenizer } from "./tokenizer.js";

ort.env.wasm.numThreads = 1; // more threads need the headers COOP and COEP

export class MobileCLIP {
  /** Fetch and open what the bundle at `base` has: both towers, or one. */
  static async load(base = new URL("../", import.meta.url)) {
    const model = new MobileCLIP();
    model.facts = await json(new URL("preprocessing.json", base));
    const { image, text } = model.facts;
    if (image) model.imageSession = await open(new URL(image.file, base));
    if (text) {
      model.textSession = await open(new URL(text.file, base));
      model.tokenizer = new Tokenizer(await json(new URL(text.tokenizer, base)));
    }
    return model;
  }

  /** The square that the model looks at, for a File or Blob of any size. */
  async pixels(blob) {
    return prepare(await decode(blob), this.facts.image);
  }

  /** Float32Array of length 1 (its norm) for what `pixels` gave. */
  async embedPixels(pixels) {
    const { image } = this.facts, { size } = image;
    const shape = image.layout === "NHWC" ? [1, size, size, 3] : [1, 3, size, size];
    return run(this.imageSession, image, new ort.Tensor(image.dtype, toInput(pixels, image), shape));
  }

  /** Float32Array of length 1 (its norm). */
  async embedText(words) {
    const { text } = this.facts, ids = Int32Array.from(this.tokenizer.encode(words));
    return run(this.textSession, text, new ort.Tensor("int32", ids, [1, text.context_length]));
  }
}

/** The cosine of two vectors of length 1. */
export function dot(one, other) {
  return one.reduce((sum, value, index) => sum + value * other[index], 0);
}

async function open(url) {
  return ort.InferenceSession.create(url.href, { executionProviders: ["wasm"] });
}

async function run(session, facts, tensor) {
  const { [facts.output]: made } = await session.run({ [facts.input]: tensor });
  const norm = Math.sqrt(dot(made.data, made.data));
  return made.data.map((value) => value / norm);
}

export async function json(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}
