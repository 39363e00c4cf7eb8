// Pillow's resizing, to the very pixel: canvas smooths differently in every browser, and a model notices.
//
// Each output pixel is a weighted sum of the input pixels under its filter, which is widened by the scale when a picture
// shrinks. First rows, then columns; weights have 22 bits, and every pass rounds to 8 bits.

const BITS = 22;
const HALF = 2 ** (BITS - 1);

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5, d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** {width, height, data: RGB bytes} resized to `width` x `height`; `interpolation` is one that preprocessing.json names. */
export function resize(picture, width, height, interpolation) {
  if (interpolation === "nearest") return nearest(picture, width, height);
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`interpolation "${interpolation}" is not one of nearest, ${Object.keys(FILTERS).join(", ")}`);
  const wide = picture.width === width ? picture : across(picture, width, filter);
  return wide.height === height ? wide : down(wide, height, filter);
}

/** For each output pixel the first input pixel that it sees, and integer weights. */
export function taps(before, after, { support, weight }) {
  const scale = before / after, stretch = Math.max(scale, 1), reach = support * stretch;
  return Array.from({ length: after }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(before, Math.trunc(centre + reach + 0.5));
    const weights = [];
    let sum = 0;
    for (let x = first; x < end; x++) {
      const w = weight((x - centre + 0.5) * (1 / stretch));
      weights.push(w);
      sum += w;
    }
    return { first, weights: weights.map((w) => toInteger(sum === 0 ? w : w / sum)) };
  });
}

function toInteger(weight) {
  return Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));
}

function toByte(sum) {
  return Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
}

function across({ width: before, height, data }, width, filter) {
  const made = new Uint8ClampedArray(width * height * 3), seen = taps(before, width, filter);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = seen[x];
      for (let channel = 0; channel < 3; channel++) {
        let sum = HALF;
        for (let i = 0; i < weights.length; i++) sum += data[(y * before + first + i) * 3 + channel] * weights[i];
        made[(y * width + x) * 3 + channel] = toByte(sum);
      }
    }
  }
  return { width, height, data: made };
}

function down({ width, data, height: before }, height, filter) {
  const made = new Uint8ClampedArray(width * height * 3), seen = taps(before, height, filter), row = width * 3;
  for (let y = 0; y < height; y++) {
    const { first, weights } = seen[y];
    for (let x = 0; x < row; x++) {
      let sum = HALF;
      for (let i = 0; i < weights.length; i++) sum += data[(first + i) * row + x] * weights[i];
      made[y * row + x] = toByte(sum);
    }
  }
  return { width, height, data: made };
}

function nearest({ width: before, height: rows, data }, width, height) {
  const made = new Uint8ClampedArray(width * height * 3), across = places(before, width), down = places(rows, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (down[y] * before + across[x]) * 3;
      made.set(data.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return { width, height, data: made };
}

/** Step by step, as Pillow walks: a multiplication would round otherwise. */
function places(before, after) {
  const step = before / after;
  let at = step * 0.5;
  return Array.from({ length: after }, () => {
    const place = Math.trunc(at);
    at += step;
    return place;
  });
}
