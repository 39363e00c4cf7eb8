import Foundation

/// What is wrong with a bundle, or with what it was given.
public enum BundleError: Error {
    case unknown(String)
    case missing(String)
    case undecodable(URL)
}

/// `preprocessing.json`: all that must be known of the files.
public struct Preprocessing: Decodable {
    public let model: String
    public let trained: Bool
    public let embedDim: Int
    public let logitScale: Double?
    public let image: ImageInput?
    public let text: TextInput?

    public init(contentsOf url: URL) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(Self.self, from: Data(contentsOf: url))
    }
}

/// How a text becomes the input of the text file.
public struct TextInput: Decodable {
    let file: String
    let input: String
    let output: String
    let tokenizer: String
    let contextLength: Int
}

/// How a picture becomes the input of the image file.
public struct ImageInput: Decodable {
    let file: String
    let input: String
    let output: String
    let dtype: String
    let layout: String
    let size: Int
    let resize: String
    let resizeTo: Int
    let interpolation: String
    let mean: [Float]
    let std: [Float]

    /// Whether the file takes pixels as they are, and normalises them by itself.
    var takesPixels: Bool { dtype == "uint8" }

    /// The square that the model looks at.
    public func prepare(_ picture: Pixels) throws -> Pixels {
        let (width, height) = shape(picture)
        return crop(try Resample.resize(picture, width: width, height: height, interpolation: interpolation))
    }

    /// The values of the input tensor, as the file lays them out.
    func values(_ square: Pixels) -> [Float] {
        let count = size * size
        return (0..<count * 3).map { at in
            let channel = layout == "NHWC" ? at % 3 : at / count
            let place = layout == "NHWC" ? at : at % count * 3 + channel
            return (Float(square.rgb[place]) / 255 - mean[channel]) / std[channel]
        }
    }

    private func shape(_ picture: Pixels) -> (Int, Int) {
        let long = max(picture.width, picture.height)
        let short = min(picture.width, picture.height)
        func scaled(_ length: Int) -> Int {
            switch resize {
            case "shortest":
                return resizeTo * length / short
            case "longest":
                let exact = Double(length) / (Double(long) / Double(resizeTo))
                return max(1, Int(exact.rounded(.toNearestOrEven)))
            default:
                return resizeTo
            }
        }
        return (scaled(picture.width), scaled(picture.height))
    }

    private func crop(_ picture: Pixels) -> Pixels {
        var made = [UInt8](repeating: 0, count: size * size * 3)  // black beyond the picture
        let left = margin(picture.width)
        let top = margin(picture.height)
        for y in max(0, -top)..<min(size, picture.height - top) {
            for x in max(0, -left)..<min(size, picture.width - left) {
                let from = ((y + top) * picture.width + x + left) * 3
                let to = (y * size + x) * 3
                made.replaceSubrange(to..<to + 3, with: picture.rgb[from..<from + 3])
            }
        }
        return Pixels(width: size, height: size, rgb: made)
    }

    private func margin(_ length: Int) -> Int {
        if length >= size {
            return Int((Double(length - size) / 2).rounded(.toNearestOrEven))
        }
        return -((size - length) / 2)
    }
}
