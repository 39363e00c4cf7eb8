// CLIP's tokenizer, as tokenizer.json describes it: replacements, words, byte pairs.

// What a regular expression calls white space in tokenizer.json; JavaScript's \s is another set.
const WHITE = "\\t-\\r \\u{85}\\u{a0}\\u{1680}\\u{2000}-\\u{200a}\\u{2028}\\u{2029}\\u{202f}\\u{205f}\\u{3000}";

export class Tokenizer {
  /** `file` is tokenizer.json, parsed. */
  constructor(file) {
    const { vocab, merges, end_of_word_suffix: suffix } = file.model;
    this.vocab = new Map(Object.entries(vocab));
    this.ranks = new Map(merges.map((pair, rank) => [Array.isArray(pair) ? pair.join(" ") : pair, rank]));
    this.suffix = suffix ?? "";
    this.normalize = normalizer(file.normalizer);
    this.words = expression(wordPattern(file.pre_tokenizer));
    this.special = new Map(file.added_tokens.map(({ content, id }) => [content, id]));
    this.length = file.padding.strategy.Fixed;
    this.padding = file.padding.pad_id;
    this.frame = template(file.post_processor);
    this.bytes = byteSigns();
    this.known = new Map();
  }

  /** `length` token ids: start, words, end, padding. What is too long is cut, the end token stays. */
  encode(text) {
    const { start, end } = this.frame, ids = this.pieces(this.normalize(text));
    const row = [start, ...ids.slice(0, this.length - 2), end];
    return [...row, ...Array(this.length - row.length).fill(this.padding)];
  }

  pieces(text) {
    const parts = text.split(new RegExp(`(${[...this.special.keys()].map(escape).join("|")})`, "u"));
    return parts.flatMap((part) => (this.special.has(part) ? [this.special.get(part)] : this.wordIds(part)));
  }

  wordIds(text) {
    return [...text.matchAll(this.words)].flatMap(([word]) => {
      if (!this.known.has(word)) this.known.set(word, this.merged(word));
      return this.known.get(word);
    });
  }

  merged(word) {
    const symbols = [...new TextEncoder().encode(word)].map((byte) => this.bytes[byte]);
    symbols[symbols.length - 1] += this.suffix;
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < symbols.length; i++) {
        const rank = this.ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return symbols.map((symbol) => this.vocab.get(symbol));
      symbols.splice(at, 2, symbols[at] + symbols[at + 1]);
    }
  }
}

function normalizer(step) {
  switch (step.type) {
    case "Sequence": {
      const steps = step.normalizers.map(normalizer);
      return (text) => steps.reduce((before, one) => one(before), text);
    }
    case "Replace": {
      const pattern = expression(step.pattern.Regex ?? escape(step.pattern.String));
      return (text) => text.replace(pattern, () => step.content);
    }
    case "NFC":
      return (text) => text.normalize("NFC");
    case "Lowercase": // sign by sign: what stands around a sign does not matter
      return (text) => Array.from(text, (sign) => sign.toLowerCase()).join("");
    default:
      throw new Error(`tokenizer.json normalises by ${step.type}, which this reader does not know`);
  }
}

function wordPattern(step) {
  const split = step.pretokenizers.find(({ type }) => type === "Split");
  return split.pattern.Regex;
}

function template({ single, special_tokens: known }) {
  const [start, end] = single.filter((one) => one.SpecialToken).map((one) => known[one.SpecialToken.id].ids[0]);
  return { start, end };
}

/** A regular expression of tokenizer.json in JavaScript's words. */
function expression(pattern) {
  const words = pattern
    .replaceAll("\\s", WHITE) // only ever inside of [...]
    .replace(/\\x\{([0-9a-fA-F]+)\}/g, "\\u{$1}")
    .replace(/\(\?i:([^)]*)\)/g, (_, inner) => `(?:${inner.replace(/[a-z]/gi, (l) => `[${l.toLowerCase()}${l.toUpperCase()}]`)})`);
  return new RegExp(words, "gu");
}

function escape(text) {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/** The printable sign that stands for each byte. */
function byteSigns() {
  const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}
