// From a picture to the input of the image file, as preprocessing.json says.

import { resize } from "./resample.js";

/** RGB pixels of a File, Blob or Response body: upright, on white where it is transparent. */
export async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const { width, height, data: rgba } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const data = new Uint8ClampedArray(width * height * 3);
  for (let i = 0, o = 0; i < rgba.length; i += 4) {
    data[o++] = rgba[i];
    data[o++] = rgba[i + 1];
    data[o++] = rgba[i + 2];
  }
  return { width, height, data };
}

/** The square that the model looks at: `size` x `size` RGB bytes. */
export function prepare(picture, facts) {
  const [width, height] = shape(picture, facts);
  return crop(resize(picture, width, height, facts.interpolation), facts.size);
}

/** Bytes or floats, laid out as the file takes them. */
export function toInput({ data }, facts) {
  const count = facts.size * facts.size, bytes = facts.dtype === "uint8";
  const made = bytes ? new Uint8Array(count * 3) : new Float32Array(count * 3);
  const table = facts.mean.map((mean, channel) => levels(mean, facts.std[channel], bytes));
  for (let pixel = 0; pixel < count; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const at = facts.layout === "NHWC" ? pixel * 3 + channel : channel * count + pixel;
      made[at] = table[channel][data[pixel * 3 + channel]];
    }
  }
  return made;
}

function levels(mean, std, bytes) {
  const round = Math.fround;
  const scaled = (level) => round(round(round(level / 255) - round(mean)) / round(std));
  return Array.from({ length: 256 }, (_, level) => (bytes ? level : scaled(level)));
}

function shape({ width, height }, { resize: way, resize_to: side }) {
  if (way === "squash") return [side, side];
  if (way === "longest") {
    const ratio = Math.max(width, height) / side;
    return [width, height].map((length) => Math.max(1, roundHalfEven(length / ratio)));
  }
  const short = Math.min(width, height);
  return [width, height].map((length) => Math.floor((side * length) / short));
}

function crop({ width, height, data }, size) {
  const made = new Uint8ClampedArray(size * size * 3), left = margin(width, size), top = margin(height, size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const fromX = x + left, fromY = y + top;
      if (fromX < 0 || fromY < 0 || fromX >= width || fromY >= height) continue; // beyond the picture it is black
      const from = (fromY * width + fromX) * 3;
      made.set(data.subarray(from, from + 3), (y * size + x) * 3);
    }
  }
  return { width: size, height: size, data: made };
}

function margin(length, size) {
  return length >= size ? roundHalfEven((length - size) / 2) : -Math.floor((size - length) / 2);
}

function roundHalfEven(value) {
  const low = Math.floor(value), rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
