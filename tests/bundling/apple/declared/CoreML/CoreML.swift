@_exported import CoreVideo

open class MLModel: NSObject {
    @available(iOS 16.0, macOS 13.0, *)
    open class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }

    @available(iOS 15.0, macOS 12.0, *)
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }

    @available(iOS 11.0, macOS 10.13, *)
    open func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { fatalError() }
}

@available(iOS 12.0, macOS 10.14, *)
open class MLModelConfiguration: NSObject {
    open var computeUnits: MLComputeUnits {
        get { fatalError() }
        set { fatalError() }
    }
}

@available(iOS 12.0, macOS 10.14, *)
public enum MLComputeUnits: Int {
    case cpuOnly, cpuAndGPU, all
}

@available(iOS 11.0, macOS 10.13, *)
public protocol MLFeatureProvider: NSObjectProtocol {
    var featureNames: Set<String> { get }

    func featureValue(for featureName: String) -> MLFeatureValue?
}

@available(iOS 11.0, macOS 10.13, *)
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { fatalError() }

    open var featureNames: Set<String> { fatalError() }

    open func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class MLFeatureValue: NSObject {
    private override init() {}

    public convenience init(pixelBuffer value: CVPixelBuffer) { fatalError() }

    @available(iOS 15.0, macOS 12.0, *)
    public convenience init<Scalar: MLShapedArrayScalar>(shapedArray: MLShapedArray<Scalar>) { fatalError() }

    open var multiArrayValue: MLMultiArray? { fatalError() }
}

@available(iOS 11.0, macOS 10.13, *)
open class MLMultiArray: NSObject {
    private override init() {}
}

@available(iOS 15.0, macOS 12.0, *)
public protocol MLShapedArrayScalar {}

extension Double: MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}
extension Int32: MLShapedArrayScalar {}

@available(iOS 15.0, macOS 12.0, *)
public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
    public init<S: Sequence>(scalars: S, shape: [Int]) where S.Element == Scalar { fatalError() }

    public init(converting multiArray: MLMultiArray) { fatalError() }

    public var scalars: [Scalar] { fatalError() }
}
