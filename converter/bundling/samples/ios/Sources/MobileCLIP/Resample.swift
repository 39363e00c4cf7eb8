import Foundation

/// RGB pixels, row by row, three bytes each.
public struct Pixels {
    public let width: Int
    public let height: Int
    public let rgb: [UInt8]

    public init(width: Int, height: Int, rgb: [UInt8]) {
        self.width = width
        self.height = height
        self.rgb = rgb
    }
}

/// Pillow's resizing, to the very pixel: Core Graphics, vImage and Vision smooth in other ways, and a model notices.
///
/// Each output pixel is a weighted sum of the input pixels under its filter, which is widened by the scale when a picture
/// shrinks. First rows, then columns; weights have 22 bits, and every pass rounds to 8 bits.
enum Resample {
    private static let bits = 22
    private static let half = 1 << (bits - 1)

    private struct Filter {
        let support: Double
        let weight: (Double) -> Double
    }

    private struct Tap {
        let first: Int
        let weights: [Int]
    }

    /// `interpolation` is one that preprocessing.json names.
    static func resize(_ picture: Pixels, width: Int, height: Int, interpolation: String) throws -> Pixels {
        if interpolation == "nearest" {
            return nearest(picture, width: width, height: height)
        }
        let filter = try filter(named: interpolation)
        let wide = picture.width == width ? picture : across(picture, width: width, filter: filter)
        return wide.height == height ? wide : down(wide, height: height, filter: filter)
    }

    private static func filter(named name: String) throws -> Filter {
        switch name {
        case "bilinear": return Filter(support: 1) { max(0, 1 - abs($0)) }
        case "bicubic": return Filter(support: 2, weight: cubic)
        case "lanczos": return Filter(support: 3) { $0 >= -3 && $0 < 3 ? sinc($0) * sinc($0 / 3) : 0 }
        default: throw BundleError.unknown("interpolation \(name)")
        }
    }

    private static func taps(before: Int, after: Int, filter: Filter) -> [Tap] {
        let scale = Double(before) / Double(after)
        let stretch = max(scale, 1)
        let reach = filter.support * stretch
        return (0..<after).map { index in
            let centre = (Double(index) + 0.5) * scale
            let first = max(0, Int(centre - reach + 0.5))
            let end = min(before, Int(centre + reach + 0.5))
            let weights = (first..<end).map { filter.weight((Double($0) - centre + 0.5) * (1 / stretch)) }
            let sum = weights.reduce(0, +)
            return Tap(first: first, weights: weights.map { rounded(sum == 0 ? $0 : $0 / sum) })
        }
    }

    private static func rounded(_ weight: Double) -> Int {
        Int(weight * Double(1 << bits) + (weight < 0 ? -0.5 : 0.5))
    }

    private static func byte(_ sum: Int) -> UInt8 {
        UInt8(clamping: sum >> bits)
    }

    private static func across(_ picture: Pixels, width: Int, filter: Filter) -> Pixels {
        var made = [UInt8](repeating: 0, count: width * picture.height * 3)
        let seen = taps(before: picture.width, after: width, filter: filter)
        for y in 0..<picture.height {
            for x in 0..<width {
                let tap = seen[x]
                for channel in 0..<3 {
                    var sum = half
                    for (index, weight) in tap.weights.enumerated() {
                        sum += Int(picture.rgb[(y * picture.width + tap.first + index) * 3 + channel]) * weight
                    }
                    made[(y * width + x) * 3 + channel] = byte(sum)
                }
            }
        }
        return Pixels(width: width, height: picture.height, rgb: made)
    }

    private static func down(_ picture: Pixels, height: Int, filter: Filter) -> Pixels {
        let row = picture.width * 3
        var made = [UInt8](repeating: 0, count: row * height)
        let seen = taps(before: picture.height, after: height, filter: filter)
        for y in 0..<height {
            let tap = seen[y]
            for x in 0..<row {
                var sum = half
                for (index, weight) in tap.weights.enumerated() {
                    sum += Int(picture.rgb[(tap.first + index) * row + x]) * weight
                }
                made[y * row + x] = byte(sum)
            }
        }
        return Pixels(width: picture.width, height: height, rgb: made)
    }

    private static func nearest(_ picture: Pixels, width: Int, height: Int) -> Pixels {
        let down = places(before: picture.height, after: height)
        let across = places(before: picture.width, after: width)
        var made: [UInt8] = []
        made.reserveCapacity(width * height * 3)
        for row in down {
            for column in across {
                let from = (row * picture.width + column) * 3
                made += picture.rgb[from..<from + 3]
            }
        }
        return Pixels(width: width, height: height, rgb: made)
    }

    /// Step by step, as Pillow walks: a multiplication would round otherwise.
    private static func places(before: Int, after: Int) -> [Int] {
        let step = Double(before) / Double(after)
        var at = step * 0.5
        var made: [Int] = []
        for _ in 0..<after {
            made.append(Int(at))
            at += step
        }
        return made
    }

    private static func cubic(_ x: Double) -> Double {
        let a = -0.5
        let d = abs(x)
        if d < 1 {
            return ((a + 2) * d - (a + 3)) * d * d + 1
        }
        return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0
    }

    private static func sinc(_ x: Double) -> Double {
        x == 0 ? 1 : sin(x * .pi) / (x * .pi)
    }
}
