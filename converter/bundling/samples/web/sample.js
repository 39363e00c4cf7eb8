// The page: the bundle's own test, then pictures and texts of the visitor.

import { MobileCLIP, dot, json } from "./mobileclip.js";

const base = new URL("../", import.meta.url);

/** What each tower gives beside what PyTorch gave; `passed` says whether all is as it was when the bundle was made. */
export async function selfTest(model) {
  const expected = await json(new URL("expected.json", base)), found = { passed: true };
  if (expected.image) {
    const picture = await fetch(new URL(expected.image.picture, base));
    const pixels = await model.pixels(await picture.blob());
    found.pixelSum = pixels.data.reduce((sum, value) => sum + value, 0);
    found.image = compared(await model.embedPixels(pixels), expected.image, expected.tolerance);
    found.passed &&= found.image.good && found.pixelSum === expected.image.pixel_sum;
  }
  if (expected.text) {
    const { text, tokens } = expected.text;
    found.tokens = model.tokenizer.encode(text).slice(0, tokens.length);
    found.text = compared(await model.embedText(text), expected.text, expected.tolerance);
    found.passed &&= found.text.good && found.tokens.join() === tokens.join();
  }
  return found;
}

function compared(embedding, { embedding: reference, cosine: bundled }, tolerance) {
  const cosine = dot(embedding, reference);
  const apart = Math.max(...embedding.map((value, index) => Math.abs(value - reference[index])));
  return { cosine, bundled, apart, embedding: [...embedding], good: cosine >= bundled - tolerance };
}

const show = (id, text) => (document.getElementById(id).textContent = text);

function describe(found) {
  const lines = ["image", "text"].filter((tower) => found[tower]).map((tower) => {
    const { cosine, bundled, apart } = found[tower];
    return `${tower}: cosine ${cosine.toFixed(6)}, when it was bundled ${bundled.toFixed(6)}; largest difference ${apart.toExponential(2)}`;
  });
  return [...lines, found.passed ? "PASSED" : `FAILED (pixel sum ${found.pixelSum}, tokens ${found.tokens})`].join("\n");
}

async function classify(model, file, texts) {
  const picture = await model.embedPixels(await model.pixels(file));
  const logits = [];
  for (const text of texts) logits.push((model.facts.logit_scale ?? 100) * dot(picture, await model.embedText(text)));
  const most = Math.max(...logits), powers = logits.map((value) => Math.exp(value - most));
  const sum = powers.reduce((one, other) => one + other, 0);
  return texts
    .map((text, index) => ({ text, share: powers[index] / sum }))
    .sort((one, other) => other.share - one.share);
}

async function start() {
  const model = await MobileCLIP.load(base);
  const found = await selfTest(model);
  window.found = found; // for tests
  window.model = model;
  show("test", describe(found));
  const form = document.getElementById("own");
  form.hidden = !(model.facts.image && model.facts.text);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const texts = form.elements.texts.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const ranked = await classify(model, form.elements.picture.files[0], texts);
    show("ranked", ranked.map(({ text, share }) => `${(100 * share).toFixed(2).padStart(6)} %  ${text}`).join("\n"));
  });
}

start().catch((error) => {
  window.found = { passed: false, error: String(error) };
  show("test", `FAILED: ${error}`);
});
