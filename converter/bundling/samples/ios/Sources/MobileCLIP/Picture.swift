import CoreGraphics
import CoreVideo
import Foundation
import ImageIO

extension Pixels {
    /// A picture's file: upright, on white where it is transparent.
    public init(contentsOf url: URL) throws {
        guard let source = CGImageSourceCreateWithURL(url as CFURL, nil),
            let plain = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw BundleError.undecodable(url) }
        try self.init(isUpright(source) ? plain : turned(source, max(plain.width, plain.height)) ?? plain)
    }

    /// A picture that is upright already. Its values are taken in its own colour space, as Pillow takes them.
    public init(_ picture: CGImage) throws {
        let width = picture.width
        let height = picture.height
        let space = picture.colorSpace?.model == .rgb ? picture.colorSpace : CGColorSpace(name: CGColorSpace.sRGB)
        guard let space,
            let context = CGContext(
                data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4, space: space,
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw BundleError.missing("a bitmap of \(width) x \(height)") }
        let whole = CGRect(x: 0, y: 0, width: width, height: height)
        context.interpolationQuality = .none
        context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
        context.fill(whole)
        context.draw(picture, in: whole)
        var rgb: [UInt8] = []
        rgb.reserveCapacity(width * height * 3)
        try withExtendedLifetime(context) {  // its bytes go with it
            guard let data = context.data else { throw BundleError.missing("the bitmap's bytes") }
            let bytes = UnsafeRawBufferPointer(start: data, count: width * height * 4)
            for at in stride(from: 0, to: bytes.count, by: 4) {
                rgb += bytes[at..<at + 3]
            }
        }
        self.init(width: width, height: height, rgb: rgb)
    }

    /// The same pixels as Core ML's image inputs take them.
    func pixelBuffer() throws -> CVPixelBuffer {
        var made: CVPixelBuffer?
        CVPixelBufferCreate(kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw BundleError.missing("a pixel buffer of \(width) x \(height)") }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw BundleError.missing("its bytes") }
        let row = CVPixelBufferGetBytesPerRow(buffer)
        let bytes = base.assumingMemoryBound(to: UInt8.self)
        for y in 0..<height {
            for x in 0..<width {
                let from = (y * width + x) * 3
                let to = y * row + x * 4
                bytes[to] = rgb[from + 2]
                bytes[to + 1] = rgb[from + 1]
                bytes[to + 2] = rgb[from]
                bytes[to + 3] = 255
            }
        }
        return buffer
    }
}

private func isUpright(_ source: CGImageSource) -> Bool {
    let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
    return (facts?[kCGImagePropertyOrientation] as? UInt32 ?? 1) == 1
}

/// The picture as its EXIF says, in its full size.
private func turned(_ source: CGImageSource, _ side: Int) -> CGImage? {
    let options: [CFString: Any] = [
        kCGImageSourceCreateThumbnailFromImageAlways: true,
        kCGImageSourceCreateThumbnailWithTransform: true,
        kCGImageSourceThumbnailMaxPixelSize: side,
    ]
    return CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)
}
