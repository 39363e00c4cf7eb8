import CoreGraphics
import CoreML
import Foundation
import ImageIO
import Vision

/// The model of this bundle behind two functions; all that it needs to know is in `preprocessing.json`.
///
/// Opening compiles the packages, which takes seconds: keep one, and use it away from the main thread.
public final class MobileCLIP {
    public let facts: Preprocessing
    public let tokenizer: ClipTokenizer?
    private let imageModel: MLModel?
    private let textModel: MLModel?

    /// Open what the bundle in `folder` has: both towers, or one.
    ///
    /// In an app Xcode compiles the packages; there give `Bundle.main.url(forResource:withExtension: "mlmodelc")` to
    /// `MLModel.load` in place of the compiling here.
    public init(bundle folder: URL, computeUnits: MLComputeUnits = .all) async throws {
        facts = try Preprocessing(contentsOf: folder.appendingPathComponent("preprocessing.json"))
        tokenizer = try facts.text.map { try ClipTokenizer(contentsOf: folder.appendingPathComponent($0.tokenizer)) }
        imageModel = try await Self.open(facts.image?.file, in: folder, on: computeUnits)
        textModel = try await Self.open(facts.text?.file, in: folder, on: computeUnits)
    }

    /// A vector of length 1 for a picture that is upright, of any size.
    public func embed(_ picture: CGImage) throws -> [Float] {
        try embed(prepare(Pixels(picture)))
    }

    /// A vector of length 1 for what `prepare` gave.
    public func embed(_ square: Pixels) throws -> [Float] {
        guard let model = imageModel, let image = facts.image else { throw BundleError.missing("an image file") }
        if image.takesPixels {
            return try run(model, [image.input: MLFeatureValue(pixelBuffer: square.pixelBuffer())], image.output)
        }
        let shape = image.layout == "NHWC" ? [1, image.size, image.size, 3] : [1, 3, image.size, image.size]
        let values = MLShapedArray<Float>(scalars: image.values(square), shape: shape)
        return try run(model, [image.input: MLFeatureValue(shapedArray: values)], image.output)
    }

    /// A vector of length 1; what is longer than the model reads is cut.
    public func embed(_ text: String) throws -> [Float] {
        guard let model = textModel, let facts = facts.text, let tokenizer else {
            throw BundleError.missing("a text file")
        }
        let tokens = MLShapedArray<Int32>(scalars: tokenizer.encode(text), shape: [1, facts.contextLength])
        return try run(model, [facts.input: MLFeatureValue(shapedArray: tokens)], facts.output)
    }

    /// The square that the model looks at.
    public func prepare(_ picture: Pixels) throws -> Pixels {
        guard let image = facts.image else { throw BundleError.missing("an image file") }
        return try image.prepare(picture)
    }

    /// The embedding as Vision makes it, for files that take images only: Vision resizes and crops by itself, in
    /// hardware, a little differently from what the file was judged on. Measure on your own pictures what that costs.
    public func embedWithVision(_ picture: CGImage, orientation: CGImagePropertyOrientation = .up) throws -> [Float] {
        guard let model = imageModel, let image = facts.image, image.takesPixels else {
            throw BundleError.missing("an image file that takes images: export it with --input image")
        }
        let request = VNCoreMLRequest(model: try VNCoreMLModel(for: model))
        request.imageCropAndScaleOption = .centerCrop
        try VNImageRequestHandler(cgImage: picture, orientation: orientation, options: [:]).perform([request])
        let found = request.results as? [VNCoreMLFeatureValueObservation]
        return try unit(found?.first { $0.featureName == image.output }?.featureValue, image.output)
    }

    /// The cosine of two vectors of length 1.
    public static func dot(_ one: [Float], _ other: [Float]) -> Double {
        zip(one, other).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }

    private static func open(_ file: String?, in folder: URL, on units: MLComputeUnits) async throws -> MLModel? {
        guard let file else { return nil }
        let compiled = try await MLModel.compileModel(at: folder.appendingPathComponent(file))
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        return try await MLModel.load(contentsOf: compiled, configuration: configuration)
    }

    private func run(_ model: MLModel, _ inputs: [String: MLFeatureValue], _ output: String) throws -> [Float] {
        let found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
        return try unit(found.featureValue(for: output), output)
    }

    private func unit(_ value: MLFeatureValue?, _ output: String) throws -> [Float] {
        guard let array = value?.multiArrayValue else { throw BundleError.missing("the output \(output)") }
        let vector = MLShapedArray<Float>(converting: array).scalars
        let length = Float(Self.dot(vector, vector).squareRoot())
        return vector.map { $0 / length }
    }
}
