import Foundation
import MobileCLIP

/// The bundle's own test: what each tower gives beside what PyTorch gave. Ends with 1 if it fails.
@main
struct Check {
    static func main() async throws {
        let bundle = folder()
        let expected = try Expected(contentsOf: bundle.appendingPathComponent("expected.json"))
        let model = try await MobileCLIP(bundle: bundle)
        var passed = true
        if let image = expected.image {
            let square = try model.prepare(Pixels(contentsOf: bundle.appendingPathComponent(image.picture)))
            let sum = square.rgb.reduce(0) { $0 + Int($1) }
            passed = same("pixel sum", sum, image.pixelSum) && passed
            let found = try model.embed(square)
            passed = compare("image", found, image.embedding, image.cosine - expected.tolerance, image.cosine) && passed
        }
        if let text = expected.text, let tokenizer = model.tokenizer {
            let tokens = Array(tokenizer.encode(text.text).prefix(text.tokens.count))
            passed = same("tokens", tokens, text.tokens) && passed
            let found = try model.embed(text.text)
            passed = compare("text", found, text.embedding, text.cosine - expected.tolerance, text.cosine) && passed
        }
        print(passed ? "PASSED" : "FAILED")
        exit(passed ? 0 : 1)
    }

    /// The argument, or the folder above that of the sample.
    private static func folder() -> URL {
        if CommandLine.arguments.count > 1 {
            return URL(fileURLWithPath: CommandLine.arguments[1])
        }
        return URL(fileURLWithPath: FileManager.default.currentDirectoryPath).deletingLastPathComponent()
    }

    private static func compare(
        _ tower: String, _ found: [Float], _ wanted: [Float], _ least: Double, _ bundled: Double
    ) -> Bool {
        let cosine = MobileCLIP.dot(found, wanted)
        let apart = zip(found, wanted).map { abs($0 - $1) }.max() ?? 0
        let line = "%@: cosine %.6f, when it was bundled %.6f; largest difference %.2e"
        print(String(format: line, tower, cosine, bundled, Double(apart)))
        return cosine >= least
    }

    private static func same<Value: Equatable>(_ what: String, _ found: Value, _ wanted: Value) -> Bool {
        if found != wanted {
            print("\(what): \(found), expected \(wanted)")
        }
        return found == wanted
    }
}
