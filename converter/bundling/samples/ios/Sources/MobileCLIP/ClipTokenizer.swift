import Foundation

/// CLIP's tokenizer, as `tokenizer.json` describes it: replacements, words, byte pairs.
public final class ClipTokenizer {
    private let vocabulary: [String: Int]
    private let ranks: [String: Int]
    private let special: [String: Int]
    private let suffix: String
    private let normalize: (String) -> String
    private let words: NSRegularExpression
    private let names: NSRegularExpression
    private let length: Int
    private let padding: Int
    private let start: Int
    private let end: Int
    private let signs = byteSigns()
    private var known: [String: [Int]] = [:]

    public init(contentsOf url: URL) throws {
        let file = try object(JSONSerialization.jsonObject(with: Data(contentsOf: url)), "tokenizer.json")
        let model = try object(file["model"], "model")
        guard let vocabulary = model["vocab"] as? [String: Int], let merges = model["merges"] as? [Any],
            let added = file["added_tokens"] as? [[String: Any]]
        else { throw BundleError.missing("vocab, merges or added_tokens of tokenizer.json") }
        self.vocabulary = vocabulary
        ranks = Dictionary(
            merges.enumerated().map { rank, merge in
                ((merge as? [String])?.joined(separator: " ") ?? merge as? String ?? "", rank)
            }, uniquingKeysWith: { first, _ in first })
        suffix = model["end_of_word_suffix"] as? String ?? ""
        special = Dictionary(
            added.compactMap { token in
                guard let name = token["content"] as? String, let id = token["id"] as? Int else { return nil }
                return (name, id)
            }, uniquingKeysWith: { first, _ in first })
        let escaped = special.keys.map { NSRegularExpression.escapedPattern(for: $0) }
        names = try NSRegularExpression(pattern: escaped.joined(separator: "|"))
        normalize = try normalizer(object(file["normalizer"], "normalizer"))
        words = try expression(wordPattern(object(file["pre_tokenizer"], "pre_tokenizer")))
        let pad = try object(file["padding"], "padding")
        guard let length = try object(pad["strategy"], "strategy")["Fixed"] as? Int, let padding = pad["pad_id"] as? Int
        else { throw BundleError.missing("a fixed padding in tokenizer.json") }
        self.length = length
        self.padding = padding
        (start, end) = try frame(object(file["post_processor"], "post_processor"))
    }

    /// Token ids of the model's context length: start, words, end, padding. What is too long is cut, the end token stays.
    public func encode(_ text: String) -> [Int32] {
        let ids = [start] + pieces(normalize(text)).prefix(length - 2) + [end]
        return (ids + Array(repeating: padding, count: length - ids.count)).map { Int32($0) }
    }

    /// Special tokens in the text count as such; what is between them is cut into words.
    private func pieces(_ text: String) -> [Int] {
        let whole = text as NSString
        var found: [Int] = []
        var at = 0
        for match in names.matches(in: text, range: NSRange(location: 0, length: whole.length)) {
            found += wordIds(whole.substring(with: NSRange(location: at, length: match.range.location - at)))
            found.append(special[whole.substring(with: match.range)] ?? padding)
            at = match.range.location + match.range.length
        }
        return found + wordIds(whole.substring(from: at))
    }

    private func wordIds(_ text: String) -> [Int] {
        let whole = text as NSString
        let matches = words.matches(in: text, range: NSRange(location: 0, length: whole.length))
        return matches.flatMap { match -> [Int] in
            let word = whole.substring(with: match.range)
            if let ids = known[word] {
                return ids
            }
            let ids = merged(word)
            known[word] = ids
            return ids
        }
    }

    private func merged(_ word: String) -> [Int] {
        var symbols = word.utf8.map { signs[Int($0)] }
        symbols[symbols.count - 1] += suffix
        while symbols.count > 1 {
            let pairs = (0..<symbols.count - 1).map { ranks[symbols[$0] + " " + symbols[$0 + 1]] ?? Int.max }
            guard let best = pairs.min(), best < Int.max, let at = pairs.firstIndex(of: best) else { break }
            let next = symbols.remove(at: at + 1)
            symbols[at] += next
        }
        return symbols.map { vocabulary[$0] ?? padding }
    }
}

private func normalizer(_ step: [String: Any]) throws -> (String) -> String {
    switch step["type"] as? String {
    case "Sequence":
        let steps = try (step["normalizers"] as? [[String: Any]] ?? []).map(normalizer)
        return { text in steps.reduce(text) { before, one in one(before) } }
    case "Replace":
        let given = try object(step["pattern"], "pattern")
        let plain = NSRegularExpression.escapedPattern(for: given["String"] as? String ?? "")
        let pattern = try (given["Regex"] as? String).map(expression) ?? NSRegularExpression(pattern: plain)
        let content = NSRegularExpression.escapedTemplate(for: step["content"] as? String ?? "")
        return { text in
            let whole = NSRange(location: 0, length: (text as NSString).length)
            return pattern.stringByReplacingMatches(in: text, range: whole, withTemplate: content)
        }
    case "NFC":
        return { $0.precomposedStringWithCanonicalMapping }
    case "Lowercase":  // sign by sign: what stands around a sign does not matter
        return { $0.unicodeScalars.map { $0.properties.lowercaseMapping }.joined() }
    case let other:
        throw BundleError.unknown("a step of tokenizer.json, \(other ?? "without a type")")
    }
}

private func wordPattern(_ step: [String: Any]) throws -> String {
    let steps = step["pretokenizers"] as? [[String: Any]] ?? []
    let split = steps.first { $0["type"] as? String == "Split" }
    guard let pattern = try object(split?["pattern"], "pattern of words")["Regex"] as? String else {
        throw BundleError.missing("the expression that tells words in tokenizer.json")
    }
    return pattern
}

private func frame(_ step: [String: Any]) throws -> (Int, Int) {
    let tokens = try object(step["special_tokens"], "special_tokens")
    let single = step["single"] as? [[String: Any]] ?? []
    let ids = try single.compactMap { $0["SpecialToken"] as? [String: Any] }.map { token -> Int in
        let known = try object(tokens[token["id"] as? String ?? ""], "a special token")
        guard let id = (known["ids"] as? [Int])?.first else { throw BundleError.missing("the id of a special token") }
        return id
    }
    guard let first = ids.first, let last = ids.last else { throw BundleError.missing("start and end token") }
    return (first, last)
}

/// White space as tokenizer.json means it; its \s are only ever inside of [...].
private let white = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

private func expression(_ pattern: String) throws -> NSRegularExpression {
    try NSRegularExpression(pattern: pattern.replacingOccurrences(of: "\\s", with: white))
}

private func object(_ value: Any?, _ name: String) throws -> [String: Any] {
    guard let found = value as? [String: Any] else { throw BundleError.missing("\(name) in tokenizer.json") }
    return found
}

/// The printable sign that stands for each byte.
private func byteSigns() -> [String] {
    var next: UInt32 = 256
    return (UInt32(0)..<256).map { byte in
        if (33...126).contains(byte) || (byte > 160 && byte != 173) {
            return String(Character(Unicode.Scalar(UInt8(byte))))
        }
        defer { next += 1 }
        return Unicode.Scalar(next).map { String(Character($0)) } ?? ""
    }
}
