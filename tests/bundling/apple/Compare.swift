// Runs the parts of the sample that need none of Apple's frameworks, on lines of JSON from a file; a line of JSON each on
// standard output.

import Foundation

struct Case: Decodable {
    let text: String?
    let bundle: String?
    let facts: ImageInput?
    let data: Data?
    let width: Int?
    let height: Int?

    func picture() throws -> Pixels {
        guard let data, let width, let height else { throw BundleError.missing("a picture") }
        return Pixels(width: width, height: height, rgb: [UInt8](data))
    }
}

struct Prepared: Encodable {
    let pixels: [UInt8]
    let values: [Float]
}

/// What a bundle's own test compares before it asks the models: what was found, what is expected.
struct Tested: Encodable {
    var pixelSums: [Int] = []
    var tokens: [[Int32]] = []
}

@main
struct Compare {
    static func main() throws {
        let tokenizer = try ClipTokenizer(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1]))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        for line in try String(contentsOfFile: CommandLine.arguments[2], encoding: .utf8).split(separator: "\n") {
            let given = try decoder.decode(Case.self, from: Data(line.utf8))
            if let text = given.text {
                try write(tokenizer.encode(text))
            } else if let facts = given.facts {
                let square = try facts.prepare(given.picture())
                try write(Prepared(pixels: square.rgb, values: facts.values(square)))
            } else if let bundle = given.bundle {
                try write(tested(URL(fileURLWithPath: bundle), given.picture(), tokenizer))
            }
        }
    }

    private static func tested(_ bundle: URL, _ picture: Pixels, _ tokenizer: ClipTokenizer) throws -> Tested {
        let facts = try Preprocessing(contentsOf: bundle.appendingPathComponent("preprocessing.json"))
        let expected = try Expected(contentsOf: bundle.appendingPathComponent("expected.json"))
        var made = Tested()
        if let image = expected.image, let how = facts.image {
            made.pixelSums = [try how.prepare(picture).rgb.reduce(0) { $0 + Int($1) }, image.pixelSum]
        }
        if let text = expected.text {
            made.tokens = [Array(tokenizer.encode(text.text).prefix(text.tokens.count)), text.tokens]
        }
        return made
    }

    private static func write<Value: Encodable>(_ value: Value) throws {
        print(String(decoding: try JSONEncoder().encode(value), as: UTF8.self))
    }
}
