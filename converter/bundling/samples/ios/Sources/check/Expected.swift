import Foundation

/// `expected.json`: what PyTorch gave for the test's picture and text.
struct Expected: Decodable {
    struct Image: Decodable {
        let picture: String
        let pixelSum: Int
        let embedding: [Float]
        let cosine: Double
    }

    struct Text: Decodable {
        let text: String
        let tokens: [Int32]
        let embedding: [Float]
        let cosine: Double
    }

    let tolerance: Double
    let image: Image?
    let text: Text?

    init(contentsOf url: URL) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(Self.self, from: Data(contentsOf: url))
    }
}
