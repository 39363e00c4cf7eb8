@_exported import CoreML
@_exported import ImageIO

@available(iOS 11.0, macOS 10.13, *)
open class VNCoreMLModel: NSObject {
    private override init() {}

    public convenience init(for model: MLModel) throws { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class VNRequest: NSObject {
    open var results: [VNObservation]? { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class VNImageBasedRequest: VNRequest {}

@available(iOS 11.0, macOS 10.13, *)
open class VNCoreMLRequest: VNImageBasedRequest {
    private override init() {}

    public convenience init(model: VNCoreMLModel) { fatalError() }

    open var imageCropAndScaleOption: VNImageCropAndScaleOption {
        get { fatalError() }
        set { fatalError() }
    }
}

@available(iOS 11.0, macOS 10.13, *)
public enum VNImageCropAndScaleOption: UInt {
    case centerCrop, scaleFit, scaleFill
}

@available(iOS 11.0, macOS 10.13, *)
public struct VNImageOption: RawRepresentable, Hashable {
    public let rawValue: String

    public init(rawValue: String) { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class VNImageRequestHandler: NSObject {
    public init(
        cgImage image: CGImage, orientation: CGImagePropertyOrientation, options: [VNImageOption: Any] = [:]
    ) { fatalError() }

    open func perform(_ requests: [VNRequest]) throws { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class VNObservation: NSObject {}

@available(iOS 11.0, macOS 10.13, *)
open class VNCoreMLFeatureValueObservation: VNObservation {
    open var featureValue: MLFeatureValue { fatalError() }

    @available(iOS 13.0, macOS 10.15, *)
    open var featureName: String { fatalError() }
}
