// CGFloat and CGRect are Foundation's.

@_exported import Foundation

public final class CGColorSpace {
    public static var sRGB: CFString { fatalError() }

    public init?(name: CFString) { fatalError() }

    public var model: CGColorSpaceModel { fatalError() }
}

public enum CGColorSpaceModel: Int32 {
    case unknown = -1
    case monochrome, rgb, cmyk, lab, deviceN, indexed, pattern, XYZ
}

public final class CGImage {
    private init() {}

    public var width: Int { fatalError() }
    public var height: Int { fatalError() }
    public var colorSpace: CGColorSpace? { fatalError() }
}

public enum CGImageAlphaInfo: UInt32 {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

public enum CGInterpolationQuality: Int32 {
    case `default`, none, low, high, medium
}

public final class CGContext {
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) { fatalError() }

    public var data: UnsafeMutableRawPointer? { fatalError() }

    public var interpolationQuality: CGInterpolationQuality {
        get { fatalError() }
        set { fatalError() }
    }

    public func setFillColor(red: CGFloat, green: CGFloat, blue: CGFloat, alpha: CGFloat) { fatalError() }

    public func fill(_ rect: CGRect) { fatalError() }

    @available(iOS 7.0, macOS 10.9, *)
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) { fatalError() }
}
